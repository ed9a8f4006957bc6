"""A picture of a training run: the losses and the dev figures by step."""

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["draw"]


def draw(work: Path, target: Path) -> None:
    """Draw `train.csv` and `dev.csv` of a work folder."""
    train, dev = _columns(work / "train.csv"), _columns(work / "dev.csv")
    figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    for name in ("inside", "spread", "null", "stop", "clip", "found"):
        axes[0].plot(train["step"], train[name], label=name)
    axes[0].set(title="losses", xlabel="step", yscale="log")
    for axis, figure_name, title in ((axes[1], "point", "pointing, %"), (axes[2], "auroc", "AUROC of absent phrases")):
        for group in ("caption", "alone", "coco", "ade20k", "imagenet"):
            values = dev[f"{group}_{figure_name}"]
            if any(v == v for v in values):
                axis.plot(dev["step"], values, marker="o", label=group)
        axis.set(title=title, xlabel="step")
    for axis in axes:
        axis.legend()
        axis.grid(alpha=0.3)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _columns(path: Path) -> dict[str, list[float]]:
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="work folder of a run")
    parser.add_argument("--out", type=Path, default=None, help="picture to write (default: curves.png there)")
    args = parser.parse_args()
    draw(args.work, args.out or args.work / "curves.png")


if __name__ == "__main__":
    main()
