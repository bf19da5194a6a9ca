"""Load, kills and a failing Redis for some minutes, and the count of what became of the jobs."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.chaos.broker import Broker
from tests.integration.chaos.fleet import Fleet, Member
from tests.integration.chaos.ledger import Count, Ledger

SETTLE_S = 120.0
"""How long the last jobs may take after the last fault."""

HASTE = 0.75
"""Jobs and kills are timed for this share of the soak, so that one that is late or does not count is made up for."""

LEAST_LIFE_S = 0.5
"""How long a worker takes jobs at least; else one that starts slowly would be killed before it did anything."""

TERM_S = 30.0
"""How long a worker that is told to end may take."""


@dataclass
class Plan:
    """What happens during a soak.

    Attributes:
        seconds: For how long jobs are sent.
        jobs: How many at least.
        kills: How many workers are killed at least, one at a time.
        workers: Processes alive at once.
        redis_every_s: Seconds between faults of Redis; 0 for none.
    """

    seconds: float
    jobs: int
    kills: int
    workers: int = 2
    redis_every_s: float = 0.0


@dataclass
class Soak:
    """The count, and what was done to get it."""

    server: str
    count: Count = field(default_factory=Count)
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    seconds: float = 0.0


ENDS: tuple[tuple[float, int], ...] = ((0.85, signal.SIGKILL), (0.95, signal.SIGTERM), (1.0, signal.SIGSTOP))
"""How a worker's life ends, by cumulative share. SIGTERM is no kill."""


def soak(broker: Broker, directory: Path, plan: Plan, tell: Callable[[str], None] = lambda _: None) -> Soak:
    """Send jobs while workers and Redis are broken at random; then let all of it settle and count."""
    ledger, result = Ledger(broker.url), Soak(broker.version)
    done = threading.Event()
    begun = time.monotonic()

    def produce() -> None:
        pace = HASTE * plan.seconds / plan.jobs
        while not done.is_set():
            for _ in range(random.choice((1, 5, 40))):
                ledger.send()
                result.jobs += 1
            done.wait(max(0.0, begun + result.jobs * pace - time.monotonic()))

    threads = [threading.Thread(target=produce)]
    if plan.redis_every_s:
        threads.append(threading.Thread(target=_break_redis, args=(broker, ledger, plan, done, result.faults)))
    with Fleet(broker.url, directory) as fleet:
        for thread in threads:
            thread.start()
        try:
            _reap(fleet, ledger, plan, result, begun, tell)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        _tend(fleet, plan, result.faults)
        result.count = ledger.settle(SETTLE_S)
    result.outcomes = ledger.errors
    result.seconds = time.monotonic() - begun
    return result


def _reap(fleet: Fleet, ledger: Ledger, plan: Plan, result: Soak, begun: float, tell: Callable[[str], None]) -> None:
    """Keep so many workers alive, and end one after the other at random moments."""
    pace = HASTE * plan.seconds / plan.kills
    told = begun
    due = begun + random.uniform(0.5, 1.5) * pace
    while (now := time.monotonic()) - begun < plan.seconds:
        ledger.collect(block_ms=50)
        ready = [member for member in fleet.members if _may_die(member, now)]
        if ready and now >= due:
            _end(fleet, random.choice(ready), ledger, result.faults)
            due += random.uniform(0.5, 1.5) * pace
        _tend(fleet, plan, result.faults)
        if now - told > 15:
            told = now
            tell(f"{result.jobs} jobs, {ledger.count.kills} kills, {ledger.missing} results outstanding")


def _may_die(member: Member, now: float) -> bool:
    return member.ready and not member.told_to_end and now - (member.ready_at or now) > LEAST_LIFE_S


def _tend(fleet: Fleet, plan: Plan, faults: Counter[str]) -> None:
    """Bury the dead, note who ended as nobody told it to, and start others in their place."""
    for member in list(fleet.members):
        if member.told_to_end and member.alive and time.monotonic() - member.told_to_end > TERM_S:
            faults["SIGTERM ignored"] += 1
            member.kill()
        elif not member.alive:
            if not (member.told_to_end and member.process.exitcode == 0):
                faults[f"ended by itself ({member.process.exitcode})"] += 1
            fleet.bury(member)
    while sum(not member.told_to_end for member in fleet.members) < plan.workers:
        fleet.start()


def _end(fleet: Fleet, member: Member, ledger: Ledger, faults: Counter[str]) -> None:
    draw = random.random()
    signum = next(signum for share, signum in ENDS if draw < share)
    faults[signal.Signals(signum).name] += 1
    if signum == signal.SIGTERM:
        member.told_to_end = time.monotonic()
        member.send(signum)
        return
    if signum == signal.SIGSTOP:
        # Given up for dead, then back: it finishes what others have taken over by then.
        member.send(signum)
        threading.Timer(8.0, _thaw, (member,)).start()
    else:
        member.kill()
    ledger.killed()
    fleet.bury(member)


def _thaw(member: Member) -> None:
    member.send(signal.SIGCONT)
    time.sleep(2)
    member.kill()


def _break_redis(broker: Broker, ledger: Ledger, plan: Plan, done: threading.Event, faults: Counter[str]) -> None:
    ways: list[tuple[str, Callable[[], None]]] = [
        ("redis restarted", broker.restart),
        ("redis killed", lambda: broker.crash(away_s=random.uniform(0, 2))),
        ("redis frozen", lambda: broker.freeze(random.uniform(1, 8))),
        ("redis full", lambda: broker.fill_up(random.uniform(1, 4))),
        ("redis read-only", lambda: broker.demote(random.uniform(1, 4))),
        ("connections reset", broker.reset_connections),
    ]
    while not done.wait(plan.redis_every_s * random.uniform(0.5, 1.5)):
        name, break_it = random.choice(ways)
        ledger.outage.set()
        break_it()
        ledger.outage.clear()
        faults[name] += 1
