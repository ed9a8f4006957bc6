"""`crossviz explain`: where every word of a caption looks in a photo."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from crossviz.cli.output import (
    BUNDLES,
    FIGURES,
    Progress,
    UsageError,
    guess_lines,
    make_folder,
    phrases,
    save_all,
    table,
)

if TYPE_CHECKING:
    from crossviz.explainer import Explainer
    from crossviz.explanation import Explanation
    from crossviz.trace import EncodedImage
    from crossviz.words import Phrase

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Explain one photo and one caption; print a table, and write what is asked for."""
    # Imported here: torch takes a second, and `crossviz --help` needs none of it.
    from crossviz.explainer import Explainer
    from crossviz.photo import load_photo
    from crossviz.words import check_caption

    photo, caption = load_photo(args.photo), check_caption(args.caption)
    if args.hide is not None and args.trust:
        raise UsageError("--trust needs every word in its place: leave --hide or --trust out.")
    if args.output is not None:
        make_folder(args.output)
    with Progress(3) as step:
        step(f"loading {args.model}")
        explainer = Explainer(args.model, device=args.device)
        step("reading the photo")
        image = explainer.encode(photo)
        step("explaining")
        explanation = explainer.explain(image, caption, method=args.method, hide=args.hide)
        chosen = phrases(explanation, args.words)
    if args.trust:
        explanation = _checked(explainer, image, explanation, chosen)
    with Progress(1 if args.output is None else 2 + len(FIGURES) + len(BUNDLES)) as step:
        if args.output is not None:
            save_all(explanation, chosen, args.words, args.output, step)
        step("done")
    print(table(explanation, chosen))
    if explanation.guesses:
        print(guess_lines(explanation))
    if args.trust:
        for report in explanation.trust.values():
            print("\n" + "\n".join(report.lines()))
    if args.output is not None:
        print(f"\nPictures, data and an interactive page (explanation.html) are in {args.output}.")
    return 0


def _checked(
    explainer: "Explainer", image: "EncodedImage", explanation: "Explanation", chosen: "Sequence[Phrase]"
) -> "Explanation":
    """The explanation with the checks of every phrase, and a bar while they are made."""
    shape = "{bar:24} {percentage:3.0f}% {desc}"
    with tqdm(total=float(len(chosen)), disable=None, leave=False, bar_format=shape) as bar:
        for number, phrase in enumerate(chosen):

            def show(done: float, doing: str, before: int = number, text: str = phrase.text) -> None:
                bar.set_description_str(f"'{text}': {doing}", refresh=False)
                bar.update(before + done - bar.n)

            span = (phrase.start, phrase.end)
            explanation = explanation.with_trust(explainer.trust(image, explanation, span=span, progress=show))
    return explanation
