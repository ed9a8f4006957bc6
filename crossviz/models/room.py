"""How much memory an explanation's attention takes, before anything of it is computed."""

from weakref import WeakKeyDictionary

from torch import nn

from crossviz.models.base import Model

__all__ = ["attention_bytes"]

_FLOAT32 = 4
_BY_TOKEN = 3
"""Scores, probs and the maps that are made of them, of every head."""
_BY_PATCH = 3
"""The image tower's own probs, what the autograd graph keeps of them, and their gradients."""

_counted: WeakKeyDictionary[Model, tuple[int, int]] = WeakKeyDictionary()
"""Heads by model, all of them and those among patches: the modules are gone through once."""


def attention_bytes(model: Model, tokens: int, reads_tower: bool) -> int:
    """Bytes of attention that an explanation holds at once: an estimate.

    By tokens every head is counted, by patches those of the image tower (`visual` in open_clip's and timm's names), or
    every head where none is called so.

    It grows with what a visitor chooses, the model, the method and the caption; the photo is brought to the model's own
    size before.

    Args:
        tokens: of the caption, as the model reads it.
        reads_tower: whether the method reads the attention among the patches, too.
    """
    if model not in _counted:
        found = {name: _heads(site) for name, site in model.attention_sites().items()}
        in_image = sum(heads for name, heads in found.items() if "visual" in name.split("."))
        _counted[model] = sum(found.values()), in_image or sum(found.values())
    heads, among_patches = _counted[model]
    keys = model.grid.num_prefix_tokens + model.grid.num_patches + 1  # a null key, say
    return _FLOAT32 * keys * (heads * _BY_TOKEN * tokens + (among_patches * _BY_PATCH * keys if reads_tower else 0))


def _heads(site: nn.Module) -> int:
    """By the names that timm, PyTorch and open_clip, and transformers have for it."""
    return int(getattr(site, "num_heads", None) or getattr(site, "num_attention_heads", None) or 1)
