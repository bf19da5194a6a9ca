"""The codebook's file: one safetensors file whose header says what it was calibrated on.

Everything in the file is checked before it is used: a codebook may come from anyone.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.limits import MAX_ITEM_CHARACTERS, MAX_ITEM_TOKENS
from schemas.signal import Signal
from worker.bounded import read_bounded
from worker.codebook.adapter import Adapter, LowRank
from worker.codebook.probe import Basis, Probe
from worker.codebook.splines import MIN_SAMPLE, SurvivalSpline
from worker.errors import CodebookInvalid, CodebookNotFound

FORMAT_VERSION: Final = 1
MAX_BYTES = 64 * 1024 * 1024
HEADER_KEY = "alknet.codebook"
TRAFFIC = "traffic"
"""The one source group of a codebook that was recalibrated on the operator's own traffic."""

MOST_LAYERS, MOST_STRATA, MOST_GROUPS, MOST_ADAPTED = 1024, 64, 4096, 4096
"""Entries of the header's lists: what is made for each of them costs many times what it takes to name it."""

MOST_NUMBER: Final = 1e30
"""Largest number in a tensor: sums and products of a few of them stay finite."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CalibratedModel(BaseModel):
    """The model the codebook belongs to."""

    model_config = ConfigDict(extra="forbid")

    name: str
    revision: str | None
    weights_sha256: Sha256
    tokenizer_sha256: Sha256
    layers: tuple[Annotated[int, Field(ge=1, le=MOST_LAYERS)], ...] = Field(min_length=1, max_length=MOST_LAYERS)
    backend: str
    dtype: Literal["float32", "bfloat16", "int8"]


class WindowShape(BaseModel):
    """How texts are cut."""

    model_config = ConfigDict(extra="forbid")

    size: Annotated[int, Field(ge=8, le=8192, description="Tokens, special ones included.")]
    overlap: Annotated[int, Field(ge=0)]


class Golden(BaseModel):
    """Texts whose scores every worker must reproduce before it serves."""

    model_config = ConfigDict(extra="forbid")

    texts: list[Annotated[str, Field(max_length=MAX_ITEM_CHARACTERS)]] = Field(min_length=1, max_length=256)
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False, description="Largest difference of a logit.")]


class Header(BaseModel):
    """The JSON in the safetensors metadata."""

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    model: CalibratedModel
    window: WindowShape
    signals: tuple[Signal, ...] = Field(min_length=1)
    strata: tuple[Annotated[int, Field(ge=1, le=MAX_ITEM_TOKENS)], ...] = Field(
        max_length=MOST_STRATA,
        description="Borders between length strata, in tokens, ascending; n borders make n + 1 strata.",
    )
    explained_variance: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    groups: tuple[str, ...] = Field(
        min_length=1, max_length=MOST_GROUPS, description="Source groups of the calibration sample."
    )
    adapted: tuple[str, ...] = Field(
        default=(), max_length=MOST_ADAPTED, description="Linear maps that the adapter changes, by dotted name."
    )
    golden: Golden
    provenance: dict[str, Any] = Field(description="Data hashes, counts, metrics, seed.")

    @property
    def own_traffic(self) -> bool:
        """Whether p-values are exact on the operator's traffic, rather than careful over many sources (ADR 3)."""
        return self.groups == (TRAFFIC,)

    @model_validator(mode="after")
    def parts_fit_together(self) -> "Header":
        """Refuse layers or strata that do not ascend, windows within their overlap, signals named twice."""
        if list(self.model.layers) != sorted(set(self.model.layers)):
            raise ValueError("layers must ascend")
        if self.window.overlap >= self.window.size:
            raise ValueError("windows must be longer than their overlap")
        if list(self.strata) != sorted(set(self.strata)):
            raise ValueError("strata must ascend")
        if len(set(self.signals)) != len(self.signals):
            raise ValueError("a signal is named twice")
        return self


@dataclass(frozen=True)
class Codebook:
    """A loaded codebook.

    Attributes:
        header: What it was calibrated on.
        basis: SVD basis of the activations.
        probe: Attention probes on the basis.
        distributions: Benign distribution by stratum, then by signal.
        benign_scores: Document scores of the calibration sample, float32 ``(n_documents, n_signals)``: a
            policy's combination of signals is calibrated on them.
        benign_tokens: Tokens of the calibration documents, int32 ``(n_documents,)``.
        benign_groups: Source group of the calibration documents, by its number, int32 ``(n_documents,)``.
        golden_scores: Expected logits of the golden texts, float32 ``(n_texts, n_signals)``.
        adapter: Low-rank changes of the model's weights that the probes were fitted with; may be empty.
        fingerprint: First 16 hex digits of the file's SHA-256.
    """

    header: Header
    basis: Basis
    probe: Probe
    distributions: tuple[tuple[SurvivalSpline, ...], ...]
    benign_scores: npt.NDArray[np.float32]
    benign_tokens: npt.NDArray[np.int32]
    benign_groups: npt.NDArray[np.int32]
    golden_scores: npt.NDArray[np.float32]
    adapter: Adapter = field(default_factory=dict)
    fingerprint: str = ""

    def stratum_of(self, tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Return the stratum's number for texts of so many tokens."""
        return np.searchsorted(np.asarray(self.header.strata), tokens, side="right")


def save_codebook(codebook: Codebook, path: Path) -> str:
    """Write the file and return its fingerprint. The same codebook gives the same bytes."""
    from safetensors.numpy import save

    blob = save(_tensors(codebook), metadata={HEADER_KEY: codebook.header.model_dump_json()})
    path.write_bytes(blob)
    return _fingerprint(blob)


def load_codebook(path: Path) -> Codebook:
    """Read and check a codebook.

    Raises:
        CodebookNotFound: There is no such file.
        CodebookInvalid: It is not a codebook, is damaged, or of a format this version does not read.
    """
    try:
        blob = read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise CodebookNotFound(
            f"no codebook at {path}: {error.strerror}. Make one with `alknet-firewall calibrate`."
        ) from None
    if len(blob) > MAX_BYTES:
        raise CodebookInvalid(f"{path.name} has over {MAX_BYTES} bytes; this is no codebook")
    try:
        return _parse(blob)
    except CodebookInvalid as error:
        raise CodebookInvalid(f"{path.name}: {error.message}. Fetch or calibrate it again.") from None


def _parse(blob: bytes) -> Codebook:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(blob)
        length = int.from_bytes(blob[:8], "little")
        metadata = json.loads(blob[8 : 8 + length]).get("__metadata__", {})
        header = Header.model_validate_json(metadata[HEADER_KEY])
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        raise CodebookInvalid(f"header field {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CodebookInvalid(f"not a codebook file ({type(error).__name__})") from None
    _check_tensors(header, tensors)
    return Codebook(
        header=header,
        basis=Basis(tensors["basis.mean"], tensors["basis.components"], header.explained_variance),
        probe=Probe(tensors["probe.query"], tensors["probe.value"], tensors["probe.bias"]),
        adapter={
            name: LowRank(tensors[f"adapter.{number}.down"], tensors[f"adapter.{number}.up"])
            for number, name in enumerate(header.adapted)
        },
        distributions=_distributions(header, tensors),
        benign_scores=tensors["benign.scores"],
        benign_tokens=tensors["benign.tokens"],
        benign_groups=tensors["benign.groups"],
        golden_scores=tensors["golden.scores"],
        fingerprint=_fingerprint(blob),
    )


def _fingerprint(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()[:16]


def _tensors(codebook: Codebook) -> dict[str, npt.NDArray[Any]]:
    tensors: dict[str, npt.NDArray[Any]] = {
        "basis.mean": codebook.basis.mean,
        "basis.components": codebook.basis.components,
        "probe.query": codebook.probe.query,
        "probe.value": codebook.probe.value,
        "probe.bias": codebook.probe.bias,
        "benign.scores": codebook.benign_scores,
        "benign.tokens": codebook.benign_tokens,
        "benign.groups": codebook.benign_groups,
        "golden.scores": codebook.golden_scores,
    }
    for number, name in enumerate(codebook.header.adapted):
        change = codebook.adapter[name]
        tensors[f"adapter.{number}.down"], tensors[f"adapter.{number}.up"] = change.down, change.up
    for stratum, row in enumerate(codebook.distributions):
        for signal, spline in zip(codebook.header.signals, row, strict=True):
            name = f"spline.{stratum}.{signal}"
            tensors[f"{name}.x"], tensors[f"{name}.y"] = spline.x, spline.y
            tensors[f"{name}.tail"] = np.array([spline.shape, spline.scale])
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _check_tensors(header: Header, tensors: dict[str, npt.NDArray[Any]]) -> None:
    """Check that every tensor is there with the right type and shape, finite, and nothing else is."""
    signals = len(header.signals)
    expected: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "basis.mean": ("float32", (None,)),
        "basis.components": ("float32", (None, None)),
        "probe.query": ("float32", (signals, None, None)),
        "probe.value": ("float32", (signals, None, None)),
        "probe.bias": ("float32", (signals,)),
        "benign.scores": ("float32", (None, signals)),
        "benign.tokens": ("int32", (None,)),
        "benign.groups": ("int32", (None,)),
        "golden.scores": ("float32", (len(header.golden.texts), signals)),
    }
    for number in range(len(header.adapted)):
        expected[f"adapter.{number}.down"] = ("float16", (None, None))
        expected[f"adapter.{number}.up"] = ("float16", (None, None))
    for stratum in range(len(header.strata) + 1):
        for signal in header.signals:
            name = f"spline.{stratum}.{signal}"
            expected |= {f"{name}.x": ("float64", (None,)), f"{name}.y": ("float64", (None,))}
            expected[f"{name}.tail"] = ("float64", (2,))
    if odd := set(expected) ^ set(tensors):
        raise CodebookInvalid(f"tensors missing or unknown: {', '.join(sorted(odd))[:200]}")
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        fits = len(tensor.shape) == len(shape) and all(
            want in (None, have) for want, have in zip(shape, tensor.shape, strict=False)
        )
        if tensor.dtype.name != dtype or not fits or 0 in tensor.shape:
            raise CodebookInvalid(f"tensor {name} is {tensor.dtype.name}{tensor.shape}, expected {dtype}{shape}")
        if not (np.abs(tensor.astype(np.float64)) <= MOST_NUMBER).all():
            raise CodebookInvalid(f"tensor {name} holds NaN, infinity or a number beyond {MOST_NUMBER:g}")
    _check_together(header, tensors)


def _check_together(header: Header, tensors: dict[str, npt.NDArray[Any]]) -> None:
    """Check that the shapes fit one another."""
    rank = tensors["basis.components"].shape[1]
    heads = tensors["probe.query"].shape[1]
    fits = (
        tensors["basis.components"].shape[0] == tensors["basis.mean"].shape[0]
        and tensors["basis.mean"].shape[0] % len(header.model.layers) == 0
        and tensors["probe.query"].shape == tensors["probe.value"].shape == (len(header.signals), heads, rank)
        and len(tensors["benign.scores"]) == len(tensors["benign.tokens"]) == len(tensors["benign.groups"])
        and tensors["benign.tokens"].min() >= 1
        and 0 <= tensors["benign.groups"].min() <= tensors["benign.groups"].max() < len(header.groups)
        and all(
            tensors[f"adapter.{number}.up"].shape[1] == tensors[f"adapter.{number}.down"].shape[0]
            for number in range(len(header.adapted))
        )
    )
    stratum = np.searchsorted(np.asarray(header.strata), tensors["benign.tokens"], side="right")
    if np.bincount(stratum, minlength=len(header.strata) + 1).min() < MIN_SAMPLE:
        raise CodebookInvalid(f"a length stratum has fewer than {MIN_SAMPLE} benign documents")
    if not fits:
        raise CodebookInvalid("shapes of basis, probe and calibration sample do not fit together")


def _distributions(header: Header, tensors: dict[str, npt.NDArray[Any]]) -> tuple[tuple[SurvivalSpline, ...], ...]:
    return tuple(
        tuple(_spline(f"spline.{stratum}.{signal}", tensors) for signal in header.signals)
        for stratum in range(len(header.strata) + 1)
    )


def _spline(name: str, tensors: dict[str, npt.NDArray[Any]]) -> SurvivalSpline:
    x, y, (shape, scale) = tensors[f"{name}.x"], tensors[f"{name}.y"], tensors[f"{name}.tail"]
    if len(x) != len(y) or len(x) < 2 or (np.diff(x) <= 0).any() or (np.diff(y) >= 0).any() or y[0] > 0:
        raise CodebookInvalid(f"{name} is not a descending log-survival")
    if (-np.diff(y) > MOST_NUMBER * np.diff(x)).any():
        raise CodebookInvalid(f"{name} falls too steeply")
    if not 0 <= shape < 1 or not scale >= 1 / MOST_NUMBER:
        raise CodebookInvalid(f"{name} has an impossible tail")
    return SurvivalSpline(x, y, float(shape), float(scale))
