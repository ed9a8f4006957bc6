"""The table: the very numbers, where they are from, and no text that a spreadsheet would run."""

import csv
import io
import json

import factories
import numpy as np
import pytest

from crossviz import table
from crossviz.errors import BundleError, RenderError
from crossviz.explanation import load
from crossviz.table import COLUMNS


def read(data: bytes):
    """The header by name, and the rows as dicts."""
    lines = data.decode().split("\n")
    head = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    rows = csv.DictReader(io.StringIO("\n".join(line for line in lines if not line.startswith("# "))))
    return {name: json.loads(value) for name, value in head.items()}, list(rows)


def test_a_row_per_word_and_patch_with_the_very_values():
    ex = factories.explanation("a dog and a zebra", read=4)
    head, rows = read(ex.to_bytes(".csv"))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 4 * 24
    values = np.float32([float(row["value"]) for row in rows]).reshape(4, 4, 6)
    np.testing.assert_array_equal(values, ex.map.values[:4].numpy())
    shown = np.array([float(row["displayed"]) for row in rows])
    np.testing.assert_allclose(shown, values.ravel() * 24, rtol=1e-6)
    assert {(row["text"], int(row["start"])) for row in rows} == {("a", 0), ("dog", 2), ("and", 6), ("a", 10)}
    assert head["provenance"]["weights_sha256"] == "ab" * 32 and head["displayed"] == "× chance"
    assert head["figure_caption"] == ex.figure_caption()


@pytest.mark.parametrize("words", [None, ["dog"] * 5, [(0, 5)] * 5])
def test_a_table_has_so_many_rows_and_no_more(words, monkeypatch):
    ex = factories.explanation("a dog and a zebra")
    monkeypatch.setattr(table, "MOST_ROWS", 5 * 24)
    assert len(read(ex.to_bytes(".csv", words=words))[1]) == 5 * 24
    monkeypatch.setattr(table, "MOST_ROWS", 5 * 24 - 1)
    monkeypatch.setattr(table, "_phrases", lambda *asked: pytest.fail("a row was written"))
    with pytest.raises(RenderError, match="would have 120 rows, but has room for 119: choose fewer words"):
        ex.to_bytes(".csv", words=words)


def test_chosen_words_and_phrases():
    _, rows = read(factories.explanation("a dog and a zebra").to_bytes(".csv", words=["dog and", 4]))
    assert {row["text"] for row in rows} == {"dog and", "zebra"}


def test_pandas_reads_it_with_the_header_as_comments(tmp_path):
    pandas = pytest.importorskip("pandas")
    ex = factories.explanation('a #1 "dog",\n# and: more')
    ex.save(tmp_path / "a.csv")
    table = pandas.read_csv(tmp_path / "a.csv", comment="#")
    assert list(table.columns) == list(COLUMNS) and len(table) == 24 * len(ex.words)


def test_what_begins_like_a_formula_is_a_text():
    ex = factories.explanation("+1 =cmd @x dog")
    _, rows = read(ex.to_bytes(".csv", words=[(0, len(ex.caption.text))]))
    assert rows[0]["text"][0] not in "=+-@\t\r"
    for row in read(ex.to_bytes(".csv"))[1]:
        assert row["text"][0] not in "=+-@\t\r"


def test_a_table_is_not_loaded(tmp_path):
    factories.explanation().save(tmp_path / "a.csv")
    with pytest.raises(BundleError, match=r"\.npz"):
        load(tmp_path / "a.csv")
