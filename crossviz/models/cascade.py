"""A model with more and more of its weights random, from the answer down to the input.

What Adebayo et al., "Sanity Checks for Saliency Maps" (2018) call cascading randomisation; here the entries of each
weight tensor are put in a random order (the rows and the columns of an embedding of every token), so that a layer
keeps its distribution of weights.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from crossviz.models.base import Model
from crossviz.trace import EncodedImage, Trace

__all__ = ["Cascades", "cascade"]

_LARGE = 1 << 22
_KEPT_BYTES = 1 << 28
"""Copies of a model larger than this are not kept."""


class Cascades:
    """The copies of one model that are kept for the next photo and the next word, with what they make of a photo.

    Args:
        model: whose weights become random in its copies.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._kept: tuple[int, list[tuple[str, float, Model]]] | None = None
        self._size = sum(parameter.nbytes for parameter in model.module.parameters())

    def traces(self, seed: int, image: EncodedImage, caption: str) -> Iterator[tuple[str, float, Trace]]:
        """The photo and the caption in each copy in turn, with the stage's label and the share of random weights."""
        kept = self._kept
        known = kept[1] if kept is not None and kept[0] == seed else None
        copies, made = cascade(self._model, seed) if known is None else known, []
        encoded: dict[str, EncodedImage] = image.keep("cascade", dict)
        for label, share, model in copies:
            if model.key not in encoded:
                with torch.no_grad():
                    encoded[model.key] = model.encode_image(image.photo)
            yield label, share, model.trace(encoded[model.key], caption)
            if self._size <= _KEPT_BYTES:
                made.append((label, share, model))
            else:
                del encoded[model.key]
        if known is None and made:
            self._kept = (seed, made)


def cascade(model: Model, seed: int) -> Iterator[tuple[str, float, Model]]:
    """Copies of the model, each with one stage more of random weights than the last.

    A copy shares the weights that it has in common with the copy before it: all of them together take about twice the
    memory of the model. The model itself is not touched.

    Yields:
        For each stage its label, the share of the model's weights that are random by then, and the copy.
    """
    rng = np.random.default_rng(seed)
    total = sum(parameter.numel() for parameter in model.module.parameters())
    done, last = 0, model
    for place, (label, _) in enumerate(model.stages()):
        made = last.clone(share=True)
        stage = _parameters(made.stages()[place][1])
        for parameter in stage:
            parameter.data = _shuffled(parameter.data, rng)
        made.take_apart()
        done += sum(parameter.numel() for parameter in stage)
        yield label, done / total, made
        last = made


def _parameters(parts: list[nn.Module | nn.Parameter]) -> list[nn.Parameter]:
    """Each once, in order."""
    found = [p for part in parts for p in (part.parameters() if isinstance(part, nn.Module) else [part])]
    return list({id(parameter): parameter for parameter in found}.values())


def _shuffled(weights: Tensor, rng: np.random.Generator) -> Tensor:
    """The entries in a random order, the layout in memory as it was; of a very large matrix (an embedding of every
    token) the rows, and the columns, which is done in a tenth of the time."""
    made = torch.empty_like(weights)  # keeps the layout
    if weights.ndim == 2 and weights.numel() > _LARGE:
        rows, columns = (torch.from_numpy(rng.permutation(size)).to(weights.device) for size in weights.shape)
        return made.copy_(weights[rows][:, columns])
    order = torch.from_numpy(rng.permutation(weights.numel())).to(weights.device)
    return made.copy_(weights.flatten()[order].view(weights.shape))
