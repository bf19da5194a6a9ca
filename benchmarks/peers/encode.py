"""sentence-transformers alone: ``encode`` on all chunks in one call.

A child of ``benchmarks.peers.run``: a line on standard input starts a round, a line of JSON answers it.
"""

import json
import sys
import time
from pathlib import Path


def main() -> None:
    """Load, say so, and encode once for every line."""
    model_directory, dtype, batch_size, texts_file = sys.argv[1:5]
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(int(sys.argv[5]))
    keywords = {} if dtype == "float32" else {"dtype": dtype}
    model = SentenceTransformer(model_directory, device="cpu", model_kwargs=keywords)
    documents = json.loads(Path(texts_file).read_text(encoding="utf-8"))
    chunks = [chunk for document in documents for chunk in document]
    model.encode(chunks[:8])
    print(json.dumps({"ready": model.max_seq_length}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        model.encode(chunks, batch_size=int(batch_size))
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
