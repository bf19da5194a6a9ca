"""The table of docs/benchmarks.md, from what was measured."""

from typing import Any

TARGETS = {
    "e2e_bulk_over_engine": (0.95, "worker, 64-item jobs ÷ engine alone"),
    "e2e_single_over_engine": (0.85, "worker, one-item jobs ÷ engine alone"),
    "minilm_over_peak": (0.65, "MiniLM ÷ matrix peak, best torch arithmetic"),
    "smollm2_over_peak": (0.6, "SmolLM2-135M ÷ matrix peak, full depth"),
    "minilm_best_torch_over_float32": (None, "MiniLM, best torch arithmetic ÷ torch float32"),
    "minilm_int8_over_best_torch": (None, "MiniLM, onnx int8 ÷ best torch arithmetic"),
    "padding": (1.05, "padded ÷ real tokens (at most)"),
    "over_celery_pipeline": (6.0, "÷ Celery prefork + transformers pipeline"),
    "over_celery_batches": (5.0, "÷ celery-batches + sentence-transformers"),
    "over_sentence_transformers": (5.0, "÷ sentence-transformers, defaults"),
    "over_sentence_transformers_best": (2.0, "÷ sentence-transformers, bfloat16"),
    "over_infinity": (5.0, "÷ infinity-emb"),
}
"""Ratios with what is to be reached."""


def table(report: dict[str, Any]) -> str:
    """Return ratios and absolute figures as Markdown."""
    lines = ["| ratio | measured | to reach |", "|---|---|---|"]
    for key, (target, name) in TARGETS.items():
        if key in report["ratios"]:
            lines.append(f"| {name} | {report['ratios'][key]} | {target or ''} |")
    lines += ["", "| figure | measured |", "|---|---|"]
    for section, part in report["absolute"].items():
        lines += [f"| {section}: {name} | {value} |" for name, value in _flat(part)]
    about = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    return "\n".join([*lines, "", f"Machine and versions: {about}."])


def _flat(part: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return leaves with their path."""
    if isinstance(part, dict):
        return [leaf for name, value in part.items() for leaf in _flat(value, f"{prefix}{name} ")]
    if isinstance(part, list):
        return [leaf for number, value in enumerate(part, 1) for leaf in _flat(value, f"{prefix}{number} ")]
    return [(prefix.strip(), f"{part:,}" if isinstance(part, int | float) else part)]
