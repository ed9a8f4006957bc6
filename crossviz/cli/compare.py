"""`crossviz compare`: one photo and caption in several models, on one scale."""

import argparse
import sys

from crossviz.cli.output import Progress, UsageError
from crossviz.errors import CrossvizError

__all__ = ["FORMATS", "run"]

FORMATS = (".png", ".svg", ".pdf", ".html")


def run(args: argparse.Namespace) -> int:
    """Draw the figure; a model that fails has a column that says why, and a line on standard error."""
    from crossviz.bundle import write_atomic
    from crossviz.explainer import Explainer
    from crossviz.photo import load_photo
    from crossviz.render.compare import MOST_MODELS, compare
    from crossviz.render.compare_page import comparison_page
    from crossviz.render.failed import Failed
    from crossviz.render.figure import figure_bytes
    from crossviz.words import check_caption, whole_caption

    photo, caption = load_photo(args.photo), check_caption(args.caption)
    suffix = args.output.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"The figure can't be written as '{args.output.name}': end its name in {', '.join(FORMATS)}.")
    if not args.output.absolute().parent.is_dir():
        raise UsageError(f"There is no folder '{args.output.parent}' to write the figure into: make it first.")
    for word in args.words or ():
        whole_caption(caption).phrase(word)  # says now what is not in the caption, not after all models have run
    if not 2 <= len(args.models) <= MOST_MODELS:
        raise UsageError(f"Name 2 to {MOST_MODELS} models to compare, as --models crossviz-mini coca-mini.")
    entries, failed = [], []
    with Progress(len(args.models) + 1) as step:
        for model in args.models:
            step(f"asking {model}")
            try:
                entries.append(Explainer(model, device=args.device).explain(photo, caption))
            except CrossvizError as error:
                failed.append(Failed(model, " ".join(str(error).split())))
                entries.append(failed[-1])
        if len(failed) == len(entries):
            raise UsageError(f"None of the models could be asked. {failed[0].reason}")
        step("drawing")
        if suffix == ".html":
            made = [entry for entry in entries if not isinstance(entry, Failed)]
            if len(made) < 2:
                raise UsageError(f"A page needs two models that can be asked. {failed[0].reason}")
            data = comparison_page(made)
        else:
            data = figure_bytes(compare(entries, args.words), suffix[1:])
    write_atomic(args.output, data)
    for entry in failed:
        print(f"crossviz: without {entry.model}: {entry.reason}", file=sys.stderr)
    print(f"The comparison is in {args.output}.")
    return 0
