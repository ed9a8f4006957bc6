"""What a `crossviz.capture.capture` block hands out."""

from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

from crossviz.errors import CaptureError

__all__ = ["KEPT", "Captured", "SiteCapture"]

KEPT = (
    "queries", "keys", "values", "scores", "probs", "single", "context", "output", "query_tokens", "key_tokens",
)  # fmt: skip
"""What can be kept of a call."""


class SiteCapture:
    """One call of one site. Asking for a tensor that was not kept is a CaptureError that says so.

    Of `scores`, `probs` and `single` there are only the queries that `rows` names, where `capture` was given any.
    """

    __slots__ = ("_tensors", "deviation", "name", "num_heads")

    def __init__(self, name: str, num_heads: int, deviation: float, tensors: Mapping[str, Tensor]) -> None:
        self.name = name
        self.num_heads = num_heads
        self.deviation = deviation
        """Largest difference from the module's own output, relative to that output's largest value; with `once=True`,
        when the module's own was last computed."""
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
        """Scaled and masked, before softmax: `batch head query key`, float32 or wider unless `dtype` says otherwise."""
        return self._kept("scores")

    @property
    def probs(self) -> Tensor:
        """softmax(scores): `batch head query key`, float32 or wider unless `dtype` says otherwise; rows sum to 1."""
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
