"""What a model costs, measured in a real new process."""

import pytest

from crossviz.errors import ModelUnavailableError
from crossviz.evaluate.probes import cost
from crossviz.evaluate.probes.cost import probe_cost, size_on_disk
from crossviz.explainer import Explainer
from crossviz.paths import assets_dir


def test_a_fresh_process_is_measured(monkeypatch):
    monkeypatch.setattr(cost, "PROCESSES", 1)
    monkeypatch.setattr(cost, "RUNS", 3)
    report = probe_cost(Explainer("crossviz-mini", "cpu"))
    value = {figure.name: figure.value for figure in report.figures}
    assert value["import of crossviz with torch"] > 0.1, "torch takes its time: it was not there before"
    assert value["load of the model, its libraries there already"] < value["load of the model, with its libraries"]
    photo, caption = value["an explanation, warm, from the photo's file"], value["another caption on the same photo"]
    assert 0 < caption < photo < 60_000
    assert value["most memory the process ever held"] > value["size on disk"]
    assert "crossviz-mini on cpu" in report.sentence


def test_the_size_is_that_of_all_its_files():
    folder = assets_dir() / "models" / "crossviz-mini"
    assert size_on_disk("crossviz-mini") == pytest.approx(sum(p.stat().st_size for p in folder.iterdir()) / 1e6)


def test_a_model_that_cannot_be_loaded_there_is_one_sentence(tmp_path):
    with pytest.raises(ModelUnavailableError, match=r"A new process could not run crossviz-mini:.*crossviz doctor"):
        cost._fresh(f"crossviz-mini:{tmp_path}", "cpu")
