"""The captions that the scene model is measured on: none of them was trained on.

`dalle_captions.json` beside this file holds them: for each number of things as many with pairs of colour and shape that
training never showed (`unseen`) as without. "choice" is what the sampling was chosen on, "test" what is reported.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np

from crossviz.scenes.captions import draw_request, write
from crossviz.training.scene_data import load

__all__ = ["FILE", "captions", "draw_captions", "mirrored"]

FILE = Path(__file__).with_name("dalle_captions.json")
_EACH = {"choice": 40, "test": 100}
_SEEDS = {"choice": 11, "test": 12}


def captions(part: str) -> dict[str, list[str]]:
    """The captions of "choice" or "test", by kind: "1 seen", "1 unseen", ... "4 unseen"."""
    return json.loads(FILE.read_text("utf-8"))[part]


def draw_captions(taken: set[str]) -> dict[str, dict[str, list[str]]]:
    """New ones, without those in `taken`, and none twice."""
    taken, drawn = set(taken), {}
    for part, count in _EACH.items():
        rng = np.random.default_rng(_SEEDS[part])
        drawn[part] = {f"{total} {kind}": [] for total in (1, 2, 3, 4) for kind in ("seen", "unseen")}
        for kind, found in drawn[part].items():
            while len(found) < count:
                caption = write(draw_request(rng, int(kind[0]), kind.endswith("unseen")), rng)
                if caption not in taken:
                    taken.add(caption)
                    found.append(caption)
    return drawn


def mirrored(caption: str) -> str:
    """The caption of the mirrored scene, which is trained on as well: left is right."""
    return re.sub(r"\b(left|right)\b", lambda found: "right" if found[0] == "left" else "left", caption)


def main() -> None:
    """Command line: writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder with the scenes of the training")
    args = parser.parse_args()
    taken = {caption for name in ("train", "dev") for caption in load(args.work / "scenes", name).captions}
    taken |= {mirrored(caption) for caption in taken}
    FILE.write_text(json.dumps(draw_captions(taken), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
