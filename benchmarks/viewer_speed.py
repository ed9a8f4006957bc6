"""How fast and how small the viewer is: 12 layers of 12 heads, 16 words, 16 x 16 patches, in a real Chromium.

    python -m benchmarks.viewer_speed [--throttle RATE] [--rounds N]

The browser's main thread is slowed down, 4 times if nothing else is asked, to that of a phone. Each time runs from when
the page hears of the pointer to when the browser has done all that it does for the frame that shows the result. An
empty frame, measured between the others, says how much of that any page would take on this machine. Needs the test
tools and a Chromium (`make bench-viewer` sees to them).
"""

import argparse
import gzip
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

import crossviz
from benchmarks.attention_like import CAPTION, OTHER_CAPTION, attention_like, example_photo
from crossviz.paths import assets_dir
from crossviz.render.html import standalone_page
from crossviz.render.payload import viewer_payload

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))  # where the Chromium of the tests is found

import browser as chromium  # noqa: E402

PATIENCE_MS = 60_000
FRAME_MS, FIRST_MS, PAYLOAD_KB = 16, 100, 300
"""What is aimed at."""
_WATCH = """
window.shifts = 0;
new PerformanceObserver((list) => list.getEntries().forEach((entry) => (window.shifts += entry.value)))
  .observe({ type: "layout-shift", buffered: true });
"""
# A task that is posted while a frame is made runs when it has been laid out, painted and handed on.
_TIMES = """
window.frameEnd = () => new Promise((done) => requestAnimationFrame(() => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => done(performance.now());
  port2.postMessage(null);
}));
window.quiet = () => new Promise((done) => requestIdleCallback(() => requestIdleCallback(done)));
// From the event's first listener; `drawn` is when its last one returned.
window.timed = async (act) => {
  await quiet();
  const heard = performance.now();
  act();
  const drawn = performance.now();
  return [await frameEnd() - heard, drawn - heard];
};
window.byPointer = (kind) => {
  window.measured = new Promise((done, fail) => {
    setTimeout(() => fail(new Error("The pointer came to no " + kind)), 10_000);
    const listen = (event) => {
      if (!event.target.closest?.(kind)) return;
      removeEventListener("pointerenter", listen, true);
      const heard = performance.now();
      // A listener of its own comes after those of the viewer, which are there since the element was made.
      const { target } = event;
      target.addEventListener("pointerenter", async () => {
        const drawn = performance.now();
        done([await frameEnd() - heard, drawn - heard]);
      }, { once: true });
    };
    addEventListener("pointerenter", listen, true);
  });
};
"""
_FIRST = """async (text) => {
  await quiet();
  const heard = performance.now();
  await crossvizView.update(JSON.parse(text));
  return await frameEnd() - heard;
}"""
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
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": throttle})
    slowed = page.evaluate(_LOOP)
    print(f"\nTimes, {throttle:g} times slowed down (a fixed loop: {plain:.1f} ms before, {slowed:.1f} ms then)\n")
    print("| what | median | 95 % | worst | script alone, median | over an empty frame | aimed at |")
    print("|---|---|---|---|---|---|---|")
    shifts = {"on load": page.evaluate("shifts")}
    page.on("request", lambda request: request.url.startswith("data:") or asked.append(request.url))

    empty: list[list[float]] = []
    words: list[list[float]] = []
    heads: list[list[float]] = []
    for turn in range(rounds):
        empty += [page.evaluate("timed(() => undefined)") for _ in range(8)]
        words += hover(page, ".cv-chip", range(page.locator(".cv-chip").count()))
        heads += hover(page, ".cv-head", range(turn, page.locator(".cv-head").count(), 7))
    page.mouse.move(1, 1)
    floor = statistics.median(frame for frame, _ in empty)
    row("an empty frame", empty, floor)
    row("pointing at a word", words, floor, FRAME_MS)
    row("pointing at a head", heads, floor, FRAME_MS)
    layers = ["all", *map(str, range(len(one["layers"])))]
    row("choosing a layer", [page.evaluate(_LAYER, layer) for _ in range(rounds) for layer in layers], floor)
    page.evaluate(_LAYER, "all")
    shifts["on pointing"] = page.evaluate("shifts") - sum(shifts.values())
    requests = list(asked)
    texts = [json.dumps(payload) for payload in (other, one)]
    firsts = [[page.evaluate(_FIRST, texts[turn % 2]), 0.0] for turn in range(2 * rounds)]
    row("a new answer, from its text to its first map", firsts, floor, FIRST_MS)
    shifts["on a new answer"] = page.evaluate("shifts") - sum(shifts.values())
    return requests, shifts


def hover(page: Page, selector: str, indices: range) -> list[list[float]]:
    """Times [to the end of the frame, of the script] in ms of the pointer coming to elements, one after the other."""
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


def row(what: str, times: list[list[float]], floor: float, aim: int | None = None) -> None:
    """Print one line of the table of times."""
    frames, scripts = (sorted(column) for column in zip(*times, strict=True))
    middle = statistics.median(frames)
    worst = frames[-1]
    high = frames[min(len(frames) - 1, int(0.95 * len(frames)))]
    script = statistics.median(scripts)
    print(
        f"| {what} | {middle:.1f} ms | {high:.1f} ms | {worst:.1f} ms | {f'{script:.1f} ms' if script else ''} "
        f"| {middle / floor:.1f} x | {f'{aim} ms' if aim else ''} |",
        flush=True,
    )


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
