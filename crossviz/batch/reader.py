"""Reading a folder that `crossviz batch` wrote, row by row, as much as is asked for."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossviz.batch.extras import STORAGE, require
from crossviz.batch.half import from_half
from crossviz.batch.row import BatchRow
from crossviz.errors import BundleError, SelectionError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["About", "BatchResults", "load_batch"]

MOST_JSON_BYTES = 16 << 20
MOST_PART_BYTES = 1 << 30
_MAPS = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})/\d{6,12}")


@dataclass(frozen=True, slots=True)
class About:
    """What the maps of a row are.

    Attributes:
        method: the method's registered name; `method_title` reads in a sentence.
        unit: what a value is: "probability", "similarity share".
        signed: whether negative values have a meaning.
        direction: as "query: text, key: image".
        text_dependent: False where the same map would come out for any caption.
        reduce: how layers and heads make up a map, "mean" or "sum".
        layers: a label for each layer of `BatchRow.per_head`.
        heads: whether single layers and heads were kept.
        notes: sentences that belong wherever a map is shown.
        libraries: versions by name.
        device: where it was computed.
    """

    method: str
    method_title: str
    unit: str
    signed: bool
    direction: str
    text_dependent: bool
    reduce: str
    layers: tuple[str, ...]
    heads: bool
    notes: tuple[str, ...]
    libraries: MappingProxyType[str, str]
    device: str


@dataclass(frozen=True, eq=False)
class BatchResults:
    """The rows of a folder, in the source's order; those of a run that is not finished as far as it came.

    `len`, iteration, `results[3]` and `results["dogs/1.jpg"]` (a row's key) give `BatchRow`s. Nothing is read before it
    is asked for.

    Attributes:
        folder: where it is.
        info: what `batch.json` says: model, weights, method, settings, source.
    """

    folder: Path
    info: MappingProxyType[str, Any]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[BatchRow]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, which: int | str) -> BatchRow:
        """A row by its place among the good rows (negative counts from the end), or by its key.

        Raises:
            SelectionError: there is no such row.
            BundleError: its part of the folder is missing or damaged.
        """
        index = self._index(which)
        part = bisect_right(self._ends, index)
        table, about = self._part(part)
        at = index - (self._ends[part] - table.num_rows)
        row = table.slice(at, 1).to_pylist()[0]
        return BatchRow.from_columns(
            row, about, partial(self._maps, "maps.zarr", row, 0), partial(self._maps, "heads.zarr", row, 2)
        )

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {self.folder.name}, explained by {self.info.get('model')}>"

    def keys(self) -> list[str]:
        """The keys of all rows, in order."""
        return list(self._places)

    @property
    def bad(self) -> list[dict[str, Any]]:
        """The rows that were set aside: `position`, `key`, `photo` and `reason` of each."""
        done = {file.name for file in self._files}
        files = [file for file in sorted((self.folder / "bad").glob("part-*.parquet")) if file.name in done]
        return [row for file in files for row in _read(file).to_pylist()]

    def to_pandas(self, columns: list[str] | None = None) -> "pd.DataFrame":
        """The table of all rows, as `pandas.read_parquet(FOLDER/rows)`; of some columns if they are named."""
        import pyarrow as pa

        tables = [_read(file, columns).replace_schema_metadata(None) for file in self._files]
        if not tables:
            raise BundleError(f"There is no row yet in {self.folder}: let the run go on.")
        return pa.concat_tables(tables).to_pandas()

    @cached_property
    def _files(self) -> tuple[Path, ...]:
        files = (file for file in (self.folder / "rows").glob("part-*.parquet") if file.stem[5:].isdecimal())
        return tuple(sorted(files, key=lambda file: int(file.stem[5:])))

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        """After how many rows each part ends."""
        return tuple(accumulate(_count(file) for file in self._files))

    @cached_property
    def _last(self) -> "dict[int, tuple[pa.Table, About]]":
        """The part that was read last, by its number."""
        return {}

    @cached_property
    def _places(self) -> dict[str, int]:
        keys = (key for file in self._files for key in _read(file, ["key"])["key"].to_pylist())
        return {key: index for index, key in enumerate(keys)}

    def _index(self, which: int | str) -> int:
        if isinstance(which, str):
            if which not in self._places:
                aside = next((row["reason"] for row in self.bad if row["key"] == which), None)
                reason = f"it was set aside: {aside}" if aside else "the method keys() lists those there are"
                raise SelectionError(f"There is no row {which[:80]!r}; {reason}")
            return self._places[which]
        if isinstance(which, bool) or not hasattr(which, "__index__"):
            raise SelectionError(f"A row is chosen by an integer or its key, not by {which!r:.60}.")
        if not -len(self) <= which < len(self):
            raise SelectionError(f"There is no row {which}: there are {len(self)}, counted from 0.")
        return which.__index__() % len(self)

    def _part(self, number: int) -> "tuple[pa.Table, About]":
        if number not in self._last:
            part = _part(self._files[number], bool(self.info["settings"].get("heads")))
            self._last.clear()
            self._last[number] = part
        return self._last[number]

    def _maps(self, group: str, row: dict[str, Any], more_axes: int) -> NDArray[np.float32]:
        from crossviz.batch.arrays import HalfArray

        name, first, count = row["maps"], row["first"], len(row["words"])
        scale = row["scale" if group == "maps.zarr" else "heads_scale"]
        found = _MAPS.fullmatch(name) if isinstance(name, str) else None
        if found is None or not isinstance(first, int) or not isinstance(scale, float):
            raise BundleError("A row of the table does not say where its maps are: the folder is damaged.")
        inner = (*(None,) * more_axes, int(found[1]), int(found[2]))
        return from_half(HalfArray.open(self.folder / group / name, inner).words(first, first + count), scale)


def load_batch(folder: Path) -> BatchResults:
    """Open a folder that `crossviz batch` wrote. Safe for folders from others: nothing in them is executed.

    Raises:
        BundleError: it is none, damaged, of a newer schema, or a package to read it is not installed.
    """
    require("Reading a batch", STORAGE[:1], error=BundleError)
    from crossviz.batch.tables import SCHEMA_VERSION

    try:
        with (folder / "batch.json").open("rb") as opened:
            info = json.loads(opened.read(MOST_JSON_BYTES))
        version, kind, settings = info["schema_version"], info["kind"], info["settings"]
    except FileNotFoundError:
        raise BundleError(f"{str(folder)!r} is no folder that crossviz batch wrote: it has no batch.json.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"batch.json in {str(folder)!r} is damaged: copy the whole folder again.") from error
    if kind != "crossviz batch" or type(version) is not int or not isinstance(settings, dict):
        raise BundleError(f"{str(folder)!r} holds something else than results of crossviz batch.")
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"{str(folder)!r} is of schema version {version}; this crossviz reads up to {SCHEMA_VERSION}: "
            "update crossviz."
        )
    return BatchResults(folder, MappingProxyType(info))


def _part(file: Path, heads: bool) -> "tuple[pa.Table, About]":
    from crossviz.batch.tables import ABOUT

    table = _read(file)
    try:
        values = json.loads(table.schema.metadata[ABOUT])
        lists = {name: tuple(map(str, values[name])) for name in ("layers", "notes")}
        libraries = MappingProxyType({str(name): str(version) for name, version in values["libraries"].items()})
        plain = {name: values[name] for name in ("signed", "text_dependent")}
        texts = ("method", "method_title", "unit", "direction", "reduce", "device")
        plain |= {name: str(values[name]) for name in texts}
        return table, About(**plain, **lists, libraries=libraries, heads=heads)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BundleError(f"{file.name} does not say what its maps are: it is damaged, or not ours.") from error


def _read(file: Path, columns: list[str] | None = None) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        _count(file)
        return pq.ParquetFile(file).read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise BundleError(f"{file.name} can't be read: it is damaged, or not ours; run the block again.") from error


def _count(file: Path) -> int:
    """How many rows a part has; refused where it would take too much memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        meta = pq.read_metadata(file)
        size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        if size > MOST_PART_BYTES:
            raise BundleError(f"{file.name} would unpack to {size >> 20} MB; at most {MOST_PART_BYTES >> 20} are read.")
        return meta.num_rows
    except (OSError, pa.ArrowException) as error:
        raise BundleError(f"{file.name} can't be read: it is damaged, or not ours; run the block again.") from error
