"""What a kind of attention site must say of itself, and what the kinds share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

__all__ = [
    "Heads",
    "Inputs",
    "JointKind",
    "Kind",
    "Projections",
    "TensorKind",
    "additive",
    "causal",
    "copied",
    "dropping",
    "linear",
    "stateful",
    "wrapped",
]


@dataclass(frozen=True, slots=True)
class Projections:
    """The weights of a site, as views into its parameters; None stands for the identity or for no bias.

    Where a site normalises queries and keys, it does so after these projections, head by head.
    """

    num_heads: int
    scale: float
    """What Q K^T is multiplied by: 1 / sqrt(d_k)."""
    query_weight: Tensor | None  # head*head_dim query_dim
    query_bias: Tensor | None  # head*head_dim
    key_weight: Tensor  # head*head_dim key_dim
    key_bias: Tensor | None
    value_weight: Tensor
    value_bias: Tensor | None
    out_weight: Tensor | None  # out_dim head*head_dim
    out_bias: Tensor | None  # out_dim


class Inputs(NamedTuple):
    """What one call of a site was given, in one layout."""

    query: Tensor  # batch query query_dim
    key: Tensor  # batch key key_dim
    value: Tensor  # batch key key_dim
    bias: Tensor | None  # broadcasts to batch head query key; is added to the scores


class Heads(NamedTuple):
    """One call of a site whose tokens are not all projected alike, up to where queries meet keys."""

    query_tokens: Tensor  # batch query dim
    key_tokens: Tensor  # batch key dim
    queries: Tensor  # batch head query head_dim
    keys: Tensor  # batch head key head_dim
    values: Tensor  # batch head key head_dim
    scale: float
    bias: Tensor | None  # broadcasts to batch head query key; is added to the scores


class Kind(Protocol):
    """One class of attention modules (or several that compute the same)."""

    classes: tuple[str, ...]
    """Dotted paths of the classes; compared as text, so that no library is imported to look."""
    arguments: frozenset[str]
    """What `forward` takes that is read here; a call that gives more is refused."""

    def refusal(self, module: nn.Module) -> str | None:
        """Which of the module's settings is not covered; None if all are."""

    def projections(self, module: nn.Module) -> Projections:
        """Its weights."""

    def norms(self, module: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
        """What it normalises the queries and the keys with, head by head, after the projections."""

    def read(self, module: nn.Module, given: Mapping[str, Any]) -> Inputs:
        """The inputs of a call, from its arguments by name."""

    def own(self, module: nn.Module, result: Any) -> Tensor:
        """The output, batch first, from what the call returned."""

    def finish(self, module: nn.Module, attended: Tensor) -> Tensor:
        """From context W_O (`batch query out_dim`) to the output."""

    def returns_probs(self, given: Mapping[str, Any]) -> bool:
        """Whether a call returns probs beside its output."""

    def answer(self, module: nn.Module, given: Mapping[str, Any], output: Tensor, probs: Tensor | None) -> Any:
        """What a call returns, made of these or views of them; `probs` may be None where it returns none."""


class JointKind:
    """The kinds that may project some tokens by other weights than the rest: they do it by themselves.

    `read` and `finish` of `Kind` are not asked of them.
    """

    def returns_probs(self, given: Mapping[str, Any]) -> bool:
        return False

    def heads(self, module: nn.Module, given: Mapping[str, Any]) -> Heads:
        """Queries, keys and values of a call, from its arguments by name."""
        raise NotImplementedError

    def attended(self, module: nn.Module, given: Mapping[str, Any], context: Tensor) -> Tensor:
        """From the context of all queries, `batch query head*head_dim`, to the output in the shape of `own`."""
        raise NotImplementedError

    def read(self, module: nn.Module, given: Mapping[str, Any]) -> Inputs:
        heads = self.heads(module, given)
        return Inputs(heads.query_tokens, heads.key_tokens, heads.key_tokens, heads.bias)

    def finish(self, module: nn.Module, attended: Tensor) -> Tensor:
        return attended


class TensorKind:
    """What the kinds that take and return one batch-first tensor have in common."""

    def own(self, module: nn.Module, result: Any) -> Tensor:
        return result

    def finish(self, module: nn.Module, attended: Tensor) -> Tensor:
        return attended

    def returns_probs(self, given: Mapping[str, Any]) -> bool:
        return False

    def answer(self, module: nn.Module, given: Mapping[str, Any], output: Tensor, probs: Tensor | None) -> Any:
        return output


def linear(module: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if isinstance(module, nn.Identity) else (module.weight, module.bias)


def additive(mask: Tensor, *, hides: bool, dtype: torch.dtype) -> Tensor:
    """A mask as what is added to the scores; `hides` says what True means in a bool mask."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask if hides else ~mask, -torch.inf)


def causal(queries: int, keys: int, device: torch.device) -> Tensor:
    """True where a key comes after the query."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).triu_(1)


def stateful(**parts: nn.Module) -> str | None:
    """A part that keeps state (running statistics, say) would be changed by a second call."""
    for name, part in parts.items():
        if any(True for _ in part.buffers()):
            return f"its {name} ({type(part).__qualname__}) keeps state between calls"
    return None


def wrapped(**parts: nn.Module) -> str | None:
    """A projection that is more than its weight and bias (an adapter around it, say) can't be read off them."""
    for name, part in parts.items():
        if type(part).forward not in (nn.Linear.forward, nn.Identity.forward) or "forward" in vars(part):
            return f"its {name} ({type(part).__qualname__}) is not a plain linear layer"
    return None


def dropping(module: nn.Module) -> str | None:
    for name, part in module.named_modules():
        if isinstance(part, nn.Dropout) and part.training and part.p > 0:
            return f"it drops at random ({name} with p={part.p} in training mode)"
    return None


def copied(output: Tensor) -> Tensor:
    """For the model to go on with: it may change it in place (open_clip's LayerScale can)."""
    return output.clone(memory_format=torch.contiguous_format)
