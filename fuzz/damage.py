"""Ways to damage a file, of any kind and of the kinds whose parts are known, all by a random generator."""

import random
import struct
import zlib
from collections.abc import Callable, Sequence

__all__ = ["ANY", "damaged", "jpeg_part", "png_part", "riff_part", "tiff_part"]

Damage = Callable[[random.Random, bytearray, Sequence[bytes]], bytearray]

_ODD = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 8)
_HEAD = 160
"""In the first so many bytes lie the headers that matter most."""


def bit_flips(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    for _count in range(rng.choice((1, 1, 2, 8, 64))):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)
    return data


def byte_flips(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    for _count in range(rng.choice((1, 1, 2, 8, 64))):
        data[_place(rng, data)] = rng.choice((0, 255, rng.randrange(256)))
    return data


def truncation(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    return data[: rng.randrange(len(data))]


def number(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """A number of 2, 4 or 8 bytes that programs trip over."""
    size, order = rng.choice((2, 4, 4, 8)), rng.choice(("little", "big"))
    at = max(0, min(_place(rng, data), len(data) - size))
    data[at : at + size] = (rng.choice(_ODD) % (1 << 8 * size)).to_bytes(size, order)
    return data


def repeated(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    start, end = _stretch(rng, data)
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[start:end] * rng.choice((1, 2, 40)) + data[at:]


def left_out(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    start, end = _stretch(rng, data)
    return data[:start] + data[end:]


def spliced(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    """A stretch of another file in the place of one of this."""
    start, end = _stretch(rng, data)
    other = rng.choice(others)
    from_, to = _stretch(rng, other)
    return data[:start] + other[from_:to] + data[end:]


def joined(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    """The beginning of this and the end of another."""
    other = rng.choice(others)
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


ANY: tuple[Damage, ...] = (bit_flips, byte_flips, truncation, number, repeated, left_out, spliced, joined)


def damaged(rng: random.Random, data: bytes, others: Sequence[bytes], ways: Sequence[Damage]) -> tuple[bytes, str]:
    """The file, damaged in one to three ways, and what they are called."""
    chosen = [rng.choice(ways) for _ in range(rng.choice((1, 1, 2, 3)))]
    found = bytearray(data)
    for way in chosen:
        found = way(rng, found, others) or bytearray(1)
    return bytes(found), ", ".join(way.__name__.replace("_", " ") for way in chosen)


def png_part(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """A PNG whose chunks are moved, repeated, left out, renamed or damaged inside, their checksums right again."""
    parts, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        parts.append((bytes(data[at + 4 : at + 8]), bytearray(data[at + 8 : at + 8 + length])))
        at += 12 + length
    _shuffled(rng, parts, (b"IDAT", b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"PLTE", b"tRNS", b"fdAT", b"acTL", b"fcTL"))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return data[:8] + b"".join(chunks)


def riff_part(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """A WebP whose chunks are changed in such ways, its sizes right again."""
    parts, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        parts.append((bytes(data[at : at + 4]), bytearray(data[at + 8 : at + 8 + length])))
        at += 8 + length + length % 2
    _shuffled(rng, parts, (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"XMP ", b"ICCP"))
    body = b"".join(kind + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for kind, part in parts)
    return data[:4] + struct.pack("<I", 4 + len(body)) + data[8:12] + body


def jpeg_part(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """A JPEG whose segments before the picture are changed in such ways, their lengths right again."""
    parts, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        parts.append((bytes(data[at : at + 2]), bytearray(data[at + 4 : at + 2 + length])))
        at += 2 + length
    _shuffled(rng, parts, tuple(bytes([255, kind]) for kind in (0xC0, 0xC2, 0xC4, 0xC9, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2)))
    segments = (kind + struct.pack(">H", min(len(body) + 2, 65535)) + body[:65533] for kind, body in parts)
    return data[:2] + b"".join(segments) + data[at:]


def tiff_part(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> bytearray:
    """A TIFF with another tag, type, count or value in an entry of its first directory."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    directory, count, entry = ("Q", "Q", "HHQQ") if big else ("I", "H", "HHII")
    try:
        (start,) = struct.unpack_from(order + directory, data, 8 if big else 4)
        (many,) = struct.unpack_from(order + count, data, start)
        at = start + struct.calcsize(count) + rng.randrange(many) * struct.calcsize(order + entry)
        fields = list(struct.unpack_from(order + entry, data, at))
        which = rng.choice((0, 1, 2, 3, 3, 3))
        fields[which] = rng.choice((*_ODD, fields[which] + 1, fields[which] * 2, rng.choice((256, 257, 258, 259, 322))))
        struct.pack_into(
            order + entry, data, at, *(value % (1 << 16) for value in fields[:2]), *_sized(fields[2:], big)
        )
    except (struct.error, ValueError, OverflowError):
        return number(rng, data, ())
    return data


def _sized(values: list[int], big: bool) -> list[int]:
    return [value % (1 << (64 if big else 32)) for value in values]


def _shuffled(rng: random.Random, parts: list[tuple[bytes, bytearray]], kinds: Sequence[bytes]) -> None:
    """Change a list of parts, kind and body, in its place."""
    if not parts:
        return
    at = rng.randrange(len(parts))
    kind, body = parts[at]
    match rng.randrange(6):
        case 0:
            parts.insert(rng.randrange(len(parts) + 1), (kind, bytearray(body)))
        case 1:
            del parts[at]
        case 2:
            parts[at] = (rng.choice(kinds), body)
        case 3:
            parts.insert(
                rng.randrange(len(parts) + 1), (rng.choice(kinds), bytearray(rng.randbytes(rng.choice((0, 1, 20)))))
            )
        case 4:
            parts[at] = (kind, body[: rng.randrange(len(body) + 1)])
        case _:
            parts[at] = (kind, rng.choice((bit_flips, byte_flips, number))(rng, body, ()) if body else bytearray(4))


def _place(rng: random.Random, data: Sequence[int]) -> int:
    return rng.randrange(min(len(data), _HEAD) if rng.random() < 0.5 else len(data)) if len(data) > 1 else 0


def _stretch(rng: random.Random, data: Sequence[int]) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 4, 16, 100, 1000)))
