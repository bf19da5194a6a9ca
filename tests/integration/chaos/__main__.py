"""Break workers and Redis for some minutes under load, and count.

``python -m tests.integration.chaos --minutes 20 --jobs 10000 --kills 200``. Prints a table; the last line is one JSON
object, and the exit status is 0 only with nothing lost or doubled.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.integration.chaos.broker import breakable_redis
from tests.integration.chaos.soak import Plan, soak
from tests.integration.chaos.table import table

JOBS_PER_MINUTE, KILLS_PER_MINUTE = 1800, 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--jobs", type=int, help=f"at least so many; default {JOBS_PER_MINUTE} a minute")
    parser.add_argument("--kills", type=int, help=f"of workers, at least so many; default {KILLS_PER_MINUTE} a minute")
    parser.add_argument("--workers", type=int, default=2, help="processes alive at once")
    parser.add_argument("--redis-every", type=float, default=20.0, help="seconds between faults of Redis; 0 for none")
    parser.add_argument("--redis-server", type=Path, help="binary; default the first that is installed")
    parser.add_argument("--keep", type=Path, help="directory for the workers' logs")
    arguments = parser.parse_args()
    plan = Plan(
        seconds=60 * arguments.minutes,
        jobs=arguments.jobs or round(JOBS_PER_MINUTE * arguments.minutes),
        kills=arguments.kills or round(KILLS_PER_MINUTE * arguments.minutes),
        workers=arguments.workers,
        redis_every_s=arguments.redis_every,
    )
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="firewall-chaos-") as scratch,
        breakable_redis(arguments.redis_server) as broker,
    ):
        directory = arguments.keep or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        result = soak(broker, directory, plan, lambda line: console.print(line, highlight=False))
    console.print(table(result))
    sys.stdout.write(result.count.line() + "\n")
    return 0 if result.count.kept else 1


if __name__ == "__main__":
    sys.exit(main())
