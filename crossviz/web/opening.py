"""The explanation that the page opens with, remembered from one start to the next.

Half of a start is importing open_clip and loading the model, which the page itself does not need. With the first
example's explanation at hand the page is served at once, and the model loads while the visitor looks at it.
"""

import hashlib
import logging
import os
from pathlib import Path

from crossviz.errors import BundleError
from crossviz.explanation import Explanation, load
from crossviz.models import DEFAULT_MODEL
from crossviz.paths import assets_dir
from crossviz.version import __version__
from crossviz.web.engine import Engine
from crossviz.web.examples import examples

__all__ = ["opening", "remembered"]

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parents[1]


def opening(engine: Engine) -> Explanation:
    """The first example explained: remembered if nothing has changed since, else computed (which loads the model)."""
    known = remembered(engine)
    if known is not None:
        return known
    first = examples()[0]
    explanation = engine.explain(str(first.photo), first.caption)
    if engine.model == DEFAULT_MODEL:
        _remember(explanation, _file(engine))
    return explanation


def remembered(engine: Engine) -> Explanation | None:
    """The remembered explanation, or None where there is none for exactly this code, model and device."""
    file = _file(engine)
    if engine.model != DEFAULT_MODEL or not file.is_file():
        return None
    try:
        return load(file)
    except BundleError as error:
        log.info("The remembered explanation can't be read and is made anew: %s", error)
        return None


def _remember(explanation: Explanation, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for older in file.parent.glob("opening-*.npz"):
            older.unlink(missing_ok=True)
        explanation.save(file)
    except (OSError, BundleError) as error:  # a home that can't be written to: the next start computes it again
        log.info("The first explanation is not remembered: %s", error)


def _file(engine: Engine) -> Path:
    """Where it is kept: the name changes with every file of the package, of the model and of the example."""
    first = examples()[0]
    state = [__version__, engine.model, str(engine.device), first.caption]
    parts = [*PACKAGE.rglob("*.py"), *(assets_dir() / "models" / DEFAULT_MODEL).glob("*")]
    for path in (*sorted(parts), assets_dir() / "examples" / first.photo.name):
        stat = path.stat()
        state.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "crossviz" / f"opening-{hashlib.sha256(chr(10).join(state).encode()).hexdigest()[:24]}.npz"
