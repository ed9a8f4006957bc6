"""Sound photos of every format and mode that crossviz reads, small, to be damaged: `photo_seeds()`."""

import functools
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from crossviz.paths import assets_dir

__all__ = ["photo_seeds"]

WH = 61, 43
"""Odd, so that rows, blocks and tiles are cut at the edges."""
_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'


@functools.cache
def photo_seeds() -> dict[str, bytes]:
    """Files by a name that says what they are, as "png palette"."""
    with Image.open(assets_dir() / "examples" / "astronaut.jpg") as whole:
        photo = whole.convert("RGB").resize(WH)
    return {**_jpegs(photo), **_pngs(photo), **_webps(photo), **_gifs(photo), **_bmps(photo), **_tiffs(photo)}


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _frames(photo: Image.Image) -> list[Image.Image]:
    return [photo.rotate(90 * turn) for turn in (1, 2)]


def _exif(orientation: int = 6) -> Image.Exif:
    exif = Image.Exif()
    exif.update({0x0112: orientation, 0x010F: "A camera", 0x011A: 72.0, 0x8769: {0x9003: "2026:01:01 00:00:00"}})
    return exif


def _with_alpha(photo: Image.Image) -> Image.Image:
    photo = photo.convert("RGBA")
    photo.putalpha(Image.linear_gradient("L").resize(WH))
    return photo


def _jpegs(photo: Image.Image) -> dict[str, bytes]:
    save = functools.partial(_saved, photo, "JPEG")
    frames = _frames(photo)
    return {
        "jpeg baseline": save(),
        "jpeg progressive": save(progressive=True, quality=92),
        "jpeg 4:4:4, restarts": save(subsampling=0, restart_marker_blocks=4),
        "jpeg exif": save(exif=_exif(), comment=b"a comment", xmp=_XMP, dpi=(72, 72)),
        "jpeg icc": save(icc_profile=bytes(range(256)) * 3),
        "jpeg grey": _saved(photo.convert("L"), "JPEG"),
        "jpeg cmyk": _saved(photo.convert("CMYK"), "JPEG"),
        "jpeg of several (MPO)": _saved(photo, "MPO", save_all=True, append_images=frames),
    }


def _pngs(photo: Image.Image) -> dict[str, bytes]:
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Title", "a photo", zip=True)
    text.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    palette = photo.quantize(16)
    deep = np.asarray(photo, np.uint16) * 257
    frames = _frames(photo)
    return {
        "png rgb": _saved(photo, "PNG"),
        "png rgba": _saved(_with_alpha(photo), "PNG"),
        "png 1 bit": _saved(photo.convert("1"), "PNG"),
        "png grey": _saved(photo.convert("L"), "PNG"),
        "png grey and alpha": _saved(photo.convert("LA"), "PNG"),
        "png 16 bit grey": _saved(Image.fromarray(deep[..., 0]), "PNG"),
        "png 16 bit rgb": _png(16, 2, _rows(deep.astype(">u2"))),
        "png palette": _saved(palette, "PNG"),
        "png palette, 4 bit, see-through": _saved(palette, "PNG", bits=4, transparency=3),
        "png interlaced": _png(8, 2, _adam7(np.asarray(photo)), interlaced=1),
        "png text and exif": _saved(photo, "PNG", pnginfo=text, exif=_exif(8), dpi=(72, 72), icc_profile=b"icc" * 50),
        "apng": _saved(photo, "PNG", save_all=True, append_images=frames, duration=50),
    }


def _rows(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def _adam7(pixels: np.ndarray) -> bytes:
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    return b"".join(_rows(pixels[top::down, left::across]) for top, left, down, across in passes)


def _png(depth: int, colour: int, rows: bytes, interlaced: int = 0) -> bytes:
    """What Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">2I5B", *WH, depth, colour, 0, 0, interlaced)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _webps(photo: Image.Image) -> dict[str, bytes]:
    save: Callable[..., bytes] = functools.partial(_saved, photo, "WEBP")
    frames = _frames(photo)
    return {
        "webp lossy": save(),
        "webp lossless": save(lossless=True),
        "webp lossy, alpha": _saved(_with_alpha(photo), "WEBP"),
        "webp lossless, alpha": _saved(_with_alpha(photo), "WEBP", lossless=True, exact=True),
        "webp exif": save(exif=_exif(3), xmp=_XMP, icc_profile=b"icc" * 50),
        "webp animated": save(save_all=True, append_images=frames, duration=50),
        "webp animated, lossless": save(save_all=True, append_images=frames, lossless=True),
    }


def _gifs(photo: Image.Image) -> dict[str, bytes]:
    frames = _frames(photo)
    palette = photo.quantize(32)
    return {
        "gif": _saved(photo, "GIF", interlace=0, comment=b"a comment" * 40),
        "gif interlaced": _saved(photo, "GIF", interlace=1),
        "gif grey": _saved(photo.convert("L"), "GIF"),
        "gif see-through": _saved(palette, "GIF", transparency=2),
        "gif animated": _saved(photo, "GIF", save_all=True, append_images=frames, loop=0, disposal=2),
    }


def _bmps(photo: Image.Image) -> dict[str, bytes]:
    return {
        "bmp 24 bit": _saved(photo, "BMP"),
        "bmp 32 bit": _saved(_with_alpha(photo), "BMP"),
        "bmp 8 bit": _saved(photo.quantize(64), "BMP"),
        "bmp 1 bit": _saved(photo.convert("1"), "BMP"),
        "bmp run lengths": _rle_bmp(np.asarray(photo.convert("L")) // 32 * 32),
    }


def _rle_bmp(grey: np.ndarray) -> bytes:
    """8 bits in run lengths, which Pillow reads but does not write."""
    body = b""
    for row in grey[::-1]:
        at = 0
        while at < len(row):
            end = at + 1
            while end < len(row) and end - at < 255 and row[end] == row[at]:
                end += 1
            body += bytes([end - at, row[at]])
            at = end
        body += b"\0\0"
    body += b"\0\1"
    colours = b"".join(bytes([value] * 3 + [0]) for value in range(256))
    start = 54 + len(colours)
    head = struct.pack("<2sI4xI", b"BM", start + len(body), start)
    about = struct.pack("<I2i2H6I", 40, grey.shape[1], grey.shape[0], 1, 8, 1, len(body), 2835, 2835, 256, 0)
    return head + about + colours + body


def _tiffs(photo: Image.Image) -> dict[str, bytes]:
    save = functools.partial(_saved, photo, "TIFF")
    packed = {f"tiff {name}": save(compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")}
    return {
        "tiff strips": save(tiffinfo={278: 8}, exif=_exif(5)),
        "tiff tiles": _tiled_tiff(np.asarray(photo)),
        "tiff of several": save(save_all=True, append_images=_frames(photo), compression="tiff_lzw"),
        "tiff big": save(big_tiff=True),
        "tiff fax": _saved(photo.convert("1"), "TIFF", compression="group4"),
        "tiff 16 bit": _saved(Image.fromarray(np.asarray(photo.convert("L"), np.uint16) * 257), "TIFF"),
        "tiff cmyk": _saved(photo.convert("CMYK"), "TIFF", compression="tiff_lzw"),
        "tiff palette": _saved(photo.quantize(16), "TIFF"),
        "tiff alpha": _saved(_with_alpha(photo), "TIFF", compression="tiff_adobe_deflate"),
        "tiff floats": _saved(photo.convert("F"), "TIFF"),
        **packed,
    }


def _tiled_tiff(pixels: np.ndarray, side: int = 16) -> bytes:
    """Tiles, which Pillow reads but does not write."""
    height, width = pixels.shape[:2]
    across, down = -(-width // side), -(-height // side)
    padded = np.pad(pixels, ((0, down * side - height), (0, across * side - width), (0, 0)))
    tiles = padded.reshape(down, side, across, side, 3).transpose(0, 2, 1, 3, 4).reshape(down * across, -1)
    count, size = tiles.shape
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 0), (259, 3, 1, 1), (262, 3, 1, 2), (277, 3, 1, 3)]
    entries += [(322, 3, 1, side), (323, 3, 1, side), (324, 4, count, 0), (325, 4, count, 0)]
    bits_at = 8 + 2 + 12 * len(entries) + 4
    offsets_at, counts_at = bits_at + 6, bits_at + 6 + 4 * count
    data_at = counts_at + 4 * count
    where = {258: bits_at, 324: offsets_at, 325: counts_at}
    ifd = b"".join(struct.pack("<2H2I", tag, kind, n, where.get(tag, value)) for tag, kind, n, value in entries)
    offsets = struct.pack(f"<{count}I", *range(data_at, data_at + count * size, size))
    counts = struct.pack(f"<{count}I", *[size] * count)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + ifd + bytes(4) + struct.pack("<3H", 8, 8, 8) + offsets + counts + tiles.tobytes()
