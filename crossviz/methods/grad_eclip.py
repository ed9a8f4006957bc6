"""Grad-ECLIP: the values of the last attention, weighted by channel with a gradient and by place with a cosine.

Zhao et al., "Gradient-based Visual Explanation for Transformer-based CLIP" (ICML 2024): with o the class token's
row of the last block's attention output (the context, before the output projection), w_c = d S / d o_c the weight of
channel c, v_i the value of patch i and lambda_i = cos(q_cls, k_i), which the published code brings to 0..1 by the
smallest and largest of the patches, the map is ReLU(sum_c w_c lambda_i v_ic). lambda is the paper's "loosened"
attention: the softmax's is too sparse.

It reads one place, the last block, or the attention pooler of a tower that ends in one. Deviations: S is the model's
own match with its own heads (the published code runs the last block as a single head); vectors are the heads' joined,
as in the published code. The formula is summed over all tokens as queries, each with its own gradient and its own
lambda: for a class token's tower this is the paper's, since no other token's row has a gradient there; a tower that
averages its patches, or whose match reads every patch (`crossviz-mini`), needs them all. Where all cosines of a query
are equal, lambda is 1 (the published code divides by zero).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.methods.base import (
    Layers,
    MethodInfo,
    MethodResult,
    each_gradient,
    image_record,
    read_phrases,
    select_layers,
    to_grid,
    tower_labels,
    tracked_pass,
)
from crossviz.methods.gradients import attention_tower, relevance_result
from crossviz.trace import Trace

__all__ = ["GradEclip", "loosened", "weighted_values"]


class GradEclip:
    """Gradient-weighted values of the last attention, as its paper has them."""

    info = MethodInfo(
        name="grad_eclip",
        title="Grad-ECLIP",
        sentence="Which patches' contents, as the last attention passes them on, make photo and word match better.",
        paper="Zhao et al., Gradient-based Visual Explanation for Transformer-based CLIP, 2024",
        unit="gradient relevance",
        signed=False,
        text_dependent=True,
        requires=("match", "image_tower", "image_row"),
        families="vision transformers, and towers with an attention pooler",
    )
    needs_grad = True

    @torch.enable_grad()
    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; there is one layer, and single heads are none of the map's parts."""
        tower, match = attention_tower(trace, pooler=True), trace.match()
        labels = tower_labels(tower)
        select_layers(layers, labels, [len(labels) - 1])
        indices, phrases = read_phrases(trace)
        passed = tracked_pass(trace)
        layer = passed.layers[-1] if passed.pooler is None else passed.pooler
        scores = match.score(passed.state, phrases)
        (grads,) = each_gradient(scores, [layer.context])
        grid = tower.grid
        patches = slice(grid.num_prefix_tokens, None)
        weights = loosened(layer.queries[0].detach(), layer.keys[0, :, patches].detach())
        found = weighted_values(grads, layer.values[0, :, patches].detach(), weights)
        return relevance_result(
            trace,
            self.info,
            image_record(passed, labels[-1:], tower),
            to_grid(found.unflatten(-1, (grid.height, grid.width)), trace.image.grid, share=False),
            indices,
            {"layers": labels[-1:], "match": match.unit},
            (
                f"The gradient is that of the match: {match.sentence}",
                "Places are weighted by the cosine of query and key, not by the attention that is shown.",
            ),
        )


def loosened(queries: Tensor, keys: Tensor) -> Tensor:
    """The cosine of every query with every patch's key over all heads, brought to 0..1 along the patches.

    Args:
        queries: `head query head_dim`.
        keys: `head patch head_dim`.

    Returns:
        `query patch`; the row of a query whose cosines are all the same is 1.
    """
    query, key = (F.normalize(part.transpose(0, 1).flatten(1), dim=-1) for part in (queries, keys))
    cosines = query @ key.T  # query patch
    low, high = cosines.aminmax(dim=-1, keepdim=True)
    return torch.where(high > low, (cosines - low) / (high - low).clamp(min=torch.finfo(cosines.dtype).tiny), 1.0)


def weighted_values(grads: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """ReLU of the sum over queries and channels of gradient, value and the place's weight.

    Args:
        grads: of the score with respect to the context, `phrase head query head_dim`.
        values: `head patch head_dim`.
        weights: `query patch`.

    Returns:
        `phrase patch`.
    """
    places = torch.einsum("phqc,hic->pqi", grads, values)
    return (places * weights).sum(1).clamp(min=0)
