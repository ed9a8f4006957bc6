"""What a run writes: whole blocks or none, whenever it is stopped; readable with Zarr and pandas, too."""

import dataclasses
import os
import shutil
import threading

import batch_sets as sets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crossviz.batch import files, store
from crossviz.batch.ahead import Bad
from crossviz.batch.block import BlockResult
from crossviz.batch.half import FLOOR, TOLERANCE, from_half, to_half
from crossviz.batch.plan import Block
from crossviz.errors import DatasetError

ABOUT = {"schema_version": 1, "kind": "crossviz batch", "settings": {"heads": True, "block": 4}, "source": {"rows": 12}}
LASTING = ("schema_version", "settings", "source")
OF_MAPS = {"unit": "probability", "layers": ["one"]}


class Stop(BaseException):
    """The end of the process."""


def result(number: int) -> BlockResult:
    """A block with rows of two grids, or with none but bad ones."""
    rng = np.random.default_rng(number)
    block = Block(number, 4 * number, 4 * number + 4)
    if number == 1:
        return BlockResult(block, bad=[Bad(p, f"row {p}", "x.png", "It is damaged.") for p in range(4, 8)])
    rows = [
        {"key": f"row {position}", "position": position, "caption": "a dog", "grid": grid, "first": first,
         "maps": f"{grid}/{number:06d}", "scale": 1.0, "heads_scale": 1.0}
        for position, grid, first in ((4 * number, "2x3", 0), (4 * number + 1, "2x3", 90), (4 * number + 2, "4x4", 0))
    ]  # fmt: skip
    maps = {"2x3": rng.random((180, 2, 3)).astype("f2"), "4x4": rng.random((64, 4, 4)).astype("f2")}
    heads = {grid: rng.random((len(values), 2, 3, *values.shape[1:])).astype("f2") for grid, values in maps.items()}
    bad = [Bad(4 * number + 3, f"row {4 * number + 3}", "y.png", "It is damaged.")]
    return BlockResult(block, rows, bad, maps, heads, OF_MAPS)


def small(number: int) -> BlockResult:
    """The same with one array, for what is done many times."""
    made = result(number)
    maps = {grid: values for grid, values in made.maps.items() if grid == "2x3"}
    return dataclasses.replace(made, rows=made.rows[:2], maps=maps, heads={})


def work(out, make=result, blocks=(0, 1, 2)):
    """A run: begin or go on, and do what is missing."""
    out.mkdir(exist_ok=True)
    store.open_out(out, ABOUT, LASTING)
    for number in blocks:
        if number not in store.done_blocks(out):
            store.add_block(out, make(number))
    store.sweep(out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    work(out)
    return out


def test_zarr_and_pandas_read_what_was_written(whole):
    group = zarr.open_group(whole / "maps.zarr", mode="r")
    assert {f"{grid}/{name}" for grid, inner in group.groups() for name, _ in inner.arrays()} == {
        "2x3/000000", "2x3/000002", "4x4/000000", "4x4/000002",
    }  # fmt: skip
    for number in (0, 2):
        for grid, values in result(number).maps.items():
            array = group[f"{grid}/{number:06d}"]
            assert array.dtype == np.float16 and array.metadata.zarr_format == 3
            assert array.chunks == (64, *values.shape[1:]) and array.metadata.dimension_names == ("word", "gh", "gw")
            assert np.array_equal(array[:], values)
            heads = zarr.open_group(whole / "heads.zarr", mode="r")[f"{grid}/{number:06d}"]
            assert np.array_equal(heads[:], result(number).heads[grid])
    table = pd.read_parquet(whole / "rows")
    assert list(table["position"]) == [0, 1, 2, 8, 9, 10]
    assert list(pd.read_parquet(whole / "bad")["key"]) == ["row 3", "row 4", "row 5", "row 6", "row 7", "row 11"]


def stopped_at(monkeypatch, step):
    """Let the process end at the n-th thing that it does to the disk, before it or after it."""
    done = iter(range(10_000))
    when, after = divmod(step, 2)
    with monkeypatch.context() as patch:
        for name in ("replace", "rename", "unlink", "rmdir", "mkdir"):
            real = getattr(os, name)

            def stopping(*args, real=real, **kwargs):
                main = threading.current_thread() is threading.main_thread()  # in others Zarr writes, into .tmp
                if main and next(done) == when:
                    if after:
                        real(*args, **kwargs)
                    raise Stop
                return real(*args, **kwargs)

            patch.setattr(os, name, stopping)
        yield


def test_a_stop_at_any_step_leaves_whole_blocks_and_the_next_run_does_the_rest(tmp_path, monkeypatch):
    """The folder is looked at after every step at which a run can end, and the run that follows makes it whole."""
    whole = tmp_path / "whole"
    work(whole, small, (1, 2))
    steps, stopped = 0, True
    while stopped:
        out = tmp_path / str(steps)
        try:
            stopped = False
            for _ in stopped_at(monkeypatch, steps):
                work(out, small, (1, 2))
        except Stop:
            stopped = True
            for file in (out / "rows").glob("*.parquet"):
                assert pq.read_table(file).equals(pq.read_table(whole / "rows" / file.name))
                for part in (f"bad/{file.name}", f"maps.zarr/2x3/{file.name[5:11]}/c/0/0/0"):
                    assert (out / part).exists() == (whole / part).exists()
            work(out, small, (1, 2))
        sets.assert_same(out, whole)
        shutil.rmtree(out)
        steps += 1
    assert steps > 30


def test_a_block_that_two_make_at_once_is_there_once(whole, tmp_path, monkeypatch):
    """A worker that was given up goes on while its follower does the block: at every step of one, the other's whole."""
    places = iter(range(100))

    def between(*args, real=files.os.replace):
        if next(places) % 2 == 0:
            with monkeypatch.context() as alone:
                alone.setattr(files.os, "replace", real)
                store.add_block(out, result(0))
        real(*args)

    out = tmp_path / "out"
    out.mkdir()
    store.open_out(out, ABOUT, LASTING)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", between)
        store.add_block(out, result(0))
    work(out)
    sets.assert_same(out, whole)


def test_maps_that_are_gone_are_made_again(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "maps.zarr" / "2x3" / "000002")
    shutil.rmtree(tmp_path / "out" / "maps.zarr" / "4x4" / "000002")
    assert store.done_blocks(tmp_path / "out") == {0, 1}
    work(tmp_path / "out")
    sets.assert_same(tmp_path / "out", whole)


def test_blocks_with_bad_rows_can_be_done_again(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    assert store.forget_bad(out) == 3 and store.done_blocks(out) == set()
    good = BlockResult(
        Block(1, 4, 8), [dict(result(0).rows[0], maps="2x3/000001")], [], {"2x3": np.ones((1, 2, 3), "f2")}
    )
    store.add_block(out, good)
    assert not (out / "bad" / "part-000001.parquet").exists()
    work(out)
    assert len(pd.read_parquet(out / "rows")) == 7 and len(pd.read_parquet(out / "bad")) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": {"rows": 13}}, r"another source, rows \(12, now 13\)"),
        ({"settings": {"heads": True, "block": 8}}, r"another settings, block \(4, now 8\)"),
        ({"schema_version": 2}, "another schema_version"),
    ],
)
def test_another_run_is_refused(whole, change, said):
    with pytest.raises(DatasetError, match=said):
        store.open_out(whole, ABOUT | change, LASTING)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="other files"):
        store.open_out(tmp_path, ABOUT, LASTING)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


def test_one_run_writes_at_a_time(tmp_path):
    lock = tmp_path / ".lock"
    with files.locked(lock), pytest.raises(DatasetError, match="Another run"), files.locked(lock):
        pass
    with files.locked(lock):
        pass


floats = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@given(hnp.arrays(np.float32, st.tuples(st.integers(0, 3), st.just(2), st.just(2)), elements=floats))
def test_halves_keep_values_of_any_size(values):
    half, scale = to_half(values)
    back = from_half(half, scale)
    assert half.dtype == np.float16 and np.isfinite(half).all() and np.log2(scale) == int(np.log2(scale))
    allowed = np.maximum(np.abs(values) * TOLERANCE, scale * FLOOR * TOLERANCE)
    assert (np.abs(back - values) <= allowed).all()
    largest = np.abs(values).max(initial=0)
    assert scale == 1 if largest == 0 or 0.001 < largest < 30_000 else scale / 2 <= largest <= scale
