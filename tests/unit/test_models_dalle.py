"""The scene model: what it draws follows from its weights, its caption and its seed, and its maps are its attention."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_dalles import small_dalle, small_transformer

from crossviz.errors import CaptionError, ModelUnavailableError, SettingsError
from crossviz.generation import Generation, Progress
from crossviz.models.dalle import DalleScenes, candidate_seeds, load
from crossviz.models.dalle_reader import DalleReader
from crossviz.models.dalle_sampling import _pick, write_tokens
from crossviz.models.dalle_vqvae import VqVae, VqVaeConfig
from crossviz.models.dalle_words import NOTHING, caption_tokens, caption_words
from crossviz.models.generators import Settings
from crossviz.scenes import vocabulary
from crossviz.scenes.reading import read

CAPTION = "two small green balls to the left of a large red cube on a blue floor at night"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dalle(tmp_path_factory.mktemp("dalle"))


@pytest.fixture(scope="module")
def model(folder: Path) -> DalleScenes:
    return load(CPU, folder)


@pytest.fixture(scope="module")
def drawn(model: DalleScenes) -> list[Progress | Generation]:
    return list(model.draw(CAPTION, Settings(seed=5)))


def tokens(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 1024, (count, 144), generator=torch.Generator().manual_seed(seed))


def test_a_word_stands_for_its_synonym_and_has_its_own_span() -> None:
    names = vocabulary.tokens()
    assert [names[number] for number in caption_tokens("two Balls behind a torus")] == [
        *("two", "sphere", "behind", "a", "ring", "[end]")
    ]
    caption = caption_words(CAPTION)
    assert [word.text for word in caption.words] == CAPTION.split()
    assert [word.tokens for word in caption.words] == [(index,) for index in range(len(caption.words))]


def test_the_words_that_tell_what_is_seen() -> None:
    said = CAPTION.split()
    told = [said[index] for index in read(CAPTION).telling()]
    assert told == ["two", "small", "green", "balls", "left", "a", "large", "red", "cube", "blue", "night"]


def test_step_by_step_is_the_same_as_all_at_once() -> None:
    model, image = small_transformer(), tokens(2)
    caption = torch.tensor([[*caption_tokens("a red cube"), 0, 0], caption_tokens("a ring behind a cone")])
    logits, probs = model(caption, image)
    text, mask = model.text(caption)
    cache = model.start()
    for place in range(144):
        one, asked = model.step(text, mask, image[:, :place], cache)
        torch.testing.assert_close(one, logits[:, place], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(asked, probs[..., place, :], atol=1e-5, rtol=1e-4)


def test_a_caption_is_projected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = small_transformer(), tokens(1)
    text, mask = model.text(torch.tensor([caption_tokens("a red cube")]))
    cache = model.start()
    model.step(text, mask, image[:, :0], cache)
    for layer in model.layers:
        monkeypatch.setattr(layer.ask.k_proj, "forward", None)  # would fail if it were called
    model.step(text, mask, image[:, :1], cache)


def test_a_place_knows_nothing_of_what_comes_after_it() -> None:
    model, image = small_transformer(), tokens(1)
    caption = torch.tensor([caption_tokens("a red cube")])
    before, _ = model(caption, image)
    changed = image.clone()
    changed[0, 70] = (changed[0, 70] + 1) % 1024
    after, _ = model(caption, changed)
    torch.testing.assert_close(before[0, :71], after[0, :71], atol=1e-5, rtol=1e-5)
    assert (before[0, 71] - after[0, 71]).abs().max() > 1e-4  # the test can fail: the next place does


def test_padding_changes_nothing() -> None:
    model, image, words = small_transformer(), tokens(1), caption_tokens("a red cube")
    short, _ = model(torch.tensor([words]), image)
    long, probs = model(torch.tensor([[*words, 0, 0, 0]]), image)
    torch.testing.assert_close(short, long, atol=1e-4, rtol=1e-4)
    assert float(probs[..., len(words) : -1].abs().max()) == 0.0


def test_the_nearest_entry_is_the_nearest_entry() -> None:
    torch.manual_seed(1)
    vqvae = VqVae(VqVaeConfig(codes=50, code_dim=4, widths=(8, 8, 8)))
    latents = torch.randn(200, 4)
    assert torch.equal(vqvae.nearest(latents), torch.cdist(latents, vqvae.codebook).argmin(1))


def test_nothing_written_is_no_entry() -> None:
    vqvae = VqVae(VqVaeConfig(widths=(8, 8, 8)))
    given = torch.full((1, 12, 12), -1)
    given[0, 3, 4] = 7
    entries = vqvae.embed(given)
    assert torch.equal(entries[0, :, 3, 4], vqvae.codebook[7])
    assert float(entries.abs().sum()) == pytest.approx(float(vqvae.codebook[7].abs().sum()))


def test_a_token_is_drawn_as_often_as_it_is_likely() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    chances = (torch.arange(10_000) + 0.5) / 10_000
    picked = _pick(logits.expand(10_000, 4), 1.0, 1.0, chances).bincount(minlength=4) / 10_000
    torch.testing.assert_close(picked, logits.exp(), atol=1e-3, rtol=0)
    nucleus = _pick(logits.expand(10_000, 4), 1.0, 0.75, chances).bincount(minlength=4) / 10_000
    torch.testing.assert_close(nucleus, torch.tensor([0.625, 0.375, 0.0, 0.0]), atol=1e-3, rtol=0)
    colder = _pick(logits.expand(10_000, 4), 0.5, 1.0, chances).bincount(minlength=4) / 10_000
    squares = logits.exp() ** 2
    torch.testing.assert_close(colder, squares / squares.sum(), atol=1e-3, rtol=0)
    for coldest in (0.0, 1e-30, 1e-38, 1e-320):
        assert _pick(logits[None].flip(-1) * 50, coldest, 1.0, torch.tensor([0.99])).item() == 3


def test_guidance_leads_away_from_no_caption() -> None:
    model, words = small_transformer(), caption_tokens("a red cube")
    first = next(iter(write_tokens(model, [words], [0], guidance=3.0, temperature=0, nucleus=1.0)))
    text, mask = model.text(torch.tensor([words]))
    empty, empty_mask = model.text(torch.tensor([NOTHING]))
    nothing = torch.zeros(1, 0, dtype=torch.int64)
    one, _ = model.step(text, mask, nothing, model.start())
    other, _ = model.step(empty, empty_mask, nothing, model.start())
    assert first.tokens.item() == (other + 3 * (one - other)).argmax().item()


def test_a_picture_does_not_depend_on_those_beside_it() -> None:
    model = small_transformer()
    captions = [caption_tokens("a red cube"), caption_tokens("two rings behind a cone on a blue floor")]
    *_, both = write_tokens(model, captions, [3, 4], guidance=2.0, temperature=1.0, nucleus=0.9)
    *_, one = write_tokens(model, captions[:1], [3], guidance=2.0, temperature=1.0, nucleus=0.9)
    assert torch.equal(both.tokens[:1], one.tokens)


def test_progress_then_the_picture(drawn: list[Progress | Generation]) -> None:
    *progress, made = drawn
    assert isinstance(made, Generation)
    assert [one.step for one in progress] == list(range(12, 145, 12))
    for one in progress:
        rows = one.step // 12 * 8
        assert (one.picture[rows:] == 128).all(), "what is not written is grey"
        assert (one.picture[:rows] != 128).any()


def test_the_maps_are_the_attention_the_tokens_were_written_by(
    model: DalleScenes, drawn: list[Progress | Generation]
) -> None:
    made = drawn[-1]
    words = torch.tensor([caption_tokens(CAPTION)])
    with torch.inference_mode():
        _, probs = model.transformer(words, made.tokens.reshape(1, -1))
        seen = model.reader(words, made.tokens.reshape(1, -1)).probs
    count = len(made.words)
    expected = probs[:, 0, :, :, :count].permute(0, 1, 3, 2).unflatten(-1, (12, 12))
    torch.testing.assert_close(made.asks_text.values[0], expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(made.asks_text.none[0], 1 - expected.sum(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        made.asks_image.values[0], seen[:, 0, :, :count, :-1].unflatten(-1, (12, 12)), atol=1e-4, rtol=1e-3
    )
    torch.testing.assert_close(made.asks_image.none[0], seen[:, 0, :, :count, -1], atol=1e-4, rtol=1e-3)


def test_the_frames_are_the_tokens_so_far(model: DalleScenes, drawn: list[Progress | Generation]) -> None:
    made = drawn[-1]
    assert made.frame_steps[-1] == 144
    with torch.inference_mode():
        assert torch.equal(made.picture, model.vqvae.draw(made.tokens[None])[0])
    half = made.frame_steps.index(72)
    assert (made.frames[half][:48] != 128).any()
    assert (made.frames[half][48:] == 128).all()
    assert torch.equal(made.written.flatten(), torch.arange(144))


def test_the_same_again(model: DalleScenes, drawn: list[Progress | Generation]) -> None:
    *_, again = model.draw(CAPTION, Settings(seed=5))
    *_, other = model.draw(CAPTION, Settings(seed=6))
    assert again == drawn[-1]
    assert not torch.equal(other.tokens, again.tokens)


def test_of_several_the_one_that_it_reads_best(model: DalleScenes) -> None:
    *_, best = model.draw(CAPTION, Settings(seed=7, candidates=4))
    seeds = candidate_seeds(7, 4)
    assert seeds[0] == 7
    words = caption_tokens(CAPTION)
    settings = {"guidance": 2.0, "temperature": 1.0, "nucleus": 0.95}
    *_, written = write_tokens(model.transformer, [words] * 4, seeds, **settings)
    with torch.inference_mode():
        answers = model.reader(torch.tensor([words] * 4), written.tokens)
    assert len({tuple(row) for row in written.tokens.tolist()}) == 4
    request, shown = read(CAPTION), answers.shown.clone()
    first, second = (answers.where[:, list(group.words), 1].mean(1) for group in request.groups)
    assert request.relation == "left"
    shown[:, request.relation_word] = (second - first) / 0.045
    scores = (shown[:, request.telling()].double() / 4).sigmoid().log().sum(1)
    assert best.settings["candidate"] == int(scores.argmax())
    assert torch.equal(best.tokens.flatten(), written.tokens[int(scores.argmax())])


@pytest.mark.parametrize(
    ("relation", "first", "second"),
    [
        ("left", (0.5, 0.2), (0.5, 0.8)),
        ("right", (0.5, 0.8), (0.5, 0.2)),
        ("front", (0.8, 0.5), (0.4, 0.5)),
        ("behind", (0.4, 0.5), (0.8, 0.5)),
    ],
)
def test_a_relation_holds_where_its_sides_lie_so(relation: str, first: tuple, second: tuple) -> None:
    where = torch.tensor([[first, first, (9.0, 9.0), second]])  # of the third word nothing counts
    assert float(DalleReader.related(where, [0, 1], [3], relation)) > 4
    assert float(DalleReader.related(where, [3], [0, 1], relation)) < -4


def test_a_relation_among_three_groups_is_that_of_the_first_two(model: DalleScenes) -> None:
    caption = "a red sphere left of a blue cube and a green cone"
    *_, made = model.draw(caption, Settings(seed=1, candidates=2))
    request = read(caption)
    assert len(request.groups) == 3 and request.relation == "left"
    with torch.inference_mode():
        answers = model.reader(torch.tensor([caption_tokens(caption)]), made.tokens.reshape(1, -1))
    first, second = (answers.where[:, list(group.words), 1].mean() for group in request.groups[:2])
    sure = made.settings["reading"][str(request.relation_word)]
    assert sure == pytest.approx(float(((second - first) / 0.045).sigmoid()), abs=1e-3)


def test_what_grows_is_the_first_candidate(model: DalleScenes) -> None:
    *progress, best = model.draw(CAPTION, Settings(seed=7, candidates=4))
    *alone, first = model.draw(CAPTION, Settings(seed=7, candidates=1))
    assert best.settings["candidate"] != 0, "another seed, so that the test says something"
    assert all(torch.equal(one.picture, other.picture) for one, other in zip(progress, alone, strict=True))
    assert torch.equal(alone[-1].picture, first.picture)


def test_at_temperature_0_there_is_nothing_to_choose_from(model: DalleScenes) -> None:
    *_, made = model.draw(CAPTION, Settings(temperature=0, candidates=4))
    assert made.settings["candidates"] == 1


def test_another_decoder_is_another_model(folder: Path, tmp_path: Path, drawn: list[Progress | Generation]) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = load_file(copy / "image_tokenizer.safetensors")
    weights["decoder.0.bias"] = weights["decoder.0.bias"] + 1
    save_file(weights, copy / "image_tokenizer.safetensors")
    about = json.loads((copy / "crossviz.json").read_text())
    name = "image_tokenizer.safetensors"
    about["sha256"][name] = hashlib.sha256((copy / name).read_bytes()).hexdigest()
    (copy / "crossviz.json").write_text(json.dumps(about))
    *_, other = load(CPU, copy).draw(CAPTION, Settings(seed=5))
    assert other.provenance.weights_sha256 != drawn[-1].provenance.weights_sha256


def test_the_maps_that_were_drawn_can_be_reckoned_with(drawn: list[Progress | Generation]) -> None:
    weight = torch.ones((), requires_grad=True)
    (drawn[-1].asks_text.values * weight).sum().backward()
    assert weight.grad > 0


@pytest.mark.parametrize("part", [("sampling", "candidates"), ("training", "trained")])
def test_what_is_missing_in_crossviz_json_is_said(folder: Path, tmp_path: Path, part: tuple[str, str]) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    about = json.loads((copy / "crossviz.json").read_text())
    del about[part[0]][part[1]]
    (copy / "crossviz.json").write_text(json.dumps(about))
    with pytest.raises(ModelUnavailableError, match=f"lacks something.*{part[1]}"):
        load(CPU, copy)


def test_untrained_weights_say_so(drawn: list[Progress | Generation]) -> None:
    assert not drawn[-1].provenance.trained


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        ("a giraffe on a blue floor", "it does not know “giraffe”"),
        ("  ", "holds only white space: describe what to draw"),
        (None, "No caption was given: describe what to draw"),
        ("a red cube \ud800", "half of a character"),
        ("a red" + 6_000 * " " + "cube", "at most"),
        ("a red cube blue", "“blue” can't follow there"),
        ("three cubes and two cones", "asks for 5 things"),
        ("a red sphre", "Did you mean “sphere”?"),
    ],
)
def test_what_it_can_not_draw_it_says(model: DalleScenes, caption: str, says: str) -> None:
    with pytest.raises(CaptionError, match=says.replace("?", r"\?")):
        model.draw(caption, Settings())


@pytest.mark.parametrize(
    "settings",
    [
        Settings(seed=-1),
        Settings(seed=True),
        Settings(guidance=0.5),
        Settings(guidance=float("nan")),
        Settings(temperature=3),
        Settings(temperature="hot"),
        Settings(steps=50),
        Settings(size_wh=(96, 96)),
        Settings(candidates=0),
    ],
)
def test_settings_out_of_bounds_are_refused(model: DalleScenes, settings: Settings) -> None:
    with pytest.raises(SettingsError):
        model.draw("a red cube", settings)


def test_numbers_of_numpy_are_numbers(model: DalleScenes) -> None:
    own = Settings(seed=3, guidance=2, temperature=0.5, candidates=2)
    numpys = Settings(np.int64(3), np.float32(2), np.float64(0.5), candidates=np.int8(2))
    one, other = (list(model.draw("a red cube", each))[-1] for each in (own, numpys))
    assert one == other and json.dumps(other.settings["seed"]) == "3"


def test_a_damaged_file_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = load_file(copy / "transformer.safetensors")
    weights["norm.bias"] = weights["norm.bias"] + 1
    save_file(weights, copy / "transformer.safetensors")
    with pytest.raises(ModelUnavailableError, match=r"transformer\.safetensors .* is damaged"):
        load(CPU, copy)


def test_other_sizes_than_stated_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    about = json.loads((copy / "crossviz.json").read_text())
    about["transformer"]["layers"] = 5
    (copy / "crossviz.json").write_text(json.dumps(about))
    with pytest.raises(ModelUnavailableError, match="not of the kind dalle-mini-scenes"):
        load(CPU, copy)
    with pytest.raises(ModelUnavailableError, match="no model in the folder"):
        load(CPU, tmp_path)
