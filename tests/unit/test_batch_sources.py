"""Sources of many photos: the same rows from every kind, in blocks of any size; damage is a row's own."""

import csv
import io
import json
import os
import pickle
import tarfile

import batch_sets as sets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossviz.batch.plan import make_plan
from crossviz.batch.rows import Columns, Source, unique
from crossviz.batch.shards import expand
from crossviz.batch.sources import open_source
from crossviz.errors import CaptionError, CrossvizError, DatasetError, PhotoError
from crossviz.photo import load_photo
from crossviz.words import split_words


def told(rows):
    return [(load_photo(row.read()).sha256, row.told()) for row in rows]


@pytest.mark.parametrize("kind", sets.KINDS)
def test_every_kind_gives_the_same_rows_in_blocks_of_any_size(kind, tmp_path):
    count = 10
    name = str(sets.KINDS[kind](tmp_path / "set", count))
    source = open_source(name)
    expected = [(load_photo(data).sha256, caption) for _, data, caption in sets.rows(count)]
    assert len(source) == count and told(source.rows(0, count)) == expected
    keys = [row.key for row in source.rows(0, count)]
    assert len(set(keys)) == count
    again = pickle.loads(pickle.dumps(source))  # as it goes to a worker
    assert again.fingerprint == open_source(name).fingerprint == source.fingerprint
    for size in (1, 3, 7):
        blocks = make_plan(again, size)
        rows = [row for block in blocks for row in again.rows(block.start, block.stop)]
        assert [row.key for row in rows] == keys and told(rows) == expected


def test_shards_are_read_as_webdataset_reads_them(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    pattern = str(tmp_path / "w-%02d.tar")
    with webdataset.ShardWriter(pattern, maxcount=3, verbose=0) as writer:
        for name, data, caption in sets.rows(8):
            writer.write({"__key__": f"deep/{name}", "png": data, "txt": caption})
    source = open_source(str(tmp_path / "w-{00..02}.tar"))
    own = list(webdataset.WebDataset(str(tmp_path / "w-{00..02}.tar"), shardshuffle=False))
    rows = source.rows(0, 8)
    assert [row.key.partition("/")[2] for row in rows] == [sample["__key__"] for sample in own]
    assert [row.read() for row in rows] == [sample["png"] for sample in own]
    assert [row.told() for row in rows] == [sample["txt"].decode() for sample in own]
    assert source.boundaries == (3, 6, 8)
    assert [row.key for row in open_source(str(tmp_path)).rows(0, 8)] == [row.key for row in rows]
    assert len(open_source(str(tmp_path / "w-01.tar"))) == 3 == len(open_source(str(tmp_path / "*-01.tar")))


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_of_a_table_begin_where_the_csv_module_finds_them(tmp_path, rows, end, mark):
    made = io.StringIO(newline="")
    csv.writer(made, lineterminator=end).writerows([("photo", "caption"), *rows])
    file = tmp_path / "rows.csv"
    file.write_bytes(made.getvalue().encode("utf-8-sig" if mark else "utf-8"))
    own = list(csv.DictReader(io.StringIO(made.getvalue(), newline="")))
    source = open_source(str(file))
    assert len(source) == len(own)
    for position, row in enumerate(own):
        (found,) = source.rows(position, position + 1)
        assert found.photo == row["photo"]
        try:
            assert found.told() == row["caption"].strip()
        except CaptionError:
            assert not split_words(row["caption"])


BAD_LINES = {
    b"{not json": "not JSON",
    b'["a list"]': "no JSON object",
    b'{"caption": "a dog"}': "no column 'photo'",
    b'{"photo": "a.png"}': "no column 'caption'",
    b'{"photo": "", "caption": "a dog"}': "names no photo",
    b'{"photo": 3, "caption": "a dog"}': "by its path, not by a int",
    b'{"photo": "none.png", "caption": "a dog"}': "was not found",
    b'{"photo": "https://example.org/a.png", "caption": "a dog"}': "web address",
    b'{"photo": "a.png", "caption": null}': "no caption",
    b'{"photo": "a.png", "caption": ["a dog", "a cat"]}': "a row of its own",
    b'{"photo": "a.png", "caption": 7}': "must be a string",
    b'{"photo": "a.png", "caption": "?!"}': "no word",
    b'{"photo": "a.png", "caption": "\xff dog"}': "lone surrogate",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=list(BAD_LINES.values()))
def test_a_bad_line_is_one_row_with_a_sentence(line, tmp_path):
    (tmp_path / "a.png").write_bytes(sets.photo_bytes(0))
    good = b'{"photo": "a.png", "caption": "a dog"}'
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join([good, line, good]))
    first, bad, last = open_source(str(tmp_path / "rows.jsonl")).rows(0, 3)
    assert len({first.key, bad.key, last.key}) == 3
    assert told([first]) == told([last])
    with pytest.raises(CrossvizError, match=BAD_LINES[line]) as caught:
        bad.told()
        load_photo(bad.read())
    assert isinstance(caught.value, PhotoError | CaptionError)


def test_a_csv_row_with_too_many_cells_or_too_few_is_bad(tmp_path):
    (tmp_path / "rows.csv").write_text("photo,caption\na.png,one,two\na.png\na.png,a dog\n")
    many, few, good = open_source(str(tmp_path / "rows.csv")).rows(0, 3)
    for row, told_ in ((many, "3 cells"), (few, "no column 'caption'")):
        with pytest.raises(CaptionError, match=told_):
            row.told()
    assert good.told() == "a dog"


def test_members_of_a_shard_that_make_no_row_are_bad_rows(tmp_path):
    members = {"a.txt": b"a dog", "b.png": sets.photo_bytes(0), "c.png": sets.photo_bytes(1), "c.json": b"[]"}
    with tarfile.open(tmp_path / "x.tar", "w") as opened:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            opened.addfile(member, io.BytesIO(data))
        opened.addfile(tarfile.TarInfo(".hidden"))
    no_photo, no_text, no_object = open_source(str(tmp_path / "x.tar")).rows(0, 3)
    assert [row.key for row in (no_photo, no_text, no_object)] == ["x/a", "x/b", "x/c"]
    for call, said in ((no_photo.read, "no photo"), (no_text.told, "no caption"), (no_object.told, "no object")):
        with pytest.raises(CrossvizError, match=said):
            call()
    every = open_source(str(tmp_path / "x.tar"), Columns(caption="a cat"))
    assert {row.told() for row in every.rows(0, 3)} == {"a cat"}


def test_columns_are_named_and_ids_made_unique(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(sets.photo_bytes(ord(name)))
    lines = [{"id": "x", "where": "a.png", "says": "a dog", "nr": 7}, {"id": "x", "where": "b.png", "says": "a cat"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    name = str(tmp_path / "rows.jsonl")
    source = open_source(name, Columns(photo="where", text="says"))
    assert [row.key for row in source.rows(0, 2)] == ["x", "x#2"]
    assert [row.told() for row in source.rows(0, 2)] == ["a dog", "a cat"]
    first, second = open_source(name, Columns(photo="where", text="says", id="nr")).rows(0, 2)
    assert (first.key, second.key) == ("7", "row 1")
    with pytest.raises(CaptionError, match="nr"):
        second.told()


@given(st.lists(st.sampled_from(["a", "a#2", "b", "a#3"]), max_size=9))
def test_keys_are_unique_and_those_that_were_are_kept(keys):
    made = unique(keys)
    assert len(set(made)) == len(keys)
    assert all(own == key or own.startswith(f"{key}#") for own, key in zip(made, keys, strict=True))
    assert made == list(keys) if len(set(keys)) == len(keys) else made[0] == keys[0]


def test_a_name_that_is_not_utf8_can_be_written(tmp_path):
    os.makedirs(os.fsencode(tmp_path / "photos"))
    with open(os.fsencode(tmp_path / "photos") + b"/\xff.png", "wb") as opened:
        opened.write(sets.photo_bytes(0))
    (row,) = open_source(str(tmp_path / "photos"), Columns(caption="a dog")).rows(0, 1)
    assert row.key == "\\udcff.png" and load_photo(row.read()).wh == sets.WH[0]


def test_what_changes_a_source_changes_its_fingerprint(tmp_path):
    folder = sets.write_folder(tmp_path / "a", 3)
    before = {open_source(str(folder)).fingerprint}

    def changed():
        found = open_source(str(folder)).fingerprint
        new = found not in before
        before.add(found)
        return new

    assert not changed()
    (folder / "photo000.txt").write_text("another caption")
    assert changed()
    (folder / "photo001.png").write_bytes(sets.photo_bytes(8))
    assert changed()
    os.rename(folder / "photo002.png", folder / "photo009.png")
    assert changed()
    (folder / "captions.csv").write_text("photo,caption\nphoto000.png,a dog\n")
    assert changed()
    (folder / "captions.csv").write_text("photo,caption\nphoto000.png,a cat\n")
    assert changed()


def empty_folder(path):
    path.mkdir()
    return path


def folder_without_captions(path):
    path.mkdir()
    (path / "a.png").write_bytes(sets.photo_bytes(0))
    return path


def written(name, data):
    def write(path):
        path.mkdir()
        (path / name).write_bytes(data)
        return path / name

    return write


def several_splits(path):
    path.mkdir()
    (path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for split in ("train", "test"):
        sets.write_saved(path / split, 1)
    return path


def without_columns(path):
    import datasets

    datasets.Dataset.from_dict({"picture": ["a"], "text": ["b"]}).save_to_disk(str(path))
    return path


REFUSED = {
    "no photo in": empty_folder,
    "no captions": folder_without_captions,
    "There is no": lambda path: path / "none",
    "There is no file": lambda path: path / "none.tar",
    "no source of photos": written("a.txt", b"a dog"),
    "holds no rows": written("a.csv", b"photo,caption\n"),
    "holds no row": written("a.jsonl", b"\n\n"),
    "can't be read as a tar file": written("a.tar", b"x" * 2000),
    "There are no rows": lambda path: written("a.tar", b"\0" * 10240)(path),
    "train, test": several_splits,
    "picture, text": without_columns,
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_no_source_is_refused_with_one_sentence(said, tmp_path):
    with pytest.raises(DatasetError, match=said):
        open_source(str(REFUSED[said](tmp_path / "it")))


@pytest.mark.parametrize("damage", ["in a header", "in a photo", "at a header", "inside"])
def test_a_shard_that_is_damaged_is_named(damage, tmp_path):
    sets.write_shards(tmp_path, 8)
    whole = (tmp_path / "x-001.tar").read_bytes()
    at = whole.rindex(b"./photo007.png")
    cut = {"in a header": whole[: at + 100], "in a photo": whole[: at + 700], "at a header": whole[:at]}
    cut["inside"] = whole[:at] + b"\xff" * 512 + whole[at + 512 :]
    (tmp_path / "x-001.tar").write_bytes(cut[damage])
    with pytest.raises(DatasetError, match=r"x-001\.tar can't be read"):
        open_source(str(tmp_path))


def test_a_data_set_of_the_hub_without_network_is_one_sentence(monkeypatch):
    import datasets

    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach the Hub\nat all")

    monkeypatch.setattr(datasets, "get_dataset_split_names", unreachable)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    for name in ("hf:nobody/nothing", "hf:nobody/nothing:train"):
        with pytest.raises(DatasetError, match=r"nobody/nothing.*ConnectionError.*save_to_disk") as caught:
            open_source(name)
        assert "\n" not in str(caught.value)


def test_ranges_are_expanded_as_a_shell_does():
    assert expand("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand("{0..1}/{1..2}.tar") == ["0/1.tar", "0/2.tar", "1/1.tar", "1/2.tar"]
    with pytest.raises(DatasetError, match="at most"):
        expand("{0..99999999}.tar")


class Numbers(Source):
    """So many rows with ends of shards."""

    def __init__(self, ends):
        self.kind, self.fingerprint, self.boundaries = "numbers", "", ends

    def __len__(self):
        return self.boundaries[-1]

    def rows(self, start, stop):
        return []


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 40), st.none() | st.integers(1, 200))
def test_a_plan_holds_every_row_once_and_ends_with_the_shards(sizes, size, limit):
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    blocks = make_plan(Numbers(ends), size, limit)
    total = min(ends[-1], limit or ends[-1])
    assert [position for block in blocks for position in range(block.start, block.stop)] == list(range(total))
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert all(1 <= len(block) <= size for block in blocks)
    assert {end for end in ends if end <= total} <= {block.stop for block in blocks}
    with pytest.raises(DatasetError, match="--block"):
        make_plan(Numbers(ends), 0)
