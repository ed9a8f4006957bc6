"""An explanation as a table: one row per word and patch, for spreadsheets and data frames. To be read only."""

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossviz.errors import RenderError
from crossviz.words import Phrase

if TYPE_CHECKING:
    from crossviz.explanation import Explanation, Selector

__all__ = ["COLUMNS", "MOST_ROWS", "table_bytes"]

MOST_ROWS = 300_000
"""More than the longest caption has that a model reads here: 512 words, each over 24 × 24 patches."""
COLUMNS = ("text", "start", "end", "row", "column", "value", "displayed")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def table_bytes(explanation: "Explanation", words: "Sequence[Selector] | None" = None) -> bytes:
    """CSV in UTF-8 after a header of lines that begin with "#".

    `value` is the mean over layers and heads (the sum, for shares) in the map's unit, `displayed` the same as the
    colour bar shows it: for probabilities the multiple of chance. Words that the model did not read have no rows.

    Args:
        words: whose rows, each by index, text or span; every word that was read if None.

    Raises:
        SelectionError: no such word.
        RenderError: more than `MOST_ROWS` rows.
    """
    ex, out = explanation, io.StringIO()
    _check_rows(ex, words)
    provenance = ex.provenance.to_arrays()[1]
    head = {
        "caption": ex.caption.text,
        "figure_caption": ex.figure_caption(),
        "unit": ex.unit,
        "displayed": ex.scale.label,
        "grid": f"{ex.grid.height} rows, {ex.grid.width} columns",
        "crop_xyxy": list(ex.view.crop_xyxy),
        "photo": {"name": ex.photo.name, "width": ex.photo.wh[0], "height": ex.photo.wh[1], "sha256": ex.photo.sha256},
        "provenance": provenance,
    }
    for name, value in head.items():
        out.write(f"# {name}: {json.dumps(value, ensure_ascii=False)}\n")  # one line each, whatever they hold
    rows = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    rows.writerow(COLUMNS)
    for phrase in _phrases(ex, words):
        values = ex.map.select(phrase.words).numpy()  # gh gw
        displayed = ex.scale.displayed(values)
        # What begins like a formula is made a text: a caption must not be run by the program that opens the table.
        text = f"'{phrase.text}" if phrase.text.startswith(_FORMULA) else phrase.text
        for row in range(ex.grid.height):
            for column in range(ex.grid.width):
                value = float(str(values[row, column]))  # the shortest number that is the same float32 again
                shown = float(f"{displayed[row, column]:.7g}")
                rows.writerow([text, phrase.start, phrase.end, row, column, value, shown])
    return out.getvalue().encode("utf-8", "replace")


def _check_rows(ex: "Explanation", words: "Sequence[Selector] | None") -> None:
    chosen = [word for word in ex.words if word.tokens] if words is None else words
    rows = (1 if isinstance(chosen, str) else len(chosen)) * ex.grid.height * ex.grid.width
    if rows > MOST_ROWS:
        raise RenderError(
            f"A table of these words would have {rows} rows, but has room for {MOST_ROWS}: choose fewer words, or save "
            "the explanation as .npz or .json."
        )


def _phrases(ex: "Explanation", words: "Sequence[Selector] | None") -> list[Phrase]:
    if words is None:
        return [ex.caption.phrase(word=word.index) for word in ex.words if word.tokens]
    return [ex.caption.select(word) for word in ([words] if isinstance(words, str) else words)]
