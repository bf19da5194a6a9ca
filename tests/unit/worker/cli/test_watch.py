"""What ``watch`` shows of an event."""

import json

import pytest

from schemas import Drift, DriftEvent
from tests.unit.worker.cli.test_commands import invoke
from worker.cli import console, watch

DRIFT = Drift(
    codebook="c0de",
    policy="default",
    worker="host-7:12",
    direction="smaller",
    distance=0.1234,
    tolerated=0.05,
    windows=3,
    texts=5000,
    flagged=61,
    above=0.01,
    counts=[5000],
    remedy="Recalibrate \x1b[2J[red]now",
)


def shown(event: DriftEvent, *, as_json: bool = False) -> str:
    raw = event.model_dump_json()
    with console.out.capture() as captured:
        watch._show(json.loads(raw), raw, as_json=as_json)
    return captured.get()


def test_a_drift_is_shown_with_its_figures_and_its_remedy() -> None:
    first, second = shown(DriftEvent(id="e", data=DRIFT)).splitlines()
    assert "drift policy default: p-values smaller, distance 0.123 of 0.050 tolerated" in first
    assert "5,000 texts, 61 flagged" in first
    assert "codebook c0de host-7:12" in first
    # Nothing of the stream is obeyed, by the terminal or by the table.
    assert second.strip() == "Recalibrate  [2J[red]now"


def test_a_drift_as_json_is_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    shown(DriftEvent(id="e", data=DRIFT), as_json=True)
    assert DriftEvent.model_validate_json(capsys.readouterr().out).data == DRIFT


def test_two_streams_at_once_are_wrong_usage() -> None:
    result = invoke("watch", "--results", "--drift")
    assert result.exit_code == 2
    assert "watch one" in result.stderr
