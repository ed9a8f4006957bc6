"""How many people one crossviz serves: the real app, asked by 1 to 50 clients that never pause.

    python -m benchmarks.load [--clients 1,2,5,10,20,50] [--seconds 8] [--against NAME=VALUE ...]

Starts `python app.py` and sends it what docs/api.md describes: every request with a new photo, only other captions
about a photo that is known, and a mixture. The clients run on the same computer and share its cores with the server.
With `--against` a second server is started with those environment variables, and both are measured in turn.
"""

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.latency import ROOT
from benchmarks.load_clients import SCENARIOS, Record, drive, jain
from benchmarks.measure import machine
from crossviz.paths import assets_dir

PHOTO = "astronaut.jpg"
SECONDS_PER_CLIENT = 0.4
"""The window is at least this long for each client, so that each is served some times."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", default="1,2,5,10,20,50", help="numbers of clients (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="shortest time window (%(default)s)")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help="some of: %(default)s")
    parser.add_argument("--against", nargs="+", default=[], metavar="NAME=VALUE", help="of a second server")
    args = parser.parse_args()
    counts = [int(count) for count in args.clients.split(",")]
    others = dict(setting.split("=", 1) for setting in args.against)

    print(machine("crossviz-mini; clients on the same cores", "cpu", libraries=("gradio",)), end="\n\n", flush=True)
    titles = {"": {}, **({" ".join(args.against): others} if others else {})}
    print("| requests |" + (" server |" if others else "") + " clients | requests/s | p50 | p95 | longest |", end="")
    print(" refused | failed | fairness | slowest/fastest | server's CPU per request | memory |")
    print("|---" * (11 + bool(others)) + "|", flush=True)
    with contextlib.ExitStack() as stack:
        servers = {title: stack.enter_context(serving(env)) for title, env in titles.items()}
        for scenario in args.scenarios.split(","):
            for count in counts:
                for title, server in servers.items():
                    seconds = max(args.seconds, SECONDS_PER_CLIENT * count)
                    photo = assets_dir() / "examples" / PHOTO
                    records, used = drive(server.port, photo, SCENARIOS[scenario], count, seconds, server.cpu)
                    answered = sum(len(record.seconds) for record in records)
                    cost = f"{used / answered * 1000:.0f} ms" if used and answered else "not known"
                    name = f" {title or 'as it is'} |" if others else ""
                    print(f"| {scenario} |{name} {row(records, seconds)} | {cost} | {server.peak()} |", flush=True)
                    for told in {record.told for record in records if record.told}:
                        print(f"A request failed: {told.strip()[:200]!r}", file=sys.stderr)


def row(records: list[Record], seconds: float) -> str:
    """The figures of one run of some clients, as cells of the table."""
    times = sorted(time for record in records for time in record.seconds)
    refused, failed = sum(record.refused for record in records), sum(record.failed for record in records)
    if not times:
        return f"{len(records)} | 0 | - | - | - | {refused} | {failed} | - | -"
    medians = [statistics.median(record.seconds) for record in records if record.seconds]
    cells = [
        f"{len(records)}",
        f"{sum(record.in_time for record in records) / seconds:.1f}",
        shown(statistics.median(times)),
        shown(times[min(len(times) - 1, int(0.95 * len(times)))]),
        shown(times[-1]),
        f"{refused}",
        f"{failed}",
        f"{jain([record.in_time for record in records]):.2f}",
        f"{max(medians) / min(medians):.2f}",
    ]
    return " | ".join(cells)


def shown(seconds: float) -> str:
    """A time as the table shows it."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


@dataclass
class Server:
    """A running app."""

    port: int
    process: int
    """Its id."""

    def cpu(self) -> float:
        """Seconds that its threads have computed so far, where Linux says it; else 0."""
        stat = Path(f"/proc/{self.process}/stat")
        if not stat.exists():
            return 0.0
        fields = stat.read_text().rpartition(")")[2].split()  # what stands before may hold spaces
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak(self) -> str:
        """The most memory that it held since the last time this was asked, where Linux says it."""
        status = Path(f"/proc/{self.process}/status")
        if not status.exists():
            return "not known"
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.process}/clear_refs").write_text("5")  # the peak counts anew
        return f"{int(kilobytes) / 1024:,.0f} MB"


@contextlib.contextmanager
def serving(env: Mapping[str, str], root: Path = ROOT, limit_kb: int | None = None) -> Iterator[Server]:
    """The app in a process of its own, warm.

    Args:
        env: variables beside those of this process.
        root: the repository.
        limit_kb: how large a file of it may be, if not as the system has it.

    Raises:
        RuntimeError: it did not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    whole = {
        **os.environ,
        "CROSSVIZ_LOG": "off",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        **env,
    }
    command = [sys.executable, "app.py"]
    if limit_kb is not None:
        limited = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({limit_kb} * 1024,) * 2); "
        command = [sys.executable, "-c", limited + "import runpy; runpy.run_path('app.py', run_name='__main__')"]
    with subprocess.Popen(command, cwd=root, env=whole, stdout=subprocess.PIPE, text=True) as app:
        try:
            line = app.stdout.readline()
            if "is ready" not in line:
                raise RuntimeError("The app did not start: run `python app.py` to see why.")
            yield Server(port, app.pid)
        finally:
            app.terminate()


if __name__ == "__main__":
    main()
