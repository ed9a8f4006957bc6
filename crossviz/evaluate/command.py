"""`crossviz evaluate`: tables on standard output, progress on standard error, files where asked."""

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from crossviz.errors import DatasetError
from crossviz.evaluate.compare import Comparison, compare
from crossviz.evaluate.dataset import Dataset
from crossviz.evaluate.layouts import open_sets
from crossviz.evaluate.report import Report
from crossviz.evaluate.run import evaluate
from crossviz.explainer import Explainer
from crossviz.methods import get_method

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """The command; `args` are those of `crossviz.cli`.

    Raises:
        CrossvizError: bad input.
    """
    if args.data is None and args.probes is None:
        raise DatasetError("Nothing to measure was given: name a folder of photos with answers, or --probes.")
    sets = [] if args.data is None else _sets(args)
    if args.probes is not None and len(sets) > 1:
        names = ", ".join(dataset.name for dataset in sets)
        raise DatasetError(f"Probes look at one set of photos, and there are several ({names}): name one of them.")
    if args.out is not None:
        _make_folder(args.out)
    explainer = Explainer(args.model, device=args.device)
    methods = None if args.methods is None else _methods(explainer, args)
    if args.probes is not None:
        return _probes(args, explainer, sets[0] if sets else None)
    several = len(sets) > 1
    for number, dataset in enumerate(sets):
        if several and not any(item.questions for item in dataset.items):
            print(f"crossviz: nothing is asked of the photos of {dataset.name}; left out.", file=sys.stderr)
            continue
        report = _evaluated(args, explainer, dataset, methods)
        print(("\n" if number else "") + report.markdown(), flush=True)
        if args.out is not None:
            report.save(args.out)
    if args.out is not None:
        print(f"\nTables and figures are in {args.out}.")
    return 0


def _sets(args: argparse.Namespace) -> list[Dataset]:
    return list(
        open_sets(args.data, split=args.split, fold=args.fold, limit=args.limit, seed=args.seed, photos=args.photos)
    )


def _methods(explainer: Explainer, args: argparse.Namespace) -> list[str]:
    if args.method is not None or args.probes is not None:
        raise DatasetError("--methods compares several methods on a set: leave --method and --probes out.")
    known = [info.name for info in explainer.methods]
    names = known if args.methods == ["all"] else list(dict.fromkeys(args.methods))
    for name in names:
        get_method(name)  # says what there is where there is no such method
        if name not in known:
            raise DatasetError(f"{args.model} can't be explained by {name}: choose from {', '.join(known)}.")
    return names


def _evaluated(
    args: argparse.Namespace, explainer: Explainer, dataset: Dataset, methods: list[str] | None
) -> Report | Comparison:
    with tqdm(total=len(dataset.items), desc=dataset.name, unit="photo", disable=None, leave=False) as bar:

        def progress(items):
            for item in items:
                yield item
                bar.update()

        if methods is not None:
            return compare(explainer, dataset, methods, args.seed, progress)
        return evaluate(explainer, dataset, args.method, args.seed, progress)


def _probes(args: argparse.Namespace, explainer: Explainer, dataset: Dataset | None) -> int:
    from crossviz.evaluate import probes

    reports = probes.run(args.probes, explainer, dataset, args.seed)
    text = probes.markdown(reports)
    print(text)
    if args.out is not None:
        try:
            (args.out / "probes.md").write_text(text + "\n", encoding="utf-8")
            found = [report.as_dict() for report in reports]
            (args.out / "probes.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise DatasetError(f"Can't write into {args.out}: {error.strerror}. Choose another folder.") from error
        print(f"\nThe same is in {args.out}.")
    return 0


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise DatasetError(f"Can't make the folder {folder}: {reason}. Choose another one.") from error
