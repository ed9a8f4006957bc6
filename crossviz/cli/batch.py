"""`crossviz batch`: many photos into a folder, block by block, with a bar on standard error."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from crossviz.errors import DatasetError

if TYPE_CHECKING:
    from crossviz.batch.cluster import Cluster

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Explain every row of a source that is not explained yet; one line on standard output says what became of them.

    Raises:
        CrossvizError: bad input.
    """
    from crossviz.batch.extras import STORAGE, require
    from crossviz.batch.plan import check_numbers
    from crossviz.batch.rows import Columns
    from crossviz.batch.settings import Settings
    from crossviz.batch.sources import open_source

    require("crossviz batch", STORAGE)
    cluster = _cluster(args)
    check_numbers(args.block, args.limit)
    settings = Settings(
        method=args.method,
        layers=args.layers,
        heads=args.heads,
        batch_size=args.batch_size,
        workers=os.cpu_count() or 1 if args.workers is None else args.workers,
    )
    columns = Columns(args.caption, args.photo_column, args.caption_column, args.id_column)
    source = open_source(args.source, columns)

    # Imported here: torch takes a second, and what is wrong with the source is said at once.
    from crossviz.batch.run import run_batch
    from crossviz.explainer import Explainer

    explainer = Explainer(args.model, device=args.device)
    with tqdm(unit=" photos", desc=_short(args.source), dynamic_ncols=True) as bar:

        def began(done: int, total: int) -> None:
            bar.reset(total=total)
            bar.initial = bar.n = done
            bar.refresh()

        try:
            found = run_batch(
                source,
                args.source,
                args.output,
                explainer,
                settings,
                columns=columns,
                block_rows=args.block,
                limit=args.limit,
                retry_bad=args.retry_bad,
                ray=cluster,
                began=began,
                progress=bar.update,
            )
        except KeyboardInterrupt:
            bar.close()
            print("crossviz: interrupted; the same command goes on where it stopped.", file=sys.stderr)
            return 130
    if not found.good:
        raise DatasetError(f"None of the {found.bad:,} rows could be explained; {args.output / 'report.md'} says why.")
    aside = f", {found.bad:,} set aside (report.md)" if found.bad else ""
    print(f"{found.good:,} rows explained{aside}; {found.done_now:,} rows done now. They are in {args.output}.")
    return 0


def _cluster(args: argparse.Namespace) -> "Cluster | None":
    from crossviz.batch.cluster import Cluster

    if args.ray is None:
        if args.ray_workers is not None:
            raise DatasetError("--ray-workers says how many models run on Ray: give --ray as well, or leave it out.")
        return None
    return Cluster(args.ray, args.ray_workers)


def _short(name: str) -> str:
    return " ".join(Path(name).name.split())[:40]
