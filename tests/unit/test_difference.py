"""One map minus another: exact identities, a brute-force oracle for what moved, and which words answer to which."""

import dataclasses
import itertools

import factories
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crossviz
from crossviz.errors import ResultError, SelectionError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.map_difference import Difference, difference, paired
from crossviz.pairs import Pair, word_pairs

WORDS = st.lists(st.sampled_from(["a", "black", "dog", "cat", "red", "ball", "The"]), max_size=9)
WIDE = ImageView.squash((60, 40), (64, 96))
CROP = ImageView.shortest((60, 40), (64, 64))


def of(text="a dog and a zebra", **options):
    """Of one and the same photo, whatever the maps."""
    return dataclasses.replace(factories.explanation(text, **options), photo=factories.photo())


def test_a_map_minus_itself_is_exactly_zero():
    ex = of()
    found = difference(ex, ex, "dog")
    assert not found.values().any() and not found.values(smooth=False).any()
    assert found.moved == 0.0
    pixels = np.asarray(found.overlay())
    from crossviz.render.overlay import dim_photo

    assert (pixels == np.asarray(dim_photo(ex.photo.image()))).all()  # nothing is drawn


@pytest.mark.parametrize("smooth", [True, False])
def test_swapped_it_has_the_other_sign_everywhere(smooth):
    one, two = of(), of(seed=5, null=[0.3] * 5)
    there, back = difference(one, two, "dog"), difference(two, one, "dog")
    assert (there.values(smooth=smooth) == -back.values(smooth=smooth)).all()
    assert np.abs(there.values(smooth=smooth)).max() > 0
    assert there.moved == back.moved > 0


def test_it_is_the_difference_of_the_heatmaps_in_multiples_of_chance():
    one, two = of(), of(seed=5)
    expected = (one.heatmap("dog").astype(np.float64) - two.heatmap("dog")) * one.grid.num_patches
    np.testing.assert_allclose(difference(one, two, "dog").values(), expected, atol=1e-4)
    assert difference(one, two, "dog").unit == "× chance"


def test_where_not_both_models_saw_the_photo_there_is_no_difference():
    one, two = of(view=WIDE), of(view=CROP, grid=PatchGrid(4, 4), seed=2)
    values = difference(one, two, "dog").values()
    x0, _, x1, _ = (round(edge) for edge in CROP.crop_xyxy)
    assert not values[:, :x0].any() and not values[:, x1:].any()
    assert (values[:, x0:x1] != 0).all()


@pytest.mark.parametrize(
    ("grids", "views"),
    [
        (((4, 6), (4, 6)), (WIDE, WIDE)),
        (((4, 6), (8, 12)), (WIDE, WIDE)),
        (((5, 3), (4, 7)), (WIDE, WIDE)),
        (((4, 6), (4, 4)), (WIDE, CROP)),
    ],
    ids=["one grid", "halved patches", "patches across each other", "a crop"],
)
def test_what_moved_is_half_of_all_that_differs(grids, views):
    one, two = (
        of(grid=PatchGrid(*grid), view=view, null=[null] * 5, seed=seed)
        for grid, view, null, seed in zip(grids, views, (0.1, 0.4), (0, 3), strict=True)
    )
    # Oracle: how much of each map falls on each of many small squares, patches cut up as they lie.
    fine = 840  # a multiple of every grid's sides
    dense = []
    for ex in (one, two):
        cells = ex.patch_map("dog").astype(np.float64)
        x0, y0, x1, y1 = ex.view.crop_xyxy
        xs, ys = (np.arange(fine) + 0.5) / fine * 60, (np.arange(fine) + 0.5) / fine * 40
        columns, rows = (
            np.floor((xs - x0) / (x1 - x0) * cells.shape[1]),
            np.floor((ys - y0) / (y1 - y0) * cells.shape[0]),
        )
        inside = (columns >= 0) & (columns < cells.shape[1])
        share = cells[rows.astype(int)[:, None], np.clip(columns, 0, cells.shape[1] - 1).astype(int)] * inside
        dense.append(share * ((1 - ex.null_mass("dog")) / share.sum()))
    nulls = abs(one.null_mass("dog") - two.null_mass("dog"))
    expected = 0.5 * (np.abs(dense[0] - dense[1]).sum() + nulls)
    assert difference(one, two, "dog").moved == pytest.approx(expected, abs=2e-3)


def test_what_moved_lies_between_nothing_and_all():
    near, far = of("dog", peaks=[(0, 0)], null=[0.0]), of("dog", peaks=[(3, 5)], null=[0.0])
    assert 0.8 < difference(near, far, "dog").moved <= 1.0
    absent = of("dog", peaks=[None], null=[1.0])
    assert difference(absent, absent, "dog").moved == 0.0


def test_the_word_in_its_place_is_found():
    one, two = of("a black dog runs"), of("a brown cat runs")
    assert difference(one, two, "dog").other.text == "cat"
    assert difference(one, two, "black dog").other.text == "brown cat"
    assert difference(one, two, "dog", "brown").other.text == "brown"
    assert [(a.text, b.text) for a, b in paired(one, two)] == [
        ("a", "a"),
        ("black", "brown"),
        ("dog", "cat"),
        ("runs", "runs"),
    ]


def test_what_has_no_counterpart_is_refused_in_words():
    one, two = of("a dog"), of("a dog and a zebra")
    with pytest.raises(ResultError, match="stands in the place of 'zebra'"):
        difference(two, one, "zebra")
    with pytest.raises(SelectionError, match="wolf"):
        difference(one, two, "wolf")
    with pytest.raises(ResultError, match="different photos"):
        difference(one, factories.explanation("a dog", seed=1), "dog")


def test_maps_in_two_units_are_not_subtracted():
    one = of("a dog")
    chart = dataclasses.replace(one.map, unit="cosine", null_mass=None)
    other = dataclasses.replace(one, maps={"cross_attention": chart})
    with pytest.raises(ResultError, match="in probability"):
        difference(one, other, "dog")


def test_it_is_public():
    assert crossviz.difference is difference and crossviz.Difference is Difference


def test_runs_take_each_others_place():
    def shown(first, second):
        return [(p.first, p.second, p.same) for p in word_pairs(first.split(), second.split())]

    assert shown("his camera there", "his big tripod there") == [
        ((0, 0), (0, 0), True),
        ((1, 1), (1, 2), False),
        ((2, 2), (3, 3), True),
    ]
    assert shown("a dog", "A dog runs") == [((0, 0), (0, 0), True), ((1, 1), (1, 1), True), (None, (2, 2), False)]
    assert shown("one two three four five", "six") == [
        *(((k, k), None, False) for k in range(5)),
        (None, (0, 0), False),
    ]


@given(WORDS, WORDS)
def test_every_word_stands_in_one_pair_in_order(first, second):
    pairs = word_pairs(first, second)
    for words, side in ((first, "first"), (second, "second")):
        runs = [getattr(pair, side) for pair in pairs if getattr(pair, side)]
        assert [k for a, b in runs for k in range(a, b + 1)] == list(range(len(words)))
    same = [pair for pair in pairs if pair.same]
    assert all(first[p.first[0]].lower() == second[p.second[0]].lower() for p in same)
    assert len(same) == _longest([w.lower() for w in first], [w.lower() for w in second])
    assert word_pairs(first, first) == tuple(Pair((k, k), (k, k), True) for k in range(len(first)))


def _longest(first: list[str], second: list[str]) -> int:
    """Oracle: the longest subsequence of the one that is one of the other, by trying them all."""

    def within(some):
        rest = iter(second)
        return all(any(word == other for other in rest) for word in some)

    sizes = range(len(first), -1, -1)
    return next(size for size in sizes if any(within(some) for some in itertools.combinations(first, size)))
