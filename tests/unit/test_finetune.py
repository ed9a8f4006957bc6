"""Fine-tuning on a person's own photos: an invented word is learnt, the rest stays, bad input gets its sentence."""

import csv
import json
import random
import shutil

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from crossviz import Explainer, compat, models
from crossviz.errors import DatasetError
from crossviz.measures import MeasuredMap, box_mask
from crossviz.paths import assets_dir

compat.ensure_torchvision()

from open_clip.tokenizer import SimpleTokenizer  # noqa: E402

from crossviz.training.batches import ABSENT, PRESENT, SEEN, Batch, collate  # noqa: E402
from crossviz.training.finetune import finetune, main  # noqa: E402
from crossviz.training.forward import Maps  # noqa: E402
from crossviz.training.own_photos import read_own_photos  # noqa: E402
from crossviz.training.own_samples import KEEP, OwnSampler, OwnWords, WordTokens, own_views  # noqa: E402
from crossviz.training.own_training import LOSSES, Settings, own_loss  # noqa: E402

PHOTOS = sorted((assets_dir() / "finetune-example").glob("*.jpg"))
SIZE, SIDE = (320, 240), 84
PLACES = [(16, 20), (210, 130), (120, 30), (30, 140), (215, 18), (110, 140), (200, 80), (16, 80)]
"""Where the blicket lies in each photo (the last two are held out)."""

STEPS = 24
"""Of training: enough for the invented word to be learnt."""


def blicket_photo(number, background):
    """A photo with a thing in it that no data set has: a striped magenta and yellow triangle."""
    photo = Image.open(background).convert("RGB").resize(SIZE)
    mask = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(mask).polygon([(SIDE // 2, 0), (SIDE - 1, SIDE - 1), (0, SIDE - 1)], fill=255)
    thing = Image.new("RGB", (SIDE, SIDE), (230, 20, 200))
    for y in range(0, SIDE, 14):
        ImageDraw.Draw(thing).rectangle((0, y, SIDE, y + 5), fill=(250, 230, 30))
    photo.paste(thing, PLACES[number], mask)
    x, y = PLACES[number]
    return photo, [x, y, x + SIDE, y + SIDE]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight photos with a blicket (two of them held out) and four without."""
    folder, rows = tmp_path_factory.mktemp("own"), []
    for number, background in enumerate(PHOTOS[: len(PLACES)]):
        photo, box = blicket_photo(number, background)
        photo.save(folder / f"{number}.png")
        split = "train" if number < 6 else "test"
        caption = ("there is a blicket in this photo", "a blicket near a building", "look at the blicket")[number % 3]
        rows.append({"image": f"{number}.png", "captions": [caption], "split": split,
                     "boxes": [{"label": "blicket", "xyxy": box}]})  # fmt: skip
    for number, background in enumerate(PHOTOS[len(PLACES) : len(PLACES) + 4]):
        shutil.copy(background, folder / f"plain{number}.jpg")
        rows.append({"image": f"plain{number}.jpg", "captions": ["a photo taken outdoors"], "split": "train"})
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def tuned(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "model"
    random_state = torch.get_rng_state()
    found = finetune(data, out, device="cpu", settings=Settings(steps=STEPS, batch=4, lr=9e-4, crops=0))
    assert torch.equal(random_state, torch.get_rng_state())
    return out, found


def asked(explainer, photo, text, phrase):
    found = explainer.explain(explainer.encode(photo), text)
    return found.heatmap(phrase), found.null_mass(phrase)


def test_an_invented_word_is_learnt_where_it_lies_and_nowhere_else(tuned, data):
    before, after = Explainer(device="cpu"), Explainer(f"crossviz-mini:{tuned[0]}", device="cpu")
    for number in (6, 7):
        box = json.loads((data / "data.jsonl").read_text().splitlines()[number])["boxes"][0]["xyxy"]
        region = box_mask([box], SIZE[1], SIZE[0])
        old, old_null = asked(before, data / f"{number}.png", "a blicket", "blicket")
        new, new_null = asked(after, data / f"{number}.png", "a blicket", "blicket")
        was, now = MeasuredMap(old).figures(region), MeasuredMap(new).figures(region)
        assert now.pointing == 1 and now.mass > 0.5 and new_null < 0.3
        assert now.mass * (1 - new_null) > was.mass * (1 - old_null) + 0.25
        assert min(asked(after, photo, "a blicket", "blicket")[1] for photo in PHOTOS[-4:]) > new_null + 0.3


def test_other_words_stay_where_they_were(tuned):
    for part in tuned[1].values():
        count, _, moved = part["generic phrases: share of the map that moved"]
        assert count >= 20 and 0 < moved < 0.2
        _, before, after = part["generic phrases: null mass"]
        assert abs(before - after) < 0.1
        _, before, after = part["made-up words: null mass"]
        assert after > before - 0.15


def test_the_folder_loads_as_the_embedded_model_does(tuned):
    out, base = tuned[0], assets_dir() / "models" / "crossviz-mini"
    open_clip = compat.import_open_clip()
    clip = open_clip.create_model(f"local-dir:{out}", require_pretrained=True)
    new, old = (load_file(folder / "open_clip_model.safetensors") for folder in (out, base))
    assert new.keys() == old.keys()
    assert all(torch.equal(clip.state_dict()[name], tensor.float()) for name, tensor in new.items())
    changed = {name for name in new if not torch.equal(new[name], old[name])}
    frozen = ("visual.trunk.body.", "visual.head.", "text.token_embedding", "logit_scale")
    assert changed and not any(name.startswith(frozen) for name in changed)
    assert any(name.startswith("visual.trunk.head.") for name in changed)
    assert any(name.startswith("text.transformer.") for name in changed)
    model = models.load_model(f"crossviz-mini:{out}", "cpu")
    assert model.info.trained and model.info.name == f"crossviz-mini:{out}"
    about = json.loads((out / "crossviz.json").read_text())
    assert about["training"]["finetuned_from"] == models.load_model(device="cpu").weights_sha256
    assert about["training"]["settings"]["steps"] == STEPS and about["training"]["base"]["trained"]


def test_log_and_figures_are_written(tuned):
    out, found = tuned
    with open(out / "finetune.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, STEPS + 1))
    loss = [float(row["inside"]) for row in rows]
    assert np.mean(loss[-STEPS // 4 :]) < np.mean(loss[: STEPS // 4])
    saved = json.loads((out / "figures.json").read_text())
    assert list(saved) == ["held out", "trained on"]
    name = "phrases with boxes: pointing, %"
    assert saved["held out"][name][0] == 4 and saved["held out"][name][2] > saved["held out"][name][1]
    assert f"| {name} | 4 |" in (out / "README.md").read_text()
    assert saved["trained on"].keys() == found["trained on"].keys()


def test_a_folder_in_use_is_not_written_over(tuned, data, capsys):
    assert main(["--data", str(data), "--out", str(tuned[0])]) == 2
    assert "is not empty: name a new one" in capsys.readouterr().err


@pytest.fixture
def own(tmp_path):
    """Writes photos of 40 x 30 pixels and their lines, the given ones first, then a good one."""

    def write(*rows):
        for name in ("a.png", "b.png", "c.png"):
            Image.new("RGB", (40, 30), (90, 120, 60)).save(tmp_path / name)
        lines = [*rows, {"image": "c.png", "captions": ["a tall tree"]}]
        lines = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (tmp_path / "data.jsonl").write_text("\n".join(lines) + "\n")
        return tmp_path

    return write


A = {"image": "a.png", "captions": ["a red cup"]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{image: a.png}", "this is no JSON"),
        ("[1]", "a line must be an object"),
        ({"captions": ["a cup"]}, "`image` must be the photo's file name"),
        ({**A, "image": "gone.png"}, "'gone.png' was not found"),
        ({**A, "image": "data.jsonl"}, "holds text, not a picture"),
        ({"image": "a.png"}, "there are no captions"),
        ({**A, "captions": []}, "there are no captions"),
        ({**A, "captions": "a red cup"}, "`captions` must be a list"),
        ({**A, "captions": ["..."]}, "at least one word"),
        ({**A, "width": 400}, "`width` is 400, but a.png is 40 x 30"),
        ({**A, "split": 3}, "`split` must be a text"),
        ({**A, "boxes": [{"label": "cup", "xyxy": [5, 5, 60, 20]}]}, "lies outside the photo, which is 40 x 30"),
        ({**A, "boxes": [{"label": "cup", "xyxy": [20, 5, 10, 20]}]}, "is empty: left must lie before right"),
        ({**A, "boxes": [{"label": "cup", "xyxy": [1, 2, 3]}]}, "must be four numbers"),
        ({**A, "boxes": [{"label": "cup", "xyxy": [1, 2, 3, "4"]}]}, "must be four numbers"),
        ({**A, "boxes": [{"xyxy": [1, 2, 3, 4]}]}, "neither a `label` with a word in it nor an `id`"),
        ({**A, "grounded": [{"text": "a red cup", "spans": [{"start": 2, "end": 30, "id": 1}]}]}, "has 9 characters"),
        ({**A, "grounded": [{"text": "a red cup", "spans": [{"start": 1, "end": 2, "id": 1}]}]}, "no word in the span"),
        ({**A, "grounded": [{"text": "a red cup", "spans": [{"start": 2, "end": 5}]}]}, "a span needs whole numbers"),
        ({**A, "grounded": [{"text": "a red cup"}]}, "`spans` of a grounded caption must be a list"),
        ({"image": "b.png", "captions": ["again"]}, "this photo is on line 1 already"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(own, row, said):
    first = {"image": "b.png", "captions": ["a blue cup"]}
    with pytest.raises(DatasetError, match=r"^data\.jsonl, line 2: ") as error:
        read_own_photos(own(first, row))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "{own}/none"], "There is no folder"),
        (["--data", "{own}"], "1 of 1 photos are left to train on"),
        (["--data", "{own}", "--base", "{own}"], "crossviz.json is missing"),
        (["--data", "{own}", "--device", "tpu9"], "There is no device 'tpu9'"),
        (["--data", "{own}", "--out", "{own}/c.png"], "is a file: give the name of a folder"),
    ],
)
def test_the_command_ends_with_status_2_and_one_sentence(own, arguments, said, capsys):
    folder = own()
    arguments = [argument.replace("{own}", str(folder)) for argument in arguments]
    assert main(["--out", str(folder / "out"), *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out and said in err and err.count("\n") == 1


def test_an_empty_file_and_a_folder_without_one_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"There is no data\.jsonl"):
        read_own_photos(tmp_path)
    (tmp_path / "data.jsonl").write_text("\n")
    with pytest.raises(DatasetError, match="names no photo"):
        read_own_photos(tmp_path)


@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_settings_that_cant_be_are_refused(value, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--data", ".", "--out", "x", "--steps", value])
    assert stop.value.code == 2 and "--steps" in capsys.readouterr().err


def test_captions_alone_give_their_content_words_without_a_place(own):
    (cup, _) = read_own_photos(own({**A, "captions": ["The red cup is on it", "2 cups"]}))
    words = [[s.text[p.start : p.end] for p in s.phrases] for s in cup.sentences]
    assert words == [["red", "cup"], ["cups"]]
    assert not any(p.boxes for s in cup.sentences for p in s.phrases)


def test_labels_are_found_in_captions_and_spans_by_their_ids(own):
    boxes = [{"label": "red cup", "xyxy": [1, 2, 11, 12]}, {"label": "spoon", "xyxy": [20, 2, 41, 9], "id": 7},
             {"label": "spoon", "xyxy": [20, 15, 30, 19], "id": "7"}]  # fmt: skip
    spans = [{"start": 0, "end": 14, "id": 7}, {"start": 18, "end": 22, "id": 8}]
    grounded = [{"text": "a silver spoon at home", "spans": spans}]
    (photo, _) = read_own_photos(own({**A, "captions": ["A Red cup here"], "boxes": boxes, "grounded": grounded}))
    found = {s.text: {s.text[p.start : p.end]: p.boxes for p in s.phrases} for s in photo.sentences}
    cup, spoons = ((1.0, 2.0, 11.0, 12.0),), ((20.0, 2.0, 40.0, 9.0), (20.0, 15.0, 30.0, 19.0))
    assert found == {
        "a silver spoon at home": {"a silver spoon": spoons, "home": ()},
        "A Red cup here": {"Red cup": cup, "here": ()},
        "red cup": {"red cup": cup},
    }


def test_samples_ask_what_is_there_what_is_not_and_what_must_stay(own):
    cup = {**A, "captions": ["a cup beside dogs"], "boxes": [{"label": "cup", "xyxy": [0, 0, 20, 15]}]}
    photos = read_own_photos(own(cup, {"image": "b.png", "captions": ["a dog runs"]}))
    model = models.load_model(device="cpu")
    tokens, rng, decode = WordTokens(model), random.Random(0), SimpleTokenizer().decode
    views = own_views(photos, 2, rng)
    assert len(views) == 3 * 4 and {v.flip for v in views} == {True, False}
    sampler = OwnSampler(photos, views, OwnWords(photos, tokens, model), tokens)
    words = {kind: [set(), set(), set()] for kind in (PRESENT, ABSENT, SEEN, KEEP)}
    for _ in range(60):
        samples = sampler.draw([0, 1, 2], rng)
        batch = collate(samples, tokens)
        for photo, sample in enumerate(samples):
            for j, ask in enumerate(sample.asks):
                ids = [sample.texts[ask.text][t] for t in ask.tokens]
                words[ask.kind][photo].add(decode(ids).strip())
                view = views[sample.row]
                if ask.kind == PRESENT and view.whole:  # the cup is the upper left quarter
                    half = batch.covers[photo, j].shape[-1] // 2
                    corner = batch.covers[photo, j][:half, half:] if view.flip else batch.covers[photo, j][:half, :half]
                    assert corner.min() == 1 and batch.covers[photo, j].sum() == corner.sum()
    assert words[PRESENT] == [{"cup", "the cup"}, set(), set()]
    assert "dogs" in words[SEEN][0] and "dog" in words[SEEN][1] and "tree" in words[SEEN][2]
    assert "cup" in words[ABSENT][1] & words[ABSENT][2] and "dogs" in words[ABSENT][2]
    assert not {"dog", "dogs", "cup"} & words[ABSENT][0] and "dogs" not in words[ABSENT][1]
    assert "the sky" in set().union(*words[KEEP]) and not {"a dog", "a cup", "a tree", "trees"} & set().union(
        *words[KEEP]
    )


def test_keeping_costs_nothing_until_something_moves():
    def maps(null):
        patches = torch.full((1, 1, 4), (1 - null) / 4)
        phrases = torch.cat([patches, torch.full((1, 1, 1), null)], 2)
        unit = torch.tensor([[1.0, 0.0]])
        return Maps(phrases, phrases[:, :, None].expand(-1, -1, 4, -1), phrases, unit[None], unit, unit)

    batch = Batch(
        torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, 1),
        torch.full((1, 1), KEEP), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, dtype=torch.bool),
        torch.full((1,), -1), torch.zeros(1, 1, dtype=torch.long),
    )  # fmt: skip
    still, parts = own_loss(maps(0.2), maps(0.2), batch, Settings())
    assert still == pytest.approx(0) and set(parts) == set(LOSSES)
    moved, parts = own_loss(maps(0.6), maps(0.2), batch, Settings())
    expected = 0.2 * np.log(0.2 / 0.6) + 0.8 * np.log(0.8 / 0.4)  # Kullback-Leibler, in nats
    assert parts["keep"] == pytest.approx(expected, rel=1e-4)
    assert float(moved) == pytest.approx(Settings().keep * expected, rel=1e-4)


def test_the_example_is_in_order():
    folder = assets_dir() / "finetune-example"
    photos = read_own_photos(folder)
    assert len(photos) == 20 and all(len(p.sentences) == 2 for p in photos)
    assert all(any(phrase.boxes for phrase in s.phrases) for p in photos for s in p.sentences)
    assert max(max(p.width, p.height) for p in photos) <= 320
    assert sum(p.path.stat().st_size for p in photos) < 800_000
    notes = (folder / "README.md").read_text()
    assert all(f"`{p.path.name}`" in notes for p in photos)
    assert {p.path.name for p in photos} == {path.name for path in folder.glob("*.jpg")}
