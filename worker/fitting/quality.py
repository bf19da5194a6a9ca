"""The report on a codebook's quality: ``make quality`` writes docs/codebook/quality.md.

Everything is screened through the worker's own code. The baselines are fitted on the same rows in the same
run. Thresholds at a false-alarm rate are taken on each method's own validation scores and used abroad as
they are. What is found of sources that nothing was fitted on: ``worker.fitting.leave_out``.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.cli.console import opener, progress_bars
from worker.codebook.shipped import codebook_path
from worker.codebook.splines import MIN_GROUP
from worker.fitting.adapter import AdapterPlan
from worker.fitting.baselines import counts_as_attack, fit_baselines
from worker.fitting.cost import Cost, measure_cost
from worker.fitting.cost import render as render_cost
from worker.fitting.dataset import LabelledText, read_rows, source_group
from worker.fitting.evaluate import screen_rows
from worker.fitting.fit import Progress
from worker.fitting.leave_out import leave_groups_out
from worker.fitting.leave_out_report import render as render_left_out
from worker.fitting.measure import auc, bootstrap, tpr_at, wilson
from worker.fitting.recalibrate_report import render as render_recalibrated
from worker.model.torch_encoder import use_threads
from worker.screening.assets import arithmetic_threads, load_codebook_and_model, make_tokenizer, make_torch_encoder
from worker.screening.loading import load_screener
from worker.screening.screener import Finding
from worker.settings import load_settings

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Rows of one set that count, with one method's scores (and our p-values and findings)."""

    rows: list[LabelledText]
    score: FloatArray
    p_value: FloatArray
    findings: list[Finding] = field(default_factory=list)

    def of(self, keep: Sequence[bool]) -> FloatArray:
        """Return the scores of the rows kept."""
        return self.score[np.asarray(keep, dtype=np.bool_)]

    @property
    def benign(self) -> FloatArray:
        """Scores of the benign rows."""
        return self.of([row.label == 0 for row in self.rows])

    @property
    def attack(self) -> FloatArray:
        """Scores of the attacks the default policy looks for."""
        return self.of([row.label == 1 for row in self.rows])


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory with train, validation and ood files")
    parser.add_argument("--out", type=Path, default=Path("docs/codebook/quality.md"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/quality"))
    parser.add_argument("--full", action="store_true", help="fit an adapter for every fold of left-out sources: hours")
    chosen = parser.parse_args()
    use_threads(arithmetic_threads(load_settings()))
    sets = {
        "validation": read_rows([chosen.data / "validation.jsonl.gz"]),
        "ood": read_rows([chosen.data / "ood.jsonl.gz"]),
        "own test": read_rows([Path("data/test")]),
        "harmless": _harmless(Path("tests/data/harmless.jsonl")),
    }
    train = read_rows([chosen.data / "train.jsonl.gz", Path("data/train")], commercial_only=True)
    with progress_bars() as bars:
        ours = _ours(sets, opener(bars))
        baselines = _baselines(sets, train, chosen.cache, opener(bars))
        left_out = _left_out(train, chosen.cache, opener(bars), full=chosen.full)
    codebook, _ = load_codebook_and_model(load_settings())
    screened = {name: list(zip(scored.rows, scored.findings, strict=True)) for name, scored in ours.items()}
    parts = [
        render(ours, {"codebook": ours, **baselines}),
        *render_cost(_cost([row.text for row in ours["validation"].rows[:100]])),
        *render_recalibrated(codebook, screened),
        *left_out,
    ]
    text = "\n".join(parts)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(text, encoding="utf-8")
    print(text)  # noqa: T201


def _cost(texts: Sequence[str]) -> Cost:
    settings = load_settings()
    codebook, files = load_codebook_and_model(settings)
    encoder = make_torch_encoder(codebook, files, settings, codebook.header.model.dtype)
    path = codebook_path(settings.model, settings.codebook)
    return measure_cost(path, codebook, make_tokenizer(codebook, files), encoder, texts)


def _harmless(path: Path) -> list[LabelledText]:
    import json

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [LabelledText(r["id"], r["text"], 0, "benign", r["kind"], r["language"]) for r in rows]


def _counts(row: LabelledText) -> bool:
    return row.label == 0 or counts_as_attack(row)


def _ours(sets: dict[str, list[LabelledText]], progress: Progress) -> dict[str, Scored]:
    screener = load_screener(load_settings())
    scored: dict[str, Scored] = {}
    for name, rows in sets.items():
        found = screen_rows(screener, [row for row in rows if _counts(row)], progress(name, len(rows)))
        kept = [(row, finding) for row, finding in found if isinstance(finding, Finding)]
        scored[name] = Scored(
            [row for row, _ in kept],
            # Rarity in the calibrated sense, comparable over lengths; the raw statistic breaks its ties.
            np.array([-np.log(f.p_value) + 1e-6 * f.statistic for _, f in kept]),
            np.array([f.p_value for _, f in kept]),
            [f for _, f in kept],
        )
    screener.engine.stop()
    return scored


def _baselines(
    sets: dict[str, list[LabelledText]], train: Sequence[LabelledText], cache: Path, progress: Progress
) -> dict[str, dict[str, Scored]]:
    codebook, files = load_codebook_and_model(load_settings())
    tokenizer, depth = make_tokenizer(codebook, files), max(codebook.header.model.layers)
    tables: dict[str, dict[str, Scored]] = {}
    for method in fit_baselines(files, tokenizer, depth, train, cache, progress):
        tables[method.name] = {}
        for name, rows in sets.items():
            kept = [row for row in rows if _counts(row) and row.text.strip()]
            score = method.score([row.text for row in kept])
            tables[method.name][name] = Scored(kept, score, np.ones(len(kept)))
    return tables


def _left_out(train: Sequence[LabelledText], cache: Path, progress: Progress, *, full: bool) -> list[str]:
    codebook, files = load_codebook_and_model(load_settings())
    tokenizer = make_tokenizer(codebook, files)
    plan = codebook.header.provenance.get("plan", {}).get("adapter", {})
    known = {known.name for known in fields(AdapterPlan)}
    adapter = AdapterPlan(**{name: value for name, value in plan.items() if name in known}) if full else None
    found = leave_groups_out(codebook, files, tokenizer, train, adapter, cache, progress)
    return render_left_out(found, adapter=full)


def render(ours: dict[str, Scored], methods: dict[str, dict[str, Scored]]) -> str:
    """Return the report as Markdown."""
    parts = [
        "# Quality of the shipped codebook",
        "",
        (
            "Written by `make quality`; intervals are 95 %. `harmful_request` rows are left out: the default policy "
            "does not look for them. TPR at x %: share of attacks above the threshold that x % of the validation "
            "benign exceed."
        ),
        "",
        "## Against baselines fitted on the same rows",
        "",
        (
            "| method | validation AUC | TPR at 1 % | TPR at 0.1 % | indirect TPR at 1 % | ood AUC | ood false alarms "
            "at the 1 % threshold | ood TPR | own test AUC | harmless flagged |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_method_row(name, table) for name, table in methods.items()),
        "",
        "## Signals, validation",
        "",
        "| signal | rows | TPR at 1 % | interval | TPR at 0.1 % |",
        "|---|---|---|---|---|",
        *_signal_rows(ours["validation"]),
        "",
        "## Realised false alarms at the nominal budget",
        "",
        "| benign texts of | n | at 5 % | at 1 % | at 0.1 % |",
        "|---|---|---|---|---|",
        *_false_alarm_rows(ours),
        "",
        "## The project's own test set",
        "",
        "| family | benign | flagged at 1 % | attacks | detected at 1 % | AUC |",
        "|---|---|---|---|---|---|",
        *_family_rows(ours["own test"]),
        "",
    ]
    return "\n".join(parts)


def _method_row(name: str, table: dict[str, Scored]) -> str:
    home, abroad, own, harmless = (table[key] for key in ("validation", "ood", "own test", "harmless"))
    low, high = bootstrap(auc, home.benign, home.attack)
    threshold = _threshold(home.benign, 0.01)
    indirect = home.of([row.signal == "indirect_injection" for row in home.rows])
    cells = [
        name,
        f"{auc(home.benign, home.attack):.4f} [{low:.3f}, {high:.3f}]",
        f"{tpr_at(home.benign, home.attack, 0.01):.3f}",
        f"{tpr_at(home.benign, home.attack, 0.001):.3f}",
        f"{tpr_at(home.benign, indirect, 0.01):.3f}",
        _auc_text(abroad),
        f"{(abroad.benign > threshold).mean():.3f}",
        f"{(abroad.attack > threshold).mean():.3f}",
        _auc_text(own),
        f"{(harmless.benign > threshold).mean():.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _auc_text(scored: Scored) -> str:
    low, high = bootstrap(auc, scored.benign, scored.attack)
    return f"{auc(scored.benign, scored.attack):.3f} [{low:.3f}, {high:.3f}]"


def _threshold(benign: FloatArray, rate: float) -> float:
    ordered = np.sort(benign)
    return float(ordered[len(ordered) - 1 - int(rate * len(ordered))])


def _signal_rows(scored: Scored) -> list[str]:
    rows = []
    for signal in sorted({row.signal or "" for row in scored.rows if row.label == 1}):
        found = scored.of([row.signal == signal for row in scored.rows])
        share = tpr_at(scored.benign, found, 0.01)
        low, high = wilson(round(share * len(found)), len(found))
        rows.append(
            f"| {signal} | {len(found)} | {share:.3f} | {low:.3f} to {high:.3f} | "
            f"{tpr_at(scored.benign, found, 0.001):.3f} |"
        )
    return rows


def _false_alarm_rows(ours: dict[str, Scored]) -> list[str]:
    rows = []
    for name, scored in ours.items():
        benign = np.array([row.label == 0 for row in scored.rows])
        rows.append(_false_alarm_row(f"**{name}**", scored.p_value[benign]))
        groups = np.array([source_group(row) for row in scored.rows])
        for group in np.unique(groups[benign]):
            members = scored.p_value[benign & (groups == group)]
            if name == "harmless" or len(members) >= MIN_GROUP // 5:
                rows.append(_false_alarm_row(f"{name}: {group}", members))
    return rows


def _false_alarm_row(name: str, p_values: FloatArray) -> str:
    cells = []
    for budget in (0.05, 0.01, 0.001):
        hits = int((p_values < budget).sum())
        low, high = wilson(hits, len(p_values))
        above = " **above**" if low > budget else ""
        cells.append(f"{hits / len(p_values):.2%} [{low:.2%}, {high:.2%}]{above}")
    return f"| {name} | {len(p_values)} | " + " | ".join(cells) + " |"


def _family_rows(scored: Scored) -> list[str]:
    families = np.array([source_group(row) for row in scored.rows])
    labels = np.array([row.label for row in scored.rows])
    flagged = scored.p_value < 0.01
    rows: list[str] = []
    for family in np.unique(families):
        of_family: Any = families == family
        benign, attack = of_family & (labels == 0), of_family & (labels == 1)
        rows.append(
            f"| {family} | {benign.sum()} | {flagged[benign].mean():.3f} | {attack.sum()} | "
            f"{flagged[attack].mean():.3f} | {auc(scored.score[benign], scored.score[attack]):.3f} |"
        )
    return rows


if __name__ == "__main__":
    main()
