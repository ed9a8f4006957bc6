"""What an explanation's attention takes, counted beforehand, and refused above a bound."""

import pytest
from factories import photo
from torch import nn

from crossviz.errors import MethodError
from crossviz.explainer import Explainer
from crossviz.geometry import PatchGrid
from crossviz.models.room import attention_bytes
from crossviz.web.engine import Engine, check_room


class Planted:
    """A model of 3 sites with 2, 4 and 1 heads, over a grid of 5 x 7 patches and one class token."""

    def __init__(self, *names):
        self.grid = PatchGrid(5, 7, 1)
        named = nn.Module()
        named.num_attention_heads = 4
        self._sites = dict(zip(names, (nn.MultiheadAttention(8, 2), named, nn.Module()), strict=True))

    def attention_sites(self):
        return self._sites


def test_every_head_counts_and_patches_among_themselves_where_they_are_read():
    heads, keys, tokens = 2 + 4 + 1, 1 + 5 * 7 + 1, 11
    assert attention_bytes(Planted(*"abc"), tokens, False) == 4 * heads * tokens * keys * 3
    assert attention_bytes(Planted(*"abc"), tokens, True) == 4 * heads * keys * 3 * (tokens + keys)
    named = Planted("visual.0", "text.0", "text.1")
    assert attention_bytes(named, tokens, True) == 4 * keys * 3 * (heads * tokens + 2 * keys)


def test_the_bound_is_kept_to_the_byte():
    explainer = Explainer("crossviz-mini")
    needed = explainer.needed_bytes("a dog and a cat")
    check_room(explainer, "a dog and a cat", None, needed)
    with pytest.raises(MethodError, match=r"24 x 24 patches .* GiB .* choose another method or a smaller model"):
        check_room(explainer, "a dog and a cat", None, needed - 1)
    assert explainer.needed_bytes("a dog and a cat and a bird") > needed
    assert explainer.needed_bytes("a dog", "legrad") > 30 * needed


def test_a_huge_grid_is_refused_before_the_photo_is_read(monkeypatch):
    huge = PatchGrid(512, 512, 0)
    monkeypatch.setattr(Explainer("crossviz-mini")._model, "grid", huge)
    monkeypatch.setattr(Explainer, "encode_many", lambda *asked: pytest.fail("the photo was read"))
    with pytest.raises(MethodError, match=r"512 x 512 patches .* at most 2\.0 GiB"):
        Engine("crossviz-mini").explain(photo(), "a dog", method="legrad")


@pytest.mark.parametrize("again", ["again", "trust", "inside"])
def test_so_is_what_is_asked_of_an_answer_that_was_opened(monkeypatch, again):
    engine, loaded = Engine("vilt-mini"), Explainer("vilt-mini")
    opened = loaded.explain(photo(), "a dog")
    ask = {
        "again": lambda: engine.finished(engine.again_steps(opened, "vilt-mini", (2, 5))),
        "trust": lambda: engine.finished(engine.trust_steps(opened, "vilt-mini", (2, 5))),
        "inside": lambda: engine.inside(opened, "vilt-mini", (2, 5), None, None),
    }[again]
    monkeypatch.setattr(loaded._model, "grid", PatchGrid(4096, 4096, 0))
    monkeypatch.setattr(Explainer, "encode_many", lambda *asked: pytest.fail("the photo was read"))
    with pytest.raises(MethodError, match=r"4096 x 4096 patches .* at most 2\.0 GiB"):
        ask()
