"""What a photo's file would make its decoder do, read off the file before anything is decoded.

The number of pixels bounds what a sound picture costs. A file may ask for far more around them: comments that are put
together byte by byte, directories whose thousand entries each hold the whole file, a hundred thousand passes over the
same pixels. Pillow and its libraries bound none of that, and photos come from anyone.
"""

import re
import struct
from collections.abc import Callable, Iterator

__all__ = ["entries_overlap", "too_much"]

MAX_SCANS = 100
"""Passes over the pixels of a JPEG; encoders make about ten. libtiff has the same limit."""
MAX_SEGMENTS = 4096
"""Parts of a JPEG before its pixels. A colour profile has 255 at most, 64 MB in parts of 64 kB are 1024."""
MAX_EXIF_BYTES = 2 << 20
MAX_JUNK_BYTES = 64 << 10
"""Between the parts of a JPEG before its pixels, which Pillow passes over one by one."""
MAX_CHUNKS = 100_000
"""Parts of a PNG, and of a GIF before its first picture. 64 MB in the usual 8 kB are 8192."""
MAX_COMMENT_BLOCKS = 4096
"""Parts of a GIF's comments, 255 bytes each: 1 MB."""
MAX_RUN_BYTES = 4 << 20
"""Of a BMP in run lengths, and as many pixels: Pillow reads these in Python."""
MAX_ENTRIES = 4096
MAX_STRIPS = 1 << 20

_METADATA = "holds far more metadata than any photo ({}): save it again without."
_OVERLAP = "its entries lie over one another"
_STRIPS = (273, 279, 324, 325)  # where strips and tiles are, and how long
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""The next marker of a JPEG, whatever stands before it; those that only synchronise are passed over."""
_BARE = {0x01, 0xC8, 0xD8, 0xD9, *range(0xF0, 0xFE)}
"""After these markers Pillow expects no length."""


def too_much(data: bytes, max_pixels: int) -> str | None:
    """Why a file would cost more than any photo, as the rest of a sentence about it; None where it would not.

    Args:
        data: the bytes of a JPEG, PNG, WebP, GIF, BMP or TIFF file; damaged ones are read as far as they go.
        max_pixels: of a picture, and so of a tile of one.
    """
    for magic, check in _CHECKS:
        if data.startswith(magic):
            try:
                return check(data, max_pixels)
            except (struct.error, IndexError, OverflowError):  # it ends early: its decoder will say so
                return None
    return None


def _jpeg(data: bytes, _: int) -> str | None:
    scans, segments, junk, at, exif = 0, 0, 0, 2, bytearray()
    while found := _MARKER.search(data, at):
        kind, start, at = found[1][0], at, found.end()
        if not scans:
            segments, junk = segments + 1, junk + found.start() - start
            if segments > MAX_SEGMENTS or junk > MAX_JUNK_BYTES:
                return _METADATA.format(f"more than {MAX_SEGMENTS} parts, or {MAX_JUNK_BYTES >> 10} kB between them")
        if kind == 0xD9 and scans:
            return None
        if kind in _BARE:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        body = data[at + 2 : at + length]
        at += max(length, 2)
        if kind == 0xDA:
            scans += 1
            if scans > MAX_SCANS:
                return f"goes over its pixels more than {MAX_SCANS} times, which no camera does: save it again."
            if scans == 1 and entries_overlap(bytes(exif)):
                return _METADATA.format(_OVERLAP)
        elif kind == 0xE1 and not scans and body.startswith(b"Exif\0\0"):
            exif += body[6:]
            if len(exif) > MAX_EXIF_BYTES:
                return _METADATA.format(f"more than {MAX_EXIF_BYTES >> 20} MB of EXIF")
        elif kind == 0xE2 and not scans and body.startswith(b"MPF\0") and entries_overlap(body[4:]):
            return _METADATA.format(_OVERLAP)
    if not scans and len(data) - at > MAX_JUNK_BYTES:
        return "has no picture in it that can be found: save it again."
    return None


def _png(data: bytes, _: int) -> str | None:
    at, chunks = 8, 0
    while data[at + 4 : at + 8] not in (b"", b"IEND"):
        at += 12 + struct.unpack_from(">I", data, at)[0]
        chunks += 1
        if chunks > MAX_CHUNKS:
            return _METADATA.format(f"more than {MAX_CHUNKS} parts")
    return None


def _gif(data: bytes, _: int) -> str | None:
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    parts = comments = 0
    while data[at] not in b",;":  # the first picture, or the end
        if data[at] != ord("!"):
            at, parts = at + 1, parts + 1
        else:
            comment = data[at + 1] == 0xFE
            at += 2
            while length := data[at]:
                at, parts, comments = at + 1 + length, parts + 1, comments + comment
                if comments > MAX_COMMENT_BLOCKS:
                    break
            at, parts, comments = at + 1, parts + 1, comments + comment
        if parts > MAX_CHUNKS or comments > MAX_COMMENT_BLOCKS:
            return _METADATA.format(f"more than {MAX_CHUNKS} parts, or 1 MB of comments")
    return None


def _bmp(data: bytes, _: int) -> str | None:
    (head,) = struct.unpack_from("<I", data, 14)
    width, height, packed = struct.unpack_from("<2i4xI", data, 18) if head >= 40 else (0, 0, 0)
    if packed in (1, 2) and (abs(width * height) > MAX_RUN_BYTES or len(data) > MAX_RUN_BYTES):
        return f"is a BMP in run lengths, of which at most {MAX_RUN_BYTES >> 20} megapixels are taken: save it as PNG."
    return None


def _tiff(data: bytes, max_pixels: int) -> str | None:
    sides = {322: 1, 323: 1}  # of a tile
    for tag, _, count, value in _entries(data):
        if tag in _STRIPS and count > MAX_STRIPS:
            return f"is cut into more than {MAX_STRIPS} pieces: save it again."
        if tag in sides and count == 1:
            sides[tag] = value
    if sides[322] * sides[323] > max_pixels:
        return f"is made of tiles of more than {max_pixels // 10**6} megapixels: save it again without tiles."
    return _METADATA.format(_OVERLAP) if entries_overlap(data) else None


def entries_overlap(data: bytes) -> bool:
    """Whether the entries of the first directory of a TIFF, or of EXIF, hold far more together than there is.

    Pillow copies each of them; where they lie over one another, 4 MB become 4 GB.
    """
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    total = 0
    try:
        for number, (_, kind, count, _value) in enumerate(_entries(data)):
            size = count * _TYPE_BYTES.get(kind, 0)
            total += size if size <= len(data) else 0  # what is longer than the file is not read
            if number >= MAX_ENTRIES or total > 2 * len(data) + 1024:
                return True
    except (struct.error, OverflowError):
        pass
    return False


def _entries(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count and value of each entry; the value of a short one as it is meant."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:3] == b"+"  # as Pillow tells it
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (many,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    at += 8 if big else 2
    layout, step, own = ("HHQ", 20, 8) if big else ("HHI", 12, 4)
    for start in range(at, at + min(many, MAX_ENTRIES + 1) * step, step):
        tag, kind, count = struct.unpack_from(order + layout, data, start)
        code = {3: "H", 16: "Q"}.get(kind, "I") if big else {3: "H"}.get(kind, "I")
        (value,) = struct.unpack_from(order + code, data, start + step - own)
        yield tag, kind, count, value


_CHECKS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes, int], str | None]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"GIF8", _gif),
    (b"BM", _bmp),
    ((b"II", b"MM"), _tiff),
)
