"""Connect to Redis, with time limits, so that a frozen server is an error and not a hang."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from worker.errors import ServiceError
from worker.settings import Settings

SOCKET_TIMEOUT_S = 15.0
"""Seconds after which a server that says nothing counts as gone."""


def connect(settings: Settings) -> "Redis":
    """Return a client that decodes responses. Nothing is sent yet."""
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        decode_responses=True,
        protocol=2,
        socket_connect_timeout=5,
        socket_timeout=SOCKET_TIMEOUT_S,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), retries=1),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )


def connect_checked(settings: Settings) -> "Redis":
    """Return a client after one PING.

    Raises:
        ServiceError: Redis does not answer. The message leaves out the URL's password.
    """
    redis = connect(settings)
    with redis_errors_explained(redis):
        redis.ping()
    return redis


@contextmanager
def redis_errors_explained(redis: "Redis | None" = None) -> Iterator[None]:
    """Turn an error of Redis into ours.

    Raises:
        ServiceError: Redis failed. The message names the address, if the client is given.
    """
    try:
        yield
    except RedisError as error:
        where = f" at {_address(redis)}" if redis is not None else ""
        raise ServiceError(
            f"Redis{where} does not answer ({type(error).__name__}). Start it, or set REDIS_URL. For a try "
            "without one: `alknet-firewall demo --keep`."
        ) from None


def _address(redis: "Redis") -> str:
    place = redis.connection_pool.connection_kwargs
    return str(place.get("path") or f"{place.get('host', '127.0.0.1')}:{place.get('port', 6379)}")
