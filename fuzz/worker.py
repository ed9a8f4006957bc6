"""A process of its own that runs cases one after another, and says before each which comes and after each what became
of it: `python -m fuzz.worker TARGET START STOP`. What kills or holds it is known by the last number that it said."""

import contextlib
import ctypes
import gc
import importlib
import json
import sys
import time
import traceback
import warnings
from pathlib import Path

from fuzz.outcome import Outcome

TARGETS = {"photos": "fuzz.photos", "bundles": "fuzz.bundles", "captions": "fuzz.captions"}
WARM_UP = 300
"""After so many cases everything that is loaded once is there, and memory is measured from then on."""


def main(target: str, start: int, stop: int) -> None:
    """Run the cases from `start` to `stop`, and write a line of JSON for each."""
    warnings.simplefilter("ignore")  # of Pillow, about damaged metadata
    module = importlib.import_module(TARGETS[target])
    before = None
    for number in range(start, stop):
        print(json.dumps({"begins": number, "seconds": time.process_time()}), flush=True)
        print(json.dumps(one(module, number).as_dict()), flush=True)
        if number - start == min(WARM_UP, (stop - start) // 2):
            before = settled()
    print(json.dumps({"mb_before": before, "mb_after": settled()}), flush=True)


def one(module: object, number: int) -> Outcome:
    """One case, with its time and memory; any other error than crossviz's own is what must not happen."""
    data, label = module.make(number)
    base = _status("VmRSS")
    _forget_peak()
    began = time.process_time()
    try:
        found = module.check(number, data, label)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        found = Outcome(number, label, "wrong", f"{type(error).__name__}: {str(error)[:200]} at {place}")
    ms = (time.process_time() - began) * 1000
    return Outcome(number, found.label, found.kind, found.said, ms, max(0.0, _status("VmHWM") - base))


def settled() -> float:
    """Megabytes that this process holds once all garbage is collected."""
    gc.collect()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS")


def _status(name: str) -> float:
    """A figure of this process in MB, where Linux says it; else 0."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(name))


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
