"""ClearCLIP: the last block's attention from query to query, without the residual connection and the MLP.

Lan et al., "ClearCLIP: Decomposing CLIP Representations for Dense Vision-Language Inference" (ECCV 2024), eq. 5:
softmax(Q Q^T / sqrt(d_k)) V in the last block, its output projection, then the tower's own last norm and projection.
The prefix tokens take part in the attention, as in the published code.
"""

import torch

from crossviz.methods.base import Layers, MethodInfo, MethodResult, check_prompt
from crossviz.methods.dense import DENSE_REQUIRES, dense_result, last_block, patch_features
from crossviz.trace import Trace

__all__ = ["ClearClip"]


class ClearClip:
    """Query-query attention alone in the last block.

    Args:
        prompt: the text that stands for a word; "{}" is where the word goes.

    Raises:
        MethodError: there is no single "{}" in the prompt.
    """

    info = MethodInfo(
        name="clearclip",
        title="ClearCLIP",
        sentence="How close each patch comes to the word when the last block only gathers what asks alike.",
        paper="Lan et al., ClearCLIP: Decomposing CLIP Representations for Dense Vision-Language Inference, 2024",
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
        queries = last.layer.queries
        probs = torch.softmax(queries @ queries.transpose(-2, -1) * last.tower.blocks[-1].scale, dim=-1)
        features = patch_features(last, probs @ last.layer.values, residual=False, mlp=False)
        params = {"attention": "softmax(Q Q^T)", "residual": False, "mlp": False}
        made = (
            "In the last block every token attends to tokens with a similar query; residual connection and MLP are "
            "left out."
        )
        return dense_result(self.info, trace, last, features, self.prompt, params, made)
