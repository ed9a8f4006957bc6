"""The same run on Ray: a local cluster of two workers, one of them killed in mid-run."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import batch_sets as sets
import numpy as np
import pytest
import small_models

from crossviz.batch.on_ray import MOST_TRIES, Worker
from crossviz.batch.settings import Settings
from crossviz.batch.sources import open_source
from crossviz.cli import main

ray = pytest.importorskip("ray")
COUNT = 48


def workers() -> set[int]:
    """The processes in which this test's models are: children of a child of this process, by what Ray calls them."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int(re.search(r"\) \S (\d+)", (folder / "stat").read_text())[1])
            grandparent = int(re.search(r"\) \S (\d+)", Path(f"/proc/{parent}/stat").read_text())[1])
        except (OSError, TypeError):
            continue
        if "MapBatches(Worker)" in title and os.getpid() in (parent, grandparent):
            found.add(int(folder.name))
    return found


def test_what_a_worker_meets_comes_back_as_a_sentence(tmp_path):
    """As data, since Ray wraps what is raised; and a block that ends its worker each time is given up."""
    model = f"open_clip:{small_models.clip_folder(tmp_path / 'clip')}"
    source = open_source(str(sets.write_folder(tmp_path / "photos", 4)))
    out = tmp_path / "out"
    for name in (".tmp", "rows", "bad"):
        (out / name).mkdir(parents=True)
    blocks = {"number": np.array([0, 1]), "start": np.array([0, 2]), "stop": np.array([2, 4])}
    worker = Worker(source, out, model, "cpu", Settings(method="occlusion", heads=True))
    found = worker(blocks)
    assert (
        found["rows"] == [2, 2] and found["error"] == ["MethodError", "MethodError"] and "--heads" in found["said"][0]
    )
    assert Worker(source, out, "none", "cpu", Settings())(blocks)["error"] == ["UnknownModelError"] * 2
    (out / ".tmp" / "tries-000001").write_bytes(b"." * MOST_TRIES)
    found = Worker(source, out, model, "cpu", Settings(method="cross_attention"))(blocks)
    assert found["error"] == ["", "DatasetError"] and "Rows 2 to 3" in found["said"][1]
    assert [file.name for file in (out / "rows").iterdir()] == ["part-000000.parquet"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="workers are found by what Linux says of processes")
def test_a_worker_that_is_killed_loses_and_doubles_nothing(tmp_path, capsys):
    model = f"open_clip:{small_models.clip_folder(tmp_path / 'clip')}"
    photos = sets.write_folder(tmp_path / "photos", COUNT)
    (photos / "photo007.png").write_bytes(b"no photo")
    arguments = ["batch", str(photos), "-m", model, "--block", "2", "--workers", "1", "-o"]
    assert main([*arguments, str(tmp_path / "here")]) == 0
    out, killed = tmp_path / "there", []

    def kill():
        while not killed and not (out / "report.md").exists():
            time.sleep(0.02)
            if (out / "rows").is_dir() and len(list((out / "rows").iterdir())) >= 3:
                there = workers()
                if len(there) >= 2:
                    os.kill(min(there), signal.SIGKILL)
                    killed.append(min(there))

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert main([*arguments, str(out), "--ray", "--ray-workers", "2"]) == 0
    finally:
        killed.append(None)
        killer.join()
    assert killed[0] is not None, "the run was over before a worker could be killed"
    assert not ray.is_initialized() and not workers()
    assert "47 rows explained, 1 set aside (report.md); 48 rows done now." in capsys.readouterr().out
    sets.assert_same(out, tmp_path / "here")
