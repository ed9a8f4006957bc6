"""Makes dalle-mini-scenes from nothing: `python -m crossviz.training.dalle --work DIR --out FOLDER`.

Renders the scenes; trains the image tokenizer, the transformer that writes its tokens, the reader, the tokenizer's
decoder once more, and the checker; writes the model folder. Each step keeps what it made in the work folder; started
again, the command goes on where it stopped.
"""

import argparse
import time
from pathlib import Path

import torch

from crossviz.models.dalle_load import CHECKER
from crossviz.training import checker, dalle_decoder, dalle_export, dalle_reader, dalle_vqvae, dalle_writer, scene_data
from crossviz.training.checker_batches import Scenes
from crossviz.training.config import DALLE, load_config
from crossviz.training.dalle_run import prepare
from crossviz.training.redrawn import checker_sets

__all__ = ["main"]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made on the way")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2, help="processor cores to use (%(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config, started = load_config(DALLE), time.perf_counter()

    def begin(what: str) -> None:
        print(f"== {what} ({time.perf_counter() - started:.0f} s so far)", flush=True)

    begin("scenes")
    for name, count in config["data"].items():
        scene_data.render_set(args.work / "scenes", name, count, args.threads)
    begin("image tokenizer")
    dalle_vqvae.make_tokens(args.work, config, args.device)
    prepared = prepare(args.work)
    begin("transformer")
    dalle_writer.train(args.work, config, args.device, prepared=prepared)
    begin("reader")
    dalle_reader.train(args.work, config, args.device, prepared=prepared)
    begin("decoder")
    dalle_decoder.train(scene_data.load(args.work / "scenes", "train"), args.work, config, args.device)
    begin("checker")
    own = checker.settings(None)
    scenes = Scenes(checker_sets(args.work, own))
    checker.export(checker.train(scenes, own, args.work / "checker"), args.work / CHECKER)
    begin("model folder")
    dalle_export.export_work(args.work, args.work / CHECKER, args.out)


if __name__ == "__main__":
    main()
