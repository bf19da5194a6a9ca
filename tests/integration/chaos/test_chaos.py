"""A short spell of what ``make chaos`` does for long, and each fault by itself."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.chaos.broker import Broker, breakable_redis
from tests.integration.chaos.fleet import Fleet
from tests.integration.chaos.ledger import Ledger
from tests.integration.chaos.soak import Plan, soak
from tests.integration.chaos.stages import STAGES

pytestmark = pytest.mark.integration

JOBS = 60


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with breakable_redis() as started:
        yield started


@pytest.fixture
def ledger(broker: Broker) -> Ledger:
    broker.admin.flushall()
    return Ledger(broker.url)


def assert_kept(ledger: Ledger, jobs: int = JOBS) -> None:
    count = ledger.settle(90)
    assert (count.lost, count.duplicated) == (0, 0), count
    assert count.enqueued >= jobs


def test_kills_and_a_failing_redis_lose_and_double_nothing(broker: Broker, ledger: Ledger, tmp_path: Path) -> None:
    result = soak(broker, tmp_path, Plan(seconds=20, redis_every_s=5))
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


FAULTS: dict[str, Callable[[Broker], None]] = {
    "restarted": lambda broker: broker.restart(away_s=1),
    "killed": lambda broker: broker.crash(away_s=1),
    "frozen": lambda broker: broker.freeze(4),
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
