"""The allocator's setting on the C library at hand, and on another one."""

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from worker.allocator import give_back_freed_memory, keep_freed_memory


def test_glibc_takes_it_and_no_other_library() -> None:
    code = "from worker.allocator import keep_freed_memory as k; import sys; sys.exit(not k())"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert (done.returncode == 0) == hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    give_back_freed_memory()
    assert keep_freed_memory() is False
