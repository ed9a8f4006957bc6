"""What may go wrong on a server that is open to all, done to real ones, and what became of it.

    python -m benchmarks.faults [--clients 50] [--requests 1000] [--only NAME ...]

Starts `python app.py` with a folder for temporary files of its own, does one thing after the other to it, and prints a
table. The exit code is 1 if one of them did not go as it should. Takes some minutes.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import faults_cases as cases
from benchmarks.faults_client import Row, files_below
from benchmarks.faults_load import mixture
from benchmarks.faults_model import damaged
from benchmarks.load import serving
from benchmarks.measure import machine

NAMES = ("load", "line", "disk", "model", "grid", "kill", "stop")


def main() -> None:
    """Do all of it and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50, help="of the load (%(default)s)")
    parser.add_argument("--requests", type=int, default=1000, help="of all of them together (%(default)s)")
    parser.add_argument("--only", nargs="+", default=NAMES, choices=NAMES, help="some of: " + ", ".join(NAMES))
    args = parser.parse_args()
    print(machine("crossviz-mini, coca-mini, vilt-mini", "cpu", libraries=("gradio",)), end="\n\n")
    print("| fault | what was done | expected | seen | |\n|---|---|---|---|---|", flush=True)
    fine = True
    with tempfile.TemporaryDirectory(prefix="crossviz-faults-") as work:
        for name in args.only:
            for row in rows(name, Path(work), args.clients, args.requests):
                fine = fine and row.ok
                print(row, flush=True)
    sys.exit(0 if fine else 1)


def rows(name: str, work: Path, clients: int, requests: int) -> Iterator[Row]:
    """What came of one of `NAMES`.

    Args:
        work: a folder for it.
    """
    home = work / name
    home.mkdir()
    env = {"GRADIO_TEMP_DIR": str(home), "CROSSVIZ_HOSTS": "*"}  # as a server for others
    if name == "load":
        with serving(env) as server:
            yield from mixture(server, clients, requests)
            yield cases.slow_uploads(server, 1000)
            yield cases.others_data(server, home, 2000)
            kept = len(files_below(home))
        left = files_below(home)
        yield Row(
            "temporary files",
            "the server that did all this is stopped",
            "nothing is left",
            f"{kept} files before, {len(left)} afterwards",
            not left,
        )
    elif name == "line":
        with serving({**env, "CROSSVIZ_AT_ONCE": "1", "CROSSVIZ_QUEUE": "4"}) as server:
            yield cases.queue_full(server, 3000)
            yield cases.leaves(server, 4000)
    elif name == "disk":
        yield cases.disk_full(env, home)
    elif name == "model":
        yield from damaged(env, home)
    elif name == "grid":
        yield cases.huge_grid()
    elif name == "kill":
        (work / "saved").mkdir()
        yield cases.killed(env, home, work / "saved")
    elif name == "stop":
        yield cases.stopped(env, home)


if __name__ == "__main__":
    main()
