"""The projections of a call, by one matrix product where the three weights lie in one matrix."""

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.site_parts import Inputs, Projections

__all__ = ["project", "project_all"]


def project(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """x W^T + b; `weight` None stands for the identity."""
    return x if weight is None else F.linear(x, weight, bias)


def project_all(inputs: Inputs, weights: Projections) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a call, `batch token head*head_dim` each.

    Without gradients and where one sequence asks itself, all three come of one product where the weights are thirds of
    one parameter; they are then views of one tensor.
    """
    matrices = (weights.query_weight, weights.key_weight, weights.value_weight)
    biases = (weights.query_bias, weights.key_bias, weights.value_bias)
    if not torch.is_grad_enabled() and _same(inputs.query, inputs.key) and _same(inputs.key, inputs.value):
        matrix, bias = _joined(matrices), _joined(biases)
        if matrix is not None and (bias is not None or not any(part is not None for part in biases)):
            return F.linear(inputs.query, matrix, bias).chunk(3, -1)
    given = zip(inputs[:3], matrices, biases, strict=True)
    query, key, value = (project(x, matrix, bias) for x, matrix, bias in given)
    return query, key, value


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride())


def _joined(thirds: tuple[Tensor | None, ...]) -> Tensor | None:
    """The tensor whose thirds these are, one after the other; None if they are not."""
    first = thirds[0]
    if first is None or not first.is_contiguous():
        return None
    step = first.numel() * first.element_size()
    for i, third in enumerate(thirds):
        if third is None or third.shape != first.shape or third.stride() != first.stride():
            return None
        if third.untyped_storage().data_ptr() != first.untyped_storage().data_ptr():
            return None
        if third.data_ptr() != first.data_ptr() + i * step:
            return None
    return first.as_strided((3 * len(first), *first.shape[1:]), first.stride())
