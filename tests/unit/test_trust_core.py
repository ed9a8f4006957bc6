"""The checks' arithmetic on planted maps: closed forms, permutation tests that must be exact, identities."""

import json
import math

import factories
import numpy as np
import pytest
import torch

from crossviz.errors import BundleError, GeometryError, ResultError
from crossviz.measures import best_iou
from crossviz.trust import Calibration, TrustReport, agree, calibrate, localise
from crossviz.trust.null_maps import captions_with
from crossviz.trust.ranks import ranks, spearman, top_share
from crossviz.trust.vocabulary import WORDS, PseudoWords, random_words
from crossviz.words import make_caption


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Ranks ---------------------------------------------------------------------------------------------------------


def test_ranks_share_ties_and_spearman_sees_only_order():
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]
    one = noise(5, 7)
    assert spearman(one, one.exp()) == pytest.approx(1.0)
    assert spearman(one, -one) == pytest.approx(-1.0)
    assert spearman(one, torch.ones(5, 7)) == 0.0
    # Without ties: 1 - 6 sum d^2 / (n (n^2 - 1)).
    other = noise(5, 7, seed=1)
    d = np.argsort(np.argsort(one.flatten().numpy())) - np.argsort(np.argsort(other.flatten().numpy()))
    assert spearman(one, other) == pytest.approx(1 - 6 * float(d @ d) / (35 * (35**2 - 1)))


def test_the_highest_share_is_divided_among_tied_patches():
    assert top_share(torch.tensor([[4.0, 1.0], [3.0, 2.0]]), 0.5).tolist() == [[1.0, 0.0], [1.0, 0.0]]
    tied = top_share(torch.tensor([5.0, 1.0, 1.0, 1.0]), 0.5)
    assert tied.tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])


# Calibration ---------------------------------------------------------------------------------------------------


def test_maps_drawn_from_the_null_are_beyond_it_as_often_as_expected():
    # Skewed values, each patch on a scale of its own: the test must not lean on a normal distribution.
    scale = torch.linspace(0.1, 9, 60).view(6, 10)
    shares, peaks = [], []
    for seed in range(400):
        maps = noise(31, 6, 10, seed=seed).exp() * scale
        found = calibrate(maps[0], maps[1:])
        shares.append(found.share_beyond)
        peaks.append(found.p_peak <= 0.1)
    assert found.expected == pytest.approx(1 / 31)  # p = 1/31 is below .05, 2/31 is not
    error = math.sqrt(found.expected / (400 * 60))
    assert abs(np.mean(shares) - found.expected) < 4 * error
    assert abs(np.mean(peaks) - 3 / 31) < 4 * math.sqrt(0.09 / 400)


def test_the_share_of_smooth_maps_is_beyond_chance_one_time_in_twenty():
    # Neighbours go together: the share beyond then varies much, and "twice the expected" would be called beyond far
    # more often. Half the values are tied at zero, as those of methods that cut off what is negative.
    count, rejected, beyond, expected = 500, [], [], []
    for seed in range(count):
        rough = noise(41, 1, 12, 12, seed=seed)
        maps = torch.nn.functional.avg_pool2d(rough, 7, 1, 3).clamp(min=0)[:, 0]
        found = calibrate(maps[0], maps[1:])
        rejected.append(found.p_share <= 0.05)
        beyond.append(found.share_beyond)
        expected.append(found.expected)
    # p is a multiple of 1/41, and 2/41 the largest below .05.
    assert abs(np.mean(rejected) - 2 / 41) < 4 * math.sqrt(0.05 * 0.95 / count)
    assert abs(np.mean(beyond) - np.mean(expected)) < 4 * np.std(beyond) / math.sqrt(count)


def test_a_share_is_ranked_among_those_of_the_random_words():
    null = noise(40, 6, 6, seed=3)
    found = calibrate(null.amax(0) + 1, null)
    assert (found.share_beyond, found.p_share) == (1.0, pytest.approx(1 / 41))
    every = [calibrate(null[i], torch.cat([null[:i], null[i + 1 :]])) for i in range(40)]
    assert len({round(part.expected, 9) for part in every}) == 1  # of the same maps, whichever is in question
    assert np.mean([part.share_beyond for part in every]) == pytest.approx(every[0].expected)
    assert found.as_dict()["p_share"] == pytest.approx(1 / 41, rel=1e-4)
    lowest = calibrate(null.amin(0) - 1, null)
    assert (lowest.share_beyond, lowest.p_share) == (0.0, 1.0)


def test_calibration_by_hand():
    null = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(4, 1, 1).expand(4, 1, 2)
    found = calibrate(torch.tensor([[2.0, 10.0]]), null)
    assert found.percentile.tolist() == [[2.5 / 4, 1.0]]
    assert found.z.flatten().tolist() == pytest.approx([0.5 / math.sqrt(1.25), 8.5 / math.sqrt(1.25)])
    assert found.p_peak == pytest.approx(1 / 5)
    assert (found.share_beyond, found.expected) == (0.0, 0.0)  # four captions are too few for any p below .05


def test_a_planted_patch_is_beyond_and_a_map_like_all_others_is_not():
    null = noise(60, 4, 4).abs()
    values = null.mean(0)
    values[1, 2] = 50.0
    found = calibrate(values, null)
    assert found.p_peak == pytest.approx(1 / 61)
    assert found.share_beyond == pytest.approx(1 / 16)
    assert found.z.argmax() == 6
    same = calibrate(torch.ones(4, 4), torch.ones(60, 4, 4))
    assert same.share_beyond == 0 and same.p_peak == 1 and same.z.abs().max() == 0 and (same.percentile == 0.5).all()
    with pytest.raises(ResultError, match="must be `caption`"):
        calibrate(torch.ones(4, 4), torch.ones(60, 4, 5))


# Random words --------------------------------------------------------------------------------------------------


def test_random_words_have_the_length_mix_and_seed_that_was_asked_for():
    runs = random_words(200, 5, seed=3, leave_out=["Dog", "umbrella"])
    words = [word for run in runs for word in run]
    assert len(words) == 1000 and runs == random_words(200, 5, seed=3, leave_out=["dog", "umbrella"])
    assert runs != random_words(200, 5, seed=4)
    assert not {"dog", "umbrella"} & set(words) and {"dog", "umbrella"} <= set(WORDS)
    real = sum(word in WORDS for word in words) / len(words)
    assert 0.43 < real < 0.57


def test_pseudo_words_are_made_of_the_letters_that_follow_one_another_in_real_words():
    import random

    made, triples = PseudoWords(), {f"^{word}$"[i : i + 3] for word in WORDS for i in range(len(word))}
    rng = random.Random(0)
    words = [made.word(rng) for _ in range(200)]
    assert all(4 <= len(word) <= 7 and word not in WORDS for word in words)
    assert all(f"^{word}$"[i : i + 3] in triples for word in words for i in range(len(word)))


def test_only_the_phrase_gives_way_to_random_words():
    caption = factories.caption("A black dog, a dog")
    assert captions_with(caption, (2,), [("milk",), ("fern",)]) == ["A black milk, a dog", "A black fern, a dog"]
    assert captions_with(caption, (1, 2), [("milk", "fern")]) == ["A milk fern, a dog"]
    joined = make_caption("\u72ac\u3068\u732b", [])
    text = captions_with(joined, (len(joined.words) - 1,), [("milk",)])[0]
    assert [word.text for word in make_caption(text, []).words][-1] == "milk"


# Agreement -----------------------------------------------------------------------------------------------------


def test_a_method_agrees_when_it_shows_the_word_and_not_only_the_photo():
    photo = noise(8, 8) * 3  # what all maps of the photo share
    word = noise(8, 8, seed=1)
    null = photo + torch.stack([noise(8, 8, seed=seed) for seed in range(10, 70)])
    maps = [photo + word, photo + word + 0.2 * noise(8, 8, seed=2), photo + noise(8, 8, seed=3)]
    found = agree(["a", "b", "c"], ["A", "B", "C"], maps, null)
    assert found.agrees == (True, False)  # the third resembles the first as much, by the photo alone
    assert found.correlations[0, 2] > 0.7
    assert torch.equal(found.correlations, found.correlations.T)
    assert found.correlations.diagonal().tolist() == pytest.approx([1, 1, 1])
    assert float(found.patches.sum()) == pytest.approx(6, rel=1e-5)  # a tenth of 64 patches
    assert (found.agreeing, found.of) == (1, 2)


def test_maps_that_run_against_each_other_never_agree():
    word = noise(8, 8)
    null = torch.stack([word + 0.1 * noise(8, 8, seed=seed) for seed in range(10, 70)])
    other = -word
    found = agree(["a", "b"], ["A", "B"], [noise(8, 8, seed=9) + 0.3 * word, other], null)
    assert -0.9 < found.correlations[0, 1] < 0 and found.agrees == (False,)  # less opposed than any random word's
    assert found.as_dict()["agrees"] == [False]


def test_an_unrelated_method_agrees_one_time_in_twenty():
    null = torch.stack([noise(6, 6, seed=1000 + seed) for seed in range(60)])
    count = 300
    agrees = [
        agree(["a", "b"], ["A", "B"], [noise(6, 6, seed=seed), noise(6, 6, seed=5000 + seed)], null).agreeing
        for seed in range(count)
    ]
    assert abs(np.mean(agrees) - 3 / 61) < 4 * math.sqrt(0.05 * 0.95 / count)


# Localisation --------------------------------------------------------------------------------------------------


def test_localisation_of_a_planted_box():
    heat = np.full((40, 60), 0.1, np.float32)
    heat[10:20, 15:30] = 1.0  # 150 pixels of 2400
    found = localise(heat, (15, 10, 30, 20))
    assert found.area == pytest.approx(150 / 2400)
    assert found.mass == pytest.approx(150 / (150 + 225), rel=1e-5)
    assert found.pointing and found.iou == 1.0 and found.cut_off == 1.0
    half = localise(heat, (15, 10, 30, 30))  # twice the planted area
    assert half.iou == pytest.approx(0.5) and half.pointing
    away = localise(heat, (40, 30, 60, 40))
    assert not away.pointing and away.mass == pytest.approx(200 * 0.1 / 375, rel=1e-4)
    assert away.iou == pytest.approx(200 / 2400) and away.cut_off == pytest.approx(0.1)
    beyond = localise(heat, (-100, 10, 1000, 20))
    assert beyond.box == (0, 10, 60, 20) and beyond.area == pytest.approx(0.25)


@pytest.mark.parametrize("box", [(5, 5, 5.2, 5.2), (100, 100, 120, 120), (1, 2, 3), (0, 0, math.nan, 5), "box"])
def test_a_box_without_pixels_is_refused(box):
    with pytest.raises(GeometryError, match=r"box|[Bb]ox"):
        localise(np.ones((40, 60), np.float32), box)


def test_the_best_cut_is_the_best_of_all_that_there_are():
    rng = np.random.default_rng(0)
    heat, region = rng.normal(size=(12, 9)).round(1), rng.random((12, 9)) > 0.6
    naive = max(((heat >= cut) & region).sum() / ((heat >= cut) | region).sum() for cut in np.unique(heat) if cut > 0)
    iou, cut = best_iou(heat, region)
    assert iou == pytest.approx(naive)
    shown = heat >= cut * heat.max() - 1e-9
    assert (shown & region).sum() / (shown | region).sum() == pytest.approx(naive)
    assert best_iou(-np.ones((3, 3)), np.ones((3, 3), bool)) == (0.0, 1.0)


# Reports -------------------------------------------------------------------------------------------------------


def calibration() -> Calibration:
    return calibrate(noise(4, 6), noise(30, 4, 6, seed=1))


def test_a_report_goes_through_json_and_back():
    report = TrustReport(
        span=(2, 5), text="dog", method="cross_attention", seconds=0.25, seed=3, notes=("One.",),
        calibration=calibration(), localisation=localise(np.ones((4, 6), np.float32), (0, 0, 3, 2)),
    )  # fmt: skip
    arrays, values = report.to_arrays()
    again = TrustReport.from_arrays(arrays, json.loads(json.dumps(values, allow_nan=False)))
    assert again == report and again != TrustReport((2, 5), "dog", "cross_attention", 0.25, 3)
    assert again.made == ("calibration", "localisation")
    shown = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert shown["deletion"] is None and shown["localisation"]["area"] == 0.25
    assert len(shown["calibration"]["z"]) == 24 and shown["calibration"]["patches"] == 24
    assert shown["calibration"]["z"][7] == pytest.approx(float(report.calibration.z[1, 1]), rel=1e-4)
    broken = json.loads(json.dumps(values))
    broken["checks"]["calibration"]["p_peak"] = 7
    with pytest.raises(BundleError, match="p_peak"):
        TrustReport.from_arrays(arrays, broken)
    with pytest.raises(BundleError):
        TrustReport.from_arrays(arrays, {"span": [2, 5]})


@pytest.mark.parametrize(
    "change", [{"span": (5, 2)}, {"span": (1.0, 2)}, {"text": " "}, {"seconds": -1.0}, {"seed": 1.5}, {"deletion": 3}]
)
def test_a_report_refuses_what_is_none(change):
    with pytest.raises(ResultError):
        TrustReport(**{"span": (2, 5), "text": "dog", "method": "m", "seconds": 0.0, "seed": 0, **change})
