"""Cases in processes of their own, watched: a crash or a hang ends the process, is laid to its case, and the rest go on."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable

from fuzz.outcome import Outcome, Tally

__all__ = ["GROWTH_MB", "TIME_LIMIT_S", "run_cases"]

TIME_LIMIT_S = 30.0
"""For one case, by the clock: on a busy computer a case may wait for a core."""
START_LIMIT_S = 120.0
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
    running = None
    try:
        while True:
            try:
                line = lines.get(timeout=START_LIMIT_S if running is None else TIME_LIMIT_S)
            except queue.Empty:
                tally.hangs += 1
                tally.add(
                    Outcome(
                        running or start, "", "wrong", f"no answer within {TIME_LIMIT_S:.0f} s", TIME_LIMIT_S * 1000
                    )
                )
                return (running or start) + 1
            if line is None:
                break
            told = json.loads(line)
            if "begins" in told:
                running = told["begins"]
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
    number = start if running is None else running
    tally.add(Outcome(number, "", "wrong", f"the process ended ({worker.returncode}): {last}"))
    return number + 1


def _remember(told: dict[str, float], tally: Tally) -> None:
    before, after = told["mb_before"], told["mb_after"]
    tally.notes.append(f"{before:.0f} MB, {after:.0f} MB")
    tally.failed |= after - before > GROWTH_MB
