"""Small files that would cost their decoder minutes or gigabytes are refused; sound ones near the bounds are not."""

import io
import struct
import zlib

import pytest
from PIL import Image, ImageChops

from crossviz import photo_limits
from crossviz.errors import PhotoError
from crossviz.photo import MAX_PIXELS, load_photo
from fuzz.photo_seeds import photo_seeds


def saved(form, size=(8, 8), mode="RGB", **options):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, form, **options)
    return buffer.getvalue()


def refused(data, says):
    with pytest.raises(PhotoError, match=says) as caught:
        load_photo(data)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def segment(kind, body):
    return bytes([255, kind]) + struct.pack(">H", len(body) + 2) + body


def chunk(kind, body=b""):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def directory(entries, size=0):
    """A TIFF's head, its one directory, and zeros behind it up to a size."""
    packed = b"".join(struct.pack("<2H2I", *entry) for entry in entries)
    return (b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4)).ljust(size, b"\0")


def overlapping(size=50_000, count=40):
    """Entries that hold the whole file each."""
    return directory([(40_000 + number, 7, size, 0) for number in range(count)], size)


def test_every_sound_photo_is_within_the_limits():
    for name, data in photo_seeds().items():
        assert photo_limits.too_much(data, MAX_PIXELS) is None, name


def test_what_is_damaged_is_left_to_the_decoder():
    for data in photo_seeds().values():
        for length in range(min(len(data), 400)):
            assert photo_limits.too_much(data[:length], MAX_PIXELS) is None


class TestJpeg:
    DATA = saved("JPEG")

    def put(self, part):
        return self.DATA[:2] + part + self.DATA[2:]

    def test_parts_before_the_picture(self):
        load_photo(self.put(segment(0xE1, b"Exif\0\0") * 3000))
        refused(self.put(segment(0xE1, b"Exif\0\0") * 5000), "far more metadata")
        refused(self.put(b"\xff\xf0" * 5000), "far more metadata")  # without a length, for Pillow

    def test_what_hides_behind_a_marker_without_a_length(self):
        hidden = b"".join(segment(0xFE, b"x") for _ in range(5000))
        refused(self.put(b"\xff\xf0\x7f\xff" + hidden), "far more metadata")

    def test_what_lies_between_the_parts(self):
        load_photo(self.put(b"\xff" * 1000))
        refused(self.put(b"\xff" * 100_000), "between them")
        refused(b"\xff\xd8" + b"\xff" * 100_000, "no picture in it")

    def test_much_exif_and_entries_that_overlap(self):
        load_photo(self.put(segment(0xE1, b"Exif\0\0" + directory([(0x112, 3, 1, 6)]))))
        refused(self.put(segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 40), "2 MB of EXIF")
        refused(self.put(segment(0xE1, b"Exif\0\0" + overlapping())), "lie over one another")
        refused(self.put(segment(0xE2, b"MPF\0" + overlapping())), "lie over one another")

    def test_passes_over_the_pixels(self):
        data = saved("JPEG", mode="L", progressive=True)
        scan = data[data.rindex(b"\xff\xda") : -2]
        load_photo(data[:-2] + scan * 60 + data[-2:])
        refused(data[:-2] + scan * 120 + data[-2:], "goes over its pixels more than 100 times")

    def test_what_follows_the_picture_does_not_count(self):
        load_photo(self.DATA + b"\xff\xda\x00\x08" * 500)


def test_the_parts_of_a_png(monkeypatch):
    monkeypatch.setattr(photo_limits, "MAX_CHUNKS", 50)
    data = saved("PNG")
    load_photo(data[:33] + chunk(b"abCd") * 40 + data[33:])
    refused(data[:33] + chunk(b"abCd") * 60 + data[33:], "more than 50 parts")
    load_photo(data + chunk(b"abCd") * 60)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_overlapping_exif_is_not_read_and_does_not_spoil_the_photo(form, monkeypatch):
    data = saved(form, exif=b"Exif\0\0" + overlapping())
    monkeypatch.setattr(Image.Image, "getexif", lambda _: pytest.fail("it was read"))
    assert load_photo(data).wh == (8, 8)


def test_comments_and_parts_of_a_gif(monkeypatch):
    data = saved("GIF", mode="L")
    at = 13 + (3 << (data[10] & 7) + 1)
    assert data[at : at + 1] in b"!,"
    for comments, blocks in ((1, 5000), (5000, 0), (1000, 4)):
        comment = (b"!\xfe" + b"\x01a" * blocks + b"\0") * comments
        refused(data[:at] + comment + data[at:], "1 MB of comments")
    load_photo(data[:at] + b"!\xfe" + b"\x01a" * 3000 + b"\0" + data[at:])
    monkeypatch.setattr(photo_limits, "MAX_CHUNKS", 50)
    refused(data[:at] + b"!\x01\0" * 60 + data[at:], "more than 50 parts")


def test_a_bmp_of_run_lengths(monkeypatch):
    data = photo_seeds()["bmp run lengths"]
    assert load_photo(data).wh == (61, 43)
    monkeypatch.setattr(photo_limits, "MAX_RUN_BYTES", 2000)
    refused(data, "run lengths")
    load_photo(photo_seeds()["bmp 8 bit"])


class TestTiff:
    def test_entries_that_overlap(self):
        refused(overlapping(), "lie over one another")

    def test_too_many_pieces(self):
        refused(directory([(273, 4, 2_000_000, 0)], 100), "pieces")

    def test_tiles_far_larger_than_the_picture(self):
        sides = [(256, 4, 1, 8), (257, 4, 1, 8), (322, 4, 1, 20_000), (323, 4, 1, 20_000)]
        refused(directory(sides, 200), "tiles of more than 40 megapixels")

    def test_tiles_of_the_usual_size(self):
        tiled, plain = (load_photo(photo_seeds()[name]).image() for name in ("tiff tiles", "png rgb"))
        assert ImageChops.difference(tiled, plain).getbbox() is None
