"""Reading photos ahead of the model, in threads: Pillow decodes and resizes without Python's lock."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossviz.batch.rows import Row, writable
from crossviz.errors import CrossvizError, PhotoError
from crossviz.photo import load_photo

if TYPE_CHECKING:
    from crossviz.explainer import Explainer
    from crossviz.models.base import Prepared

__all__ = ["MOST_BYTES", "Bad", "Ready", "ready_ahead"]

MOST_BYTES = 1 << 30
"""Of decoded photos that wait for the model, roughly: one more photo is always read."""


@dataclass(frozen=True, eq=False, slots=True)
class Ready:
    """A row whose caption and photo are there, the photo as the model takes it."""

    position: int
    row: Row
    caption: str
    prepared: "Prepared"

    @property
    def nbytes(self) -> int:
        """Memory of the photo's pixels."""
        return self.prepared.photo.pixels.nbytes


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that can't be explained, with the sentence that says why."""

    position: int
    key: str
    photo: str
    reason: str

    nbytes = 0


def ready_ahead(
    pool: ThreadPoolExecutor, explainer: "Explainer", rows: Iterable[tuple[int, Row]], window: int
) -> Iterator[Ready | Bad]:
    """The rows in order, up to `window` of them read ahead, fewer where photos are large.

    Args:
        pool: where they are read.
        explainer: whose model the photos are prepared for.
        rows: positions and rows.
        window: how many may wait.
    """
    waiting: deque[Future[Ready | Bad]] = deque()
    rows, left, usual = iter(rows), True, MOST_BYTES // 8  # until one is read: as the largest that is taken
    while left or waiting:
        while left and len(waiting) < window and (not waiting or _held(waiting, usual) < MOST_BYTES):
            following = next(rows, None)
            left = following is not None
            if following is not None:
                waiting.append(pool.submit(_made_ready, explainer, *following))
        if waiting:
            found = waiting.popleft().result()
            usual = found.nbytes or usual
            yield found


def _held(waiting: Iterable[Future[Ready | Bad]], usual: int) -> int:
    """Memory of what waits; what is not read yet is taken to be as large as the largest that is."""
    known = [each.result().nbytes if each.exception() is None else 0 for each in waiting if each.done()]
    return sum(known) + (len(waiting) - len(known)) * max((usual, *known))


def _made_ready(explainer: "Explainer", position: int, row: Row) -> Ready | Bad:
    try:
        caption = row.told()  # the cheaper half first
        prepared = explainer.prepare(load_photo(row.read()))
        prepared.photo.sha256  # noqa: B018  computed here, in a thread, and kept
        return Ready(position, row, caption, prepared)
    except CrossvizError as error:
        return bad(position, row, error)
    except Exception as error:  # of whatever a decoder may raise: a million rows must not wait for one
        return bad(position, row, PhotoError(f"It can't be read ({type(error).__name__}: {error})."))


def bad(position: int, row: Row, error: CrossvizError) -> Bad:
    """A row set aside, with the error's sentence."""
    return Bad(position, row.key, row.photo, writable(" ".join(str(error).split())))
