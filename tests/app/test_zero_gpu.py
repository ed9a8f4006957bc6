"""Questions that are lent out to another process, as on ZeroGPU: the same answers, and nothing that hangs."""

import importlib
import sys
import threading
from types import ModuleType

import pytest
import torch
from lent_gpu import Lender
from PIL import Image
from small_models import clip_folder

from crossviz import instead as held
from crossviz.errors import CaptionError, DeviceError, ModelUnavailableError, UnknownMethodError
from crossviz.explainer import Explainer
from crossviz.models import _registry
from crossviz.web import zero_gpu
from crossviz.web.engine import Engine
from crossviz.web.zero_gpu import Borrowed, Unknown, borrow, on_zero_gpu


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return f"open_clip:{clip_folder(tmp_path_factory.mktemp('model'))}"


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("photo") / "red.png"
    Image.new("RGB", (50, 40), (200, 30, 30)).save(path)
    return str(path)


@pytest.fixture
def lender():
    with Lender() as lending:
        yield lending


@pytest.fixture
def engine(model, lender) -> Engine:
    engine = Engine(model, "cpu", folders=True)
    engine.borrowed = Borrowed(lender.GPU, "cpu")
    return engine


def run(steps):
    said = []
    while True:
        try:
            said.append(next(steps))
        except StopIteration as done:
            return said, done.value


def test_an_explanation_from_there_is_the_one_from_here(engine, model, photo, lender):
    threads = torch.get_num_threads()
    said, lent = run(engine.steps(photo, "a red square", model, None))
    said_again, again = run(engine.steps(photo, "a blue circle", model, "raw_attention"))
    loading = f"loading {model[:80]}"
    assert said == [loading, "waiting for a GPU", loading, "reading the photo", "asking every word"]
    assert said_again == said[1:], "the list of its methods is here already"
    engine.borrowed = None
    for found, caption, method in ((lent, "a red square", None), (again, "a blue circle", "raw_attention")):
        here = engine.explain(photo, caption, model, method)
        assert found.caption == here.caption and found.method == here.method and found.photo == here.photo
        torch.testing.assert_close(found.map.values, here.map.values, rtol=1e-4, atol=1e-6)
        assert found.provenance == here.provenance
    assert lender.asked == [zero_gpu.SECONDS["explain"]] * 2
    assert len(lender.processes) == 1, "the process stays for the next question"
    assert torch.get_num_threads() == threads


def test_checks_from_there_are_those_from_here(engine, model, photo, lender):
    _, lent = run(engine.steps(photo, "a red square", model, None))
    said, report = run(engine.trust_steps(lent, model, (2, 5), ["deletion"]))
    assert said[0] == (0.0, "waiting for a GPU") and all(0 <= share <= 1 for share, _ in said)
    engine.borrowed = None
    _, here = run(engine.trust_steps(lent, model, (2, 5), ["deletion"]))
    assert report.as_dict().keys() == here.as_dict().keys()
    assert report.sentence == here.sentence
    assert lender.asked[-1] == zero_gpu.SECONDS["trust"]


def test_embedded_models_answer_here(lender, photo):
    engine = Engine("crossviz-mini", "cpu")
    engine.borrowed = Borrowed(lender.GPU, "cpu")
    said, _ = run(engine.steps(photo, "a red square", "", None))
    assert "waiting for a GPU" not in said and lender.processes == []


def test_refusals_come_back_as_they_are(engine, model, photo, lender):
    with pytest.raises(UnknownMethodError, match="guesswork"):
        run(engine.steps(photo, "a red square", model, "guesswork"))
    with pytest.raises(CaptionError):
        run(engine.steps(photo, " ", model, None))
    assert len(lender.asked) == 1, "a caption that will not do costs nobody's time"
    engine.folders = False
    with pytest.raises(ModelUnavailableError, match="not on the list of this server"):
        run(engine.steps(photo, "a red square", "open_clip:ViT-B-99/nobody", None))
    assert len(lender.asked) == 1


def test_no_gpu_is_a_sentence(model, photo):
    engine = Engine(model, "cpu", folders=True)
    engine.borrowed = Borrowed(Lender(granted=False).GPU, "cpu")
    with pytest.raises(DeviceError, match=r"no GPU to be had now \(ZeroGPU quota exceeded\)") as caught:
        run(engine.steps(photo, "a red square", model, None))
    assert "href" not in str(caught.value)


def test_an_unknown_error_there_is_one_here(engine, model, photo, monkeypatch):
    def broken(*_: object):
        raise ZeroDivisionError(photo)
        yield

    monkeypatch.setattr(zero_gpu, "_explain", broken)  # before the process is forked
    with pytest.raises(Unknown) as caught:
        run(engine.steps(photo, "a red square", model, None))
    assert str(caught.value) == "ZeroDivisionError"


def test_a_process_that_dies_is_a_sentence_and_the_next_one_answers(engine, model, photo, lender, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(zero_gpu, "_explain", lambda *_: sys.exit(1))
        with pytest.raises(DeviceError, match="ask again"):
            run(engine.steps(photo, "a red square", model, None))
    for process in lender.processes:
        process.kill()
        process.join()
    assert run(engine.steps(photo, "a red square", model, None))[1].caption.text == "a red square"


def test_locks_of_other_threads_do_not_hold_up_the_process(engine, model, photo):
    """Whatever a thread holds when the process is forked is never let go there."""
    Explainer(model, "cpu")
    holding, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with held._lock, _registry._lock, next(iter(_registry._locks.values())):
            holding.set()
            go_on.wait(120)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(120)
    try:
        said = []
        for told in engine.borrowed.explain(model, _photo(photo), "a red square", None):
            said.append(told)
    finally:
        go_on.set()
        thread.join()
    assert said[-1] == "asking every word"


def _photo(path: str):
    from crossviz.photo import load_photo

    return load_photo(path)


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("", False), ("false", False)])
def test_zero_gpu_is_known_by_its_variable(value, expected):
    assert on_zero_gpu({"SPACES_ZERO_GPU": value}) is expected


def test_elsewhere_the_package_is_not_even_imported(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    monkeypatch.setitem(sys.modules, "spaces", None)  # importing it would fail
    assert borrow() is None


def test_on_zero_gpu_the_functions_are_marked_before_the_launch(monkeypatch):
    marked = []
    spaces = ModuleType("spaces")
    spaces.GPU = lambda *, duration: lambda task: marked.append(task) or task
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    assert isinstance(borrow(), Borrowed)
    assert marked == [zero_gpu.work]
    monkeypatch.setitem(sys.modules, "spaces", None)
    with pytest.raises(DeviceError, match="package spaces can't be imported"):
        borrow()


def test_the_real_package_marks_it_where_it_is_installed(engine, model, photo):
    """Outside ZeroGPU it hands functions back as they are."""
    pytest.importorskip("spaces")
    spaces = importlib.import_module("spaces")
    engine.borrowed = Borrowed(spaces.GPU, "cpu")
    assert engine.borrowed._work is zero_gpu.work
    said, found = run(engine.steps(photo, "a red square", model, None))
    assert "waiting for a GPU" in said and found.caption.text == "a red square"
