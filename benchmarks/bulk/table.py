"""The table of docs/benchmarks.md, from what was measured."""

from typing import Any


def table(report: dict[str, Any]) -> str:
    """Return the sections that were measured as Markdown."""
    lines = ["| what | figure | to reach |", "|---|---|---|"]
    for name, rows in (
        ("killed", _killed),
        ("latency", _latency),
        ("speed", _speed),
        ("recalibration", _recalibration),
    ):
        if name in report:
            lines += [f"| {what} | {figure} | {target} |" for what, figure, target in rows(report[name])]
    about = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    return "\n".join([*lines, "", f"Machine and versions: {about}."])


Row = tuple[str, str, str]


def _killed(found: dict[str, Any]) -> list[Row]:
    kills = " and ".join(f"{rows:,}" for rows in found["killed_after_rows"])
    rows = [
        ("rows in, rows out", f"{found['rows_in']:,}, {found['rows_out']:,}", "equal"),
        (
            f"killed after {kills} rows: lost, doubled, strange, out of order",
            f"{found['lost']}, {found['doubled']}, {found['strange']}, {found['disordered']}",
            "0, 0, 0, 0",
        ),
        ("results published twice or never", f"{found['published_twice_or_never']}", "0"),
        ("rows a second, kills and restarts included", f"{found['rows_per_s']:,} ({found['seconds']:,} s)", ""),
        (
            "rows a second without screening; share of the run's time that this is",
            f"{found['rows_per_s_without_screening']:,.0f}; {found['share_reading_and_writing']:.1%}",
            "small",
        ),
    ]
    if "rss_mb" in found:
        rss, redis = found["rss_mb"], found["redis_mb"]
        rows += [
            (
                "memory of the bulk process in its longest sitting, first and last quarter; slope",
                f"{rss['first_quarter']} MB, {rss['last_quarter']} MB; {rss['slope_per_minute']:+} MB a minute",
                "flat",
            ),
            (
                f"Redis {_of(redis)}; jobs waiting or taken",
                f"{found['redis_mb_max_of_all_sittings']} MB; {found['jobs_waiting_max']}",
                "bounded",
            ),
            ("processor cores the bulk process uses", f"{found['process_cores']}", ""),
        ]
    return rows


def _of(growth: dict[str, float]) -> str:
    return f"at most (first quarter {growth['first_quarter']} MB, last {growth['last_quarter']} MB)"


def _latency(found: dict[str, Any]) -> list[Row]:
    idle, beside = found["idle"], found["beside_bulk"]
    return [
        ("one-item job on an idle worker, p50, p95", f"{idle['p50_ms']} ms, {idle['p95_ms']} ms", ""),
        (
            f"the same beside a bulk run of {found['bulk_rows_per_s_meanwhile']} mixed rows a second",
            f"{beside['p50_ms']} ms, {beside['p95_ms']} ms",
            f"p95 at most {found['allowed_p95_ms']} ms: twice idle and a batch of {found['batch_ms']} ms",
        ),
    ]


def _speed(found: dict[str, Any]) -> list[Row]:
    rates = f"{found['bulk_rows_per_s']:,} ÷ {found['engine_rows_per_s']:,} mixed rows a second"
    return [(f"bulk ÷ engine alone: {rates}", f"{found['bulk_over_engine']}", f"{found['target']}")]


def _recalibration(found: dict[str, Any]) -> list[Row]:
    budget, used = f"{found['budget']:.0%}", f"{found['calibrated_on']:,}"
    return [
        (f"false alarms at {budget} on shifted traffic, before", _rate(found["before"]), "off"),
        (
            f"the same after `recalibrate` on {used} texts, measured on {found['measured_on']:,} others",
            _rate(found["after"]),
            f"{budget} within the interval",
        ),
        (
            f"random halves for which {budget} lies within; mean rate of all",
            f"{found['draws_within']} of {found['draws']}; {found['mean_of_draws']:.2%}",
            "",
        ),
    ]


def _rate(rate: dict[str, float]) -> str:
    return f"{rate['rate']:.2%} [{rate['low']:.2%}, {rate['high']:.2%}]"
