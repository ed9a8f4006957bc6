"""Explainer: one model shared, photos encoded once, methods and devices chosen, and the pace of it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from factories import caption
from small_models import clip_folder

import crossviz
from crossviz import Explainer, models
from crossviz.errors import (
    CaptionError,
    DeviceError,
    MethodError,
    PhotoError,
    SelectionError,
    UnknownMethodError,
)
from crossviz.explainer import _chosen
from crossviz.paths import assets_dir

CAT = assets_dir() / "examples" / "cat.jpg"


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    return f"open_clip:{clip_folder(tmp_path_factory.mktemp('clip'))}"


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)


def test_explain_is_the_explainer_in_one_call():
    whole = crossviz.explain(CAT, "a cat")
    explainer = Explainer()
    assert whole == explainer.explain(explainer.encode(CAT), "a cat")
    assert whole.method == explainer.methods[0].name == "cross_attention"
    assert whole.provenance.model == explainer.info.name == "crossviz-mini"


@pytest.mark.parametrize("index", [1, -3, np.int64(1), np.uint8(1), np.array(1)], ids=repr)
def test_a_word_to_hide_is_named_by_any_whole_number(index):
    assert _chosen(caption("a dog and cat"), index) == (1,)


def test_what_to_hide_may_be_a_span_or_a_text():
    for span in ((2, 5), [2, 5], np.array([2, 5]), (np.int64(2), np.int64(5)), "dog"):
        assert _chosen(caption("a dog and cat"), span) == (1,)
    for wrong in (True, 1.0, None, (1,)):
        with pytest.raises(SelectionError):
            _chosen(caption("a dog and cat"), wrong)


def test_a_photo_may_be_a_path_bytes_an_image_or_an_array():
    from PIL import Image

    explainer = Explainer()
    with Image.open(CAT) as image:
        sources = [CAT, str(CAT), CAT.read_bytes(), image, np.asarray(image.convert("RGB"))]
        maps = [explainer.explain(source, "a cat").map.values for source in sources]
    assert all(torch.equal(maps[0], other) for other in maps[1:])


def test_a_model_is_loaded_once_however_many_ask_at_once(name):
    models.unload_models()
    barrier = threading.Barrier(4)

    def ask(_: int):
        barrier.wait()
        return models.load_model(name)

    with ThreadPoolExecutor(4) as pool:
        assert len({id(model) for model in pool.map(ask, range(4))}) == 1


def test_the_caption_is_checked_before_the_photo_is_encoded(name, photo, monkeypatch):
    explainer = Explainer(name)
    monkeypatch.setattr(type(explainer), "encode", lambda *_: pytest.fail("encoded a photo for nothing"))
    with pytest.raises(CaptionError):
        explainer.explain(photo, "")


def test_methods_are_chosen_by_name_or_object(name, photo):
    explainer = Explainer(name)
    image = explainer.encode(photo)
    assert explainer.explain(image, "a dog").method == "cross_attention"
    named = explainer.explain(image, "a dog", "head_decomposition")
    assert named == explainer.explain(image, "a dog", crossviz.methods.HeadDecomposition())
    with pytest.raises(
        UnknownMethodError, match=r"There are: cross_attention, written_attention, .*head_decomposition"
    ):
        explainer.explain(image, "a dog", "lime")
    with pytest.raises(MethodError):
        explainer.explain(image, "a dog", crossviz.methods.HeadDecomposition)


def test_autograd_is_on_only_for_methods_that_need_it(name, photo):
    explainer = Explainer(name)
    image = explainer.encode(photo)
    assert not image.embedding.requires_grad
    seen = []

    class Watching:
        info = crossviz.methods.get_method("cross_attention").info

        def __init__(self, needs_grad):
            self.needs_grad = needs_grad

        def __call__(self, trace, layers=None):
            seen.append((torch.is_grad_enabled(), trace.cross_attention().probs.requires_grad))
            return crossviz.methods.get_method("cross_attention")(trace, layers)

    explainer.explain(image, "a dog", Watching(False))
    explainer.explain(image, "a dog", Watching(True))
    assert seen == [(False, False), (True, True)]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "", 3, "meta"])
def test_a_device_that_is_not_there_is_refused_with_what_there_is(device):
    with pytest.raises(DeviceError, match="cpu"):
        Explainer(device=device)


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu")], ids=str)
def test_the_cpu_is_always_there(name, device):
    assert Explainer(name, device).device == "cpu"


def test_without_a_choice_the_fastest_device_is_taken(name):
    expected = "cuda:0" if torch.cuda.is_available() else "cpu"
    assert Explainer(name).device == expected


@pytest.mark.parametrize("photo", [None, "", "nowhere.jpg", b"", 7])
def test_a_photo_that_cant_be_read_is_refused(name, photo):
    with pytest.raises(PhotoError):
        Explainer(name).explain(photo, "a dog")


def test_an_explainer_says_what_it_is(name):
    explainer = Explainer(name, "cpu")
    assert name in repr(explainer) and "cpu" in repr(explainer)
    assert explainer.info.title == name.rpartition("/")[2]


def test_another_caption_of_the_same_photo_leaves_the_image_tower_alone():
    explainer = Explainer()
    runs = []
    tower = explainer._model.module["clip"].visual
    handle = tower.trunk.body.register_forward_hook(lambda *_: runs.append(1))
    try:
        image = explainer.encode(CAT)
        assert len(runs) == 1
        first, second = explainer.explain(image, "a cat"), explainer.explain(image, "a dog")
        assert len(runs) == 1
        assert not first.record.probs.equal(second.record.probs)
        explainer.explain(CAT, "a cat")
        assert len(runs) == 2
    finally:
        handle.remove()
