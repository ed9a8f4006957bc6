"""A method whose maps are known beforehand."""

from dataclasses import replace

import torch

from crossviz.methods import CrossAttentionMap, MethodResult
from crossviz.results import RelevanceMap


class Planted:
    """Maps that are known: a word of `where` looks evenly at a box (shares of the photo), any other at nothing."""

    needs_grad = False

    def __init__(self, where, null=True, signed=False, name="planted"):
        self.where, self.null, self.signed = where, null, signed
        self.info = replace(CrossAttentionMap.info, name=name)

    def __call__(self, trace, layers=None):
        record, real, _ = CrossAttentionMap()(trace, layers)
        words, grid = trace.caption.words, trace.image.grid
        values = torch.zeros(len(words), grid.height, grid.width)
        for word in words:
            if word.text in self.where:
                left, top, right, bottom = (round(v * grid.width) for v in self.where[word.text])
                values[word.index, top:bottom, left:right] = 1.0
        values /= values.sum((1, 2), keepdim=True).clamp(min=1)
        if self.signed:
            values -= 0.1 / grid.num_patches
        null = torch.tensor([float(word.text not in self.where) for word in words])
        found = RelevanceMap(
            values=values,
            unit="share" if self.signed else real.unit,
            signed=self.signed,
            method=self.info.name,
            params={},
            direction=real.direction,
            text_dependent=True,
            token_counts=real.token_counts,
            layers=("only",) if self.null else (),
            per_head=values[None, None] if self.null else None,
            null_mass=null[None, None] if self.null else None,
        )
        return MethodResult(record, found)
