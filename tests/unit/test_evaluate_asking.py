"""What is asked of a photo: phrases that it lacks, words of classes, and how they are drawn."""

from collections import Counter

import numpy as np
import photo_sets as sets
import pytest

from crossviz.evaluate import open_dataset
from crossviz.evaluate.absent import Absence, head_noun
from crossviz.evaluate.asking import ALONE, CLASSES, IN_CAPTIONS
from crossviz.evaluate.class_words import words_of, words_table
from crossviz.evaluate.records import Phrase, Sentence

BOX = ((0.0, 0.0, 9.0, 9.0),)


def captions(*texts: str, kinds: tuple[str, ...] = ("animals",), boxes: tuple = BOX) -> tuple[Sentence, ...]:
    """Captions that are one phrase each."""
    return tuple(Sentence(text, (Phrase(0, len(text), kinds, boxes),)) for text in texts)


@pytest.mark.parametrize(
    ("phrase", "head"),
    [
        ("A small child", "child"), ("a set of stairs", "stairs"), ("the top of a tree", "top"),
        ("a man in a red hat", "man"), ("Dog", "dog"), ("…", "…"),
    ],
)  # fmt: skip
def test_head_noun(phrase, head):
    assert head_noun(phrase) == head


def test_a_phrase_is_absent_where_no_caption_names_it_and_nobody_could_have_left_it_out():
    photos = [
        captions("a dog"),
        captions("two cats"),
        captions("a man", kinds=("people",)),
        captions("a boy", kinds=("people",)),
    ]
    absent = Absence(photos)
    assert absent("dog", ("animals",), 1) and not absent("dog", ("animals",), 0)
    assert absent("cat", ("animals",), 0) is False  # never a head noun here, so that nothing is known of it
    assert not absent("man", ("people",), 3) and absent("man", ("people",), 0)
    assert not absent("cats", ("animals",), 1)
    assert not absent("zeppelin", (), 0)


def test_a_head_noun_without_a_box_anywhere_is_never_absent():
    photos = [captions("a dog"), captions("the sky", boxes=())]
    assert not Absence(photos)("sky", (), 0)


def test_what_resembles_a_phrase_of_the_photo_is_not_absent():
    photos = [captions("a dog"), captions("a puppy"), captions("a car", kinds=("vehicles",))]

    def alike(heads):
        assert heads == ["car", "dog", "puppy"]
        return np.array([[1, 0, 0], [0, 1, 1], [0, 1, 1]], bool)

    absent = Absence(photos, alike)
    assert not absent("puppy", (), 0) and absent("car", (), 0) and Absence(photos)("puppy", (), 0)


def test_boxed_phrases_are_asked_in_every_caption_and_once_alone(tmp_path):
    dataset = open_dataset(sets.write_jsonl(tmp_path / "set", sets.CAPTIONED), split="val")
    (first, *_) = dataset.items
    present = Counter((q.group, q.phrase) for q in first.questions if q.present)
    assert present == {
        (IN_CAPTIONS, "A black dog"): 2,
        (IN_CAPTIONS, "a red ball"): 1,
        (ALONE, "A black dog"): 1,
        (ALONE, "a red ball"): 1,
    }
    others = {c for item in dataset.items for c in item.captions} - set(first.captions)
    lacking = [q for q in first.questions if not q.present]
    assert {q.phrase for q in lacking} <= {"A woman", "a hat", "A cat", "a sofa"} and lacking
    assert all(q.text in others for q in lacking if q.group == IN_CAPTIONS)
    assert {q.phrase for q in lacking if q.group == ALONE} == {q.phrase for q in lacking if q.group == IN_CAPTIONS}
    # Only photos of the same part lend their captions, and every one of them does, sooner or later.
    seen = {q.phrase for s in range(30) for q in open_dataset(tmp_path / "set", split="val", seed=s).items[0].questions}
    assert {"A woman", "a hat", "A cat", "a sofa"} <= seen and "A man" not in seen


def test_classes_are_asked_by_their_first_word_and_as_many_that_are_absent_and_two(tmp_path):
    photos = [sets.Objects("000000000001", (48, 36), ((17, (4, 6, 24, 30)),))]
    root = sets.write_jsonl(tmp_path / "set", photos)
    seen = set()
    for seed in range(40):
        (item,) = open_dataset(root, seed=seed).items
        present, absent = ([q for q in item.questions if q.present is side] for side in (True, False))
        assert [(q.text, q.kinds, q.group) for q in present] == [("cat", ("cat",), CLASSES)]
        assert len(absent) == len({q.text for q in absent}) == 3
        seen |= {q.text for q in absent}
    assert seen == {"person", "chair", "potted plant", "car", "bottle", "book"}  # a dog is too like a cat


def test_known_sets_have_their_own_words_and_others_their_classes_names():
    known = words_of(["mouse", "sports ball", "dog"])
    assert known.words["mouse"][0] == "computer mouse" and known.words["sports ball"][0] == "ball"
    own = words_of(["mouse", "red_panda", "dog; domestic dog"])
    assert own.words == {
        "mouse": ("mouse",),
        "red_panda": ("red panda",),
        "dog; domestic dog": ("dog", "domestic dog", "animal"),
    }
    assert {"dog", "cat", "animal", "puppy"} <= own.close_to(["dog; domestic dog"])
    assert own.close_to(["red_panda"]) == {"red panda"}
    assert words_of(["windowpane, window", "wall"]).words["windowpane, window"] == ("window", "windows")


def test_every_class_of_the_known_sets_has_words():
    for section, count in (("ade20k", 150), ("coco", 80), ("voc", 20)):
        table = words_table(section)
        assert len(table) == count and all(all(word == word.strip() != "" for word in own) for own in table.values())
        assert len({own[0] for own in table.values()}) == count  # no two are asked by one word


def test_a_photo_that_nobody_annotated_is_asked_no_class(tmp_path):
    photos = [*sets.OBJECTS, sets.Objects("000000000009", (20, 20), ())]
    items = open_dataset(sets.write_jsonl(tmp_path / "set", photos)).items
    assert items[3].questions == () and items[0].questions
