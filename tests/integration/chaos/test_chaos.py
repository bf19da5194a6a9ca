"""A short spell of what ``make chaos`` does for long, and each fault by itself."""

import copy
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tasks.process import EXIT_HUNG
from tests.integration.chaos.broker import Broker, breakable_redis
from tests.integration.chaos.engine import FAILS, HANGS, HOARDS, KILLS
from tests.integration.chaos.fleet import Fleet
from tests.integration.chaos.ledger import Ledger
from tests.integration.chaos.soak import Plan, soak
from tests.integration.chaos.stages import STAGES, TRACE
from tests.integration.chaos.table import table
from tests.integration.support import UNACKED

pytestmark = pytest.mark.integration

JOBS = 60

VISIBILITY_S = 5
"""The fleet's visibility timeout."""

RECOVERY_S = VISIBILITY_S + 15
"""The promise: so long after a kill its jobs are done at the latest."""

MEMORY_MB = 200
"""What a worker may take beyond what it starts with, before it is killed for it."""


@pytest.fixture(scope="module")
def broker(redis_binary: Path) -> Iterator[Broker]:
    with breakable_redis(redis_binary) as started:
        yield started


@pytest.fixture
def ledger(broker: Broker) -> Ledger:
    broker.admin.flushall()
    return Ledger(broker.url)


def assert_kept(ledger: Ledger, jobs: int = JOBS) -> None:
    count = ledger.settle(90)
    assert (count.lost, count.duplicated) == (0, 0), count
    assert count.enqueued >= jobs


def test_kills_and_a_failing_redis_lose_and_double_nothing(
    broker: Broker, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = soak(broker, tmp_path, Plan(seconds=20, jobs=400, kills=8, redis_every_s=5))
    with capsys.disabled():
        Console().print("", table(result), result.count.line(), soft_wrap=True)
    assert result.count.kept, result
    assert result.count.kills > 5
    assert result.count.enqueued > 100
    assert result.count.dead_lettered == 0
    assert not [fault for fault in result.faults if fault.startswith("ended by itself")], result.faults


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_fails_now_and_then_costs_no_job(
    broker: Broker, ledger: Ledger, tmp_path: Path, stage: str
) -> None:
    with Fleet(broker.url, tmp_path, CHAOS_STAGES=stage, FIREWALL_MAX_ATTEMPTS="50") as fleet:
        for _ in range(JOBS):
            ledger.send()
        while ledger.missing:
            ledger.collect()
            if not any(member.alive for member in fleet.members):
                fleet.started()
        assert_kept(ledger)
    assert TRACE in b"".join(log.read_bytes() for log in tmp_path.glob("log-*"))


def test_what_a_killed_worker_held_is_done_in_time(broker: Broker, ledger: Ledger, tmp_path: Path) -> None:
    with Fleet(broker.url, tmp_path, CHAOS_FORWARD_S="0.2") as fleet:
        doomed, _ = fleet.started(), fleet.started()
        for _ in range(JOBS):
            ledger.send()
        while not ledger.count.results:
            ledger.collect()
        doomed.kill()
        ledger.killed()
        assert_kept(ledger)
    assert 1 < ledger.count.worst_recovery_s < RECOVERY_S, "it held something, and that came back"


FAULTS: dict[str, Callable[[Broker], None]] = {
    "restarted": lambda broker: broker.restart(away_s=1),
    "killed": lambda broker: broker.crash(away_s=1),
    "frozen": lambda broker: broker.freeze(8),
    "full": lambda broker: broker.fill_up(3),
    "read-only": lambda broker: broker.demote(3),
    "connections reset": lambda broker: broker.reset_connections(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_redis_costs_no_job_and_no_worker(broker: Broker, ledger: Ledger, tmp_path: Path, fault: str) -> None:
    with Fleet(broker.url, tmp_path, CHAOS_FORWARD_S="0.2") as fleet:
        member = fleet.started()
        for _ in range(JOBS):
            ledger.send()
        FAULTS[fault](broker)
        assert_kept(ledger)
        assert member.alive, member.log.read_text()
        if fault == "frozen":
            assert "Timeout" in member.log.read_text(), "it was frozen for longer than the socket timeout"


@pytest.mark.parametrize("word", [KILLS, HOARDS], ids=["killed", "out of memory"])
def test_a_job_that_kills_its_worker_is_buried_and_its_neighbours_are_not(
    broker: Broker, ledger: Ledger, tmp_path: Path, word: str
) -> None:
    """The killer takes those beside it along once; then it dies alone, until its attempts are used up.

    A worker over its memory is killed as a container's would be: with SIGKILL, in the middle of a forward pass.
    """
    attempts, allowed_mb = 3, 0.0
    for n in range(30):
        ledger.send([f"meeting {word}"] if n == 10 else None, queue="screening")
    with Fleet(broker.url, tmp_path, FIREWALL_MAX_ATTEMPTS=str(attempts)) as fleet:
        kills = 0
        while ledger.missing:
            ledger.collect()
            alive = [member for member in fleet.members if member.alive]
            for member in alive:
                if member.resident_mb > allowed_mb:
                    member.kill()
            if not alive:
                kills += bool(fleet.members)
                fleet.members.clear()
                allowed_mb = fleet.started().resident_mb + MEMORY_MB
        assert_kept(ledger, 30)
    assert kills == attempts
    assert ledger.errors["attempts_exhausted"] == 1
    (letter,) = ledger.letters()
    assert letter["error"]["code"] == "attempts_exhausted"
    assert (letter["attempts"], len(letter["history"])) == (attempts, attempts)
    assert len({start["worker"] for start in letter["history"]}) == attempts
    assert word in letter["payload"]


def test_a_hung_forward_pass_ends_its_worker_and_the_job_goes_elsewhere(
    broker: Broker, ledger: Ledger, tmp_path: Path
) -> None:
    patience = {"FIREWALL_FORWARD_TIMEOUT_S": "1", "FIREWALL_VISIBILITY_TIMEOUT_S": "600"}
    with Fleet(broker.url, tmp_path, FIREWALL_MAX_ATTEMPTS="1", **patience) as fleet:
        member = fleet.started()
        ledger.send([f"meeting {HANGS}"], queue="screening")
        member.process.join(30)
        assert member.process.exitcode == EXIT_HUNG
        assert "forward_hung" in member.log.read_text()
        assert not member.health.exists()
        assert (ledger.redis.llen("screening"), ledger.redis.hlen(UNACKED)) == (1, 0), "and did not take it again"
        # At once, although the visibility timeout is far away; the one attempt was used up.
        fleet.started()
        assert_kept(ledger, 1)
    (letter,) = ledger.letters()
    assert (letter["error"]["code"], letter["attempts"]) == ("attempts_exhausted", 1)


def test_a_poison_item_fails_alone(broker: Broker, ledger: Ledger, tmp_path: Path) -> None:
    with Fleet(broker.url, tmp_path) as fleet:
        fleet.started()
        for _ in range(5):
            ledger.send(["meeting today", f"garden {FAILS}", "report"])
        assert_kept(ledger, 15)
    assert ledger.errors == {"clean": 10, "forward_failed": 5}


def test_an_orderly_end_hands_everything_back_at_once(broker: Broker, ledger: Ledger, tmp_path: Path) -> None:
    with Fleet(broker.url, tmp_path, CHAOS_FORWARD_S="0.3", FIREWALL_VISIBILITY_TIMEOUT_S="600") as fleet:
        member = fleet.started()
        for _ in range(JOBS):
            ledger.send()
        while not ledger.count.results:
            ledger.collect()
        member.send(signal.SIGTERM)
        member.process.join(60)
        assert member.process.exitcode == 0
        assert ledger.redis.hlen(UNACKED) == 0
        ledger.collect()
        assert ledger.missing
        fleet.started(CHAOS_FORWARD_S="0.01")
        assert_kept(ledger)


def test_garbage_in_the_queue_neither_stops_the_worker_nor_is_lost(
    broker: Broker, ledger: Ledger, tmp_path: Path
) -> None:
    """Real messages with something wrong in them, each buried or answered."""
    ledger.send(["meeting today"], queue="screening")
    good = json.loads(broker.admin.rpop("screening"))
    for garbage in (None, True, 7, "x", [], {}, ["x"], {"x": 1}, "\ud83d", -1e308, "pickle", "2020-13-45"):
        for part in (good, good["headers"], good["properties"]):
            for name in part:
                wrong = copy.deepcopy(good)
                where = wrong if part is good else wrong["headers" if part is good["headers"] else "properties"]
                where[name] = garbage
                broker.admin.lpush("screening", json.dumps(wrong))
    with Fleet(broker.url, tmp_path) as fleet:
        member = fleet.started()
        ledger.send(["garden report"], queue="screening")
        assert_kept(ledger, 2)
        assert ledger.idle()
        assert member.alive, member.log.read_text()
