"""A webhook receiver in a process of its own: verifies with the specification's library and writes what it got.

``python -m tests.integration.receiver PORT_FILE LOG BEHAVIOUR [SECRET]``. Behaviours: ``ok``; ``status:503``;
``slow:0.2``; ``hang``; ``busy:2``, which answers the first two requests of every id with 429. A line of the log is a
JSON object: time, id, whether it verified, the alarms in it.
"""

import asyncio
import json
import socket
import sys
import time
from pathlib import Path

import uvicorn
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def application(log: Path, behaviour: str, secret_file: Path | None) -> Starlette:
    """The receiver; the secret's file may be written later."""
    kind, _, value = behaviour.partition(":")
    output = log.open("a", buffering=1, encoding="utf-8")
    seen: dict[str, int] = {}

    async def receive(request: Request) -> Response:
        body = await request.body()
        message_id = request.headers.get("webhook-id", "")
        seen[message_id] = seen.get(message_id, 0) + 1
        if kind == "hang":
            await asyncio.sleep(3600)
        if kind == "slow":
            await asyncio.sleep(float(value))
        if kind == "busy" and seen[message_id] <= int(value):
            return Response(status_code=429, headers={"retry-after": "1"})
        output.write(json.dumps(entry(body, request, secret_file)) + "\n")
        return Response(status_code=int(value) if kind == "status" else 204)

    return Starlette(routes=[Route("/", receive, methods=["POST"])])


def entry(body: bytes, request: Request, secret_file: Path | None) -> dict[str, object]:
    verified = None
    if secret_file is not None:
        try:
            Webhook(secret_file.read_text(encoding="utf-8")).verify(body, dict(request.headers))
            verified = True
        except WebhookVerificationError:
            verified = False
    data = json.loads(body).get("data", {})
    alarms = [alarm["alarm_id"] for alarm in data.get("alarms", [data] if "alarm_id" in data else [])]
    return {
        "at": time.time(),
        "id": request.headers.get("webhook-id"),
        "timestamp": request.headers.get("webhook-timestamp"),
        "verified": verified,
        "alarms": alarms,
    }


def serve(port_file: Path, app: Starlette) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        port_file.with_suffix(".new").write_text(str(listening.getsockname()[1]), encoding="utf-8")
        port_file.with_suffix(".new").rename(port_file)
        uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False)).run(sockets=[listening])


if __name__ == "__main__":
    port_path, log_path, *rest = sys.argv[1:]
    secret_path = Path(rest[1]) if len(rest) > 1 else None
    serve(Path(port_path), application(Path(log_path), rest[0], secret_path))
