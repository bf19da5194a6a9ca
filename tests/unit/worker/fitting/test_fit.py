"""Fitting a codebook: repeatable, resumable, and it finds what it was shown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas import SIGNALS
from tests.unit.fitting_rows import ATTACKS, BENIGN, fit_file, plan, rows, silent
from worker.codebook.format import load_codebook
from worker.codebook.probe import Basis, Probe
from worker.errors import InvalidField
from worker.fitting import fit
from worker.fitting.activations import ProjectedWindows, fit_basis, project
from worker.fitting.compose import Part, Parts
from worker.fitting.dataset import LabelledText
from worker.fitting.disguise import disguise
from worker.fitting.fit import calibrate, make_targets, merge_strata
from worker.fitting.plan import default_layers
from worker.fitting.train import TrainingPlan, train_probe
from worker.model.encoder import FloatArray, WindowBatch
from worker.model.hub import resolve_model
from worker.model.torch_encoder import TruncatedModel
from worker.model.windows import Window, WindowTokenizer
from worker.screening.batching import length_sorted_batches


def test_same_input_gives_the_same_file(fitted: Path, tiny_bert: Path, tmp_path: Path) -> None:
    again = fit_file(tiny_bert, tmp_path / "again", tmp_path / "cache")
    assert again.read_bytes() == fitted.read_bytes()


def test_run_over_a_filled_cache_gives_the_same_file(fitted: Path, tiny_bert: Path, tmp_path: Path) -> None:
    again = fit_file(tiny_bert, tmp_path / "again", fitted.parent / "cache")
    assert again.read_bytes() == fitted.read_bytes()


def test_parts_add_rows_to_what_is_fitted_on(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "MIN_STRATUM", 50)
    frames, plants = (Part("then so {goal} now", "any"),), (Part("do as i say", "any"),)
    parts = Parts(frames=frames, overrides=frames, plants=plants, notes=plants)
    documents = [replace(row, text=f"{row.text} " * 12) for row in rows()]
    fitted = [
        calibrate(
            resolve_model(str(tiny_bert)), documents, plan(composed_pairs=7), cache=tmp_path, progress=silent, **more
        ).header.provenance["fitted"]
        for more in ({}, {"parts": parts})
    ]
    assert fitted[1] == fitted[0] + 14  # plants and notes; no row is short enough to be asked in a frame


def test_same_input_gives_the_same_file_with_an_adapter(tiny_bert: Path, tmp_path: Path) -> None:
    one, two = (fit_file(tiny_bert, tmp_path / name, tmp_path, adapter_rank=2) for name in ("one", "two"))
    assert load_codebook(one).adapter
    assert one.read_bytes() == two.read_bytes()


def test_decoder_can_be_fitted_too(tiny_llama: Path, tmp_path: Path) -> None:
    book = load_codebook(fit_file(tiny_llama, tmp_path / "llama", tmp_path / "cache", adapter_rank=2))
    assert book.adapter
    assert np.isfinite(book.golden_scores).all()


def test_codebook_says_what_it_was_fitted_on(fitted: Path, tiny_bert: Path) -> None:
    header = load_codebook(fitted).header
    files = resolve_model(str(tiny_bert))
    assert header.model.weights_sha256 == files.weights_sha256
    assert (header.model.layers, header.window.size, header.window.overlap) == ((2, 3), 24, 6)
    assert header.signals == SIGNALS
    assert header.provenance["rows"] == BENIGN + ATTACKS
    disguised = len(disguise(rows(), plan().disguised_share))
    assert disguised > 0
    assert header.provenance["fitted"] + header.provenance["benign_calibration"] == BENIGN + ATTACKS + disguised


def test_calibration_documents_are_not_fitted_on(fitted: Path) -> None:
    book = load_codebook(fitted)
    assert len(book.benign_scores) == book.header.provenance["benign_calibration"]
    harmless = [row for row in rows() if row.label == 0]
    with_copies = BENIGN + len(disguise(harmless, plan().disguised_share))
    assert book.header.provenance["signals"]["benign"] == with_copies - len(book.benign_scores)


def test_rows_without_labels_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    unlabelled = [*rows(), LabelledText("x", "water", None, None, "own")]
    with pytest.raises(InvalidField, match="label"):
        calibrate(resolve_model(str(tiny_bert)), unlabelled, plan(), cache=tmp_path, progress=silent)


def test_too_few_benign_rows_are_refused_with_numbers(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match=r"only \d+ benign rows for calibration, 300 are needed"):
        calibrate(resolve_model(str(tiny_bert)), rows(), plan(), cache=tmp_path, progress=silent)


def test_row_without_tokens_is_named(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "MIN_STRATUM", 50)
    empty = [*rows(), LabelledText("hollow", "\u200d", 1, "jailbreak", "own")]
    with pytest.raises(InvalidField, match="row hollow has no tokens"):
        calibrate(resolve_model(str(tiny_bert)), empty, plan(), cache=tmp_path, progress=silent)


@pytest.mark.parametrize(("depth", "layers"), [(1, (1,)), (2, (1, 2)), (6, (4, 6)), (30, (16, 24))])
def test_default_layers_by_depth(depth: int, layers: tuple[int, ...]) -> None:
    assert default_layers(depth) == layers


def row(label: int, signal: str) -> LabelledText:
    return LabelledText("r", "t", label, signal, "own")


def test_targets_are_one_for_the_rows_own_signal() -> None:
    targets, _ = make_targets([row(0, "benign"), row(1, "jailbreak"), row(0, "harmful_request")])
    assert targets.sum(axis=1).tolist() == [0, 1, 1]
    assert targets[1, SIGNALS.index("jailbreak")] == 1
    assert targets[2, SIGNALS.index("harmful_request")] == 1


def weights_of(*signals: str) -> np.ndarray:
    return make_targets([row(int(signal != "benign"), signal) for signal in signals])[1]


def test_another_kind_of_attack_is_little_evidence() -> None:
    benign, attack = weights_of("benign", "jailbreak")
    others = np.delete(attack, SIGNALS.index("jailbreak"))
    assert (others < 0.5 * benign[0]).all()
    assert len(set(benign.tolist())) == 1


def test_a_rare_signal_weighs_more_but_not_without_end() -> None:
    weights = weights_of(*["benign"] * 600, *["jailbreak"] * 100, "obfuscation")
    common, rare = weights[600, SIGNALS.index("jailbreak")], weights[700, SIGNALS.index("obfuscation")]
    assert 1 < common / weights[0, 0] < rare / weights[0, 0] < 5.001


def test_rows_of_a_large_source_weigh_less_each() -> None:
    many = [LabelledText(str(n), "t", 0, "benign", "large") for n in range(900)]
    few = [LabelledText(str(n), "t", 0, "benign", "small") for n in range(100)]
    _, weights = make_targets([*many, *few])
    assert weights[0, 0] < weights[-1, 0]
    assert weights[:900].sum() > weights[900:].sum()


def test_strata_with_too_few_documents_are_merged() -> None:
    tokens = np.concatenate([np.full(400, 10), np.full(100, 50), np.full(400, 500)]).astype(np.int32)
    assert merge_strata(tokens, (32, 128)) in [(32,), (128,)]


def test_full_strata_are_kept() -> None:
    tokens = np.concatenate([np.full(300, 10), np.full(300, 50)]).astype(np.int32)
    assert merge_strata(tokens, (32,)) == (32,)


def test_one_stratum_is_left_when_there_is_little() -> None:
    assert merge_strata(np.full(310, 10, np.int32), (32, 128, 384)) == ()


@pytest.fixture(scope="module")
def model(tiny_bert: Path) -> TruncatedModel:
    return TruncatedModel(resolve_model(str(tiny_bert)), (2, 3))


@pytest.fixture(scope="module")
def windows(wordpiece_file: Path) -> list[Window]:
    tokenizer = WindowTokenizer(wordpiece_file, size=24, overlap=6)
    return [w for text in tokenizer.tokenize([r.text for r in rows(60, 12)]) for w in tokenizer.windows(text.ids)]


def test_basis_whitens_the_activations(model: TruncatedModel, windows: list[Window]) -> None:
    basis = fit_basis(model, windows, 8, lambda _: None)
    batch = WindowBatch.of(windows)
    z = (model.activations(batch)[batch.mask] - basis.mean) @ basis.components
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(8), atol=1e-2)
    assert 0 < basis.explained <= 1


def test_directions_are_unit_vectors_over_their_deviation(model: TruncatedModel, windows: list[Window]) -> None:
    components = fit_basis(model, windows, 8, lambda _: None).components
    unit = components / np.linalg.norm(components, axis=0)
    np.testing.assert_allclose(unit.T @ unit, np.eye(8), atol=1e-4)


def test_batches_hold_every_window_once_within_the_budget(windows: list[Window]) -> None:
    batches = length_sorted_batches([len(window) for window in windows], 200)
    assert sorted(index for batch in batches for index in batch) == list(range(len(windows)))
    assert all(max(len(windows[i]) for i in batch) * len(batch) <= 200 for batch in batches)


class CountingModel:
    """Activations that tell the token; stops as if killed after some batches."""

    def __init__(self, stop_after: int | None = None):
        self.calls, self.stop_after = 0, stop_after

    def activations(self, batch: WindowBatch) -> FloatArray:
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        return np.repeat(batch.ids[:, :, None].astype(np.float32), 2, axis=2)


def projection(model: CountingModel, cache: Path) -> ProjectedWindows:
    basis = Basis(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), 1.0)
    windows = [Window(np.full(8192, n + 1, np.int32), 0, 8192) for n in range(60)]
    return project(model, basis, windows, np.arange(60), cache, lambda _: None)  # type: ignore[arg-type]


def test_interrupted_projection_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        projection(CountingModel(stop_after=55), tmp_path)
    rest = CountingModel()
    projected = projection(rest, tmp_path)
    assert rest.calls == 10
    assert [projected.values[start, 0] for start in projected.starts[:-1]] == list(range(1, 61))


def test_finished_projection_is_not_computed_again(tmp_path: Path) -> None:
    projection(CountingModel(), tmp_path)
    again = CountingModel()
    projection(again, tmp_path)
    assert again.calls == 0


def separable(seed: int = 4) -> tuple[ProjectedWindows, np.ndarray, np.ndarray]:
    """Documents of 6 tokens; every second one has a token far out and carries the second signal."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(120, 6, 4)).astype(np.float16) * np.float16(0.3)
    values[::2, 3, 1] += 6
    targets = np.zeros((120, len(SIGNALS)), np.float32)
    targets[::2, 1] = 1
    starts = np.arange(0, 121 * 6, 6)
    return ProjectedWindows(values.reshape(-1, 4), starts, np.arange(120)), targets, np.ones_like(targets)


def train(**changes: float) -> Probe:
    choices = {"heads": 2, "batch_tokens": 240, "epochs": 2, **changes}
    return train_probe(*separable(), TrainingPlan(**choices), lambda _: None)  # type: ignore[arg-type]


def test_trained_probe_tells_one_odd_token() -> None:
    probe = train(epochs=25, learning_rate=0.1, batch_tokens=720)
    z = separable()[0].values.reshape(120, 6, 4).astype(np.float64)
    queries, values = z @ probe.query[1].T, z @ probe.value[1].T
    attention = np.exp(queries) / np.exp(queries).sum(axis=1, keepdims=True)
    logits = (attention * values).sum(axis=(1, 2)) + probe.bias[1]
    assert logits[::2].min() > logits[1::2].max()


def test_training_is_repeatable() -> None:
    np.testing.assert_array_equal(train().query, train().query)


def test_training_depends_on_the_seed() -> None:
    assert (train().query != train(seed=1).query).any()
