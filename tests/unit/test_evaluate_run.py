"""Evaluating a model: planted maps give the figures that they must, and the command reports what the API gives."""

import csv
import io
import json
import math

import numpy as np
import photo_sets as sets
import pytest
from planted import Planted

import crossviz
from crossviz.cli import main
from crossviz.errors import DatasetError
from crossviz.evaluate import evaluate, open_dataset
from crossviz.evaluate.baselines import CAPTION, CENTRE, GAUSSIAN, UNIFORM
from crossviz.evaluate.dataset import Dataset, Item, Question
from crossviz.evaluate.report import MODEL
from crossviz.measures import CUTS, box_mask
from crossviz.paths import assets_dir

EXAMPLES = assets_dir() / "examples"


@pytest.fixture(scope="module")
def explainer():
    return crossviz.Explainer("crossviz-mini", device="cpu")


def boxed(text, span, box, kinds=(), group="phrases in captions"):
    return Question(text, span, group, True, kinds, (box,))


def absent(text, span, group="phrases in captions"):
    return Question(text, span, group, False)


@pytest.fixture
def planted_set(tmp_path):
    """Two square photos whose boxes lie on the edges of the model's 24 x 24 patches, and the maps for them."""
    for name in ("one", "two"):
        sets.make_photo(tmp_path / f"{name}.png", (48, 48))
    text = "cat and dog"
    cat, dog = (0.0, 0.0, 24.0, 24.0), (24.0, 24.0, 48.0, 48.0)
    one = (boxed(text, (0, 3), cat, ("animals",)), boxed(text, (8, 11), dog, ("animals", "pets")))
    two = (boxed(text, (0, 3), dog, ("animals",)), absent("bird", (0, 4)), absent("a cat", (2, 5)))
    items = [Item(tmp_path / "one.png", one), Item(tmp_path / "two.png", two)]
    return Dataset("planted", items, "test", "all")


WHERE = {"cat": (0, 0, 0.5, 0.5), "dog": (0.5, 0.5, 1, 1)}


def test_planted_maps_give_the_figures_that_they_must(explainer, planted_set):
    report = evaluate(explainer, planted_set, Planted(WHERE))
    (group,) = report.groups
    assert (group.phrases, group.absent, group.photos, group.left_out) == (3, 2, 2, 0)
    own = group.source(MODEL).figures
    # Two of three point into their box; the third points into the opposite corner.
    assert own["pointing"].value == pytest.approx(2 / 3) and own["ties"].value == 0
    # Maps are bilinear between patches, so that an edge is a ramp half a patch wide on both sides.
    assert own["mass"].value == pytest.approx(2 / 3, abs=0.03)
    assert own["iou_at_30"].value == group.source(MODEL).cut_off.iou == pytest.approx(2 / 3)
    # "bird" is nowhere, but "cat" is found in the photo that has none: of six pairs three are in order, three tied.
    assert own["null_present"].value == pytest.approx(0, abs=1e-5)
    assert own["null_absent"].value == pytest.approx(0.5, abs=1e-5)
    assert own["auroc"].value == pytest.approx(0.75)
    by_kind = {kind.name: (kind.phrases, kind.pointing[MODEL].value) for kind in group.kinds}
    assert by_kind == {"animals": (3, pytest.approx(2 / 3)), "pets": (1, 1.0)}


def test_the_baselines_are_what_they_are_called(explainer, planted_set):
    report = evaluate(explainer, planted_set, Planted(WHERE))
    figures = {source.name: source.figures for source in report.groups[0].sources}
    assert list(figures) == [MODEL, CAPTION, GAUSSIAN, UNIFORM, CENTRE]
    # Each box is a quarter of its photo, and the four pixels in the middle lie one in each quarter.
    for name in ("pointing", "iou", "iou_at_30", "mass"):
        assert figures[UNIFORM][name].value == pytest.approx(0.25)
    assert figures[CENTRE]["pointing"].value == 0.25 and set(figures[CENTRE]) == {"pointing", "ties"}
    assert figures[UNIFORM]["ties"].value == figures[CENTRE]["ties"].value == 1
    assert figures[GAUSSIAN]["pointing"].value == 0.25 and figures[GAUSSIAN]["mass"].value == pytest.approx(0.25)
    # The whole caption looks at both quarters alike, so that half of its highest pixels are right for every phrase.
    assert figures[CAPTION]["pointing"].value == pytest.approx(0.5)
    assert figures[CAPTION]["mass"].value == pytest.approx(0.5, abs=0.03)
    # "and" looks at nothing: a third of the caption's mass goes to the null key.
    assert figures[CAPTION]["null_present"].value == pytest.approx(1 / 3, abs=1e-5)
    assert "auroc" not in figures[UNIFORM]


def test_the_centre_of_a_photo_is_found_where_a_person_would_find_it(explainer, tmp_path):
    items = []
    # Photo sizes and a box each; which boxes hold the middle of the photo is seen at once.
    photos = (
        ((60, 40), (20, 10, 40, 30)), ((60, 40), (0, 0, 20, 40)),
        ((41, 61), (20, 30, 21, 31)), ((40, 60), (0, 0, 40, 20)),
    )  # fmt: skip
    for number, (wh, box) in enumerate(photos):
        path = tmp_path / f"{number}.png"
        sets.make_photo(path, wh)
        items.append(Item(path, (boxed("dog", (0, 3), tuple(map(float, box))),)))
    report = evaluate(explainer, Dataset("centres", items))
    figures = report.groups[0].source(CENTRE).figures
    assert figures["pointing"].value == 0.5 and figures["ties"].value == 0
    assert report.groups[0].source(UNIFORM).figures["pointing"].value == pytest.approx(
        np.mean([20 * 20 / 2400, 20 * 40 / 2400, 1 / (41 * 61), 40 * 20 / 2400])
    )


def test_the_cut_off_of_one_half_is_applied_to_the_other(explainer, tmp_path):
    # Even photos have a box as large as the map's patches, odd ones a quarter more on each side, where the map is 0.
    items = []
    for number in range(6):
        sets.make_photo(tmp_path / f"{number}.png", (240, 240))
        box = (60.0, 60.0, 120.0, 120.0) if number % 2 else (55.0, 55.0, 125.0, 125.0)
        items.append(Item(tmp_path / f"{number}.png", (boxed("cat", (0, 3), box, group="phrases alone"),)))
    report = evaluate(explainer, Dataset("halves", items), Planted({"cat": (0.25, 0.25, 0.5, 0.5)}))
    heatmap = explainer.explain(items[0].photo, "cat", method=Planted({"cat": (0.25, 0.25, 0.5, 0.5)})).heatmap("cat")
    ious = []
    for item in items[:2]:
        region = box_mask(item.questions[0].boxes, 240, 240)
        shown = [heatmap > cut * heatmap.max() for cut in CUTS]
        ious.append([(s & region).sum() / (s | region).sum() for s in shown])
    best = [int(np.argmax(row)) for row in ious]
    assert best[0] != best[1]
    source = report.groups[0].source(MODEL)
    assert source.cut_off.halves == (CUTS[best[0]], CUTS[best[1]])
    assert source.figures["iou"].value == pytest.approx((ious[0][best[1]] + ious[1][best[0]]) / 2, abs=1e-6)
    assert source.cut_off.iou == pytest.approx(np.mean(ious, 0).max(), abs=1e-6)
    assert source.figures["iou_at_30"].value == pytest.approx(np.mean(ious, 0)[CUTS.index(0.3)], abs=1e-6)
    assert CAPTION not in {s.name for s in report.groups[0].sources}  # the phrase is the whole text


def test_masks_are_covered_and_boxes_pointed_into(explainer, tmp_path):
    sets.make_photo(tmp_path / "photo.png", (48, 48))
    mask = np.zeros((48, 48), bool)
    mask[:12, :24] = True  # the upper half of the box
    question = Question("cat", (0, 3), "class names", True, ("cat",), ((0.0, 0.0, 24.0, 24.0),), lambda: mask)
    low = Planted({"cat": (0, 0.25, 0.5, 0.5)})  # the lower half: in the box, not in the mask
    with_boxes, without = (
        evaluate(explainer, Dataset("one", [Item(tmp_path / "photo.png", (q,))]), low).groups[0].source(MODEL).figures
        for q in (question, Question("cat", (0, 3), "class names", True, ("cat",), (), lambda: mask))
    )
    assert with_boxes["pointing"].value == 1 and without["pointing"].value == 0
    assert with_boxes["mass"].value == without["mass"].value < 0.1


def test_a_method_without_a_null_key_or_with_signs_is_measured_too(explainer, planted_set):
    report = evaluate(explainer, planted_set, Planted(WHERE, null=False, signed=True))
    own = report.groups[0].source(MODEL).figures
    assert own["pointing"].value == pytest.approx(2 / 3) and own["mass"].value == pytest.approx(2 / 3, abs=0.03)
    assert not {"auroc", "null_present", "null_absent"} & set(own)
    assert "AUROC" not in report.markdown()


def test_what_the_model_can_not_read_is_left_out(explainer, tmp_path):
    sets.make_photo(tmp_path / "photo.png", (48, 48))
    text = "dog " * 100 + "cat"
    box = (0.0, 0.0, 9.0, 9.0)
    questions = (
        boxed(text, (0, 3), box),
        boxed(text, (400, 403), box),
        absent(text, (400, 403)),
        boxed("dog", (0, 3), (90.0, 90.0, 99.0, 99.0)),  # outside the photo
    )
    (group,) = evaluate(explainer, Dataset("long", [Item(tmp_path / "photo.png", questions)])).groups
    assert (group.phrases, group.absent, group.left_out) == (1, 0, 2)


def test_answers_for_a_photo_of_another_size_are_refused(explainer, tmp_path):
    root = sets.write_jsonl(tmp_path / "set", sets.CAPTIONED)
    sets.make_photo(root / "images" / "1002.png", (50, 40))
    with pytest.raises(DatasetError, match=r"1002\.png are for a photo of 40 x 50 pixels, but it has 50 x 40"):
        evaluate(explainer, open_dataset(root))
    sets.make_photo(tmp_path / "photo.png", (20, 30))
    question = Question("cat", (0, 3), "class names", True, (), (), lambda: np.ones((20, 30), bool))
    with pytest.raises(DatasetError, match=r"A mask of photo\.png has 30 x 20 pixels, and the photo has 20 x 30"):
        evaluate(explainer, Dataset("one", [Item(tmp_path / "photo.png", (question,))]))


def test_layouts_that_describe_the_same_photos_give_the_same_figures(explainer, tmp_path):
    official = open_dataset(sets.write_entities(tmp_path / "official", sets.CAPTIONED), split="val")
    lines = open_dataset(sets.write_jsonl(tmp_path / "lines", sets.CAPTIONED), split="val")
    assert evaluate(explainer, official).groups == evaluate(explainer, lines).groups


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """The package's example photos with boxes drawn by hand, as a person would write them down."""
    root = tmp_path_factory.mktemp("photos") / "examples"
    root.mkdir()
    cat, eye, cup, spoon = (60, 0, 400, 299), (138, 105, 190, 150), (130, 30, 420, 340), (345, 215, 470, 370)
    rows = []
    for name, caption, phrases in (
        ("cat.jpg", "a cat with green eyes", {"a cat": cat, "green eyes": eye}),
        ("coffee.jpg", "a cup of coffee and a spoon", {"a cup of coffee": cup, "a spoon": spoon}),
    ):
        (root / name).write_bytes((EXAMPLES / name).read_bytes())
        starts = {text: caption.index(text) for text in phrases}
        spans = [{"start": at, "end": at + len(text), "id": text} for text, at in starts.items()]
        boxes = [
            {"label": t, "id": t, "xyxy": b, "type": ["animals" if t == "a cat" else "other"]}
            for t, b in phrases.items()
        ]
        rows.append(
            {"image": name, "captions": [caption], "grounded": [{"text": caption, "spans": spans}], "boxes": boxes}
        )
    (root / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_the_command_reports_what_the_api_gives(examples, explainer, tmp_path, capsys):
    assert main(["evaluate", str(examples), "--device", "cpu", "-o", str(tmp_path / "new" / "out"), "--seed", "3"]) == 0
    printed = capsys.readouterr()
    report = evaluate(explainer, open_dataset(examples, seed=3), seed=3)
    assert [g.name for g in report.groups] == ["phrases in captions", "phrases alone"]
    written = json.loads((tmp_path / "new" / "out" / "examples.json").read_text())
    assert written["groups"] == json.loads(report.json())["groups"]
    run = written["run"]
    weights = explainer.explain(examples / "cat.jpg", "a cat").provenance.weights_sha256
    assert (run["dataset"], run["photos"], run["seed"], run["layout"]) == ("examples", 2, 3, "JSONL")
    assert (run["model"], run["method"], run["crossviz_version"]) == (
        "crossviz-mini",
        "cross_attention",
        crossviz.__version__,
    )
    assert run["weights_sha256"] == weights and len(weights) == 64 and run["seconds"] > 0
    table = (tmp_path / "new" / "out" / "examples.md").read_text()
    assert printed.out.startswith(table.rstrip()) and "crossviz" not in printed.err
    assert all(name in table for name in ("crossviz-mini", CAPTION, GAUSSIAN, UNIFORM, CENTRE))
    # The cat fills the photo, so that whoever points anywhere but into the corners is right about it.
    captions = report.group("phrases in captions")
    assert (captions.phrases, captions.absent) == (4, 4)
    assert next(k for k in captions.kinds if k.name == "animals").pointing[MODEL].value == 1
    rows = list(csv.DictReader(io.StringIO((tmp_path / "new" / "out" / "examples.csv").read_text())))
    for group in report.groups:
        for source in group.sources:
            for name, figure in source.figures.items():
                (row,) = (
                    r for r in rows
                    if (r["group"], r["kind"], r["source"], r["figure"]) == (group.name, "", source.name, name)
                )  # fmt: skip
                assert float(row["value"]) == pytest.approx(figure.value, abs=1e-6)
                assert math.isnan(figure.low) or float(row["low"]) <= float(row["value"]) <= float(row["high"])


def test_a_folder_of_sets_is_measured_set_by_set(examples, tmp_path, capsys):
    sets.write_coco(tmp_path / "coco", sets.OBJECTS)
    (tmp_path / "examples").symlink_to(examples)
    sets.write_jsonl(tmp_path / "nothing", [sets.Captioned("1", (20, 20), (("A", "dog", "."),))])
    assert main(["evaluate", str(tmp_path), "--limit", "2", "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    titles = [line for line in printed.out.splitlines() if line.startswith("## ")]
    assert titles == ["## coco", "## examples"]
    assert "nothing is asked of the photos of nothing" in printed.err


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "name a folder of photos with answers, or --probes"),
        (["no/such/folder"], "no file or folder"),
        (["EXAMPLES", "--split", "dev"], "no split 'dev'"),
        (["EXAMPLES", "--fold", "2"], "K/N"),
        (["EXAMPLES", "--model", "none"], "none"),
        (["EXAMPLES", "--method", "none"], "no method 'none'"),
        (["EXAMPLES", "-o", "EXAMPLES/data.jsonl"], "is a file"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(examples, capsys, args, message):
    assert main(["evaluate", *(arg.replace("EXAMPLES", str(examples)) for arg in args), "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and "Traceback" not in printed.err


def test_the_command_runs_a_probe_on_a_set(examples, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["evaluate", str(examples), "--probes", "retrieval", "--device", "cpu", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith((out / "probes.md").read_text().rstrip()) and "R@1" in printed
    assert [report["probe"] for report in json.loads((out / "probes.json").read_text())] == ["retrieval"]
