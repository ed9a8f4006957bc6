"""What is kept of photos: counted to the byte, bounded, those used longest ago gone first."""

import numpy as np
import pytest
import torch

from crossviz.errors import CrossvizError
from crossviz.web.photo_cache import PhotoCache, held
from crossviz.web.server_settings import ServerSettings


def test_memory_is_counted_once_wherever_it_is():
    one, other = torch.zeros(3), np.zeros(4)
    loop = {"a": [one, (other, {"b": one, "view": one[:1]})], "view": other[:1]}
    loop["self"] = loop
    assert held(loop) == one.nbytes + other.nbytes


def test_a_part_of_a_tensor_holds_all_of_it():
    assert held(torch.zeros(8, 5)[2]) == 8 * 5 * 4


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
    cache.put("c", [torch.zeros(26)])
    assert (cache.total, len(cache)) == (0, 0)


def test_settings_come_from_the_environment():
    assert ServerSettings.of({}) == ServerSettings()
    given = {"CROSSVIZ_CACHE_MB": "0", "CROSSVIZ_BATCH": " 4 ", "CROSSVIZ_QUEUE": "", "CROSSVIZ_OTHER": "x"}
    assert ServerSettings.of(given) == ServerSettings(cache_mb=0, batch=4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("CACHE_MB", "-1"), ("CACHE_MB", "many"), ("BATCH", "0"), ("AT_ONCE", "41"), ("QUEUE", "1.5"), ("QUEUE", "٣")],
)
def test_a_setting_that_will_not_do_is_said_in_a_sentence(name, value):
    with pytest.raises(CrossvizError, match=f"CROSSVIZ_{name} is a whole number from [0-9]+ to [0-9]+, not '{value}'"):
        ServerSettings.of({f"CROSSVIZ_{name}": value})


def test_how_many_photos_go_together():
    assert ServerSettings(batch=3).together("cuda:0", 2) == 3
    assert [ServerSettings().together("cpu", threads) for threads in (1, 2, 64)] == [1, 2, 8]
    assert ServerSettings().together("cuda:0", 2) == 16


def test_how_many_questions_are_worked_on_at_once():
    assert [ServerSettings().places(cores) for cores in (1, 2, 4, 64)] == [4, 4, 8, 16]
    assert ServerSettings(at_once=3).places(64) == 3
