"""The allocator's setting on the C library at hand, and on another one."""

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from worker.allocator import give_back_freed_memory, keep_freed_memory


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another C library than glibc")
def test_glibc_takes_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from worker.allocator import keep_freed_memory as k; import sys; sys.exit(not k())"],
        check=False,
    )
    assert done.returncode == 0


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    give_back_freed_memory()
    assert keep_freed_memory() is False
