"""Comparing methods: each is measured as it would be alone, differences are paired, and all of it is written down."""

import csv
import io
import json

import numpy as np
import photo_sets as sets
import pytest
import small_models
from planted import Planted

import crossviz
from crossviz.cli import main
from crossviz.errors import DatasetError
from crossviz.evaluate import compare, evaluate
from crossviz.evaluate.baselines import CAPTION, CENTRE, GAUSSIAN, UNIFORM
from crossviz.evaluate.dataset import Dataset, Item, Question
from crossviz.evaluate.report import MODEL

CORNER = (0.0, 0.0, 24.0, 24.0)


@pytest.fixture(scope="module")
def explainer(tmp_path_factory):
    """A small model of square photos: the maps that are compared are known beforehand, whatever reads the photo."""
    vision = {**small_models.VISION, "image_size": 64}
    folder = small_models.clip_folder(tmp_path_factory.mktemp("clip"), vision=vision)
    return crossviz.Explainer(f"open_clip:{folder}", device="cpu")


@pytest.fixture
def dataset(tmp_path):
    """Eight square photos with a cat in the upper left quarter, and a bird in none."""
    items = []
    for number in range(8):
        sets.make_photo(tmp_path / f"{number}.png", (48, 48))
        cat = Question("a cat sleeps", (2, 5), "phrases in captions", True, (), (CORNER,))
        bird = Question("bird", (0, 4), "phrases in captions", False)
        items.append(Item(tmp_path / f"{number}.png", (cat, bird)))
    return Dataset("corners", items, "test", "all")


RIGHT = Planted({"cat": (0, 0, 0.5, 0.5)}, name="right")
WRONG = Planted({"cat": (0.5, 0.5, 1, 1)}, name="wrong")


class Alternating:
    """Right on the photos of even number, wrong on the others."""

    needs_grad, info = False, Planted({}, name="alternating").info

    def __call__(self, trace, layers=None):
        even = int(trace.image.photo.name.partition(".")[0]) % 2 == 0
        return Planted((RIGHT if even else WRONG).where, name="alternating")(trace, layers)


def test_a_method_gets_the_figures_that_it_gets_alone(explainer, dataset):
    found = compare(explainer, dataset, [RIGHT, WRONG], seed=2)
    assert found.methods == ["right", "wrong"]
    for method, report in zip((RIGHT, WRONG), found.reports, strict=True):
        alone = evaluate(explainer, dataset, method, seed=2)
        assert report.groups == alone.groups
    assert [r.group("phrases in captions").source(MODEL).figures["pointing"].value for r in found.reports] == [1, 0]


def test_differences_are_taken_phrase_by_phrase(explainer, dataset):
    found = compare(explainer, dataset, [Alternating(), RIGHT, WRONG, Planted(RIGHT.where, name="too")])
    group = "phrases in captions"
    assert (group, "alternating") not in found.differences
    right, wrong = (found.differences[group, name]["pointing"] for name in ("right", "wrong"))
    assert (right.value, wrong.value) == (0.5, -0.5)
    # Of eight photos half are gained: more than none of them in almost every draw, and never more than all.
    assert 0 < right.low < 0.5 < right.high < 1 and right.low == pytest.approx(-wrong.high)
    assert found.differences[group, "too"] == found.differences[group, "right"]
    # Two methods whose own intervals overlap can differ without doubt: pairs are drawn together.
    again = compare(explainer, dataset, [RIGHT, Planted(RIGHT.where, name="same")])
    same = again.differences[group, "same"]
    assert all((f.value, f.low, f.high) == (0, 0, 0) for f in same.values())


def test_each_photo_is_encoded_once(explainer, dataset, monkeypatch):
    calls = []
    encode = crossviz.Explainer.encode
    monkeypatch.setattr(crossviz.Explainer, "encode", lambda self, photo: calls.append(1) or encode(self, photo))
    compare(explainer, dataset, [RIGHT, WRONG, Alternating()])
    assert len(calls) == len(dataset.items)


def test_the_table_has_the_best_method_first_and_the_baselines_last(explainer, dataset):
    text = compare(explainer, dataset, [WRONG, Alternating(), RIGHT]).markdown()
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:]
    assert rows == ["`right`", "`alternating`", "`wrong`", GAUSSIAN, UNIFORM, CENTRE]
    assert CAPTION not in text and "with wrong on the same phrases" in text
    right = next(line for line in text.splitlines() if line.startswith("| `right`"))
    assert "100.0 (100.0 to 100.0)" in right


def test_what_is_written_is_what_was_found(explainer, dataset, tmp_path):
    found = compare(explainer, dataset, [Alternating(), RIGHT])
    paths = {path.suffix: path for path in found.save(tmp_path)}
    assert {path.name for path in paths.values()} == {
        f"corners-methods{s}" for s in (".md", ".csv", ".json", ".png", ".svg")
    }
    rows = list(csv.DictReader(io.StringIO(paths[".csv"].read_text())))
    (row,) = (r for r in rows if r["method"] == "right" and r["figure"] == "pointing minus alternating")
    assert float(row["value"]) == 0.5 and float(row["low"]) < 0.5 < float(row["high"])
    values = {r["method"]: float(r["value"]) for r in rows if r["source"] == MODEL and r["figure"] == "pointing"}
    assert values == {"alternating": 0.5, "right": 1.0}
    written = json.loads(paths[".json"].read_text())
    assert [m["run"]["method"] for m in written["methods"]] == found.methods
    assert written["differences"][0]["figures"]["pointing"][0] == 0.5
    svg = paths[".svg"].read_text()
    assert all(name in svg for name in ("right", "alternating", UNIFORM, "phrases in captions"))
    assert svg == found_again(explainer, dataset)


def found_again(explainer, dataset):
    from crossviz.evaluate.plot import plot

    return plot(compare(explainer, dataset, [Alternating(), RIGHT]), "svg").decode()


def test_the_plot_puts_each_dot_where_its_figure_is(explainer, dataset):
    from PIL import Image

    from crossviz.evaluate.plot import plot

    image = np.asarray(Image.open(io.BytesIO(plot(compare(explainer, dataset, [RIGHT, WRONG]), "png"))).convert("RGB"))
    blue = np.argwhere(np.abs(image.astype(int) - (0x1F, 0x5F, 0xA8)).max(2) < 12)
    first, width = blue[blue[:, 1] < image.shape[1] * 0.5], image.shape[1]
    upper, lower = (first[first[:, 0] == y][:, 1].mean() for y in (first[:, 0].min() + 3, first[:, 0].max() - 3))
    assert upper > lower + 0.1 * width  # 100 % on the right of 0 %


def test_no_method_is_no_comparison(explainer, dataset):
    with pytest.raises(DatasetError, match="No method was named"):
        compare(explainer, dataset, [])


def test_a_method_named_twice_is_refused(explainer, dataset):
    with pytest.raises(DatasetError, match="named once"):
        compare(explainer, dataset, [RIGHT, WRONG, Planted(RIGHT.where, name="right")])


def test_a_group_of_absent_phrases_alone_is_left_out_of_the_tables(explainer, dataset, tmp_path):
    extra = Question("bird", (0, 4), "class names", False)
    items = [Item(item.photo, (*item.questions, extra)) for item in dataset.items]
    found = compare(explainer, Dataset("corners", items, "test", "all"), [RIGHT, WRONG])
    assert found.groups == ["phrases in captions"] and "class names" not in found.markdown()
    assert found.save(tmp_path)


def test_what_one_method_keeps_of_a_photo_is_not_there_for_the_next(explainer, dataset):
    kept = []

    class Keeping:
        needs_grad = False

        def __init__(self, name):
            self.info = Planted({}, name=name).info

        def __call__(self, trace, layers=None):
            trace.image.keep("work", lambda: kept.append(self.info.name))
            return Planted(RIGHT.where, name=self.info.name)(trace, layers)

    compare(explainer, dataset, [Keeping("one"), Keeping("two")])
    assert kept == ["one", "two"] * len(dataset.items)


@pytest.mark.parametrize(
    "args, message",
    [
        (["--methods", "all", "--method", "cross_attention"], "leave --method"),
        (["--methods", "all", "--probes"], "leave --method"),
        (["--methods", "cross_atention"], "Did you mean cross_attention or raw_attention?"),
        (["--methods", "head_decomposition"], "can't be explained by head_decomposition: choose from cross_attention"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_sentence(dataset, capsys, args, message):
    folder = dataset.items[0].photo.parent
    sets.write_jsonl(folder / "set", sets.CAPTIONED)
    assert main(["evaluate", str(folder / "set"), *args, "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1


def test_the_command_compares_and_writes(tmp_path, capsys):
    root = sets.write_jsonl(tmp_path / "set", sets.CAPTIONED)
    out = tmp_path / "out"
    names = ["cross_attention", "gradcam"]
    assert main(["evaluate", str(root), "--methods", *names, "--device", "cpu", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    table = (out / "set-methods.md").read_text().rstrip()
    assert printed.startswith(table) and all(f"`{name}`" in table for name in names)
    assert (out / "set-methods.png").read_bytes().startswith(b"\x89PNG")
