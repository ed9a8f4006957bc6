"""Ways to damage what is inside a saved file (its zip, its arrays, its manifest); the outside stays sound."""

import base64
import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable

import numpy as np
from PIL import Image

from crossviz.bundle import Bundle, embed
from fuzz import damage
from fuzz.damage_json import json_damaged

__all__ = ["INSIDE", "as_file", "as_json", "members_of"]

Members = list[tuple[str, bytes]]
_SVG, _HTML = b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", b"<!doctype html><html><body></body></html>"
_TYPES = ("<f4", "<f8", ">f4", "<i4", "<i8", "|u1", "|b1", "<f2", "<c8", "|O", "|S9", "<U4", "|V8", "<M8[s]", "", "x")
_HEADERS = (
    "",
    "{",
    "(" * 300,
    "-" * 9000 + "1",
    "{'descr': ('<f4',), 'fortran_order': False, 'shape': (1,)}",
    "{'descr': [('a', '<f4'), ('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1,",
    "{'descr': '<f4', 'fortran_order': 0, 'shape': 5}",
    "{'descr': {'a': 1}, 'fortran_order': False, 'shape': ()}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1L,)}",
    "__import__('os').system('true')",
    "'''",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (10**9, 10**9)}",
    "\\\n",
    "\x00\xff",
)
_SHAPES = ((), (0,), (1,), (-1,), (2**62, 4), (1,) * 40, (3, 0, 2**60), (True,), (1.5,), "a", None)


def zip_parts(rng: random.Random, members: Members) -> bytes:
    """Parts left out, repeated, renamed, empty, emptied, exchanged, or one more."""
    at = rng.randrange(len(members))
    name, data = members[at]
    match rng.randrange(7):
        case 0:
            del members[at]
        case 1:
            members.append((name, data))
        case 2:
            members[at] = (
                rng.choice(("", "a.npy", "../a.npy", "manifest.json", "\ufffd.npy", "photo.png", name + "0")),
                data,
            )
        case 3:
            members[at] = (name, b"")
        case 4:
            members[at] = (name, rng.choice(members)[1])
        case 5:
            members.extend((f"more{number}.npy", data[:200]) for number in range(rng.choice((1, 30, 1100))))
        case _:
            members[at] = (name, damage.damaged(rng, data or b"0", [part for _, part in members], damage.ANY)[0])
    return zipped(members, rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))


def zip_fields(rng: random.Random, members: Members) -> bytes:
    """Odd numbers in the headers of the zip: sizes, offsets, flags, ways of packing, checksums."""
    data = bytearray(zipped(members))
    for _ in range(rng.choice((1, 1, 2, 4))):
        sign = rng.choice((b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"))
        starts = [at for at in range(len(data)) if data.startswith(sign, at)] if rng.random() < 0.9 else [0]
        at = min(rng.choice(starts or [0]) + rng.randrange(4, 46), len(data) - 4)
        size = rng.choice((1, 2, 2, 4))
        value = rng.choice((0, 1, 8, 12, 99, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, rng.randrange(1 << 16)))
        data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(data)


def array_header(rng: random.Random, members: Members) -> bytes:
    """Another header before an array: type, order, shape, version, or none that can be read."""
    at = rng.choice([at for at, (name, _) in enumerate(members) if name.endswith(".npy")])
    name, data = members[at]
    body = data[10 + struct.unpack_from("<H", data, 8)[0] :]
    if rng.random() < 0.5:
        header = rng.choice(_HEADERS)
    else:
        whole = np.lib.format.read_array(io.BytesIO(data))
        shape = rng.choice((*_SHAPES, whole.shape, whole.shape[::-1], (*whole.shape, 1)))
        kind = rng.choice((*_TYPES, whole.dtype.str, whole.dtype.str))
        header = repr({"descr": kind, "fortran_order": rng.random() < 0.1, "shape": shape})
    version = rng.choice(((1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (9, 9)))
    encoded = header.encode("latin-1") + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(encoded))
    members[at] = (name, b"\x93NUMPY" + bytes(version) + length + encoded + body)
    return zipped(members)


def array_values(rng: random.Random, members: Members) -> bytes:
    """Numbers in an array that it can't hold: NaN, infinity, negative or huge ones."""
    at = rng.choice([at for at, (name, _) in enumerate(members) if name.endswith(".npy")])
    name, data = members[at]
    array = np.lib.format.read_array(io.BytesIO(data)).copy()
    flat = array.reshape(-1)
    odd = (np.nan, np.inf, -np.inf, -1.0, 2.0, 1e38, 0.0, 1e-45) if array.dtype.kind == "f" else (0, 1, 2, 255)
    if array.dtype.kind == "i":
        odd = (-1, 0, 2**31 - 1, np.iinfo(array.dtype).max, np.iinfo(array.dtype).min)
    if flat.size:
        flat[rng.randrange(flat.size) : rng.choice((None, rng.randrange(flat.size) + 1))] = rng.choice(odd)
    with np.errstate(invalid="ignore"):
        members[at] = (
            name,
            npy(array.astype(rng.choice(("<f4", "<f8", "<i4", "|u1", array.dtype.str, array.dtype.str)))),
        )
    return zipped(members)


def manifest(rng: random.Random, members: Members) -> bytes:
    """Something else in the manifest."""
    changed = [
        (name, json_damaged(rng, json.loads(data)) if name == "manifest.json" else data) for name, data in members
    ]
    return zipped(changed)


def attached_photo(rng: random.Random, members: Members) -> bytes:
    """Another photo in the place of the one that is attached, or a damaged one."""
    from fuzz.photo_seeds import photo_seeds

    seeds = list(photo_seeds().values())
    other = damage.damaged(rng, rng.choice(seeds), seeds, damage.ANY)[0] if rng.random() < 0.7 else rng.choice(seeds)
    return zipped([(name, other if name.endswith(".png") else data) for name, data in members])


INSIDE: tuple[Callable[[random.Random, Members], bytes], ...] = (
    *(zip_parts, zip_fields, array_header, array_values, manifest, manifest, attached_photo),
)


def as_file(suffix: str, npz: bytes) -> bytes:
    """A file of a kind that holds the bytes of a bundle, sound or not."""
    if suffix == ".npz":
        return npz
    if suffix in (".png", ".gif"):
        buffer = io.BytesIO()
        Image.new("RGB", (2, 2)).save(buffer, suffix[1:].upper())
        return embed(suffix, buffer.getvalue(), npz)
    return embed(suffix, _SVG if suffix == ".svg" else _HTML, npz)


def as_json(rng: random.Random, bundle: Bundle) -> bytes:
    """A .json with something else anywhere in it, also in how its arrays are described."""
    document = json.loads(bundle.to_json())
    if rng.random() < 0.3 and document["arrays"]:
        entry = document["arrays"][rng.choice([*document["arrays"]])]
        part = rng.choice(("dtype", "shape", "data"))
        flipped = base64.b64encode(rng.randbytes(16)).decode()
        odd = {"dtype": rng.choice(_TYPES), "shape": [*rng.choice(((0,), (1,), (2**62, 4)))], "data": flipped}
        entry[part] = odd[part]
    return json_damaged(rng, document)


def zipped(members: Members, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these parts, in this order, also of parts of one name."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name or "x"), data, compression)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    """An array as a file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def members_of(npz: bytes) -> Members:
    """The parts of a sound zip."""
    with zipfile.ZipFile(io.BytesIO(npz)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]
