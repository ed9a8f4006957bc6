"""The folder that a run writes: what is in it, what of it is done, and adding a block.

    OUT/batch.json                  what made it; written first
    OUT/maps.zarr/24x24/000012      the maps of block 12's words with that grid, `word gh gw`
    OUT/heads.zarr/24x24/000012     the same of single layers and heads, where asked for
    OUT/bad/part-000012.parquet     rows of block 12 that were set aside
    OUT/rows/part-000012.parquet    its good rows; written last: with this file the block is done
    OUT/report.md                   written when all is done

Whatever is written is made in OUT/.tmp and moved to its place when it is whole and on the disk, so a run that is ended
at any moment leaves whole blocks and rests of others, which the next run sweeps away. Two processes that make the same
block (a worker that was given up, and its follower) leave one of the two, whole.
"""

import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore

from crossviz.batch.block import BlockResult
from crossviz.batch.files import place, remove, sync, sync_folder, write_whole
from crossviz.batch.tables import bad_table, rows_table
from crossviz.errors import DatasetError

__all__ = ["CHUNK_WORDS", "add_block", "done_blocks", "forget_bad", "open_out", "part_name", "sweep"]

CHUNK_WORDS = 64
"""Words whose maps are compressed, and so read, together."""
AXES = {"maps.zarr": ("word", "gh", "gw"), "heads.zarr": ("word", "layer", "head", "gh", "gw")}
_PART = re.compile(r"part-(\d{6,})\.parquet")
_TEMPORARY, _LOCK = ".tmp", ".lock"


def lock_file(out: Path) -> Path:
    """The file that says that a run is writing; see `files.locked`."""
    return out / _LOCK


def part_name(number: int) -> str:
    """The file of a block's rows."""
    return f"part-{number:06d}.parquet"


def open_out(out: Path, about: Mapping[str, Any], lasting: tuple[str, ...]) -> None:
    """Begin a folder, or go on with one of the same run; to be called with the lock held.

    Args:
        out: the folder; it is there.
        about: what `batch.json` holds.
        lasting: names in `about` that must be the same as before.

    Raises:
        DatasetError: the folder holds something else, or another run.
    """
    file = out / "batch.json"
    if file.is_file():
        _check_same(out, json.loads(file.read_text(encoding="utf-8")), about, lasting)
    elif any(not each.name.startswith(".") for each in out.iterdir()):
        raise DatasetError(f"{out} holds other files: choose a new folder, or one that crossviz batch began.")
    (out / _TEMPORARY).mkdir(exist_ok=True)
    if not file.is_file():
        text = json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_whole(file, text.encode(), out / _TEMPORARY / "batch.json")
    for name in ("rows", "bad"):
        (out / name).mkdir(exist_ok=True)
    sweep(out)


def _check_same(out: Path, before: Any, about: Mapping[str, Any], lasting: tuple[str, ...]) -> None:
    for name in lasting:
        old, new = (each.get(name) if isinstance(each, Mapping) else None for each in (before, about))
        if isinstance(old, dict) and isinstance(new, dict):
            part = next((key for key in {**old, **new} if old.get(key) != new.get(key)), None)
            old, new, name = old.get(part), new.get(part), f"{name}, {part}"
        if old != new:
            raise DatasetError(
                f"{out} holds a run with another {name} ({_short(old)}, now {_short(new)}), and results of both don't "
                "mix: choose another folder, or go on with the same source and settings."
            )


def _short(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 40 else f"{shown[:36]} ..."


def done_blocks(out: Path) -> set[int]:
    """The numbers of the blocks that are done: their rows are there, and their maps where there are rows."""
    found = {int(match[1]) for name in os.listdir(out / "rows") if (match := _PART.fullmatch(name))}
    for number in found - set(_arrays(out, "maps.zarr")):
        if pq.read_metadata(out / "rows" / part_name(number)).num_rows:
            found.remove(number)
    return found


def sweep(out: Path) -> None:
    """Remove what belongs to no block that is done."""
    for each in (out / _TEMPORARY).iterdir():
        remove(each)
    done = done_blocks(out)
    for name in ("rows", "bad"):
        for file in (out / name).iterdir():
            match = _PART.fullmatch(file.name)
            if match and int(match[1]) not in done:
                remove(file)
    for zarr_group in AXES:
        for number, folders in _arrays(out, zarr_group).items():
            for folder in folders if number not in done else ():
                remove(folder)


def forget_bad(out: Path) -> int:
    """Undo the blocks that hold rows that were set aside, so that they are done again; how many these are."""
    numbers = [int(match[1]) for file in (out / "bad").iterdir() if (match := _PART.fullmatch(file.name))]
    for number in numbers:
        remove(out / "rows" / part_name(number))
    sweep(out)
    return len(numbers)


def _arrays(out: Path, group: str) -> dict[int, list[Path]]:
    """The arrays of a Zarr group by the number of their block."""
    found: dict[int, list[Path]] = {}
    for grid in (out / group).glob("*/"):
        for folder in grid.iterdir():
            if folder.name.isdecimal():
                found.setdefault(int(folder.name), []).append(folder)
    return found


def add_block(out: Path, result: BlockResult) -> None:
    """Write what became of a block; at the end of it the block is done. Any process may, at any time, and again."""
    number = result.block.number
    own = out / _TEMPORARY / f"{number:06d}-{secrets.token_hex(6)}"
    own.mkdir(parents=True)
    for group, arrays in (("maps.zarr", result.maps), ("heads.zarr", result.heads)):
        for grid, values in arrays.items():
            folder = _grid_group(out, group, grid, own)
            made = own / f"{group}-{grid}"
            _write_array(made, values, AXES[group])
            sync(made)
            place(made, folder / f"{number:06d}", own / f"{group}-{grid}-before")
    for name, table in (("bad", bad_table(result.bad)), ("rows", rows_table(result.rows, result.about))):
        file = out / name / part_name(number)
        if table.num_rows or name == "rows":
            write_whole(file, _parquet(table), own / f"{name}.parquet")
        else:
            remove(file)
    remove(own)


def _grid_group(out: Path, group: str, grid: str, own: Path) -> Path:
    """The folder of a grid's arrays, made where it is not there yet."""
    folder = out / group / grid
    for each in (out / group, folder):
        if not (each / "zarr.json").is_file():
            each.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}})
            write_whole(each / "zarr.json", text.encode(), own / "zarr.json")
            sync_folder(each.parent)
    return folder


def _write_array(folder: Path, values: NDArray[np.float16], axes: tuple[str, ...]) -> None:
    chunk = (CHUNK_WORDS, *values.shape[1:])
    words = -(-len(values) // CHUNK_WORDS) * CHUNK_WORDS
    array = zarr.create_array(
        LocalStore(folder),
        shape=values.shape,
        dtype="float16",
        chunks=chunk,
        shards=(words, *values.shape[1:]),  # one file a block, its chunks read one by one
        compressors=ZstdCodec(level=1, checksum=True),
        dimension_names=axes,
        zarr_format=3,
    )
    array[...] = values


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
