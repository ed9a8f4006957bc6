"""Blocks: runs of rows that are explained and kept together, the unit of work and of what a restart does again."""

from dataclasses import dataclass

from crossviz.batch.rows import Source
from crossviz.errors import DatasetError

__all__ = ["Block", "check_numbers", "make_plan"]


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of a source from `start` up to `stop`; `number` is the block's place in the plan."""

    number: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def check_numbers(size: int, limit: int | None) -> None:
    """Refuse a size or a limit below 1.

    Raises:
        DatasetError: one of them is.
    """
    for name, value in (("--block", size), ("--limit", limit)):
        if value is not None and value < 1:
            raise DatasetError(f"{name} is a number of rows from 1 on, not {value}.")


def make_plan(source: Source, size: int, limit: int | None = None) -> tuple[Block, ...]:
    """All rows in blocks of `size`, or less where the source says that a block must end (a shard's end).

    Args:
        source: the rows.
        size: rows a block, at least 1.
        limit: only so many of the first rows; all if None.

    Raises:
        DatasetError: for a size or limit below 1.
    """
    check_numbers(size, limit)
    total = len(source) if limit is None else min(limit, len(source))
    ends = [end for end in (*source.boundaries, total) if end <= total]
    blocks: list[Block] = []
    start = 0
    for end in ends:
        while start < end:
            blocks.append(Block(len(blocks), start, min(start + size, end)))
            start = blocks[-1].stop
    return tuple(blocks)
