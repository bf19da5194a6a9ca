"""A missing service: skipped at a developer's, failed in CI."""

import re
from pathlib import Path

import pytest

from tests.services import library, missing, program, redis_servers

ENDS = [(None, "skip"), ("", "skip"), ("false", "skip"), ("true", "fail"), ("1", "fail")]


@pytest.mark.parametrize(("ci", "end"), ENDS)
def test_what_becomes_of_a_test_without_its_service(ci: str | None, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    outcome = {"skip": pytest.skip.Exception, "fail": pytest.fail.Exception}[end]
    for want in (lambda: missing("it"), lambda: program("no-such-program"), lambda: library("no_such_library")):
        with pytest.raises(outcome):
            want()


def test_what_is_there_is_returned() -> None:
    assert Path(program("sh")).is_file()
    assert library("json").loads("1") == 1


def test_tests_say_skip_through_this_module_only() -> None:
    """So that none is skipped in CI by accident."""
    said = re.compile(r"importorskip|pytest\.skip\(|mark\.skip")
    files = [path for path in Path("tests").rglob("*.py") if said.search(path.read_text(encoding="utf-8"))]
    assert sorted(map(str, files)) == ["tests/services.py", "tests/unit/test_services.py"]


def test_every_redis_server_is_named_with_its_version() -> None:
    names = [parameter.id for parameter in redis_servers()]
    assert names
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"(redis-server|embedded)-\d+\.\d+\.\d+", name) for name in names)
