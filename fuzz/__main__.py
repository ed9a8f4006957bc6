"""Everything that `make fuzz` runs, and its table: `python -m fuzz [--photos 10000] [--seconds 600] ...`."""

import argparse
import importlib.util
import subprocess
import sys

from benchmarks.measure import machine
from fuzz.bundle_seeds import made_once
from fuzz.command import report, told
from fuzz.live import run_live
from fuzz.watchdog import run_cases

COUNTS = {
    "photos": (10_000, "malformed photos"),
    "bundles": (500, "broken saved files"),
    "captions": (2_000, "captions, by the running app and by the embedded model in a process of its own"),
    "live-photos": (1_000, "of the photos, by the running app"),
    "live-bundles": (500, "of the saved files, by the running app"),
    "requests": (2_000, "right and wrong requests to every endpoint and route"),
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.split(":")[0])
    for name, (count, what) in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, default=count, help=f"{what} (%(default)s)")
    parser.add_argument(
        "--seconds", type=int, default=600, help="of coverage-guided fuzzing of each loader (%(default)s)"
    )
    args = parser.parse_args()
    if args.seconds and importlib.util.find_spec("atheris") is None:
        sys.exit(
            "Coverage-guided fuzzing needs atheris (for Linux with CPython 3.11 to 3.13): .venv/bin/pip install -r "
            "requirements-fuzz.txt, or leave it out: make fuzz FUZZ_SECONDS=0"
        )
    print(machine("crossviz-mini", "cpu", libraries=("gradio", "pillow")), flush=True)
    with made_once():
        tallies = [run_cases(name, 0, getattr(args, name), told) for name in ("photos", "bundles", "captions")]
        counts = {"captions": args.captions, "photos": args.live_photos, "bundles": args.live_bundles}
        tallies += run_live({**counts, "requests": args.requests})
    good = report(tallies)
    for target in ("photos", "bundles") if args.seconds else ():
        print(f"\nCoverage-guided, {target}:", flush=True)
        good &= _guided(target, args.seconds)
    sys.exit(not good)


def _guided(target: str, seconds: int) -> bool:
    """Run one target and print how many inputs there were and what they reached; whether none was wrong."""
    command = [sys.executable, "-m", "fuzz.guided", target, "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = done.stdout.splitlines()
    reached = next((line for line in reversed(lines) if " cov: " in line), "")
    print("\n".join([reached, *(line for line in lines if line.startswith(("Done", "stat::")))]))
    if done.returncode:
        print("\n".join(lines[-40:]))
    return done.returncode == 0


if __name__ == "__main__":
    main()
