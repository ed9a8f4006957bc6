"""Inputs that the fused attention kernel must get right, and a check of everything that it gives back."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.kernels import Attended, NullKey, plain_attention

# The largest difference from a float64 oracle, relative to the oracle's largest value (at least 1). Half precisions:
# two roundings, of the probs and of what is computed with them.
TOLERANCE = {torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
DTYPES = list(TOLERANCE)


@dataclass(frozen=True)
class Case:
    """One call. The sizes are those that need masks at every edge of a block, unless they say otherwise."""

    batch: int = 2
    heads: int = 2
    queries: int = 5
    keys: int = 21
    dim: int = 12
    mask: str = ""
    """"key", "bool", "float", "head" (a mask per batch and head), joined by +; "blind" masks whole rows."""
    null: bool = False
    size: float = 1.0
    """What queries are multiplied by."""
    strided: bool = False
    """Whether heads lie beside each other, as the module's projections give them, with spaces between the tokens."""

    def inputs(self, dtype: torch.dtype, device: str = "cpu", seed: int = 0) -> dict:
        """What `plain_attention` and `fused_attention` take."""
        rng = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng)

        def tokens(count: int) -> Tensor:
            if not self.strided:
                return draw(self.batch, self.heads, count, self.dim).to(device, dtype)
            wide = draw(self.batch, count, 2, self.heads, self.dim).to(device, dtype)
            return wide[:, :, 0].transpose(1, 2)

        given = {
            "q": self.size * tokens(self.queries),
            "k": tokens(self.keys),
            "v": tokens(self.keys),
            "scale": self.dim**-0.5,
        }
        full = (self.batch, self.heads, self.queries, self.keys)
        kinds = self.mask.split("+")
        if "key" in kinds:
            seen = torch.tensor([[self.keys], [max(1, self.keys // 3)]])
            given["key_mask"] = (torch.arange(self.keys) < seen).to(device)
        if "bool" in kinds:
            given["attn_mask"] = (torch.rand(full[2:], generator=rng) < 0.6).to(device)
        if "float" in kinds:
            given["attn_mask"] = draw(*full[2:]).to(device, dtype)
            given["attn_mask"][0, 0] = -math.inf
        if "head" in kinds:
            given["attn_mask"] = draw(*full).to(device, dtype)
        if "blind" in kinds:
            given["attn_mask"] = torch.ones(full[2:], dtype=torch.bool, device=device)
            given["attn_mask"][1:] = False
        if self.null:
            parts = draw(self.heads, self.dim), draw(self.heads, self.dim), draw(self.heads)
            given["null"] = NullKey(*(part.to(device, dtype) for part in parts))
        return given


CASES = {
    "plain": Case(),
    "null": Case(null=True),
    "key mask": Case(mask="key", null=True),
    "bool": Case(mask="bool"),
    "float and key": Case(mask="float+key", null=True),
    "a mask per head": Case(mask="head"),
    "blind rows": Case(mask="blind"),
    "blind rows, null": Case(mask="blind", null=True),
    "large scores": Case(size=60.0, null=True),
    "very large scores": Case(size=3000.0),
    "one key": Case(keys=1),
    "one key, null": Case(keys=1, null=True),
    "one of everything": Case(1, 1, 1, 1, 1),
    "full blocks, null": Case(queries=16, keys=32, dim=16, null=True),
    "several blocks": Case(queries=18, keys=49, dim=20, mask="key", null=True),
    "strided": Case(strided=True, mask="bool", null=True),
}


def exact(given: dict) -> dict:
    """The very numbers, in float64."""

    def double(x: object) -> object:
        if isinstance(x, NullKey):
            return NullKey(*(part.double() for part in x))
        return x.double() if isinstance(x, Tensor) and x.is_floating_point() else x

    return {name: double(x) for name, x in given.items()}


def sdpa_context(given: dict) -> Tensor:
    """The context by torch's own attention; rows that see nothing are 0."""
    q, k, v = given["q"], given["k"], given["v"]
    batch, heads, queries, keys = *q.shape[:3], k.shape[2]
    bias = q.new_zeros(batch, heads, queries, keys)
    mask = given.get("attn_mask")
    if mask is not None:
        bias = bias.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else bias + mask
    if "key_mask" in given:
        bias = bias.masked_fill(~given["key_mask"][:, None, None], -math.inf)
    if "null" in given:
        null = given["null"]
        k, v = (
            torch.cat([x, y[None, :, None].expand(batch, -1, -1, -1)], 2) for x, y in ((k, null.key), (v, null.value))
        )
        bias = torch.cat([bias, null.bias[None, :, None, None].expand(batch, -1, queries, 1)], -1)
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=given["scale"])
    return context.masked_fill(bias.isneginf().all(-1, keepdim=True), 0.0)


def check(made: Attended, given: dict) -> None:
    """Hold scores, probs and context against the plain path in float64, and the context against torch's."""
    expected = plain_attention(**exact(given))
    dtype = given["q"].dtype
    tolerance = TOLERANCE[dtype]
    # A score's own rounding moves the probs by as much: in float32 they are computed from scores that are not exact.
    steepness = (
        expected.scores.masked_fill(expected.scores.isinf(), 0.0).abs().max().item() * torch.finfo(torch.float32).eps
    )
    for name, actual, wanted in zip(Attended._fields, made, expected, strict=True):
        assert actual.dtype == dtype and actual.shape == wanted.shape, name
        allowed = tolerance if name == "scores" else tolerance + 8 * steepness
        assert_close(actual, wanted, allowed, name)
    assert_close(made.context, sdpa_context(exact(given)), tolerance + 8 * steepness, "torch's context")
    sums = made.probs.double().sum(-1)
    blind = expected.probs.sum(-1) == 0
    assert not sums[blind].any()
    assert (sums[~blind] - 1).abs().max() < 4 * tolerance if (~blind).any() else True


def assert_close(actual: Tensor, wanted: Tensor, tolerance: float, what: str) -> None:
    actual = actual.double()
    # What float16 can't hold is infinite there, in any implementation.
    infinite = wanted.isinf() | (actual.isinf() & (wanted.abs() > 65_000))
    assert torch.equal(actual[infinite].sign(), wanted[infinite].sign()), what
    assert actual[infinite].isinf().all(), what
    actual, wanted = actual[~infinite], wanted[~infinite]
    if wanted.numel():
        deviation = (actual - wanted).abs().max() / wanted.abs().max().clamp(min=1.0)
        assert deviation <= tolerance, f"{what} deviates by {deviation:.1e}"


def leaves(given: dict) -> tuple[dict, list[Tensor]]:
    """The same inputs, with every tensor that can have a gradient as a leaf."""
    made = dict(given)
    for name in ("q", "k", "v", "attn_mask"):
        if name in made and made[name].is_floating_point():
            made[name] = made[name].clone().requires_grad_()
    if "null" in made:
        made["null"] = NullKey(*(part.clone().requires_grad_() for part in made["null"]))
    tensors = [*made.values(), *made.get("null", ())]
    return made, [x for x in tensors if isinstance(x, Tensor) and x.requires_grad]


def loss(made: Attended) -> Tensor:
    """A scalar that every number of the results enters with its own weight."""
    total = torch.zeros((), dtype=torch.float64, device=made.probs.device)
    for seed, tensor in enumerate(made):
        if tensor is not None:
            weights = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            total = total + (tensor.masked_fill(tensor.isinf(), 0.0).double() * weights.to(tensor.device)).sum()
    return total
