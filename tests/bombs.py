"""Small files that say, or turn out, to be very large pictures."""

import struct
import zlib

__all__ = ["BOMBS"]


def png(width: int, height: int, lines: int) -> bytes:
    """A black picture of this size, of which only some lines are there; eight pixels in a byte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = chunk(b"IHDR", struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0))
    packed = zlib.compress(bytes(lines * (1 + (width + 7) // 8)))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    screen = struct.pack("<6s2H3B", b"GIF89a", 10, 10, 0x80, 0, 0) + bytes(6)
    return screen + b"," + struct.pack("<4HB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def tiff(width: int, height: int) -> bytes:
    """A header that says it is this large, in a million strips."""
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    tags += [(273, 4, 1_000_000, 8), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, 1_000_000, 8)]
    entries = b"".join(struct.pack("<2HII", *tag) for tag in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)


def webp(width: int, height: int) -> bytes:
    header = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)
    body = b"WEBPVP8L" + struct.pack("<I", len(header)) + header + b"\0"
    return b"RIFF" + struct.pack("<I", len(body)) + body


BOMBS = {
    "177mpx.png": png(13300, 13300, 13300),
    "header.png": png(2**31 - 1, 2**31 - 1, 0),
    "frame.gif": gif(65535, 65535),
    "pages.tif": tiff(20_000, 20_000),
    "vast.webp": webp(16383, 16383),
    "vast.bmp": b"BM" + struct.pack("<3I", 100, 0, 54) + struct.pack("<I2i2H6I", 40, 60_000, 60_000, 1, 24, *[0] * 6),
}
"""Each by a name that a visitor's file might have."""
