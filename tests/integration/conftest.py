from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.support import Producer, Topic, Worker, producing, ready
from tests.integration.webhook_stage import Stage
from tests.services import redis_servers
from worker.topic import publisher as publisher_module
from worker.topic.server import running_redis

_databases = count(2)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The session's Redis, without a database number. Database 0 is the session worker's."""
    with running_redis("--databases", "1024") as url:
        yield url.rsplit("/", 1)[0]


@pytest.fixture(scope="session")
def url(redis_server: str) -> str:
    return f"{redis_server}/0"


@pytest.fixture(scope="session")
def worker(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """The one worker most tests share: threads pool, shipped codebook, embedded model."""
    with ready(url, tmp_path_factory.mktemp("worker")) as running:
        yield running


@pytest.fixture(scope="session")
def topic(url: str) -> Iterator[Topic]:
    with Redis.from_url(url, decode_responses=True) as redis:
        yield Topic(redis)


@pytest.fixture(scope="session")
def producer(url: str) -> Iterator[Producer]:
    with producing(url) as made:
        yield made


@pytest.fixture(scope="session")
def new_url(redis_server: str) -> Callable[[], str]:
    """Each call returns a database that nobody else uses."""
    return lambda: f"{redis_server}/{next(_databases)}"


@pytest.fixture(scope="session", params=redis_servers())
def redis_binary(request: pytest.FixtureRequest) -> Path:
    """Every redis-server that is installed, one after the other."""
    binary: Path = request.param
    return binary


@pytest.fixture(scope="session")
def every_server(redis_binary: Path) -> Iterator[str]:
    """A running one of each, without a database number."""
    with running_redis("--databases", "1024", binary=redis_binary) as url:
        yield url.rsplit("/", 1)[0]


@pytest.fixture
def every_url(every_server: str) -> str:
    """A database of each server that nobody else uses; for tests of what depends on the server."""
    return f"{every_server}/{next(_databases)}"


@pytest.fixture
def own_url(new_url: Callable[[], str]) -> str:
    """A database that nobody else uses."""
    return new_url()


@pytest.fixture
def own_topic(own_url: str) -> Iterator[Topic]:
    with Redis.from_url(own_url, decode_responses=True) as redis:
        yield Topic(redis)


@pytest.fixture
def own_producer(own_url: str) -> Iterator[Producer]:
    with producing(own_url) as made:
        yield made


@pytest.fixture
def own_redis(own_topic: Topic) -> Redis:
    return own_topic.redis


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Where the processes of one test write."""
    return tmp_path


@pytest.fixture
def stage(own_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(publisher_module, "RETRY_DELAYS_S", (0.0,))
    return Stage(own_redis)
