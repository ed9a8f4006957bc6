"""`crossviz write`: a caption by the model itself, and where its words look."""

import argparse

from crossviz.cli.output import BUNDLES, FIGURES, Progress, make_folder, phrases, save_all, table

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Let a model write a caption, explain it, print both, and write what is asked for."""
    from crossviz.errors import CaptionError
    from crossviz.explainer import Explainer
    from crossviz.photo import load_photo

    photo = load_photo(args.photo)
    if args.output is not None:
        make_folder(args.output)
    with Progress(3 if args.output is None else 4 + len(FIGURES) + len(BUNDLES)) as step:
        step(f"loading {args.model}")
        explainer = Explainer(args.model, device=args.device)
        step("reading the photo")
        image = explainer.encode(photo)
        caption = ""
        for caption in explainer.write(image):
            step.say(f"writing: {caption}")
        if not any(character.isalnum() for character in caption):
            raise CaptionError(f"{explainer.info.name} wrote no words for this photo: try another photo or model.")
        step("explaining")
        explanation = explainer.explain(image, caption.strip(), method=args.method)
        chosen = phrases(explanation, None)
        if args.output is not None:
            save_all(explanation, chosen, None, args.output, step)
    print(explanation.caption.text + "\n\n" + table(explanation, chosen))
    if args.output is not None:
        print(f"\nPictures, data and an interactive page (explanation.html) are in {args.output}.")
    return 0
