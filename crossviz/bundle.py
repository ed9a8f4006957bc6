"""One explanation as bytes, inside many kinds of file.

The core is a zip of `manifest.json`, numpy arrays (`NAME.npy`) and attached files, so `numpy.load` opens it as an
`.npz`. The same bytes travel in a PNG (own chunk), a GIF (own application extension), an SVG (metadata element) and
an HTML page (inert script element); a `.json` bundle holds the manifest as it is, and arrays and files as base64.

Reading trusts nothing: no pickle, every size is checked before anything is decompressed or allocated, and each
thing that can be wrong ends in a `BundleError` with a sentence.
"""

import base64
import binascii
import contextlib
import io
import json
import math
import os
import re
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crossviz import gif
from crossviz.errors import BundleError

__all__ = ["LOADABLE", "SCHEMA_VERSION", "Bundle", "embed", "holds_bundle", "read_bundle", "write_atomic"]

SCHEMA_VERSION = 1
"""Raised when a bundle of this version can no longer be read by the version before."""
LOADABLE = (".npz", ".png", ".svg", ".html", ".json", ".gif")
"""Suffixes of the files that hold a bundle."""
MAX_FILE_BYTES = 1 << 30
MAX_EXPANDED_BYTES = 2 << 30
MAX_MEMBERS = 1024
MAX_MANIFEST_BYTES = 16 << 20
MAX_JSON_PARTS = 1_000_000
"""Values in a JSON document, roughly: each takes far more memory than its few bytes."""

_MANIFEST = "manifest.json"
_DTYPES = {np.dtype(name).str: np.dtype(name) for name in ("<f4", "<f8", "<i4", "<i8", "|u1", "|b1")}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK = b"cvBd"  # ancillary, private, safe to copy
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([^'\\]{1,20})', 'fortran_order': (True|False), 'shape': "
    rb"\(((?:\d{1,19}, ?)*(?:\d{1,19})?)\), \} *\n",
    re.DOTALL,
)
"""All of an npy file before the numbers, of version 1.0, as numpy writes it."""
_SVG_OPEN = b'<metadata id="crossviz-bundle">'
_SVG_CLOSE = b"</metadata>"
_HTML_OPEN = b'<script type="application/octet-stream" id="crossviz-bundle">'
_HTML_CLOSE = b"</script>"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A JSON-like manifest, named arrays and named attached files."""

    manifest: dict
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def to_npz(self) -> bytes:
        """Zip bytes; equal bundles give equal bytes (no times, fixed order)."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, _MANIFEST, _dump(self.manifest).encode())
            for name, array in self.arrays.items():
                _add(archive, f"{name}.npy", _npy_bytes(name, array))
            for name, data in self.files.items():
                _add(archive, name, data, compressed=True)
        return buffer.getvalue()

    def to_json(self) -> bytes:
        """The same as one JSON document, arrays and files as base64."""
        arrays = {
            name: {
                "dtype": _checked(name, array).dtype.str,
                "shape": list(array.shape),
                "data": _b64(array.tobytes()),
            }
            for name, array in self.arrays.items()
        }
        files = {name: _b64(data) for name, data in self.files.items()}
        return _dump({"manifest": self.manifest, "arrays": arrays, "files": files}).encode()

    @classmethod
    def from_npz(cls, data: bytes, most_bytes: int | None = None) -> "Bundle":
        """Read zip bytes.

        Args:
            most_bytes: what they may unpack to; 2 GB if None.

        Raises:
            BundleError: if they are no bundle, damaged, too large, or of a schema this version can't read.
        """
        try:
            if data.count(b"PK\x01\x02") > 2 * MAX_MEMBERS:  # before zipfile makes an object of each entry
                raise BundleError(f"The file has more than {MAX_MEMBERS} parts: crossviz did not write it.")
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return cls._from_zip(archive, MAX_EXPANDED_BYTES if most_bytes is None else most_bytes)
        except BundleError:
            raise
        except MemoryError as error:
            raise BundleError("The bundle does not fit into memory: open it on a larger computer.") from error
        except Exception as error:  # zipfile's own errors quote the file's bytes, and damage leads it to many others
            raise BundleError("The bundle is damaged and can't be read: save the explanation again.") from error

    @classmethod
    def _from_zip(cls, archive: zipfile.ZipFile, most_bytes: int) -> "Bundle":
        members = archive.infolist()
        names = [member.filename for member in members]
        if len(members) > MAX_MEMBERS or len(set(names)) != len(names):
            raise BundleError(f"The file has {len(members)} parts, some perhaps twice: crossviz did not write it.")
        if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
            raise BundleError("The bundle is packed in a way that crossviz does not write: save the explanation again.")
        expanded = sum(member.file_size for member in members)
        if expanded > most_bytes:
            raise BundleError(
                f"The bundle would unpack to {expanded / 2**20:.0f} MB; at most {most_bytes >> 20} MB are read."
            )
        if _MANIFEST not in names:
            raise BundleError("The file is a zip without a crossviz manifest: load one that `Explanation.save` wrote.")
        if archive.getinfo(_MANIFEST).file_size > MAX_MANIFEST_BYTES:
            raise BundleError(f"The bundle's manifest has more than {MAX_MANIFEST_BYTES >> 20} MB: it is none of ours.")
        manifest = _check_manifest(_parse(_member(archive, _MANIFEST)))
        arrays, files = {}, {}
        for name in names:
            if name.endswith(".npy"):
                arrays[name.removesuffix(".npy")] = _parse_npy(name, _member(archive, name))
            elif name != _MANIFEST:
                files[name] = _member(archive, name)
        return cls(manifest, arrays, files)

    @classmethod
    def from_json(cls, data: bytes) -> "Bundle":
        """Read the document that `to_json` wrote.

        Raises:
            BundleError: as for `from_npz`.
        """
        document = _parse(data)
        if not isinstance(document, dict) or not {"manifest", "arrays", "files"} <= document.keys():
            raise BundleError("The JSON holds no crossviz bundle: load a file that `Explanation.save` wrote.")
        manifest = _check_manifest(document["manifest"])
        try:
            arrays = {
                name: _array(name, entry["dtype"], entry["shape"], _unb64(entry["data"]))
                for name, entry in document["arrays"].items()
            }
            files = {name: _unb64(text) for name, text in document["files"].items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise BundleError("The JSON bundle has parts missing or of the wrong kind: save it again.") from error
        return cls(manifest, arrays, files)


def embed(suffix: str, document: bytes, npz: bytes) -> bytes:
    """`document` (a PNG, a GIF, an SVG or an HTML page) with the bundle's bytes inside; it still opens as before.

    Raises:
        BundleError: for another suffix, or a document that is not of that kind.
    """
    if suffix == ".png":
        end = document.rfind(b"IEND") - 4
        if not document.startswith(_PNG_SIGNATURE) or end < 0:
            raise BundleError("The picture to embed the bundle in is not a PNG.")
        body = _PNG_CHUNK + npz
        chunk = struct.pack(">I", len(npz)) + body + struct.pack(">I", zlib.crc32(body))
        return document[:end] + chunk + document[end:]
    if suffix == ".gif":
        return gif.put(document, npz)
    if suffix == ".svg":
        return _insert(document, b"</svg>", _SVG_OPEN + base64.b64encode(npz) + _SVG_CLOSE + b"\n")
    if suffix == ".html":
        return _insert(document, b"</body>", _HTML_OPEN + base64.b64encode(npz) + _HTML_CLOSE + b"\n")
    raise BundleError(f"No bundle fits into a {suffix!r} file: choose one of {', '.join(LOADABLE)}.")


def read_bundle(path: str | os.PathLike, most_bytes: int | None = None) -> Bundle:
    """Read the bundle from a file that `Explanation.save` wrote.

    Args:
        most_bytes: what it may unpack to; 2 GB if None.

    Raises:
        BundleError: for an unknown suffix, a missing or unreadable file, a file without a bundle, or a damaged one.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in LOADABLE:
        raise BundleError(
            f"{path.name!r} can't be loaded: an explanation is read from a file that ends in {', '.join(LOADABLE)}."
        )
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise BundleError(
                f"{path.name!r} has {size / 2**20:.0f} MB; bundles of at most {MAX_FILE_BYTES >> 20} MB are read."
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"There is no file {str(path)!r}: check the path.") from error
    except OSError as error:
        raise BundleError(
            f"{str(path)!r} can't be read ({error.strerror}): check that it is a file of yours."
        ) from error
    if suffix == ".json":
        return Bundle.from_json(data)
    return Bundle.from_npz(data if suffix == ".npz" else _extract(suffix, path.name, data), most_bytes)


def holds_bundle(data: bytes) -> bool:
    """Whether a picture (PNG or GIF) has a bundle inside, sound or not; False for anything else."""
    if data.startswith(_PNG_SIGNATURE):
        return any(kind == _PNG_CHUNK for kind, _, _ in _png_chunks(data))
    return gif.holds(data)


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Write a file whole or not at all: a temporary file in the same folder, then a rename.

    Raises:
        BundleError: if the folder is missing or can't be written to.
    """
    path = Path(path)
    # Not tempfile: its files are readable by their owner only, while a saved file follows the umask like any other.
    temporary = path.with_name(f".crossviz-{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise BundleError(
            f"{str(path)!r} can't be written ({error.strerror}): check that the folder exists and is yours to write to."
        ) from error


def _extract(suffix: str, name: str, data: bytes) -> bytes:
    if suffix == ".png":
        return _extract_png(name, data)
    if suffix == ".gif":
        return gif.take(name, data)
    opening, closing = (_SVG_OPEN, _SVG_CLOSE) if suffix == ".svg" else (_HTML_OPEN, _HTML_CLOSE)
    start = data.rfind(opening)
    end = data.find(closing, start)
    if start < 0 or end < 0:
        raise BundleError(f"{name!r} holds no crossviz bundle: load a file that `Explanation.save` wrote.")
    return _unb64(data[start + len(opening) : end])


def _extract_png(name: str, data: bytes) -> bytes:
    if not data.startswith(_PNG_SIGNATURE):
        raise BundleError(f"{name!r} is not a PNG picture, whatever its name says.")
    for kind, at, end in _png_chunks(data):
        if end > len(data):
            raise BundleError(f"{name!r} is cut off: copy the whole file again.")
        if kind == _PNG_CHUNK:
            body = data[at + 4 : end - 4]
            if zlib.crc32(body) != struct.unpack_from(">I", data, end - 4)[0]:
                raise BundleError(f"The bundle in {name!r} is damaged (its checksum differs): save it again.")
            return body[4:]
    raise BundleError(
        f"{name!r} holds no crossviz bundle: load a file that `Explanation.save` wrote "
        "(sites and programs that re-encode pictures drop it)."
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk; the last may end beyond the data."""
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at, at + 12 + length
        at += 12 + length


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A part of a zip, as long as it declares: `ZipFile.read` would unpack all there is and cut it afterwards."""
    size = archive.getinfo(name).file_size
    with archive.open(name) as file:
        data = file.read(size)
    if len(data) != size:
        raise BundleError(f"Part {name!r:.60} of the bundle is cut off: save the explanation again.")
    return data


def _insert(document: bytes, before: bytes, part: bytes) -> bytes:
    at = document.rfind(before)
    if at < 0:
        raise BundleError(f"The document to embed the bundle in has no {before.decode()} at its end.")
    return document[:at] + part + document[at:]


def _add(archive: zipfile.ZipFile, name: str, data: bytes, *, compressed: bool = False) -> None:
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_STORED if compressed else zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


def _checked(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.str not in _DTYPES:
        raise BundleError(f"Array {name!r} is of type {array.dtype}; bundles hold {', '.join(_DTYPES)}.")
    return array


def _npy_bytes(name: str, array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(_checked(name, array), order="C"), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _parse_npy(name: str, data: bytes) -> np.ndarray:
    """Like `numpy.load`, but the header is matched with what numpy writes instead of being evaluated as Python (which
    has many ways to fail), and sizes are compared with the bytes before anything is allocated."""
    end = 10 + struct.unpack_from("<H", data, 8)[0] if len(data) >= 10 else 0
    found = _NPY_HEADER.fullmatch(data, 0, end)
    if found is None:
        raise BundleError(f"Part {name!r:.60} of the bundle is not a numpy array: save the explanation again.")
    dtype, order, sizes = (part.decode("ascii") for part in found.groups())
    if order == "True":
        raise BundleError(f"Array {name!r:.60} is in Fortran order: crossviz did not write this bundle.")
    return _array(name, dtype, [int(size) for size in sizes.split(",") if size.strip()], data[end:])


def _array(name: str, dtype: object, shape: object, data: bytes) -> np.ndarray:
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise BundleError(f"Array {name!r} has a type that bundles do not hold: crossviz did not write it.")
    if (
        not isinstance(shape, (list, tuple))
        or len(shape) > 16
        or any(type(size) is not int or size < 0 for size in shape)
        or math.prod(shape) * _DTYPES[dtype].itemsize != len(data)
    ):
        raise BundleError(f"Array {name!r} has a shape that does not fit its {len(data)} bytes: the bundle is damaged.")
    return np.frombuffer(data, dtype=_DTYPES[dtype]).reshape(shape)


def _check_manifest(manifest: object) -> dict:
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if type(version) is not int or version < 1:
        raise BundleError("The bundle's manifest has no schema version: load a file that `Explanation.save` wrote.")
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"The bundle is of schema version {version}; this crossviz reads up to {SCHEMA_VERSION}: update crossviz."
        )
    return manifest


def _dump(document: object) -> str:
    try:
        return json.dumps(document, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise BundleError(f"The explanation holds something that JSON can't: {error}.") from error


def _parse(data: bytes) -> object:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    if sum(data.count(sign) for sign in (b",", b"[", b"{")) > MAX_JSON_PARTS:
        raise BundleError("The file's JSON holds more values than any explanation has: crossviz did not write it.")
    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BundleError("The file's JSON is damaged and can't be read: save the explanation again.") from error


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unb64(text: str | bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise BundleError("The bundle's base64 is damaged: copy the whole file again.") from error
