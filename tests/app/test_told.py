"""What a screen reader is told of a map: the sentence that Python says, in the live region and as the stage's text."""

import dataclasses

import factories
import numpy as np
import pytest
import torch
from scenes import composed, meadow, shares
from test_pixels import sent
from watched import pointed

from crossviz.geometry import ImageView, PatchGrid
from crossviz.render.contour import half_mass
from crossviz.render.overlay import contour_is_shown
from crossviz.render.places import EVERYWHERE, SEVERAL, places
from crossviz.render.scale import shared_scale
from crossviz.render.sentences import map_sentence

PLACES = "([word, layer, head, share]) => crossvizView.view().field.places(word, layer, head, share)"
SENTENCE = """([word, layer, head, share]) => {
  const { field } = crossvizView.view();
  const stats = field.stats(word, layer, head, true, share);
  const where = field.places(word, layer, head, share);
  return CrossvizViewer.mapSentence(field.text(word), field, field.nullMass(word, layer, head), stats, where);
}"""
TOLD = "() => document.getElementById(document.querySelector('.cv-frame').getAttribute('aria-describedby')).textContent"


def scattered(seed: int):
    """Words whose maps are spots at random places, of random width and number, in a photo of random shape."""
    rng = np.random.default_rng(seed)
    text = " ".join(f"word{i}" for i in range(24))
    grid = PatchGrid(int(rng.integers(3, 17)), int(rng.integers(3, 17)))
    size = (int(rng.integers(40, 400)), int(rng.integers(40, 400)))
    view = [ImageView.squash, ImageView.shortest, ImageView.longest][seed % 3](size, (64, 64))
    ex = factories.explanation(text, grid=grid, size_wh=size, view=view, layers=1, heads=1)
    y, x = (np.mgrid[: grid.height, : grid.width] + 0.5) / np.array([grid.height, grid.width])[:, None, None]
    maps, null = [], rng.uniform(0, 1, 24) ** 2
    for word in range(24):
        spot = np.full((grid.height, grid.width), rng.choice([0.0, 0.01, 0.3]))
        for _ in range(int(rng.integers(0, 9))):
            sx, sy = rng.choice([0.04, 0.1, 0.5], 2)
            spot += rng.uniform(0.3, 1) * np.exp(-(((x - rng.random()) / sx) ** 2 + ((y - rng.random()) / sy) ** 2) / 2)
        spot += 1e-4
        maps.append(spot / spot.sum() * (1 - null[word]))
    each = torch.from_numpy(np.stack(maps))[None, None]
    chart = dataclasses.replace(
        ex.map, values=each[0, 0], per_head=each, null_mass=torch.from_numpy(null)[None, None], layers=("only",)
    )
    return dataclasses.replace(ex, maps={ex.method: chart}, record=None)


@pytest.mark.parametrize("seed", range(9))
def test_the_viewer_says_what_python_says_of_maps_at_random(show, seed):
    ex = scattered(seed)
    page = show(ex).page
    values = sent(ex, None, None)
    scale = shared_scale(ex.map.values.numpy(), ex.unit)
    seen = set()
    for share in (0.5, 0.8):
        for word in ex.words:
            mine = values[word.index]
            where = places(mine, ex.view, share=share)
            assert page.evaluate(PLACES, [word.index, None, None, share]) == list(where)
            null = round(ex.null_mass(word=word.index), 5)  # as it is sent
            said = map_sentence(
                word.text,
                where,
                half_mass(mine, share=share),
                null,
                shown=contour_is_shown(mine, scale, share=share),
            )
            assert page.evaluate(SENTENCE, [word.index, None, None, share]) == said
            seen.add(where[0] if len(where) == 1 else len(where))
    assert len(seen) > 3, "the maps are of several kinds"


def test_maps_at_random_are_of_every_kind():
    """What the twins are compared on holds each kind of answer."""
    found = [places(v, ex.view) for ex in map(scattered, range(9)) for v in sent(ex, None, None)]
    kinds = {len(where) if where[0] not in (EVERYWHERE, SEVERAL) else where[0] for where in found}
    assert kinds == {1, 2, EVERYWHERE, SEVERAL}


@pytest.mark.parametrize("explanation", [shares(2, 3), composed()], ids=["signed", "no null key"])
@pytest.mark.parametrize(("layer", "head"), [(None, None), (1, None), (1, 2)])
def test_other_kinds_of_map_are_told_alike(show, explanation, layer, head):
    page = show(explanation).page
    for word in explanation.words:
        said = page.evaluate(SENTENCE, [word.index, layer, head, 0.5])
        assert said.split(", ")[0] == explanation.sentence(word=word.index, layer=layer, head=head).split(", ")[0]


def test_the_live_region_and_the_stage_say_where(show):
    explanation = meadow()
    page = show(explanation).page
    pointed(page.locator(".cv-chip", has_text="frisbee"))
    assert explanation.sentence("frisbee") in page.inner_text(".cv-live")
    assert page.evaluate(TOLD) == explanation.sentence("frisbee")
    pointed(page.locator(".cv-chip", has_text="zebra"))
    assert "‘zebra’ looked, and found nothing here" in page.evaluate(TOLD)
    page.locator(".cv-chip", has_text="dog").click()
    page.locator(".cv-chip", has_text="sky").click()
    page.mouse.move(0, 0)
    assert page.evaluate(TOLD) == f"{explanation.sentence('dog')} {explanation.sentence('sky')}"
    page.keyboard.press("Escape")
    assert page.evaluate(TOLD) == "The plain photo."
    frame = page.locator(".cv-frame")
    assert frame.evaluate("e => e.nextElementSibling.id") == frame.get_attribute("aria-describedby")


def test_what_a_user_wrote_stays_text_in_it(show):
    page = show(meadow("<b>dog</b> &amp; sky")).page
    pointed(page.locator(".cv-chip", has_text="dog"))
    assert page.evaluate(TOLD).startswith("‘dog’ looks mostly")
    assert page.locator(".cv-told *").count() == 0
