"""The columns of the Parquet files: rows, and rows that were set aside. Part of what is kept: see SCHEMA_VERSION."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from crossviz.batch.ahead import Bad

__all__ = ["ABOUT", "BAD", "ROWS", "SCHEMA_VERSION", "bad_table", "rows_table"]

SCHEMA_VERSION = 1
"""Raised when results of this version can no longer be read by the version before."""
ABOUT = b"crossviz"
"""Where a part's own metadata says, as JSON, what its maps are and what made them."""

WORD = pa.struct(
    {
        "text": pa.string(),
        "start": pa.int32(),
        "end": pa.int32(),
        "tokens": pa.list_(pa.int32()),
        "truncated": pa.bool_(),
        "null_mass": pa.float32(),
        "peak": pa.float32(),
        "peak_row": pa.int32(),
        "peak_col": pa.int32(),
    }
)
TOKEN = pa.struct({"id": pa.int32(), "text": pa.string(), "start": pa.int32(), "end": pa.int32()})
ROWS = pa.schema(
    {
        "key": pa.string(),
        "position": pa.int64(),
        "photo": pa.string(),
        "photo_sha256": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "caption": pa.string(),
        "similarity": pa.float32(),
        "trained": pa.bool_(),
        "words": pa.list_(WORD),
        "tokens": pa.list_(TOKEN),
        "cut_at": pa.int32(),
        "input_height": pa.int32(),
        "input_width": pa.int32(),
        "crop_xyxy": pa.list_(pa.float64()),
        "grid": pa.string(),
        "maps": pa.string(),
        "first": pa.int32(),
        "scale": pa.float64(),
        "heads_scale": pa.float64(),
    }
)
BAD = pa.schema({"position": pa.int64(), "key": pa.string(), "photo": pa.string(), "reason": pa.string()})


def rows_table(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> pa.Table:
    """Good rows as a table, with what is the same for all of them in its metadata."""
    table = pa.Table.from_pylist(list(rows), schema=ROWS)
    return table.replace_schema_metadata({ABOUT: json.dumps(about, allow_nan=False).encode()})


def bad_table(rows: Sequence[Bad]) -> pa.Table:
    """Rows that were set aside, as a table."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=BAD)
