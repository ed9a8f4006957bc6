"""The command `crossviz`: explain a photo, serve the app, measure a model, list the models, check the installation.

Results go to standard output, progress and errors to standard error. Exit status: 0, 1 where `doctor` found
something broken, 2 for bad input (one sentence, no traceback), 130 if interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from crossviz.errors import CrossvizError
from crossviz.version import __version__

if TYPE_CHECKING:
    from crossviz.explainer import Explainer
    from crossviz.explanation import Explanation
    from crossviz.trace import EncodedImage
    from crossviz.words import Phrase

__all__ = ["main"]

DEFAULT_MODEL = "crossviz-mini"
BUNDLES = ("explanation.npz", "explanation.json", "explanation.html")
FIGURES = ("figure.png", "figure.svg", "figure.pdf")


class UsageError(CrossvizError):
    """An argument that the command line can't do anything with."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; `argv` without the program's name (default: this process's own arguments)."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except CrossvizError as error:
        print(f"crossviz: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("crossviz: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone (`crossviz models | head -1`): nothing left to say, and no second error
        # when Python flushes standard output on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="crossviz", description="Which part of the picture does a word look at?")
    parser.add_argument("--version", action="version", version=f"crossviz {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], line: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=line, description=line)
        sub.set_defaults(run=run)
        return sub

    explain = command("explain", _explain, "Show where every word of a caption looks in a photo.")
    explain.add_argument("photo", metavar="PHOTO", help="JPEG, PNG, WebP, GIF, BMP or TIFF file")
    explain.add_argument("caption", metavar="CAPTION", help="the sentence, quoted")
    explain.add_argument("-o", "--output", metavar="OUT", type=Path, help="folder to write pictures and data into")
    explain.add_argument("-m", "--model", default=DEFAULT_MODEL, help="a name from `crossviz models` (%(default)s)")
    explain.add_argument("--method", help="a name from `crossviz models` (default: the model's first)")
    explain.add_argument("--words", nargs="+", metavar="TEXT", help="words or phrases to show (default: every word)")
    explain.add_argument("--trust", action="store_true", help="measure how far each word's map can be trusted")
    explain.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the fastest there is)")

    serve = command("serve", _serve, "Start the app in the browser.")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    serve.add_argument("--port", type=int, default=7860, help="port to listen on (%(default)s)")
    serve.add_argument("-m", "--model", default=DEFAULT_MODEL, help="the model to begin with (%(default)s)")
    serve.add_argument("--device", help="as for explain")

    measure = command("evaluate", _evaluate, "Measure a model's maps on photos where the answers are known.")
    measure.add_argument(
        "data", nargs="?", metavar="DATA", help="a set of photos, or a folder of sets (docs/evaluate.md)"
    )
    measure.add_argument("-m", "--model", default=DEFAULT_MODEL, help="a name from `crossviz models` (%(default)s)")
    measure.add_argument("--method", help="as for explain")
    measure.add_argument("--methods", nargs="+", metavar="NAME", help='compare these methods, or "all" of the model')
    measure.add_argument("--split", help="a part of the set, by its name there (dev, val, val2017)")
    measure.add_argument("--fold", metavar="K/N", help="only the photos of fold K of N, by a checksum of their names")
    measure.add_argument("--limit", type=int, metavar="N", help="at most N photos, drawn by the seed")
    measure.add_argument(
        "--seed", type=int, default=0, help="for drawing photos, absent phrases, intervals (%(default)s)"
    )
    measure.add_argument("--photos", metavar="DIR", help="the photos, where they are not in the set's folder")
    measure.add_argument("--probes", nargs="*", metavar="NAME", help="measure what needs no data instead: all or these")
    measure.add_argument("-o", "--out", type=Path, metavar="DIR", help="write the tables as Markdown, CSV and JSON")
    measure.add_argument("--device", help="as for explain")

    command("models", _models, "List the models and the methods, with a line each.")
    command("doctor", _doctor, "Check what is installed, and that the embedded model works.")
    return parser


def _explain(args: argparse.Namespace) -> int:
    # Imported here: torch takes a second, and `crossviz --help` needs none of it.
    from crossviz.explainer import Explainer
    from crossviz.photo import load_photo
    from crossviz.words import check_caption

    photo, caption = load_photo(args.photo), check_caption(args.caption)
    if args.output is not None:
        _make_folder(args.output)
    with _progress(3) as step:
        step(f"loading {args.model}")
        explainer = Explainer(args.model, device=args.device)
        step("reading the photo")
        image = explainer.encode(photo)
        step("explaining")
        explanation = explainer.explain(image, caption, method=args.method)
        phrases = _phrases(explanation, args.words)
    if args.trust:
        explanation = _checked(explainer, image, explanation, phrases)
    with _progress(1 if args.output is None else 1 + len(FIGURES) + len(BUNDLES)) as step:
        if args.output is not None:
            _write(explanation, phrases, args.words, args.output, step)
        step("done")
    print(_table(explanation, phrases))
    if args.trust:
        for report in explanation.trust.values():
            print("\n" + "\n".join(report.lines()))
    if args.output is not None:
        print(f"\nPictures, data and an interactive page (explanation.html) are in {args.output}.")
    return 0


def _checked(
    explainer: "Explainer", image: "EncodedImage", explanation: "Explanation", phrases: "Sequence[Phrase]"
) -> "Explanation":
    """The explanation with the checks of every phrase, and a bar while they are made."""
    shape = "{bar:24} {percentage:3.0f}% {desc}"
    with tqdm(total=float(len(phrases)), disable=None, leave=False, bar_format=shape) as bar:
        for number, phrase in enumerate(phrases):

            def show(done: float, doing: str, before: int = number, text: str = phrase.text) -> None:
                bar.set_description_str(f"'{text}': {doing}", refresh=False)
                bar.update(before + done - bar.n)

            span = (phrase.start, phrase.end)
            explanation = explanation.with_trust(explainer.trust(image, explanation, span=span, progress=show))
    return explanation


def _phrases(explanation: "Explanation", texts: Sequence[str] | None) -> "list[Phrase]":
    caption = explanation.caption
    if texts is None:
        return [caption.phrase(word=word.index) for word in caption.words if word.tokens]
    return [caption.phrase(text) for text in texts]


def _table(explanation: "Explanation", phrases: "Iterable[Phrase]") -> str:
    """One line per phrase: how much of it was found in the picture, and the strongest patch."""
    chart, patches = explanation.map, explanation.grid.num_patches
    probability, null = chart.unit == "probability", chart.null_mass is not None
    figure = "{:+.4g}" if chart.signed else "{:.4g}"
    rows = [("word", "found" if null else "sum", "peak")]
    for phrase in phrases:
        values = chart.select(phrase.words)  # gh gw
        if null:
            total = f"{1 - explanation.null_mass(span=(phrase.start, phrase.end)):.0%}"
        else:
            total = f"{float(values.sum()):.0%}" if probability else figure.format(float(values.sum()))
        peak = f"{float(values.max()) * patches:.1f} x chance" if probability else figure.format(float(values.max()))
        rows.append((phrase.text, total, peak))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{word:<{widths[0]}}  {total:>{widths[1]}}  {peak:>{widths[2]}}" for word, total, peak in rows]
    cut = [word.text for word in explanation.words if not word.tokens]
    if cut:
        lines.append(f"The model reads no further than {explanation.caption.cut_at} characters: without {_list(cut)}.")
    if not chart.text_dependent:
        lines.append("This method does not read the text: the map is the same for every word and caption.")
    if not explanation.provenance.trained:
        lines.append("These weights were not trained: the figures mean nothing.")
    lines.append(f"similarity {explanation.similarity:.3f}; {explanation.provenance.model}, {explanation.method}")
    return "\n".join(lines)


def _list(texts: Sequence[str]) -> str:
    shown = ", ".join(f"'{text}'" for text in texts[:5])
    return shown if len(texts) <= 5 else f"{shown} and {len(texts) - 5} more"


def _write(
    explanation: "Explanation",
    phrases: "Sequence[Phrase]",
    words: Sequence[str] | None,
    folder: Path,
    step: Callable[[str], None],
) -> None:
    try:
        for name in BUNDLES + FIGURES:
            step(f"writing {name}")
            explanation.save(folder / name, words=words)
        for number, phrase in enumerate(phrases, 1):
            overlay = explanation.overlay(span=(phrase.start, phrase.end))
            overlay.save(folder / f"{number:02d}-{_slug(phrase.text)}.png")
    except OSError as error:
        raise UsageError(f"Can't write into {folder}: {error.strerror or error}. Choose another folder.") from error


def _slug(text: str) -> str:
    """A file name of the text's letters and digits only: the caption never decides on a path."""
    return "-".join("".join(c if c.isalnum() else " " for c in text).split())[:40] or "word"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"{folder} is a file: give the name of a folder to write into.") from error
    except OSError as error:
        raise UsageError(f"Can't make the folder {folder}: {error.strerror or error}. Choose another one.") from error


class _progress:
    """A bar on standard error that names each step as it begins; nothing where that is not a terminal."""

    def __init__(self, steps: int) -> None:
        self._bar = tqdm(total=steps, disable=None, leave=False, bar_format="{bar:24} {n_fmt}/{total_fmt} {desc}")

    def __enter__(self) -> Callable[[str], None]:
        return self._step

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def _step(self, name: str) -> None:
        self._bar.set_description_str(name, refresh=False)
        self._bar.update()
        self._bar.refresh()


def _models(args: argparse.Namespace) -> int:
    import crossviz

    for title, entries in (("Models", crossviz.models()), ("Methods", crossviz.methods())):
        print(f"{title}:")
        width = max(len(entry.name) for entry in entries)
        for entry in entries:
            missing = "" if getattr(entry, "available", True) else f" Not available here: {entry.reason}"
            families = f" For {entry.families}." if hasattr(entry, "families") else ""
            print(f"  {entry.name:<{width}}  {entry.sentence}{families}{missing}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from crossviz.evaluate.command import run

    return run(args)


def _serve(args: argparse.Namespace) -> int:
    from crossviz.web.app import serve

    try:
        serve(args.host, args.port, args.model, args.device)
    except KeyboardInterrupt:
        print()  # the way to stop it
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from crossviz.doctor import checks

    broken = 0
    for check in checks():
        print(f"{'ok    ' if check.ok else 'BROKEN'}  {check.name}: {check.result}", flush=True)
        broken += not check.ok
    print("Everything works." if not broken else f"{broken} of these checks failed.")
    return 1 if broken else 0
