"""Files from anyone: what they claim is checked before it costs anything, and each ends in one sentence."""

import io
import json
import tracemalloc
import zipfile

import factories
import pytest

from crossviz import bundle as module
from crossviz.bundle import MAX_MANIFEST_BYTES, SCHEMA_VERSION, Bundle, embed, holds_bundle
from crossviz.errors import BundleError
from crossviz.explanation import load, load_with_settings
from crossviz.render.payload import viewer_payload

MANIFEST = json.dumps({"schema_version": SCHEMA_VERSION}).encode()


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_a_part_that_unpacks_to_more_than_it_declares_costs_what_it_declares():
    lie, truth = 1000, 64 << 20
    data = zipped({"manifest.json": MANIFEST, "photo.png": bytes(truth)})
    size = truth.to_bytes(4, "little")
    assert data.count(size) == 2  # in the part's own header and in the directory
    lying = data.replace(size, lie.to_bytes(4, "little"))
    tracemalloc.start()
    with pytest.raises(BundleError, match="damaged"):
        Bundle.from_npz(lying)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_the_reader_says_how_much_a_file_may_unpack_to(tmp_path):
    ex = factories.explanation()
    path = tmp_path / "a.npz"
    ex.save(path)
    assert load_with_settings(path, most_bytes=1 << 20)[0] == ex
    with pytest.raises(BundleError, match="at most 0 MB are read"):
        load_with_settings(path, most_bytes=1000)


def test_a_manifest_of_many_megabytes_is_not_unpacked():
    huge = b'{"schema_version":1,"x":"' + bytes(MAX_MANIFEST_BYTES).replace(b"\0", b"x") + b'"}'
    with pytest.raises(BundleError, match="manifest has more than 16 MB"):
        Bundle.from_npz(zipped({"manifest.json": huge}))


@pytest.mark.parametrize("part", [b"[],", b"{},", b"0,"], ids=["lists", "objects", "numbers"])
def test_json_of_a_million_values_is_not_parsed(part, monkeypatch):
    monkeypatch.setattr(module.json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    document = b"[" + part * 1_000_001 + b"0]"
    for read in (Bundle.from_json, lambda data: Bundle.from_npz(zipped({"manifest.json": data}))):
        with pytest.raises(BundleError, match="more values than any explanation has"):
            read(document)


def test_deep_json_and_endless_numbers_are_refused():
    for document in (b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000, b'{"manifest": 1e999999}'):
        with pytest.raises(BundleError):
            Bundle.from_json(document)


def test_pictures_with_a_bundle_are_told_from_plain_ones():
    ex = factories.explanation()
    for suffix in (".png", ".gif"):
        data = ex.to_bytes(suffix)
        assert holds_bundle(data)
        assert not holds_bundle(data[:40])
    photo = io.BytesIO()
    ex.photo.image().save(photo, "PNG")
    assert not holds_bundle(photo.getvalue())
    assert not holds_bundle(photo.getvalue() + b"cvBd")  # after the picture's end it is no chunk of it
    assert not holds_bundle(ex.to_bytes(".npz")) and not holds_bundle(b"") and not holds_bundle(b"GIF89a")
    damaged = bytearray(ex.to_bytes(".png"))
    damaged[damaged.index(b"cvBd") + 99] ^= 1
    assert holds_bundle(bytes(damaged))  # so that it is said to be damaged


def places(value, path=()):
    """Every place in a JSON document, by the keys that lead there."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def changed(document, path, value):
    """A copy with another value at a place; None as a value takes what is there away."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 10**30, 1e308, "", "\ud800", "x" * 300, [], [[]], {}, {"a": 1}],
    ids=lambda value: repr(value)[:12],
)
def test_a_manifest_with_anything_anywhere_is_refused_in_a_sentence_or_harmless(value, tmp_path):
    document = json.loads(factories.explanation("a dog", layers=1, heads=2).to_bytes(".json"))
    path = tmp_path / "a.json"
    for place in places(document["manifest"], ("manifest",)):
        if place == ("manifest",):
            continue
        path.write_text(json.dumps(changed(document, place, value)))
        try:
            explanation = load(path)
        except BundleError as error:
            assert "\n" not in str(error), place
        else:
            viewer_payload(explanation)


def test_an_embedded_bundle_is_as_untrusted_as_any():
    document = io.BytesIO()
    factories.photo().image().save(document, "PNG")
    data = embed(".png", document.getvalue(), b"not a zip")
    assert holds_bundle(data)
