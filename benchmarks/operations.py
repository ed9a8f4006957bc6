"""What it costs a server that others can see how it does: log lines, metrics and the health check.

    python -m benchmarks.operations [--rounds N] [--questions N]

A question here is a caption about a photo that is known, the cheapest that there is, and the two requests by which the
page or a program asks it, through nothing but what watches them. It is asked in turns with each of the parts on and
with none; counted is the process's own computing time.
"""

import argparse
import asyncio
import io
import itertools
import logging
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr

from benchmarks.measure import duration, in_turns, machine
from crossviz.paths import assets_dir
from crossviz.web.engine import Engine
from crossviz.web.operations import logs
from crossviz.web.operations.all import question_line, request_line
from crossviz.web.operations.metrics import Metrics
from crossviz.web.operations.questions import observe
from crossviz.web.operations.requests import Watch
from crossviz.web.server_settings import ServerSettings

PHOTO = assets_dir() / "examples" / "cat.jpg"
_numbers = itertools.count()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="rounds of all of them in turn (%(default)s)")
    parser.add_argument("--questions", type=int, default=10, help="questions of each in a round (%(default)s)")
    args = parser.parse_args()

    engine = Engine("crossviz-mini", "cpu")
    engine.warm()
    metrics = Metrics(engine, gr.Blocks())
    lines = [request_line], [question_line]
    variants: dict[str, Callable[[], None]] = {
        "nothing": questions(engine, [], [], ServerSettings(log="off"), args.questions),
        "log, text": questions(engine, *lines, ServerSettings(), args.questions),
        "log, JSON, every request": questions(engine, *lines, ServerSettings(log="json"), args.questions),
        "metrics": questions(engine, [metrics.request], [metrics.question], ServerSettings(log="off"), args.questions),
    }
    print(machine("crossviz-mini", "cpu", libraries=("gradio", "prometheus_client")), end="\n\n", flush=True)
    found = in_turns(variants, args.rounds, clock=time.process_time)
    print("| on | CPU per question | beside nothing |\n|---|---|---|")
    for name, seconds in found.items():
        share = statistics.median(own / none for own, none in zip(seconds, found["nothing"], strict=True))
        print(f"| {name} | {duration(statistics.median(seconds) / args.questions)} | {share:.3f} |", flush=True)

    each = {"a health check": engine.probe, "a scrape of the metrics": lambda: scraped(metrics)}
    print("\n| | CPU |\n|---|---|")
    for name, seconds in in_turns(each, args.rounds, clock=time.process_time).items():
        print(f"| {name} | {duration(statistics.median(seconds))} |", flush=True)


def questions(
    engine: Engine, requests: list[Any], asked: list[Any], settings: ServerSettings, count: int
) -> Callable[[], None]:
    """So many questions, watched by these sinks, with the log set up as the settings say."""
    with gr.Blocks() as page:
        text = gr.Textbox()
        text.change(lambda caption: engine.explain(str(PHOTO), caption).caption.text, text, text)
    (function,) = page.fns.values()
    if asked:
        observe(page, asked)
    watched = Watch(answer, requests) if requests else answer

    async def send(message: Any) -> None:
        pass

    async def ask() -> None:
        await watched({"type": "http", "path": "/", "method": "POST"}, receive, send)
        function.fn(f"a cat and {next(_numbers)} dogs")
        await watched({"type": "http", "path": "/", "method": "GET"}, receive, send)

    async def many() -> None:
        for _ in range(count):
            await ask()

    def run() -> None:
        logs.configure(settings, io.StringIO())
        asyncio.run(many())
        logging.getLogger().handlers.clear()

    return run


async def receive() -> Any:
    """An empty body."""
    return {"type": "http.request", "body": b"{}"}


async def answer(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """The least that an app can answer."""
    await receive()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"{}"})


def scraped(metrics: Metrics) -> bytes:
    """What a scraper gets."""
    from prometheus_client import generate_latest

    return generate_latest(metrics.registry)


if __name__ == "__main__":
    main()
