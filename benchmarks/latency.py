"""How fast crossviz is on this computer: one table, the median of several runs in each row.

    python -m benchmarks.latency [--model NAME] [--device DEVICE] [--runs N]

Start-up rows are measured from outside, from the start of a new Python process; the others inside one process, with
the model loaded and called once before. Photo and captions are those of assets/examples.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import crossviz
from benchmarks.measure import duration, machine, spread, timed
from crossviz.paths import assets_dir

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 120
FIRST = """
import sys, time
started = time.perf_counter()
import crossviz
crossviz.explain(sys.argv[1], sys.argv[2], model=sys.argv[3], device=sys.argv[4] or None)
print(time.perf_counter() - started)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="crossviz-mini")
    parser.add_argument("--device", default=None)
    parser.add_argument("--runs", type=int, default=20, help="runs of each warm row (%(default)s)")
    parser.add_argument("--starts", type=int, default=5, help="runs of each start-up row (%(default)s)")
    parser.add_argument("--trusts", type=int, default=5, help="runs of the checks and of each method (%(default)s)")
    args = parser.parse_args()

    folder = assets_dir() / "examples"
    examples = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    photo, captions = folder / examples[0]["photo"], [example["caption"] for example in examples]

    print(machine(f"model {args.model}", device=args.device), end="\n\n", flush=True)
    print("| what | median | fastest | slowest | runs |\n|---|---|---|---|---|", flush=True)
    row("start of `python app.py` to the page being served", [page_served() for _ in range(args.starts)])
    row("the same where no start was remembered, as of a Space that wakes", [woken() for _ in range(args.starts)])
    first = [sys.executable, "-c", FIRST, str(photo), captions[0], args.model, args.device or ""]
    row("new process to the first explanation, import and model included", [output(first) for _ in range(args.starts)])

    explainer = crossviz.Explainer(args.model, device=args.device)
    image = explainer.encode(photo)
    explainer.explain(image, captions[0])

    def whole() -> None:
        explainer.explain(explainer.encode(photo), captions[0])

    turn = iter(range(args.runs))

    def another_caption() -> None:
        explainer.explain(image, captions[next(turn) % len(captions)])

    row("warm explanation, from the photo's file to the result", [timed(whole) for _ in range(args.runs)])
    row("another caption on the same photo", [timed(another_caption) for _ in range(args.runs)])

    trust = {"first": [], "another photo's": [], "next": []}
    for turn in range(args.trusts):
        checked = explainer.encode(photo)
        explanation = explainer.explain(checked, captions[0])
        words = sorted((word for word in explanation.words if word.tokens), key=lambda word: -len(word.text))
        first, *more = [(word.start, word.end) for word in words[:3]]
        place = "another photo's" if turn else "first"
        trust[place].append(timed(lambda i=checked, x=explanation, s=first: explainer.trust(i, x, span=s)))
        for span in more:
            trust["next"].append(timed(lambda i=checked, x=explanation, s=span: explainer.trust(i, x, span=s)))
    row("all checks of the first word that is checked", trust["first"])
    row("all checks of the first word in another photo", trust["another photo's"])
    row("all checks of another word in that photo", trust["next"])

    for info in explainer.methods:

        def by_method(name: str = info.name) -> None:
            explainer.explain(explainer.encode(photo), captions[0], method=name)

        by_method()
        row(f"warm explanation by {info.name}", [timed(by_method) for _ in range(args.trusts)])


def row(what: str, seconds: list[float]) -> None:
    """Print one line of the table."""
    cells = " | ".join(map(duration, spread(seconds)))
    print(f"| {what} | {cells} | {len(seconds)} |", flush=True)


def output(command: list[str]) -> float:
    """Run a program in the repository's folder; the number that it prints last."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def woken() -> float:
    """`page_served` in a home that is new."""
    with tempfile.TemporaryDirectory() as home:
        return page_served({"XDG_CACHE_HOME": home})


def page_served(more: Mapping[str, str] = MappingProxyType({})) -> float:
    """Seconds from the start of the app's process until its page is answered with 200.

    Args:
        more: environment variables beside this process's.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), **more}
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=env, stdout=subprocess.DEVNULL) as app:
        try:
            while time.perf_counter() - started < PATIENCE_S and app.poll() is None:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S) as answer:
                        answer.read()
                        return time.perf_counter() - started
                except urllib.error.URLError:
                    time.sleep(0.01)
        finally:
            app.terminate()
    raise RuntimeError(f"The app served no page within {PATIENCE_S} s: start `python app.py` by hand to see why.")


if __name__ == "__main__":
    main()
