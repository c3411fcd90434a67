"""What the figures depend on, of the machine: its processor, its cores, its memory, and how busy it was."""

import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["described", "peak_memory", "reset_peak"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def described() -> dict[str, Any]:
    """Say what it is."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(pages * size / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def reset_peak() -> None:
    """Have the peak counted from now on; Linux only."""
    _CLEAR.write_text("5", encoding="ascii")


def peak_memory() -> float:
    """Return the most that this process held since then, in MB."""
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
