"""How well the scene checker reads pictures: `python -m crossviz.training.checker_figures --work DIR`.

DIR is where `crossviz.training.scene_data` put its sets. With --redrawn the scenes are read as the image tokenizer that
was trained there draws them.
"""

import argparse
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crossviz.models.dalle_load import CHECKER, FOLDER
from crossviz.scenes.captions import UNSEEN
from crossviz.scenes.checker import SceneChecker, load_checker
from crossviz.scenes.checker_network import KINDS
from crossviz.scenes.found import Found, FoundScene
from crossviz.scenes.reading import MAX_THINGS, read
from crossviz.scenes.things import Request, groups_of
from crossviz.scenes.verdict import related, verdict
from crossviz.scenes.vocabulary import FLOORS, MOODS
from crossviz.training.redrawn import redrawn
from crossviz.training.scene_data import SceneSet, load

__all__ = ["Tally", "altered", "figures", "measure", "truth"]

_RELATIONS = ("left", "right", "front", "behind")


@dataclass
class Tally:
    """Counts: `right` and `of` by what is asked, `wrong` of mistakes by their kind; `overlaps` are the masks' IoU."""

    right: Counter = field(default_factory=Counter)
    of: Counter = field(default_factory=Counter)
    wrong: Counter = field(default_factory=Counter)
    overlaps: list[float] = field(default_factory=list)

    def add(self, name: str, right: bool) -> None:
        """One answer."""
        self.right[name] += bool(right)
        self.of[name] += 1

    def share(self, name: str) -> float:
        """How many were right, from 0 to 1; NaN if there was none."""
        return self.right[name] / self.of[name] if self.of[name] else float("nan")


def truth(scenes: SceneSet, row: int) -> FoundScene:
    """What stands in a scene of a set, in the order of its caption's groups. Where the caption does not say the floor
    or the mood, they are not known, and the first of the vocabulary stand in their places."""
    request = read(scenes.captions[row])
    things = [
        Found(
            *(words[int(kind)] for words, kind in zip(KINDS.values(), thing[:4], strict=True)),
            x=float(thing[4]),
            y=float(thing[5]),
            mask=scenes.owner[row] == number,
        )
        for number, thing in enumerate(scenes.things[row], 1)
        if thing[0] >= 0
    ]
    return FoundScene(tuple(things), request.floor or FLOORS[0], request.mood or MOODS[0])


def altered(request: Request, found: FoundScene, rng: np.random.Generator) -> dict[str, Request]:
    """The request with one word changed so that it is untrue of the scene, one way for each kind of word."""
    ways: dict[str, list[Request]] = {}

    def group(number: int, **change) -> Request:
        groups = list(request.groups)
        groups[number] = replace(groups[number], **change)
        return replace(request, groups=tuple(groups))

    for number, one in enumerate(request.groups):
        for name, words in KINDS.items():
            said = getattr(one, name)
            ways.setdefault(name, []).extend(
                group(number, **{name: w}) for w in words if said is not None and w != said
            )
        counts = [count for count in (1, 2, 3) if count != one.count and count + len(found) - one.count <= MAX_THINGS]
        ways.setdefault("count", []).extend(group(number, count=count) for count in counts)
    if request.relation is not None:
        ways["relation"] = [replace(request, relation=r) for r in _RELATIONS if r != request.relation]
    if request.floor is not None:
        ways["floor"] = [replace(request, floor=f) for f in FLOORS if f != request.floor]
    if request.mood is not None:
        ways["mood"] = [replace(request, mood=m) for m in MOODS if m != request.mood]
    untrue = {name: [way for way in some if not verdict(way, found).asked] for name, some in ways.items()}
    return {name: some[int(rng.integers(len(some)))] for name, some in untrue.items() if some}


def measure(checker: SceneChecker, scenes: SceneSet) -> Tally:
    """Read a set's pictures, and count what is right."""
    tally, rng = Tally(), np.random.default_rng(0)
    for start in range(0, len(scenes.pixels), 200):
        part = np.ascontiguousarray(scenes.pixels[start : start + 200])
        for row, found in enumerate(checker.find(part), start):
            _tell(tally, read(scenes.captions[row]), truth(scenes, row), found, rng)
    return tally


def _tell(tally: Tally, request: Request, true: FoundScene, found: FoundScene, rng: np.random.Generator) -> None:
    pairs = _matched(true, found, tally)
    full = tally_count = len(found) == len(true)
    tally.add("count", tally_count)
    if not tally_count:
        tally.wrong[f"{len(found)} found of {len(true)}"] += 1
    for mine, yours in pairs:
        for name in KINDS:
            is_right = getattr(mine, name) == getattr(yours, name)
            tally.add(name, is_right)
            full &= is_right
            if not is_right:
                about = "" if name == "shape" else f" {mine.size} {mine.material} {mine.shape}"
                tally.wrong[f"{getattr(mine, name)} read as {getattr(yours, name)}:{about}"] += 1
    full &= len(pairs) == len(true)
    if request.relation is not None and len(pairs) == len(true):
        of = groups_of(request)
        ends = [[yours for (_, yours), group in zip(pairs, of, strict=True) if group == g] for g in (0, 1)]
        is_right = all(related(request.relation, a, b) for a in ends[0] for b in ends[1])
        tally.add("relation", is_right)
        full &= is_right
    if request.floor is not None:
        tally.add("floor", request.floor == found.floor)
    if request.mood is not None:
        tally.add("mood", request.mood == found.mood)
    new = any((thing.colour, thing.shape) in UNSEEN for thing in true)
    for name in ("scenes", f"scenes of {len(true)}", "scenes with new pairs" if new else "scenes of known pairs"):
        tally.add(f"{name}, read in full", full)
        tally.add(f"{name}, found as asked", verdict(request, found).asked)
    others = altered(request, true, rng)
    for name, other in others.items():
        tally.add(f"another {name} refused", not verdict(other, found).asked)
    chosen = list(others)[int(rng.integers(len(others)))]
    tally.add("one word changed, refused", not verdict(others[chosen], found).asked)


def _matched(true: FoundScene, found: FoundScene, tally: Tally) -> list[tuple[Found, Found]]:
    """The true things that were found, in their order, with what was found in their place."""
    overlap = np.array([[_overlap(a.mask, b.mask) for b in found] for a in true]).reshape(len(true), len(found))
    wide = np.pad(overlap, ((0, 0), (0, max(0, len(true) - len(found)))))
    best = max(
        permutations(range(wide.shape[1]), len(true)), key=lambda way: sum(wide[a, b] for a, b in enumerate(way))
    )
    tally.overlaps += [float(wide[a, b]) for a, b in enumerate(best)]
    return [(true[a], found[b]) for a, b in enumerate(best) if wide[a, b] > 0]


def _overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def figures(tally: Tally) -> str:
    """A table for people."""
    lines = [f"{'':34}    right       of"]
    first = ("count", *KINDS, "relation", "floor", "mood")
    for name in (*first, *sorted(set(tally.of) - set(first))):
        if tally.of[name]:
            lines.append(f"{name:34} {100 * tally.share(name):6.2f} % {tally.of[name]:7}")
    overlaps = np.array(tally.overlaps)
    lines.append(f"mask IoU: mean {overlaps.mean():.3f}, median {np.median(overlaps):.3f}, a tenth below "
                 f"{np.percentile(overlaps, 10):.3f}")  # fmt: skip
    lines += [f"{times:5} times {what}" for what, times in tally.wrong.most_common(12)]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the rendered sets")
    parser.add_argument("--set", default="dev", help="which of them")
    parser.add_argument("--weights", type=Path, default=FOLDER / CHECKER, help="default: those that crossviz carries")
    parser.add_argument("--redrawn", action="store_true", help="as the image tokenizer draws the scenes")
    args = parser.parse_args()
    checker, scenes = load_checker(args.weights), load(args.work / "scenes", args.set)
    if args.redrawn:
        scenes = redrawn(scenes, args.work, args.set)
    print(figures(measure(checker, scenes)))
    one = torch.from_numpy(scenes.pixels[:1].copy())
    started = time.perf_counter()
    for _ in range(20):
        checker.find(one)
    print(f"one picture: {(time.perf_counter() - started) / 20 * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
