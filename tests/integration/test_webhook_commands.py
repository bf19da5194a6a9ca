"""``alknet-firewall webhooks …`` as an operator types it."""

import json
from pathlib import Path

import pytest
from redis import Redis
from standardwebhooks import Webhook

from tests.integration.test_publish_script import flagged
from tests.integration.webhook_support import receiving, run
from worker.cli import console
from worker.topic.publisher import RedisPublisher, TopicLimits
from worker.webhooks.schedule import Nudge, Schedule, Settlement

pytestmark = pytest.mark.integration

PUBLIC = "https://93.184.216.34/services/XQZPATH?token=XQZTOKEN"


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not the property: undoing that would fix the width found here for all later tests.
    monkeypatch.setattr(console.out, "_width", 200)


def added(url: str, *arguments: str) -> dict[str, str]:
    done = run(url, "add", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    made: dict[str, str] = json.loads(done.stdout)
    return made


def fail(redis: Redis, name: str, *results: str) -> list[str]:
    """Publish an alarm for every result, and let its delivery end with it."""
    schedule, ids = Schedule(redis), []
    RedisPublisher(redis, TopicLimits()).publish([flagged(f"i{n}") for n in range(len(results))])
    for result in results:
        message = schedule.claim(Nudge(name, "task"))
        assert message is not None
        end = Settlement(result, "500", delay_ms=90_000)  # type: ignore[arg-type]
        schedule.settle(Nudge(name, "task"), message, end, claim_next=False)
        ids.append(message.id)
    return ids


def test_the_secret_is_shown_once_and_listed_never(own_url: str, own_redis: Redis) -> None:
    done = run(own_url, "add", PUBLIC, "--id", "soc", "--signals", "jailbreak, obfuscation", "--sources", "web,email")
    assert done.exit_code == 0, done.stderr
    (secret,) = [word for word in done.stdout.split() if word.startswith("whsec_")]
    Webhook(secret)
    fail(own_redis, "soc")
    seen = "".join(
        run(own_url, *command).stdout
        for command in (("list",), ("list", "--json"), ("show", "soc"), ("deliveries",), ("metrics",))
    )
    assert "soc" in seen
    assert not [word for word in ("whsec_", secret, "XQZ") if word in seen]
    assert "XQZPATH" in run(own_url, "show", "soc", "--url").stdout
    shown = json.loads(run(own_url, "show", "soc").stdout)
    assert (shown["signals"], shown["sources"]) == (["jailbreak", "obfuscation"], ["web", "email"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("http://93.184.216.34/",), "egress_refused"),
        (("https://169.254.169.254/latest",), "egress_refused"),
        (("https://localhost/",), "egress_refused"),
        (("https://2130706433/",), "egress_refused"),
        (("https://user:XQZ@93.184.216.34/",), "egress_refused"),
        ((PUBLIC, "--signals", "jailbraek"), "invalid_endpoint"),
        ((PUBLIC, "--format", "pagerduty"), "invalid_endpoint"),
        ((PUBLIC, "--digest", "60", "--rate", "1"), "invalid_endpoint"),
    ],
)
def test_what_cannot_be_delivered_to_is_not_added(
    own_url: str, own_redis: Redis, arguments: tuple[str, ...], code: str
) -> None:
    done = run(own_url, "add", *arguments, FIREWALL_WEBHOOK_ALLOW="[]")
    assert done.exit_code == 65, done.stderr
    assert code in done.stderr
    assert "XQZ" not in done.stderr
    assert own_redis.keys("*") == []


def test_an_id_is_taken_once(own_url: str) -> None:
    added(own_url, PUBLIC, "--id", "soc")
    assert run(own_url, "add", PUBLIC, "--id", "soc").exit_code == 65


@pytest.mark.parametrize("command", ["show", "test", "rotate-secret", "disable", "enable", "remove"])
def test_an_unknown_endpoint_is_told(own_url: str, command: str) -> None:
    done = run(own_url, command, "nobody")
    assert done.exit_code == 65
    assert "endpoint_not_found" in done.stderr


def test_a_ping_is_verified_by_the_receiver_and_shown(own_url: str, logs: Path) -> None:
    with receiving(logs) as receiver:
        receiver.secret_file.write_text(added(own_url, receiver.url, "--id", "soc")["secret"], encoding="utf-8")
        done = run(own_url, "test", "soc", "--json")
        assert done.exit_code == 0, done.stderr
        shown = json.loads(done.stdout)
        (got,) = receiver.entries()
        assert (got["verified"], got["id"]) == (True, shown["headers"]["webhook-id"])
        secret = receiver.secret_file.read_text(encoding="utf-8")
        assert Webhook(secret).verify(shown["body"], shown["headers"])["data"]["endpoint"] == "soc"
        assert "webhook-signature: v1," in run(own_url, "test", "soc").stdout
    done = run(own_url, "test", "soc")
    assert done.exit_code == 1
    assert "connection refused" in done.stdout


def test_during_a_rotation_the_old_and_the_new_secret_verify(own_url: str, logs: Path) -> None:
    with receiving(logs) as receiver:
        old = added(own_url, receiver.url, "--id", "soc")["secret"]
        new = json.loads(run(own_url, "rotate-secret", "soc", "--json").stdout)["secret"]
        for secret in (old, new):
            receiver.secret_file.write_text(secret, encoding="utf-8")
            assert run(own_url, "test", "soc").exit_code == 0
        newest = json.loads(run(own_url, "rotate-secret", "soc", "--grace-hours", "0", "--json").stdout)["secret"]
        receiver.secret_file.write_text(newest, encoding="utf-8")
        assert run(own_url, "test", "soc").exit_code == 0
        receiver.secret_file.write_text(new, encoding="utf-8")
        assert run(own_url, "test", "soc").exit_code == 0, "the receiver answers 204 to what it does not trust, too"
        assert [entry["verified"] for entry in receiver.entries()] == [True, True, True, False]


def test_failed_deliveries_show_their_answers_and_when_they_come_again(own_url: str, own_redis: Redis) -> None:
    added(own_url, PUBLIC, "--id", "soc")
    dead, waiting = fail(own_redis, "soc", "dead", "retry")
    lines = run(own_url, "deliveries", "--endpoint", "soc", "--failed", "--json").stdout.splitlines()
    found = {one["message"]: one for one in map(json.loads, lines)}
    assert (found[dead]["state"], found[dead]["codes"], found[dead]["reason"]) == ("dead", "500", "exhausted")
    assert (found[waiting]["state"], found[waiting]["attempts"]) == ("waiting", 1)
    table = run(own_url, "deliveries", "--failed").stdout
    assert "given up: exhausted" in table
    assert "in 1 min" in table


def test_replay_sends_the_dead_again(own_url: str, own_redis: Redis) -> None:
    added(own_url, PUBLIC, "--id", "soc")
    dead, other = fail(own_redis, "soc", "dead", "dead")
    assert run(own_url, "replay").exit_code == 2
    assert run(own_url, "replay", "msg_none").exit_code == 1
    assert "1 to be sent again" in run(own_url, "replay", dead, "--endpoint", "soc").stdout
    assert "1 to be sent again" in run(own_url, "replay", "--all").stdout
    schedule = Schedule(own_redis)
    first = schedule.claim(Nudge("soc", "task"))
    assert first is not None
    assert first.id in (dead, other)
    assert 'firewall_webhook_dead_letters{endpoint="soc"} 0.0' in run(own_url, "metrics").stdout


def test_disable_enable_and_remove(own_url: str, own_redis: Redis) -> None:
    added(own_url, PUBLIC, "--id", "soc")
    assert run(own_url, "disable", "soc", "--reason", "moving").exit_code == 0
    assert "disabled: moving" in run(own_url, "list").stdout
    assert 'firewall_webhook_disabled{endpoint="soc"} 1.0' in run(own_url, "metrics").stdout
    assert run(own_url, "enable", "soc").exit_code == 0
    assert "disabled" not in run(own_url, "list").stdout
    assert run(own_url, "remove", "soc", "--yes").exit_code == 0
    assert own_redis.keys("firewall:webhooks:*") == []
    assert "no endpoints" in run(own_url, "list").stdout


def test_apply_adds_and_changes(own_url: str, logs: Path) -> None:
    file = logs / "endpoints.toml"
    (logs / "key").write_text("XQZKEY\n", encoding="utf-8")
    file.write_text(
        f'[[endpoint]]\nid = "pager"\nurl = "{PUBLIC}"\nformat = "pagerduty"\nrouting_key_file = "key"\n',
        encoding="utf-8",
    )
    assert "added: pager" in run(own_url, "apply", str(file)).stdout
    file.write_text(file.read_text(encoding="utf-8") + 'min_severity = "critical"\n', encoding="utf-8")
    assert "added: none" in run(own_url, "apply", str(file)).stdout
    shown = run(own_url, "show", "pager").stdout
    assert json.loads(shown)["min_severity"] == "critical"
    assert "XQZKEY" not in shown


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[[endpoint]]\nurl = 'https://93.184.216.34/'\n", "invalid_endpoint"),
        ("[[endpoint]]\nid = 'a'\nurl = 'https://10.0.0.1/'\n", "egress_refused"),
        ("[[endpoint]]\nid = 'a'\nurl = 'https://93.184.216.34/'\nsecret_file = 'none'\n", "invalid_endpoint"),
        ("[[endpoint]\n", "invalid_endpoint"),
    ],
)
def test_a_faulty_file_changes_nothing(own_url: str, own_redis: Redis, logs: Path, text: str, code: str) -> None:
    file = logs / "endpoints.toml"
    file.write_text("[[endpoint]]\nid = 'good'\nurl = 'https://93.184.216.34/'\n" + text, encoding="utf-8")
    done = run(own_url, "apply", str(file))
    assert done.exit_code == 65
    assert code in done.stderr
    assert own_redis.keys("*") == []
