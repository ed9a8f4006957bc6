"""Which Ray to run on; what runs there is `on_ray`."""

from dataclasses import dataclass

from crossviz.batch.extras import require
from crossviz.errors import DatasetError

__all__ = ["LOCAL", "Cluster"]

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which Ray to run on.

    Args:
        address: "local" for one that is started on this machine and ended with the run; else where one listens.
        workers: how many models run side by side; None for one on each GPU, or on every four cores without any.

    Raises:
        DatasetError: fewer than one worker, or Ray is not installed.
    """

    address: str = LOCAL
    workers: int | None = None

    def __post_init__(self) -> None:
        require("--ray", ["ray"], "ray")
        if self.workers is not None and self.workers < 1:
            raise DatasetError(f"--ray-workers is a number from 1 on, not {self.workers}.")
