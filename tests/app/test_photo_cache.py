"""What is kept of photos: counted to the byte, bounded, those used longest ago gone first."""

import numpy as np
import torch

from crossviz.captured import SiteCapture
from crossviz.web.memory import held, weight
from crossviz.web.photo_cache import PhotoCache


def test_memory_is_counted_once_wherever_it_is():
    one, other = torch.zeros(3), np.zeros(4)
    loop = {"a": [one, (other, {"b": one, "view": one[:1]})], "view": other[:1]}
    loop["self"] = loop
    assert held(loop) == one.nbytes + other.nbytes
    assert held([other[:1], other]) == held([other, other[:1]]) == other.nbytes
    assert held({"site": SiteCapture("pooler", 1, 0.0, {"probs": one})}) == one.nbytes


def test_a_part_of_a_tensor_holds_all_of_it():
    assert held(torch.zeros(8, 5)[2]) == 8 * 5 * 4


def test_all_else_weighs_at_the_values_own_address():
    one = np.zeros(4)
    whole = {"array": one, "told": ["a" * 10_000, 1.5]}
    found = weight(whole)
    assert found.pop(one.ctypes.data) == one.nbytes
    assert 10_000 < found.pop(id(whole)) < 11_000 and not found


def test_those_used_longest_ago_leave_first():
    cache = PhotoCache(100)
    for key in "abc":
        cache.put(key, [torch.zeros(8)])  # 32 bytes
    assert cache.get("a") is not None
    cache.put("d", [torch.zeros(8)])
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]
    assert (len(cache), cache.total) == (3, 96)


def test_what_grows_is_counted_again_and_what_is_too_large_is_not_kept():
    cache, photo = PhotoCache(100), [torch.zeros(8)]
    cache.put("a", photo)
    cache.put("b", [torch.zeros(8)])
    photo.append(torch.zeros(8))
    cache.put("a", photo)
    assert (cache.total, len(cache)) == (96, 2)
    photo.append(torch.zeros(8))
    cache.put("a", photo)
    assert (cache.total, cache.get("b")) == (96, None)
    cache.put("c", [torch.zeros(26)])  # others do not leave for what can't be kept
    assert (cache.total, cache.get("c"), len(cache)) == (96, None, 1)
    photo.append(torch.zeros(8))
    cache.put("a", photo)
    assert (cache.total, len(cache)) == (0, 0)
