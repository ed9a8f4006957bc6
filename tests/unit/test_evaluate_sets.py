"""Reading sets of photos: every layout says the same of the same photos, and damage is told in one sentence."""

import json
import zlib

import numpy as np
import photo_sets as sets
import pytest
from PIL import Image

from crossviz.errors import DatasetError
from crossviz.evaluate import find_sets, open_dataset, open_sets
from crossviz.evaluate.coco import draw_region
from crossviz.evaluate.entities import parse_sentence
from crossviz.measures import box_mask


def answers(dataset):
    """What is asked of each photo, masks drawn out."""
    found = {}
    for item in dataset.items:
        found[item.photo.stem] = [
            (q.text, q.span, q.group, q.present, q.kinds, q.boxes, None if q.mask is None else q.mask().tolist())
            for q in item.questions
        ]
        assert item.photo.exists()
    return found


def test_entities_and_jsonl_ask_the_same_of_the_same_photos(tmp_path):
    official = open_dataset(sets.write_entities(tmp_path / "official", sets.CAPTIONED), split="val")
    lines = open_dataset(sets.write_jsonl(tmp_path / "lines", sets.CAPTIONED), split="val")
    assert answers(official) == answers(lines) and len(official.items) == 3
    assert [i.captions for i in official.items] == [i.captions for i in lines.items]
    assert [i.wh for i in official.items] == [i.wh for i in lines.items] == [p.wh for p in sets.CAPTIONED[:3]]
    (first, *_) = official.items
    asked = {(q.text, q.phrase): q for q in first.questions if q.present}
    ball = asked["A black dog catches a red ball on the grass .", "a red ball"]
    assert (ball.boxes, ball.kinds, ball.group) == (sets.BALL.boxes, ("other",), "phrases in captions")
    assert asked["A black dog", "A black dog"].boxes == sets.DOG.boxes
    assert not any("grass" in phrase for _, phrase in asked)  # it has no box


def test_coco_and_jsonl_ask_the_same_of_the_same_photos(tmp_path):
    official = open_dataset(sets.write_coco(tmp_path / "official", sets.OBJECTS))
    lines = open_dataset(sets.write_jsonl(tmp_path / "lines", sets.OBJECTS, masks=True))
    assert answers(official) == answers(lines)
    cats = next(q for q in official.items[0].questions if q.text == "cat")
    assert cats.boxes == ((4, 6, 24, 30), (30, 4, 40, 12))
    assert np.array_equal(cats.mask(), box_mask(cats.boxes, 36, 48))
    assert official.items[0].captions == ("Photo number 1.",)


def test_index_masks_and_jsonl_ask_the_same_of_the_same_photos(tmp_path):
    folders = open_dataset(sets.write_masks(tmp_path / "folders", sets.OBJECTS))
    # A mask alone can't tell that a crowd is one of dogs.
    plain = [sets.Objects(p.name, p.wh, p.objects) for p in sets.OBJECTS]
    lines = open_dataset(sets.write_jsonl(tmp_path / "lines", plain, masks=True, boxes=False))
    assert answers(folders) == answers(lines)
    part = open_dataset(tmp_path / "folders", split="val")
    assert [i.photo.stem for i in part.items] == ["000000000001", "000000000002"]


def test_masks_in_folders_named_after_parts(tmp_path):
    for part, photos in (("training", sets.OBJECTS[:2]), ("validation", sets.OBJECTS[2:])):
        for photo in photos:
            sets.make_photo(tmp_path / "ade" / "images" / part / f"{photo.name}.png", photo.wh)
            sets.write_mask(tmp_path / "ade" / "annotations" / part / f"{photo.name}.png", photo)
    (tmp_path / "ade" / "classes.json").write_text(json.dumps({"44": "bottle", "17": "cat"}))
    (item,) = open_dataset(tmp_path / "ade", split="validation").items
    assert [q.text for q in item.questions if q.present] == ["bottle"]
    assert len(open_dataset(tmp_path / "ade").items) == 3


def test_zero_and_255_are_never_asked(tmp_path):
    root = sets.write_masks(tmp_path / "voc", sets.OBJECTS)
    (root / "classes.json").write_text(json.dumps({"0": "background", "255": "void", "17": "cat", "44": "bottle"}))
    words = {q.text for item in open_dataset(root).items for q in item.questions}
    assert words == {"cat", "bottle"}


def test_a_crowd_is_neither_present_nor_absent(tmp_path):
    dataset = open_dataset(sets.write_coco(tmp_path / "coco", sets.OBJECTS))
    crowded = dataset.items[1]
    assert {q.text for q in crowded.questions if q.present} == {"person", "car"}
    for seed in range(20):
        again = open_dataset(tmp_path / "coco", seed=seed).items[1]
        assert not any(q.text in ("dog", "cat") for q in again.questions)  # cats are too like the crowd of dogs


def test_run_lengths_both_ways():
    box, wh = (3, 1, 7, 4), (9, 6)
    wanted = np.zeros((6, 9), bool)
    wanted[1:4, 3:7] = True
    plain = sets.rle(box, wh)
    assert np.array_equal(draw_region(plain, wh), wanted)
    packed, counts = "", plain["counts"]
    for place, count in enumerate(counts):  # COCO's own packing, written from its description
        value = count - counts[place - 2] if place > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            more = not (value == 0 and not bits & 16) and not (value == -1 and bits & 16)
            packed += chr(48 + (bits | (32 if more else 0)))
            if not more:
                break
    assert np.array_equal(draw_region({"size": [6, 9], "counts": packed}, wh), wanted)
    # The example of pycocotools' own documentation of a mask of one run, in a larger picture.
    assert draw_region({"size": [30, 40], "counts": [600, 45, 555]}, (40, 30)).sum() == 45


def test_a_polygon_holds_the_pixels_whose_centres_it_holds():
    slanted = [2.0, 1.0, 30.0, 4.0, 22.0, 25.0, 9.0, 12.0]
    found = draw_region([slanted], (32, 28))
    xs, ys = np.array(slanted).reshape(-1, 2).T
    for row in range(28):
        for col in range(32):
            x, y, inside = col + 0.5, row + 0.5, False
            for i in range(4):
                j = (i + 1) % 4
                if (ys[i] > y) != (ys[j] > y) and x < xs[i] + (y - ys[i]) * (xs[j] - xs[i]) / (ys[j] - ys[i]):
                    inside = not inside
            assert found[row, col] == inside
    two = draw_region([[0, 0, 4, 0, 4, 4, 0, 4], [10, 10, 90, 10, 90, 90, 10, 90]], (20, 20))
    assert two.sum() == 16 + 100  # what lies beyond the photo is cut off


def test_marked_sentences():
    line = "[/EN#1/people/animals Two men] , [/EN#0/notvisual who] ride [/EN#2/other  a  bike] ."
    found = parse_sentence(line, {"2": [(0.0, 1.0, 2.0, 3.0)]})
    assert found.text == "Two men , who ride a bike ."
    read = [(found.text[p.start : p.end], p.kinds, p.boxes) for p in found.phrases]
    assert read == [("Two men", ("people", "animals"), ()), ("who", (), ()), ("a bike", ("other",), ((0, 1, 2, 3),))]


def test_folds_are_by_the_checksum_of_the_stem_and_limits_are_drawn(tmp_path):
    photos = [sets.Objects(f"{n:012d}", (8, 8), ((17, (1, 1, 5, 5)),)) for n in range(40)]
    root = sets.write_jsonl(tmp_path / "many", photos)
    folds = [{i.photo.stem for i in open_dataset(root, fold=(k, 3)).items} for k in range(3)]
    assert folds[1] == {p.name for p in photos if zlib.crc32(p.name.encode()) % 3 == 1}
    assert set.union(*folds) == {p.name for p in photos} and sum(map(len, folds)) == 40
    some = [i.photo.stem for i in open_dataset(root, limit=5, seed=1).items]
    assert len(set(some)) == 5 and some == [i.photo.stem for i in open_dataset(root, limit=5, seed=1).items]
    assert some != [i.photo.stem for i in open_dataset(root, limit=5, seed=2).items]
    assert open_dataset(root, fold="1/3", limit=5).chosen == "fold 1/3, at most 5 photos"


def test_what_is_asked_of_a_photo_does_not_depend_on_the_others_that_are_measured(tmp_path):
    root = sets.write_jsonl(tmp_path / "set", sets.CAPTIONED)
    everything = answers(open_dataset(root, split="val"))
    for stem, asked in answers(open_dataset(root, split="val", limit=2, seed=0)).items():
        assert asked == everything[stem]


def test_a_folder_of_sets(tmp_path):
    sets.write_jsonl(tmp_path / "b_lines", sets.CAPTIONED)
    sets.write_coco(tmp_path / "a_coco", sets.OBJECTS)
    (tmp_path / "notes").mkdir()
    assert [p.name for p in find_sets(tmp_path)] == ["a_coco", "b_lines"]
    coco, lines = open_sets(tmp_path, split="val", fold="0/1")
    assert coco.chosen == "fold 0/1"
    assert lines.chosen == "split val" and len(lines.items) == 3
    with pytest.raises(DatasetError, match="None of the sets"):
        list(open_sets(tmp_path, split="tset"))
    with pytest.raises(DatasetError, match="holds sets of photos \\(a_coco, b_lines\\)"):
        open_dataset(tmp_path)


def test_photos_may_lie_elsewhere(tmp_path):
    root = sets.write_entities(tmp_path / "set", sets.CAPTIONED)
    (root / "flickr30k-images").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="--photos"):
        open_dataset(root)
    items = open_dataset(root, photos=tmp_path / "elsewhere").items
    assert items[0].photo.parent == tmp_path / "elsewhere"


def spoil(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda p: (p / "data.jsonl").unlink(), "no layout that is known.*Flickr30k Entities.*COCO.*index masks"),
        (lambda p: (p / "data.jsonl").write_text(""), "no photo"),
        (lambda p: spoil(p / "data.jsonl", '{"image"', '{"picture"'), "Line 1 of data.jsonl.*lacks 'image'"),
        (lambda p: spoil(p / "data.jsonl", "[4, 6, 24, 30]", "[24, 6, 4, 30]"), "Line 1.*has no area"),
        (lambda p: spoil(p / "data.jsonl", '"start": 0', '"start": 999'), "Line 1.*span"),
        (lambda p: (p / "data.jsonl").write_bytes(b"\xff\xfe\x00{"), "not UTF-8"),
        (lambda p: spoil(p / "data.jsonl", '"mask": null', '"mask": "m.png"'), "classes.json"),
    ],
)
def test_damage_is_told_in_a_sentence(tmp_path, damage, message):
    root = sets.write_jsonl(tmp_path / "set", sets.CAPTIONED)
    damage(root)
    with pytest.raises(DatasetError, match=message):
        open_dataset(root)


def test_a_bad_choice_is_told_in_a_sentence(tmp_path):
    root = sets.write_jsonl(tmp_path / "set", sets.CAPTIONED)
    for choice, message in (
        ({"split": "test"}, "no split 'test'.*train, val"),
        ({"fold": "5/5"}, "K/N"),
        ({"fold": "half"}, "K/N"),
        ({"limit": 0}, "at least 1"),
        ({"split": "train", "fold": (zlib.crc32(b"1004") % 7 - 1, 7)}, "No photo"),
    ):
        with pytest.raises(DatasetError, match=message):
            open_dataset(root, **choice)
    with pytest.raises(DatasetError, match="There is no file or folder nowhere"):
        open_dataset(tmp_path / "nowhere")


def test_a_mask_that_is_no_index_mask_is_refused(tmp_path):
    root = sets.write_masks(tmp_path / "set", sets.OBJECTS)
    mask = root / "SegmentationClass" / "000000000001.png"
    Image.new("RGB", (48, 36)).save(mask)
    with pytest.raises(DatasetError, match=r"000000000001[.]png is a picture of mode RGB"):
        open_dataset(root).items[0]
    mask.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"000000000001[.]png can't be read"):
        open_dataset(root).items[0]
