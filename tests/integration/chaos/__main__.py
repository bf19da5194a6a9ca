"""``python -m tests.integration.chaos --minutes N``: break things for N minutes and count."""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.integration.chaos.broker import breakable_redis
from tests.integration.chaos.soak import Plan, Soak, soak

console = Console()


def table(result: Soak) -> Table:
    drawn = Table(title=f"{result.jobs} jobs in {result.seconds:.0f} s", show_header=False)
    for name, value in vars(result.count).items():
        drawn.add_row(name, str(value))
    drawn.add_section()
    for name, times in sorted(result.faults.items()):
        drawn.add_row(name, str(times))
    drawn.add_section()
    for name, times in sorted(result.outcomes.items()):
        drawn.add_row(f"results: {name}", str(times))
    return drawn


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=30.0, help="jobs a second")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--redis-every", type=float, default=20.0, help="seconds between faults of Redis; 0 for none")
    parser.add_argument("--keep", type=Path, help="directory for the workers' logs")
    arguments = parser.parse_args()
    plan = Plan(
        seconds=60 * arguments.minutes,
        rate=arguments.rate,
        workers=arguments.workers,
        redis_every_s=arguments.redis_every,
    )
    with tempfile.TemporaryDirectory(prefix="firewall-chaos-") as scratch, breakable_redis() as broker:
        directory = arguments.keep or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        result = soak(broker, directory, plan, lambda line: console.print(line, highlight=False))
    console.print(table(result))
    sys.stdout.write(result.count.line() + "\n")
    return 0 if result.count.kept else 1


if __name__ == "__main__":
    sys.exit(main())
