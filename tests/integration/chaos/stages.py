"""Make a stage of a job fail now and then."""

import os
import random
import signal
from collections.abc import Callable
from typing import Any

import redis

import tasks.screen
import worker.screening.jobs
import worker.screening.screener
import worker.topic.publisher
from tests.integration.chaos.engine import Misbehaving

VARIABLE = "CHAOS_STAGES"
"""Environment variable: stages that fail, with commas between."""

SHARE = 0.2
"""Share of calls that fail."""

LIFE = 25
"""Jobs a worker that dies before an acknowledgement publishes."""

STAGES: dict[str, tuple[Any, str]] = {
    "decode": (tasks.screen, "_job_of"),
    "validate": (worker.screening.jobs, "admit"),
    "tokenise": (worker.screening.screener, "prepare"),
    "forward": (Misbehaving, "score"),
    "score": (worker.screening.screener.Scorer, "score"),
    "publish": (worker.topic.publisher.RedisPublisher, "_publish"),
    "reset before ack": (worker.topic.publisher.RedisPublisher, "publish"),
    "die before ack": (worker.topic.publisher.RedisPublisher, "publish"),
}


def plant() -> None:
    """Let the stages named by the environment fail in this process from now on."""
    for stage in filter(None, os.environ.get(VARIABLE, "").split(",")):
        owner, name = STAGES[stage]
        original = getattr(owner, name)
        setattr(owner, name, AFTERWARDS[stage](original) if stage in AFTERWARDS else _failing(original))


def _failing(original: Callable[..., Any]) -> Callable[..., Any]:
    def sometimes(*args: Any, **kwargs: Any) -> Any:
        if random.random() < SHARE:
            raise RuntimeError("planted")
        return original(*args, **kwargs)

    return sometimes


def _reset(original: Callable[..., Any]) -> Callable[..., Any]:
    """Publish, then have Redis close all connections, so that the acknowledgement meets a dead one."""
    admin = redis.Redis.from_url(os.environ["FIREWALL_REDIS_URL"])

    def then_reset(*args: Any, **kwargs: Any) -> Any:
        published = original(*args, **kwargs)
        if random.random() < SHARE / 4:
            admin.client_kill_filter(_type="normal", skipme=True)
        return published

    return then_reset


def _die(original: Callable[..., Any]) -> Callable[..., Any]:
    left = iter(range(LIFE))

    def then_die(*args: Any, **kwargs: Any) -> Any:
        published = original(*args, **kwargs)
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return published

    return then_die


AFTERWARDS = {"reset before ack": _reset, "die before ack": _die}
