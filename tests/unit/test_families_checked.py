"""Models that read photo and text together, through the checks of trust and through `evaluate`: what is made, what is
left out and why, and that no sentence says more than is true."""

from pathlib import Path

import numpy as np
import photo_sets as sets
import pytest
from small_families import JOINT_MODELS

from crossviz import Explainer
from crossviz.evaluate import evaluate
from crossviz.evaluate.compare import compare
from crossviz.evaluate.dataset import Dataset, Item, Question
from crossviz.evaluate.probes import gibberish
from crossviz.evaluate.probes.gibberish import probe_gibberish
from crossviz.evaluate.probes.retrieval import probe_retrieval
from crossviz.photo import Photo

CAPTION = "a dog and a red skateboard"
KINDS = {
    "`coca:`": "coca, one pooler",
    "`vilt:` with a matching head": "vilt, matching",
    "`vilt:` that only guesses words": "vilt, words",
    "`blip:` matching": "blip, matching",
    "`blip:` captioner": "blip, captioner",
}
"""Rows of the table in docs/what-each-map-means.md."""


def served() -> dict[str, list[str]]:
    """The methods of each row of that table."""
    lines = (Path(__file__).parents[2] / "docs" / "what-each-map-means.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    head = next(row for row in cells if row[0] == "" and "`written_attention`" in row)
    rows = {row[0]: row[1:] for row in cells if len(row) == len(head)}
    return {
        kind: [name.strip("`") for name, cell in zip(head[1:], rows[label], strict=True) if cell == "yes"]
        for label, kind in KINDS.items()
    }


@pytest.fixture(scope="module", params=list(KINDS.values()))
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def explainer(kind, tmp_path_factory) -> Explainer:
    return Explainer(JOINT_MODELS[kind](tmp_path_factory.mktemp("model")), "cpu")


@pytest.fixture(scope="module")
def image(explainer):
    return explainer.encode(np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8))


def test_a_family_is_served_by_the_methods_that_the_docs_list(explainer, kind):
    assert [info.name for info in explainer.methods] == served()[kind]


def test_every_check_is_made_or_left_out_with_its_reason(explainer, image):
    for info in explainer.methods:
        if info.name == "occlusion":
            continue  # asks for nothing but the match, as deletion does, forty times over
        explanation = explainer.explain(image, CAPTION, info.name)
        report = explainer.trust(image, explanation, "dog", box=(10, 10, 60, 50))
        expected = {"calibration", "deletion", "randomisation", "agreement", "localisation"}
        if info.before_word:
            expected -= {"calibration", "agreement"}
        assert set(report.made) == expected, (info.name, report.notes)
        left_out = [note for note in report.notes if note.startswith("No ")]
        assert any(note.startswith("No head effect: it") for note in left_out)
        assert len(left_out) == 6 - len(report.made)
        assert report.randomisation.complete and report.randomisation.correlations[0] == pytest.approx(1, abs=1e-3)
        assert report.sentence.endswith(".") and np.isfinite(report.deletion.whole)
        looks = not info.before_word and explanation.map.direction == "query: text, key: image"
        assert looks or "looked" not in report.sentence
        assert not info.before_word or "random words" not in report.sentence


def test_what_wrote_a_word_is_the_same_whatever_word_follows(explainer, image):
    """The ground for leaving out its calibration; the row that has read the word differs."""
    names = [info.name for info in explainer.methods]
    texts = ("a red dog", "a red cat")
    if "written_attention" in names:
        one, other = (explainer.explain(image, text, "written_attention").record.probs for text in texts)
        first = explainer.explain(image, texts[0], "written_attention").words[2].tokens[0]
        assert np.allclose(one[:, :, first], other[:, :, first], atol=1e-6)
    one, other = (explainer.explain(image, text, "cross_attention").map.values[2] for text in texts)
    assert not np.allclose(one, other, rtol=1e-4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("set")
    items = []
    for number, wh in enumerate(((48, 48), (90, 40), (40, 90))):
        sets.make_photo(folder / f"{number}.png", wh)
        box = (0.0, 0.0, wh[0] / 2, wh[1] / 2)
        here = Question(CAPTION, (2, 5), "phrases in captions", True, ("animals",), (box,))
        alone = Question("dog", (0, 3), "phrases alone", True, ("animals",), (box,))
        absent = Question("a red bird", (2, 10), "phrases in captions", False)
        items.append(Item(folder / f"{number}.png", (here, alone, absent), (CAPTION,)))
    return Dataset("small", items, "test", "all")


def test_maps_without_a_null_key_are_measured(explainer, dataset):
    report = evaluate(explainer, dataset)
    for group in report.groups:
        figures = group.source("model").figures
        assert group.phrases == 3 and 0 <= figures["pointing"].value <= 1
        assert not {"auroc", "null_present", "null_absent"} & set(figures)
    assert report.group("phrases in captions").absent == 3
    assert "AUROC" not in report.markdown() and explainer.info.name in report.csv()


def test_all_methods_of_a_model_are_compared(explainer, dataset):
    names = [info.name for info in explainer.methods]
    found = compare(explainer, dataset, names)
    assert found.methods == names and "difference" in found.markdown()


def test_probes_that_need_what_the_model_lacks_say_so(explainer, image, dataset, monkeypatch):
    for pictures in ("_examples", "_scenes"):  # all are encoded before the sentence is said: one of each will do
        monkeypatch.setattr(gibberish, pictures, lambda *_: [Photo(np.full((40, 60, 3), 90, np.uint8), "grey")])
    assert probe_gibberish(explainer).sentence.startswith("Not measured:")
    report = probe_retrieval(explainer, dataset)
    assert report.sentence.startswith("Not measured:") == (image.embedding is None)
