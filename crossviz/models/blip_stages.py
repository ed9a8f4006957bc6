"""The weights of transformers' BLIP in stages, from the answer down to the input.

The cross-attention of every text layer reads the image tower's last states, so the tower lies below all text layers.
"""

from torch import nn

__all__ = ["stages"]

IMAGE_STAGES = 4
"""The blocks of the image tower are gone down in so many steps: each step is one more pass of the tower."""

Stages = list[tuple[str, list[nn.Module | nn.Parameter]]]


def stages(module: nn.Module) -> Stages:
    """The stages of a BlipForImageTextRetrieval or BlipForConditionalGeneration; together every parameter once."""
    found: Stages = []
    if hasattr(module, "text_decoder"):
        text = module.text_decoder.bert
        # The decoder's output weights are the word embeddings: one tensor in two places, counted at the first.
        found.append(("language head, with the word embeddings that it shares", [module.text_decoder.cls]))
    else:
        text = module.text_encoder
        found.append(("matching head", [module.itm_head]))
    taken = {id(parameter) for _, parts in found for part in parts for parameter in part.parameters()}
    layers = list(text.encoder.layer)
    found += [(f"text layer {i + 1}", [layers[i]]) for i in reversed(range(len(layers)))]
    found.append(("text embeddings", [p for p in text.embeddings.parameters() if id(p) not in taken]))
    found += _image(module.vision_model)
    if hasattr(module, "vision_proj"):
        unread = [module.vision_proj, module.text_proj]
        found.append(("projections of the embeddings, which the match does not read", unread))
    return [(label, parts) for label, parts in found if parts]


def _image(tower: nn.Module) -> Stages:
    blocks = list(tower.encoder.layers)
    step = -(-len(blocks) // IMAGE_STAGES)
    found: Stages = [("image tower's last norm", [tower.post_layernorm])]
    for last in range(len(blocks), 0, -step):
        first = max(last - step, 0)
        label = f"image blocks {first + 1} to {last}" if last - first > 1 else f"image block {last}"
        found.append((label, blocks[first:last][::-1]))
    found.append(("image embeddings", [tower.embeddings]))
    return found
