"""Make the embedded model from photos to model folder: `python -m crossviz.training`.

Each step keeps what it made in the work folder; started again, the command goes on where it stopped.
"""

import argparse
import sys
from pathlib import Path

from crossviz.training import calibrate, curves, export, features, text_distil, train

__all__ = ["main"]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made on the way")
    parser.add_argument("--detector", type=Path, required=True, help="folder with nanodet.json and nanodet.bin")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    args = parser.parse_args()
    data, work = ["--data", str(args.data)], ["--work", str(args.work)]
    detector = ["--detector", str(args.detector)]
    _run(features.main, [*data, *work, *detector])
    if not (args.work / "text_tower.pt").exists():
        _run(text_distil.main, [*data, *work])
    _run(train.main, [*data, *work, "--resume"])
    _run(calibrate.main, [*data, *work])
    _run(export.main, ["--checkpoint", str(args.work / "checkpoint.pt"), "--out", str(args.out), *detector])
    _run(curves.main, work)


def _run(step, arguments: list[str]) -> None:
    print(f"== {step.__module__.rsplit('.', 1)[-1]} {' '.join(arguments)}", flush=True)
    before, sys.argv = sys.argv, [step.__module__, *arguments]
    try:
        step()
    finally:
        sys.argv = before


if __name__ == "__main__":
    main()
