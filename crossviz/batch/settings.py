"""What a run is asked for."""

from dataclasses import asdict, dataclass
from typing import Any

from crossviz.errors import DatasetError

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How rows are explained; the same for every block of a run, wherever it is done.

    Args:
        method: a method's name; None for the model's first.
        layers: as `Explainer.explain`.
        heads: whether every layer's and head's map is kept as well.
        batch_size: photos that go through the model at once.
        workers: threads that read photos ahead.

    Raises:
        DatasetError: a number that is below 1.
    """

    method: str | None = None
    layers: int | tuple[int | str, ...] | None = None
    heads: bool = False
    batch_size: int = 32
    workers: int = 4

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers"):
            if getattr(self, name) < 1:
                option = f"--{name.replace('_', '-')}"
                raise DatasetError(f"{option} is a number from 1 on, not {getattr(self, name)}.")

    def lasting(self) -> dict[str, Any]:
        """What decides on the values, and so must be the same when a run goes on."""
        return {name: value for name, value in asdict(self).items() if name not in ("batch_size", "workers")}
