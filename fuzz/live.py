"""The running app under photos, captions, saved files and requests: `python -m fuzz.live [--captions 2000] ...`."""

import argparse
import itertools
import json
import math
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fuzz import bundles, captions, photos
from fuzz.bundle_seeds import made_once
from fuzz.client import Answer, Client
from fuzz.command import report, told
from fuzz.outcome import Outcome, Tally
from fuzz.photo_seeds import photo_seeds
from fuzz.requests_made import make_requests, send_request
from fuzz.server import Server, serving

__all__ = ["run_live"]

UNEXPECTED = "Something went wrong"
CLIENTS = 2
GROWTH_MB = 100.0
GROWTH_FILES = 12
_SAME = 12
"""Events of the page are asked in so many sessions: the server keeps an answer for each."""
_MODELS = ("", "", "", "coca-mini", "vilt-mini")

Check = Callable[[Client, int], Outcome]


def run_live(counts: dict[str, int]) -> list[Tally]:
    """Start the app and send it so many cases of each target; a tally for each."""
    with made_once(), serving() as server:
        known = Known(server)
        checks: dict[str, Check] = {
            "captions": _Captions(server),
            "photos": _photo,
            "bundles": _Bundles(server),
            "requests": _Requests(server),
        }
        tallies = [_target(server, name, checks[name], counts[name], known) for name in checks if counts.get(name)]
    return tallies


class Known:
    """A question whose answer must stay what it was, number by number."""

    def __init__(self, server: Server) -> None:
        self._client = Client(server.port)
        self._first = self.ask()

    def ask(self) -> Any:
        path = self._client.upload(photo_seeds()["png rgb"], "known.png")
        answer = self._client.call("explain", [file_of(path), "a woman in an orange suit", "crossviz-mini", ""])
        return answer.result if answer.error is None else answer.error

    def fault(self) -> str:
        """What is wrong with the answer now; "" if nothing."""
        now = self.ask()
        return (
            "" if now == self._first and isinstance(now, list) else f"a known question is answered by {str(now)[:200]}"
        )


def file_of(path: str) -> dict[str, Any]:
    """An uploaded file, as the API takes it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def fault_of(answer: Answer) -> str:
    """What must not be in any answer; "" if it is not."""
    if answer.status >= 500:
        return f"status {answer.status}: {answer.body[:300]!r}"
    if "Traceback" in answer.body or 'File "/' in answer.body:
        return f"a traceback in the answer: {answer.body[:300]!r}"
    if UNEXPECTED in answer.body:
        return f"an unexpected error: {answer.body[-300:]!r}"
    if answer.error is not None and ("\n" in answer.error or answer.error in ("", "None")):
        return f"no sentence: {answer.error[:300]!r}"
    return ""


def outcome(number: int, label: str, answer: Answer, fault: str = "") -> Outcome:
    """The outcome of a case that was answered."""
    fault = fault_of(answer) or fault
    if fault:
        return Outcome(number, label, "wrong", fault)
    if answer.error is not None:
        return Outcome(number, label, "refused", answer.error)
    if answer.status >= 400:
        return Outcome(number, label, "refused", f"HTTP {answer.status}: {answer.body[:100]}")
    return Outcome(number, label, "accepted")


def _photo(client: Client, number: int) -> Outcome:
    data, label = photos.make(number)
    suffix = label.split()[0].removeprefix("a")
    path = client.upload(data, f"case.{suffix}")
    answer = client.call("explain", [file_of(path), "a woman in an orange suit", "", ""])
    return outcome(
        number, label, answer, "" if answer.error is not None else _fault_of_explanation(answer.result, None)
    )


class _Captions:
    """Captions, about one photo, of the first model and in turn of the others."""

    def __init__(self, server: Server) -> None:
        self._path = Client(server.port).upload(photo_seeds()["png rgb"], "photo.png")

    def __call__(self, client: Client, number: int) -> Outcome:
        text, label = captions.make(number)
        model = _MODELS[number % len(_MODELS)]
        answer = client.call("explain", [file_of(self._path), text, model, ""])
        fault = "" if answer.error is not None or answer.status != 200 else _fault_of_explanation(answer.result, text)
        return outcome(number, f"{label}, {model or 'crossviz-mini'}", answer, fault)


class _Bundles:
    """Saved files, opened as the page opens them."""

    def __init__(self, server: Server) -> None:
        config = json.loads(Client(server.port).send("GET", "/config").body)
        (self._fn, self._inputs) = next(
            (event["id"], event["inputs"])
            for event in config["dependencies"]
            if any(target[1] == "open" for target in event["targets"])
        )

    def __call__(self, client: Client, number: int) -> Outcome:
        data, label = bundles.make(number)
        path = client.upload(data, f"case{Path(label.partition(':')[0]).suffix}")
        session = f"fuzzer{threading.get_ident()}{number % _SAME}"
        answer = client.page_event(self._fn, [None] * len(self._inputs), {"path": path}, session)
        found = outcome(number, label, answer)
        if found.kind != "accepted":
            return found
        told_of = [part if isinstance(part, str) else part.get("value") for part in answer.result if part]
        told_of = [part for part in told_of if isinstance(part, str)]
        if any('"payload":' in part or '"drawings":' in part for part in told_of):
            return found
        said = [part for part in told_of if part.endswith(".") and not part.startswith("{")]
        return Outcome(number, label, "refused", said[0]) if said else found


class _Requests:
    """Right and wrong requests, made from what the server says that it takes; every model is loaded before."""

    def __init__(self, server: Server) -> None:
        client = Client(server.port)
        self._requests = make_requests(client)
        for model in client.call("models", []).result[0]["models"]:
            client.call("methods", [model["name"]])
        client.call("generate", ["a red cube", 0, None, None, ""])

    def __call__(self, client: Client, number: int) -> Outcome:
        request = self._requests(number)
        return outcome(number, request.label, send_request(client, request))


def _fault_of_explanation(result: Any, text: str | None) -> str:
    """What is wrong with what `explain` answered; "" if nothing."""
    (found,) = result
    if text is not None and found["caption"] != text:
        return "the caption is another"
    fault = captions.fault_of_spans(found["caption"], [(w["start"], w["end"], w["text"]) for w in found["words"]])
    numbers = [word["peak"]["value"] for word in found["words"] if word["peak"]]
    return fault or ("" if all(map(math.isfinite, numbers)) else "a value is not finite")


def _target(server: Server, name: str, check: Check, count: int, known: Known) -> Tally:
    """Run the cases of one target, then see that the server is as it was.

    A server in which many threads allocate reaches its size only after a while: it is held to what it holds halfway.
    """
    tally = Tally(f"{name}, by the running app")
    _many(server, check, range(count, count + min(200, count)), Tally(""))  # so that all that is loaded once is there
    holds = [server.holds()]
    for half in (range(count // 2), range(count // 2, count)):
        _many(server, check, half, tally, lambda at: told(f"{tally.target}: {at} of {count}"))
        time.sleep(2)  # what clients left is tidied up a moment later
        holds.append(server.holds())
    tally.notes.append(" -> ".join(map(str, holds)))
    start, middle, end = holds
    more = end.files - start.files > GROWTH_FILES or end.left > start.left
    tally.failed = more or end.mb - middle.mb > GROWTH_MB
    for fault in [*server.trouble(), *filter(None, [known.fault()])]:
        tally.add(Outcome(-1, "afterwards", "wrong", fault[:1500]))
    return tally


def _many(
    server: Server, check: Check, numbers: Iterable[int], tally: Tally, said: Callable[[int], None] = lambda _: None
) -> None:
    """Cases by some clients at once."""
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for number in itertools.chain(numbers, [None] * CLIENTS):
        waiting.put(number)
    lock = threading.Lock()

    def ask() -> None:
        client = Client(server.port)
        while (number := waiting.get()) is not None:
            began = time.perf_counter()
            try:
                found = check(client, number)
            except TimeoutError:
                found = Outcome(number, "", "wrong", "no answer in time")
                tally.hangs += 1
            except Exception as error:
                found = Outcome(number, "", "wrong", f"{type(error).__name__}: {str(error)[:300]}")
                tally.crashes += not server.alive
            ms = (time.perf_counter() - began) * 1000
            with lock:
                tally.add(Outcome(number, found.label, found.kind, found.said, ms))
            if number % 200 == 0:
                said(number)
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.live", description=__doc__.split(":")[0])
    for name, count in (("captions", 2000), ("photos", 1000), ("bundles", 500), ("requests", 2000)):
        parser.add_argument(f"--{name}", type=int, default=count, help="how many (%(default)s)")
    sys.exit(not report(run_live(vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
