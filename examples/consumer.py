"""Follow the result topic as a member of a consumer group: nothing is missed, nothing is handled twice.

    pip install redis
    python examples/consumer.py verdicts.sqlite

Start as many as you like, on as many machines, with one database: each event goes to one of them. One that dies
leaves what it had taken; after RECLAIM_MS another takes it over.
"""

import json
import os
import signal
import socket
import sqlite3
import sys

from redis import Redis
from redis.exceptions import ResponseError

STREAM = os.environ.get("STREAM", "firewall:results")
GROUP = "verdicts"
ME = f"{socket.gethostname()}-{os.getpid()}"
RECLAIM_MS = int(os.environ.get("RECLAIM_MS", "60000"))

redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), decode_responses=True, protocol=2)
database = sqlite3.connect(sys.argv[1], timeout=30)
database.execute("create table if not exists verdicts (event text primary key, job text, item text, verdict text)")


def handle(event: dict) -> None:
    """Do the work and note the event's id in one transaction: a second delivery changes nothing.

    Work that is not in your database, a mail for example, needs a key of its own there: send, then note.
    """
    data = event["data"]
    verdict = data["verdict"] or data["error"]["code"]
    with database:
        database.execute(
            "insert or ignore into verdicts values (?, ?, ?, ?)",
            (event["source"] + event["id"], data["job_id"], data["item_id"], verdict),
        )


def batches():
    """Yield what a dead member left behind, then what is new; for ever."""
    try:
        redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    start = "0-0"
    while True:
        start, abandoned, *_ = redis.xautoclaim(STREAM, GROUP, ME, RECLAIM_MS, start, count=100)
        yield abandoned
        # What this member took and did not confirm is claimed like anybody else's, RECLAIM_MS later.
        reply = redis.xreadgroup(GROUP, ME, {STREAM: ">"}, count=100, block=1000)
        yield reply[0][1] if reply else []


def main() -> None:
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    for entries in batches():
        for entry_id, fields in entries:
            if fields:  # a reclaimed entry that the stream has trimmed meanwhile comes without
                handle(json.loads(fields["event"]))
            redis.xack(STREAM, GROUP, entry_id)  # only now: what is not confirmed comes again
        if stopping:
            return


if __name__ == "__main__":
    main()
