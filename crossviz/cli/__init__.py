"""The command `crossviz`: explain a photo, let a model caption it, draw a picture, compare models, serve the app,
measure a model, explain many photos, list the models, check the installation. A module each for what a command does.

Results go to standard output, progress and errors to standard error. Exit status: 0, 1 where `doctor` found
something broken, 2 for bad input (one sentence, no traceback), 130 if interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from crossviz.errors import CrossvizError
from crossviz.version import __version__

__all__ = ["main"]

DEFAULT_MODEL = "crossviz-mini"
WRITER = "coca-mini"
DRAWER = "dalle-mini-scenes"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; `argv` without the program's name (default: this process's own arguments)."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except CrossvizError as error:
        print(f"crossviz: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("crossviz: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone (`crossviz models | head -1`): nothing left to say, and no second error
        # when Python flushes standard output on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="crossviz", description="Which part of the picture does a word look at?")
    parser.add_argument("--version", action="version", version=f"crossviz {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], line: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=line, description=line)
        sub.set_defaults(run=run)
        return sub

    explain = command("explain", _explain, "Show where every word of a caption looks in a photo.")
    explain.add_argument("photo", metavar="PHOTO", help="JPEG, PNG, WebP, GIF, BMP or TIFF file")
    explain.add_argument("caption", metavar="CAPTION", help="the sentence, quoted")
    explain.add_argument("-o", "--output", metavar="OUT", type=Path, help="folder to write pictures and data into")
    explain.add_argument("-m", "--model", default=DEFAULT_MODEL, help="a name from `crossviz models` (%(default)s)")
    explain.add_argument("--method", help="a name from `crossviz models` (default: the model's first)")
    explain.add_argument("--words", nargs="+", metavar="TEXT", help="words or phrases to show (default: every word)")
    explain.add_argument("--hide", metavar="TEXT", help="a word or phrase that the model shall guess (ViLT)")
    explain.add_argument("--trust", action="store_true", help="measure how far each word's map can be trusted")
    explain.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the fastest there is)")

    write = command("write", _write, "Let a model write a caption of a photo, and show where its words look.")
    write.add_argument("photo", metavar="PHOTO", help="as for explain")
    write.add_argument("-o", "--output", metavar="OUT", type=Path, help="as for explain")
    write.add_argument("-m", "--model", default=WRITER, help="a model that writes captions (%(default)s)")
    write.add_argument("--method", help="as for explain")
    write.add_argument("--device", help="as for explain")

    generate = command("generate", _generate, "Draw a picture from a caption, and show where each word wrote.")
    generate.add_argument("caption", metavar="CAPTION", help="the sentence, quoted")
    generate.add_argument(
        "-o",
        "--output",
        action="append",
        metavar="FILE",
        type=Path,
        help="file to write: .png, .gif (the picture growing), .html (to look into), .npz or .json; may be repeated",
    )
    generate.add_argument("-m", "--model", default=DRAWER, help="a name from `crossviz models` (%(default)s)")
    generate.add_argument("--seed", type=int, default=0, help="of the random numbers (%(default)s)")
    generate.add_argument("--guidance", type=float, help="how far the caption leads; 1: not beyond what was trained")
    generate.add_argument("--temperature", type=float, help="0: always the likeliest token")
    generate.add_argument("--candidates", type=int, help="of how many drawings the best is kept")
    generate.add_argument("--steps", type=int, help="of a diffusion model")
    generate.add_argument("--size", metavar="WxH", help="pixels, of a model that draws several sizes")
    generate.add_argument("--device", help="as for explain")

    compare = command("compare", _compare, "Draw the maps of several models beside each other, on one scale.")
    compare.add_argument("photo", metavar="PHOTO", help="as for explain")
    compare.add_argument("caption", metavar="CAPTION", help="the sentence, quoted")
    compare.add_argument("--models", nargs="+", required=True, metavar="NAME", help="names from `crossviz models`")
    compare.add_argument(
        "-o", "--output", required=True, metavar="OUT", type=Path, help="a .png, .svg, .pdf or .html file"
    )
    compare.add_argument("--words", nargs="+", metavar="TEXT", help="words or phrases to show (default: the main ones)")
    compare.add_argument("--device", help="as for explain")

    serve = command("serve", _serve, "Start the app in the browser.")
    serve.add_argument("--host", help="address to listen on (GRADIO_SERVER_NAME, or 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (GRADIO_SERVER_PORT, or 7860)")
    serve.add_argument("-m", "--model", help=f"the model to begin with (CROSSVIZ_MODEL, or {DEFAULT_MODEL})")
    serve.add_argument("--device", help="as for explain (or CROSSVIZ_DEVICE)")
    mcp_help = "offer the API to MCP clients, too (GRADIO_MCP_SERVER; docs/api.md)"
    serve.add_argument("--mcp", action="store_true", default=None, help=mcp_help)

    measure = command("evaluate", _evaluate, "Measure a model's maps on photos where the answers are known.")
    measure.add_argument(
        "data", nargs="?", metavar="DATA", help="a set of photos, or a folder of sets (docs/evaluate.md)"
    )
    measure.add_argument("-m", "--model", default=DEFAULT_MODEL, help="a name from `crossviz models` (%(default)s)")
    measure.add_argument("--method", help="as for explain")
    measure.add_argument("--methods", nargs="+", metavar="NAME", help='compare these methods, or "all" of the model')
    measure.add_argument("--split", help="a part of the set, by its name there (dev, val, val2017)")
    measure.add_argument("--fold", metavar="K/N", help="only the photos of fold K of N, by a checksum of their names")
    measure.add_argument("--limit", type=int, metavar="N", help="at most N photos, drawn by the seed")
    measure.add_argument(
        "--seed", type=int, default=0, help="for drawing photos, absent phrases, intervals (%(default)s)"
    )
    measure.add_argument("--photos", metavar="DIR", help="the photos, where they are not in the set's folder")
    measure.add_argument("--probes", nargs="*", metavar="NAME", help="measure what needs no data instead: all or these")
    measure.add_argument("-o", "--out", type=Path, metavar="DIR", help="write the tables as Markdown, CSV and JSON")
    measure.add_argument("--device", help="as for explain")

    batch = command("batch", _batch, "Explain many photos into a folder of Parquet and Zarr; goes on where it stopped.")
    batch.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder of photos, a .jsonl, .csv or .tsv file, .tar shards (x-{000..009}.tar), a saved Hugging Face "
        "data set, or hf:ORG/NAME:SPLIT (docs/batch.md)",
    )
    batch.add_argument("-o", "--output", required=True, metavar="OUT", type=Path, help="folder to write into")
    batch.add_argument("-m", "--model", default=DEFAULT_MODEL, help="a name from `crossviz models` (%(default)s)")
    batch.add_argument("--method", help="as for explain")
    batch.add_argument("--caption", metavar="TEXT", help="one caption for all photos")
    batch.add_argument("--photo-column", metavar="NAME", help="where the photos are (default: photo, image, file_name)")
    batch.add_argument("--caption-column", metavar="NAME", help="where the captions are (default: caption, text)")
    batch.add_argument("--id-column", metavar="NAME", help="what a row is called by (default: id, or the row's number)")
    batch.add_argument("--layers", type=int, metavar="N", help="only the last N layers that the method reads")
    batch.add_argument("--heads", action="store_true", help="keep the maps of single layers and heads, too")
    batch.add_argument("--limit", type=int, metavar="N", help="only the first N rows")
    batch.add_argument("--batch-size", type=int, default=32, metavar="N", help="photos in one pass (%(default)s)")
    batch.add_argument("--block", type=int, default=256, metavar="N", help="rows written together (%(default)s)")
    batch.add_argument("--workers", type=int, metavar="N", help="threads that read photos ahead (default: a core each)")
    batch.add_argument("--retry-bad", action="store_true", help="try rows again that were set aside, with their blocks")
    batch.add_argument(
        "--ray", nargs="?", const="local", metavar="ADDRESS", help="run on Ray: one started here, or the one at ADDRESS"
    )
    batch.add_argument("--ray-workers", type=int, metavar="N", help="models side by side (default: one on each GPU)")
    batch.add_argument("--device", help="as for explain")

    command("models", _models, "List the model families, the models and the methods, with what is missing.")
    command("doctor", _doctor, "Check what is installed, and that the embedded model works.")
    return parser


def _explain(args: argparse.Namespace) -> int:
    from crossviz.cli.explain import run

    return run(args)


def _write(args: argparse.Namespace) -> int:
    from crossviz.cli.write import run

    return run(args)


def _generate(args: argparse.Namespace) -> int:
    from crossviz.cli.generate import run

    return run(args)


def _compare(args: argparse.Namespace) -> int:
    from crossviz.cli.compare import run

    return run(args)


def _models(args: argparse.Namespace) -> int:
    from crossviz.cli.models import run

    return run(args)


def _evaluate(args: argparse.Namespace) -> int:
    from crossviz.evaluate.command import run

    return run(args)


def _batch(args: argparse.Namespace) -> int:
    from crossviz.cli.batch import run

    return run(args)


def _serve(args: argparse.Namespace) -> int:
    from crossviz.web.app import serve

    try:
        serve(args.host, args.port, args.model, args.device, mcp=args.mcp)
    except KeyboardInterrupt:
        print()  # the way to stop it
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from crossviz.doctor import checks

    broken = 0
    for check in checks():
        print(f"{'ok    ' if check.ok else 'BROKEN'}  {check.name}: {check.result}", flush=True)
        broken += not check.ok
    print("Everything works." if not broken else f"{broken} of these checks failed.")
    return 1 if broken else 0
