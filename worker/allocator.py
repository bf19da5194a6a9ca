"""The C library's memory allocator, told to keep what it has."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEEP = 1 << 30
"""Bytes: larger than any block of a forward pass."""


def keep_freed_memory() -> bool:
    """Let memory that a forward pass frees serve the next one, instead of going back to the kernel in between.

    glibc maps every large block anew, and the kernel clears it page by page: 4 to 10 % of a pass. The price is that the
    process stays as large as its largest pass. See mallopt(3).

    Returns:
        Whether the allocator took it; other C libraries than glibc do not know it.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return bool(libc.mallopt(M_MMAP_THRESHOLD, KEEP)) and bool(libc.mallopt(M_TRIM_THRESHOLD, KEEP))
