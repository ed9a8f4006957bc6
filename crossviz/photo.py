"""Reading a photo: every input becomes upright RGB pixels, or one clear sentence."""

from __future__ import annotations

import codecs
import copy
import hashlib
import io
import os
import re
import stat
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from crossviz.errors import PhotoError
from crossviz.photo_limits import entries_overlap, too_much

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "Photo", "load_photo"]

MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 40_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_READABLE = "JPEG, PNG, WebP, GIF, BMP or TIFF"
_TRANSPOSE = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# How the formats begin, and Pillow's reader of each. `Image.open` would judge the size by a limit that is global to
# the process, and warn; here every size is checked against MAX_PIXELS instead, before anything is decoded.
_READERS = (
    (re.compile(rb"\xff\xd8\xff"), jpeg_factory),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    (re.compile(rb"GIF8[79]a"), GifImageFile),
    (re.compile(rb"BM"), BmpImageFile),
    (re.compile(rb"II[*+]\x00|MM\x00[*+]"), TiffImageFile),
)
_MAGIC = (  # how files of other kinds begin
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop file"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a compressed archive"),
    (b"\x00\x00\x01\x00", "an icon file"),
    (b"\x1aE\xdf\xa3", "a video"),
)
_BRANDS = {  # ISO media files name their brand after "ftyp"
    b"heic": "a HEIC picture",
    b"heix": "a HEIC picture",
    b"heim": "a HEIC picture",
    b"heis": "a HEIC picture",
    b"hevc": "a HEIC picture",
    b"mif1": "a HEIF picture",
    b"msf1": "a HEIF picture",
    b"avif": "an AVIF picture",
    b"avis": "an AVIF picture",
}


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright RGB picture. Made by `load_photo`.

    `pixels` is uint8 `height width 3` and read-only; `name` is for showing only, never a path. Two photos are equal
    when their pixels and names are.
    """

    pixels: NDArray[np.uint8]
    name: str

    def __post_init__(self) -> None:
        _check_array(self.pixels)
        pixels = np.array(self.pixels, order="C")
        pixels.setflags(write=False)
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "name", str(self.name))

    @property
    def wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the size and the pixels; the name does not matter."""
        digest = hashlib.sha256(struct.pack("<2Q", *self.wh))
        digest.update(self.pixels.data)
        return digest.hexdigest()

    def called(self, name: str) -> Photo:
        """The same pixels, in the same memory, under another name."""
        if name == self.name:
            return self
        renamed = copy.copy(self)
        object.__setattr__(renamed, "name", str(name))
        return renamed

    def image(self) -> Image.Image:
        """A new PIL image in mode RGB; changing it does not change the photo."""
        return Image.fromarray(self.pixels)  # copies, as Pillow holds RGB in four bytes a pixel

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Photo):
            return NotImplemented
        return self.name == other.name and np.array_equal(self.pixels, other.pixels)

    def __hash__(self) -> int:
        return hash((self.name, self.sha256))


_in_use: WeakValueDictionary[tuple[bytes, str], Photo] = WeakValueDictionary()
"""Photos by the sha256 of their file's bytes, and their name."""


def load_photo(source: str | Path | bytes | Image.Image | NDArray[np.uint8]) -> Photo:
    """Read a photo: turned upright by its EXIF orientation, in RGB with transparency over white.

    Greyscale, 1-bit, 16-bit, palette and CMYK pictures are converted, animations give their first frame. Colour
    profiles are not applied. The size is read from the header and checked before anything is decoded.

    Args:
        source: path of a file, the bytes of one, a PIL image (its current frame; left as it is), or a uint8 array
            `height width 3` (copied).

    Returns:
        Photo.

    Raises:
        PhotoError: for anything else, for files above 64 MB, 40 megapixels or in another format, and for damaged ones.
    """
    if isinstance(source, Photo):
        return source
    if source is None:
        raise PhotoError(f"No photo was given: choose a {_READABLE} file.")
    if isinstance(source, Image.Image):
        name = _base_name(getattr(source, "filename", ""))
        return Photo(_upright_rgb(source, _shown(name)), name)
    if isinstance(source, np.ndarray):
        return Photo(source, "photo")
    if isinstance(source, bytes | bytearray | memoryview):
        data, name, shown = bytes(source), "photo", "The photo"
    elif isinstance(source, str | os.PathLike):
        data, name, shown = _read_file(source)
    else:
        raise PhotoError(
            f"A photo is a path, the bytes of a file, a PIL image or an array, not a {type(source).__name__}."
        )
    return _decoded(data, name, shown)


def _decoded(data: bytes, name: str, shown: str) -> Photo:
    """The photo in the bytes of a file, decoded unless that very one is still in use."""
    key = (hashlib.sha256(data).digest(), name)
    photo = _in_use.get(key)
    if photo is None:
        photo = Photo(_decode(data, shown), name)
        _in_use[key] = photo
    return photo


def _read_file(path: str | os.PathLike) -> tuple[bytes, str, str]:
    """The bytes of a file, its name, and the name for messages (its last part only, never where it lies)."""
    text = os.fsdecode(path)
    if not text.strip():
        raise PhotoError(f"No photo was given: choose a {_READABLE} file.")
    name = _base_name(text)
    shown = _shown(name)
    if text.lower().startswith(("http://", "https://", "data:")):
        raise PhotoError("The photo is given by a web address, and only files are read: save it as a file first.")
    try:
        status = os.stat(text)
        if stat.S_ISDIR(status.st_mode):
            raise PhotoError(f"{shown} is a folder: choose a photo in it.")
        if not stat.S_ISREG(status.st_mode):
            raise PhotoError(f"{shown} is not a regular file: choose a {_READABLE} file.")
        if status.st_size > MAX_BYTES:
            raise _too_heavy(shown, status.st_size)
        with open(text, "rb") as file:
            return file.read(MAX_BYTES + 1), name, shown
    except PhotoError:
        raise
    except FileNotFoundError:
        raise PhotoError(f"{shown} was not found: check the path.") from None
    except (OSError, ValueError) as error:  # no permission, a name too long, a null byte in it
        reason = getattr(error, "strerror", None) or "not a possible file name"
        raise PhotoError(f"{shown} can't be opened ({reason}).") from None


def _decode(data: bytes, shown: str) -> NDArray[np.uint8]:
    if not data:
        raise PhotoError(f"{shown} is empty (0 bytes): it may not have been saved or uploaded in full.")
    if len(data) > MAX_BYTES:
        raise _too_heavy(shown, len(data))
    reader = next((reader for magic, reader in _READERS if magic.match(data)), None)
    if reader is None or _as_text(data) is not None:
        raise PhotoError(f"{shown} {_what_is_it(data)}")
    if why := too_much(data, MAX_PIXELS):
        raise PhotoError(f"{shown} {why}")
    try:
        image = reader(io.BytesIO(data), None)
    except MemoryError:
        raise PhotoError(f"{shown} does not fit into memory: make it smaller.") from None
    except Exception as error:  # damaged data lead Pillow's readers to errors of any kind, also of their own assertions
        raise _damaged(shown, error) from None
    with image:
        return _upright_rgb(image, shown)


def _upright_rgb(image: Image.Image, shown: str) -> NDArray[np.uint8]:
    """Check the size, decode, turn and convert; the picture in `image` is not changed."""
    width, height = image.size
    if width < 1 or height < 1:
        raise PhotoError(f"{shown} has no pixels ({width} x {height}).")
    if width * height > MAX_PIXELS:
        raise _too_large(shown, width, height)
    try:
        image.load()
        orientation = _orientation(image)
        rgb = _to_rgb(image, shown)
    except PhotoError:
        raise
    except MemoryError:
        raise PhotoError(f"{shown} does not fit into memory ({width} x {height} pixels): make it smaller.") from None
    except Exception as error:  # as for the readers
        raise _damaged(shown, error) from None
    if orientation in _TRANSPOSE:
        rgb = rgb.transpose(_TRANSPOSE[orientation])
    return np.array(rgb)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or it can't be read: a broken tag does not spoil a photo."""
    exif = image.info.get("exif")
    try:
        if exif is None and "Raw profile type exif" in image.info:  # of a PNG, in hexadecimal
            exif = bytes.fromhex("".join(image.info["Raw profile type exif"].split("\n")[3:]))
        if exif is not None and entries_overlap(exif):
            return 1
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as for the readers
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image, shown: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")  # 65535 / 257 = 255
    if image.mode in ("I", "F"):
        raise PhotoError(
            f"{shown} holds 32-bit numbers, for which there is no agreed white: convert it to 8 or 16 bits a channel."
        )
    if image.has_transparency_data:
        straight = image.convert("LA") if image.mode == "La" else image
        straight = straight.convert("RGBA")
        white = Image.new("RGBA", straight.size, "white")
        return Image.alpha_composite(white, straight).convert("RGB")
    return image.convert("RGB")


def _check_array(array: object) -> None:
    if not isinstance(array, np.ndarray):
        raise PhotoError(f"Pixels must be a numpy array, but are a {type(array).__name__}.")
    if array.dtype != np.uint8:
        raise PhotoError(
            f"The photo's array is of type {array.dtype}, and uint8 with values from 0 to 255 is expected: "
            "convert it first."
        )
    if array.ndim != 3 or array.shape[2] != 3:
        hint = ""
        if array.ndim == 3 and array.shape[0] == 3:
            hint = " Its channels come first: use array.transpose(1, 2, 0)."
        elif array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 2, 4)):
            hint = " Pass other colour modes as a PIL image: Image.fromarray(array)."
        raise PhotoError(f"The photo's array must be of shape (height, width, 3), but is of shape {array.shape}.{hint}")
    height, width = array.shape[:2]
    if height < 1 or width < 1:
        raise PhotoError(f"The photo's array has no pixels ({width} x {height}).")
    if width * height > MAX_PIXELS:
        raise _too_large("The photo's array", width, height)


def _what_is_it(data: bytes) -> str:
    """The rest of the sentence about bytes that are no picture that we read."""
    head = data[:4096]
    convert = f"convert it to {_READABLE}."
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return f"is {kind}: choose a {_READABLE} file."
    if head[4:8] == b"ftyp":
        return f"is {_BRANDS.get(head[8:12], 'a video')}, which is not read: {convert}"
    text = _as_text(data)
    if text is None:
        return f"is not a picture in a known format: choose a {_READABLE} file."
    if "<svg" in text.lower():
        return "is an SVG drawing, which has no pixels: export it as PNG first."
    return f"holds text, not a picture, whatever its name says: choose a {_READABLE} file."


def _as_text(data: bytes) -> str | None:
    """The first few thousand characters, or None if these are no text."""
    head = data[:4096]
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        # Not final: a character cut in two by the end of the head is still text.
        text = codecs.getincrementaldecoder(encoding)().decode(head, final=len(head) == len(data))
    except UnicodeDecodeError:
        return None
    return None if any(ord(char) < 32 and char not in "\t\n\r\f\x1b" for char in text) else text


def _damaged(shown: str, error: Exception) -> PhotoError:
    if isinstance(error, Image.DecompressionBombError):
        return PhotoError(
            f"{shown} holds a picture that says it has far more than the {MAX_PIXELS // 10**6} megapixels that are "
            "taken: make it smaller."
        )
    return PhotoError(f"{shown} is damaged or incomplete and can't be read to its end: save or download it again.")


def _too_large(shown: str, width: int, height: int) -> PhotoError:
    return PhotoError(
        f"{shown} has {width} x {height} pixels ({width * height / 1e6:,.1f} megapixels), and at most "
        f"{MAX_PIXELS // 10**6} megapixels are taken: make it smaller."
    )


def _too_heavy(shown: str, size: int) -> PhotoError:
    return PhotoError(
        f"{shown} has {size / 2**20:,.1f} MB, and at most {MAX_BYTES // 2**20} MB are taken: make it smaller."
    )


def _base_name(path: object) -> str:
    """The last part of a path, "photo" where there is none."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    name = text.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return name or "photo"


def _shown(name: str) -> str:
    """A name for a message: quoted, control characters escaped, not longer than a line."""
    if name == "photo":
        return "The photo"
    shown = repr(name if len(name) <= 60 else name[:40] + "…" + name[-19:])
    # Ten characters stand for one that has no look.
    return shown if len(shown) <= 150 else repr(name[:9] + "…" + name[-4:])
