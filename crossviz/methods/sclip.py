"""SCLIP: the last block's attention from query to query plus that from key to key.

Wang, Mei, Yuille, "SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference" (ECCV 2024):
(softmax(Q Q^T / sqrt(d_k)) + softmax(K K^T / sqrt(d_k))) V in the last block. The two are added and not averaged, and
the residual connection and the MLP are kept, as in the published code; the prefix tokens take part.
"""

import torch

from crossviz.methods.base import Layers, MethodInfo, MethodResult, check_prompt
from crossviz.methods.dense import DENSE_REQUIRES, dense_result, last_block, patch_features
from crossviz.trace import Trace

__all__ = ["Sclip"]


class Sclip:
    """Correlative self-attention in the last block.

    Args:
        prompt: the text that stands for a word; "{}" is where the word goes.

    Raises:
        MethodError: there is no single "{}" in the prompt.
    """

    info = MethodInfo(
        name="sclip",
        title="SCLIP",
        sentence="How close each patch comes to the word when the last block gathers what asks or answers alike.",
        paper="Wang et al., SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference, 2024",
        unit="cosine similarity",
        signed=True,
        text_dependent=True,
        requires=DENSE_REQUIRES,
        families="vision transformers",
    )
    needs_grad = False

    def __init__(self, prompt: str = "a photo of a {}") -> None:
        self.prompt = check_prompt(prompt)

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the one layer is the last block."""
        last = last_block(trace, layers)
        scale = last.tower.blocks[-1].scale
        both = (last.layer.queries, last.layer.keys)
        weights = sum(torch.softmax(part @ part.transpose(-2, -1) * scale, dim=-1) for part in both)
        features = patch_features(last, weights @ last.layer.values, residual=True, mlp=True)
        params = {"attention": "softmax(Q Q^T) + softmax(K K^T)", "residual": True, "mlp": True}
        made = (
            "In the last block every token attends to tokens with a similar query and to tokens with a similar key; "
            "residual connection and MLP are kept."
        )
        return dense_result(self.info, trace, last, features, self.prompt, params, made)
