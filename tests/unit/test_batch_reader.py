"""A folder of results is untrusted: whatever is missing, damaged or made up in it is one sentence."""

import json
import shutil

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_batch_store import ABOUT, LASTING

import crossviz
from crossviz.batch import store
from crossviz.batch.block import BlockResult
from crossviz.batch.plan import Block

OF_MAPS = {
    "method": "cross_attention", "method_title": "Cross-attention", "unit": "probability", "signed": False,
    "direction": "query: text, key: image", "text_dependent": True, "reduce": "mean", "layers": ["one"], "params": {},
    "notes": ["Planted."], "libraries": {"torch": "2"}, "device": "cpu",
}  # fmt: skip
WORDS = 150


def row(number: int) -> dict:
    """A row of one word; its map is its own number everywhere."""
    word = {"text": "dog", "start": 2, "end": 5, "tokens": [1], "truncated": False, "null_mass": 0.25, "peak": 1.0}
    return {
        "key": f"row {number}", "position": number, "photo": "a.png", "photo_sha256": "ab", "width": 30, "height": 20,
        "caption": "a dog", "similarity": None, "trained": True, "words": [word], "cut_at": None,
        "tokens": [{"id": 1, "text": "<s>"}, {"id": 2, "text": "dog", "start": 2, "end": 5}],
        "input_height": 32, "input_width": 32, "crop_xyxy": [0.0, 0.0, 30.0, 20.0], "grid": "2x3",
        "maps": "2x3/000000", "first": number, "scale": 2.0, "heads_scale": 1.0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """150 rows in three chunks, the words 64 to 127 all zeros."""
    out = tmp_path_factory.mktemp("whole")
    store.open_out(out, ABOUT, LASTING)
    maps = np.broadcast_to(np.arange(WORDS, dtype="f2")[:, None, None], (WORDS, 2, 3)).copy()
    maps[64:128] = 0
    heads = np.stack([maps, maps], 1)[:, None]
    block = Block(0, 0, WORDS)
    store.add_block(out, BlockResult(block, list(map(row, range(WORDS))), [], {"2x3": maps}, {"2x3": heads}, OF_MAPS))
    return out


@pytest.fixture
def out(whole, tmp_path):
    """A copy to be damaged."""
    shutil.copytree(whole, tmp_path / "out")
    return tmp_path / "out"


def test_every_rows_own_map_is_read(whole):
    results = crossviz.load(whole)
    for number in (0, 63, 64, 100, 127, 128, 149):
        found = results[f"row {number}"]
        assert found.position == number
        assert (found.values == (0 if 64 <= number < 128 else 2.0 * number)).all()
        assert (found.per_head == found.values / 2).all() and found.per_head.shape == (1, 2, 1, 2, 3)
        assert found.null_mass("dog") == 0.25 and found.heatmap("dog").shape == (20, 30)
    assert (found.about.unit, found.about.notes, found.about.libraries["torch"]) == ("probability", ("Planted.",), "2")


def rewritten(out, **changes):
    """The table with other values in some columns of the first row."""
    file = out / "rows" / "part-000000.parquet"
    table = pq.read_table(file)
    lines = table.to_pylist()
    lines[0] |= changes
    pq.write_table(pa.Table.from_pylist(lines, schema=table.schema), file)


def json_changed(file, change):
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def cut(file, keep):
    file.write_bytes(file.read_bytes()[:keep])


def turned(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def sharding(values):
    return values["codecs"][0]["configuration"]


ARRAY, CHUNKS, PART = "maps.zarr/2x3/000000", "maps.zarr/2x3/000000/c/0/0/0", "rows/part-000000.parquet"
DAMAGE = {
    "no batch.json": lambda out: (out / "batch.json").unlink(),
    "batch.json cut off": lambda out: cut(out / "batch.json", 30),
    "batch.json of something else": lambda out: json_changed(out / "batch.json", lambda v: v.update(kind="other")),
    "a newer schema": lambda out: json_changed(out / "batch.json", lambda v: v.update(schema_version=99)),
    "settings of another kind": lambda out: json_changed(out / "batch.json", lambda v: v.update(settings=3)),
    "a table cut off": lambda out: cut(out / PART, 900),
    "a table that is none": lambda out: (out / PART).write_bytes(b"PAR1"),
    "a table without what its maps are": lambda out: pq.write_table(
        pq.read_table(out / PART).replace_schema_metadata(None), out / PART
    ),
    "a table without a column": lambda out: pq.write_table(pq.read_table(out / PART).drop(["caption"]), out / PART),
    "a word outside the caption": lambda out: rewritten(out, caption="a"),
    "a token that is not there": lambda out: rewritten(out, tokens=[]),
    "a rectangle without area": lambda out: rewritten(out, crop_xyxy=[0.0, 0.0, 0.0, 0.0]),
    "no size": lambda out: rewritten(out, width=None),
    "maps elsewhere": lambda out: rewritten(out, maps="../../../etc/passwd"),
    "maps in a grid of another size": lambda out: rewritten(out, maps="3x2/000000"),
    "maps that are not there": lambda out: rewritten(out, maps="2x3/000009"),
    "words that are not there": lambda out: rewritten(out, first=WORDS),
    "words before the first": lambda out: rewritten(out, first=-1),
    "no place of the maps": lambda out: rewritten(out, first=None),
    "an array without its description": lambda out: (out / ARRAY / "zarr.json").unlink(),
    "an array of another type": lambda out: json_changed(
        out / ARRAY / "zarr.json", lambda v: v.update(data_type="float64")
    ),
    "an array of another shape": lambda out: json_changed(
        out / ARRAY / "zarr.json", lambda v: v.update(shape=[WORDS, 3, 2])
    ),
    "chunks of a billion words": lambda out: json_changed(
        out / ARRAY / "zarr.json", lambda v: sharding(v).update(chunk_shape=[10**9, 2, 3])
    ),
    "another codec": lambda out: json_changed(
        out / ARRAY / "zarr.json", lambda v: sharding(v)["codecs"].append({"name": "vlen-bytes"})
    ),
    "chunks cut off": lambda out: cut(out / CHUNKS, 40),
    "chunks gone": lambda out: (out / CHUNKS).unlink(),
    "one byte of a chunk": lambda out: turned(out / CHUNKS, 30),
    "chunks of other bytes": lambda out: (out / CHUNKS).write_bytes(b"\xff" * (out / CHUNKS).stat().st_size),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_one_sentence(case, out):
    DAMAGE[case](out)
    with pytest.raises(crossviz.BundleError) as caught:
        found = crossviz.load(out)[0]
        assert found.values is None
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_chunk_that_unpacks_to_more_than_it_may_is_refused(out):
    """A thousand megabytes of zeros take forty kilobytes; no more than the chunk's own size is ever unpacked."""
    bomb = pa.compress(b"\0" * (1 << 24), codec="zstd", asbytes=True)
    whole = (out / CHUNKS).read_bytes()
    index = bytearray(whole[-(16 * 3 + 4) :])
    index[0:16] = (len(whole) - len(index)).to_bytes(8, "little") + len(bomb).to_bytes(8, "little")
    index[-4:] = google_crc32c.value(bytes(index[:-4])).to_bytes(4, "little")
    (out / CHUNKS).write_bytes(whole[: -len(index)] + bomb + bytes(index))
    with pytest.raises(crossviz.BundleError, match="damaged"):
        crossviz.load(out)[0].values  # noqa: B018


def test_a_folder_without_rows_yet_says_so(tmp_path):
    store.open_out(tmp_path, ABOUT, LASTING)
    results = crossviz.load(tmp_path)
    assert len(results) == 0 and list(results) == [] and results.bad == []
    with pytest.raises(crossviz.BundleError, match="no row yet"):
        results.to_pandas()


def test_single_heads_that_were_not_kept_are_asked_for_with_heads(out):
    json_changed(out / "batch.json", lambda v: v["settings"].update(heads=False))
    with pytest.raises(crossviz.MethodError, match="--heads"):
        crossviz.load(out)[0].per_head  # noqa: B018
