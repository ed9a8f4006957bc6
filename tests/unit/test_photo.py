"""Every kind of picture becomes the right upright RGB pixels, and every bad input its own sentence."""

import gc
import io
import os
import pickle
import struct
import tracemalloc
import weakref
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from crossviz.errors import CrossvizError, PhotoError
from crossviz.photo import MAX_BYTES, MAX_PIXELS, Photo, load_photo

LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}, "BMP": {}, "TIFF": {}}


def scene(height=6, width=9, seed=0):
    """A picture that equals none of its mirrorings and rotations."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(width, height, depth, colour_type, rows, *, extra=b""):
    """A PNG file by its specification, for what Pillow can't write."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">2I5B", width, height, depth, colour_type, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows, 9)) if rows is not None else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def sentence(source):
    with pytest.raises(PhotoError) as caught:
        load_photo(source)
    text = str(caught.value)
    assert isinstance(caught.value, CrossvizError)
    assert text.endswith((".", ".)")) and "\n" not in text and len(text) < 300
    return text


@pytest.mark.filterwarnings("error")
class TestFormats:
    @pytest.mark.parametrize("form", LOSSLESS)
    def test_lossless_files_keep_their_pixels(self, form, tmp_path):
        path = tmp_path / "holiday.dat"  # the content counts, not the name's ending
        path.write_bytes(saved(Image.fromarray(scene()), form, **LOSSLESS[form]))
        for source in (path, str(path), path.read_bytes()):
            photo = load_photo(source)
            assert np.array_equal(photo.pixels, scene())
            assert photo.pixels.dtype == np.uint8
        assert load_photo(path).name == "holiday.dat"
        assert load_photo(path.read_bytes()).name == "photo"

    def test_jpeg(self):
        smooth = np.zeros((40, 60, 3), np.uint8)
        smooth[..., 0] = np.linspace(0, 255, 60)
        smooth[..., 1] = np.linspace(0, 255, 40)[:, None]
        found = load_photo(saved(Image.fromarray(smooth), "JPEG", quality=98, subsampling=0)).pixels
        assert np.abs(found.astype(int) - smooth).max() <= 5

    def test_jpeg_with_several_pictures(self):
        """Many telephones append a second picture (MPO)."""
        first, second = (Image.fromarray(np.full((16, 24, 3), value, np.uint8)) for value in (200, 20))
        data = saved(first, "MPO", save_all=True, append_images=[second])
        assert np.abs(load_photo(data).pixels.astype(int) - 200).max() <= 2

    def test_animation_gives_its_first_frame(self):
        frames = [Image.new("RGB", (12, 8), colour) for colour in ("red", "lime", "blue")]
        for form in ("GIF", "WEBP", "PNG"):
            options = {"lossless": True} if form == "WEBP" else {}
            data = saved(frames[0], form, save_all=True, append_images=frames[1:], duration=50, **options)
            assert (load_photo(data).pixels == (255, 0, 0)).all()

    def test_one_pixel(self):
        assert load_photo(saved(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG")).pixels.tolist() == [[[1, 2, 3]]]


# What the stored picture's first row and first column show of the upright one (EXIF 2.3, tag 0x0112).
STORED = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


class TestOrientation:
    def stored(self, upright, orientation):
        """The array that a camera stores with that tag, a pixel at a time."""
        row_is, col_is = STORED[orientation]
        height, width = upright.shape[:2]
        swapped = row_is in ("left", "right")
        result = np.zeros((width, height, 3) if swapped else (height, width, 3), np.uint8)
        for r, c in np.ndindex(result.shape[:2]):
            across, down = (r, c) if swapped else (c, r)  # distance from the named sides
            sides = (row_is, col_is) if swapped else (col_is, row_is)
            x = across if sides[0] == "left" else width - 1 - across
            y = down if sides[1] == "top" else height - 1 - down
            result[r, c] = upright[y, x]
        return result

    @pytest.mark.parametrize("orientation", STORED)
    @pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG", "image"])
    def test_upright(self, form, orientation):
        upright = scene()
        if form == "JPEG":  # blocks of 16 pixels survive its compression
            upright = np.kron(np.random.default_rng(1).choice([60, 180], (2, 3, 1)), np.ones((16, 16, 3))).astype(
                np.uint8
            )
        image = Image.fromarray(self.stored(upright, orientation))
        exif = Image.Exif()
        exif[0x0112] = orientation
        if form == "image":
            source = Image.open(io.BytesIO(saved(image, "PNG", exif=exif)))
        else:
            source = saved(image, form, exif=exif, **LOSSLESS.get(form, {"quality": 100}))
        photo = load_photo(source)
        assert photo.wh == (upright.shape[1], upright.shape[0])
        assert np.abs(photo.pixels.astype(int) - upright).max() <= (2 if form == "JPEG" else 0)

    @pytest.mark.parametrize("value", [0, 9, 77])
    def test_a_senseless_tag_is_passed_over(self, value):
        exif = Image.Exif()
        exif[0x0112] = value
        assert np.array_equal(load_photo(saved(Image.fromarray(scene()), "PNG", exif=exif)).pixels, scene())

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    def test_broken_exif_does_not_spoil_a_photo(self):
        data = saved(Image.fromarray(scene()), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
        assert np.array_equal(load_photo(data).pixels, scene())


class TestColours:
    def test_16_bit_grey_is_scaled_not_clipped(self):
        values = np.array([[0, 128, 129, 257, 1000, 32768, 65278, 65535]], np.uint16)
        expected = np.rint(values / 257)
        for data in (
            png(8, 1, 16, 0, b"\0" + values.astype(">u2").tobytes()),
            saved(Image.fromarray(values), "TIFF"),
            Image.frombytes("I;16B", (8, 1), values.astype(">u2").tobytes()),
        ):
            assert (load_photo(data).pixels == expected[..., None]).all()

    def test_16_bit_colour(self):
        values = np.random.default_rng(0).integers(0, 65536, (5, 3))
        found = load_photo(png(5, 1, 16, 2, b"\0" + values.astype(">u2").tobytes())).pixels[0]
        assert np.abs(found - values / 257).max() <= 1

    def test_cmyk(self):
        inks = [(0, 0, 0, 0), (0, 0, 0, 255), (0, 255, 255, 0), (255, 0, 255, 0), (255, 255, 0, 0)]
        image = Image.new("CMYK", (5, 1))
        image.putdata(inks)
        expected = [[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
        assert load_photo(saved(image, "TIFF")).pixels[0].tolist() == expected
        wide = image.resize((80, 16), Image.Resampling.NEAREST)
        found = load_photo(saved(wide, "JPEG", quality=100)).pixels[8, 8::16]
        assert np.abs(found.astype(int) - expected).max() < 8

    def test_alpha_lies_over_white(self):
        rgba = np.random.default_rng(0).integers(0, 256, (7, 9, 4), dtype=np.uint8)
        rgba[0, :3, 3] = (0, 255, 128)
        alpha = rgba[..., 3:] / 255
        expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
        for form in ("PNG", "WEBP", "TIFF"):
            found = load_photo(saved(Image.fromarray(rgba), form, **LOSSLESS[form])).pixels
            assert np.abs(found - expected).max() <= 1
        premultiplied = Image.fromarray(rgba).convert("RGBa")
        assert np.abs(load_photo(premultiplied).pixels - expected).max() <= 2

    def test_grey_with_alpha(self):
        grey, alpha = (Image.fromarray(np.array([row], np.uint8)) for row in ([100, 100, 0], [0, 255, 51]))
        image = Image.merge("LA", [grey, alpha])
        for source in (saved(image, "PNG"), image, image.convert("La")):
            assert load_photo(source).pixels[0, :, 0].tolist() == [255, 100, 204]

    def test_palette(self):
        image = Image.new("P", (3, 1))
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
        image.putdata([0, 1, 2])
        assert load_photo(saved(image, "PNG")).pixels[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
        for form, transparency in (("PNG", 1), ("GIF", 1), ("PNG", bytes([255, 0, 255]))):
            found = load_photo(saved(image, form, transparency=transparency)).pixels[0]
            assert found.tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]
        half = load_photo(saved(image, "PNG", transparency=bytes([102, 255, 255]))).pixels[0, 0]
        assert half.tolist() == [255, 153, 153]

    def test_one_colour_declared_transparent(self):
        image = Image.fromarray(np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8))
        found = load_photo(saved(image, "PNG", transparency=(10, 20, 30))).pixels[0]
        assert found.tolist() == [[255, 255, 255], [40, 50, 60]]
        grey = load_photo(saved(image.convert("L"), "PNG", transparency=image.convert("L").getpixel((0, 0)))).pixels[0]
        assert grey[0].tolist() == [255, 255, 255]
        assert grey[1, 0] < 60

    def test_one_bit(self):
        image = Image.new("1", (3, 1))
        image.putdata([0, 255, 0])
        for form in ("PNG", "TIFF", "BMP", "GIF"):
            assert load_photo(saved(image, form)).pixels[0, :, 1].tolist() == [0, 255, 0]
        assert load_photo(saved(image, "PNG", transparency=0)).pixels[0, :, 1].tolist() == [255, 255, 255]

    @pytest.mark.parametrize("mode", ["L", "RGBX", "YCbCr", "HSV", "LAB"])
    def test_other_modes(self, mode):
        image = Image.new("RGB", (2, 2), (130, 130, 130)).convert("RGB")
        if mode == "LAB":
            source = Image.merge("LAB", [Image.new("L", (2, 2), value) for value in (139, 128, 128)])  # L* of that grey
        else:
            source = image.convert(mode)
        assert np.abs(load_photo(source).pixels.astype(int) - 130).max() <= 4

    @pytest.mark.parametrize("mode", ["I", "F"])
    def test_no_white_no_photo(self, mode):
        assert "32-bit" in sentence(Image.new(mode, (4, 4), 100))
        assert "32-bit" in sentence(saved(Image.new(mode, (4, 4), 100), "TIFF"))


class TestPhoto:
    def test_inputs_are_copied_never_changed(self):
        array = scene()
        photo = load_photo(array)
        array[:] = 0
        assert np.array_equal(photo.pixels, scene())

        exif = Image.Exif()
        exif[0x0112] = 6
        image = Image.open(io.BytesIO(saved(Image.fromarray(scene()).convert("RGBA"), "PNG", exif=exif)))
        photo = load_photo(image)
        assert image.mode == "RGBA"
        assert image.size == (9, 6)
        assert image.getexif()[0x0112] == 6
        assert np.array_equal(np.asarray(image)[..., :3], scene())
        image.putpixel((0, 0), (1, 1, 1, 1))
        assert np.array_equal(photo.pixels, np.rot90(scene(), -1))

    def test_the_frame_of_an_image_stays(self):
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
        image = Image.open(io.BytesIO(saved(frames[0], "GIF", save_all=True, append_images=frames[1:])))
        image.seek(2)
        assert (load_photo(image).pixels == (0, 0, 255)).all()
        assert image.tell() == 2

    def test_pixels_are_read_only(self):
        photo = load_photo(scene())
        with pytest.raises(ValueError, match="read-only"):
            photo.pixels[0, 0, 0] = 1
        with pytest.raises(AttributeError):
            photo.name = "other"
        copy = photo.image()
        copy.putpixel((0, 0), (0, 0, 0))
        assert np.array_equal(np.asarray(photo.image()), scene())
        assert load_photo(photo) is photo

    def test_size_equality_and_hash(self):
        photo = load_photo(scene())
        assert photo.wh == (9, 6)
        assert photo.image().size == photo.wh
        assert photo == Photo(scene(), "photo")
        assert hash(photo) == hash(Photo(scene(), "photo"))
        assert photo != Photo(scene(), "other")
        assert photo != Photo(scene(seed=1), "photo")
        assert photo != scene().tobytes()
        assert pickle.loads(pickle.dumps(photo)) == photo
        assert Photo(scene(), "other").sha256 == photo.sha256
        reshaped = Photo(scene().reshape(9, 6, 3), "photo")  # the same bytes in another shape
        assert reshaped.sha256 != photo.sha256

    def test_names(self, tmp_path):
        path = tmp_path / "ein Hund 🐶.png"
        path.write_bytes(saved(Image.fromarray(scene()), "PNG"))
        assert load_photo(path).name == "ein Hund 🐶.png"
        with Image.open(path) as image:
            assert load_photo(image).name == "ein Hund 🐶.png"
        assert load_photo(Image.fromarray(scene())).name == "photo"

    def test_pillow_is_left_as_it_was(self):
        before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
        load_photo(saved(Image.fromarray(scene()), "PNG"))
        sentence(png(13_300, 13_300, 1, 0, None))
        after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
        assert after == before


def with_size(form, width, height):
    """A small file of that format whose header claims another size."""
    data = saved(Image.new("RGB", (251, 241)), form)
    old, new = {
        "JPEG": (struct.pack(">2H", 241, 251), struct.pack(">2H", height, width)),
        "GIF": (struct.pack("<2H", 251, 241), struct.pack("<2H", width, height)),
        "BMP": (struct.pack("<2i", 251, 241), struct.pack("<2i", width, height)),
    }[form]
    assert old in data
    return data.replace(old, new)


@pytest.mark.filterwarnings("error")  # as Pillow has one for large pictures
class TestTooLarge:
    def test_bomb_is_refused_by_its_header(self):
        side = 13_300
        rows = zlib.compressobj(9)
        data = b"".join(rows.compress(b"\0" * (1 + (side + 7) // 8) * 100) for _ in range(side // 100)) + rows.flush()
        bomb = png(side, side, 1, 0, None).replace(
            png(1, 1, 1, 0, None)[-12:],
            struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data)),
        )
        assert len(bomb) < 23_000
        tracemalloc.start()
        text = sentence(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
        tracemalloc.stop()
        assert "13300 x 13300" in text
        assert "40 megapixels" in text
        # Nothing is decoded: the same sentence where there is nothing to decode, rather than "damaged".
        assert sentence(png(side, side, 1, 0, None)) == text

    @pytest.mark.parametrize("form", ["JPEG", "GIF", "BMP"])
    def test_by_the_header_of(self, form):
        assert "60000 x 50000" in sentence(with_size(form, 60_000, 50_000))

    def test_a_frame_larger_than_its_screen(self):
        data = saved(Image.new("RGB", (251, 241)), "GIF")
        size = struct.pack("<2H", 251, 241)
        screen, frame = data.index(size), data.rindex(size)
        assert screen != frame
        assert "megapixels" in sentence(data[:frame] + struct.pack("<2H", 60_000, 50_000) + data[frame + 4 :])
        assert "8000 x 8000" in sentence(data[:frame] + struct.pack("<2H", 8_000, 8_000) + data[frame + 4 :])

    def test_the_limit_itself(self):
        wide = MAX_PIXELS // 5_000
        assert "damaged" in sentence(png(wide, 5_000, 1, 0, None))
        assert "megapixels" in sentence(png(wide + 1, 5_000, 1, 0, None))
        assert "megapixels" in sentence(Image.new("1", (wide, 5_001)))
        assert "megapixels" in sentence(np.broadcast_to(np.uint8(0), (MAX_PIXELS + 1, 1, 3)))

    def test_file_size(self, tmp_path):
        path = tmp_path / "long.jpg"
        with open(path, "wb") as file:
            file.truncate(MAX_BYTES + 1)
        assert "'long.jpg' has 64.0 MB" in sentence(path)
        assert "64 MB" in sentence(bytes(MAX_BYTES + 1))


class TestBadInput:
    """Each has a sentence of its own."""

    @pytest.fixture
    def bad(self, tmp_path):
        def file(name, data):
            path = tmp_path / name
            path.write_bytes(data)
            return path

        good = saved(Image.fromarray(scene(60, 80)), "JPEG")
        os.mkfifo(tmp_path / "pipe.jpg")
        return {
            "none": None,
            "empty path": "",
            "missing": tmp_path / "nowhere.jpg",
            "folder": tmp_path,
            "empty file": file("empty.jpg", b""),
            "text": file("notes.jpg", "Grüße, a list of things to buy: bread, milk".encode()),
            "svg": file("drawing.svg", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>'),
            "truncated": file("cut.jpg", good[: len(good) // 2]),
            "huge": file("bomb.png", png(13_300, 13_300, 1, 0, None)),
            "heic": file("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(100)),
            "avif": file("new.avif", b"\0\0\0\x18ftypavif\0\0\0\0" + bytes(100)),
            "video": file("clip.mp4", b"\0\0\0\x18ftypisom\0\0\0\0" + bytes(100)),
            "pdf": file("scan.pdf", b"%PDF-1.4 and so on"),
            "unknown": file("data.bin", bytes(range(128, 256)) * 3),
            "pipe": tmp_path / "pipe.jpg",
            "null byte": "a\0b.jpg",
            "address": "https://example.org/dog.jpg",
            "float array": scene().astype(np.float32),
            "grey array": scene()[..., 0],
            "channels first": np.moveaxis(scene(), 2, 0),
            "no pixels": np.zeros((0, 5, 3), np.uint8),
            "integer": 7,
            "list": [[1, 2, 3]],
        }

    def test_every_one_its_own(self, bad, tmp_path):
        sentences = {name: sentence(source) for name, source in bad.items()}
        for text in sentences.values():
            assert str(tmp_path.parent) not in text  # no path of the server
        generic = {  # with the names taken out
            name: text.replace(repr(getattr(bad[name], "name", "photo")), "it") for name, text in sentences.items()
        }
        alike = [("integer", "list"), ("none", "empty path")]
        for name, text in generic.items():
            same = [other for other in generic if other != name and generic[other] == text]
            assert all({name, other} in map(set, alike) for other in same), (name, same, text)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("none", "No photo was given"),
            ("missing", "'nowhere.jpg' was not found"),
            ("folder", "is a folder"),
            ("empty file", "'empty.jpg' is empty (0 bytes)"),
            ("text", "'notes.jpg' holds text"),
            ("svg", "SVG"),
            ("truncated", "'cut.jpg' is damaged or incomplete"),
            ("huge", "176.9 megapixels"),
            ("heic", "HEIC"),
            ("avif", "AVIF"),
            ("video", "video"),
            ("pdf", "PDF"),
            ("unknown", "not a picture in a known format"),
            ("pipe", "not a regular file"),
            ("address", "web address"),
            ("float array", "float32"),
            ("grey array", "(6, 9)"),
            ("channels first", "transpose(1, 2, 0)"),
            ("no pixels", "no pixels"),
            ("integer", "not a int"),
        ],
    )
    def test_says_what_it_is(self, bad, name, words):
        assert words in sentence(bad[name])

    def test_text_that_begins_like_a_picture(self):
        assert "holds text" in sentence(b"BMW cars are listed here")
        assert "holds text" in sentence(("﻿" + "ü" * 5000).encode())
        assert "holds text" in sentence("in two bytes".encode("utf-16"))

    def test_long_and_strange_names_are_shortened(self):
        text = sentence("x" * 100 + ".jpg")
        assert "x" * 45 not in text
        assert "\\n" in sentence("two\nlines.jpg")
        assert "can't be opened" in sentence("y" * 5000)

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
    def test_truncated_anywhere(self, form):
        data = saved(Image.fromarray(scene(40, 52)), form)
        last = {"PNG": -30, "GIF": -3, "JPEG": -4}.get(form, -1)  # what comes after the pixels may be missing
        for length in np.linspace(1, len(data) + last, 40).astype(int):
            sentence(data[:length])

    @pytest.mark.filterwarnings("ignore")  # Pillow's own, on tags it can't read
    @given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]), st.data())
    def test_damaged_bytes_give_a_photo_or_a_sentence(self, form, data):
        content = bytearray(saved(Image.fromarray(scene(12, 10)), form))
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
            content[place] = data.draw(st.integers(0, 255))
        try:
            photo = load_photo(bytes(content))
        except PhotoError as error:
            assert str(error).endswith((".", ".)"))
        else:
            assert photo.pixels.ndim == 3

    @pytest.mark.filterwarnings("ignore")
    @given(st.binary(max_size=300))
    def test_any_bytes(self, content):
        with pytest.raises(PhotoError):
            load_photo(content)


def test_path_types(tmp_path):
    class Pathlike:
        def __fspath__(self):
            return str(tmp_path / "a.png")

    (tmp_path / "a.png").write_bytes(saved(Image.fromarray(scene()), "PNG"))
    assert load_photo(Pathlike()).name == "a.png"
    assert load_photo(Path(tmp_path, "a.png")) == load_photo(str(tmp_path / "a.png"))
    assert load_photo(memoryview((tmp_path / "a.png").read_bytes())).wh == (9, 6)


def test_a_file_in_use_is_not_decoded_again(tmp_path):
    path, other = tmp_path / "dog.png", tmp_path / "cat.png"
    Image.new("RGB", (30, 20), "olive").save(path)
    other.write_bytes(path.read_bytes())
    photo = load_photo(path)
    assert load_photo(str(path)) is photo
    assert load_photo(other) is not photo and load_photo(other).name == "cat.png"  # it is called something else
    assert load_photo(path.read_bytes()) is not photo
    Image.new("RGB", (30, 20), "navy").save(path)
    changed = load_photo(path)
    assert changed is not photo and not np.array_equal(changed.pixels, photo.pixels)
    forgotten = weakref.ref(changed)
    del changed
    gc.collect()
    assert forgotten() is None and load_photo(path).wh == (30, 20)  # nothing is kept that nobody uses
