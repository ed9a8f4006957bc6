"""How many cores this process may use: in a container often fewer than the computer has."""

import math
import os
from pathlib import Path

__all__ = ["cores", "limit_threads"]

_CGROUPS = Path("/sys/fs/cgroup")


def cores(groups: Path = _CGROUPS) -> int:
    """The cores that the process may run on, or the share of them that its control group is given, rounded up.

    `os.cpu_count`, and PyTorch with it, count the computer's own: in a container of 2 cores on a computer of 64 that
    makes 64 threads wait for one another.

    Args:
        groups: where Linux mounts control groups, of version 2 or 1.
    """
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(groups)
    return mine if quota is None else max(1, min(mine, math.ceil(quota)))


def limit_threads() -> None:
    """Give PyTorch no more threads than this process has cores, unless OMP_NUM_THREADS says how many."""
    import torch  # here, as it takes a second

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), cores()))


def _quota(groups: Path) -> float | None:
    """Cores' worth of time that the control group may use; None for no limit."""
    try:
        if (groups / "cpu.max").exists():
            given, period = (groups / "cpu.max").read_text().split()
        else:
            given, period = (
                (groups / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")
            )
        return float(given) / float(period) if given not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):  # another system, or another layout
        return None
