"""Attention that writes every head's probabilities: the formula in PyTorch, and the same in one pass of the GPU.

- `plain.py`: the formula; the only path on a CPU, and what the backward pass computes again
- `program.py`: the GPU program (Triton); `tiles.py`, `tuning.py`: how its work is cut; `launch.py`: starts it
- `fused.py`: it as a function with gradients
- `choice.py`: whether it can take a call
- `without_gradients.py`: only what is asked for of a pass that needs no gradient, on any device

Triton is imported when the first call on a GPU is made: `fused.py`, `launch.py`, `tuning.py` and `program.py` need it.
"""

from crossviz.kernels.choice import why_not_fused
from crossviz.kernels.plain import Attended, NullKey, masked_softmax, plain_attention
from crossviz.kernels.without_gradients import Kept, attend

__all__ = ["Attended", "Kept", "NullKey", "attend", "masked_softmax", "plain_attention", "why_not_fused"]
