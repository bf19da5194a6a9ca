"""Read a file that may come from anyone: not more of it than it may have, and nothing that is no file."""

import errno
import os
import stat
from pathlib import Path


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Return a regular file's bytes, and one byte more than ``most_bytes`` at most, by which a larger one is told.

    A size that is asked for before reading proves nothing: a device has none and never ends, a file may grow.

    Raises:
        OSError: It cannot be read, or is a directory, a pipe or a device.
    """
    # O_NONBLOCK: a pipe would keep the opener waiting for somebody to write.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most_bytes + 1)
    finally:
        os.close(descriptor)
