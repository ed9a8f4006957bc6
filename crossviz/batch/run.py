"""A whole run: opens the folder, does the blocks that are missing, here or on Ray, and writes the report."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossviz.batch.ahead import ready_ahead
from crossviz.batch.block import run_block
from crossviz.batch.extras import STORAGE, require
from crossviz.batch.plan import Block, make_plan
from crossviz.batch.rows import Columns, Source
from crossviz.batch.settings import Settings
from crossviz.errors import DatasetError
from crossviz.version import __version__

if TYPE_CHECKING:
    from crossviz.batch.cluster import Cluster
    from crossviz.batch.report import Summary
    from crossviz.explainer import Explainer

__all__ = ["Progress", "run_batch", "run_blocks"]

Progress = Callable[[int], None]
"""Is told how many more rows are done."""
LASTING = ("schema_version", "crossviz_version", "model", "weights_sha256", "method", "source", "settings")


def run_batch(
    source: Source,
    name: str,
    out: Path,
    explainer: "Explainer",
    settings: Settings,
    *,
    columns: Columns,
    block_rows: int = 256,
    limit: int | None = None,
    retry_bad: bool = False,
    ray: "Cluster | None" = None,
    began: Callable[[int, int], None] = lambda done, total: None,
    progress: Progress = lambda rows: None,
) -> "Summary":
    """Explain every row of a source that is not explained yet.

    Args:
        source: the rows.
        name: what the source was asked for by.
        out: the folder to write into; made where it is not there.
        explainer: the model.
        settings: how.
        columns: what the source was opened with.
        block_rows: rows a block.
        limit: only so many of the first rows.
        retry_bad: do blocks again that hold rows that were set aside.
        ray: the Ray cluster to run on; None for this process.
        began: called once with the rows that are done already, and how many there are.
        progress: called as rows are done.

    Raises:
        DatasetError: the folder holds another run, or is written into by one.
        CrossvizError: what was asked for can't be had of this model.
    """
    require("crossviz batch", STORAGE)
    from crossviz.batch import report, store
    from crossviz.batch.files import locked
    from crossviz.batch.tables import SCHEMA_VERSION

    settings = replace(settings, method=explainer.method_name(settings.method))
    plan = make_plan(source, block_rows, limit)
    about = {
        "schema_version": SCHEMA_VERSION,
        "kind": "crossviz batch",
        "crossviz_version": __version__,
        "model": explainer.info.name,
        "weights_sha256": explainer.weights_sha256,
        "trained": explainer.info.trained,
        "method": settings.method,
        "name": name,
        "source": {"kind": source.kind, "fingerprint": source.fingerprint, "rows": len(source)},
        "settings": settings.lasting() | _asked(columns) | {"block": block_rows, "limit": limit},
        "rows": sum(map(len, plan)),
        "blocks": len(plan),
        "chunk_words": store.CHUNK_WORDS,
    }
    _make_folder(out)
    started = time.perf_counter()
    with locked(store.lock_file(out)):
        store.open_out(out, about, LASTING)
        if retry_bad:
            store.forget_bad(out)
        done = store.done_blocks(out)
        left = [block for block in plan if block.number not in done]
        began(sum(len(block) for block in plan if block.number in done), about["rows"])
        if ray is not None and left:
            from crossviz.batch.on_ray import run_on_ray

            run_on_ray(source, out, explainer, settings, left, ray, progress)
        else:
            run_blocks(source, out, explainer, settings, left, progress)
        store.sweep(out)
        found = report.summary(out, sum(map(len, left)), time.perf_counter() - started)
        report.write_report(out, found, f"{name}, explained by {explainer.info.name}")
    return found


def run_blocks(
    source: Source, out: Path, explainer: "Explainer", settings: Settings, blocks: Sequence[Block], progress: Progress
) -> None:
    """Explain some blocks and add each to the folder: what this process does, and every worker on Ray."""
    from crossviz.batch.store import add_block

    rows = ((block.start + i, row) for block in blocks for i, row in enumerate(source.rows(block.start, block.stop)))
    pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="crossviz-photo")
    try:
        ready = ready_ahead(pool, explainer, rows, 2 * settings.batch_size + settings.workers)
        for block in blocks:
            result = run_block(explainer, block, islice(ready, len(block)), settings, progress)
            try:
                add_block(out, result)
            except OSError as error:
                raise DatasetError(
                    f"Can't write into {out} ({error.strerror or error}): see to it, and the same command goes on "
                    "where it stopped."
                ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _asked(columns: Columns) -> dict[str, Any]:
    named = {"caption": columns.caption, "photo_column": columns.photo, "caption_column": columns.text}
    return named | {"id_column": columns.id}


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise DatasetError(f"{out} is a file: give the name of a folder to write into.") from None
    except OSError as error:
        raise DatasetError(f"Can't make the folder {out}: {error.strerror or error}. Choose another one.") from None
