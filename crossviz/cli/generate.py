"""`crossviz generate`: a picture drawn from a caption, and where each word wrote."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from crossviz.cli.output import UsageError, aligned, reading_lines

if TYPE_CHECKING:
    from crossviz.generation import Generation

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Draw one picture; print what came out, and write the files that are asked for."""
    # Imported here: torch takes a second, and `crossviz --help` needs none of it.
    from crossviz.generation import Generation
    from crossviz.generation_export import check_suffix
    from crossviz.generator import finished, load_generator
    from crossviz.models.generators import Settings

    settings = Settings(args.seed, args.guidance, args.temperature, args.steps, _size(args.size), args.candidates)
    paths: list[Path] = args.output or []
    for path in paths:
        if not path.parent.is_dir():
            raise UsageError(f"There is no folder {path.parent}: make it, or choose another for {path.name}.")
        check_suffix(path.suffix)
    last = None
    with tqdm(disable=None, leave=False, bar_format="{bar:24} {percentage:3.0f}% {desc}", total=1.0) as bar:
        bar.set_description_str(f"loading {args.model}")
        model = load_generator(args.model, args.device)
        bar.set_description_str("drawing")
        for last in model.draw(args.caption, settings):
            if not isinstance(last, Generation):
                bar.update(last.step / last.steps - bar.n)
        made = finished(last, args.model)
        for path in paths:
            bar.set_description_str(f"writing {path.name}")
            made.save(path)
    print(_told(made))
    if paths:
        print(f"\nWritten: {', '.join(str(path) for path in paths)}.")
    else:
        print("\nNothing was written: -o picture.png, .gif, .html or .npz keeps it.")
    return 0


def _told(made: "Generation") -> str:
    """A line per word, then what a checker found, if there is one."""
    rows = [("word", "of the attention", "most at one place")]
    for word in made.words:
        if word.tokens:
            chart = made.asks_text.select((word.index,))  # gh gw
            rows.append((word.text, f"{float(chart.mean()):.1%}", f"{float(chart.max()):.0%}"))
    lines = [*aligned(rows), *reading_lines(made.caption)]
    height, width = made.picture.shape[:2]
    lines.append(f"\n{width} x {height} pixels by {made.provenance.model}, seed {made.settings.get('seed')}")
    if made.verdict is not None:
        found = made.verdict["found"]
        lines.append(f"A checker found: {found if isinstance(found, str) else ', '.join(found)}.")
        lines.append("As asked." if made.verdict["asked"] else " ".join(made.verdict["faults"]))
    if not made.provenance.trained:
        lines.append("These weights were not trained: the picture means nothing.")
    return "\n".join(lines)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None:
        raise UsageError(f"A size is given as WIDTHxHEIGHT in pixels, as 512x768, not as {text!r:.40}.")
    return int(found[1]), int(found[2])
