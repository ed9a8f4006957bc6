"""The command `crossviz batch` on a small model: it finds what the explainer finds, whatever happens on the way."""

import errno
import multiprocessing
import os
import random
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import batch_child
import batch_sets as sets
import numpy as np
import pandas as pd
import pytest
import small_models
import torch
import zarr

import crossviz
from crossviz.batch import ahead
from crossviz.batch.half import FLOOR, TOLERANCE
from crossviz.batch.rows import Row
from crossviz.cli import main
from crossviz.errors import PhotoError

COUNT = 22


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small CLIP, by the name that the command takes."""
    return f"open_clip:{small_models.clip_folder(tmp_path_factory.mktemp('model') / 'clip')}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of photos with captions, two of which are no good."""
    folder = sets.write_folder(tmp_path_factory.mktemp("photos") / "set", COUNT)
    (folder / "photo005.png").write_bytes(b"no photo")
    (folder / "photo011.txt").write_text("?!")
    return folder


def command(source, out, model, *more):
    return ["batch", str(source), "-o", str(out), "-m", model, "--block", "4", "--batch-size", "3", *map(str, more)]


@pytest.fixture(scope="module")
def whole(photos, model, tmp_path_factory):
    """What one run without a stop writes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(command(photos, out, model, "--heads")) == 0
    return out


@pytest.fixture(scope="module")
def explainer(model):
    return crossviz.Explainer(model)


def close(values, expected):
    """Within half precision, and the rounding of a batch."""
    scale = max(1.0, 2 * np.abs(expected).max())
    allowed = np.abs(expected) * TOLERANCE + scale * FLOOR * TOLERANCE + 2e-6 * np.abs(expected).max()
    return values.shape == expected.shape and (np.abs(values - expected) <= allowed).all()


def test_every_row_is_what_the_explainer_gives(whole, photos, explainer):
    results = crossviz.load(whole)
    assert len(results) == COUNT - 2 and len(set(results.keys())) == COUNT - 2
    for row in results:
        found = explainer.explain(photos / row.photo, (photos / row.photo).with_suffix(".txt").read_text())
        assert row.caption == found.caption and row.view == found.view
        assert (row.photo_sha256, row.trained) == (found.photo.sha256, found.provenance.trained)
        assert (row.grid.height, row.grid.width) == (found.grid.height, found.grid.width)
        assert abs(row.similarity - found.similarity) < 1e-6
        assert close(row.values, found.map.values.numpy())
        assert close(row.per_head, found.map.per_head.numpy())
        assert row.about.layers == found.map.layers and row.unit == found.unit
    red = results["photo000.png"]
    found = explainer.explain(photos / "photo000.png", "a red ball")
    assert close(red.patch_map("red ball"), found.patch_map("red ball"))
    assert close(red.heatmap(word=1), found.heatmap(word=1)) and close(
        red.heatmap(span=(2, 5), smooth=False), found.heatmap(span=(2, 5), smooth=False)
    )
    with pytest.raises(crossviz.MethodError, match="null key"):
        red.null_mass("ball")
    with pytest.raises(crossviz.SelectionError, match="0 'a', 1 'red', 2 'ball'"):
        red.patch_map("cat")
    with pytest.raises(crossviz.AmbiguousTextError):
        results["photo001.png"].heatmap("a dog")


def test_zarr_and_pandas_read_the_same(whole):
    table, group = pd.read_parquet(whole / "rows"), zarr.open_group(whole / "maps.zarr", mode="r")
    results = crossviz.load(whole)
    nested = ["words", "tokens", "crop_xyxy"]
    own = results.to_pandas()
    assert table.drop(columns=nested).equals(own.drop(columns=nested))
    assert list(results.to_pandas(["key"]).columns) == ["key"] and len(own["words"][0]) == len(results[0].words)
    for (_, line), row in zip(table.iterrows(), results, strict=True):
        array = group[line["maps"]]
        maps = array[line["first"] : line["first"] + len(line["words"])].astype(np.float32) * line["scale"]
        assert np.array_equal(maps, row.values)
        for word, at in zip(row.words, line["words"], strict=True):
            assert line["caption"][at["start"] : at["end"]] == word.text == at["text"]
            peak = row.values[word.index, int(at["peak_row"]), int(at["peak_col"])]
            assert peak == row.values[word.index].max() and abs(peak - at["peak"]) <= abs(at["peak"]) * 2 * TOLERANCE


def test_bad_rows_are_set_aside_and_named(whole):
    results = crossviz.load(whole)
    assert [(row["key"], row["position"]) for row in results.bad] == [("photo005.png", 5), ("photo011.png", 11)]
    report = (whole / "report.md").read_text()
    assert "20 rows explained, 2 set aside." in report and "photo005.png" in report and "no word" in report
    with pytest.raises(crossviz.SelectionError, match=r"set aside.*no word"):
        results["photo011.png"]
    for wrong in (20, -21, "none", 1.5):
        with pytest.raises(crossviz.SelectionError):
            results[wrong]
    assert results[-1].key == results[19].key == "photo021.png"


def test_a_run_that_is_done_does_nothing_again(whole, photos, model, capsys):
    before = {file: file.stat().st_mtime_ns for file in whole.rglob("*.parquet")}
    assert main(command(photos, whole, model, "--heads")) == 0
    assert "20 rows explained, 2 set aside (report.md); 0 rows done now" in capsys.readouterr().out
    assert before == {file: file.stat().st_mtime_ns for file in whole.rglob("*.parquet")}


def test_an_interrupted_run_goes_on(whole, photos, model, tmp_path, monkeypatch, capsys):
    calls = iter(range(100))
    real = crossviz.Explainer.explain_many

    def interrupted(self, *args):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(crossviz.Explainer, "explain_many", interrupted)
        assert main(command(photos, tmp_path / "out", model, "--heads")) == 130
    assert "the same command goes on" in capsys.readouterr().err
    part = crossviz.load(tmp_path / "out")
    assert 0 < len(part) < 20 and part.keys() == crossviz.load(whole).keys()[: len(part)]
    assert main(command(photos, tmp_path / "out", model, "--heads")) == 0
    sets.assert_same(tmp_path / "out", whole)


def test_a_run_that_is_killed_again_and_again_loses_and_doubles_nothing(whole, photos, model, tmp_path, monkeypatch):
    """SIGKILL at random moments until a run comes through; each run is a process of its own, forked before any work."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["batch_child"])
    rng, out, killed, parts = random.Random(0), tmp_path / "out", 0, set()

    def there():
        return {file.name for file in (out / "rows").glob("*.parquet")}

    for attempt in range(COUNT):
        child = context.Process(target=batch_child.run, args=(command(photos, out, model, "--heads", "--workers", 2),))
        child.start()
        while attempt < 4 and child.is_alive() and there() == parts:
            time.sleep(0.002)  # it gets somewhere before it is killed
        child.join(rng.uniform(0, 0.1) if attempt < 4 else None)
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            killed += 1
        child.join()
        assert parts <= there()
        parts = there()
        if child.exitcode == 0:
            break
    assert child.exitcode == 0 and killed >= 2
    sets.assert_same(out, whole)


def test_bad_rows_are_tried_again_when_asked(photos, model, tmp_path, capsys):
    folder = sets.write_folder(tmp_path / "set", 6)
    lines = ["photo,caption", *(f"photo{n:03d}.png,a dog" for n in range(6))]
    (folder / "captions.csv").write_text("\n".join(lines))
    (folder / "photo001.png").unlink()
    arguments = command(folder, tmp_path / "out", model)
    assert main(arguments) == 0 and "5 rows explained, 1 set aside" in capsys.readouterr().out
    (folder / "photo001.png").write_bytes(sets.photo_bytes(1))
    assert main(arguments) == 0 and "5 rows explained, 1 set aside" in capsys.readouterr().out
    assert main([*arguments, "--retry-bad"]) == 0
    assert "6 rows explained; 4 rows done now" in capsys.readouterr().out
    assert [row.position for row in crossviz.load(tmp_path / "out")] == list(range(6))


def test_one_row_that_a_model_refuses_spoils_no_batch(photos, model, tmp_path, monkeypatch, capsys):
    real = crossviz.Explainer.explain_many

    def refusing(self, images, captions, *more):
        if any("second line" in caption for caption in captions):
            raise crossviz.CaptionError("It is too long.")
        return real(self, images, captions, *more)

    monkeypatch.setattr(crossviz.Explainer, "explain_many", refusing)
    assert main(command(photos, tmp_path / "out", model, "--limit", 10)) == 0
    results = crossviz.load(tmp_path / "out")
    assert {row["key"]: row["reason"] for row in results.bad if "long" in row["reason"]} == {
        f"photo{n:03d}.png": "It is too long." for n in (3, 8)
    }
    assert [row.position for row in results] == [0, 1, 2, 4, 6, 7, 9]


def test_what_no_decoder_should_raise_is_a_bad_row_too(photos, model, tmp_path, monkeypatch):
    real = crossviz.batch.ahead.load_photo

    def odd(source):
        if source.name == "photo002.png":
            raise TypeError("an odd\nphoto")
        return real(source)

    monkeypatch.setattr("crossviz.batch.ahead.load_photo", odd)
    assert main(command(photos, tmp_path / "out", model, "--limit", 4)) == 0
    (bad,) = crossviz.load(tmp_path / "out").bad
    assert (bad["key"], bad["reason"]) == ("photo002.png", "It can't be read (TypeError: an odd photo).")


def test_what_the_machine_lacks_is_one_sentence_and_the_run_goes_on_later(photos, model, tmp_path, monkeypatch, capsys):
    arguments = command(photos, tmp_path / "out", model, "--limit", 8)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("crossviz.batch.store.place", full)
        assert re.search(r"No space left.*the same command goes on", refused(capsys, arguments))
    assert not list((tmp_path / "out" / "rows").iterdir())

    def too_many(self, photos):
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(crossviz.Explainer, "encode_many", too_many)
        assert re.search(r"3 photos at once.*--batch-size", refused(capsys, arguments))
    assert main(arguments) == 0 and len(crossviz.load(tmp_path / "out")) == 7


def test_one_caption_for_all_is_read_once_a_batch(photos, model, explainer, tmp_path, monkeypatch):
    read, own = [], type(explainer._model)
    real = own.encode_texts
    monkeypatch.setattr(own, "encode_texts", lambda self, texts: read.append(len(texts)) or real(self, texts))
    assert main(command(photos, tmp_path / "out", model, "--limit", 5, "--caption", "a red ball")) == 0
    assert read == [1, 1, 1]
    row, found = crossviz.load(tmp_path / "out")[3], explainer.explain(photos / "photo003.png", "a red ball")
    assert row.caption == found.caption and close(row.values, found.map.values.numpy())


def test_large_photos_wait_for_their_turn(photos, model, whole, tmp_path, monkeypatch):
    """With room for two photos only: the same rows, in the same order."""
    monkeypatch.setattr("crossviz.batch.ahead.MOST_BYTES", 2 * 24 * 40 * 3)
    monkeypatch.setattr("crossviz.batch.block.MOST_BYTES", 2 * 24 * 40 * 3)
    assert main(command(photos, tmp_path / "out", model, "--heads")) == 0
    found, expected = crossviz.load(tmp_path / "out"), crossviz.load(whole)
    assert found.keys() == expected.keys()
    assert all(close(a.values, b.values) for a, b in zip(found, expected, strict=True))


def test_no_more_is_read_ahead_than_there_is_room_for(monkeypatch):
    read = []

    def made(_, position, row):
        read.append(position)
        return SimpleNamespace(nbytes=100)

    monkeypatch.setattr(ahead, "_made_ready", made)
    monkeypatch.setattr(ahead, "MOST_BYTES", 300)
    with ThreadPoolExecutor(4) as pool:
        ready = ahead.ready_ahead(pool, None, enumerate([None] * 50), 40)
        for taken in range(50):
            next(ready)
            assert len(read) - (taken + 1) <= (8 if taken < 10 else 3)
        assert next(ready, None) is None and sorted(read) == list(range(50))


def test_a_reason_can_be_written_whatever_the_name():
    from crossviz.batch.tables import bad_table

    row = Row("k", "p", lambda: "", lambda: "")
    table = bad_table([ahead.bad(0, row, PhotoError("There is no caption in \udcff.txt."))])
    assert "udcff" in table.to_pylist()[0]["reason"]


def refused(capsys, arguments):
    """What the command says where it ends with status 2."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("crossviz: ")]
    return line


def test_another_run_in_the_same_folder_is_refused(whole, photos, model, tmp_path, capsys):
    for more, said in (
        ([], "another settings, heads"),
        (["--heads", "--limit", "3"], "limit"),
        (["--heads", "--caption", "a dog"], "another source"),
        (["--heads", "--method", "legrad"], "another method"),
    ):
        assert said in refused(capsys, command(photos, whole, model, *more))
    other = sets.write_folder(tmp_path / "set", 3)
    assert "another source" in refused(capsys, command(other, whole, model, "--heads"))
    assert "another model" in refused(capsys, command(photos, whole, "crossviz-mini", "--heads"))


REFUSED = {
    "no source": (["/no/such/folder"], "There is no /no/such/folder"),
    "no rows a block": (["PHOTOS", "--block", "0"], "--block"),
    "no photos a batch": (["PHOTOS", "--batch-size", "0"], "--batch-size"),
    "workers without Ray": (["PHOTOS", "--ray-workers", "2"], "--ray"),
    "no such method": (["PHOTOS", "--method", "none"], "none"),
    "a method that the model lacks": (["PHOTOS", "--method", "written_attention"], "it writes not"),
    "heads that the method has not": (["PHOTOS", "--heads", "--method", "occlusion", "--limit", "1"], "--heads"),
    "nothing good": (["PHOTOS", "--limit", "1", "--caption-column", "x", "--photo-column", "y"], "report.md"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_ends_with_one_sentence(case, photos, model, tmp_path, capsys):
    (source, *more), said = REFUSED[case]
    if case == "nothing good":
        photos = sets.write_jsonl(tmp_path / "lines", 1)
    assert said in refused(capsys, command(source.replace("PHOTOS", str(photos)), tmp_path / "out", model, *more))


def test_without_its_packages_the_command_says_what_to_install(photos, model, whole, tmp_path, monkeypatch, capsys):
    real = crossviz.batch.extras.importlib.util.find_spec
    monkeypatch.setattr(
        "crossviz.batch.extras.importlib.util.find_spec",
        lambda name, *more: None if name in ("zarr", "pyarrow", "ray", "datasets") else real(name, *more),
    )
    said = refused(capsys, command(photos, tmp_path / "out", model))
    assert re.search(r"pyarrow and zarr.*pip install crossviz\[batch\]", said)
    with pytest.raises(crossviz.BundleError, match=r"crossviz\[batch\]"):
        crossviz.load(whole)
