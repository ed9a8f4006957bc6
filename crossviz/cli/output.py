"""What the commands print, and the files that they write."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

from crossviz.errors import CrossvizError, RenderError
from crossviz.words import unknown_sentence

if TYPE_CHECKING:
    from PIL import Image

    from crossviz.explanation import Explanation
    from crossviz.words import Caption, Phrase

__all__ = [
    "BUNDLES",
    "FIGURES",
    "SHEET",
    "SHEET_LEVEL",
    "Progress",
    "UsageError",
    "aligned",
    "guess_lines",
    "make_folder",
    "phrases",
    "reading_lines",
    "save_all",
    "table",
]

BUNDLES = ("explanation.npz", "explanation.json", "explanation.html", "explanation.csv")
FIGURES = ("figure.png", "figure.svg", "figure.pdf", "figure.gif")
SHEET, SHEET_LEVEL = "sheet.png", 3  # a tenth larger than at Pillow's own level, 6, and written in half the time
MOST_GUESSES = 5


class UsageError(CrossvizError):
    """An argument that the command line can't do anything with."""


def phrases(explanation: "Explanation", texts: Sequence[str] | None) -> "list[Phrase]":
    """The phrases that are asked for; of the caption every word that was read, if None."""
    caption = explanation.caption
    if texts is None:
        return [caption.phrase(word=word.index) for word in caption.words if word.tokens]
    return [caption.phrase(text) for text in texts]


def table(explanation: "Explanation", chosen: "Iterable[Phrase]") -> str:
    """One line per phrase: how much of it was found in the picture, and the strongest patch."""
    chart, patches = explanation.map, explanation.grid.num_patches
    probability, null = chart.unit == "probability", chart.null_mass is not None
    figure = "{:+.4g}" if chart.signed else "{:.4g}"
    rows = [("word", "found" if null else "sum", "peak")]
    for phrase in chosen:
        values = chart.select(phrase.words)  # gh gw
        if null:
            total = f"{1 - explanation.null_mass(span=(phrase.start, phrase.end)):.0%}"
        else:
            total = f"{float(values.sum()):.0%}" if probability else figure.format(float(values.sum()))
        peak = f"{float(values.max()) * patches:.1f} x chance" if probability else figure.format(float(values.max()))
        rows.append((phrase.text + _hidden(explanation, phrase), total, peak))
    lines = [*aligned(rows), *reading_lines(explanation.caption)]
    if not chart.text_dependent:
        lines.append("This method does not read the text: the map is the same for every word and caption.")
    if not explanation.provenance.trained:
        lines.append("These weights were not trained: the figures mean nothing.")
    made = f"{explanation.provenance.model}, {explanation.method}"
    alike = explanation.similarity
    lines.append(made if alike is None else f"similarity {alike:.3f}; {made}")
    return "\n".join(lines)


def aligned(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Rows of a text and two figures as lines, the columns below each other."""
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [f"{word:<{widths[0]}}  {total:>{widths[1]}}  {peak:>{widths[2]}}" for word, total, peak in rows]


def reading_lines(caption: "Caption") -> list[str]:
    """What a model did not read of a caption, and what it does not know: a line each."""
    cut = [word.text for word in caption.words if not word.tokens]
    lines = [f"The model reads no further than {caption.cut_at} characters: without {_list(cut)}."] if cut else []
    return [*lines, *filter(None, [unknown_sentence(caption)])]


def _hidden(explanation: "Explanation", phrase: "Phrase") -> str:
    return " (hidden)" if set(phrase.words) & set(explanation.hidden) else ""


def guess_lines(explanation: "Explanation") -> str:
    """What the model took each hidden token for: a line per token, the likeliest first."""
    caption, lines = explanation.caption, []
    for guess in explanation.guesses:
        said = ", ".join(f"{text} {_share(share)}" for text, share in guess.choices[:MOST_GUESSES])
        token = caption.tokens[guess.token]
        lines.append(f"hidden '{caption.text[token.start : token.end]}': {said}")
    return "\n".join(lines)


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "<1%"


def _list(texts: Sequence[str]) -> str:
    shown = ", ".join(f"'{text}'" for text in texts[:5])
    return shown if len(texts) <= 5 else f"{shown} and {len(texts) - 5} more"


def save_all(
    explanation: "Explanation",
    chosen: "Sequence[Phrase]",
    words: Sequence[str] | None,
    folder: Path,
    step: Callable[[str], None],
) -> None:
    """Write every picture and the data into a folder.

    Raises:
        UsageError: it can't be written into.
    """
    try:
        for name in BUNDLES + FIGURES:
            step(f"writing {name}")
            explanation.save(folder / name, words=words)
        step(f"writing {SHEET}")
        if explanation.map.per_head is not None and (sheet := _sheet(explanation, words)) is not None:
            sheet.save(folder / SHEET, compress_level=SHEET_LEVEL)
        for number, phrase in enumerate(chosen, 1):
            overlay = explanation.overlay(span=(phrase.start, phrase.end))
            overlay.save(folder / f"{number:02d}-{_slug(phrase.text + _hidden(explanation, phrase))}.png")
    except OSError as error:
        raise UsageError(f"Can't write into {folder}: {error.strerror or error}. Choose another folder.") from error


def _sheet(explanation: "Explanation", words: Sequence[str] | None) -> "Image.Image | None":
    """Every head, or where that is more than a picture holds, those of the last layer; None where that is, too."""
    for layer in (None, -1):
        with suppress(RenderError):
            return explanation.sheet(words, layer=layer)
    return None


def _slug(text: str) -> str:
    """A file name of the text's letters and digits only: the caption never decides on a path."""
    return "-".join("".join(c if c.isalnum() else " " for c in text).split())[:40] or "word"


def make_folder(folder: Path) -> None:
    """Make a folder to write into.

    Raises:
        UsageError: it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"{folder} is a file: give the name of a folder to write into.") from error
    except OSError as error:
        raise UsageError(f"Can't make the folder {folder}: {error.strerror or error}. Choose another one.") from error


class Progress:
    """A bar on standard error that names each step as it begins; nothing where that is not a terminal."""

    def __init__(self, steps: int) -> None:
        self._bar = tqdm(total=steps, disable=None, leave=False, bar_format="{bar:24} {n_fmt}/{total_fmt} {desc}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def __call__(self, name: str) -> None:
        self._bar.update()
        self.say(name)

    def say(self, text: str) -> None:
        """Another text at the same step."""
        self._bar.set_description_str(" ".join(text.split())[:60], refresh=False)
        self._bar.refresh()
