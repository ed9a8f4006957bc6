"""What the server keeps of each page is displaced by no stranger, and files that unpack to much don't fill memory."""

import json

import numpy as np
import pytest
from gradio.components import State
from gradio.state_holder import SessionState, StateHolder
from queueing import join, nothing, open_pages, question, read, wait_for
from stranger import upload
from watched import free_port

from crossviz.bundle import Bundle
from crossviz.web.checks import FORGOTTEN
from crossviz.web.examples import examples

MODEL = ["crossviz-mini", None]


@pytest.fixture(scope="module")
def served():
    """The app's blocks; its address as `url`."""
    from crossviz.web.app import build
    from crossviz.web.page import launch

    page = build()
    page.url = launch(page, "127.0.0.1", free_port())
    page.engine = page.guarded["forgetting"]._engine
    yield page
    page.close(verbose=False)


@pytest.fixture
def holder(served):
    """What keeps the visits' states, empty."""
    served.state_holder.forget(list(served.state_holder.session_data))
    return served.state_holder


@pytest.fixture
def open_page(served):
    """`open_page(visit)`: a page's line, open until the test ends."""
    with open_pages(served.url) as opened:
        yield opened


def asked(served, visit: str, event: str, data: list, event_data: object = None) -> str:
    """All that is answered to an event of a visit's page, as one text."""
    assert join(served.url, visit, event, data, event_data).status == 200
    return json.dumps([told.get("output") for told in read(served.url, visit)], ensure_ascii=False)


def explained(served, visit: str) -> str:
    """The id of an answer that the visit's page shows from now on."""
    photo, caption, *_ = question(served.url)
    return id_in(asked(served, visit, "answer", [photo, caption, *MODEL]))


def id_in(told: str) -> str:
    return told.partition('\\"payload\\":{')[2].partition('\\"id\\":\\"')[2].partition('\\"')[0]


def saved(served, visit: str, answer: str) -> bool:
    """Whether the server still has a visit's answer."""
    told = asked(served, visit, "save", [None], {"id": answer, "format": ".json", "settings": {}})
    assert (FORGOTTEN in told) != (".json" in told), told
    return FORGOTTEN not in told


def tiny(served, visit: str) -> None:
    assert nothing(served, visit).status == 200
    read(served.url, visit)


def test_strangers_without_end_displace_no_page(served, holder, monkeypatch, open_page):
    monkeypatch.setattr(holder, "capacity", 4)
    left = explained(served, "left")
    open_page("page")
    answer = explained(served, "page")
    for number in range(12):
        tiny(served, f"tiny{number}")
        assert len(holder.session_data) <= 4
    assert saved(served, "page", answer)
    assert not saved(served, "left", left)


def test_where_pages_have_all_places_another_is_answered_and_another_page_takes_the_oldests(
    served, holder, monkeypatch, open_page
):
    monkeypatch.setattr(holder, "capacity", 2)
    answer = {}
    for visit in ("first", "second"):
        open_page(visit)
        answer[visit] = explained(served, visit)
    for number in range(3):
        assert explained(served, f"stranger{number}")
        assert len(holder.session_data) == 3
    assert saved(served, "second", answer["second"]) and saved(served, "first", answer["first"])
    open_page("third")
    answer["third"] = explained(served, "third")
    assert list(holder.session_data) == ["first", "third"]
    assert saved(served, "third", answer["third"]) and saved(served, "first", answer["first"])
    assert not saved(served, "second", answer["second"])


def test_opened_files_keep_to_the_bound_of_memory(served, holder, monkeypatch, open_page):
    explanation = served.engine.explain(str(examples()[0].photo), "a dog", *MODEL)
    bundle = Bundle.from_npz(explanation.to_bytes(".npz"))
    for name in ("record_scores", "record_probs"):
        bundle.arrays[name] = np.zeros((1, 1, 1, 1_000_000), np.float32)
    packed = bundle.to_npz()
    assert len(packed) < 400_000
    path = upload(served.url, packed, "zeros.npz")
    monkeypatch.setattr(holder, "most", 32 << 20)
    open_page("page")
    answer = {"page": explained(served, "page")}
    for visit in ("a", "b", "c", "d", "e", "f"):
        answer[visit] = id_in(asked(served, visit, "_opened", [], {"path": path}))
        assert holder.held <= 32 << 20
        wait_for(lambda: not served._queue.event_ids_to_events)
    assert holder.held > 20 << 20
    assert saved(served, "page", answer["page"])
    assert saved(served, "f", answer["f"])
    assert not saved(served, "a", answer["a"])


def test_an_answer_that_is_made_again_counts_at_once(served, holder):
    before = holder.held
    photo, caption, *_ = question(served.url)
    asked(served, "again", "again", [photo, caption, *MODEL])
    assert holder.held > before + 300_000


def test_pages_are_forgotten_where_there_is_no_one_else(served, holder, monkeypatch, open_page):
    answer = {}
    for visit in ("first", "second", "third"):
        open_page(visit)
        answer[visit] = explained(served, visit)
    monkeypatch.setattr(holder, "most", holder.held - 1)
    answer["third"] = explained(served, "third")
    assert [saved(served, visit, answer[visit]) for visit in ("third", "second", "first")] == [True, True, False]


def test_what_visits_share_is_counted_once(served, holder):
    held = []
    for visit in ("one", "two"):
        for _ in range(2):  # what the page opens with is kept by the first, and counted by the second
            asked(served, visit, "save", [None], {"id": "", "format": ".json"})
        held.append(holder.held)
    assert 500_000 < held[0] <= held[1] < held[0] + 50_000


def test_what_is_used_of_gradios_own_is_there():
    """Private parts: a Gradio without them needs another way."""
    assert {"capacity", "session_data", "time_last_used", "lock"} <= set(vars(StateHolder()))
    assert {"update", "set_blocks", "__getitem__"} <= set(vars(StateHolder))
    assert {"state_data", "config_values", "blocks_config"} <= set(SessionState.__init__.__code__.co_names)
    assert State().stateful
