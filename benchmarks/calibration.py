"""How often made-up words, and phrases that people marked, come out beyond chance in real captions.

    python -m benchmarks.calibration FOLDER [--photos N]

FOLDER is a set in the JSONL layout (docs/evaluate.md) whose photos have captions with marked phrases and the split
"dev". In each photo's first caption up to three marked phrases are checked, and three times the last word of one of
them is replaced by a made-up word, which is then checked.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np

import crossviz

CONSONANTS, VOWELS, ENDS = "bcdfghjklmnprstvwz", "aeiou", ["", "n", "r", "l", "k"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=10)
    args = parser.parse_args()
    rows = [json.loads(line) for line in (args.folder / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    rng = random.Random(7)
    explainer = crossviz.Explainer()
    found: dict[str, list[tuple[float, float, float]]] = {"made-up words": [], "marked phrases": []}
    for row in rng.sample([row for row in rows if row["split"] == "dev"], args.photos):
        image = explainer.encode(args.folder / row["image"])
        text, spans = row["grounded"][0]["text"], row["grounded"][0]["spans"]

        def check(kind: str, caption: str, start: int, end: int, image: object = image) -> None:
            explanation = explainer.explain(image, caption)
            made = explainer.trust(image, explanation, span=(start, end), checks=["calibration"]).calibration
            if made is not None:
                found[kind].append((made.share_beyond, made.p_peak, made.p_share))

        for span in spans[:3]:
            check("marked phrases", text, span["start"], span["end"])
        for _ in range(3):
            span = rng.choice(spans)
            words = text[span["start"] : span["end"]].split()
            begin = text[: span["start"]] + " ".join([*words[:-1], ""])
            word = made_up(rng)
            check("made-up words", begin + word + text[span["end"] :], len(begin), len(begin) + len(word))
    print("| | cases | mean share of patches beyond p < .05 | peak or share with p < .05 |\n|---|---|---|---|")
    for kind, values in found.items():
        table = np.array(values)
        either = ((table[:, 1] < 0.05) | (table[:, 2] < 0.05)).mean()
        print(f"| {kind} | {len(table)} | {table[:, 0].mean():.3f} | {either:.0%} |")


def made_up(rng: random.Random) -> str:
    """Two or three syllables, drawn otherwise than crossviz.trust draws its own."""
    count = rng.choice([2, 3])
    return "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) + rng.choice(ENDS) for _ in range(count))


if __name__ == "__main__":
    main()
