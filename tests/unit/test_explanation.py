"""Explanations: what they answer, that nothing is rescaled, and that they come back equal from every file."""

import copy
import dataclasses
import json
import os
import pickle
import re
import stat
import zipfile

import factories
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import crossviz
from crossviz.errors import (
    AmbiguousTextError,
    BundleError,
    MethodError,
    PhotoError,
    ResultError,
    SelectionError,
)
from crossviz.explanation import SUFFIXES, Explanation, load
from crossviz.geometry import ImageView, PatchGrid
from crossviz.photo import Photo, load_photo

LOADABLE = [suffix for suffix in SUFFIXES if suffix not in (".pdf", ".csv")]


def test_heatmaps_are_unnormalised_and_in_the_photos_pixels():
    ex = factories.explanation("a dog and a zebra", size_wh=(60, 40), grid=PatchGrid(4, 6), peaks=[(1, 2)] * 5)
    flat = ex.heatmap("dog", smooth=False)
    assert flat.shape == (40, 60) and flat.dtype == np.float32
    np.testing.assert_array_equal(flat, np.kron(ex.map.values[1].numpy(), np.ones((10, 10), np.float32)))
    assert ex.unit == "probability"
    # the sum over patches and the null key is 1: nothing was rescaled
    assert flat[::10, ::10].sum() + ex.null_mass("dog") == pytest.approx(1, abs=1e-5)
    row, column = np.unravel_index(ex.heatmap("dog").argmax(), (40, 60))
    assert (row // 10, column // 10) == (1, 2)


def test_text_span_and_word_choose_the_same_word():
    ex = factories.explanation("a dog and a zebra")
    expected = ex.heatmap(word=1)
    np.testing.assert_array_equal(ex.heatmap("dog"), expected)
    np.testing.assert_array_equal(ex.heatmap("DOG"), expected)
    np.testing.assert_array_equal(ex.heatmap(span=(2, 5)), expected)
    assert ex.words[1].text == "dog" and (ex.words[1].start, ex.words[1].end) == (2, 5)
    assert ex.null_mass("dog") == ex.null_mass(word=1) == ex.null_mass(span=(3, 4))
    assert ex.overlay("dog").tobytes() == ex.overlay(word=1).tobytes()


def test_a_phrase_is_the_mean_over_its_words_tokens():
    base = factories.explanation("a dog and a zebra")
    uneven = dataclasses.replace(base.map, token_counts=(1, 3, 1, 1, 1))
    ex = dataclasses.replace(base, maps={"cross_attention": uneven})
    by_hand = (base.patch_map(word=0) + 3 * base.patch_map(word=1)) / 4
    np.testing.assert_allclose(ex.patch_map("a dog"), by_hand, rtol=1e-6)
    assert ex.null_mass("a dog") == pytest.approx((base.null_mass(word=0) + 3 * base.null_mass(word=1)) / 4)


def test_layers_and_heads():
    ex = factories.explanation(layers=2, heads=3)
    np.testing.assert_array_equal(ex.patch_map("dog", layer=1, head=2), ex.map.per_head[1, 2, 1].numpy())
    np.testing.assert_array_equal(ex.patch_map("dog", layer="layer 1"), ex.patch_map("dog", layer=-1))
    np.testing.assert_allclose(
        ex.patch_map("dog"),
        np.mean([ex.patch_map("dog", layer=i, head=j) for i in range(2) for j in range(3)], 0),
        rtol=1e-5,
    )
    assert ex.overlay("dog", layer=0, head=0).tobytes() != ex.overlay("dog").tobytes()
    shares = factories.signed_explanation()
    np.testing.assert_allclose(
        shares.patch_map("dog"),
        sum(shares.patch_map("dog", layer=i, head=j) for i in range(2) for j in range(3)),
        atol=1e-7,
    )


def test_repeated_and_missing_words():
    ex = factories.explanation("a dog and a dog")
    with pytest.raises(AmbiguousTextError, match="span"):
        ex.heatmap("dog")
    assert (ex.heatmap(word=1) != ex.heatmap(word=4)).any(), "the second dog is another word"
    with pytest.raises(SelectionError, match="zebra"):
        ex.overlay("zebra")
    for wrong in ({}, {"text": "dog and", "word": 1}, {"word": 9}, {"span": (5, 3)}, {"word": 1, "layer": 7}):
        with pytest.raises(SelectionError):
            ex.heatmap(**wrong)


def test_words_that_were_not_read_and_methods_without_null_key():
    with pytest.raises(SelectionError, match="did not read"):
        factories.explanation("one two three", read=2).heatmap("three")
    with pytest.raises(MethodError, match="null key"):
        factories.signed_explanation().null_mass("dog")


def test_a_method_is_called_by_its_title():
    ex = factories.explanation()
    assert ex.method_title == "Cross attention", "of a file that does not tell"
    told = dataclasses.replace(ex, provenance=dataclasses.replace(ex.provenance, method_title="Cross-attention"))
    assert told.method_title == "Cross-attention"
    two = factories.as_shares(told, torch.zeros(2, 3, 5, 4, 6), 0.0)
    assert dataclasses.replace(two, provenance=told.provenance).method_title == "Head decomposition"


def test_a_figure_says_where_the_text_has_no_part():
    ex = factories.explanation("a dog")
    blind = dataclasses.replace(ex, maps={"cross_attention": dataclasses.replace(ex.map, text_dependent=False)})
    texts = [" ".join(text.get_text() for text in made.figure().texts) for made in (ex, blind)]
    assert "same map for every word" not in texts[0] and "same map for every word" in texts[1]


def test_it_can_not_be_changed():
    ex = factories.explanation()
    with pytest.raises(dataclasses.FrozenInstanceError):
        ex.method = "x"
    with pytest.raises(TypeError):
        ex.maps["x"] = ex.map
    heat = ex.patch_map("dog")
    heat[:] = 7
    assert ex.patch_map("dog").max() < 1
    own = {"cross_attention": ex.map}
    other = dataclasses.replace(ex, maps=own)
    own.clear()
    assert other == ex


@pytest.mark.parametrize(
    "change",
    [
        {"method": "other"},
        {"similarity": float("nan")},
        {"grid": PatchGrid(6, 4)},
        {"photo": factories.photo(40, 60)},
        {"caption": factories.caption("a dog")},
        {"maps": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_parts_that_do_not_fit_together(change):
    with pytest.raises(ResultError):
        dataclasses.replace(factories.explanation(), **change)


@pytest.mark.parametrize(
    "change",
    [
        {"similarity": 0.26},
        {"photo": factories.photo(seed=1)},
        {"photo": factories.photo(name="other")},
        {"caption": factories.caption("a dog and a zebrb")},
        {"grid": PatchGrid(4, 6, 1)},
        {"view": ImageView((60, 40), (64, 96), (0, 0, 60, 39.5))},
        {"record": factories.explanation(seed=1).record},
        {"record": None},
        {"provenance": factories.provenance(trained=False)},
        {"maps": factories.explanation(seed=1).maps},
    ],
    ids=range(10),
)
def test_equality_looks_at_every_part(change):
    ex = factories.explanation()
    assert ex == factories.explanation() and ex == copy.deepcopy(ex) == pickle.loads(pickle.dumps(ex))
    assert dataclasses.replace(ex, **change) != ex
    assert ex != "text"


@pytest.mark.parametrize("suffix", LOADABLE)
@pytest.mark.parametrize(
    "make",
    [
        lambda: factories.explanation("a dog and a zebra", null=[0.1, 0.1, 0.1, 0.1, 0.97]),
        lambda: factories.explanation(
            "黒い犬 😀 </script> <b>&amp;</b> ]]> $x_1$ \\ \u2028 end", read=6, trained=False
        ),
        lambda: factories.signed_explanation(),
        lambda: factories.explanation("a dog", view=ImageView.shortest((37, 1), (32, 32)), name="../évil <name>.png"),
        lambda: dataclasses.replace(factories.signed_explanation(), record=None),
    ],
    ids=["plain", "hard text", "signed, two maps", "one pixel high", "no attention read"],
)
def test_every_file_gives_back_an_equal_explanation(tmp_path, suffix, make):
    ex = make()
    path = tmp_path / f"kept{suffix}"
    ex.save(path)
    back = load(path)
    assert back == ex and back is not ex
    # equality is not blind to the tensors' bits, the order of maps, or the photo
    assert list(back.maps) == list(ex.maps)
    assert back.record is None if ex.record is None else torch.equal(back.record.scores, ex.record.scores)
    assert back.photo.pixels.tobytes() == ex.photo.pixels.tobytes() and back.photo.name == ex.photo.name
    assert back.overlay(word=0).tobytes() == ex.overlay(word=0).tobytes()
    assert os.listdir(tmp_path) == [path.name]


@settings(max_examples=15)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).map(lambda t: f"dog {t}"),
    similarity=st.floats(-1, 1),
    seed=st.integers(0, 99),
)
def test_any_caption_and_number_survives(text, similarity, seed):
    ex = dataclasses.replace(factories.explanation(text, seed=seed), similarity=similarity)
    from crossviz.bundle import Bundle
    from crossviz.stored import bundle_to_parts

    for back in (Bundle.from_npz(ex.to_bytes(".npz")), Bundle.from_json(ex.to_bytes(".json"))):
        assert Explanation(**bundle_to_parts(back)) == ex


@pytest.mark.parametrize("suffix", [".npz", ".html", ".json"])  # figures: tests/render/test_figure.py
def test_saving_twice_writes_the_same_bytes(suffix):
    assert factories.explanation().to_bytes(suffix) == factories.explanation().to_bytes(suffix)


def test_a_figure_of_some_words_still_holds_everything(tmp_path):
    ex = factories.explanation("a black dog on the grass")
    ex.save(tmp_path / "all.svg")
    ex.save(tmp_path / "one.svg", words=["black dog"])
    drawn = re.compile("<text[^>]*>([^<]*)</text>")
    everything, one = (drawn.findall((tmp_path / name).read_text()) for name in ("all.svg", "one.svg"))
    assert "grass" in everything and "black dog" not in everything
    assert "black dog" in one and "grass" not in one
    assert load(tmp_path / "one.svg") == ex
    with pytest.raises(SelectionError):
        ex.save(tmp_path / "no.svg", words=["cat"])


def test_the_kinds_of_files_are_what_they_say(tmp_path):
    ex = factories.explanation()
    starts = {
        ".npz": b"PK",
        ".png": b"\x89PNG",
        ".svg": b"<?xml",
        ".pdf": b"%PDF",
        ".html": b"<!doctype",
        ".json": b"{",
        ".gif": b"GIF89a",
        ".csv": b"#",
    }
    assert set(starts) == set(SUFFIXES)
    for suffix, start in starts.items():
        assert ex.to_bytes(suffix).startswith(start)
    ex.save(tmp_path / "A.PNG")
    assert load(tmp_path / "A.PNG") == ex
    assert load_photo(tmp_path / "A.PNG").wh[0] > 300


def test_crossviz_load_reads_what_this_one_reads(tmp_path):
    made = factories.explanation()
    made.save(tmp_path / "made.npz")
    assert crossviz.load(tmp_path / "made.npz") == load(tmp_path / "made.npz") == made
    assert crossviz.Explanation is Explanation


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.txt", "a.npz.gz"])
def test_an_unknown_suffix_lists_those_that_there_are(tmp_path, name):
    with pytest.raises(BundleError, match=r"\.npz, \.png, \.svg, \.pdf, \.html, \.json"):
        factories.explanation().save(tmp_path / name)
    assert not os.listdir(tmp_path)


def test_a_pdf_is_only_a_figure(tmp_path):
    factories.explanation().save(tmp_path / "a.pdf")
    with pytest.raises(BundleError, match=r"read from a file that ends in \.npz"):
        load(tmp_path / "a.pdf")


def test_missing_and_locked_folders(tmp_path):
    with pytest.raises(BundleError, match="no folder"):
        factories.explanation().save(tmp_path / "missing" / "a.npz")
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(BundleError, match="can't be written"):
        factories.explanation().save(tmp_path / "a.npz")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IREAD | stat.S_IEXEC)
    if not os.access(locked, os.W_OK):  # root may write anywhere
        with pytest.raises(BundleError, match="can't be written"):
            factories.explanation().save(locked / "a.npz")


def changed(ex, change):
    """The .npz of an explanation, its members changed."""
    import io

    data = ex.to_bytes(".npz")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members["manifest.json"])
    change(manifest, members)
    members["manifest.json"] = json.dumps(manifest).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def bomb():
    """A PNG that says it has 60,000 x 60,000 pixels."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "change",
    [
        lambda m, f: m.pop("kind"),
        lambda m, f: m.pop("caption"),
        lambda m, f: m.update(caption=3),
        lambda m, f: m["caption"].update(words=[[0, 99, [1], False]]),
        lambda m, f: m.update(method="none"),
        lambda m, f: m.update(similarity="high"),
        lambda m, f: m.update(similarity=[]),
        lambda m, f: m["view"].update(source_wh=[9, 9]),
        lambda m, f: m["view"].update(extra=[1]),
        lambda m, f: m["grid"].update(height=0),
        lambda m, f: m.update(grid=[]),
        lambda m, f: m.update(maps={"a": 1}),
        lambda m, f: m["maps"][0][1].update(token_counts=[1]),
        lambda m, f: m["record"].update(layers=["a", "a"]),
        lambda m, f: m.pop("record"),
        lambda m, f: m["provenance"].update(trained="yes"),
        lambda m, f: m["photo"].update(sha256="0"),
        lambda m, f: m.update(photo=None),
        lambda m, f: f.pop("record_probs.npy"),
        lambda m, f: f.pop("photo.png"),
        lambda m, f: f.update({"record_probs.npy": f["map0_values.npy"]}),
        lambda m, f: f.update({"photo.png": b"no picture"}),
        lambda m, f: f.update({"photo.png": bomb()}),
        lambda m, f: f.update({"photo.png": f["photo.png"][:-30]}),
    ],
    ids=range(24),
)
def test_bundles_with_wrong_parts_are_one_sentence(tmp_path, change):
    path = tmp_path / "a.npz"
    path.write_bytes(changed(factories.explanation(), change))
    with pytest.raises(BundleError) as caught:
        load(path)
    assert str(caught.value).endswith(".") and "__init__" not in str(caught.value)


def test_an_unchanged_rewrite_still_loads(tmp_path):
    (tmp_path / "a.npz").write_bytes(changed(factories.explanation(), lambda m, f: None))
    assert load(tmp_path / "a.npz") == factories.explanation()


def test_a_bundle_does_not_smuggle_in_a_photo_that_the_loader_refuses():
    with pytest.raises(PhotoError):
        load_photo(bomb())


def test_large_photos_stay_lossless(tmp_path):
    rng = np.random.default_rng(0)
    noise = Photo(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8), "noise")
    ex = dataclasses.replace(factories.explanation(size_wh=(400, 300)), photo=noise)
    ex.save(tmp_path / "a.npz")
    assert (load(tmp_path / "a.npz").photo.pixels == noise.pixels).all()


def test_repr_is_short():
    text = repr(factories.explanation("a dog " * 200))
    assert len(text) < 160 and "synthetic" in text
