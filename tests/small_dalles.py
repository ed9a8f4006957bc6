"""A scene model with weights as initialised, in a folder of its own: quick to load, and it draws noise."""

from pathlib import Path

import torch

from crossviz.models.dalle_reader import DalleReader, ReaderConfig
from crossviz.models.dalle_transformer import DalleTransformer, TransformerConfig
from crossviz.models.dalle_vqvae import VqVae, VqVaeConfig
from crossviz.scenes.checker_network import CheckerNetwork
from crossviz.training.checker import export as export_checker
from crossviz.training.dalle_export import export

__all__ = ["small_dalle", "small_reader", "small_transformer"]

SAMPLING = {"guidance": 2.0, "temperature": 1.0, "nucleus": 0.95, "candidates": 2}


def small_transformer(seed: int = 0) -> DalleTransformer:
    """With attention that differs from place to place, as initialised weights' hardly does."""
    torch.manual_seed(seed)
    return _sharp(DalleTransformer(TransformerConfig(width=40, heads=5, text_layers=1, layers=3)))


def small_reader(seed: int = 0) -> DalleReader:
    """The same for the reader."""
    torch.manual_seed(seed)
    return _sharp(DalleReader(ReaderConfig(width=40, heads=5, text_layers=1, image_layers=1, layers=2)))


def _sharp(model):
    model.codebook.normal_()
    for layer in model.layers:
        for projection in (layer.ask.q_proj, layer.ask.k_proj):
            torch.nn.init.normal_(projection.weight, std=0.4)
    return model.eval().requires_grad_(False)


def small_dalle(folder: Path) -> Path:
    """Writes the model, and returns its folder."""
    transformer, reader = small_transformer(), small_reader()
    vqvae = VqVae(VqVaeConfig(widths=(8, 8, 16)))
    checker = folder / "network.safetensors"
    export_checker(CheckerNetwork((8, 8, 8, 8), (1, 1, 1)), checker)
    about = {"sampling": SAMPLING, "training": {"trained": False}}
    configs = {"tokenizer": vqvae.config, "transformer": transformer.config, "reader": reader.config}
    export(vqvae.state_dict(), transformer.state_dict(), reader.state_dict(), checker, about, folder / "model", configs)
    return folder / "model"
