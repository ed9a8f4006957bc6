"""Blocks on Ray Data: one model per worker, each block by the same code as in one process, into the same folder.

The folder and the photos must be there under the same path on every machine (a shared file system). A worker that is
lost is started again and its block is done again; what it had finished stays.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossviz import errors
from crossviz.batch.cluster import LOCAL, Cluster
from crossviz.batch.plan import Block
from crossviz.batch.rows import Source
from crossviz.batch.settings import Settings
from crossviz.errors import CrossvizError, DatasetError

if TYPE_CHECKING:
    from crossviz.batch.run import Progress
    from crossviz.explainer import Explainer

__all__ = ["Worker", "run_on_ray"]

CPUS_A_WORKER = 4
"""Where there is no GPU and no number of workers is given."""
MOST_TRIES = 8
"""How often a block is begun before the run is given up: what ends a worker each time would do so for ever."""


class Worker:
    """One model in a process of its own, loaded when its first block comes."""

    def __init__(self, source: Source, out: Path, model: str, device: str | None, settings: Settings) -> None:
        self._source, self._out, self._settings = source, out, settings
        self._model, self._device = model, device
        self._explainer: Explainer | None = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        """Do some blocks, given by `number`, `start` and `stop`; an error comes back as its class and its sentence."""
        done: dict[str, list] = {"rows": [], "error": [], "said": []}
        for numbers in zip(batch["number"], batch["start"], batch["stop"], strict=True):
            block, error = Block(*map(int, numbers)), None
            try:
                self._do(block)
            except CrossvizError as problem:
                error = problem
            done["rows"].append(len(block))
            done["error"].append("" if error is None else type(error).__name__)
            done["said"].append("" if error is None else str(error))
        return done

    def _do(self, block: Block) -> None:
        from crossviz.batch.run import run_blocks
        from crossviz.explainer import Explainer

        self._count_try(block)
        if self._explainer is None:
            self._explainer = Explainer(self._model, self._device)
        run_blocks(self._source, self._out, self._explainer, self._settings, [block], lambda rows: None)

    def _count_try(self, block: Block) -> None:
        """One more try of a block; those before it ended their workers.

        Raises:
            DatasetError: there were too many.
        """
        with (self._out / ".tmp" / f"tries-{block.number:06d}").open("ab") as tries:
            if tries.tell() >= MOST_TRIES:
                raise DatasetError(
                    f"Rows {block.start} to {block.stop - 1} ended their worker {MOST_TRIES} times, for want of memory "
                    "perhaps: give a smaller --batch-size, or look for a photo that is not one."
                )
            tries.write(b".")


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
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is raised as well
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        resources, gpus = ray.cluster_resources(), 0
        if explainer.device.startswith("cuda"):
            gpus = int(resources.get("GPU", 0))
        cpus = int(resources.get("CPU", 1))
        workers = min(cluster.workers or gpus or max(1, cpus // CPUS_A_WORKER), len(blocks))
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        places = [int(node.get("CPU", 0)) for node in nodes if node.get("GPU" if gpus else "CPU", 0) >= 1] or [1]
        fewest = min(places)  # a worker must fit on one machine
        items = [{"number": block.number, "start": block.start, "stop": block.stop} for block in blocks]
        rows = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Worker,
            fn_constructor_args=(source, out.absolute(), explainer.info.name, _device(explainer), settings),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=max(1, min((cpus - 1) // workers, fewest // -(-workers // len(places)))),
            num_gpus=1 / -(-workers // gpus) if gpus else 0,  # more workers than GPUs share them
        )
        try:
            for done in rows.iter_batches(batch_size=1):
                for count, error, said in zip(done["rows"], done["error"], done["said"], strict=True):
                    if error:
                        raise getattr(errors, error, DatasetError)(said)
                    progress(int(count))
        except CrossvizError:
            raise
        except Exception as error:
            raise DatasetError(f"Ray gave up ({_line(error)}): the same command goes on where it stopped.") from error


def _start(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == LOCAL:
            os.environ.setdefault("RAY_worker_niceness", "0")  # by itself Ray lets everything else go first
            ray.init(address=LOCAL, include_dashboard=False, object_store_memory=128 << 20, **quiet)
        else:
            ray.init(address=address, **quiet)
    except Exception as error:
        raise DatasetError(
            f"Ray at {address} can't be had ({_line(error)}): start it with `ray start --head`, or run without --ray."
        ) from error


def _device(explainer: "Explainer") -> str:
    """A worker sees one GPU, its own, by the number 0."""
    return "cuda" if explainer.device.startswith("cuda") else explainer.device


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
