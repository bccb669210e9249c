"""What this process used and what it may use of the machine."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from .system import WINDOWS

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes)."""
    if WINDOWS:
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts the parent of a fresh process into getrusage's figure
        peak_kib = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if peak_kib is not None:
            return int(peak_kib[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def restart_peak_memory() -> bool:
    """Make `peak_memory_mb` count from now on; False where the system cannot (only Linux can)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    except OSError:
        return False
    return True


def current_memory_mb() -> float:
    """Resident memory of this process now, in MB (10^6 bytes)."""
    import psutil

    return psutil.Process().memory_info().rss / 1e6


def machine_memory_mb() -> float:
    """Memory that this machine, or the container on it, has for us, in MB (10^6 bytes)."""
    import psutil

    limits = [float(psutil.virtual_memory().total)]
    for name in _CGROUP_LIMITS:
        try:
            limits.append(float(Path(name).read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(limits) / 1e6


def available_cores() -> int:
    """How many cores this process may use: its affinity where the system has one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
