"""The scene model's training: what it is taught, and that a run goes on where it stopped."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from crossviz.errors import CaptionError, DatasetError
from crossviz.models.dalle_vqvae import VqVae, VqVaeConfig
from crossviz.models.dalle_words import NOTHING, caption_tokens
from crossviz.scenes import vocabulary
from crossviz.scenes.captions import UNSEEN
from crossviz.scenes.reading import read
from crossviz.training import dalle_decoder, dalle_reader, dalle_vqvae, dalle_writer, scene_data
from crossviz.training.config import DALLE, load_config
from crossviz.training.dalle_batches import make_batch, make_reading
from crossviz.training.dalle_captions import captions, draw_captions, mirrored
from crossviz.training.dalle_losses import (
    places_find_words,
    places_know_words,
    words_find_places,
    words_know_where,
    words_write_things,
)
from crossviz.training.dalle_rows import BACKGROUND, KINDS, make_rows, other_words, place_groups, wrong_words
from crossviz.training.dalle_run import Run, all_steps, prepare, rate_at

NAMES = vocabulary.tokens()
CHUNK = scene_data._chunk
CAPTION = "two small green spheres in front of a large red cube on a blue floor at night"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few scenes."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_data, "_CHUNK", 2)
        for name in ("train", "dev"):
            scene_data.render_set(folder / "scenes", name, 6, 1)
    return folder


def stops_after_two(name: str, start: int) -> dict:
    if start >= 2:
        raise InterruptedError
    return CHUNK(name, start)


def small_config() -> dict:
    config = load_config(DALLE)
    config["vqvae"] |= {"batch": 2, "steps": 6, "free": 2, "save_every": 3}
    config["decoder"] |= {"batch": 2, "steps": 4, "save_every": 2}
    config["writer"] |= {"batch": 3, "cycles": [[3, 1e-3], [1, 5e-4]], "save_every": 2, "dev_every": 100}
    config["reader"] |= {"batch": 3, "cycles": [[3, 1e-3], [1, 5e-4]], "save_every": 2, "dev_every": 2}
    return config


def said(words: np.ndarray) -> list[str]:
    return [NAMES[number] for number in words if number]


def row(caption: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Its words, their groups, and which of them say what is seen."""
    data = scene_data.SceneSet(
        np.zeros((1, 96, 96, 3), np.uint8), np.zeros((1, 96, 96), np.uint8), np.full((1, 4, 7), -1.0), [caption]
    )
    rows = make_rows(data, np.zeros((1, 12, 12), np.int16), 31)
    return rows.words[0], rows.groups[0], rows.told[0]


def test_rendering_goes_on_where_it_stopped(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_data, "_CHUNK", 2)
    whole = scene_data.load(work / "scenes", "dev")
    monkeypatch.setattr(scene_data, "_chunk", stops_after_two)
    with pytest.raises(InterruptedError):
        scene_data.render_set(tmp_path, "dev", 6, 1)
    assert len(scene_data.load(tmp_path, "dev").captions) == 2
    monkeypatch.setattr(scene_data, "_chunk", CHUNK)
    scene_data.render_set(tmp_path, "dev", 6, 1)
    again = scene_data.load(tmp_path, "dev")
    assert again.captions == whole.captions
    assert np.array_equal(again.pixels, whole.pixels)
    assert np.array_equal(again.owner, whole.owner)


def test_what_was_cut_off_is_rendered_again(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_data, "_CHUNK", 2)
    whole = scene_data.load(work / "scenes", "dev")
    monkeypatch.setattr(scene_data, "_chunk", stops_after_two)
    with pytest.raises(InterruptedError):
        scene_data.render_set(tmp_path, "dev", 6, 1)
    with open(tmp_path / "dev.jsonl", "a", encoding="utf-8") as file:
        file.write('"half of a chunk"\n"half of a li')
    assert scene_data.load(tmp_path, "dev").captions == [*whole.captions[:2], "half of a chunk"]
    monkeypatch.setattr(scene_data, "_chunk", CHUNK)
    scene_data.render_set(tmp_path, "dev", 6, 1)
    again = scene_data.load(tmp_path, "dev")
    assert again.captions == whole.captions
    assert np.array_equal(again.pixels, whole.pixels)


def test_captions_are_kept_chunk_by_chunk(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_data, "_CHUNK", 2)
    whole, told = scene_data.load(work / "scenes", "dev").captions, json.dumps

    def breaks_at_the_fourth(caption: str) -> str:
        if caption == whole[3]:
            raise InterruptedError
        return told(caption)

    monkeypatch.setattr("crossviz.training.scene_data.json.dumps", breaks_at_the_fourth)
    with pytest.raises(InterruptedError):
        scene_data.render_set(tmp_path, "dev", 6, 1)
    assert scene_data.load(tmp_path, "dev").captions == whole[:2]


def test_a_set_grows_and_keeps_what_it_has(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_data, "_CHUNK", 2)
    scene_data.render_set(tmp_path, "dev", 3, 1)
    few = scene_data.load(tmp_path, "dev")
    scene_data.render_set(tmp_path, "dev", 2, 1)  # fewer are there already
    assert scene_data.load(tmp_path, "dev").captions == few.captions
    scene_data.render_set(tmp_path, "dev", 6, 1)
    more, whole = scene_data.load(tmp_path, "dev"), scene_data.load(work / "scenes", "dev")
    assert more.captions == whole.captions[:6]
    for part in ("pixels", "owner", "things"):
        np.testing.assert_array_equal(getattr(more, part), getattr(whole, part)[:6])
        np.testing.assert_array_equal(getattr(more, part)[:3], getattr(few, part))
    assert not list(tmp_path.glob("*.part"))


def test_the_sets_are_as_large_as_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}
    monkeypatch.setattr(scene_data, "render_set", lambda folder, name, count, processes: made.update({name: count}))
    monkeypatch.setattr("sys.argv", ["scene_data", "--work", str(tmp_path)])
    scene_data.main()
    assert made == load_config(DALLE)["data"]


def test_no_unseen_pair_in_training(work: Path) -> None:
    data = scene_data.load(work / "scenes", "train")
    things = data.things[data.things[..., 0] >= 0]
    pairs = {(vocabulary.COLOURS[int(colour)], vocabulary.SHAPES[int(shape)]) for shape, colour in things[:, :2]}
    assert len(pairs) > 3
    assert not pairs & UNSEEN


def test_words_belong_to_the_things_they_ask_for() -> None:
    words, groups, _ = row(CAPTION)
    assert said(words)[:4] == ["two", "small", "green", "sphere"]
    expected = [0] * 4 + [-1] * 3 + [1] * 4 + [BACKGROUND] * 4 + [-1, BACKGROUND, -1]
    assert groups[: len(expected)].tolist() == expected


def test_a_place_shows_what_takes_most_of_it() -> None:
    owner, things = np.zeros((1, 96, 96), np.uint8), np.full((1, 4, 7), -1.0)
    owner[0, :8, :8], owner[0, :8, 8:11], owner[0, 8:16, :2] = 1, 2, 2
    things[0, :2, 6] = (1, 0)
    places = place_groups(owner, things)[0]
    assert places[0, 0] == 1
    assert places[0, 1] == 0  # three of eight columns
    assert places[1, 0] == -1  # two are too few
    assert (places >= 0).sum() == 2


def test_mirrored_left_is_right(work: Path) -> None:
    data = scene_data.load(work / "scenes", "dev")
    plain = make_rows(data, np.zeros((6, 12, 12), np.int16), 31)
    other = plain.mirrored(plain.image)
    turned = {"left": "right", "right": "left"}
    for mine, theirs in zip(plain.words, other.words, strict=True):
        assert said(theirs) == [turned.get(word, word) for word in said(mine)]
    assert np.array_equal(other.places[:, :, ::-1], plain.places)


def test_wrong_words_are_wrong_and_marked() -> None:
    words, groups, told = row(CAPTION)
    rng, changed, asked = np.random.default_rng(0), [], Counter()
    for _ in range(300):
        wrong, shown = wrong_words(words, groups, told, rng)
        assert not shown[~told].any()
        try:
            assert read(written(wrong)) != read(written(words))
        except CaptionError as error:
            assert "asks for" in str(error)  # more things than are drawn
        marked = [NAMES[wrong[at]] for at in np.flatnonzero(told & (shown == 0))]
        assert 1 <= len(marked) <= 2
        changed += marked
        asked.update(NAMES[words[at]] for at in np.flatnonzero(told & (shown == 0)))
        right = {NAMES[wrong[at]] for at in np.flatnonzero(shown == 1)}
        assert right <= {*said(words), "a"}
    assert {"three", "large"} <= set(changed)
    assert not set(vocabulary.RELATIONS) & set(changed), "a relation is told by two places, not by one"
    for kind in (vocabulary.FLOORS, vocabulary.MOODS, vocabulary.SHAPES):
        assert set(kind) & set(changed)
    assert asked["sphere"] + asked["cube"] > 1.4 * (asked["green"] + asked["red"]), "what is hard is asked more often"


def written(words: np.ndarray) -> str:
    """The caption that tokens make up; nouns get their number back."""
    text, several = [], False
    for word in said(words)[:-1]:
        several = vocabulary.COUNTS[word] > 1 if word in vocabulary.COUNTS else several
        text.append(word + "s" if several and word in vocabulary.SHAPES else word)
    return " ".join(text)


def test_the_words_that_are_asked_of_the_picture() -> None:
    words, groups, told = row(CAPTION)
    others = other_words(words, groups, told)
    assert [NAMES[words[at]] for at in others] == [
        *("two", "small", "green", "sphere", "a", "large", "red", "cube", "blue", "night")
    ]
    instead = {NAMES[words[at]]: {NAMES[other] for other in some} for at, some in others.items()}
    assert instead["blue"] == set(vocabulary.FLOORS) - {"blue"}
    assert instead["night"] == {"day", "sunset"}
    assert instead["red"] == set(vocabulary.COLOURS) - {"red"}


def test_alignment_is_nothing_where_attention_is_right() -> None:
    groups, places = torch.tensor([[0, 0, -1, 1]]), torch.tensor([[-1, 0, 1, 1]])
    right = torch.zeros(4, 1, 2, 4, 5)  # layer batch head place word+1
    right[..., 0, 4] = right[..., 1, 1] = right[..., 2, 3] = right[..., 3, 3] = 1
    assert float(places_find_words(right, groups, places, 2)) == pytest.approx(0, abs=1e-6)
    assert float(places_find_words(right.flip(3), groups, places, 2)) > 1
    seen = torch.zeros(2, 1, 2, 4, 5)  # layer batch head word place+1
    seen[..., 0, 1] = seen[..., 1, 1] = seen[..., 2, 4] = 1
    seen[..., 3, 2] = seen[..., 3, 3] = 0.5
    assert float(words_find_places(seen, groups, places)) == pytest.approx(0, abs=1e-6)
    assert float(words_find_places(seen.flip(3), groups, places)) > 1


def test_a_words_map_is_right_where_all_of_it_is_on_its_things() -> None:
    groups, places = torch.tensor([[0, 1, -1]]), torch.tensor([[-1, 0, 1, 1]])
    probs = torch.zeros(3, 1, 2, 4, 4)  # layer batch head place word+1
    probs[..., 0, 3] = probs[..., 1, 0] = probs[..., 2, 1] = probs[..., 3, 1] = 1
    assert float(words_write_things(probs, groups, places)) == pytest.approx(0, abs=1e-6)
    probs[:, :, 0, 0, 1] = 1  # in one of two heads the background, too, asks for the second group
    assert float(words_write_things(probs, groups, places)) == pytest.approx(math.log(2.5 / 2) / 2, rel=1e-5)


def test_words_that_know_the_middle_of_their_things_lose_nothing() -> None:
    groups = torch.tensor([[0, 1, -1, 2]])  # of the last group nothing is to be seen
    places = torch.tensor([[0, -1, 1, 0, -1, 1, -1, -1, 1]])  # three rows of three
    right = torch.tensor([[[0.25, 0.0], [0.5, 1.0], [9.0, 9.0], [9.0, 9.0]]])
    assert float(words_know_where(right, groups, places, 3)) == pytest.approx(0, abs=1e-6)
    assert float(words_know_where(right + 0.1, groups, places, 3)) == pytest.approx(0.2)
    assert float(words_know_where(right, torch.full_like(groups, -1), places, 3)) == 0


def test_the_rate_rises_and_falls_in_every_cycle() -> None:
    settings = {"cycles": [[100, 1.0], [50, 0.5]], "warmup": 10}
    rates = [rate_at(step, settings) for step in range(all_steps(settings))]
    assert len(rates) == 150
    assert max(rates[:100]) == rates[9] == pytest.approx(1.0)
    assert max(rates[100:]) == rates[109] == pytest.approx(0.5)
    assert rates[99] < 0.03 and rates[149] < 0.02 and rates[100] == pytest.approx(0.05)


def test_a_place_knows_what_the_caption_says_of_it() -> None:
    data = scene_data.SceneSet(
        np.zeros((1, 96, 96, 3), np.uint8), np.zeros((1, 96, 96), np.uint8), np.full((1, 4, 7), -1.0), [CAPTION]
    )
    rows = make_rows(data, np.zeros((1, 12, 12), np.int16), 31)
    named = [
        [kind[number] if number >= 0 else None for kind, number in zip(KINDS, of, strict=True)] for of in rows.said[0]
    ]
    assert named[0] == ["sphere", "green", "small", None, None, None]
    assert named[1] == ["cube", "red", "large", None, None, None]
    assert named[3] == [None, None, None, None, "blue", "night"]
    said = torch.from_numpy(rows.said[:, [0, 1, 3]])  # three places: of each group, and of the background
    right = torch.zeros(1, 3, sum(map(len, KINDS)))
    for place, words in enumerate((named[0], named[1], named[3])):
        for kind, word in enumerate(words):
            if word is not None:
                right[0, place, sum(map(len, KINDS[:kind])) + KINDS[kind].index(word)] = 30.0
    assert float(places_know_words(right, said)) == pytest.approx(0, abs=1e-6)
    assert float(places_know_words(right[:, [1, 0, 2]], said)) > 1
    even = sum(math.log(len(KINDS[kind])) for kind in range(3)) * 2 + 0.25 * (math.log(6) + math.log(3))
    assert float(places_know_words(torch.zeros_like(right), said)) == pytest.approx(even / 6.5, rel=1e-5)
    assert float(places_know_words(right, torch.full_like(said, -1))) == 0


def test_some_captions_are_left_out(work: Path) -> None:
    data = scene_data.load(work / "scenes", "train")
    rows = make_rows(data, np.zeros((6, 12, 12), np.int16), 31)
    batch = make_batch((rows, rows), 1, {"batch": 400, "drop": 0.25})
    left_out = (batch.words[:, 0] == NOTHING[0]).float().mean().item()
    assert left_out == pytest.approx(0.25, abs=0.07)
    assert (batch.groups[batch.words[:, 0] == NOTHING[0]] == -1).all()


def test_the_tokenizer_goes_on_where_it_stopped(work: Path, tmp_path: Path) -> None:
    data, config = scene_data.load(work / "scenes", "train"), small_config()
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = dalle_vqvae.train(data, tmp_path / "whole", config)
    dalle_vqvae.train(data, tmp_path / "parts", config, steps=3)
    parts = dalle_vqvae.train(data, tmp_path / "parts", config)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))
    torch.manual_seed(config["seed"])
    assert not torch.equal(whole.codebook, VqVae(VqVaeConfig()).codebook)


def test_scenes_are_written_as_tokens_once(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scenes").symlink_to(work / "scenes")
    with pytest.raises(DatasetError, match=r"tokens.npz is missing"):
        prepare(tmp_path)
    dalle_vqvae.make_tokens(tmp_path, small_config())
    prepared = prepare(tmp_path)
    book = torch.load(tmp_path / "vqvae.pt", weights_only=True)["average"]["codebook"]
    assert torch.equal(prepared.codebook, book)
    assert len(prepared.plain.words) == len(prepared.mirrored.words) == len(prepared.dev.words) == 6
    assert not np.array_equal(prepared.plain.image, prepared.mirrored.image)
    with monkeypatch.context() as patch:
        patch.setattr(dalle_vqvae, "train", None)  # would fail if it were called
        dalle_vqvae.make_tokens(tmp_path, small_config())
    whole = dict(np.load(tmp_path / "tokens.npz"))
    few = {name: part if name == "codebook" else part[:2] for name, part in whole.items()}
    np.savez(tmp_path / "tokens.npz", **few | {"plain": few["plain"] + 1})
    dalle_vqvae.make_tokens(tmp_path, small_config())  # of scenes that have been added
    for name, part in np.load(tmp_path / "tokens.npz").items():
        same = whole[name].copy()
        same[:2] += name == "plain"  # what was there is not written anew
        np.testing.assert_array_equal(part, same)


def test_a_run_stops_before_it_learns_what_is_no_number(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 1)
    run = Run(
        tmp_path / "run.pt",
        {"average": 0.9, "save_every": 1},
        model,
        [],
        optimizer=torch.optim.AdamW([*model.parameters()]),
    )
    run.learn(model(torch.ones(2)).sum(), 1e-2, 1.0)
    run.save(5)
    before = model.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="at step 1"):
        run.learn(model(torch.full((2,), math.nan)).sum(), 1e-2, 1.0)
    assert torch.equal(model.weight, before)
    assert torch.load(tmp_path / "run.pt", weights_only=True)["step"] == run.step == 1


def test_a_run_keeps_a_moving_average_that_hurries_at_first(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    run = Run(
        tmp_path / "run.pt", {"average": 0.25, "save_every": 9}, model, [], optimizer=torch.optim.SGD([model.weight])
    )
    expected = model.weight.detach().clone()
    for stays in (2 / 11, 0.25, 0.25):
        run.learn(model(torch.ones(2)).sum(), 0.1, 1.0)
        expected = stays * expected + (1 - stays) * model.weight.detach()
        torch.testing.assert_close(run.average.weight, expected)


def test_the_decoder_alone_goes_on_where_it_stopped(work: Path, tmp_path: Path) -> None:
    data, config = scene_data.load(work / "scenes", "train"), small_config()
    torch.manual_seed(4)
    first = VqVae(VqVaeConfig()).state_dict()
    tokens = np.random.default_rng(0).integers(0, 1024, (6, 12, 12)).astype(np.int16)
    states = []
    for name, stops in (("whole", [None]), ("parts", [2, None])):
        (tmp_path / name).mkdir()
        torch.save({"average": first}, tmp_path / name / "vqvae.pt")
        np.savez(tmp_path / name / "tokens.npz", plain=tokens, mirrored=tokens)
        for stop in stops:
            model = dalle_decoder.train(data, tmp_path / name, config, steps=stop)
        states.append(model.state_dict())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name])
        moved = not torch.equal(tensor, first[name])
        assert moved == name.startswith("decoder."), name


def test_some_words_of_what_is_read_are_wrong(work: Path) -> None:
    data = scene_data.load(work / "scenes", "train")
    rows = make_rows(data, np.zeros((6, 12, 12), np.int16), 31)
    batch = make_reading((rows, rows), 1, {"batch": 400, "replaced": 0.6})
    wrong = (batch.asked & (batch.shown == 0)).any(1)
    assert wrong.float().mean().item() == pytest.approx(0.6, abs=0.08)
    assert (batch.groups[batch.asked & (batch.shown == 0)] == -1).all()
    assert set(batch.words[~wrong].unique().tolist()) <= set(rows.words.flatten().tolist())


@pytest.mark.parametrize("part", [dalle_writer, dalle_reader], ids=["writer", "reader"])
def test_the_transformers_go_on_where_they_stopped(part, work: Path, tmp_path: Path) -> None:
    config = small_config()
    tokens = {name: np.random.default_rng(0).integers(0, 1024, (6, 12, 12)).astype(np.int16) for name in "abc"}
    states = []
    for name, stops in (("whole", [None]), ("parts", [2, None])):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "scenes").symlink_to(work / "scenes")
        book = np.random.default_rng(1).normal(size=(1024, 32)).astype(np.float32)
        np.savez(folder / "tokens.npz", plain=tokens["a"], mirrored=tokens["b"], dev=tokens["c"], codebook=book)
        for stop in stops:
            model = part.train(folder, config, steps=stop)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_measured_captions_are_read_and_none_is_twice() -> None:
    texts = [text for part in ("choice", "test") for kind in captions(part).values() for text in kind]
    assert len(texts) == len(set(texts)) == 8 * 140
    for kind, some in captions("test").items():
        for text in some:
            request = read(text)
            assert sum(group.count for group in request.groups) == int(kind[0])
            new = {(group.colour, group.shape) for group in request.groups} & UNSEEN
            assert bool(new) == kind.endswith("unseen"), text


def test_left_is_right_in_the_mirror() -> None:
    there = "two leftover cubes to the left of a ring right of a cone"
    assert mirrored(there) == "two leftover cubes to the right of a ring left of a cone"
    assert mirrored(mirrored(there)) == there


def test_captions_that_are_taken_are_not_drawn() -> None:
    taken = {text for kind in draw_captions(set())["test"].values() for text in kind}
    again = {text for part in draw_captions(taken).values() for kind in part.values() for text in kind}
    assert not taken & again


def test_a_caption_is_as_many_tokens_as_words() -> None:
    assert len(caption_tokens(CAPTION)) == len(CAPTION.split()) + 1
