"""What the benchmarks' figures rest on: the peers draw and write the same maps, and times are taken in turns."""

import json
import re

import numpy as np
import pytest
import torch

from benchmarks.attention_like import attention_like
from benchmarks.extraction_peers import bertviz_page, min_max_maps
from benchmarks.measure import duration, in_turns, machine, spread, times
from benchmarks.sheet_peers import PEERS, drawn_out


def test_every_call_has_its_turn():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = in_turns(calls, 3)
    assert order == list("abababab") and [len(found) for found in seconds.values()] == [3, 3]
    assert all(value >= 0 for found in seconds.values() for value in found)
    in_turns(calls, 1, warm=False)
    assert order[8:] == ["a", "b"]


def test_a_ratio_is_the_median_of_the_rounds():
    assert times([2.0, 30.0, 4.0], [1.0, 3.0, 1.0]) == 4.0
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert [duration(value) for value in (0.0042, 0.42, 4.2)] == ["4.2 ms", "420 ms", "4.20 s"]


def test_the_machine_is_told_with_its_versions():
    line = machine("a model", libraries=("numpy",))
    assert f"torch {torch.__version__}" in line and f"numpy {np.__version__}" in line and line.endswith("; a model")


def test_peers_draw_the_maps_that_the_sheet_draws():
    ex = attention_like("a man", layers=1, heads=2, side=4)
    maps = ex.map.per_head.flatten(0, 1).transpose(0, 1)  # word head gh gw
    photo = np.zeros((*ex.photo.wh[::-1], 3), dtype=np.uint8)
    for place, drawn in enumerate(drawn_out(photo, maps)):
        word, head = divmod(place, 2)
        np.testing.assert_allclose(drawn, ex.heatmap(word=word, head=head), atol=1e-6)
    assert place == 3
    small = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for peer in PEERS.values():
        for encode in (True, False):
            peer(small, maps[:1, :1], encode=encode)


@pytest.mark.parametrize(("digits", "off"), [(None, 0.0), (4, 5e-5)])
def test_the_page_of_a_peer_holds_all_attention(digits, off):
    attention = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    page = bertviz_page(attention, digits=digits).decode()
    shown = json.loads(re.search(r"params = (.*);</script>", page)[1])["attention"][0]
    assert np.abs(np.array(shown["attn"]) - attention.numpy()).max() <= off + 1e-12
    assert (len(shown["left_text"]), len(shown["right_text"])) == (4, 5)


def test_every_map_is_drawn_out():
    assert min_max_maps(torch.rand(2, 3, 4, 5, 6), (7, 8)) == 24
