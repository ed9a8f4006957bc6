"""Malformed photos, broken saved files, captions of every script and wrong requests, thrown at crossviz.

`make fuzz` runs all of it and prints a table (docs/fuzzing.md). Every case has a number from which it is made again:
`python -m fuzz.photos --case 1234` says what becomes of it, `--write FILE` keeps it.
"""

from pathlib import Path

__all__ = ["ROOT"]

ROOT = Path(__file__).resolve().parents[1]
