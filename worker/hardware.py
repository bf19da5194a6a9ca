"""What the machine grants this process: cores, and arithmetic its processor has instructions for."""

import os
from pathlib import Path

_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Flags of /proc/cpuinfo for products of bfloat16: Intel and AMD, Intel's AMX, ARMv8.6."""


def available_cores(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the cores this process may use: the smaller of its CPU affinity and its cgroup's quota, at least 1.

    A quota may stand at any level above the process' own group; the smallest counts. Both cgroup versions are
    read. A fraction of a core is left away: a thread that is throttled holds up the others.

    Args:
        proc: The process' groups.
        root: Where the groups are mounted.
    """
    cores = len(os.sched_getaffinity(0))
    quotas = [quota for group in _groups(proc, root) if (quota := _quota(group)) is not None]
    return max(1, min([cores, *(int(quota) for quota in quotas)]))


def has_bfloat16(device: str = "cpu", cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the device multiplies bfloat16 in hardware; emulated it is slower than float32.

    Args:
        device: Torch device.
        cpuinfo: What the kernel says of the processor.
    """
    if device != "cpu":
        import torch

        return device.startswith("cuda") and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return not _CPU_FLAGS.isdisjoint(flags.split())


def _groups(proc: Path, root: Path) -> list[Path]:
    """Return the directories of the process' groups for the CPU, each with all above it.

    In a container the path may be the host's, and only the root be there: what does not exist is passed over.
    """
    try:
        entries = [line.split(":", 2) for line in proc.read_text(encoding="utf-8").splitlines()]
    except OSError:
        entries = []
    found = [root]
    for _, controllers, path in (entry for entry in entries if len(entry) == 3):
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        parts = Path(path.lstrip("/")).parts
        found += [top.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    return found


def _quota(group: Path) -> float | None:
    """Return a group's quota in cores, None without one: ``cpu.max`` of version 2, ``cpu.cfs_*`` of version 1."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (group / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        return float(quota) / float(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
