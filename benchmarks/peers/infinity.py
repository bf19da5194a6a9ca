"""infinity-emb's own engine, in its own virtual environment: it needs an older transformers than we do.

A child of ``benchmarks.peers.run``; imports nothing of this project.
"""

import asyncio
import json
import sys
import time
from pathlib import Path


async def main(documents: list[list[str]]) -> None:
    """Load, say so, and embed once for every line."""
    model_directory, _, batch_size, _, threads = sys.argv[1:6]
    import torch
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs

    torch.set_num_threads(int(threads))
    engine = AsyncEmbeddingEngine.from_args(
        EngineArgs(
            model_name_or_path=model_directory,
            engine="torch",
            device="cpu",
            batch_size=int(batch_size),
            bettertransformer=False,
            compile=False,
        )
    )
    async with engine:
        await engine.embed(sentences=documents[0])
        print(json.dumps({"ready": True}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            start = time.perf_counter()
            # One call a document, all at once: its queue forms the batches, as behind its server.
            await asyncio.gather(*(engine.embed(sentences=chunks) for chunks in documents))
            print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[4]).read_text(encoding="utf-8"))))
