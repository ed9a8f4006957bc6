"""What the benchmarks share: times of calls, taken in turns, and what they were taken on."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

__all__ = ["duration", "in_turns", "machine", "processor", "spread", "timed", "times"]


def in_turns(calls: Mapping[str, Callable[[], object]], runs: int, *, warm: bool = True) -> dict[str, list[float]]:
    """Seconds of every call: one after the other, so many rounds.

    What else the machine does meanwhile falls on all of them alike.

    Args:
        warm: run each once before.
    """
    for call in calls.values() if warm else ():
        call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            found[name].append(timed(call))
    return found


def times(others: list[float], own: list[float]) -> float:
    """How many times as long the others took: the median over the rounds of `in_turns`."""
    return statistics.median(other / mine for other, mine in zip(others, own, strict=True))


def duration(seconds: float) -> str:
    """As it stands in a table."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, smallest, largest."""
    return statistics.median(values), min(values), max(values)


def timed(call: Callable[[], object]) -> float:
    """Seconds that `call` takes, with the GPU's queue emptied before and after."""
    synchronize()
    started = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - started


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def machine(more: str = "", device: str | None = None, *, libraries: tuple[str, ...] = ()) -> str:
    """What the figures were measured on: a line.

    Args:
        more: what stands at its end.
        device: "cpu" leaves a GPU out.
        libraries: whose versions it names, besides torch's.
    """
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() and device != "cpu" else ""
    versions = "".join(f", {name} {version(name)}" for name in libraries)
    return (
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads{gpu}; {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}{versions}{f'; {more}' if more else ''}"
    )


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
