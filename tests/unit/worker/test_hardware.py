"""Cores and instructions as kernels and container engines report them."""

from pathlib import Path

import pytest

from worker.hardware import available_cores, has_bfloat16


@pytest.fixture(autouse=True)
def _sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))


def cores(tmp_path: Path, groups: str, files: dict[str, str]) -> int:
    """Available cores under a tree of control groups."""
    root = tmp_path / "cgroup"
    root.mkdir()
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (tmp_path / "self").write_text(groups)
    return available_cores(tmp_path / "self", root)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        pytest.param("0::/\n", {"cpu.max": "250000 100000\n"}, 2, id="container with its own root"),
        pytest.param("0::/\n", {"cpu.max": "max 100000\n"}, 16, id="no quota"),
        pytest.param("0::/\n", {"cpu.max": "garbage"}, 16, id="unreadable"),
        pytest.param("0::/\n", {}, 16, id="no file"),
        pytest.param("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "max 100000"}, 4, id="nested group"),
        pytest.param("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3, id="quota above it"),
        pytest.param("0::/host/path\n", {"cpu.max": "200000 100000"}, 2, id="path of the host"),
        pytest.param("0::/\n", {"cpu.max": "50000 100000"}, 1, id="half a core"),
        pytest.param("0::/\n", {"cpu.max": "6400000 100000"}, 16, id="more than there are"),
        pytest.param(
            "4:cpu,cpuacct:/d\n1:memory:/d\n",
            {"cpu/d/cpu.cfs_quota_us": "500000", "cpu/d/cpu.cfs_period_us": "100000"},
            5,
            id="version 1",
        ),
        pytest.param(
            "4:cpu,cpuacct:/d\n",
            {"cpu/d/cpu.cfs_quota_us": "-1", "cpu/d/cpu.cfs_period_us": "100000"},
            16,
            id="v1 free",
        ),
        pytest.param("nonsense\n", {"cpu.max": "200000 100000"}, 2, id="odd list of groups"),
    ],
)
def test_the_smallest_quota_counts(tmp_path: Path, groups: str, files: dict[str, str], expected: int) -> None:
    assert cores(tmp_path, groups, files) == expected


def test_without_control_groups_affinity_counts(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "none", tmp_path / "nowhere") == 16


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 avx512f avx512_bf16 gfni\n", True),
        ("flags : fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags : fpu sse2 avx512f avx512_vnni\n", False),
        ("model name : a bf16 by name\nflags : fpu\n", False),
        ("", False),
    ],
)
def test_bfloat16_is_read_from_the_processors_flags(tmp_path: Path, cpuinfo: str, expected: bool) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    assert has_bfloat16("cpu", path) is expected


def test_without_cpuinfo_there_is_no_bfloat16(tmp_path: Path) -> None:
    assert has_bfloat16("cpu", tmp_path / "none") is False
