"""The Redis users and the TLS URL of SECURITY.md are enough for their roles, and for no more."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import NoPermissionError

from tests.integration.chaos.fleet import Fleet
from tests.integration.chaos.ledger import Ledger
from tests.integration.support import TASK, clean_environment, eventually
from tests.services import missing, program
from worker.errors import ServiceError
from worker.topic.server import free_port, redis_server_binaries, running_redis

pytestmark = pytest.mark.integration

RECIPE = re.findall(r"^ACL SETUSER (\S+) (.*)$", Path("SECURITY.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
PASSWORDS = {"firewall-worker": "WORKER", "firewall-producer": "PRODUCER", "firewall-reader": "READER"}

JOB = {"job_id": "asked", "items": [{"id": "i", "text": "meeting today"}]}


@pytest.fixture
def url(redis_binary: Path) -> Iterator[str]:
    with running_redis(binary=redis_binary) as started:
        yield started


@pytest.fixture
def admin(url: str) -> Iterator[Redis]:
    with Redis.from_url(url, decode_responses=True) as redis:
        for user, rules in RECIPE:
            redis.execute_command("ACL", "SETUSER", user, *rules.split())
        yield redis


def as_user(url: str, user: str) -> str:
    return url.replace("redis://", f"redis://{user}:{PASSWORDS[user]}-PASSWORD@")


def ask(url: str) -> str:
    """Send a job as a producer who waits for its Celery result; return the verdict."""
    app = Celery("asking", broker=url, backend=url, set_as_current=False)
    with app:
        pending = app.send_task(TASK, args=[JOB], queue="screening", ignore_result=False)
        verdict = str(pending.get(timeout=30)[0]["verdict"])
        pending.forget()
        return verdict


def test_every_role_can_do_its_work(url: str, admin: Redis, tmp_path: Path) -> None:
    ledger = Ledger(as_user(url, "firewall-producer"), reader=url)
    with Fleet(as_user(url, "firewall-worker"), tmp_path, FIREWALL_DRIFT_TEXTS="150") as fleet:
        fleet.started().kill()
        fleet.members.clear()
        member = fleet.started()
        for _ in range(10):
            ledger.send()
        for _ in range(3):
            ledger.send(["meeting today"] * 256)  # copies of one text are a drift
        admin.lpush("screening", "no message")
        assert ledger.settle(60).kept
        assert len(ledger.letters()) == 1
        assert ask(as_user(url, "firewall-producer")) == "clean"
        member.send(15)
        member.process.join(30)
        assert member.process.exitcode == 0
        assert "NoPermission" not in member.log.read_text()
        assert "-PASSWORD" not in member.log.read_text()
    for options in (("--results", "--group", "soc", "--count", "3"), ("--drift", "--group", "soc", "--count", "1")):
        watched = subprocess.run(
            [sys.executable, "-m", "tasks", "watch", "--json", *options],
            env=clean_environment(REDIS_URL=as_user(url, "firewall-reader")),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert len(watched.stdout.splitlines()) == int(options[-1]), watched.stderr
    # Clients name themselves where the server lets them; nothing depends on it.
    refused = [entry for entry in admin.acl_log() if not str(entry["object"]).startswith("client")]
    assert refused == []


def test_no_role_can_do_anothers(url: str, admin: Redis) -> None:
    def refused(user: str, *command: str) -> None:
        with Redis.from_url(as_user(url, user)) as redis, pytest.raises(NoPermissionError):
            redis.execute_command(*command)

    for user, rules in RECIPE:
        assert "-@all" in rules
        for command in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("ACL", "LIST")):
            refused(user, *command)
        refused(user, "GET", "another:application")
    refused("firewall-producer", "XADD", "firewall:alarms", "*", "event", "{}")
    refused("firewall-producer", "XADD", "firewall:drift", "*", "event", "{}")
    refused("firewall-producer", "XRANGE", "firewall:results", "-", "+")
    refused("firewall-producer", "EVAL", "return redis.call('HGET', 'firewall:unacked', 'x')", "1", "firewall:unacked")
    refused("firewall-producer", "RPOP", "screening")
    refused("firewall-reader", "LPUSH", "screening", "x")
    refused("firewall-reader", "XRANGE", "firewall:dead", "-", "+")
    refused("firewall-reader", "XADD", "firewall:alarms", "*", "event", "{}")
    refused("firewall-reader", "XADD", "firewall:drift", "*", "event", "{}")


@pytest.fixture
def tls_url(tmp_path: Path) -> Iterator[str]:
    """A Redis that speaks TLS, with a certificate of its own."""
    openssl = program("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *names],
        check=True,
        capture_output=True,
    )
    port = free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    options += ("--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no")
    with ExitStack() as stack:
        for binary in redis_server_binaries():
            with suppress(ServiceError):
                stack.enter_context(running_redis(*options, binary=binary))
                break
        else:
            missing("no redis-server that was built with TLS")
        yield f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={certificate}"


def test_all_of_it_works_over_tls(tls_url: str, tmp_path: Path) -> None:
    ledger = Ledger(tls_url)
    with Fleet(tls_url, tmp_path) as fleet:
        fleet.started()
        for _ in range(5):
            ledger.send()
        assert ledger.settle(60).kept
        assert ask(tls_url) == "clean"


def test_an_unknown_certificate_is_refused(tls_url: str, tmp_path: Path) -> None:
    bare = tls_url.split("&", maxsplit=1)[0]
    with Fleet(bare, tmp_path) as fleet:
        member = fleet.start()
        eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in (member.log.read_text() if member.log.exists() else ""), "it")
        assert not member.health.exists()
