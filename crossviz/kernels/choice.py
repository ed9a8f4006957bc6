"""Whether the GPU program can do a call, and if not, why not."""

import warnings
from functools import cache

import torch
from torch import Tensor

from crossviz.kernels.plain import NullKey, plain_attention

__all__ = ["why_not_fused"]

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_LARGEST_DIM = 256
_OLDEST = (8, 0)
"""The least compute capability: Ampere, the first with bfloat16 and with the matrix units that float32 goes through."""
_TOLERANCE = 1e-4


def why_not_fused(
    q: Tensor, k: Tensor, v: Tensor, *others: Tensor | None, dropout: float = 0.0, differentiated: bool = False
) -> str | None:
    """None if `fused_attention` can take the call, else what stands against it, as the end of a sentence.

    Args:
        q: `batch head query head_dim`.
        k: `batch head key head_dim`.
        v: `batch head key head_dim`.
        others: masks and the parts of a null key.
        dropout: what `plain_attention` would be given.
        differentiated: whether gradients are fine; if not, a call that autograd records is left to the plain path, in
            which the context has a gradient with respect to the probs.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return "it is being compiled or transformed"
    given = [q, k, v, *(x for x in others if x is not None)]
    recorded = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    if any(x.device != q.device for x in given) or not q.is_cuda:
        return f"the tensors are on {', '.join(sorted({str(x.device) for x in given}))}, not on one CUDA device"
    if dropout > 0.0:
        return "dropout is on"
    if recorded and not differentiated:
        return "gradients are recorded"
    if len({x.dtype for x in (q, k, v)}) > 1 or q.dtype not in _DTYPES:
        return f"queries, keys and values are {q.dtype}, {k.dtype}, {v.dtype}, not all float32, float16 or bfloat16"
    if q.shape[-1] > _LARGEST_DIM:
        return f"a head has {q.shape[-1]} dimensions, more than {_LARGEST_DIM}"
    if 0 in q.shape or 0 in k.shape:
        return "there is nothing to compute"
    return _why_not_on(q.device.index)


def _why_not_on(device: int) -> str | None:
    if torch.version.cuda is None:
        return "this PyTorch is not built with CUDA"
    if torch.cuda.get_device_capability(device) < _OLDEST:
        return "the GPU is older than Ampere"
    if torch.cuda.is_current_stream_capturing() and device not in _tried:
        return "a CUDA graph is being captured before the first call"
    _tried.add(device)
    return _trial(device)


_tried: set[int] = set()


@cache
def _trial(device: int) -> str | None:
    """A first small call, held against the plain path: Triton may be missing, or lack the C compiler that it needs."""
    try:
        from crossviz.kernels.fused import fused_attention
    except ImportError:
        return "the package triton is not installed"
    generator = torch.Generator().manual_seed(0)
    q, k, v, bias = (torch.randn(1, 2, n, 16, generator=generator).to(f"cuda:{device}") for n in (3, 20, 20, 1))
    null = NullKey(k[0, :, 0], v[0, :, 0], bias[0, :, 0, 0])
    try:
        with torch.no_grad():
            made = fused_attention(q, k, v, scale=0.25, null=null)
            exact = [x.double() for x in (q, k, v, *null)]
            expected = plain_attention(*exact[:3], scale=0.25, null=NullKey(*exact[3:]))
        worst = max((a - b).abs().max().item() for a, b in zip(made, expected, strict=True))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler, a driver or a C compiler that isn't there raises
        said = (str(error).splitlines() or [""])[0]
        reason = f"Triton fails on this GPU ({type(error).__name__}: {said})"
    else:
        # Rounding to TF32, where torch may, is no fault.
        if worst <= (_TOLERANCE if torch.backends.cuda.matmul.fp32_precision != "tf32" else 1e-2):
            return None
        reason = f"the kernel is {worst:.1e} off the plain path on this GPU"
    warnings.warn(f"Attention takes its plain path, as {reason}.", stacklevel=2)
    return reason
