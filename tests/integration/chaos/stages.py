"""Make a stage of a job fail at every so manieth call."""

import os
import signal
from collections.abc import Callable
from itertools import count
from typing import Any

import redis

import tasks.screen
import worker.screening.jobs
import worker.screening.screener
import worker.topic.attempts
import worker.topic.publisher
from tests.integration.chaos.engine import Misbehaving

VARIABLE = "CHAOS_STAGES"
"""Environment variable: stages that fail, with commas between."""

EVERY = 5
"""One call in so many fails."""

LIFE = 25
"""Calls that a worker that dies at one survives."""

TRACE = b"planted failure\n"
"""What is written to the worker's log before each failure, so that a test knows that there was one."""

STAGES: dict[str, tuple[Any, str]] = {
    "decode": (tasks.screen, "_job_of"),
    "validate": (worker.screening.jobs, "admit"),
    "tokenise": (worker.screening.screener, "prepare"),
    "forward": (Misbehaving, "score"),
    "score": (worker.screening.screener.Scorer, "score"),
    "publish": (worker.topic.publisher.RedisPublisher, "_publish"),
    "die after the start is noted": (worker.topic.attempts.RedisAttempts, "start"),
    "reset before ack": (worker.topic.publisher.RedisPublisher, "publish"),
    "die before ack": (worker.topic.publisher.RedisPublisher, "publish"),
}


def plant() -> None:
    """Let the stages named by the environment fail in this process from now on."""
    for stage in filter(None, os.environ.get(VARIABLE, "").split(",")):
        owner, name = STAGES[stage]
        setattr(owner, name, _WAYS.get(stage, _failing)(getattr(owner, name)))


def _failing(original: Callable[..., Any]) -> Callable[..., Any]:
    calls = count(1)

    def sometimes(*args: Any, **kwargs: Any) -> Any:
        if next(calls) % EVERY == 0:
            os.write(2, TRACE)
            raise RuntimeError("planted")
        return original(*args, **kwargs)

    return sometimes


def _reset(original: Callable[..., Any]) -> Callable[..., Any]:
    """Publish, then have Redis close all connections, so that the acknowledgement meets a dead one."""
    admin = redis.Redis.from_url(os.environ["FIREWALL_REDIS_URL"])
    calls = count(1)

    def then_reset(*args: Any, **kwargs: Any) -> Any:
        published = original(*args, **kwargs)
        if next(calls) % (4 * EVERY) == 0:
            os.write(2, TRACE)
            admin.client_kill_filter(_type="normal", skipme=True)
        return published

    return then_reset


def _die(original: Callable[..., Any]) -> Callable[..., Any]:
    calls = count()

    def then_die(*args: Any, **kwargs: Any) -> Any:
        done = original(*args, **kwargs)
        if next(calls) >= LIFE:
            os.write(2, TRACE)
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return then_die


_WAYS = {"reset before ack": _reset, "die before ack": _die, "die after the start is noted": _die}
