"""Cross-modal attention: the tokens of one modality query those of another.

Vaswani et al., "Attention Is All You Need" (2017), eq. 1, with the queries from one sequence and the keys
and values from another, as in Lu et al., "ViLBERT" (2019). Beyond the papers: an optional learned null key.
The formula itself, and a GPU program that computes it in one pass, are in `crossviz/kernels`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from crossviz.errors import AttentionInputError
from crossviz.kernels import Attended, NullKey, masked_softmax, plain_attention, why_not_fused

__all__ = ["CrossModalAttention", "CrossModalOutput", "masked_softmax"]


class CrossModalOutput(NamedTuple):
    """What one call of `CrossModalAttention` computes.

    With a null key there is one key more than were given; it is the last.
    """

    output: Tensor
    """LayerNorm(query + context W_O): `batch query query_dim`."""
    context: Tensor
    """probs @ values: `batch head query head_dim`."""
    scores: Tensor | None
    """Q K^T / sqrt(d_k), masked keys at -inf, before softmax: `batch head query key`; None if not asked for."""
    probs: Tensor
    """softmax(scores): `batch head query key`; rows sum to 1, or are all 0 where every key is masked."""


class CrossModalAttention(nn.Module):
    """Multi-head attention from one token sequence to another, with every head's scores and probs.

    Q = query W_Q, K = key W_K, V = key W_V; scores = Q K^T / sqrt(d_k); probs = softmax(scores);
    context = probs V; output = LayerNorm(query + context W_O).

    The null key is one learned key, value and bias per head that stands for "nothing in the other sequence":
    a query that finds no counterpart puts its probability there.

    Args:
        query_dim: width of the query tokens, and of the output.
        key_dim: width of the key tokens; `query_dim` if None.
        num_heads: number of heads; divides `attn_dim`.
        attn_dim: width of Q, K and V over all heads; `query_dim` if None. d_k = attn_dim / num_heads.
        null_key: whether there is a null key.
        dropout: probability of dropping an attention probability in training mode; none in eval mode.
        bias: whether the four projections have a bias.

    Raises:
        AttentionInputError: for sizes that don't fit.
    """

    def __init__(
        self,
        query_dim: int,
        key_dim: int | None = None,
        *,
        num_heads: int = 8,
        attn_dim: int | None = None,
        null_key: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        key_dim = query_dim if key_dim is None else key_dim
        attn_dim = query_dim if attn_dim is None else attn_dim
        if min(query_dim, key_dim, attn_dim, num_heads) < 1:
            raise AttentionInputError(
                f"query_dim={query_dim}, key_dim={key_dim}, attn_dim={attn_dim} and num_heads={num_heads} "
                "must all be at least 1."
            )
        if attn_dim % num_heads:
            raise AttentionInputError(
                f"`attn_dim`={attn_dim} is not divisible by `num_heads`={num_heads}: choose a multiple."
            )
        if not 0.0 <= dropout < 1.0:
            raise AttentionInputError(f"`dropout`={dropout} must lie in [0, 1).")
        self.num_heads = num_heads
        self.head_dim = attn_dim // num_heads
        self.dropout = dropout
        self.q_proj = nn.Linear(query_dim, attn_dim, bias=bias)
        self.k_proj = nn.Linear(key_dim, attn_dim, bias=bias)
        self.v_proj = nn.Linear(key_dim, attn_dim, bias=bias)
        self.out_proj = nn.Linear(attn_dim, query_dim, bias=bias)
        self.norm = nn.LayerNorm(query_dim)
        if null_key:
            self.null_key = nn.Parameter(torch.empty(num_heads, self.head_dim))
            self.null_value = nn.Parameter(torch.empty(num_heads, self.head_dim))
            self.null_bias = nn.Parameter(torch.zeros(num_heads))
            nn.init.normal_(self.null_key, std=self.head_dim**-0.5)
            nn.init.normal_(self.null_value, std=self.head_dim**-0.5)
        else:
            self.register_parameter("null_key", None)
            self.register_parameter("null_value", None)
            self.register_parameter("null_bias", None)

    @property
    def has_null_key(self) -> bool:
        """Whether the last key of scores and probs is the null key."""
        return self.null_key is not None

    def forward(
        self,
        query: Tensor,  # batch query query_dim
        key: Tensor,  # batch key key_dim
        *,
        key_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
        projected: tuple[Tensor, Tensor] | None = None,
        need_scores: bool = True,
        fused: bool | None = None,
    ) -> CrossModalOutput:
        """Attend from `query` to `key`.

        Args:
            query: `batch query query_dim`.
            key: `batch key key_dim`; the values are projected from the same tokens.
            key_mask: bool `batch key`, True where a key may be looked at (False for padding).
            attn_mask: broadcastable to `batch head query key`, the null key left out; bool (True = may look) or
                float (added to the scores). A `query key` matrix serves every head. The null key is never masked.
            projected: what `project` gives for this `key`, where it was worked out before; worked out here if None.
            need_scores: whether the scores are handed back; without them less is written and kept.
            fused: whether scores, probs and context are computed by the GPU program (docs/kernels.md). None: where it
                can, and autograd records nothing. True: also where gradients are recorded; then the context has no
                gradient with respect to the probs. False: never.

        Returns:
            CrossModalOutput; either path gives the same, within the precision's rounding.

        Raises:
            AttentionInputError: for a shape or a mask that doesn't fit, and where `fused` is True and can't be.
        """
        self._check(query, key, key_mask)
        q = self._heads(self.q_proj(query))  # batch head query head_dim
        k, v = self.project(key) if projected is None else self._fitting(key, projected)
        self._check_attn_mask(attn_mask, (*q.shape[:3], k.shape[2]))
        scores, probs, context = self._attend(q, k, v, key_mask, attn_mask, need_scores, fused)
        attended = self.out_proj(context.transpose(1, 2).flatten(2))  # batch query query_dim
        return CrossModalOutput(self.norm(query + attended), context, scores, probs)

    def _attend(
        self,
        q: Tensor,  # batch head query head_dim
        k: Tensor,  # batch head key head_dim
        v: Tensor,  # batch head key head_dim
        key_mask: Tensor | None,
        attn_mask: Tensor | None,
        need_scores: bool,
        fused: bool | None,
    ) -> Attended:
        null = NullKey(self.null_key, self.null_value, self.null_bias) if self.has_null_key else None
        scale = 1.0 / math.sqrt(self.head_dim)
        masks = {"key_mask": key_mask, "attn_mask": attn_mask}
        dropout = self.dropout if self.training else 0.0
        reason = "it was not asked for"
        if fused is not False:
            reason = why_not_fused(
                q, k, v, *masks.values(), *(null or ()), dropout=dropout, differentiated=fused is True
            )
        if fused and reason is not None:
            raise AttentionInputError(f"`fused=True` is not possible, as {reason}: leave `fused` at None.")
        if reason is not None:
            return plain_attention(q, k, v, scale=scale, **masks, null=null, dropout=dropout, need_scores=need_scores)
        from crossviz.kernels.fused import fused_attention  # needs Triton

        # Autocast computes softmax in float32.
        probs_dtype = torch.float32 if torch.is_autocast_enabled("cuda") else None
        return fused_attention(
            q, k, v, scale=scale, **masks, null=null, need_scores=need_scores, probs_dtype=probs_dtype
        )

    def project(self, key: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of `key`, `batch head key head_dim` each, without the null key.

        Where the same tokens are asked again and again, as one word after the other is written, `forward` need not
        work them out each time.

        Raises:
            AttentionInputError: for a shape that doesn't fit.
        """
        self._check_tokens("key", key, self.k_proj.in_features)
        return self._heads(self.k_proj(key)), self._heads(self.v_proj(key))

    def _fitting(self, key: Tensor, projected: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        shape = (key.shape[0], self.num_heads, key.shape[1], self.head_dim)
        if any(part.shape != shape for part in projected):
            raise AttentionInputError(
                f"`projected` must be two tensors of shape {shape} for this `key`, "
                f"but they are of shape {' and '.join(str(tuple(part.shape)) for part in projected)}."
            )
        return projected

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _check(self, query: Tensor, key: Tensor, key_mask: Tensor | None) -> None:
        self._check_tokens("query", query, self.q_proj.in_features)
        self._check_tokens("key", key, self.k_proj.in_features)
        if query.shape[0] != key.shape[0]:
            raise AttentionInputError(
                f"`query` has a batch of {query.shape[0]} and `key` of {key.shape[0]}: they must be equal."
            )
        if key_mask is not None and (key_mask.shape != key.shape[:2] or key_mask.dtype != torch.bool):
            raise AttentionInputError(
                f"`key_mask` must be bool of shape {tuple(key.shape[:2])}, "
                f"but is {key_mask.dtype} of shape {tuple(key_mask.shape)}."
            )

    @staticmethod
    def _check_tokens(name: str, tokens: Tensor, width: int) -> None:
        if tokens.ndim != 3 or tokens.shape[-1] != width:
            raise AttentionInputError(
                f"`{name}` must be of shape (batch, tokens, {width}), but has shape {tuple(tokens.shape)}."
            )

    @staticmethod
    def _check_attn_mask(attn_mask: Tensor | None, shape: tuple[int, ...]) -> None:
        if attn_mask is None:
            return
        try:
            # Equal, not just compatible: a mask larger than the scores would stretch them.
            fits = torch.broadcast_shapes(attn_mask.shape, shape) == shape
        except RuntimeError:
            fits = False
        if not fits or (attn_mask.dtype != torch.bool and not attn_mask.is_floating_point()):
            raise AttentionInputError(
                f"`attn_mask` must be bool or float and broadcast to {shape}, "
                f"but is {attn_mask.dtype} of shape {tuple(attn_mask.shape)}."
            )
