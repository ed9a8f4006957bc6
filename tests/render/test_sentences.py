"""Attention, said as a sentence."""

import pytest

from crossviz.render.sentences import attention_sentence


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("query: text tokens, key: image patches", "Its attention goes from text tokens to image patches."),
        ("query: a, b, key: c, key: d.", "Its attention goes from a, b to c, key: d."),
        ("no attention is shown with this map", "No attention is shown with this map."),
        ("", ""),
    ],
)
def test_from_where_to_where(given, said):
    assert attention_sentence(given) == said
