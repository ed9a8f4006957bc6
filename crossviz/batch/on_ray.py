"""Blocks on Ray Data: one model per worker, each block by the same code as in one process, into the same folder.

The folder and the photos must be there under the same path on every machine (a shared file system). A worker that is
lost is started again and its block is done again; what it had finished stays.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossviz.batch.cluster import LOCAL, Cluster
from crossviz.batch.plan import Block
from crossviz.batch.rows import Source
from crossviz.batch.settings import Settings
from crossviz.errors import CrossvizError, DatasetError

if TYPE_CHECKING:
    from crossviz.batch.run import Progress
    from crossviz.explainer import Explainer

__all__ = ["run_on_ray"]

CPUS_A_WORKER = 4
"""Where there is no GPU and no number of workers is given."""
RESTARTS = 16
"""How often a worker is started again before the run is given up."""


class _Worker:
    """One model in a process of its own."""

    def __init__(self, source: Source, out: Path, model: str, device: str | None, settings: Settings) -> None:
        from crossviz.explainer import Explainer

        self._source, self._out, self._settings = source, out, settings
        self._explainer = Explainer(model, device)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        from crossviz.batch.run import run_blocks

        for number, start, stop in zip(batch["number"], batch["start"], batch["stop"], strict=True):
            block = Block(int(number), int(start), int(stop))
            run_blocks(self._source, self._out, self._explainer, self._settings, [block], lambda rows: None)
        return {"rows": batch["stop"] - batch["start"]}


def run_on_ray(
    source: Source,
    out: Path,
    explainer: "Explainer",
    settings: Settings,
    blocks: Sequence[Block],
    cluster: Cluster,
    progress: "Progress",
) -> None:
    """Explain some blocks on a cluster, and return when all are in the folder.

    Args:
        source, out, settings, progress: as `run_batch`.
        explainer: its model is what the workers load.
        blocks: which.
        cluster: where.

    Raises:
        DatasetError: Ray can't be reached, or gave up.
        CrossvizError: what a worker met.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported: nothing is sent anywhere
    import ray
    import ray.data

    with ExitStack() as ending:
        if not ray.is_initialized():
            _start(ray, cluster.address)
            ending.callback(ray.shutdown)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        resources, gpus = ray.cluster_resources(), 0
        if explainer.device.startswith("cuda"):
            gpus = int(resources.get("GPU", 0))
        cpus = int(resources.get("CPU", 1))
        workers = min(cluster.workers or gpus or max(1, cpus // CPUS_A_WORKER), len(blocks))
        items = [{"number": block.number, "start": block.start, "stop": block.stop} for block in blocks]
        rows = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Worker,
            fn_constructor_args=(source, out.absolute(), explainer.info.name, _device(explainer), settings),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=max(1, (cpus - 1 if cpus > workers else cpus) // workers),
            num_gpus=1 if gpus else 0,
            max_restarts=RESTARTS,
        )
        try:
            for done in rows.iter_batches(batch_size=1):
                progress(int(done["rows"].sum()))
        except CrossvizError:
            raise
        except Exception as error:
            raise _told(error) from error


def _start(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == LOCAL:
            ray.init(address=LOCAL, include_dashboard=False, object_store_memory=128 << 20, **quiet)
        else:
            ray.init(address=address, **quiet)
    except Exception as error:
        raise DatasetError(
            f"Ray at {address} can't be had ({' '.join(str(error).split())[:200]}): start it with `ray start --head`, "
            "or run without --ray."
        ) from error


def _device(explainer: "Explainer") -> str:
    """A worker sees one GPU, its own, by the number 0."""
    return "cuda" if explainer.device.startswith("cuda") else explainer.device


def _told(error: BaseException) -> CrossvizError:
    """What a worker said, out of what Ray wraps it into."""
    seen: BaseException | None = error
    while seen is not None:
        inner = getattr(seen, "cause", None)
        if isinstance(seen, CrossvizError):
            return DatasetError(str(seen)) if hasattr(seen, "cause") else seen
        seen = inner if isinstance(inner, BaseException) else seen.__cause__
    reason = " ".join(str(error).split())[:200]
    return DatasetError(f"Ray gave up ({reason}): the same command goes on where it stopped.")
