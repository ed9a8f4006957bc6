"""The weights of open_clip's models in stages, from the answer down to the input.

Image and text tower are gone down together: their last blocks make one stage, and so on; the deeper one ends alone.
CoCa's text decoder writes captions, and no match of photo and text reads it: it comes last, below the input.
"""

import re
from collections.abc import Sequence

from torch import nn

__all__ = ["stages"]

_CONTAINERS = (
    "transformer.resblocks",
    "transformer.encoder.layer",
    "transformer.encoder.block",
    "trunk.blocks",
    "trunk.stages",
    "trunk.layers",
)
"""Where towers keep their blocks, bottom first."""
_DECODER = "text_decoder."
_RESNET = re.compile(r"(trunk\.)?layer\d+")
_BOTTOM = re.compile(r"(?:trunk\.|transformer\.)?[^.]*(?:embed|conv\d|bn\d|class_|cls_|reg_token|ln_pre|norm_pre|stem)")
"""How names of what comes before the blocks begin; everything else comes after them."""


def stages(module: nn.Module) -> list[tuple[str, list[nn.Module | nn.Parameter]]]:
    """The stages of an open_clip model, top first; together every parameter exactly once.

    Args:
        module: a CLIP or CustomTextCLIP.
    """
    taken = {id(parameter) for parameter in module.visual.parameters()}
    text = getattr(module, "text", module)
    texts = {name: p for name, p in text.named_parameters() if id(p) not in taken}
    taken |= {id(parameter) for parameter in texts.values()}
    others = {name: p for name, p in module.named_parameters() if id(p) not in taken}
    decoder = [p for name, p in others.items() if name.startswith(_DECODER)]
    rest = [p for name, p in others.items() if not name.startswith(_DECODER)]  # the temperature
    image_top, image_blocks, image_bottom = _split(module.visual, dict(module.visual.named_parameters()))
    text_top, text_blocks, text_bottom = _split(text, texts)
    found = [("projections", [*image_top, *text_top, *rest])]
    for i in range(max(len(image_blocks), len(text_blocks))):
        pairs = (("image", image_blocks), ("text", text_blocks))
        reached = [(name, blocks) for name, blocks in pairs if i < len(blocks)]
        label = ", ".join(f"{name} block {len(blocks) - i}" for name, blocks in reached)
        found.append((label, [part for _, blocks in reached for part in blocks[-1 - i]]))
    found.append(("embeddings", [*image_bottom, *text_bottom]))
    found.append(("text decoder, which the match does not read", decoder))
    return [(label, parts) for label, parts in found if parts]


Parameters = list[nn.Parameter]


def _split(tower: nn.Module, named: dict[str, nn.Parameter]) -> tuple[Parameters, list[Parameters], Parameters]:
    """A tower's parameters: after its blocks, those of each block, before its blocks."""
    prefixes = [f"{name}." for name in _blocks(tower)]
    blocks: list[Parameters] = [[] for _ in prefixes]
    top, bottom = [], []
    for name, parameter in named.items():
        owner = next((i for i, prefix in enumerate(prefixes) if name.startswith(prefix)), None)
        if owner is not None:
            blocks[owner].append(parameter)
        else:
            (bottom if _BOTTOM.match(name) else top).append(parameter)
    return top, [block for block in blocks if block], bottom


def _blocks(tower: nn.Module) -> Sequence[str]:
    modules = dict(tower.named_modules())
    for path in _CONTAINERS:
        if path in modules:
            return [f"{path}.{name}" for name, _ in modules[path].named_children()]
    return [name for name in modules if _RESNET.fullmatch(name)]
