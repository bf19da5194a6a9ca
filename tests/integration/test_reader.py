import time

import pytest
from redis import Redis

from worker.settings import load_settings
from worker.topic import reader as reader_module
from worker.topic.connection import connect
from worker.topic.reader import Entry, read_group, read_stream

STREAM = "firewall:alarms"
BLOCK_MS = 20


@pytest.fixture
def redis(own_url: str) -> Redis:
    with connect(load_settings(redis_url=own_url)) as client:
        yield client


def add(redis: Redis, *events: str) -> None:
    for event in events:
        redis.xadd(STREAM, {"event": event})


def pending(redis: Redis, group: str = "g") -> int:
    return int(redis.xpending(STREAM, group)["pending"])


def text(entry: Entry | None) -> str | None:
    return None if entry is None else entry.event


def test_from_now_on_shows_nothing_older(redis: Redis) -> None:
    add(redis, "old")
    assert next(read_stream(redis, STREAM, block_ms=BLOCK_MS)) is None


def test_from_now_on_misses_nothing_between_two_calls(redis: Redis) -> None:
    add(redis, "old")
    reader = read_stream(redis, STREAM, block_ms=BLOCK_MS)
    assert next(reader) is None
    add(redis, "a", "b")
    assert [text(next(reader)), text(next(reader))] == ["a", "b"]
    add(redis, "c")
    assert [text(next(reader)), text(next(reader))] == ["c", None]


def test_from_now_on_works_on_a_stream_that_is_not_there_yet(redis: Redis) -> None:
    reader = read_stream(redis, STREAM, block_ms=BLOCK_MS)
    assert next(reader) is None
    add(redis, "first")
    assert text(next(reader)) == "first"


def test_from_the_start_shows_all_that_is_kept(redis: Redis) -> None:
    names = [f"e{n}" for n in range(300)]  # more than one read
    add(redis, *names)
    reader = read_stream(redis, STREAM, start="0", block_ms=BLOCK_MS)
    assert [text(next(reader)) for _ in names] == names


def test_a_group_begins_with_what_the_stream_keeps(redis: Redis) -> None:
    add(redis, "kept")
    assert text(next(read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS))) == "kept"


def test_a_group_confirms_an_entry_when_the_next_is_asked_for(redis: Redis) -> None:
    add(redis, "a")
    reader = read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS)
    next(reader)
    assert pending(redis) == 1
    assert next(reader) is None
    assert pending(redis) == 0


def test_an_entry_that_an_interruption_cut_short_comes_again(redis: Redis) -> None:
    add(redis, "a", "b")
    interrupted = read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS)
    next(interrupted)
    assert text(next(interrupted)) == "b"  # confirms a
    interrupted.close()
    again = read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS)
    assert [text(next(again)), text(next(again))] == ["b", None]
    assert pending(redis) == 0


def test_own_leftovers_come_before_what_is_new(redis: Redis) -> None:
    add(redis, "left")
    interrupted = read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS)
    next(interrupted)
    interrupted.close()
    add(redis, "new")
    again = read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS)
    assert [text(next(again)), text(next(again)), text(next(again))] == ["left", "new", None]


def test_an_entry_goes_to_one_member_of_a_group_and_to_every_group(redis: Redis) -> None:
    add(redis, "a")
    first = read_group(redis, STREAM, "g", "one", block_ms=BLOCK_MS)
    assert text(next(first)) == "a"
    assert next(read_group(redis, STREAM, "g", "two", block_ms=BLOCK_MS)) is None
    assert text(next(read_group(redis, STREAM, "other", "one", block_ms=BLOCK_MS))) == "a"


def test_a_leftover_that_was_trimmed_meanwhile_does_not_stop_the_reader(redis: Redis) -> None:
    add(redis, "trimmed")
    interrupted = read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS)
    next(interrupted)
    interrupted.close()
    redis.xtrim(STREAM, maxlen=0, approximate=False)
    add(redis, "new")
    again = read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS)
    assert text(next(again)) == "new"


def abandon(redis: Redis, *events: str) -> None:
    """Have a member take entries and never come back."""
    add(redis, *events)
    gone = read_group(redis, STREAM, "g", "gone", block_ms=BLOCK_MS)
    next(gone)
    gone.close()
    assert pending(redis) == len(events)


def test_what_a_lost_member_took_is_taken_over(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "ABANDONED_MS", 50)
    abandon(redis, "a", "b")
    time.sleep(0.1)
    add(redis, "new")
    reader = read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS)
    assert [text(next(reader)) for _ in range(4)] == ["a", "b", "new", None]
    assert pending(redis) == 0


def test_what_another_member_has_in_hand_is_left_to_it(redis: Redis) -> None:
    abandon(redis, "a")
    assert next(read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS)) is None
    assert pending(redis) == 1


def test_a_count_ends_a_group_reader_with_all_confirmed_and_nothing_more_taken(redis: Redis) -> None:
    add(redis, "a", "b", "c")
    first = [text(entry) for entry in read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS, count=2)]
    assert (first, pending(redis)) == (["a", "b"], 0)
    second = [text(entry) for entry in read_group(redis, STREAM, "g", "me", block_ms=BLOCK_MS, count=1)]
    assert (second, pending(redis)) == (["c"], 0)


def test_a_count_ends_a_plain_reader(redis: Redis) -> None:
    add(redis, "a", "b", "c")
    assert [text(entry) for entry in read_stream(redis, STREAM, start="0", block_ms=BLOCK_MS, count=2)] == ["a", "b"]
