"""What the page keeps between questions: photos' features, bounded, and nothing that belongs to another model."""

import numpy as np
import pytest
from PIL import Image
from scenes import meadow
from small_models import clip_folder
from speaker import GUESSES, Speaker

from crossviz.errors import (
    CaptionError,
    CrossvizError,
    MethodError,
    ModelError,
    ModelUnavailableError,
    PhotoError,
    UnknownModelError,
)
from crossviz.explainer import Explainer
from crossviz.models import _families, register
from crossviz.render.failed import Failed
from crossviz.web.choice import about_model
from crossviz.web.compare_events import compared
from crossviz.web.engine import Engine
from crossviz.web.memory import held
from crossviz.web.server_settings import ServerSettings


@pytest.fixture
def engine():
    return Engine("crossviz-mini")


@pytest.fixture
def photos(tmp_path):
    paths = []
    for shade in range(4):
        path = tmp_path / f"{shade}.png"
        Image.fromarray(np.full((20, 30, 3), 40 * shade, np.uint8)).save(path)
        paths.append(str(path))
    return paths


def steps(engine, *asked):
    said, run = [], engine.steps(*asked)
    while True:
        try:
            said.append(next(run))
        except StopIteration as done:
            return said, done.value


def test_only_the_first_question_reads_the_photo(engine, photos):
    first, _ = steps(engine, photos[0], "a dog", "", None)
    second, explanation = steps(engine, photos[0], "a cat", "", None)
    assert first == ["loading crossviz-mini", "reading the photo", "asking every word"]
    assert second == ["asking every word"]
    assert explanation.caption.text == "a cat"


def test_the_content_counts_and_not_the_name(engine, photos, tmp_path):
    steps(engine, photos[0], "a dog", "", None)
    other = tmp_path / "other.bmp"
    Image.open(photos[0]).save(other)
    said, found = steps(engine, str(other), "a dog", "", None)
    assert said == ["asking every word"]
    assert found.photo.name == "other.bmp"  # not what the visitor before called it
    assert found.photo.pixels is steps(engine, photos[0], "a dog", "", None)[1].photo.pixels
    Image.open(photos[1]).save(photos[0])
    assert "reading the photo" in steps(engine, photos[0], "a dog", "", None)[0]


def test_kept_features_give_the_same_answer(engine, photos):
    _, first = steps(engine, photos[1], "a dog", "", None)
    _, second = steps(engine, photos[1], "a dog", "", None)
    assert first == second == Engine("crossviz-mini").explain(photos[1], "a dog")


@pytest.mark.parametrize(("most", "kept"), [(6, 2), (0, 0)])
def test_what_is_kept_is_bounded(photos, most, kept):
    engine = Engine("crossviz-mini", settings=ServerSettings(cache_mb=most))
    for photo in photos:
        steps(engine, photo, "a dog", "", None)
    assert len(engine.photos) == kept
    assert "reading the photo" in steps(engine, photos[0], "a dog", "", None)[0]  # used longest ago: gone


def checks(engine, explanation, span=(0, 1), model=""):
    said, run = [], engine.trust_steps(explanation, model, span)
    while True:
        try:
            said.append(next(run)[1])
        except StopIteration as done:
            return said, done.value


@pytest.fixture
def quick(monkeypatch):
    """Only the quickest of the checks."""
    all_of_them = Explainer.trust_steps

    def quickest(self, *asked, checks=None, **options):
        return all_of_them(self, *asked, checks=["deletion"], **options)

    monkeypatch.setattr(Explainer, "trust_steps", quickest)


def test_checks_use_the_features_that_are_kept(engine, photos, quick):
    explanation = engine.explain(photos[0], "a dog")
    said, report = checks(engine, explanation, (2, 5))
    assert set(said) == {"deleting patches"}
    assert (report.text, report.made) == ("dog", ("deletion",))
    engine.photos.clear()
    said, again = checks(engine, explanation, (2, 5))
    assert said[0] == "reading the photo"
    assert again.deletion == report.deletion
    assert len(engine.photos) == 1


def test_what_checks_leave_behind_is_counted(engine, photos, quick):
    explanation = engine.explain(photos[0], "a dog")
    before = engine.photos.total
    checks(engine, explanation)
    image = engine.photos.get((explanation.photo.sha256, "crossviz-mini"))
    assert engine.photos.total == held(image) > before > explanation.photo.pixels.nbytes


def test_what_methods_leave_behind_is_counted(engine, photos):
    engine.explain(photos[0], "a dog")
    before = engine.photos.total
    explanation = engine.explain(photos[0], "a dog", method="gradcam")
    image = engine.photos.get((explanation.photo.sha256, "crossviz-mini"))
    assert engine.photos.total == held(image) > before


def test_a_map_of_another_model_is_not_checked(engine):
    with pytest.raises(ModelError, match="synthetic"):
        checks(engine, meadow(), (2, 7))


def test_words_that_are_not_there_are_not_checked(engine, photos):
    with pytest.raises(CrossvizError):
        checks(engine, engine.explain(photos[0], "a dog"), (30, 40))


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ((None, "a dog", "", None), PhotoError),
        (("photo", "", "", None), CaptionError),
        (("photo", "a dog", "nonsense", None), UnknownModelError),
        (("photo", "a dog", "open_clip:/etc", None), ModelUnavailableError),
        (("photo", "a dog", "crossviz-mini:/etc", None), ModelUnavailableError),
        (("photo", "a dog", "", "nonsense"), MethodError),
        (("photo", "a dog", "", "head_decomposition"), MethodError),
    ],
)
def test_each_wrong_input_has_its_error(engine, photos, asked, error):
    photo, *rest = asked
    with pytest.raises(error):
        engine.explain(photos[0] if photo else None, *rest)


def test_a_model_named_by_its_folder_is_offered_once_it_is_loaded(tmp_path):
    name = f"open_clip:{clip_folder(tmp_path / 'own')}"
    here, elsewhere = Engine("crossviz-mini", folders=True), Engine("crossviz-mini")
    elsewhere._explainers[name] = here.explainer(name)
    assert here.explainer(name).info.name in {info.name for info in here.models() if info.available}
    assert here.explainer(name).info.name not in {info.name for info in elsewhere.models()}


def test_folders_are_for_this_computer_alone(photos):
    with pytest.raises(ModelUnavailableError, match="list of this server"):
        Engine("crossviz-mini").explainer("open_clip:/no/such/folder")
    with pytest.raises(ModelUnavailableError, match="in the folder") as told:
        Engine("crossviz-mini", folders=True).explainer("open_clip:/no/such/folder")
    assert "list of this server" not in str(told.value)


def test_a_server_for_others_says_that_it_loads_only_what_is_listed():
    here, elsewhere = Engine("crossviz-mini", folders=True), Engine("crossviz-mini")
    assert "vilt:ORG/NAME" in about_model(here, "vilt:some/one")
    assert about_model(elsewhere, "vilt:some/one") == "This server loads only the models on the list."
    with pytest.raises(ModelUnavailableError, match="choose one from the list") as told:
        elsewhere.explainer("vilt:some/one")
    assert "folder" not in str(told.value)


def test_the_methods_of_a_model_are_known_when_it_is_loaded(photos):
    engine = Engine("crossviz-mini")
    assert engine.methods("crossviz-mini") == []
    engine.explainer("crossviz-mini")
    assert [info.name for info in engine.methods("crossviz-mini")][:1] == ["cross_attention"]


def run_of(generator):
    said = []
    while True:
        try:
            said.append(next(generator))
        except StopIteration as done:
            return said, done.value


@pytest.fixture
def speaker():
    family = register(Speaker())
    yield "speaker"
    del _families[family.name]


def test_what_a_model_can_do_is_known_once_it_is_loaded(engine, speaker):
    assert not engine.writes(speaker) and not engine.guesses(speaker)
    engine.explainer(speaker)
    assert engine.writes(speaker) and engine.guesses(speaker)
    engine.explainer("crossviz-mini")
    assert not engine.writes("crossviz-mini") and not engine.guesses("crossviz-mini")


def test_a_word_is_hidden_and_shown_again(engine, photos, speaker):
    first = engine.explain(photos[0], "a dog runs", speaker)
    said, hidden = run_of(engine.again_steps(first, speaker, (2, 5)))
    assert said == ["letting the model guess"]
    assert (hidden.hidden, [guess.choices for guess in hidden.guesses]) == ((1,), [GUESSES])
    said, again = run_of(engine.again_steps(hidden, speaker, None))
    assert said == ["asking every word"]
    assert again == first


def test_only_its_own_model_hides_words_of_an_explanation(engine, photos, speaker):
    with pytest.raises(ModelError, match="synthetic"):
        run_of(engine.again_steps(meadow(), speaker, (2, 7)))
    mini = engine.explain(photos[0], "a dog")
    with pytest.raises(CrossvizError, match="guesses no hidden words"):
        run_of(engine.again_steps(mini, "crossviz-mini", (2, 5)))
    with pytest.raises(CrossvizError):
        run_of(engine.again_steps(engine.explain(photos[0], "a dog", speaker), speaker, (30, 40)))


def test_a_comparison_keeps_the_order_and_says_who_failed(engine, photos, speaker):
    shown = engine.explain(photos[0], "a dog")
    said, entries = run_of(compared(engine, shown, ["nobody", speaker, "crossviz-mini"]))
    assert isinstance(entries[0], Failed) and "There is no model 'nobody'" in entries[0].reason
    assert [entry.provenance.model for entry in entries[1:]] == [speaker, "crossviz-mini"]
    assert entries[2] == shown
    assert said[-1] == "crossviz-mini, 3 of 3: asking every word"
