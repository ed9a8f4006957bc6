"""`crossviz generate`, with the planted generator of which everything is known."""

import pytest
from planted_generator import CAPTION, PlantedGenerator, planted

import crossviz
from crossviz import generator
from crossviz.cli import main
from crossviz.errors import ModelUnavailableError
from crossviz.generation import Generation
from crossviz.models.generators import Settings


class Planted:
    name = "planted"

    def infos(self):
        return [PlantedGenerator().info]

    def identity(self, name):
        return name, ""

    def load(self, name, device):
        return PlantedGenerator()


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(generator._registry, "by_name", dict(generator._registry.by_name))
    generator.register_generator(Planted())


def run(capsys, *args):
    status = main(["generate", *args, "--model", "planted"])
    return status, capsys.readouterr()


def test_it_prints_what_each_word_got_and_what_the_checker_found(capsys):
    status, said = run(capsys, CAPTION)
    assert status == 0
    lines = said.out.splitlines()
    chart = planted().asks_text.select((1,))
    assert lines[2].split() == ["red", f"{float(chart.mean()):.1%}", f"{float(chart.max()):.0%}"]
    assert "As asked." in said.out and "seed 0" in said.out and "Nothing was written" in said.out


def test_faults_are_told(capsys):
    assert "The second thing is too small." in run(capsys, CAPTION, "--seed", "1")[1].out


@pytest.mark.parametrize("suffix", [".png", ".gif", ".html", ".npz", ".json"])
def test_it_writes_what_the_api_gives(capsys, tmp_path, suffix):
    path = tmp_path / f"drawn{suffix}"
    status, said = run(capsys, CAPTION, "--seed", "2", "--guidance", "4", "-o", str(path))
    assert status == 0 and str(path) in said.out
    kept = crossviz.load(path)
    assert isinstance(kept, Generation)
    assert kept == planted(seed=2, guidance=4.0)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["a giraffe"], "does not know “giraffe”"),
        ([CAPTION, "--size", "512"], "WIDTHxHEIGHT"),
        ([CAPTION, "-o", "/no/folder/drawn.png"], "There is no folder"),
        ([CAPTION, "-o", "drawn.bmp"], ".bmp"),
    ],
)
def test_bad_input_ends_with_one_sentence(capsys, args, says):
    status, said = run(capsys, *args)
    assert status == 2 and said.err.startswith("crossviz: ") and says in said.err
    assert said.err.count("\n") == 1 and "Traceback" not in said.err


def test_a_file_that_cannot_be_written_is_refused_before_a_model_is_loaded(capsys, monkeypatch):
    monkeypatch.setattr(Planted, "load", lambda *_: pytest.fail("the model was loaded"))
    status, said = run(capsys, CAPTION, "-o", "drawn.png", "-o", "drawn.bmp")
    assert status == 2 and ".bmp" in said.err


def test_files_may_stand_before_the_caption(capsys, tmp_path):
    paths = [tmp_path / "drawn.npz", tmp_path / "drawn.JSON"]
    status, said = run(capsys, "-o", str(paths[0]), "-o", str(paths[1]), CAPTION)
    assert status == 0 and all(str(path) in said.out for path in paths)
    assert crossviz.load(paths[0]) == planted()
    assert paths[1].exists()


@pytest.mark.parametrize("given", [[], ["half"]], ids=["nothing", "no picture"])
def test_a_drawing_without_a_picture_is_said(capsys, monkeypatch, given):
    steps = [next(PlantedGenerator().draw(CAPTION, Settings())) for _ in given]
    monkeypatch.setattr(PlantedGenerator, "draw", lambda *_: iter(steps))
    status, said = run(capsys, CAPTION)
    assert status == 2 and "ended without a picture" in said.err
    with pytest.raises(ModelUnavailableError, match="ended without a picture"):
        crossviz.generate(CAPTION, "planted")


def test_an_unknown_generator_is_named(capsys):
    assert main(["generate", CAPTION, "--model", "plantd"]) == 2
    assert "planted" in capsys.readouterr().err


def test_generators_are_listed(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "Generators:" in out and "planted" in out and "dalle-mini-scenes" in out
