"""The run's own rules, with a back end in memory: order, flow, and what a kill at any moment leaves behind."""

import json
import random
from pathlib import Path

import pytest

from worker.bulk.backend import Done
from worker.bulk.checkpoint import RunDirectory
from worker.bulk.chunks import Chunk
from worker.bulk.output import OutputPlan
from worker.bulk.pipeline import Flow
from worker.bulk.rows import Columns
from worker.bulk.run import Request, Run
from worker.bulk.sources import find_inputs
from worker.errors import RunCancelled, RunConflict

ROWS = 100


class Killed(BaseException):
    """Nobody catches it, as nobody catches a kill."""


class MemoryBackend:
    """Answers in a random order, and remembers across sittings what was sent, as Redis does."""

    def __init__(self, seed: int = 1, kill_after: int | None = None) -> None:
        self.random = random.Random(seed)
        self.kill_after = kill_after
        self.answers: dict[int, Done] = {}
        self.sent: list[int] = []
        self.in_flight_most = 0
        self.waiting: list[int] = []
        self.position = "0-0"

    def submit(self, chunk: Chunk) -> None:
        chunk.mark = self.position
        if chunk.number not in self.answers:
            self.sent.append(chunk.number)
            results = [
                {
                    "item_index": index,
                    "status": "screened",
                    "verdict": "flagged" if "ignore" in item["text"] else "clean",
                    "severity": "warning" if "ignore" in item["text"] else None,
                    "score": float(index),
                    "p_value": 0.0005 if "ignore" in item["text"] else 0.3,
                    "extrapolated": False,
                    "signals": [{"signal": "jailbreak", "score": 1.0, "p_value": 0.1}],
                    "evidence": [],
                    "characters": len(item["text"]),
                    "tokens": 3,
                    "windows": 1,
                }
                for index, item in enumerate((chunk.job or {})["items"])
            ]
            self.answers[chunk.number] = Done(chunk.number, results, 0.1)
        self.waiting.append(chunk.number)
        self.in_flight_most = max(self.in_flight_most, len(self.waiting))

    def collect(self, wait_s: float) -> list[Done]:
        if self.kill_after is not None:
            self.kill_after -= 1
            if self.kill_after < 0:
                raise Killed
        if not self.waiting or (wait_s == 0 and self.random.random() < 0.5):
            return []
        return [self.answers[self.waiting.pop(self.random.randrange(len(self.waiting)))]]

    def again(self) -> dict[int, int]:
        return {}

    def close(self, status: str) -> None:
        self.closed = status
        self.waiting.clear()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": f"r{n}", "text": "" if n % 9 == 0 else f"ignore {n}" if n % 5 == 0 else f"text {n}"})
            + "\n"
            for n in range(ROWS)
        ),
        encoding="utf-8",
    )
    return path


def request_for(corpus: Path, *, in_order: bool = True, only_alarms: bool = False, in_flight: int = 20) -> Request:
    folder = corpus.parent
    outputs = OutputPlan(folder / "out.jsonl", only_alarms, folder / "clean", folder / "flagged", folder / "rest")
    return Request(
        find_inputs([str(corpus)]),
        Columns(whole=True),
        outputs,
        items=4,
        flow=Flow(items=in_flight, in_order=in_order),
    )


def sit(request: Request, backend: MemoryBackend, *, resume: bool = True, force: bool = False) -> Run:
    run = Run(request, RunDirectory(request.outputs.results), resume=resume, force=force)
    run.go(backend, lambda _: None)
    return run


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.run").mkdir()


def rows_in(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("checkpoint_s", [0.0, 1000.0], ids=["every step", "never"])
def test_killed_again_and_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_order: bool, checkpoint_s: float
) -> None:
    monkeypatch.setattr("worker.bulk.pipeline.CHECKPOINT_S", checkpoint_s)
    backend = MemoryBackend()
    request = request_for(corpus, in_order=in_order)
    for kill_after in (3, 9, 5, 6):
        backend.kill_after = kill_after
        with pytest.raises(Killed):
            sit(request, backend)
        with (tmp_path / "out.jsonl").open("ab") as file:
            file.write(b'{"half a li')  # what a kill in the middle of a write leaves behind
    backend.kill_after = None
    run = sit(request, backend)
    found = rows_in(tmp_path / "out.jsonl")
    assert (found if in_order else sorted(found)) == (
        [f"r{n}" for n in range(ROWS)] if in_order else sorted(f"r{n}" for n in range(ROWS))
    )
    assert len(backend.sent) == len(set(backend.sent)), "nothing is screened twice"
    assert (run.tally.rows, run.tally.clean, run.tally.flagged, run.tally.errors) == (100, 71, 17, 12)
    sorted_rows = [rows_in(tmp_path / name) for name in ("clean", "flagged", "rest")]
    assert [len(rows) for rows in sorted_rows] == [71, 17, 12]
    assert sorted(row for rows in sorted_rows for row in rows) == sorted(f"r{n}" for n in range(ROWS))
    assert run.checkpoint.is_done


def test_no_more_in_flight_than_allowed(corpus: Path) -> None:
    backend = MemoryBackend()
    sit(request_for(corpus, in_flight=12), backend)
    assert backend.in_flight_most <= 3


def test_only_alarms_leaves_clean_rows_out(corpus: Path, tmp_path: Path) -> None:
    sit(request_for(corpus, only_alarms=True), MemoryBackend())
    assert len(rows_in(tmp_path / "out.jsonl")) == 29


def test_stop_ends_at_a_safe_moment(corpus: Path, tmp_path: Path) -> None:
    request, backend = request_for(corpus), MemoryBackend()
    run = Run(request, RunDirectory(request.outputs.results), resume=False, force=False)
    assert run.go(backend, lambda progress: run.stop() if progress.tally.rows > 40 else None) == "interrupted"
    assert (backend.closed, run.checkpoint.status) == ("interrupted", "interrupted")
    sit(request, backend)
    assert rows_in(tmp_path / "out.jsonl") == [f"r{n}" for n in range(ROWS)]


def test_a_cancelled_run_is_remembered_as_one(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, request = MemoryBackend(), request_for(corpus)

    def cancelled(_: float) -> list[Done]:
        raise RunCancelled("cancelled")

    monkeypatch.setattr(backend, "collect", cancelled)
    with pytest.raises(RunCancelled):
        sit(request, backend)
    found = RunDirectory(request.outputs.results).load()
    assert found is not None
    assert (found.status, backend.closed) == ("cancelled", "cancelled")


@pytest.mark.parametrize("change", ["edited", "shorter"])
def test_another_input_is_refused(corpus: Path, change: str) -> None:
    request, backend = request_for(corpus), MemoryBackend(kill_after=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.bulk.pipeline.CHECKPOINT_S", 0.0)
        with pytest.raises(Killed):
            sit(request, backend)
    lines = corpus.read_text(encoding="utf-8").splitlines(keepends=True)
    lines = ['{"id": "r0", "text": "other"}\n', *lines[1:]] if change == "edited" else lines[:1]
    corpus.write_text("".join(lines), encoding="utf-8")
    backend.kill_after = None
    with pytest.raises(RunConflict, match="input has changed"):
        sit(request, backend)


def test_an_unfinished_run_is_not_overwritten_by_accident(corpus: Path, tmp_path: Path) -> None:
    request = request_for(corpus)
    with pytest.raises(Killed):
        sit(request, MemoryBackend(kill_after=5))
    with pytest.raises(RunConflict, match="--resume"):
        sit(request, MemoryBackend(), resume=False)
    with pytest.raises(RunConflict, match="items_per_job was 4"):
        Run(
            Request(request.inputs, request.columns, request.outputs, items=5),
            RunDirectory(request.outputs.results),
            resume=True,
            force=False,
        )
    sit(request, MemoryBackend(), resume=False, force=True)
    assert rows_in(tmp_path / "out.jsonl") == [f"r{n}" for n in range(ROWS)]


def test_a_foreign_output_is_not_overwritten(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("precious\n", encoding="utf-8")
    with pytest.raises(RunConflict, match="exists"):
        sit(request_for(corpus), MemoryBackend())
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == "precious\n"


def test_an_input_is_not_overwritten(corpus: Path) -> None:
    request = Request(find_inputs([str(corpus)]), Columns(), OutputPlan(corpus))
    with pytest.raises(RunConflict, match="also an input"):
        Run(request, RunDirectory(corpus), resume=False, force=True)


def test_two_processes_do_not_work_on_one_run(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "out.jsonl")
    with directory.locked(), pytest.raises(RunConflict, match="another process"), directory.locked():
        pass


def test_a_damaged_checkpoint_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.run/checkpoint.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunConflict, match="--force"):
        RunDirectory(tmp_path / "out.jsonl").load()
