"""The command line of one target."""

import argparse
import contextlib
import importlib
import sys
from pathlib import Path

from fuzz.bundle_seeds import made_once
from fuzz.outcome import HEAD, Tally
from fuzz.watchdog import run_cases
from fuzz.worker import TARGETS, one

__all__ = ["command", "report", "told"]


def command(target: str, description: str, cases: int) -> None:
    """Run many cases and print their table, or one and say what became of it."""
    parser = argparse.ArgumentParser(prog=f"python -m fuzz.{target}", description=description.split(":")[0])
    parser.add_argument("--cases", type=int, default=cases, help="how many (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (%(default)s)")
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--write", type=Path, help="keep the case's input in this file")
    args = parser.parse_args()
    if args.case is None:
        with made_once() if target == "bundles" else contextlib.nullcontext():
            tally = run_cases(target, args.first, args.first + args.cases, told)
        sys.exit(not report([tally]))
    module = importlib.import_module(TARGETS[target])
    data, label = module.make(args.case)
    if args.write is not None:
        args.write.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    print(f"{label}; {len(data)} bytes", flush=True)
    found = one(module, args.case)
    print(f"{found.kind} in {found.ms:.1f} ms, {found.peak_mb:.0f} MB more at most. {found.said}")
    sys.exit(found.kind == "wrong")


def told(text: str) -> None:
    """How far it is, for those who wait."""
    print(text, file=sys.stderr, flush=True)


def report(tallies: list[Tally]) -> bool:
    """Print the table, the sentences and all that must not happen; whether there is nothing of the kind."""
    print(f"\n{HEAD}\n{'|---' * (HEAD.count('|') - 1)}|")
    print("\n".join(tally.row() for tally in tallies))
    for tally in tallies:
        print(f"\nRefused, {tally.target}:")
        print("\n".join(tally.sentences()) or "- none")
    for tally in tallies:
        for outcome in tally.wrong:
            print(f"\nWRONG: {tally.target}, case {outcome.number} ({outcome.label}): {outcome.said}")
        if tally.failed:
            print(f"\nWRONG: {tally.target}: {'; '.join(tally.notes)}")
    return all(tally.good for tally in tallies)
