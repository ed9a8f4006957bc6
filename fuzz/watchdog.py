"""Cases in processes of their own: a crash or a hang ends the process, is laid to its case, and the rest go on."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from fuzz.outcome import Outcome, Tally

__all__ = ["GROWTH_MB", "TIME_LIMIT_S", "run_cases"]

TIME_LIMIT_S = 10.0
"""Of the processor, for one case: on a busy computer a case may wait long for a core."""
CLOCK_LIMIT_S = 300.0
"""By the clock: nothing waits so long."""
GROWTH_MB = 48.0
"""More than this is not back to where it was."""


def run_cases(target: str, start: int, stop: int, said: Callable[[str], None] = lambda _: None) -> Tally:
    """Run the cases of a target from `start` to `stop`.

    Args:
        said: told how far it is.
    """
    tally = Tally(target)
    while start < stop:
        start = _one_process(target, start, stop, tally, said)
    return tally


def _one_process(target: str, start: int, stop: int, tally: Tally, said: Callable[[str], None]) -> int:
    """Cases in one process, until it is done or dead; gives the number to go on with."""
    command = [sys.executable, "-X", "faulthandler", "-m", "fuzz.worker", target, str(start), str(stop)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    lines: queue.Queue[str | None] = queue.Queue()
    errors: list[str] = []
    readers = [
        threading.Thread(target=lambda: [*map(lines.put, worker.stdout), lines.put(None)], daemon=True),
        threading.Thread(target=lambda: errors.extend(worker.stderr), daemon=True),
    ]
    for reader in readers:
        reader.start()
    running, seconds = start, 0.0
    try:
        while (line := _next(lines, worker.pid, seconds, running > start)) is not None:
            if line == "":
                tally.hangs += 1
                tally.add(Outcome(running, "", "wrong", f"no answer within {TIME_LIMIT_S:.0f} s", TIME_LIMIT_S * 1000))
                return running + 1
            told = json.loads(line)
            if "begins" in told:
                running, seconds = told["begins"], told["seconds"]
                if running % 1000 == 0:
                    said(f"{target}: {running} of {stop}")
            elif "mb_after" in told:
                _remember(told, tally)
                return stop
            else:
                tally.add(Outcome(**told))
    finally:
        worker.kill()
        worker.wait()
        for reader in readers:
            reader.join(5)
    tally.crashes += 1
    last = " ".join("".join(errors)[-300:].split())
    tally.add(Outcome(running, "", "wrong", f"the process ended ({worker.returncode}): {last}"))
    return running + 1


def _next(lines: queue.Queue[str | None], process: int, seconds: float, warm: bool) -> str | None:
    """The next line of a worker; None where it ended, "" where it takes too long.

    Args:
        seconds: of the processor that it had used when its case began.
        warm: whether it has done a case; the first one loads everything, too.
    """
    began = time.monotonic()
    while True:
        try:
            return lines.get(timeout=TIME_LIMIT_S)
        except queue.Empty:
            used = _processor_seconds(process) - seconds
            if time.monotonic() - began > CLOCK_LIMIT_S or (warm and used > TIME_LIMIT_S):
                return ""


def _processor_seconds(process: int) -> float:
    """What a process has computed, where Linux says it; else 0."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _remember(told: dict[str, float], tally: Tally) -> None:
    before, after = told["mb_before"], told["mb_after"]
    tally.notes.append(f"{before:.0f} MB -> {after:.0f} MB")
    tally.failed |= after - before > GROWTH_MB
