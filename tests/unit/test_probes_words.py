"""The words list against timm's own ImageNet names, and what the probe makes of right and wrong answers."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from crossviz.compat import import_timm
from crossviz.evaluate.dataset import Dataset, Item
from crossviz.evaluate.probes.words import OTHERS, WordList, label_number, probe_words, word_list

PHOTOS = {"saxophone": "sax, saxophone", "puppy": "beagle", "castle": "castle"}


@pytest.fixture(scope="module")
def lemmas() -> list[list[str]]:
    """ImageNet's names of every label."""
    import_timm()
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return [info.index_to_description(number).split(", ") for number in range(1000)]


def test_there_are_200_words_that_name_labels(lemmas):
    words = word_list()
    assert len(words.labels) == 200
    assert all(words.labels.values())
    assert set(words.unsure) <= set(words.labels)
    for word, unsure in words.unsure.items():
        assert unsure
        assert not unsure & words.labels[word], word


def test_a_word_that_is_a_labels_name_means_that_label(lemmas):
    checked = 0
    words = word_list()
    for word, labels in words.labels.items():
        named = {number for number, names in enumerate(lemmas) if word in (name.lower() for name in names)}
        checked += bool(named)
        labels |= words.unsure.get(word, frozenset())  # a harmonica is called a harp, too
        assert named <= labels, f"{word}: {[lemmas[n] for n in named - labels]}"
    assert checked > 60


@pytest.mark.parametrize(
    ("word", "names", "others"),
    [
        ("puppy", {"Chihuahua", "golden retriever", "Mexican hairless"}, {"tabby", "timber wolf", "sea lion"}),
        ("kitten", {"tabby", "Egyptian cat"}, {"cougar", "lion"}),
        ("cathedral", {"church"}, {"castle", "mosque"}),
        ("bird of prey", {"bald eagle", "vulture", "kite"}, {"magpie", "ostrich"}),
        ("weapon", {"rifle", "cannon"}, {"umbrella"}),
        ("big cat", {"lion", "lynx", "cheetah"}, {"tabby", "brown bear"}),
        ("fruit", {"orange", "banana", "fig"}, {"mushroom", "broccoli", "hay"}),
    ],
)
def test_hypernyms_hold_their_kinds_and_no_others(word, names, others, lemmas):
    held = {lemmas[number][0] for number in word_list().labels[word]}
    assert names <= held
    assert not others & held


def test_every_dog_is_a_puppy_and_nothing_else(lemmas):
    assert word_list().labels["puppy"] == frozenset(range(151, 269))
    assert [lemmas[n][0] for n in (151, 268)] == ["Chihuahua", "Mexican hairless"]


def test_a_name_that_is_no_labels_or_two_labels_is_refused():
    with pytest.raises(ValueError, match="'sedan chair' names 0 labels"):
        WordList({"words": {"sedan": ["sedan chair"]}, "unsure": {}}, ["cab", "crane", "crane"])
    with pytest.raises(ValueError, match="'crane' names 2 labels"):
        WordList({"words": {"crane": ["crane"]}, "unsure": {}}, ["cab", "crane", "crane"])
    words = WordList({"words": {"x": ["b .. d"]}, "unsure": {"x": ["e"]}}, list("abcdef"))
    assert words.labels["x"] == {1, 2, 3}
    assert [words.sides(n) for n in (2, 4, 5)] == [(["x"], []), ([], []), ([], ["x"])]


def test_a_label_is_known_by_its_text_or_its_number(lemmas):
    def number(label="", index=-1):
        return label_number(Item(Path("a.jpg"), label=label, label_index=index))

    assert lemmas[number("sax, saxophone")][0] == "sax"
    assert number("sax") == number(index=776) == 776
    assert number("sax, saxophone", 3) == 776, "the text says more than a number whose list is not known"
    assert number("crane") is None
    assert number("my aunt") is None
    assert number() is None


class Planted:
    """Finds (`right` null mass) the words that mean a photo's label, and others with `wrong`."""

    info = SimpleNamespace(name="planted")

    def __init__(self, right: float | None, wrong: float | None):
        self._answers, self.asked = {True: right, False: wrong}, []

    def encode(self, photo):
        return photo.stem

    def explain(self, name, word):
        self.asked.append((name, word))
        null = self._answers[label_number(Item(Path(), label=PHOTOS[name])) in word_list().labels[word]]
        return SimpleNamespace(map=SimpleNamespace(null_mass=null), null_mass=lambda span: null)


DATASET = Dataset("three", [Item(Path(f"{name}.jpg"), label=label) for name, label in PHOTOS.items()])


def test_a_model_that_knows_the_words_is_told_from_one_that_does_not():
    model = Planted(0.1, 0.9)
    report = probe_words(model, DATASET)
    assert report["AUROC, all words together"].value == 1
    assert report["AUROC of a word, mean over words"].value == 1
    assert report["found where it is (null mass .5 or less)"].value == 100
    assert report["found where it is not"].value == 0
    assert ("saxophone", "woodwind") in model.asked
    assert ("puppy", "canine") in model.asked
    right = [
        pair
        for pair in model.asked
        if label_number(DATASET.items[list(PHOTOS).index(pair[0])]) in word_list().labels[pair[1]]
    ]
    assert len(model.asked) == len(right) + OTHERS * len(PHOTOS)
    assert len(set(model.asked)) == len(model.asked)
    assert probe_words(Planted(0.9, 0.1), DATASET)["AUROC, all words together"].value == 0
    assert probe_words(Planted(0.5, 0.5), DATASET)["AUROC, all words together"].value == 0.5


def test_without_a_null_key_or_labels_the_report_says_so():
    assert "no null key" in probe_words(Planted(None, None), DATASET).sentence
    assert probe_words(None, Dataset("bare", [Item(Path("a.jpg"))])).sentence.startswith(
        "Not measured: no photo of bare"
    )
