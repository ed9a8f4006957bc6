"""Train the noun phrase tagger: `python -m crossviz.training.noun_phrases --data DIR --out FILE`.

A structured perceptron with averaged weights: the weights of every caption whose likeliest tags are wrong move towards
the right ones. Without --out nothing is trained, and the weights that are there are measured on the dev captions of
Flickr8k, beside a rule without weights.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crossviz.noun_phrases import OUTSIDE, Tagger, features, read_tagger, shipped
from crossviz.training.noun_phrase_data import Tagged, coco_captions, other_captions, tagged_captions
from crossviz.training.noun_phrase_figures import figures
from crossviz.words import split_words

__all__ = ["known_words", "train", "write"]

ROUNDS = 5
SEED = 0
LEAST = {"lw": 250, "wr": 250, "r3rr3": 400}  # how often a feature must occur, by its kind
LEAST_ELSE = 60
LEAST_KNOWN = 5  # how often a word must occur to count as English
STEPS = 100  # a stored weight is this many times the mean one, rounded
LEAST_WEIGHT = 100  # features whose stored weights are all smaller are left out
OTHERS = frozenset(
    "das de del den der des di die du een ein eine el en et het il la le les los o um un una une van y".split()  # noqa: SIM905
)
"""Short words of other languages that stand in English captions too (names, titles): they don't count as English."""
_GAPS = ("", ",", "'", ".")


class _Perceptron:
    """Weights while they are learnt: of features `feature tag`, of moves `gap tag tag`, and the sums of all so far."""

    def __init__(self, count: int) -> None:
        self.weights, self.moves = np.zeros((count, 3)), np.zeros((len(_GAPS), 3, 3))
        self.late_weights, self.late_moves = np.zeros_like(self.weights), np.zeros_like(self.moves)
        self.seen = 1

    def tags(self, ids: Sequence[Sequence[int]], before: Sequence[int]) -> list[int]:
        """As `Tagger.tags`, for features and gaps by number."""
        own = [self.weights[row].sum(0).tolist() for row in ids]
        best, came, none = [own[0][0], -1e12, own[0][2]], [], -1e12
        for index in range(1, len(ids)):
            (bb, bi, bo), (ib, ii, io), (ob, _, oo) = self.moves[before[index]].tolist()
            begin, inside, outside = best
            scores, froms = [], []
            for ways in (
                (begin + bb, inside + ib, outside + ob),
                (begin + bi, inside + ii, none),
                (begin + bo, inside + io, outside + oo),
            ):
                top = max(ways)
                scores.append(top)
                froms.append(ways.index(top))
            best = [score + value for score, value in zip(scores, own[index], strict=True)]
            came.append(froms)
        found = [best.index(max(best))]
        for froms in reversed(came):
            found.append(froms[found[-1]])
        return found[::-1]

    def learn(self, ids: Sequence[np.ndarray], before: Sequence[int], right: Sequence[int]) -> None:
        """One caption."""
        wrong = self.tags(ids, before)
        if wrong != list(right):
            for index, (good, bad) in enumerate(zip(right, wrong, strict=True)):
                if good != bad:
                    for step, tag in ((1, good), (-1, bad)):
                        self.weights[ids[index], tag] += step
                        self.late_weights[ids[index], tag] += step * self.seen
                if index:
                    for step, tags in ((1, right), (-1, wrong)):
                        at = before[index], tags[index - 1], tags[index]
                        self.moves[at] += step
                        self.late_moves[at] += step * self.seen
        self.seen += 1

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """The averages of all weights over all captions seen."""
        return self.weights - self.late_weights / self.seen, self.moves - self.late_moves / self.seen


def train(captions: list[Tagged], known: frozenset[str], rounds: int = ROUNDS, seed: int = SEED) -> Tagger:
    """A tagger from captions with their tags; the same one from the same captions."""
    texts = [[features(c.words, c.before, i) for i in range(len(c.words))] for c in captions]
    counts = Counter(feature for text in texts for word in text for feature in word)
    kept = sorted(f for f, n in counts.items() if n >= LEAST.get(f.partition(" ")[0], LEAST_ELSE))
    number = {feature: index for index, feature in enumerate(kept)}
    coded = [
        (
            [np.array([number[f] for f in word if f in number], np.int64) for word in text],
            [_GAPS.index(gap) for gap in caption.before],
            caption.tags,
        )
        for text, caption in zip(texts, captions, strict=True)
        if text
    ]
    learner, rng = _Perceptron(len(kept)), random.Random(seed)
    for turn in range(rounds):
        rng.shuffle(coded)
        for ids, before, right in coded:
            learner.learn(ids, before, right)
        print(f"round {turn + 1} of {rounds}", flush=True)
    weights, moves = (np.rint(STEPS * part).astype(int) for part in learner.mean())
    # Only differences between tags count.
    weights -= weights[:, OUTSIDE:]
    return Tagger(
        {feature: row.tolist() for feature, row in zip(kept, weights, strict=True) if abs(row).max() >= LEAST_WEIGHT},
        {gap: moves[index].tolist() for index, gap in enumerate(_GAPS)},
        known,
    )


def write(tagger: Tagger, file: Path) -> None:
    """The weights as JSON, one feature a line; the weight of the tag OUTSIDE, always 0, is left out."""
    rows = [
        f"{json.dumps(name, ensure_ascii=False)}:{json.dumps(row[:OUTSIDE], separators=(',', ':'))}"
        for name, row in tagger.weights.items()
    ]
    moves = json.dumps(tagger.moves, separators=(",", ":"))
    known = json.dumps(" ".join(sorted(tagger.known)), ensure_ascii=False)
    file.write_text(f'{{"known":{known},\n"moves":{moves},\n"weights":{{\n' + ",\n".join(rows) + "\n}}\n", "utf-8")


def known_words(captions: list[Tagged], texts: list[str]) -> frozenset[str]:
    """Words that occur often enough in captions not to be slips of the pen, in lower case."""
    counts = Counter(word.lower() for caption in captions for word in caption.words)
    counts.update(text[start:end].lower() for text in texts for start, end in split_words(text))
    return frozenset(word for word, count in counts.items() if count >= LEAST_KNOWN) - OTHERS


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--out", type=Path, default=None, help="file to write the weights to")
    args = parser.parse_args()
    if args.out:
        captions = [*tagged_captions(args.data, "train"), *other_captions(args.data)]
        write(train(captions, known_words(captions, coco_captions(args.data))), args.out)
    print(figures(read_tagger(args.out) if args.out else shipped(), args.data))


if __name__ == "__main__":
    main()
