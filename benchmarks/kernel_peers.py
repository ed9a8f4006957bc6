"""What benchmarks.kernel measures: the fused kernel and what PyTorch offers for the same, on the same numbers."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from crossviz.attention import CrossModalAttention
from crossviz.errors import AttentionInputError

__all__ = ["Size", "attention_peers", "deviation", "module_peers"]


class Size(NamedTuple):
    """One call of attention."""

    batch: int
    heads: int
    queries: int
    keys: int
    head_dim: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.heads}, {self.queries} x {self.keys}, {self.head_dim}"

    @property
    def operations(self) -> int:
        """Floating point operations of the two matrix products."""
        return 4 * self.batch * self.heads * self.queries * self.keys * self.head_dim

    def bytes_that_must_move(self, dtype: torch.dtype) -> int:
        """Q, K and V read once, probs and context written once."""
        one_head = 2 * (self.queries + self.keys) * self.head_dim + self.queries * self.keys
        return self.batch * self.heads * one_head * dtype.itemsize

    def inputs(self, dtype: torch.dtype, device: str = "cuda") -> tuple[Tensor, Tensor, Tensor]:
        """Q, K and V `batch head token head_dim`, heads side by side as projections give them."""
        generator = torch.Generator(device).manual_seed(0)

        def draw(tokens: int) -> Tensor:
            shape = (self.batch, tokens, self.heads, self.head_dim)
            return torch.randn(shape, generator=generator, device=device, dtype=dtype).transpose(1, 2)

        return draw(self.queries), draw(self.keys), draw(self.keys)


def eager(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Probs and context by matrix product, softmax and matrix product."""
    probs = torch.softmax((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5, dim=-1)
    return probs, probs @ v


def attention_peers() -> dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """Probs and context by the kernel, by PyTorch, and by PyTorch compiled for the very size."""
    from crossviz.kernels.fused import fused_attention

    def fused(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return fused_attention(q, k, v, scale=q.shape[-1] ** -0.5, need_scores=False)[1:]

    torch._dynamo.reset()
    return {"fused": fused, "eager": eager, "compiled": torch.compile(eager, dynamic=False)}


def module_peers(size: Size, dtype: torch.dtype, device: str = "cuda") -> list[Callable[[], object]]:
    """Calls of the module, of its plain path, and of nn.MultiheadAttention with every head's weights.

    On a CPU, which is for trying this file out, the first is the plain path too.
    """
    width = size.heads * size.head_dim
    own = CrossModalAttention(width, num_heads=size.heads).to(device, dtype).eval()
    torchs = nn.MultiheadAttention(width, size.heads, batch_first=True).to(device, dtype).eval()
    query = torch.randn(size.batch, size.queries, width, device=device, dtype=dtype)
    key = torch.randn(size.batch, size.keys, width, device=device, dtype=dtype)
    try:
        own(query, key, need_scores=False, fused=True)
        fused = True
    except AttentionInputError:
        if device != "cpu":
            raise
        fused = False
    return [
        partial(own, query, key, need_scores=False, fused=fused),
        partial(own, query, key, need_scores=False, fused=False),
        partial(torchs, query, key, key, need_weights=True, average_attn_weights=False),
    ]


def deviation(made: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> float:
    """The largest difference, relative to the largest value of each."""
    return max(((a.double() - b).abs().max() / b.abs().max()).item() for a, b in zip(made, exact, strict=True))
