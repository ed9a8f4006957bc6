"""The text side of transformers' BLIP layer by layer: token states, and each layer's two attentions in the graph.

BLIP (Li et al., "BLIP: Bootstrapping Language-Image Pre-training", 2022, section 3.1) is BERT with a cross-attention to
the image between self-attention and feed-forward of every layer. The matching model's text encoder looks at all
tokens, the captioner's decoder at those up to itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crossviz.errors import CaptureError

__all__ = ["TextPass", "text_pass"]

TOLERANCE = 1e-4
"""The largest deviation of the states from the model's own, relative to their largest value."""


@dataclass(frozen=True, eq=False)
class TextPass:
    """One text with one photo, in the autograd graph: every tensor of probs leads to the states."""

    states: Tensor  # 1 token dim; after the last layer
    text: tuple[Tensor, ...]  # each head token token; bottom to top
    cross: tuple[Tensor, ...]  # each head token key; the keys are the image tower's: class token, then patches


def text_pass(text: nn.Module, ids: Tensor, image: Tensor, *, causal: bool) -> TextPass:
    """Run the text layers, part by part, with a gradient for every attention.

    Args:
        text: a BlipTextModel.
        ids: `1 token`, without padding.
        image: states of the image tower, `1 key dim`.
        causal: whether a token sees only those up to itself.

    Raises:
        CaptureError: the parts give other states than the model itself.
    """
    x = text.embeddings(input_ids=ids)
    x = x.detach().requires_grad_(True)  # a graph also where no weight asks for one
    hidden = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).triu_(1) if causal else None
    own, cross = [], []
    for layer in text.encoder.layer:
        context, probs = _attend(layer.attention.self, x, x, hidden)
        x = layer.attention.output(context, x)
        own.append(probs)
        context, probs = _attend(layer.crossattention.self, x, image, None)
        x = layer.crossattention.output(context, x)
        cross.append(probs)
        x = layer.feed_forward_chunk(x)
    with torch.no_grad():
        whole = text(
            input_ids=ids, encoder_hidden_states=image, is_decoder=causal, use_cache=False
        ).last_hidden_state  # fmt: skip
        difference = float((x - whole).abs().max() / whole.abs().max())
    if not difference <= TOLERANCE:  # written so that NaN is refused too
        raise CaptureError(
            f"The parts of this text model give token states that differ from its own by {difference:.1e} of the "
            f"largest value; at most {TOLERANCE:.0e} is accepted. A hook, a wrapper or a patch that changes what the "
            "model computes would explain it."
        )
    return TextPass(x, tuple(own), tuple(cross))


def _attend(site: nn.Module, queries: Tensor, keys: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
    """Context `1 query dim` and probs `head query key` of one attention; the context is made of these very probs."""
    q, k, v = (
        projection(x)[0].unflatten(-1, (site.num_attention_heads, -1)).transpose(0, 1)  # head token head_dim
        for projection, x in ((site.query, queries), (site.key, keys), (site.value, keys))
    )
    scores = (q @ k.transpose(-2, -1)) * site.attention_head_size**-0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    probs = torch.softmax(scores, dim=-1)
    return (probs @ v).transpose(0, 1).flatten(1)[None], probs
