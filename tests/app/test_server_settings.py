"""What a server is set to: by its environment, and by the cores that it has."""

import os

import pytest
import torch
from watched import free_port

from crossviz.errors import CrossvizError
from crossviz.web.app import serve
from crossviz.web.cores import cores, limit_threads
from crossviz.web.server_settings import ServerSettings


def test_settings_come_from_the_environment():
    assert ServerSettings.of({}) == ServerSettings()
    given = {"CROSSVIZ_CACHE_MB": "0", "CROSSVIZ_BATCH": " 4 ", "CROSSVIZ_QUEUE": "", "CROSSVIZ_OTHER": "x"}
    assert ServerSettings.of(given) == ServerSettings(cache_mb=0, batch=4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("CACHE_MB", "-1"), ("CACHE_MB", "many"), ("BATCH", "0"), ("AT_ONCE", "41"), ("QUEUE", "1.5"), ("QUEUE", "٣")],
)
def test_a_setting_that_will_not_do_is_said_in_a_sentence(name, value):
    with pytest.raises(CrossvizError, match=f"CROSSVIZ_{name} is a whole number from [0-9]+ to [0-9]+, not '{value}'"):
        ServerSettings.of({f"CROSSVIZ_{name}": value})


def test_how_many_photos_go_together():
    assert ServerSettings(batch=3).together("cuda:0", 2) == 3
    assert [ServerSettings().together("cpu", threads) for threads in (1, 2, 64)] == [1, 2, 8]
    assert ServerSettings().together("cuda:0", 2) == 16


def test_how_many_questions_are_worked_on_at_once():
    assert [ServerSettings().places(cores) for cores in (1, 2, 4, 64)] == [4, 4, 8, 16]
    assert ServerSettings(at_once=3).places(64) == 3


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "9900000 100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cores_are_those_that_a_container_is_given(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert cores(tmp_path) == (mine if expected is None else expected)


def test_pytorch_gets_no_more_threads_than_there_are_cores(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr("crossviz.web.cores.cores", lambda: 1)
    try:
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        limit_threads()
        assert torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        limit_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_server_that_is_set_wrongly_does_not_start(monkeypatch):
    monkeypatch.setenv("CROSSVIZ_CACHE_MB", "plenty")
    with pytest.raises(CrossvizError, match="CROSSVIZ_CACHE_MB is a whole number from 0 to 1048576, not 'plenty'"):
        serve(port=free_port())
