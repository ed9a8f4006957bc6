"""Capture: every head's scores and probs at the attention sites of a running model.

A forward hook sees a site's real inputs and its own output. The site is computed again from those inputs
(`crossviz.sites`), and nothing is handed on unless that gives the module's own output. The tensors that come out
have a gradient path to the site's inputs and weights, which the weights that torch returns have not; with
`substitute=True` the model goes on with the recomputed output, so that what it computes later has a gradient with
respect to the captured probs.

This is the only file that sets hooks. They exist inside the `with` block only, and answer only the thread (or
asyncio task) that opened it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from crossviz.errors import CaptureError
from crossviz.sites import TOLERANCES, recompute, refusal, sites, uncovered

__all__ = ["TOLERANCES", "Captured", "SiteCapture", "capture", "sites", "uncovered"]

_KEPT = (
    "queries", "keys", "values", "scores", "probs", "single", "context", "output", "query_tokens", "key_tokens",
)  # fmt: skip

_open: ContextVar[frozenset["Captured"]] = ContextVar("crossviz_open_captures", default=frozenset())


class SiteCapture:
    """One call of one site. Asking for a tensor that was not kept is a CaptureError that says so."""

    __slots__ = ("_tensors", "deviation", "name", "num_heads")

    def __init__(self, name: str, num_heads: int, deviation: float, tensors: Mapping[str, Tensor]) -> None:
        self.name = name
        self.num_heads = num_heads
        self.deviation = deviation
        """Largest difference from the module's own output, relative to that output's largest value."""
        self._tensors = dict(tensors)

    @property
    def query_tokens(self) -> Tensor:
        """What the site was given to make queries of: `batch query query_dim`."""
        return self._kept("query_tokens")

    @property
    def key_tokens(self) -> Tensor:
        """What the site was given to make keys of: `batch key key_dim`."""
        return self._kept("key_tokens")

    @property
    def queries(self) -> Tensor:
        """Q as it meets the keys (after a query norm, before the scale): `batch head query head_dim`."""
        return self._kept("queries")

    @property
    def keys(self) -> Tensor:
        """K as it meets the queries: `batch head key head_dim`."""
        return self._kept("keys")

    @property
    def values(self) -> Tensor:
        """V: `batch head key head_dim`."""
        return self._kept("values")

    @property
    def scores(self) -> Tensor:
        """Scaled and masked, before softmax: `batch head query key`, float32 or wider."""
        return self._kept("scores")

    @property
    def probs(self) -> Tensor:
        """softmax(scores): `batch head query key`, float32 or wider; rows sum to 1."""
        return self._kept("probs")

    @property
    def single(self) -> Tensor:
        """`probs` of a batch of one: `head query key`. With `substitute=True` what comes after has a gradient with
        respect to this, as to `probs`; it would have none to `probs[0]`, from which nothing is computed."""
        return self._kept("single")

    @property
    def context(self) -> Tensor:
        """probs @ values: `batch head query head_dim`."""
        return self._kept("context")

    @property
    def output(self) -> Tensor:
        """What the site gives, recomputed, batch first: `batch query dim`, or `batch dim` from a pooler."""
        return self._kept("output")

    def _kept(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise CaptureError(
                f"The {name} of site '{self.name}' were not kept (only {', '.join(self._tensors)}); "
                f"name '{name}' in `keep` of capture()."
            )
        return self._tensors[name]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in self._tensors.items())
        return f"SiteCapture({self.name!r}, {shapes})"


class Captured(Mapping[str, SiteCapture]):
    """What a `capture` block has seen, by the names of its sites, in the order given."""

    def __init__(self, names: Collection[str]) -> None:
        self._calls: dict[str, list[SiteCapture]] = {name: [] for name in names}

    def calls(self, name: str) -> tuple[SiteCapture, ...]:
        """Every call of a site inside the block, in order.

        Raises:
            CaptureError: for a name that was not captured.
        """
        if name not in self._calls:
            raise CaptureError(f"No site '{name}' was captured; there are: {', '.join(self._calls) or 'none'}.")
        return tuple(self._calls[name])

    def __getitem__(self, name: str) -> SiteCapture:
        """The one call of a site.

        Raises:
            CaptureError: for a name that was not captured, or a site that was not called exactly once.
        """
        calls = self.calls(name)
        if not calls:
            raise CaptureError(f"Site '{name}' was not called inside the block; run the part of the model that has it.")
        if len(calls) > 1:
            raise CaptureError(f"Site '{name}' was called {len(calls)} times inside the block; use calls('{name}').")
        return calls[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._calls)

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, name: object) -> bool:
        return name in self._calls

    # Two captures are never the same, whatever they hold; Mapping would compare tensors.
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@contextmanager
def capture(
    modules: Mapping[str, nn.Module],
    *,
    keep: Collection[str] = ("scores", "probs"),
    substitute: bool = False,
    each: Callable[[SiteCapture], None] | None = None,
) -> Iterator[Captured]:
    """Capture attention sites while the model runs inside the `with` block.

    Args:
        modules: the sites by name, as `sites(model)` gives them, or some of those.
        keep: what to keep of every call: any of queries, keys, values, scores, probs, single, context, output,
            query_tokens, key_tokens. The rest is freed at once. Without autograd (torch.no_grad) no graph is kept
            either.
        substitute: the model goes on with the recomputed output in the place of the module's own. It is equal to
            within `TOLERANCES`, and what comes after has a gradient with respect to the captured tensors. Of
            captures of one site nested in one another, it is the innermost whose tensors the model goes on with.
            Gradient checkpointing must be off, since it runs the sites again after the block.
        each: what is to be done with every call as it is made; the calls are then not kept, so that a model that runs
            its sites many times does not pile them up. What it raises comes out of the model's call.

    Yields:
        Captured: filled as the sites are called.

    Raises:
        CaptureError: for a site that is not covered, on entering; inside the block, from the model's call, when a
            site is called in a way that is not covered or does not recompute its own output. It names the site.

    Example:
        >>> with torch.no_grad(), capture(sites(model.visual)) as captured:
        ...     model.encode_image(image)
        >>> captured["transformer.resblocks.11.attn"].probs.shape  # batch head query key
    """
    _check(modules, keep)
    captured = Captured(modules)
    handles = []
    try:
        for name, module in modules.items():
            hook = _hook(captured, name, frozenset(keep), substitute, each)
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
        _open.set(_open.get() | {captured})
        yield captured
    finally:
        _open.set(_open.get() - {captured})
        for handle in handles:
            handle.remove()


def _check(modules: Mapping[str, nn.Module], keep: Collection[str]) -> None:
    unknown = sorted(set(keep) - set(_KEPT))
    if isinstance(keep, str) or unknown:
        raise CaptureError(f"`keep` must hold some of {', '.join(_KEPT)}, but is {keep!r}.")
    names: dict[int, str] = {}
    for name, module in modules.items():
        if id(module) in names:
            raise CaptureError(f"Sites '{names[id(module)]}' and '{name}' are the same module; name it once.")
        names[id(module)] = name
        reason = refusal(module)
        if reason is not None:
            raise CaptureError(f"Site '{name}' can't be captured: {reason}.")


def _hook(
    captured: Captured,
    name: str,
    keep: frozenset[str],
    substitute: bool,
    each: Callable[[SiteCapture], None] | None,
) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], *rest: Any) -> Any:
        # While another thread is inside this module's call, torch may call a hook that was just set or is just
        # being removed, without the kwargs; such a call is never one of ours.
        if captured not in _open.get():
            return None
        kwargs, result = rest
        try:
            again = recompute(module, args, kwargs, result)
        except CaptureError as error:
            raise CaptureError(f"Site '{name}' can't be captured: {error}") from None
        except Exception as error:
            error.add_note(f"while recomputing the attention site '{name}' ({type(module).__qualname__})")
            raise
        tensors = {
            field: getattr(again, field) for field in _KEPT if field in keep and getattr(again, field) is not None
        }
        call = SiteCapture(name, again.probs.shape[1], again.deviation, tensors)
        if each is None:
            captured._calls[name].append(call)
        else:
            each(call)
        return again.replacement() if substitute else None

    return hook
