"""What a codebook costs: bytes, time to load, and scoring beside the forward pass."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from worker.codebook.format import Codebook, load_codebook
from worker.model.encoder import Encoder, WindowBatch
from worker.model.windows import WindowTokenizer
from worker.screening.batching import length_sorted_batches
from worker.screening.offline import score_texts
from worker.screening.policy import Policy
from worker.screening.scoring import Scorer
from worker.screening.screener import prepare

REPEATS = 5


@dataclass(frozen=True)
class Cost:
    """Medians of five runs.

    Attributes:
        size: Bytes of the file.
        load_s: Seconds to read and check it.
        scoring_share: Seconds from window logits to verdicts of some texts over those of their forward pass.
    """

    size: int
    load_s: float
    scoring_share: float


def measure_cost(
    path: Path, codebook: Codebook, tokenizer: WindowTokenizer, encoder: Encoder, texts: Sequence[str]
) -> Cost:
    """Measure a codebook.

    Args:
        path: Its file.
        codebook: The same, loaded.
        tokenizer: Its tokenizer.
        encoder: What the worker would use.
        texts: Some hundred, as long as traffic is.
    """
    windows = [window for text in prepare(tokenizer, texts) for window in text.windows]
    batches = [
        WindowBatch.of([windows[i] for i in batch]) for batch in length_sorted_batches([len(w) for w in windows])
    ]
    scores, tokens = score_texts(encoder, tokenizer, texts)
    scorer = Scorer(codebook, Policy())
    forward = _seconds(lambda: [encoder.score(batch) for batch in batches])
    scoring = _seconds(lambda: scorer.score(scores, tokens))
    return Cost(path.stat().st_size, _seconds(lambda: load_codebook(path)), scoring / forward)


def render(cost: Cost) -> list[str]:
    """Return the section of the report as lines of Markdown."""
    return [
        "## Size and cost",
        "",
        (
            f"{cost.size / 1e6:.2f} MB, loaded in {cost.load_s * 1000:.0f} ms; from logits to verdicts in "
            f"{cost.scoring_share:.2%} of the forward pass's time (medians of {REPEATS}, on the machine of this run)."
        ),
        "",
    ]


def _seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)
