"""The C library's memory allocator: when it gives memory back to the kernel."""

import ctypes
import gc

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEEP = 1 << 30
"""Bytes: larger than any block of a forward pass."""

OLD_LIMIT = 1 << 25
"""The most that glibc before 2.35 takes as a threshold of mmap."""


def give_back_freed_memory() -> None:
    """Give back what is no longer used; a model that was let go hangs in cycles of its own hooks."""
    gc.collect()
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def keep_freed_memory() -> bool:
    """From now on let memory that a forward pass frees serve the next one, instead of going to the kernel in between.

    glibc maps every large block anew, and the kernel clears it page by page: 4 to 10 % of a pass. The price is that the
    process stays as large as its largest pass. See mallopt(3).

    Returns:
        Whether the allocator took it; other C libraries than glibc do not know it.
    """
    libc = _glibc()
    if libc is None:
        return False
    mapped = libc.mallopt(M_MMAP_THRESHOLD, KEEP) or libc.mallopt(M_MMAP_THRESHOLD, OLD_LIMIT)
    return bool(libc.mallopt(M_TRIM_THRESHOLD, KEEP)) and bool(mapped)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
