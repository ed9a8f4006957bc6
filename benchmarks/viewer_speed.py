"""How fast and how small the viewer is: 12 layers of 12 heads, 16 words, 16 x 16 patches, in a real Chromium.

    python -m benchmarks.viewer_speed [--throttle RATE] [--rounds N]

The browser's main thread is slowed down, 4 times if nothing else is asked, to that of a phone. Each time runs from when
the page hears of the pointer to when the browser has done all that it does for the frame that shows the result: by the
clock, and as processor time of that thread, which leaves out what other programs take. An empty frame is measured
between the others. Needs the test tools and a Chromium (`make bench-viewer` sees to them).
"""

import argparse
import gzip
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import CDPSession, Page, sync_playwright

import crossviz
from benchmarks.attention_like import CAPTION, OTHER_CAPTION, attention_like, example_photo
from crossviz.paths import assets_dir
from crossviz.render.html import standalone_page
from crossviz.render.payload import viewer_payload

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))  # where the Chromium of the tests is found

import browser as chromium  # noqa: E402

PATIENCE_MS = 60_000
PAYLOAD_KB = 300
AIMS = {
    "an empty frame": None,
    "pointing at a word": 16,
    "pointing at a head": 16,
    "choosing a layer": None,
    "a new answer, from its text to its first map": 100,
}
"""What is done, and the milliseconds that are aimed at."""
_WATCH = """
window.shifts = 0;
new PerformanceObserver((list) => list.getEntries().forEach((entry) => (window.shifts += entry.value)))
  .observe({ type: "layout-shift", buffered: true });
"""
# A task that is posted while a frame is made runs when it has been laid out, painted and handed on. The marks tell the
# trace how much processor time the main thread had between them.
_TIMES = """
let count = 0;
const begun = () => {
  performance.mark(`from ${++count}`);
  return [count, performance.now()];
};
const ended = async ([id, heard]) => {
  // Posted now, before whatever the page posts: of the pointer the page hears while a frame is made, and the message
  // comes when that frame is done. If it comes before any frame, it is posted again.
  let framed = false;
  requestAnimationFrame(() => (framed = true));
  await new Promise((done) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => (framed ? done() : port2.postMessage(null));
    port2.postMessage(null);
  });
  performance.mark(`to ${id}`);
  return [id, performance.now() - heard];
};
window.quiet = async () => {
  const idle = () => new Promise((done) => requestIdleCallback(done, { timeout: 200 }));
  do { await idle(); await idle(); } while (document.querySelector(".cv-heads[aria-busy]"));
};
window.timed = async (act) => {
  await quiet();
  const start = begun();
  const done = act();
  if (done) await done;
  return await ended(start);
};
// From the first listener that hears of the pointer.
window.byPointer = (kind) => {
  window.measured = new Promise((done, fail) => {
    setTimeout(() => fail(new Error("The pointer came to no " + kind)), 10_000);
    const listen = async (event) => {
      if (!event.target.closest?.(kind)) return;
      removeEventListener("pointerenter", listen, true);
      done(await ended(begun()));
    };
    addEventListener("pointerenter", listen, true);
  });
};
undefined; // or Playwright would call the last of them
"""
_FIRST = "(text) => timed(() => crossvizView.update(JSON.parse(text)))"
_LAYER = """(value) => timed(() => {
  const [select] = document.querySelectorAll(".cv-controls select");
  select.value = value;
  select.dispatchEvent(new Event("change", { bubbles: true }));
})"""
_LOOP = """() => {
  const times = Array.from({ length: 9 }, () => {
    const began = performance.now();
    let sum = 0;
    for (let i = 0; i < 400_000; i++) sum += Math.sqrt(i);
    return sum && performance.now() - began;
  });
  return times.sort((a, b) => a - b)[4];
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--throttle", type=float, default=4, help="how many times slower the main thread (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each thing is done (%(default)s)")
    args = parser.parse_args()
    print(f"Sizes (aimed at: {PAYLOAD_KB} kB without the photo)\n")
    print("| payload | maps | without the photo | that, gzipped | with the photo |\n|---|---|---|---|---|")
    one, other = (viewer_payload(attention_like(text)) for text in (CAPTION, OTHER_CAPTION))
    size_row("attention-like", one)
    for name in ("crossviz-mini", "coca-mini", "vilt-mini"):
        size_row(name, viewer_payload(of_model(name)))
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        page.set_default_timeout(PATIENCE_MS)
        requests, shifts = measure(page, one, other, args.throttle, args.rounds)
        browser.close()
    print(f"\nRequests while pointing and choosing: {len(requests)}")
    print("Layout shift: " + ", ".join(f"{value:.4f} {when}" for when, value in shifts.items()))


def measure(
    page: Page, one: dict[str, Any], other: dict[str, Any], throttle: float, rounds: int
) -> tuple[list[str], dict[str, float]]:
    """Print the times of a page that shows the payload `one`, and then `other`.

    Returns:
        The addresses that were asked for by pointing and choosing, and the layout shift by when it came.
    """
    asked: list[str] = []
    page.add_init_script(_WATCH)
    page.goto("about:blank")
    page.set_content(standalone_page(one).decode())
    page.wait_for_selector(".cv-viewer[data-ready]")
    page.evaluate(_TIMES)
    page.evaluate("quiet()")
    plain = page.evaluate(_LOOP)
    cdp = page.context.new_cdp_session(page)
    cdp.send("Emulation.setCPUThrottlingRate", {"rate": throttle})
    slowed = page.evaluate(_LOOP)
    shifts = {"on load": page.evaluate("shifts")}
    page.on("request", lambda request: request.url.startswith("data:") or asked.append(request.url))
    trace = Trace(cdp)

    times: dict[str, list[list[float]]] = {what: [] for what in AIMS}
    empty, word, head, layer, first = times.values()
    for turn in range(rounds):
        empty += [page.evaluate("timed(() => undefined)") for _ in range(8)]
        word += hover(page, ".cv-chip", range(page.locator(".cv-chip").count()))
        head += hover(page, ".cv-head", range(turn, page.locator(".cv-head").count(), 7))
        page.mouse.move(1, 1)
        layer += [page.evaluate(_LAYER, number) for number in [*map(str, range(len(one["layers"]))), "all"]]
    shifts["on pointing and choosing"] = page.evaluate("shifts") - sum(shifts.values())
    requests = list(asked)
    texts = [json.dumps(payload) for payload in (other, one)]
    first += [page.evaluate(_FIRST, texts[turn % 2]) for turn in range(2 * rounds)]
    page.evaluate("quiet()")
    shifts["on a new answer"] = page.evaluate("shifts") - sum(shifts.values())

    print(f"\nTimes, {throttle:g} times slowed down (a fixed loop: {plain:.1f} ms before, {slowed:.1f} ms then)\n")
    print("| what | processor time: median | 95 % | worst | to an empty frame | aimed at | clock: median | worst |")
    print("|---|---|---|---|---|---|---|---|")
    processor = trace.end(page)
    floor = statistics.median(processor[number] for number, _ in empty)
    for what, found in times.items():
        row(what, [processor[number] for number, _ in found], [clock for _, clock in found], floor, AIMS[what])
    return requests, shifts


class Trace:
    """Chromium's own record of what its main thread does."""

    def __init__(self, cdp: CDPSession) -> None:
        self._cdp = cdp
        self._events: list[dict[str, Any]] = []
        self._ended = False
        cdp.on("Tracing.dataCollected", lambda message: self._events.extend(message["value"]))
        cdp.on("Tracing.tracingComplete", lambda _: setattr(self, "_ended", True))
        cdp.send("Tracing.start", {"transferMode": "ReportEvents", "categories": "blink.user_timing"})

    def end(self, page: Page) -> dict[int, float]:
        """Processor time in ms of the main thread between the marks, by their number."""
        self._cdp.send("Tracing.end")
        while not self._ended:
            page.wait_for_timeout(20)
        marks = {
            event["name"]: event["tts"] for event in self._events if event.get("name", "").startswith(("from ", "to "))
        }
        numbers = [int(name[3:]) for name in marks if name.startswith("to ")]
        return {number: (marks[f"to {number}"] - marks[f"from {number}"]) / 1000 for number in numbers}


def hover(page: Page, selector: str, indices: range) -> list[list[float]]:
    """[number of its marks, ms by the clock] of the pointer coming to elements, one after the other."""
    found = []
    page.mouse.move(1, 1)
    page.locator(selector).first.evaluate("element => element.parentNode.scrollIntoView({ block: 'center' })")
    for index in indices:
        box = page.locator(selector).nth(index).bounding_box()
        page.evaluate("quiet()")
        page.evaluate("byPointer", selector)
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        found.append(page.evaluate("measured"))
    return found


def row(what: str, processor: list[float], clock: list[float], floor: float, aim: int | None) -> None:
    """Print one line of the table of times."""
    middle, high, worst = spread(processor)
    clock_middle, _, clock_worst = spread(clock)
    print(
        f"| {what} | {middle:.1f} ms | {high:.1f} ms | {worst:.1f} ms | {middle / floor:.1f} x | "
        f"{f'{aim} ms' if aim else ''} | {clock_middle:.0f} ms | {clock_worst:.0f} ms |",
        flush=True,
    )


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, what 95 % do not exceed, largest."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))], ordered[-1]


def size_row(what: str, payload: dict[str, Any]) -> None:
    """Print one line of the table of sizes."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    bare = json.dumps({**payload, "photo": {**payload["photo"], "src": ""}}, separators=(",", ":")).encode()
    grid, words = payload["grid"], len(payload["caption"]["words"])
    maps = f"{len(payload['layers'])} x {payload['heads']} heads, {words} words, {grid['height']} x {grid['width']}"
    print(
        f"| {what} | {maps} | {kilobytes(bare)} | {kilobytes(gzip.compress(bare))} | {kilobytes(text)} |",
        flush=True,
    )


def kilobytes(data: bytes) -> str:
    return f"{len(data) / 1000:.0f} kB"


def of_model(name: str) -> crossviz.Explanation:
    """An embedded model's explanation of the first example."""
    captions = json.loads((assets_dir() / "examples" / "examples.json").read_text("utf-8"))
    return crossviz.explain(example_photo(), captions[0]["caption"], model=name)


if __name__ == "__main__":
    main()
