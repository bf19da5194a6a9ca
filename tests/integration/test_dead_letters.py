"""dead-letters list, show, replay and drop, against a real stream."""

import json
from typing import Any

import pytest
from redis import Redis
from typer.testing import CliRunner

from schemas.dead_letter import DeadLetter, Start
from schemas.result import ErrorInfo
from tasks.cli.main import app
from worker.errors import NotReplayable
from worker.topic.dead_letters import DeadLetters, job_in
from worker.topic.publisher import RedisPublisher, TopicLimits

pytestmark = pytest.mark.integration

JOB = {"job_id": "j", "items": [{"id": "i", "text": "XQZTEXTZQX"}]}


def letter(task: str = "t", payload: Any = JOB, code: str = "attempts_exhausted", **changes: Any) -> DeadLetter:
    error = ErrorInfo(code=code, message="m", retryable=False)
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return DeadLetter(
        **{"task_id": task, "queue": "screening.bulk", "attempts": 2, "error": error, "payload": text, **changes}
    )


@pytest.fixture
def publisher(own_redis: Redis) -> RedisPublisher:
    return RedisPublisher(own_redis, TopicLimits())


def run(url: str, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["dead-letters", *arguments], env={"REDIS_URL": url, "COLUMNS": "200"})


def entries(redis: Redis) -> list[str]:
    return [entry for entry, _ in redis.xrange("firewall:dead")]


def sent(redis: Redis, queue: str) -> list[Any]:
    import base64

    bodies = [json.loads(base64.b64decode(json.loads(raw)["body"])) for raw in redis.lrange(queue, 0, -1)]
    return [body[0][0] for body in bodies]


def test_the_same_letter_is_kept_once(publisher: RedisPublisher, own_redis: Redis) -> None:
    for attempts in (2, 3):
        publisher.bury(letter(attempts=attempts))
    publisher.bury(letter(code="not_a_job"))
    publisher.bury(letter(payload="other"))
    assert len(entries(own_redis)) == 3


def test_list_shows_what_and_why_and_no_text(own_url: str, publisher: RedisPublisher, own_redis: Redis) -> None:
    publisher.bury(letter("a", history=[Start(time="2026-01-01T00:00:00.000Z", worker="host:7")]))
    publisher.bury(letter("b\x1b[31m", code="not_a_job"))
    own_redis.xadd("firewall:dead", {"event": "no letter"})
    shown = run(own_url, "list")
    assert shown.exit_code == 0
    assert "attempts_exhausted" in shown.output
    assert "not_a_job" in shown.output
    assert "XQZTEXTZQX" not in shown.output
    assert "\x1b[31m" not in shown.output
    lines = [
        json.loads(line) for line in run(own_url, "list", "--json", "--code", "attempts_exhausted").output.splitlines()
    ]
    assert [(line["task_id"], line["history"][0]["worker"]) for line in lines] == [("a", "host:7")]
    assert "payload" not in lines[0]


def test_an_empty_stream_is_no_error(own_url: str) -> None:
    assert "no dead letters" in run(own_url, "list").output
    assert run(own_url, "list", "--json").output == ""
    assert run(own_url, "drop", "--all").exit_code == 0


def test_show_prints_history_and_payload(own_url: str, publisher: RedisPublisher, own_redis: Redis) -> None:
    publisher.bury(letter())
    (entry,) = entries(own_redis)
    event = json.loads(run(own_url, "show", entry).output)
    assert json.loads(event["data"]["payload"]) == JOB
    assert json.loads(json.loads(run(own_url, "show", entry, "--payload").output)) == JOB


@pytest.mark.parametrize("entry", ["1-1", "no entry"])
def test_an_unknown_entry_is_an_input_error(own_url: str, entry: str) -> None:
    for command in ("show", "replay", "drop"):
        assert run(own_url, command, entry).exit_code == 65


def test_replay_sends_to_the_queue_it_came_from_and_deletes(
    own_url: str, publisher: RedisPublisher, own_redis: Redis
) -> None:
    publisher.bury(letter("a"))
    publisher.bury(letter("b", payload=[[JOB], {}, {"callbacks": None}], code="unreadable_message", queue="other"))
    done = run(own_url, "replay", "--all")
    assert done.exit_code == 0, done.output
    assert sent(own_redis, "screening.bulk") == [JOB]
    assert sent(own_redis, "screening") == [JOB]
    assert entries(own_redis) == []


def test_replay_of_one_leaves_the_others(own_url: str, publisher: RedisPublisher, own_redis: Redis) -> None:
    for task in "abc":
        publisher.bury(letter(task))
    run(own_url, "replay", entries(own_redis)[1])
    assert [json.loads(line)["task_id"] for line in run(own_url, "list", "--json").output.splitlines()] == ["a", "c"]


def test_what_holds_no_job_stays(own_url: str, publisher: RedisPublisher, own_redis: Redis) -> None:
    publisher.bury(letter("a", payload="no JSON"))
    publisher.bury(letter("b", truncated=True))
    publisher.bury(letter("c"))
    done = run(own_url, "replay", "--all")
    assert done.exit_code == 1
    assert "1 sent again, 2 kept" in done.output
    assert len(entries(own_redis)) == 2


def test_drop_by_code(own_url: str, publisher: RedisPublisher, own_redis: Redis) -> None:
    publisher.bury(letter("a", code="not_a_job"))
    publisher.bury(letter("b"))
    assert "1 dropped" in run(own_url, "drop", "--all", "--code", "not_a_job").output
    assert len(entries(own_redis)) == 1


@pytest.mark.parametrize("arguments", [(), ("--all", "1-1")])
def test_what_to_take_must_be_said(own_url: str, arguments: tuple[str, ...]) -> None:
    for command in ("replay", "drop"):
        assert run(own_url, command, *arguments).exit_code == 2


def test_a_letter_that_is_buried_meanwhile_is_left_for_the_next_time(
    publisher: RedisPublisher, own_redis: Redis
) -> None:
    for n in range(250):
        publisher.bury(letter(str(n)))
    seen = 0
    for kept in DeadLetters(own_redis).all():
        seen += 1
        publisher.bury(letter("again " + kept.letter.task_id))
    assert seen == 250


@pytest.mark.parametrize("payload", ["", "[1, 2, 3]", "[[1], {}, {}]", "{}", "null", "[" * 100_000])
def test_a_payload_that_is_no_job(payload: str) -> None:
    with pytest.raises(NotReplayable):
        job_in(letter(payload=payload))
