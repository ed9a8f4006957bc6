"""NACLIP: the last block's attention from key to key, drawn to the neighbourhood, without residual connection and MLP.

Hajimiri, Ben Ayed, Dolz, "Pay Attention to Your Neighbours: Training-Free Open-Vocabulary Semantic Segmentation"
(WACV 2025): softmax(K K^T / sqrt(d_k) + omega) V in the last block, where omega between patches p and q is
exp(-|p - q|^2 / (2 std^2)), measured in patches and not normalised, with std = 5; then the block's output projection
and the tower's own last norm and projection. To and from prefix tokens omega is 0, as in the published code.
"""

import torch
from torch import Tensor

from crossviz.errors import MethodError
from crossviz.geometry import PatchGrid
from crossviz.methods.base import Layers, MethodInfo, MethodResult, check_prompt
from crossviz.methods.dense import DENSE_REQUIRES, dense_result, last_block, patch_features
from crossviz.trace import Trace

__all__ = ["NacClip", "neighbourhood"]


class NacClip:
    """Key-key attention with a Gaussian window in the last block.

    Args:
        prompt: the text that stands for a word; "{}" is where the word goes.
        std: the window's standard deviation, in patches.

    Raises:
        MethodError: there is no single "{}" in the prompt, or `std` is not above 0.
    """

    info = MethodInfo(
        name="nacclip",
        title="NACLIP",
        sentence="How close each patch comes to the word when the last block gathers what is alike and near.",
        paper="Hajimiri et al., Pay Attention to Your Neighbours, 2025",
        unit="cosine similarity",
        signed=True,
        text_dependent=True,
        requires=DENSE_REQUIRES,
        families="vision transformers",
    )
    needs_grad = False

    def __init__(self, prompt: str = "a photo of a {}", std: float = 5.0) -> None:
        self.prompt = check_prompt(prompt)
        if not std > 0:
            raise MethodError(f"The window's standard deviation `std` must be above 0 patches, but is {std!r:.40}.")
        self.std = float(std)

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the one layer is the last block."""
        last = last_block(trace, layers)
        keys = last.layer.keys
        near = neighbourhood(last.tower.grid, self.std).to(keys.device, keys.dtype)
        scores = keys @ keys.transpose(-2, -1) * last.tower.blocks[-1].scale + near
        features = patch_features(last, torch.softmax(scores, dim=-1) @ last.layer.values, residual=False, mlp=False)
        params = {"attention": "softmax(K K^T + window)", "residual": False, "mlp": False, "std": self.std}
        made = (
            f"In the last block every token attends to tokens with a similar key, nearby ones more (standard deviation "
            f"{self.std:g} patches); residual connection and MLP are left out."
        )
        return dense_result(self.info, trace, last, features, self.prompt, params, made)


def neighbourhood(grid: PatchGrid, std: float) -> Tensor:
    """How near each token is to each other, `token token`: exp(-d^2 / (2 std^2)) of patches, 0 for prefix tokens."""
    rows = torch.arange(grid.height, dtype=torch.float32).repeat_interleave(grid.width)
    columns = torch.arange(grid.width, dtype=torch.float32).repeat(grid.height)
    squared = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2  # patch patch
    prefix = grid.num_prefix_tokens
    return torch.nn.functional.pad(torch.exp(-squared / (2 * std**2)), (prefix, 0, prefix, 0))
