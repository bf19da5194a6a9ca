"""What the transport promises, whoever dies or comes back."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from kombu import Connection, Queue
from redis import Redis
from redis.exceptions import ResponseError

from tasks.broker import transport
from tasks.broker.scripts import LEASES, TAKEN
from tests.integration.broker.conftest import TRANSPORT, Party
from tests.integration.support import clean_environment, eventually

pytestmark = pytest.mark.integration

Join = Callable[..., Party]
Send = Callable[..., None]


def kill_at(url: str, uses: str, step: str) -> None:
    command = [sys.executable, "-m", "tests.integration.broker.victim", url, uses, step]
    assert subprocess.run(command, env=clean_environment(), timeout=60, check=False).returncode == -signal.SIGKILL


def test_kombu_loses_a_message_with_the_process_that_popped_it(own_url: str, own_redis: Redis, send: Send) -> None:
    """The hole this transport closes; should this fail one day, Kombu has closed it."""
    send("a")
    kill_at(own_url, "redis", "popped")
    assert not own_redis.exists("screening", "unacked")


@pytest.mark.parametrize("step", ["asked", "read", "opened"])
def test_a_message_survives_the_process_that_took_it(
    own_url: str, own_redis: Redis, send: Send, join: Join, step: str
) -> None:
    send("a")
    kill_at(own_url, TRANSPORT, step)
    assert (own_redis.llen("screening"), own_redis.hlen(TAKEN)) == (0, 1)
    (tag,) = own_redis.hkeys(TAKEN)
    own_redis.zincrby(LEASES, -61, tag)
    assert join().drain().decode() == "a"


def test_a_lease_that_is_held_is_respected(own_redis: Redis, send: Send, join: Join) -> None:
    send("a")
    holder, other = join(), join()
    message = holder.drain()
    own_redis.zincrby(LEASES, -58, message.delivery_tag)
    other.sweep()
    assert own_redis.llen("screening") == 0
    own_redis.zincrby(LEASES, -2, message.delivery_tag)
    other.sweep()
    assert own_redis.llen("screening") == 1


def test_one_given_up_for_dead_can_neither_acknowledge_nor_return_what_is_anothers(
    own_redis: Redis, send: Send, join: Join
) -> None:
    for body in "ab":
        send(body)
    holder, other = join(), join()
    stale = [holder.drain() for _ in range(2)]
    for message in stale:
        own_redis.zincrby(LEASES, -61, message.delivery_tag)
    other.sweep()
    fresh = [other.drain() for _ in range(2)]
    assert sorted(message.decode() for message in fresh) == ["a", "b"]
    stale[0].ack()
    stale[1].requeue()
    assert set(own_redis.hkeys(TAKEN)) == {message.delivery_tag for message in fresh}
    assert own_redis.llen("screening") == 0
    for message in fresh:
        message.ack()
    assert not own_redis.exists(TAKEN, LEASES)


def test_an_orderly_end_gives_everything_back_in_order(own_redis: Redis, send: Send, join: Join) -> None:
    for body in "abc":
        send(body)
    holder = join()
    late = [holder.drain() for _ in range(2)]
    holder.connection.release()
    assert not own_redis.exists(TAKEN, LEASES)
    late[0].ack()  # a job that ended after the connection did
    assert own_redis.llen("screening") == 3
    other = join()
    assert [other.drain().decode() for _ in range(3)] == ["a", "b", "c"]


def test_a_process_that_is_about_to_end_takes_nothing_more(
    own_redis: Redis, send: Send, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    party = join()
    monkeypatch.setattr(transport.leases, "ending", True)
    send("a")
    with pytest.raises(socket.timeout):
        party.connection.drain_events(timeout=2 * transport.LISTEN_S)
    assert own_redis.llen("screening") == 1


def test_a_requeued_message_waits_behind_the_others(send: Send, join: Join) -> None:
    for body in "ab":
        send(body)
    party = join()
    party.drain().requeue()
    assert [party.drain().decode() for _ in range(2)] == ["b", "a"]


def test_a_message_returns_to_the_list_of_its_priority(own_redis: Redis, send: Send, join: Join) -> None:
    send("later", priority=9)
    (key,) = [key for key in own_redis.keys("screening*") if own_redis.type(key) == "list"]
    assert key != "screening"
    join().drain().requeue()
    assert own_redis.llen(key) == 1


def test_queues_take_turns(send: Send, join: Join) -> None:
    for n in range(3):
        send(f"a{n}")
        send(f"b{n}", queue="screening.bulk")
    party = join()
    kinds = [party.drain().decode()[0] for _ in range(6)]
    assert kinds in (list("ababab"), list("bababa"))


def test_the_server_wakes_an_idle_channel(send: Send, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LISTEN_S", 600.0)
    party = join()
    for body in "abc":
        with pytest.raises(socket.timeout):
            party.connection.drain_events(timeout=0.2)
        send(body)
        assert party.drain(timeout=60).decode() == body


def test_without_being_woken_it_looks_again(
    own_redis: Redis, own_url: str, send: Send, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_redis.acl_setuser("deaf", enabled=True, nopass=True, keys="*", channels="*", commands=["+@all", "-client"])
    try:
        with Connection(own_url.replace("redis://", "redis://deaf:x@"), transport=TRANSPORT) as connection:
            got: list[Any] = []
            with connection.Consumer([Queue("screening")], callbacks=[lambda body, message: got.append(body)]):
                with pytest.raises(socket.timeout):
                    connection.drain_events(timeout=0.2)
                send("a")
                connection.drain_events(timeout=30)
            assert got == ["a"]
        assert "CLIENT TRACKING" in caplog.text
    finally:
        own_redis.acl_deluser("deaf")


def test_a_consumer_that_acknowledges_nothing_is_served_as_ever(own_url: str, own_redis: Redis, send: Send) -> None:
    send("a")
    with Connection(own_url, transport=TRANSPORT) as connection:
        got: list[Any] = []
        with connection.Consumer([Queue("screening")], no_ack=True, callbacks=[lambda body, _: got.append(body)]):
            connection.drain_events(timeout=5)
        assert got == ["a"]
        assert not own_redis.exists(TAKEN, LEASES)


@pytest.mark.parametrize("no_ack", [False, True])
def test_one_message_can_be_got_at_once(own_url: str, own_redis: Redis, send: Send, no_ack: bool) -> None:
    send("a")
    with Connection(own_url, transport=TRANSPORT) as connection:
        channel = connection.default_channel
        message = channel.basic_get("screening", no_ack=no_ack)
        assert message.decode() == "a"
        assert own_redis.hlen(TAKEN) == (not no_ack)
        assert channel.basic_get("screening", no_ack=no_ack) is None


def test_what_redis_refuses_is_asked_for_again(own_redis: Redis, send: Send, join: Join) -> None:
    party = join()
    own_redis.set("screening.bulk", "no list")
    with pytest.raises(socket.timeout):
        party.connection.drain_events(timeout=0.2)
    own_redis.delete("screening.bulk")
    send("a")
    assert party.drain(timeout=30).decode() == "a"


def test_a_refused_acknowledgement_lets_the_message_come_back(
    own_redis: Redis, send: Send, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    send("a")
    party = join()
    message = party.drain()
    own_redis.rename(TAKEN, "aside")
    own_redis.set(TAKEN, "no hash")
    message.ack()
    assert "comes back" in caplog.text
    with pytest.raises(ResponseError):
        own_redis.hlen(TAKEN)
    own_redis.rename("aside", TAKEN)
    own_redis.zadd(LEASES, {message.delivery_tag: 1})
    party.sweep()
    eventually(lambda: own_redis.llen("screening") == 1, "the message")
