"""Deletion and insertion against the closed form on a linear model; what takes the place of removed patches."""

import dataclasses
from itertools import pairwise

import factories
import pytest
import torch

from crossviz.errors import MethodError, ResultError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.results import RelevanceMap
from crossviz.trace import EncodedImage, Match, Trace
from crossviz.trust import Deletion, Subject
from crossviz.trust.curves import PLACES, RANDOM_ORDERS, delete
from crossviz.trust.deletion import (
    LEVELS,
    RATIO_LEVEL,
    centre_order,
    map_order,
    masks_of,
    moved,
    random_masks,
    random_orders,
)
from crossviz.trust.fills import filler, inpaint, pixel_masks

GRID = PatchGrid(4, 5)
CELL = 6


def run(steps):
    """The value of a generator, and how often it yielded."""
    yields = []
    while True:
        try:
            yields.append(next(steps))
        except StopIteration as stop:
            return stop.value, yields


class Linear:
    """A model whose match is a weighted sum of the patches' brightness; counts the photos that it sees."""

    def __init__(self, seed: int = 0) -> None:
        rng = torch.Generator().manual_seed(seed)
        self.weights = torch.randn(4, 5, generator=rng)
        self.light = torch.randn(4, 5, generator=rng)
        self.photos = 0

    @property
    def pixels(self) -> torch.Tensor:
        return self.light.repeat_interleave(CELL, 0).repeat_interleave(CELL, 1).expand(1, 3, -1, -1).clone()

    @property
    def shares(self) -> torch.Tensor:
        """What each patch adds to the match beyond what the mean colour would."""
        return self.weights * (self.light - self.light.mean())

    def state(self, pixels: torch.Tensor) -> torch.Tensor:
        self.photos += len(pixels)
        return torch.nn.functional.avg_pool2d(pixels.mean(1), CELL)

    def subject(self, values: torch.Tensor | None = None) -> Subject:
        match = Match(
            "sum", "A sum.", self.state,
            lambda state, phrases: (state * self.weights).sum((1, 2))[:, None].expand(-1, len(phrases)),
            lambda scores: scores, "sum",
        )  # fmt: skip
        photo, caption = factories.photo(), factories.caption("a dog")
        view = ImageView.squash(photo.wh, (4 * CELL, 5 * CELL))
        image = EncodedImage(photo, view, GRID, torch.ones(2), {"pixels": self.pixels}, "linear", "linear")
        trace = Trace(image, caption, 0.0, {"match": lambda: match}, {}, lambda texts: torch.ones(len(texts), 2))
        values = self.shares if values is None else values
        chart = RelevanceMap(values.expand(2, 4, 5), "sum", True, "linear", {}, "query: text", True, (1, 1))
        return Subject(trace, None, None, caption.phrase("dog"), chart, None, None, 0)


def counts() -> list[int]:
    return [round(level * 20) for level in LEVELS]


def test_the_curves_of_a_linear_model_are_partial_sums():
    model = Linear()
    found, steps = run(delete(model.subject(), "mean", seed=1))
    ordered = model.shares.flatten().sort(descending=True).values
    whole = float((model.weights * model.light).sum())
    deleted = [whole - float(ordered[:count].sum()) for count in counts()]
    nothing = whole - float(ordered.sum())
    inserted = [nothing + float(ordered[:count].sum()) for count in counts()]
    assert found.curve("deletion", "map").tolist() == pytest.approx(deleted, abs=1e-4)
    assert found.curve("insertion", "map").tolist() == pytest.approx(inserted, abs=1e-4)
    by_hand = sum((b - a) * (deleted[i] + deleted[i + 1]) / 2 for i, (a, b) in enumerate(pairwise(LEVELS)))
    assert found.area("deletion", "map") == pytest.approx(by_hand, abs=1e-4)
    # No order removes more than that of the true shares.
    assert (found.curves[0, 1:] >= found.curves[0, :1] - 1e-4).all()
    assert (found.curves[1, 1:] <= found.curves[1, :1] + 1e-4).all()
    assert steps == sorted(steps) and steps[0] > 0 and steps[-1] == 1


def test_every_baseline_is_the_sum_of_the_patches_that_its_masks_remove():
    model = Linear(2)
    found, _ = run(delete(model.subject(), "mean", seed=5))
    rng = torch.Generator().manual_seed(5)
    centre, orders = centre_order(GRID, rng), random_orders(GRID, RANDOM_ORDERS, rng)
    flat, whole = model.shares.flatten(), float((model.weights * model.light).sum())
    for place, order in enumerate([centre, *orders]):
        falls = [whole - float(flat[order[:count]].sum()) for count in counts()]
        assert found.curves[0, 1 + place].tolist() == pytest.approx(falls, abs=1e-4)
        back = order if place == 0 else order.flip(0)  # a random order is read from its end
        rises = [whole - float(flat.sum()) + float(flat[back[:count]].sum()) for count in counts()]
        assert found.curves[1, 1 + place].tolist() == pytest.approx(rises, abs=1e-4)


def test_the_next_word_costs_its_own_passes_only():
    model = Linear()
    subject = model.subject()
    first, _ = run(delete(subject, "mean", seed=0))
    before = model.photos
    again, _ = run(delete(subject, "mean", seed=0))
    assert model.photos - before == 2 * (len(LEVELS) - 2) + PLACES and again == first
    before = model.photos
    run(delete(subject, "blur", seed=0))
    assert model.photos - before > 20  # another fill is another photo


def test_a_check_that_was_ended_keeps_nothing_half_done():
    model = Linear()
    subject = model.subject()
    steps = delete(subject, "mean", seed=0)
    next(steps)
    steps.close()
    found, _ = run(delete(subject, "mean", seed=0))
    assert found == run(delete(Linear().subject(), "mean", seed=0))[0]


def test_a_map_that_is_the_same_everywhere_is_a_random_order():
    model = Linear()
    orders = {tuple(map_order(torch.ones(4, 5), torch.Generator().manual_seed(seed)).tolist()) for seed in range(5)}
    assert len(orders) == 5
    order = map_order(torch.tensor([[3.0, 1.0, 3.0, 2.0]]), torch.Generator().manual_seed(0)).tolist()
    assert set(order[:2]) == {0, 2} and order[2:] == [3, 1]
    assert centre_order(PatchGrid(3, 3), torch.Generator())[0] == 4
    found, _ = run(delete(model.subject(torch.ones(4, 5)), "mean", seed=0))
    assert torch.isfinite(found.curves).all()


def test_masks_remove_what_they_say():
    order = torch.tensor([3, 1, 0, 2])
    deleted, kept = masks_of(order, (0, 0.25, 0.5, 1))
    assert deleted.int().tolist() == [[0, 0, 0, 1], [0, 1, 0, 1]]
    assert torch.equal(kept, ~deleted)
    masks, curves = random_masks(order[None], (0, 0.25, 0.5, 1))
    assert masks.sum(1).tolist() == [1, 2, 3]
    scores = masks.double() @ torch.tensor([1.0, 10, 100, 1000], dtype=torch.float64)
    assert curves(scores).tolist() == [[[1000, 1010]], [[1011, 1010]]]


def test_copies_of_a_mask_keep_its_shape_and_lie_elsewhere():
    mask, grid = torch.zeros(12, 14, dtype=torch.bool), PatchGrid(12, 14)
    mask[3:6, 4:8], mask[6, 4] = True, True
    copies = moved(mask.flatten(), grid, 40, torch.Generator().manual_seed(0)).view(-1, 12, 14)
    shifted = [mask.roll((y, x), (0, 1)) for y in range(12) for x in range(14)]
    turned = [mask.flip(1).roll((y, x), (0, 1)) for y in range(12) for x in range(14)]
    for number, copy in enumerate(copies):
        assert any(torch.equal(copy, one) for one in (turned if number % 2 else shifted))
        assert not torch.equal(copy, mask)
    assert (copies & mask).sum() < 0.05 * copies.sum()


def test_the_map_is_held_against_itself_elsewhere():
    model = Linear(3)
    found, _ = run(delete(model.subject(), "mean", seed=4))
    rng = torch.Generator().manual_seed(4)
    centre_order(GRID, rng), random_orders(GRID, RANDOM_ORDERS, rng)
    order = map_order(model.shares, rng)
    first = torch.zeros(20, dtype=torch.bool)
    first[order[:2]] = True
    whole = float((model.weights * model.light).sum())
    expected = [whole - float(model.shares.flatten()[copy].sum()) for copy in moved(first, GRID, PLACES, rng)]
    assert found.elsewhere == pytest.approx(expected, abs=1e-4) and len(expected) == PLACES
    assert not found.beaten  # nothing lowers the match more than the true shares
    assert Deletion.from_arrays(*found.to_arrays()) == found


# The ratio, and when it says nothing ---------------------------------------------------------------------------


def planted(mine: float, random: float, nothing: float = 0.0, whole: float = 0.9) -> Deletion:
    curves = torch.full((2, 5, len(LEVELS)), whole)
    curves[0, :, -1] = curves[1, :, 0] = nothing
    at = LEVELS.index(RATIO_LEVEL)
    curves[0, 0, at], curves[0, 2:, at] = whole - mine, whole - random
    return Deletion("share found", "blur", LEVELS, curves)


def test_the_ratio_is_of_the_falls_at_a_tenth():
    assert planted(0.6, 0.1).ratio == pytest.approx(6)
    assert planted(0.6, 0.02).ratio is None  # too near to zero to divide by
    assert planted(0.6, -0.1).ratio is None
    assert planted(0.01, 0.001).ratio is None  # no fall to speak of
    assert planted(0.6, 0.1, nothing=0.895).ratio is None  # the match does not hang on the photo
    assert dataclasses.replace(planted(0.6, 0.1), elsewhere=(0.31, 0.9)).ratio == pytest.approx(6)
    assert dataclasses.replace(planted(0.6, 0.1), elsewhere=(0.29, 0.9)).ratio is None  # falls as far elsewhere
    with pytest.raises(ResultError, match="levels"):
        dataclasses.replace(planted(0.6, 0.1), levels=(0, 0.5, 0.4, 0.6, 0.8, 1))


def test_no_ratio_is_named_that_the_whole_curve_does_not_bear_out():
    found = planted(0.6, 0.1)
    inner = slice(LEVELS.index(RATIO_LEVEL) + 1, -1)

    def changed(rows: slice, match: float) -> Deletion:
        curves = found.curves.clone()
        curves[0, rows, inner] = match
        return dataclasses.replace(found, curves=curves)

    assert found.below and found.ratio == pytest.approx(6)
    for later in (changed(slice(2, None), 0.7), changed(slice(2, 3), 0.7)):  # all random orders; one of them
        assert later.fall("map") == found.fall("map") and later.fall("random") == found.fall("random")
        assert not later.below and later.ratio is None
    assert changed(slice(2, 3), 0.86).below  # 0.04 over the 3/4 of the curve that follow, less than the map's 0.075
    assert planted(0.12, 0.1).ratio == pytest.approx(1.2) and not planted(0.12, 0.1).below  # claims nothing
    assert not planted(0.6, 0.1, nothing=0.895).below


@pytest.mark.parametrize(("gain", "below"), [(0.045, False), (0.055, True), (-0.3, False)])
def test_clearly_below_is_a_twentieth_of_the_whole_fall(gain, below):
    curves = torch.full((2, 4, len(LEVELS)), 0.5)
    curves[0, :, 0], curves[0, :, -1] = 1.0, 0.0
    curves[0, 0, 1:-1] -= gain / 0.9  # the mean of the curve, by trapezoids, is 0.9 of what the inner levels get
    found = Deletion("share found", "blur", LEVELS, curves)
    assert found.area("deletion", "random") - found.area("deletion", "map") == pytest.approx(gain, abs=1e-6)
    assert found.below is below


# Fills ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["blur", "mean", "inpaint"])
def test_what_stays_is_untouched_and_nothing_removed_is_the_photo(fill):
    pixels = torch.randn(1, 3, 24, 30, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(3, 20, dtype=torch.bool)
    masks[1, 7], masks[2] = True, True
    where = pixel_masks(masks, GRID, (24, 30), (24, 30))
    assert where[1].sum() == 36 and where[1, 0, 6:12, 12:18].all()
    out = filler(pixels, fill)(where)
    assert torch.equal(out[0], pixels[0])
    assert torch.equal(out[1][:, ~where[1, 0]], pixels[0][:, ~where[1, 0]])
    assert not torch.isclose(out[1][:, where[1, 0]], pixels[0][:, where[1, 0]]).all()
    detail = (out[2] - out[2].mean((1, 2), keepdim=True)).std() / pixels.std()
    assert detail < 0.5  # what is removed holds little of what was there
    with pytest.raises(MethodError, match="fill"):
        filler(pixels, "paint")


def test_pixels_beyond_the_grid_are_left_alone():
    where = pixel_masks(torch.ones(1, 20, dtype=torch.bool), GRID, (24, 25), (26, 30))
    assert where[0, 0, :24, :25].all() and not where[0, 0, 24:].any() and not where[0, 0, :, 25:].any()


def test_diffusion_restores_what_solves_the_equation():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(56.0), indexing="ij")
    ramp = torch.stack([0.1 * x - 0.05 * y, y * 0.02, torch.ones_like(x)])[None] + 3
    hole = torch.zeros(1, 1, 40, 56, dtype=torch.bool)
    hole[..., 10:26, 16:40] = True
    found = inpaint(torch.where(hole, 99.0, ramp), hole)
    assert (found - ramp).abs().max() < 0.02 * float(ramp.max() - ramp.min())
    # A maximum principle: nothing is filled in beyond what stays.
    noisy = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    filled = inpaint(noisy, hole)
    assert filled.min() >= noisy.min() - 1e-6 and filled.max() <= noisy.max() + 1e-6
