"""Reading a file that may come from anyone comes to an end, and to no more than was bargained for."""

import os
from pathlib import Path

import pytest

from worker.bounded import read_bounded


def test_a_file_within_the_bound_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"


def test_of_a_larger_one_there_is_one_byte_more(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert len(read_bounded(path, 5)) == 6


def test_a_pipe_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="no regular file"):
        read_bounded(path, 5)


@pytest.mark.parametrize("path", ["/dev/zero", "/", "/nowhere"])
def test_what_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - each has a message of its own
        read_bounded(Path(path), 5)


def test_a_link_to_a_device_is_no_file(tmp_path: Path) -> None:
    link = tmp_path / "codebook.safetensors"
    link.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="no regular file"):
        read_bounded(link, 5)
