"""Bundles: equal after every container, equal bytes for equal content, and no file that can do harm."""

import io
import json
import os
import pickle
import struct
import xml.etree.ElementTree as ET
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crossviz import bundle as module
from crossviz.bundle import LOADABLE, SCHEMA_VERSION, Bundle, embed, read_bundle, write_atomic
from crossviz.errors import BundleError

SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><text>&lt;metadata id="x"></text></svg>\n'
HTML = b"<!doctype html><html><body><p>hello</p></body></html>"


def png(kind="PNG", **options):
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), (1, 2, 3)).save(buffer, kind, **options)
    return buffer.getvalue()


def gif():
    more = [Image.new("RGB", (5, 4), (9 * i, 2, 3)) for i in range(3)]
    return png("GIF", save_all=True, append_images=more, duration=70, loop=0)


DOCUMENTS = {".png": png(), ".svg": SVG, ".html": HTML, ".gif": gif()}


def example():
    rng = np.random.default_rng(0)
    arrays = {
        "probs": rng.random((2, 3, 4), dtype=np.float32),
        "scores": np.array([-np.inf, 0.1, -0.0], dtype=np.float32),
        "empty": np.zeros((0, 3), dtype=np.float32),
        "scalar": np.array(7, dtype=np.int64),
    }
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "text": "黒い $x \u2028 </script>",
        "number": 0.1,
        "list": [None, True],
    }
    return Bundle(manifest, arrays, {"photo.png": png(), "any": bytes(range(256))})


def same(one, other):
    assert one.manifest == other.manifest and one.files == other.files
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        got = other.arrays[name]
        assert got.dtype == array.dtype and got.shape == array.shape and got.tobytes() == array.tobytes()


def saved(folder, suffix, npz=None):
    npz = example().to_npz() if npz is None else npz
    path = folder / f"file{suffix}"
    if suffix == ".json":
        path.write_bytes(example().to_json())
    else:
        path.write_bytes(npz if suffix == ".npz" else embed(suffix, DOCUMENTS[suffix], npz))
    return path


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


MANIFEST = json.dumps({"schema_version": 1}).encode()


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", LOADABLE)
def test_every_container_gives_back_what_went_in(tmp_path, suffix):
    same(example(), read_bundle(saved(tmp_path, suffix)))
    upper = tmp_path / f"FILE{suffix.upper()}"
    os.replace(tmp_path / f"file{suffix}", upper)
    same(example(), read_bundle(upper))


def test_equal_bundles_give_equal_bytes():
    assert example().to_npz() == example().to_npz()
    assert example().to_json() == example().to_json()
    changed = Bundle({**example().manifest, "number": 0.2}, example().arrays, example().files)
    assert changed.to_npz() != example().to_npz()


def test_numpy_opens_the_npz(tmp_path):
    with np.load(saved(tmp_path, ".npz"), allow_pickle=False) as data:
        np.testing.assert_array_equal(data["probs"], example().arrays["probs"])
        assert json.loads(data["manifest.json"]) == example().manifest


def test_documents_still_open_as_before(tmp_path):
    picture = Image.open(saved(tmp_path, ".png"))
    picture.verify()
    assert Image.open(tmp_path / "file.png").getpixel((0, 0)) == (1, 2, 3)
    with Image.open(saved(tmp_path, ".gif")) as moving:
        assert moving.n_frames == 4 and moving.info["loop"] == 0
        moving.seek(3)
        assert moving.convert("RGB").getpixel((0, 0)) == (18, 2, 3)
    root = ET.fromstring(saved(tmp_path, ".svg").read_bytes())
    assert root[0].text == '<metadata id="x">'
    page = saved(tmp_path, ".html").read_bytes()
    assert page.startswith(HTML[:40]) and page.rstrip().endswith(b"</body></html>")


def test_text_that_looks_like_a_bundle_does_not_hide_the_real_one(tmp_path):
    decoy = b'<script type="application/octet-stream" id="crossviz-bundle">AAAA</script>'
    document = HTML.replace(b"hello", decoy)
    (tmp_path / "x.html").write_bytes(embed(".html", document, example().to_npz()))
    same(example(), read_bundle(tmp_path / "x.html"))


@pytest.mark.parametrize("name", ["a.txt", "a", "a.pdf", "a.zip", ".npz"])
def test_an_unknown_suffix_lists_those_that_there_are(tmp_path, name):
    with pytest.raises(BundleError, match=r"\.npz, \.png, \.svg, \.html, \.json, \.gif"):
        read_bundle(tmp_path / name)


def test_missing_files_and_folders_have_their_own_sentence(tmp_path):
    with pytest.raises(BundleError, match="no file"):
        read_bundle(tmp_path / "missing.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(BundleError, match="can't be read"):
        read_bundle(tmp_path / "folder.npz")


@pytest.mark.parametrize("suffix", LOADABLE)
@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"<svg></svg>", b"{}", b"[]", b"PK\x03\x04", b"\xff" * 99]
)
def test_files_of_another_kind(tmp_path, suffix, content):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(BundleError):
        read_bundle(path)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html", ".gif"])
def test_documents_without_a_bundle_say_so(tmp_path, suffix):
    (tmp_path / f"x{suffix}").write_bytes(DOCUMENTS[suffix])
    with pytest.raises(BundleError, match="holds no crossviz bundle"):
        read_bundle(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", LOADABLE)
def test_a_file_cut_off_anywhere_is_refused(tmp_path, suffix):
    path = saved(tmp_path, suffix)
    data = path.read_bytes()
    for keep in np.linspace(0, len(data) - 40, 25).astype(int):
        path.write_bytes(data[:keep])
        with pytest.raises(BundleError):
            read_bundle(path)


@settings(max_examples=150)
@given(st.data())
def test_changed_bytes_are_refused_or_harmless(data):
    npz = bytearray(example().to_npz())
    for at in data.draw(st.lists(st.integers(0, len(npz) - 1), min_size=1, max_size=3)):
        npz[at] ^= data.draw(st.integers(1, 255))
    try:
        read = Bundle.from_npz(bytes(npz))
    except BundleError as error:
        assert str(error).endswith(".")
    else:  # bytes that carry no content (times, attributes, a name that is not looked at)
        assert read.manifest == example().manifest


def test_a_changed_png_chunk_is_noticed(tmp_path):
    path = saved(tmp_path, ".png")
    data = bytearray(path.read_bytes())
    data[data.index(b"cvBd") + 30] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="checksum"):
        read_bundle(path)


def test_a_changed_gif_block_is_noticed(tmp_path):
    path = saved(tmp_path, ".gif")
    data = bytearray(path.read_bytes())
    data[data.index(b"CROSSVIZ1.0") + 30] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="checksum"):
        read_bundle(path)


def test_pickles_are_never_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    objects = npy(np.array([Evil()], dtype=object), allow_pickle=True)
    for name, content in (("x.npy", objects), ("x.npy", pickle.dumps(Evil()))):
        with pytest.raises(BundleError):
            Bundle.from_npz(zipped({"manifest.json": MANIFEST, name: content}))
    assert not (tmp_path / "owned").exists()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(module, "MAX_EXPANDED_BYTES", 1 << 20)
    bomb = zipped({"manifest.json": MANIFEST, "photo.png": bytes(2 << 20)})
    assert len(bomb) < 5000
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *a: pytest.fail("unpacked before the sizes were checked"))
    with pytest.raises(BundleError, match="would unpack to 2 MB"):
        Bundle.from_npz(bomb)


def test_a_zip_that_lies_about_its_sizes_is_refused():
    honest = zipped({"manifest.json": MANIFEST, "photo.png": bytes(2 << 20)})
    lying = honest.replace(struct.pack("<I", 2 << 20), struct.pack("<I", 10))
    assert lying != honest
    with pytest.raises(BundleError):
        Bundle.from_npz(lying)


def test_an_array_that_claims_to_be_huge_allocates_nothing(monkeypatch):
    huge = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**7, 10**7)}
    np.lib.format.write_array_header_1_0(huge, header)
    monkeypatch.setattr(np, "frombuffer", lambda *a, **k: pytest.fail("allocated before the size was checked"))
    cut, fortran = npy(np.zeros(3, np.float32))[:-4], npy(np.asfortranarray(np.ones((2, 3), np.float32)))
    for content, said in ((huge.getvalue(), "0 bytes"), (cut, "8 bytes"), (fortran, "Fortran")):
        with pytest.raises(BundleError, match=said):
            Bundle.from_npz(zipped({"manifest.json": MANIFEST, "x.npy": content}))


@pytest.mark.parametrize("dtype", ["complex64", "U3", "M8[s]", "float16", ">f4"])
def test_other_types_are_neither_written_nor_read(dtype):
    array = np.zeros(2, dtype=dtype)
    with pytest.raises(BundleError, match="type"):
        Bundle({"schema_version": 1}, {"x": array}).to_npz()
    with pytest.raises(BundleError, match="type"):
        Bundle.from_npz(zipped({"manifest.json": MANIFEST, "x.npy": npy(array)}))


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"x.npy": npy(np.zeros(2, np.float32))},
        {"manifest.json": b"{"},
        {"manifest.json": b'"text"'},
        {"manifest.json": b'{"schema_version": true}'},
        {"manifest.json": b'{"schema_version": 0}'},
        {"manifest.json": b'{"schema_version": "1"}'},
        {"manifest.json": b'{"schema_version": 1, "x": NaN}'},
        {"manifest.json": b"[" * 100_000},
        {"manifest.json": b"\xff\xfe"},
        {"manifest.json": MANIFEST, **{f"f{i}": b"" for i in range(1025)}},
    ],
    ids=range(11),
)
def test_manifests_that_are_none(members):
    with pytest.raises(BundleError):
        Bundle.from_npz(zipped(members))


def test_other_compressions_and_encryption_are_refused():
    with pytest.raises(BundleError, match="packed"):
        Bundle.from_npz(zipped({"manifest.json": MANIFEST}, zipfile.ZIP_LZMA))


def test_a_newer_schema_asks_for_an_update():
    newer = Bundle({"schema_version": SCHEMA_VERSION + 1})
    for read in (lambda: Bundle.from_npz(newer.to_npz()), lambda: Bundle.from_json(newer.to_json())):
        with pytest.raises(BundleError, match="update crossviz"):
            read()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("arrays"),
        lambda d: d["arrays"].update(x=3),
        lambda d: d["arrays"]["probs"].update(shape=[10**9, 10**9]),
        lambda d: d["arrays"]["probs"].update(shape=[-1, -24]),
        lambda d: d["arrays"]["probs"].update(shape=24.0),
        lambda d: d["arrays"]["probs"].update(dtype="|O"),
        lambda d: d["arrays"]["probs"].update(dtype=["<f4"]),
        lambda d: d["arrays"]["probs"].update(data="?"),
        lambda d: d["arrays"]["probs"].update(data=7),
        lambda d: d.update(files=[1]),
        lambda d: d["files"].update(any=None),
    ],
    ids=range(11),
)
def test_json_with_wrong_parts(change):
    document = json.loads(example().to_json())
    change(document)
    with pytest.raises(BundleError):
        Bundle.from_json(json.dumps(document).encode())


def test_large_files_are_not_read(tmp_path, monkeypatch):
    path = saved(tmp_path, ".npz")
    monkeypatch.setattr(module, "MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(BundleError, match="at most"):
        read_bundle(path)


def test_a_manifest_that_json_can_not_hold():
    for manifest in ({"schema_version": 1, "x": float("nan")}, {"schema_version": 1, "x": {1, 2}}):
        with pytest.raises(BundleError, match="JSON"):
            Bundle(manifest).to_npz()


def test_png_chunks_are_valid_and_in_place(tmp_path):
    data = saved(tmp_path, ".png").read_bytes()
    at, kinds = 8, []
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        assert zlib.crc32(data[at + 4 : at + 8 + length]) == struct.unpack_from(">I", data, at + 8 + length)[0]
        kinds.append(kind)
        at += 12 + length
    assert kinds[0] == b"IHDR" and kinds[-2:] == [b"cvBd", b"IEND"]


def test_writing_replaces_whole_files_and_leaves_no_rest(tmp_path):
    path = tmp_path / "a.npz"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["a.npz"]
    umask = os.umask(0o022)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    write_atomic(path, b"old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(BundleError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.npz"]


def test_places_that_can_not_be_written(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "folder.npz", tmp_path / "missing" / "a.npz", tmp_path / "file" / "a.npz"):
        with pytest.raises(BundleError, match="can't be written"):
            write_atomic(path, b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.npz"]


def test_only_documents_take_a_bundle():
    with pytest.raises(BundleError, match=r"\.bmp"):
        embed(".bmp", b"BM", b"")
    for suffix in DOCUMENTS:
        with pytest.raises(BundleError):
            embed(suffix, b"nothing of the kind", b"")


def test_a_directory_of_a_million_entries_is_not_read(monkeypatch):
    entry = b"PK\x01\x02" + bytes(42)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, len(entry) * 200_000, 0, 0)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *asked: pytest.fail("its entries were made"))
    with pytest.raises(BundleError, match="parts"):
        Bundle.from_npz(entry * 200_000 + end)
