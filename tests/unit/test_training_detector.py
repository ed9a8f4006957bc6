"""The detector: read from its package's file format, its features by naive means, its boxes on planted scores."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, max_pool2d

from crossviz import compat

compat.ensure_torchvision()

from crossviz.models.mini_detector import MiniDetector  # noqa: E402
from crossviz.training.detector import COCO_NAMES, KEPT, TeacherDetector, best_boxes, load_detector  # noqa: E402


def convolutions(model):
    """In the order of the file: backbone, lateral, and a level's tower with its scores and boxes as one."""
    out = [[model.stem]]
    for stage in model.stages:
        out += [[c] for c in (stage.first, *(c for step in stage.steps for c in step), stage.last)]
    out += [[c] for c in model.lateral]
    for level in range(3):
        out += [[model.towers[level]], [model.classes[level], model.boxes[level]]]
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random detector written as TensorFlow.js writes graphs: fp16 weights `h w in out`, biases by the add nodes."""
    torch.manual_seed(0)
    path, weights, nodes, raw = tmp_path_factory.mktemp("detector"), [], [], b""
    for number, parts in enumerate(convolutions(TeacherDetector())):
        name = "PartitionedCall/split" + (f"_{number}" if number else "")
        step = "PartitionedCall/convolution" + (f"_{number}" if number else "")
        kernel = torch.cat([p.weight for p in parts]).permute(2, 3, 1, 0).detach().numpy().astype(np.float16)
        bias = torch.cat([p.bias for p in parts]).detach().numpy().astype(np.float16)
        for title, values in ((name, kernel), (f"unknown_{2 * number}", bias)):
            quantization = {"dtype": "float16", "original_dtype": "float32"}
            entry = {"name": title, "shape": list(values.shape), "dtype": "float32", "quantization": quantization}
            weights.append(entry)
            raw += values.tobytes()
        nodes.append({"name": step, "op": "Conv2D", "input": ["x", name]})
        nodes.append({"name": f"Add_{number}", "op": "Add", "input": [step, f"unknown_{2 * number}"]})
    graph = {"modelTopology": {"node": nodes}, "weightsManifest": [{"paths": ["nanodet.bin"], "weights": weights}]}
    (path / "nanodet.json").write_text(json.dumps(graph))
    (path / "nanodet.bin").write_bytes(raw)
    return path


def test_weights_arrive_where_they_belong(folder):
    torch.manual_seed(0)
    expected, found = TeacherDetector(), load_detector(folder)
    for (name, a), b in zip(expected.state_dict().items(), found.state_dict().values(), strict=True):
        assert torch.equal(a.half().float(), b), name
    assert not any(p.requires_grad for p in found.parameters())


def test_features_are_the_levels(folder):
    detector = load_detector(folder)
    photos = torch.rand(2, 3, 384, 384, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        last, (low, middle, high) = detector.levels(photos)
        fine, coarse = detector(photos)
    assert [tuple(x.shape[2:]) for x in (low, middle, high, last)] == [(48, 48), (24, 24), (12, 12), (12, 12)]
    assert torch.allclose(fine[:, :128], middle)
    assert torch.allclose(fine[:, 128:256], avg_pool2d(low, 2))
    assert torch.allclose(fine[:, 256:], max_pool2d(detector.classes[0](low), 2), atol=1e-5)
    assert torch.allclose(coarse, torch.cat([high, last], 1))


def test_channels_are_read_as_blue_green_red_about_their_means():
    detector = MiniDetector()
    bgr_mean, bgr_std = np.array([103.53, 116.28, 123.675]), np.array([57.375, 57.12, 58.395])  # nanodet's config
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    seen = {}
    detector.stages[0].register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    with torch.no_grad():
        detector.levels(torch.from_numpy(pixels / 255).permute(2, 0, 1)[None].float())
        read = torch.from_numpy((pixels[..., ::-1] - bgr_mean) / bgr_std).permute(2, 0, 1)[None].float()
        expected = max_pool2d(torch.nn.functional.leaky_relu(detector.stem(read), 0.1), 3, 2, 1)
    assert torch.allclose(seen["x"], expected, atol=1e-4)


def test_boxes_keep_the_best_of_doubles():
    dog, cat = COCO_NAMES.index("dog"), COCO_NAMES.index("cat")
    boxes = torch.tensor([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.48], [0.6, 0.6, 0.9, 0.9], [0, 0, 0.5, 0.5]])[None]
    boxes = torch.cat([boxes, torch.zeros(1, 8, 4)], 1)
    scores = torch.full((1, 80, 12), 0.01)
    scores[0, dog, 0], scores[0, dog, 1], scores[0, dog, 2], scores[0, cat, 3] = 0.9, 0.8, 0.3, 0.5
    found, best = best_boxes(scores, boxes)
    assert found.shape == (1, KEPT, 6)
    rows = [row for row in found[0] if row[4] > 0]
    assert [(round(float(row[4]), 2), int(row[5])) for row in rows] == [(0.9, dog), (0.5, cat), (0.3, dog)]
    assert np.allclose([row[:4] for row in rows], boxes[0, [0, 3, 2]])
    assert best[0, dog] == pytest.approx(0.9)
    assert best[0].argmax() == dog
    assert len(COCO_NAMES) == len(set(COCO_NAMES)) == 80
