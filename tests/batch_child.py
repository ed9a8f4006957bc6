"""What a child process of a test runs; importing it imports all that a run needs, so that a fork starts at once."""

import crossviz.batch.on_ray
import crossviz.batch.run
import crossviz.batch.store
import crossviz.explainer
from crossviz import compat
from crossviz.cli import batch, main

compat.import_open_clip()
__all__ = ["batch", "crossviz", "run"]


def run(arguments: list[str]) -> None:
    """The command, as a process of its own ends with it."""
    raise SystemExit(main(arguments))
