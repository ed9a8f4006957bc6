"""Capture: every head's scores and probs at the attention sites of a running model.

A forward hook sees a site's real inputs and its own output. The site is computed again from those inputs
(`crossviz.sites`), and nothing is handed on unless that gives the module's own output. The tensors that come out
have a gradient path to the site's inputs and weights, which the weights that torch returns have not; with
`substitute=True` the model goes on with the recomputed output, so that what it computes later has a gradient with
respect to the captured probs.

Where no gradient is wanted, `once=True` costs little: the site is computed once, in the place of its own `forward`
(`crossviz.site_once`), which runs beside it only the first time.

This is the only file that sets hooks. They, and what stands in a `forward`'s place, exist inside the `with` block
only, and answer only the thread (or asyncio task) that opened it.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from crossviz.captured import KEPT, Captured, SiteCapture
from crossviz.errors import CaptureError
from crossviz.instead import NOT_HERE, instead
from crossviz.site_once import Once, Rows, Want, computed_once
from crossviz.site_trust import parts
from crossviz.sites import NOT_FINITE, TOLERANCES, recompute, refusal, sites, uncovered

__all__ = ["TOLERANCES", "Captured", "SiteCapture", "capture", "sites", "uncovered"]

_open: ContextVar[frozenset[Captured]] = ContextVar("crossviz_open_captures", default=frozenset())


@contextmanager
def capture(
    modules: Mapping[str, nn.Module],
    *,
    keep: Collection[str] = ("scores", "probs"),
    substitute: bool = False,
    each: Callable[[SiteCapture], None] | None = None,
    once: bool = False,
    rows: Rows | None = None,
    dtype: torch.dtype | None = None,
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
        once: a site is computed in the place of its own `forward`, and not a second time beside it; only what is in
            `keep` is computed. The model goes on with what comes of that, which is equal to within `TOLERANCES`. The
            module's own `forward` runs too, and is compared, in the first call of each site in each situation; after
            that it is trusted until the class, the module's settings, mode, weights or precision, the kinds of
            arguments or the autocast change (`crossviz.site_trust`). An output that is not finite is refused in
            every call, on a GPU when the block ends. A call is computed beside the module's own, as without `once`,
            outside torch.no_grad and torch.inference_mode, while the model is compiled or traced, where a mask leaves
            a query without a key, where captures of one site are nested, and where others have set forward hooks on
            the site or its parts.
        rows: the queries of which scores and probs are kept, as a slice or by index; all if None. With `once`, no
            others are written.
        dtype: of kept scores and probs; float32 or wider if None.

    Yields:
        Captured: filled as the sites are called.

    Raises:
        CaptureError: for a site that is not covered, on entering; inside the block, from the model's call, when a
            site is called in a way that is not covered or does not recompute its own output. It names the site.

    Example:
        >>> with torch.no_grad(), capture(sites(model.visual), once=True) as captured:
        ...     model.encode_image(image)
        >>> captured["transformer.resblocks.11.attn"].probs.shape  # batch head query key
    """
    _check(modules, keep)
    if substitute and not (rows is None and dtype is None):
        raise CaptureError("`substitute` needs all rows of scores and probs as they are: leave out `rows` and `dtype`.")
    captured = Captured(modules)
    want = Want(frozenset(keep), rows, dtype)
    totals: list[tuple[str, Tensor]] = []
    with ExitStack() as stack:
        for name, module in modules.items():
            site = _Site(captured, name, want, substitute, each, totals)
            stack.callback(module.register_forward_hook(site, with_kwargs=True).remove)
            if once:
                stack.enter_context(instead(module, site.instead))
        stack.callback(lambda: _open.set(_open.get() - {captured}))
        _open.set(_open.get() | {captured})
        yield captured
        for name, total in totals:
            _check_finite(total, name)


def _check(modules: Mapping[str, nn.Module], keep: Collection[str]) -> None:
    unknown = sorted(set(keep) - set(KEPT))
    if isinstance(keep, str) or unknown:
        raise CaptureError(f"`keep` must hold some of {', '.join(KEPT)}, but is {keep!r}.")
    names: dict[int, str] = {}
    for name, module in modules.items():
        if id(module) in names:
            raise CaptureError(f"Sites '{names[id(module)]}' and '{name}' are the same module; name it once.")
        names[id(module)] = name
        reason = refusal(module)
        if reason is not None:
            raise CaptureError(f"Site '{name}' can't be captured: {reason}.")


def _check_finite(total: Tensor, name: str) -> None:
    if not math.isfinite(total.item()):
        raise CaptureError(f"Site '{name}' can't be captured: {NOT_FINITE}")


class _Site:
    """One site of one capture: its forward hook, and what may stand in its `forward`'s place."""

    def __init__(
        self,
        captured: Captured,
        name: str,
        want: Want,
        substitute: bool,
        each: Callable[[SiteCapture], None] | None,
        totals: list[tuple[str, Tensor]],
    ) -> None:
        self.captured = captured
        self.name = name
        self._want = want
        self._substitute = substitute
        self._each = each
        self._totals = totals
        self._made: dict[int, Once] = {}
        """By the id of the answer that is on its way from `instead` to the hook."""

    def instead(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The call's answer, or NOT_HERE where the module is to give its own."""
        if self.captured not in _open.get() or self._hooked(module):
            return NOT_HERE
        with _named(self.name, module):
            made = computed_once(module, args, kwargs, self._want)
        if made is None:
            return NOT_HERE
        self._made[id(made.answer)] = made
        return made.answer

    def __call__(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> Any:
        # While another thread is inside this module's call, torch may call a hook that was just set or is just
        # being removed, without the kwargs; such a call is never one of ours.
        if self.captured not in _open.get():
            return None
        kwargs, result = rest
        made = self._made.pop(id(result), None)
        if made is not None:
            if made.total.device.type == "cpu":
                _check_finite(made.total, self.name)
            else:
                # To look at it now would be to wait for the device.
                self._totals.append((self.name, made.total))
            self._take(SiteCapture(self.name, made.num_heads, made.deviation, made.tensors))
            return None
        with _named(self.name, module):
            again = recompute(module, args, kwargs, result)
            tensors = self._want.picked({field: getattr(again, field) for field in KEPT})
        self._take(SiteCapture(self.name, again.probs.shape[1], again.deviation, tensors))
        return again.replacement() if self._substitute else None

    def _take(self, call: SiteCapture) -> None:
        if self._each is None:
            self.captured._calls[self.name].append(call)
        else:
            self._each(call)

    def _hooked(self, module: nn.Module) -> bool:
        """Whether others watch the module's calls or its parts', or may change what comes of them."""
        for part in parts(module):
            for hook in part._forward_hooks.values():
                elsewhere = isinstance(hook, _Site) and hook.captured not in _open.get()
                if hook is not self and not elsewhere:
                    return True
            if part._forward_pre_hooks and part is not module:
                return True
        everywhere = torch.nn.modules.module
        return bool(everywhere._global_forward_hooks or everywhere._global_forward_pre_hooks)


@contextmanager
def _named(name: str, module: nn.Module) -> Iterator[None]:
    """Errors name the site."""
    try:
        yield
    except CaptureError as error:
        raise CaptureError(f"Site '{name}' can't be captured: {error}") from None
    except Exception as error:
        error.add_note(f"while recomputing the attention site '{name}' ({type(module).__qualname__})")
        raise
