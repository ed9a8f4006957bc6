"""Which cell is opened of which explanation, with the embedded model."""

import dataclasses

import pytest
import torch

from crossviz import Explainer
from crossviz.errors import ModelError, SelectionError
from crossviz.web.engine import Engine
from crossviz.web.examples import examples

TEXT = "a grey cat"


@pytest.fixture(scope="module")
def explainer():
    return Explainer()


@pytest.fixture(scope="module")
def photo():
    return str(next(example.photo for example in examples() if "cat" in str(example.photo)))


@pytest.fixture(scope="module")
def image(explainer, photo):
    return explainer.encode(photo)


def test_a_map_of_another_method_is_said_not_to_be_this_attention(explainer, image):
    found = explainer.explain(image, TEXT, "gradcam")
    inside = explainer.inside(image, found, "cat")
    assert any(line.startswith("The map on the photo is made by Grad-CAM") for line in inside.picked)
    assert inside.layer == "cross-attention"


def test_an_explanation_of_another_photo_or_model_or_with_other_numbers_is_refused(explainer, image, photo):
    found = explainer.explain(image, TEXT)
    with pytest.raises(ModelError, match="of another photo"):
        explainer.inside(
            str(examples()[0].photo if str(examples()[0].photo) != photo else examples()[1].photo), found, "cat"
        )
    origin = dataclasses.replace(found.provenance, weights_sha256="ab" * 32)
    with pytest.raises(ModelError, match="not by these weights"):
        explainer.inside(image, dataclasses.replace(found, provenance=origin), "cat")
    record = found.record
    other = dataclasses.replace(record, scores=record.scores * 1.1, probs=torch.softmax(record.scores * 1.1, -1))
    with pytest.raises(ModelError, match="another attention"):
        explainer.inside(image, dataclasses.replace(found, record=other), "cat")
    with pytest.raises(SelectionError, match="is not in the caption"):
        explainer.inside(image, found, "dog")


def test_the_engine_takes_the_layer_and_head_of_the_map_that_is_shown(explainer, photo):
    engine = Engine("crossviz-mini")
    start = TEXT.index("cat")
    found = engine.explain(photo, TEXT)
    inside = engine.inside(found, "", (start, start + 3), layer=0, head=2, token=None, patch=(3, 4))
    assert (inside.layer, inside.head, inside.patch, inside.picked) == ("cross-attention", 2, (3, 4), ())
    assert inside == explainer.inside(photo, found, "cat", head=2, patch=(3, 4))
    legrad = engine.explain(photo, TEXT, method="legrad")
    other = engine.inside(legrad, "", (start, start + 3), layer=1, head=0, token=None, patch=None)
    assert "The map is of all 4 heads: opened is the one that looks here most." in other.picked
