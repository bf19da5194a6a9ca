"""Stand-ins for the parts with a model or a service inside, and a codebook made of random numbers."""

import threading
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from schemas.dead_letter import Start
from schemas.signal import SIGNALS, Signal
from worker.codebook.adapter import LowRank
from worker.codebook.format import CalibratedModel, Codebook, Golden, Header, WindowShape
from worker.codebook.probe import Basis, Probe
from worker.codebook.splines import fit_survival
from worker.model.encoder import FloatArray, WindowBatch
from worker.model.windows import Window
from worker.topic.attempts import Attempt

RANK, HEADS, WIDTH = 3, 2, 6
ADAPTED = "encoder.layer.0.attention.self.query"


def window_of(*ids: int) -> Window:
    return Window(np.array(ids, dtype=np.int32), 0, len(ids))


def make_codebook(
    *,
    seed: int = 5,
    documents: int = 1200,
    strata: tuple[int, ...] = (),
    signals: tuple[Signal, ...] = SIGNALS,
    benign_scores: npt.NDArray[np.float32] | None = None,
    benign_tokens: npt.NDArray[np.int32] | None = None,
    fingerprint: str = "",
) -> Codebook:
    """A codebook whose benign scores are standard normal."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return random.normal(size=shape).astype(np.float32)

    if benign_scores is None:
        benign_scores = normal(documents, len(signals))
    if benign_tokens is None:
        benign_tokens = random.integers(4, 64, len(benign_scores)).astype(np.int32)
    header = Header(
        groups=("everything",),
        model=CalibratedModel(
            name="tests/none",
            revision="0" * 40,
            weights_sha256="0" * 64,
            tokenizer_sha256="1" * 64,
            layers=(1, 2),
            backend="torch",
            dtype="float32",
        ),
        window=WindowShape(size=16, overlap=4),
        signals=signals,
        strata=strata,
        explained_variance=0.5,
        adapted=(ADAPTED,),
        golden=Golden(texts=["a", "b"], tolerance=0.05),
        provenance={"rows": len(benign_scores)},
    )
    stratum = np.searchsorted(np.asarray(strata), benign_tokens, side="right")
    return Codebook(
        header=header,
        basis=Basis(normal(WIDTH), normal(WIDTH, RANK), 0.5),
        probe=Probe(normal(len(signals), HEADS, RANK), normal(len(signals), HEADS, RANK), normal(len(signals))),
        distributions=tuple(
            tuple(fit_survival(benign_scores[stratum == s, column]) for column in range(len(signals)))
            for s in range(len(strata) + 1)
        ),
        benign_scores=benign_scores,
        benign_tokens=benign_tokens,
        benign_groups=np.zeros(len(benign_tokens), dtype=np.int32),
        golden_scores=normal(2, len(signals)),
        adapter={ADAPTED: LowRank(normal(2, 3).astype(np.float16), normal(4, 2).astype(np.float16))},
        fingerprint=fingerprint,
    )


class FakeEncoder:
    """Scores a window by its token ids: the sum of the weights given to some ids, in every column.

    Args:
        weights: What a token id adds to the logit; other ids add nothing.
        poison: Ids whose windows make the whole batch fail.
        nan: Ids whose windows score NaN.
        n_signals: Columns.
    """

    name = "fake-float32"

    def __init__(
        self,
        weights: dict[int, float] | None = None,
        *,
        poison: Collection[int] = (),
        nan: Collection[int] = (),
        n_signals: int = len(SIGNALS),
    ):
        self.weights = weights or {}
        self.poison, self.nan, self.n_signals = poison, nan, n_signals
        self.batches: list[list[list[int]]] = []
        self.attribution_fails = False
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def score(self, batch: WindowBatch) -> FloatArray:
        self.entered.set()
        assert self.open.wait(30)
        rows = [ids[mask].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)]
        self.batches.append(rows)
        if any(set(row) & set(self.poison) for row in rows):
            raise RuntimeError("poison: " + str(rows))
        logits = self.attribute_all(batch).sum(axis=1)
        for number, row in enumerate(rows):
            if set(row) & set(self.nan):
                logits[number, -1] = np.nan
        return logits

    def attribute(self, batch: WindowBatch) -> FloatArray:
        if self.attribution_fails:
            raise RuntimeError("no attribution")
        return self.attribute_all(batch)

    def attribute_all(self, batch: WindowBatch) -> FloatArray:
        shares = np.zeros(batch.ids.shape, dtype=np.float32)
        for token, weight in self.weights.items():
            shares[(batch.ids == token) & batch.mask] = weight
        return np.repeat(shares[:, :, None], self.n_signals, axis=2)


class FakeAttempts:
    """Notes starts in memory, and remembers what it was asked."""

    def __init__(self, already: int = 0):
        self.count = already
        self.finished: list[str] = []
        self.refunded: list[str] = []
        self.refused = 0

    def start(self, task_id: str, *, again: bool = False) -> Attempt:
        noted = again or self.count == 0
        self.count += noted
        self.refused += not noted
        return Attempt(tuple(Start(time=f"t{n}", worker="w") for n in range(self.count)), noted)

    def finish(self, task_id: str) -> None:
        self.count = 0
        self.finished.append(task_id)

    def refund(self, task_id: str, attempt: Attempt) -> None:
        self.count -= 1
        self.refunded.append(task_id)


def ids_of(texts: Sequence[str]) -> list[dict[str, str]]:
    """Items named t0, t1, … with these texts."""
    return [{"id": f"t{n}", "text": text} for n, text in enumerate(texts)]
