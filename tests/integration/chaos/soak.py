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


@dataclass
class Plan:
    """What happens during a soak.

    Attributes:
        seconds: For how long jobs are sent.
        rate: Jobs a second.
        workers: Processes alive at once.
        life_s: Shortest and longest life of a worker that takes jobs.
        redis_every_s: Seconds between faults of Redis; 0 for none.
        most_jobs: Stop sending at so many.
    """

    seconds: float
    rate: float = 30.0
    workers: int = 2
    life_s: tuple[float, float] = (0.3, 2.5)
    redis_every_s: float = 0.0
    most_jobs: int = 1_000_000


@dataclass
class Soak:
    """The count, and what was done to get it."""

    count: Count = field(default_factory=Count)
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    seconds: float = 0.0


ENDS: tuple[tuple[float, int], ...] = ((0.85, signal.SIGKILL), (0.95, signal.SIGTERM), (1.0, signal.SIGSTOP))
"""How a worker's life ends, by cumulative share."""


def soak(broker: Broker, directory: Path, plan: Plan, tell: Callable[[str], None] = lambda _: None) -> Soak:
    """Send jobs while workers and Redis are broken at random; then let all of it settle and count."""
    ledger, result = Ledger(broker.url), Soak()
    done = threading.Event()
    begun = time.monotonic()

    def produce() -> None:
        while not done.is_set() and result.jobs < plan.most_jobs:
            for _ in range(random.choice((1, 5, 40))):
                ledger.send()
                result.jobs += 1
            ahead = begun + result.jobs / plan.rate - time.monotonic()
            if ahead > 0:
                done.wait(ahead)

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
        while len(fleet.members) < plan.workers:
            fleet.start()
        result.count = ledger.settle(SETTLE_S)
    result.outcomes = ledger.errors
    result.seconds = time.monotonic() - begun
    return result


def _reap(fleet: Fleet, ledger: Ledger, plan: Plan, result: Soak, begun: float, tell: Callable[[str], None]) -> None:
    """Keep so many workers alive, each for a random while."""
    lives: dict[int, float] = {}
    told = begun
    while time.monotonic() - begun < plan.seconds:
        ledger.collect(block_ms=50)
        for member in list(fleet.members):
            if member.ready:
                life = lives.setdefault(member.process.pid, random.uniform(*plan.life_s))
                if time.monotonic() - member.ready_at > life:
                    _end(fleet, member, ledger, result.faults)
            elif not member.alive:
                result.faults[f"ended by itself ({member.process.exitcode})"] += 1
                fleet.bury(member)
        while len(fleet.members) < plan.workers:
            fleet.start()
        if time.monotonic() - told > 15:
            told = time.monotonic()
            tell(f"{result.jobs} jobs, {ledger.count.kills} kills, {ledger.missing} results outstanding")


def _end(fleet: Fleet, member: Member, ledger: Ledger, faults: Counter[str]) -> None:
    draw = random.random()
    signum = next(signum for share, signum in ENDS if draw < share)
    faults[signal.Signals(signum).name] += 1
    if signum == signal.SIGTERM:
        member.send(signum)
        member.process.join(30)
        if member.alive:
            faults["SIGTERM ignored"] += 1
            member.kill()
    elif signum == signal.SIGSTOP:
        # Given up for dead, then back: it finishes what others have taken over by then.
        member.send(signum)
        threading.Timer(8.0, _thaw, (member,)).start()
        ledger.killed()
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
