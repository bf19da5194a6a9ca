"""Leave-one-source-group-out: nothing of a held-out source is fitted on, and all methods see the same rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.fitting_rows import rows, silent
from worker.codebook.format import load_codebook
from worker.errors import InvalidField
from worker.fitting import leave_out
from worker.fitting.adapter import AdapterPlan
from worker.fitting.dataset import LabelledText
from worker.fitting.leave_out import HeldOut, held_out_group, leave_groups_out, make_folds, sample_rows
from worker.fitting.leave_out_report import render
from worker.model.hub import resolve_model
from worker.model.windows import WindowTokenizer


def row(source: str, label: int = 0, name: str = "r", signal: str = "jailbreak") -> LabelledText:
    return LabelledText(name, f"text {name}", label, signal if label else "benign", source)


@pytest.mark.parametrize(
    ("source", "group"),
    [
        ("acme/tools:data/a.csv (note)", "acme/tools"),
        ("composed: context acme/wiki, plant evil/plants seeds", "evil/plants"),
        ("composed: encoded attack strings (tools, plants)", "composed"),
        ("override/deadlines", "override"),
    ],
)
def test_group_a_row_is_held_out_with(source: str, group: str) -> None:
    assert held_out_group(row(source)) == group


def many(groups: int = 8, count: int = 30) -> list[LabelledText]:
    return [
        row(f"acme/g{g}:file", label, f"{g}-{label}-{n}")
        for g in range(groups)
        for label in (0, 1)
        for n in range(count)
    ]


def test_every_group_is_held_out_once_and_never_fitted_on_meanwhile() -> None:
    given = many()
    folds = make_folds(given, 4)
    assert sorted(n for fold in folds for n in fold.test) == list(range(len(given)))
    for fold in folds:
        assert {held_out_group(given[n]) for n in fold.test} == fold.groups
        assert not fold.groups & {held_out_group(given[n]) for n in fold.train}
        assert len(fold.train) + len(fold.test) == len(given)


def test_folds_are_of_nearly_equal_size() -> None:
    unequal = many(6) + [row("acme/big:file", 0, str(n)) for n in range(300)] + many(2, 100)
    for fold in make_folds(unequal, 3):
        assert sum(unequal[n].label == 0 for n in fold.test) >= 60
        assert sum(unequal[n].label == 1 for n in fold.test) >= 60


def test_row_that_names_a_held_out_source_is_not_fitted_on() -> None:
    mixed = [row("composed: context acme/g0, plant evil/plants seeds", 1, f"m{n}") for n in range(20)]
    given = many(4) + mixed
    for fold in make_folds(given, 2):
        kept = {given[n].source for n in fold.train}
        if "acme/g0" in fold.groups or "evil/plants" in fold.groups:
            assert mixed[0].source not in kept
        else:
            assert mixed[0].source in kept


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(InvalidField, match="too few source groups for 5 folds"):
        make_folds(many(3), 5)


def test_sample_is_capped_by_group_and_label_and_the_same_for_ever() -> None:
    given = many(3, 50)
    kept = sample_rows(given, 20)
    assert len(kept) == 3 * 2 * 20
    assert kept == [entry for entry in given if entry in set(kept)]
    assert {entry.id for entry in sample_rows(given[::-1], 20)} == {entry.id for entry in kept}
    assert sample_rows(given, None) == given


def test_sample_holds_only_what_the_policy_looks_for() -> None:
    odd = [row("a/b:c", 1, "h", "harmful_request"), LabelledText("e", " ", 0, "benign", "a/b:c")]
    assert sample_rows([*many(1, 2), *odd], None) == many(1, 2)


def grouped(groups: int, benign: int = 60, attacks: int = 48) -> list[LabelledText]:
    return [
        replace(entry, id=f"{g}-{entry.id}", source=f"acme/g{g}:file")
        for g in range(groups)
        for entry in rows(benign, attacks, seed=g)
    ]


@pytest.mark.parametrize("adapter", [None, AdapterPlan(rank=2, first_layer=2, epochs=1, batch_tokens=1024)])
def test_all_methods_score_the_groups_left_out(
    adapter: AdapterPlan | None, fitted: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leave_out, "FOLDS", 3)
    book, files = load_codebook(fitted), resolve_model(str(tiny_bert))
    tokenizer = WindowTokenizer(files.directory / "tokenizer.json", size=24, overlap=6)
    given = grouped(6)
    found = leave_groups_out(book, files, tokenizer, given, adapter, tmp_path, silent)
    assert set(found) == {f"acme/g{g}" for g in range(6)}
    for scores in found.values():
        assert set(scores.attack) == set(scores.benign) == {"codebook's method", "TF-IDF + LR", "mean-pooled + LR"}
        assert {len(values) for values in scores.attack.values()} == {40}  # 8 of 48 ask plainly for harm
        assert {len(values) for values in scores.benign.values()} == {120}
        assert all(np.isfinite(values).all() for values in (*scores.attack.values(), *scores.benign.values()))
        assert scores.attack["TF-IDF + LR"].min() > scores.benign["TF-IDF + LR"].max()
    again = leave_groups_out(book, files, tokenizer, given, adapter, tmp_path, silent)
    for group, scores in found.items():
        np.testing.assert_array_equal(scores.attack["codebook's method"], again[group].attack["codebook's method"])


def held_out(fold: int, shift: float, seed: int) -> HeldOut:
    random = np.random.default_rng(seed)
    attack = random.normal(size=200) + shift
    benign = random.normal(size=300)
    return HeldOut(fold, {"ours": attack, "theirs": attack - 1}, {"ours": benign, "theirs": benign})


def test_report_gives_the_macro_auc_and_the_margin() -> None:
    found = {"a/one": held_out(1, 2.0, 1), "b/two": held_out(1, 1.0, 2)}
    text = "\n".join(render(found, adapter=False))
    ours, theirs = (line.split("|") for line in text.splitlines() if line.startswith(("| ours", "| theirs")))
    low, high = map(float, ours[3].split(" to "))
    assert low < float(ours[2]) < high
    assert ours[4].strip() == ""
    margin_low, margin_high = map(float, theirs[4].split(" to "))
    assert 0 < margin_low < float(ours[2]) - float(theirs[2]) < margin_high
    assert "| a/one | 200 | " in text
    assert "without the adapter" in text


def test_report_of_full_refits_says_so() -> None:
    text = "\n".join(render({"a/one": held_out(1, 2.0, 1)}, adapter=True))
    assert "without the adapter" not in text
    assert "fitted anew for every fold" in text
