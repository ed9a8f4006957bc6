"""Attention sites as the parts that `crossviz.tower.run_tower` runs: blocks of a vision transformer, and poolers.

The parts read the weights of the site each time that they are called, so they follow a change of the weights, and
call its other modules as they are. Attention is Vaswani et al., "Attention Is All You Need" (2017), eq. 1.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.sites import head_norms, projections
from crossviz.trace import Pooler, TowerBlock

__all__ = ["attention_pooler", "join_heads", "pooled_alone", "split_heads", "tower_block"]


def tower_block(
    label: str,
    norm: Callable[[Tensor], Tensor],
    attention: nn.Module,
    scale_module: Callable[[Tensor], Tensor],
    mlp: Callable[[Tensor], Tensor],
) -> TowerBlock:
    """A pre-norm block x <- x + scale(attention(norm(x))); x <- x + mlp(x) as differentiable functions.

    Args:
        label: what the block is called.
        norm: tokens `batch token dim` to what the attention is given.
        attention: a covered site (`crossviz.sites`) of self-attention.
        scale_module: the layer scale behind the attention; nn.Identity() where there is none.
        mlp: tokens to what the MLP adds, with its own norm and layer scale inside.

    Raises:
        CaptureError: `attention` is not a covered site.
    """
    weights = projections(attention)
    heads = weights.num_heads

    def project(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights = projections(attention)
        query_norm, key_norm = head_norms(attention)
        queries = split_heads(_linear(x, weights.query_weight, weights.query_bias), heads)
        keys = split_heads(_linear(x, weights.key_weight, weights.key_bias), heads)
        values = split_heads(_linear(x, weights.value_weight, weights.value_bias), heads)
        queries = queries if query_norm is None else query_norm(queries)
        return queries, keys if key_norm is None else key_norm(keys), values

    def merge(context: Tensor) -> Tensor:
        weights = projections(attention)
        return scale_module(_linear(join_heads(context), weights.out_weight, weights.out_bias))

    return TowerBlock(label, norm, project, weights.scale, merge, mlp)


def attention_pooler(
    label: str, query: Callable[[], Tensor], attention: nn.Module, after: Callable[[Tensor], Tensor]
) -> Pooler:
    """One learned query that looks at tokens, as differentiable functions.

    Args:
        label: what the pooler is called.
        query: gives `1 query_dim`, before the query projection.
        attention: a covered site; the tokens are its keys and values.
        after: what follows the output projection: `batch dim` to `batch dim`.

    Raises:
        CaptureError: `attention` is not a covered site.
    """
    weights = projections(attention)
    heads = weights.num_heads

    def project(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights = projections(attention)
        query_norm, key_norm = head_norms(attention)
        queries = split_heads(_linear(query(), weights.query_weight, weights.query_bias)[None], heads)
        keys = split_heads(_linear(x, weights.key_weight, weights.key_bias), heads)
        values = split_heads(_linear(x, weights.value_weight, weights.value_bias), heads)
        queries = queries if query_norm is None else query_norm(queries)
        keys = keys if key_norm is None else key_norm(keys)
        return queries.expand(len(x), -1, -1, -1), keys, values

    def merge(context: Tensor) -> Tensor:
        weights = projections(attention)
        return after(_linear(join_heads(context), weights.out_weight, weights.out_bias)[:, 0])

    return Pooler(label, project, weights.scale, merge)


def pooled_alone(pooler: Pooler, tokens: Tensor) -> Tensor:
    """What the pooler makes of each token if it sees nothing else: `... dim` to `... dim`.

    A softmax over one key is 1, so that the token's value is the context.
    """
    values = pooler.project(tokens.flatten(0, -2)[:, None])[2]  # token head 1 head_dim
    return pooler.merge(values).unflatten(0, tokens.shape[:-1])


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """`batch token head*head_dim` to `batch head token head_dim`."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """`batch head token head_dim` to `batch token head*head_dim`."""
    return x.transpose(1, 2).flatten(2)


def _linear(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    return x if weight is None else F.linear(x, weight, bias)
