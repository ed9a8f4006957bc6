"""Reading single rows out of the Zarr arrays, trusting nothing: what is not as crossviz writes it is refused.

Zarr's own reader would do, but unpacks whatever a chunk says that it holds; here a chunk's size is known beforehand.
"""

import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import google_crc32c
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crossviz.errors import BundleError

__all__ = ["HalfArray"]

MOST_CHUNK_BYTES = 1 << 28
MOST_JSON_BYTES = 1 << 16
_ABSENT = 2**64 - 1
_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}]


@dataclass(frozen=True, slots=True)
class HalfArray:
    """One array of float16 whose first axis is `word`, in chunks of some words, all in one file."""

    file: Path
    shape: tuple[int, ...]
    chunk_words: int

    @classmethod
    def open(cls, folder: Path, inner: tuple[int, ...]) -> Self:
        """An array whose other axes have these sizes, None in it for any.

        Raises:
            BundleError: it is missing, or not as crossviz writes it.
        """
        try:
            with (folder / "zarr.json").open("rb") as opened:
                meta = json.loads(opened.read(MOST_JSON_BYTES))
            shape, chunk = _shape(meta)
        except FileNotFoundError:
            raise BundleError(f"The maps {_name(folder)} are missing: copy the whole folder again.") from None
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise BundleError(f"The maps {_name(folder)} can't be read: they are damaged, or not ours.") from error
        fits = len(shape) == len(inner) + 1 and all(b in (a, None) for a, b in zip(shape[1:], inner, strict=True))
        if not fits or math.prod(chunk) * 2 > MOST_CHUNK_BYTES:
            raise BundleError(f"The maps {_name(folder)} are of shape {shape}, which does not fit the table.")
        return cls(folder.joinpath("c", *["0"] * len(shape)), shape, chunk[0])

    def words(self, first: int, stop: int) -> NDArray[np.float16]:
        """Some words' maps.

        Raises:
            BundleError: there are no such words, or the file is damaged.
        """
        if not 0 <= first <= stop <= self.shape[0]:
            raise BundleError(f"The table asks for words {first} to {stop} of {self.shape[0]}: the folder is damaged.")
        if first == stop:
            return np.zeros((0, *self.shape[1:]), np.float16)
        size = self.chunk_words
        try:
            with self.file.open("rb") as opened:
                index = self._index(opened)
                chunks = [self._chunk(opened, index, i) for i in range(first // size, (stop - 1) // size + 1)]
        except (OSError, ValueError, struct.error, pa.ArrowException) as error:
            raise BundleError(f"The maps in {_name(self.file.parents[-2])} are damaged: copy them again.") from error
        return np.concatenate(chunks)[first - first // size * size :][: stop - first]

    def _index(self, opened: BinaryIO) -> bytes:
        """Where each chunk begins and how long it is, which stands at the file's end with its checksum."""
        length = 16 * -(-self.shape[0] // self.chunk_words)
        opened.seek(-(length + 4), os.SEEK_END)
        index, checksum = opened.read(length), opened.read(4)
        if google_crc32c.value(index).to_bytes(4, "little") != checksum:
            raise ValueError("the checksum differs")
        return index

    def _chunk(self, opened: BinaryIO, index: bytes, number: int) -> NDArray[np.float16]:
        start, size = struct.unpack_from("<2Q", index, 16 * number)
        shape = (self.chunk_words, *self.shape[1:])
        if (start, size) == (_ABSENT, _ABSENT):  # nothing but zeros
            return np.zeros(shape, np.float16)
        wanted = math.prod(shape) * 2
        if size > wanted + (wanted >> 6) + 1024:
            raise ValueError("a chunk is larger than it can be")
        opened.seek(start)
        data = pa.decompress(opened.read(size), decompressed_size=wanted, codec="zstd", asbytes=True)
        return np.frombuffer(data, "<f2").reshape(shape)


def _shape(meta: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of an array and of its chunks.

    Raises:
        KeyError, TypeError, ValueError: it is no array as crossviz writes it.
    """
    shape = tuple(meta["shape"])
    (sharding,) = meta["codecs"]
    inner = sharding["configuration"]
    chunk = tuple(inner["chunk_shape"])
    outer = tuple(meta["chunk_grid"]["configuration"]["chunk_shape"])
    whole = all(type(size) is int and size > 0 for size in (*shape, *chunk))
    codecs = inner["codecs"]
    known = (
        (meta["zarr_format"], meta["node_type"], meta["data_type"]) == (3, "array", "float16")
        and sharding["name"] == "sharding_indexed"
        and inner["index_location"] == "end"
        and inner["index_codecs"] == [*_CODECS, {"name": "crc32c"}]
        and codecs[:-1] == _CODECS
        and codecs[-1]["name"] == "zstd"
        and codecs[-1]["configuration"]["checksum"] is True
        and meta["fill_value"] == 0
        and not meta["storage_transformers"]
    )
    if not known or not whole or chunk[1:] != shape[1:] or outer != (-(-shape[0] // chunk[0]) * chunk[0], *shape[1:]):
        raise ValueError("not as crossviz writes it")
    return shape, chunk


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"
