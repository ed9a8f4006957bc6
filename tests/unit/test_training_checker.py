"""The scene checker's training: targets by naive means, views, a run that resumes bit for bit, and its figures."""

import copy
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_scenes import scene_set

from crossviz.errors import DatasetError
from crossviz.models.dalle_vqvae import VqVae, VqVaeConfig
from crossviz.scenes.checker import load_checker
from crossviz.scenes.checker_network import KINDS, OFFSET, STRIDE, CheckerNetwork, Maps, to_input
from crossviz.scenes.found import FoundScene
from crossviz.scenes.reading import read
from crossviz.scenes.render import SIDE
from crossviz.scenes.verdict import verdict
from crossviz.scenes.vocabulary import FLOORS, MOODS
from crossviz.training.checker import export, rate, settings, train
from crossviz.training.checker_batches import Scenes
from crossviz.training.checker_figures import altered, figures, measure, truth
from crossviz.training.checker_losses import losses
from crossviz.training.checker_views import disturbed
from crossviz.training.redrawn import checker_sets
from crossviz.training.scene_data import load

TINY = {
    **settings(),
    "cycles": [{"steps": 3, "rate": 2.5e-3}, {"steps": 3, "rate": 1e-3, "draw": [1, 1, 2, 2]}],
    "batch": 4,
    "keep_every": 1,
    "network": {"widths": [4, 8, 8, 8], "blocks": [1, 1, 1]},
}


@pytest.fixture(scope="module")
def data():
    return scene_set(12, seed=5, totals=(1, 2, 3, 4))


@pytest.fixture(scope="module")
def scenes(data):
    return Scenes([data.first(7), replace(data, **{n: getattr(data, n)[7:] for n in vars(data)})])


def test_a_run_that_was_stopped_ends_as_one_that_was_not(scenes, tmp_path):
    whole = train(scenes, TINY, tmp_path / "whole")
    train(scenes, TINY, tmp_path / "parts", until=2)
    train(scenes, TINY, tmp_path / "parts", until=5)
    parts = train(scenes, TINY, tmp_path / "parts")
    start = train(scenes, TINY, tmp_path / "short", until=1)
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert any(not torch.equal(a, b) for a, b in zip(whole.parameters(), start.parameters(), strict=True))


def test_what_is_written_is_read_as_float16(scenes, tmp_path):
    network = train(scenes, TINY, tmp_path / "run", until=2)
    export(network, tmp_path / "checker.safetensors")
    checker = load_checker(tmp_path / "checker.safetensors")
    assert checker.network.sizes == network.sizes
    for (name, a), b in zip(network.state_dict().items(), checker.network.state_dict().values(), strict=True):
        assert torch.equal(a.half().float() if a.is_floating_point() else a, b), name
    assert not any(p.requires_grad for p in checker.network.parameters())


def test_training_makes_the_loss_smaller(scenes, tmp_path):
    batch = scenes.batch(np.arange(len(scenes)))

    def loss(network):
        with torch.no_grad():
            return float(sum(losses(network.train()(to_input(batch.pictures)), batch).values()))

    config = {**TINY, "cycles": [{"steps": 30, "rate": 1e-2}], "warm_up": 3, "keep_every": 30, "average": 0.5}
    torch.manual_seed(config["seed"])
    before = loss(CheckerNetwork((4, 8, 8, 8), (1, 1, 1)))
    assert loss(train(scenes, config, tmp_path / "run")) < 0.8 * before


def test_a_run_stops_where_the_loss_is_no_number(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("crossviz.training.checker.losses", lambda network, batch: {"bad": torch.tensor(float("nan"))})
    with pytest.raises(FloatingPointError, match="at step 0"):
        train(scenes, TINY, tmp_path / "run")
    assert not (tmp_path / "run" / "checker.pt").exists()


def test_rows_are_all_seen_before_one_is_seen_again(scenes):
    for epoch in range(3):
        rows = np.concatenate([scenes.order(3, 4, 3 * epoch + step) for step in range(3)])
        assert sorted(rows.tolist()) == list(range(12))
    assert (scenes.order(3, 4, 1) == scenes.order(3, 4, 1)).all()
    assert (scenes.order(3, 12, 0) != scenes.order(4, 12, 0)).any()


def test_scenes_are_drawn_as_often_as_told_by_how_many_things_they_show(scenes):
    rows = np.concatenate([scenes.order(3, 50, step, [0, 1, 1, 4]) for step in range(40)])
    drawn = np.bincount(scenes.counts[rows], minlength=5) / len(rows)  # three scenes of each number
    assert drawn == pytest.approx([0, 0, 1 / 6, 1 / 6, 4 / 6], abs=0.05)
    assert (scenes.order(3, 50, 1, [1, 1, 1, 1]) == scenes.order(3, 50, 1, [1, 1, 1, 1])).all()


def test_targets_are_what_the_masks_say(data, scenes):
    batch = scenes.batch(np.arange(12))
    for row in range(12):
        assert torch.equal(batch.pictures[row], torch.from_numpy(data.pixels[row]))
        request = read(data.captions[row])
        assert batch.floors[row] == (-1 if request.floor is None else FLOORS.index(request.floor))
        assert batch.moods[row] == (-1 if request.mood is None else MOODS.index(request.mood))
        peaks = set()
        for number in range(4):
            mask = data.owner[row] == number + 1
            assert bool(batch.there[row, number]) == (data.things[row, number, 0] >= 0) == mask.any()
            assert (batch.masks[row, number].numpy() == mask).all()
            if not mask.any():
                continue
            rows, columns = np.nonzero(mask)
            y, x = rows.mean() + 0.5, columns.mean() + 0.5
            peaks.add((int(y // STRIDE), int(x // STRIDE)))
            for at in (0, len(rows) // 2, len(rows) - 1):
                right, down = batch.offsets[row, :, rows[at], columns[at]].tolist()
                assert right * OFFSET == pytest.approx(x - columns[at] - 0.5, abs=1e-2)
                assert down * OFFSET == pytest.approx(y - rows[at] - 0.5, abs=1e-2)
            assert batch.kinds[row, number].tolist() == data.things[row, number, :4].astype(int).tolist()
        assert {tuple(at) for at in (batch.centres[row] == 1).nonzero().tolist()} == peaks


def test_a_mirrored_scene_has_left_and_right_exchanged(scenes):
    rows = np.arange(6)
    plain = scenes.batch(rows)
    flipped = scenes.batch(rows, np.array([True, False] * 3))
    assert torch.equal(flipped.pictures[::2], plain.pictures[::2].flip(2))
    assert torch.equal(flipped.masks[::2], plain.masks[::2].flip(3))
    assert torch.equal(flipped.places[::2, :, 1], plain.places[::2, :, 1])
    there = plain.there[::2]
    assert torch.equal(flipped.places[::2, :, 0][there], -plain.places[::2, :, 0][there])
    assert torch.equal(flipped.kinds, plain.kinds)
    for name in ("pictures", "masks", "places", "centres", "offsets"):
        assert torch.equal(getattr(flipped, name)[1::2], getattr(plain, name)[1::2])


def test_views_disturb_pictures_but_keep_what_they_show(scenes):
    pictures = to_input(scenes.batch(np.arange(12)).pictures)
    views = [disturbed(pictures, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    for view in views:
        assert view.shape == pictures.shape and view.abs().max() <= 1
        together = torch.stack([view.flatten(1), pictures.flatten(1)], 1)
        assert all(torch.corrcoef(pair)[0, 1] > 0.8 for pair in together)
        assert (view - pictures).abs().mean() > 0.005


def test_right_maps_lose_less_than_wrong_ones(scenes):
    batch = scenes.batch(np.arange(12))
    shown = batch.masks.amax(1)

    def maps(**wrong):
        small = SIDE // STRIDE
        owner = torch.nn.functional.avg_pool2d(batch.masks, STRIDE).argmax(1)  # batch h w, good enough for places
        kinds = []
        for number, words in enumerate(KINDS.values()):
            of = batch.kinds[:, :, number].clamp_min(0).gather(1, owner.flatten(1)).reshape(12, small, small)
            of = (of + (wrong.get("kind") == number)) % len(words)
            kinds.append(8.0 * torch.nn.functional.one_hot(of, len(words)).permute(0, 3, 1, 2).float())
        places = torch.stack(
            [batch.places[:, :, axis].gather(1, owner.flatten(1)).reshape(12, small, small) for axis in (0, 1)], 1
        )
        centres = torch.where(batch.centres == 1, 8.0, -8.0)
        return Maps(
            centres.roll(wrong.get("centre", 0), 2),
            torch.cat(kinds, 1),
            places + wrong.get("place", 0.0),
            (shown - 0.5) * wrong.get("front", 16.0),
            batch.offsets + wrong.get("offset", 0.0),
            8.0 * torch.eye(len(FLOORS))[batch.floors.clamp_min(0) - wrong.get("floor", 0)],
            8.0 * torch.eye(len(MOODS))[batch.moods.clamp_min(0) - wrong.get("mood", 0)],
        )

    right = losses(maps(), batch)
    assert right["centre"] < 0.01 and right["front"] < 0.01 and right["offset"] == 0
    assert right["floor"] < 0.01 and right["mood"] < 0.01
    changes = {"centre": {"centre": 3}, "place": {"place": 1.0}, "front": {"front": -16.0}, "offset": {"offset": 0.5}}
    changes |= {"floor": {"floor": 1}, "mood": {"mood": 1}}
    changes |= {name: {"kind": number} for number, name in enumerate(KINDS)}
    for name, change in changes.items():
        wrong = losses(maps(**change), batch)
        assert wrong[name] > right[name] + 0.3, name
        assert all(wrong[other] == right[other] for other in right if other != name)


def test_the_truth_of_a_scene_is_as_its_caption_asks(data):
    for row in range(12):
        found = truth(data, row)
        assert verdict(read(data.captions[row]), found).asked


def test_one_changed_word_is_untrue_of_the_scene(data):
    rng, kinds = np.random.default_rng(0), set()
    for row in range(12):
        request, found = read(data.captions[row]), truth(data, row)
        for name, other in altered(request, found, rng).items():
            kinds.add(name)
            assert not verdict(other, found).asked
            changed = [part for part in ("relation", "floor", "mood") if getattr(request, part) != getattr(other, part)]
            for a, b in zip(request.groups, other.groups, strict=True):
                changed += [part for part in ("count", *KINDS) if getattr(a, part) != getattr(b, part)]
            assert changed == [name]
    assert {"shape", "colour", "count"} <= kinds


class Oracle:
    """Finds what is there, but for what is changed."""

    def __init__(self, data, **change):
        self.data, self.change, self.at = data, change, 0

    def find(self, pictures):
        rows = range(self.at, self.at + len(pictures))
        self.at += len(pictures)
        return [self.of(truth(self.data, row)) for row in rows]

    def of(self, true):
        things = [replace(one, **self.change) for one in reversed(true.things)]
        return FoundScene(tuple(things), true.floor, true.mood)


def test_figures_count_what_is_right_and_what_is_not(data):
    tally = measure(Oracle(data), data)
    assert all(tally.right[name] == tally.of[name] for name in tally.of)
    assert tally.of["scenes, read in full"] == 12
    assert tally.of["shape"] == (data.things[:, :, 0] >= 0).sum()
    assert np.allclose(tally.overlaps, 1)
    assert not tally.wrong
    tally = measure(Oracle(data, material="metal"), data)
    assert tally.share("material") == pytest.approx((data.things[data.things[:, :, 0] >= 0][:, 3] == 0).mean())
    assert tally.share("colour") == 1
    matte = ((data.things[:, :, 3] == 1) & (data.things[:, :, 0] >= 0)).any(1)
    assert tally.share("scenes, read in full") == pytest.approx((~matte).mean())
    assert sum(tally.wrong.values()) == ((data.things[:, :, 3] == 1) & (data.things[:, :, 0] >= 0)).sum()
    assert "matte read as metal" in figures(tally)


def test_things_that_are_not_found_are_counted(data):
    class Blind(Oracle):
        def of(self, true):
            return FoundScene(true.things[1:], true.floor, true.mood)

    tally = measure(Blind(data), data)
    assert tally.share("count") == 0
    assert tally.share("scenes, read in full") == 0
    assert tally.share("scenes, found as asked") == 0
    assert tally.overlaps.count(0.0) == 12


def test_a_set_is_read_from_its_files_and_its_first_rows_taken(data, tmp_path):
    for part in ("pixels", "owner", "things"):
        np.save(tmp_path / f"some-{part}.npy", getattr(data, part))
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(caption) + "\n" for caption in data.captions))
    some = load(tmp_path, "some").first(5)
    assert some.captions == data.captions[:5]
    assert (some.pixels == data.pixels[:5]).all() and (some.things == data.things[:5]).all()
    with pytest.raises(DatasetError, match="has 12 scenes, and 13"):
        load(tmp_path, "some").first(13)


def test_scenes_are_read_once_more_as_the_tokenizer_draws_them(data, tmp_path, monkeypatch):
    (tmp_path / "scenes").mkdir()
    for part in ("pixels", "owner", "things"):
        np.save(tmp_path / "scenes" / f"some-{part}.npy", getattr(data, part))
    (tmp_path / "scenes" / "some.jsonl").write_text("".join(json.dumps(caption) + "\n" for caption in data.captions))
    config = {"scenes": {"some": 5}, "redrawn": {"some": 3}}
    with pytest.raises(DatasetError, match=r"decoder.pt is missing"):
        checker_sets(tmp_path, config)
    torch.manual_seed(0)
    model = VqVae(VqVaeConfig()).eval()
    model.codebook.normal_()
    torch.save({"average": model.state_dict()}, tmp_path / "decoder.pt")
    plain, drawn = checker_sets(tmp_path, config)
    assert (len(plain.captions), len(drawn.captions)) == (5, 3)
    assert drawn.captions == data.captions[:3] and (drawn.owner == data.owner[:3]).all()
    with torch.inference_mode():
        wanted = [model.draw(model.tokenize(to_input(torch.tensor(one[None]))))[0].numpy() for one in data.pixels]
    np.testing.assert_allclose(drawn.pixels.astype(int), np.stack(wanted[:3]).astype(int), atol=1)
    with monkeypatch.context() as patch:
        patch.setattr(
            "crossviz.training.redrawn.tokenize", None
        )  # would fail if it were called: what was drawn is kept
        assert (checker_sets(tmp_path, config)[1].pixels == drawn.pixels).all()
    more = checker_sets(tmp_path, config | {"redrawn": {"some": 7}})[1]  # and done anew where more are wanted
    np.testing.assert_allclose(more.pixels.astype(int), np.stack(wanted[:7]).astype(int), atol=1)
    model.codebook.zero_()  # and where the tokenizer is another
    torch.save({"average": model.state_dict()}, tmp_path / "decoder.pt")
    later = (tmp_path / "scenes" / "some-redrawn.npy").stat().st_mtime + 1
    os.utime(tmp_path / "decoder.pt", (later, later))
    assert (checker_sets(tmp_path, config)[1].pixels != drawn.pixels).any()


def test_the_rate_rises_and_falls_in_cycles():
    config = {"cycles": [{"steps": 100, "rate": 0.5}, {"steps": 50, "rate": 0.2}], "warm_up": 10}
    rates = [rate(step, config) for step in range(150)]
    assert rates[0] == pytest.approx(0.05, rel=1e-3)
    assert np.argmax(rates) in range(8, 12) and max(rates) == pytest.approx(0.5, rel=0.05)
    assert rates[50] == pytest.approx(0.25)
    assert rates[99] < 1e-3
    assert rates[100] == pytest.approx(0.2)
    assert rates[149] < 1e-3
    assert all(np.diff(rates[10:100]) < 0)


def test_the_settings_in_the_file_are_what_the_training_reads():
    config = copy.deepcopy(settings())
    assert set(config) == set(TINY)
    assert config["scenes"] and config["redrawn"]
    assert all(rows > 0 for rows in (*config["scenes"].values(), *config["redrawn"].values()))
