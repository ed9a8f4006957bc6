"""A model with more and more of its weights random, from the answer down to the input.

What Adebayo et al., "Sanity Checks for Saliency Maps" (2018) call cascading randomisation; here the entries of each
weight tensor are put in a random order (the rows and the columns of an embedding of every token), so that a layer
keeps its distribution of weights.
"""

import threading
from collections.abc import Iterator
from dataclasses import replace

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
        self._small = sum(parameter.nbytes for parameter in model.module.parameters()) <= _KEPT_BYTES
        self._lock = threading.Lock()
        self._seed: int | None = None
        self._made: list[tuple[str, float, Model]] = []
        self._more: Iterator[tuple[str, float, Model]] = iter(())

    def traces(self, seed: int, image: EncodedImage, caption: str) -> Iterator[tuple[str, float, Trace]]:
        """The photo and the caption in each copy in turn, with the stage's label and the share of random weights."""
        if not self._small:
            before, last = self._model, image
            for label, share, model in cascade(self._model, seed):
                before, last = model, _encoded(model, before, last)
                yield label, share, model.trace(last, caption)
            return
        encoded: dict[str, EncodedImage] = image.keep("cascade", dict)
        before, last = self._model, image
        for place in range(len(self._model.stages())):
            label, share, model = self._copy(seed, place)
            known = encoded.get(model.key)
            if known is None:
                known = encoded[model.key] = _encoded(model, before, last)
                self._forget(encoded)
            before, last = model, known
            yield label, share, model.trace(last, caption)

    def _copy(self, seed: int, place: int) -> tuple[str, float, Model]:
        """The copy of a stage, made when it is first asked for; those of another seed are forgotten."""
        with self._lock:
            if self._seed != seed:
                self._seed, self._made, self._more = seed, [], cascade(self._model, seed)
            while len(self._made) <= place:
                self._made.append(next(self._more))
            return self._made[place]

    def _forget(self, encoded: dict[str, EncodedImage]) -> None:
        """Drop what copies made of the photo that are no longer there."""
        with self._lock:
            live = {model.key for _, _, model in self._made}
            for key in [key for key in encoded if key not in live]:
                encoded.pop(key, None)


def _encoded(model: Model, before: Model, last: EncodedImage) -> EncodedImage:
    """The photo in a copy; what the copy before it gave, where no weight that reads photos was changed between."""
    if model.image_module is before.image_module:
        return replace(last, model_key=model.key)
    with torch.no_grad():
        return model.encode_image(last.photo)


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
        stage = _parameters(last.stages()[place][1])
        made = last.with_weights({parameter: _shuffled(parameter.detach(), rng) for parameter in stage})
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
    values = rng.permuted(weights.float().cpu().contiguous().flatten().numpy())
    return made.copy_(torch.from_numpy(values).view(weights.shape))
