"""The embedded captioner `coca-mini`: open_clip's own CoCa on the frozen image tower of `crossviz-mini`.

A model is a folder: `open_clip_config.json`, `coca.safetensors` (every weight but the image tower's),
`bpe_vocab.txt.gz` (its byte-pair merges, as open_clip's SimpleTokenizer reads them), and `crossviz.json` with each
file's sha256 and that of the tower it was trained on. Importing this module registers its image side,
`crossviz_coca_tower`, with timm.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from open_clip import CoCa
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import AttentionalPooler
from safetensors.torch import load_file
from timm.models import register_model
from torch import Tensor, nn

from crossviz.errors import ModelUnavailableError
from crossviz.models.about import check_files, one_line
from crossviz.models.about import read_about as _read_about
from crossviz.models.mini_tower import IMAGE_SIZE, MEAN, STD
from crossviz.models.shared_tower import TOWER, check_tower

__all__ = [
    "FILES",
    "KIND",
    "CocaTower",
    "build_coca",
    "load_coca_mini",
    "own_state",
    "read_about",
]

KIND = "coca-mini"
FILES = ("open_clip_config.json", "coca.safetensors", "bpe_vocab.txt.gz")
WIDTH, HEADS, QUERIES = 256, 4, 65
_TOWER_KEYS = "visual.trunk.tower."
_REMEDY = "install crossviz again, or name a folder that crossviz.training.coca_export has written"


class CocaTower(nn.Module):
    """CoCa's image side: a frozen tower's 576 patches, read by 65 learned queries (Yu et al. 2022, section 3.2).

    The first query gives the photo's embedding, the other 64 the tokens that the text decoder looks at. `tower` is the
    MiniTower of a loaded crossviz-mini, shared with it; without one, the patches themselves are the input.
    """

    default_cfg: ClassVar[dict[str, Any]] = {
        "input_size": (3, IMAGE_SIZE, IMAGE_SIZE), "pool_size": None, "mean": (MEAN,) * 3, "std": (STD,) * 3,
        "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "squash",
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.tower: nn.Module | None = None
        self.pooler = AttentionalPooler(WIDTH, WIDTH, n_head=HEADS, n_queries=QUERIES)
        self.ln_post = nn.LayerNorm(WIDTH)
        self.proj = nn.Parameter(torch.randn(WIDTH, WIDTH) * WIDTH**-0.5)
        self.num_features = WIDTH

    def patches(self, x: Tensor) -> Tensor:
        """Photos `batch 3 384 384` to the tower's patches `batch 576 256`, row by row; patches stay as they are.

        Raises:
            ModelUnavailableError: photos are given, and there is no tower.
        """
        if x.ndim == 3:
            return x
        if self.tower is None:
            raise ModelUnavailableError(
                "This coca-mini was built without its image tower: give it patches, or load it."
            )
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)  # as the tower's convolutions are there
        return self.tower.forward_dense(x)[1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Photos `batch 3 384 384` or patches `batch 576 256` to what open_clip's CoCa asks of an image side.

        Returns:
            The photo's embedding, not normalised, `batch 256`; the tokens for the decoder, `batch 64 256`.
        """
        tokens = self.ln_post(self.pooler(self.patches(x)))
        return tokens[:, 0] @ self.proj, tokens[:, 1:]


@register_model
def crossviz_coca_tower(pretrained: bool = False, **_: Any) -> CocaTower:
    """The image side without its tower: `load_coca_mini` shares that of crossviz-mini."""
    return CocaTower()


def build_coca(config: Mapping[str, Any]) -> CoCa:
    """open_clip's CoCa by the `model_cfg` of a config file, without weights and without the image tower.

    open_clip leaves the decoder's last projection as whatever was in memory; here it is drawn as open_clip's own
    `init_parameters` would.
    """
    model = CoCa(**{name: value for name, value in config.items() if name != "custom_text"})
    nn.init.normal_(model.text_decoder.text_projection, std=model.text_decoder.text_projection.shape[0] ** -0.5)
    return model


def own_state(module: CoCa) -> dict[str, Tensor]:
    """The weights that belong to coca-mini: all but the tower's."""
    return {name: value for name, value in module.state_dict().items() if not name.startswith(_TOWER_KEYS)}


def read_about(folder: Path) -> dict[str, Any]:
    """`crossviz.json` of a folder of this kind.

    Raises:
        ModelUnavailableError: it is missing, can't be read, is of another kind or format, or lacks something.
    """
    needed = {"tower": str, "tower_sha256": str, "sha256": dict, "training": dict}
    return _read_about(folder, needed, _REMEDY, KIND)


def load_coca_mini(folder: Path, device: torch.device) -> tuple[CoCa, SimpleTokenizer, dict[str, Any]]:
    """The model of a folder, with crossviz-mini's image tower shared, not copied.

    Returns:
        The module in eval mode on `device`; its tokenizer; open_clip's `preprocess_cfg` of the tower (the photo is
        squashed to 384 x 384).

    Raises:
        ModelUnavailableError: a file is missing or damaged, or the tower is not the one that it was trained on.
    """
    from crossviz.models import load_model  # the families import this module

    about = read_about(folder)
    check_files(folder, FILES, about, _REMEDY)
    check_tower(folder.name, about)
    visual = load_model(TOWER, device).module["clip"].visual
    try:
        config = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))["model_cfg"]
        with torch.random.fork_rng(devices=[]):  # open_clip draws random weights first
            module = build_coca(config)
        state = {name: value.float() for name, value in load_file(folder / FILES[1]).items()}
        module.load_state_dict(state)  # before the tower is there, so that its weights are neither asked for nor given
        tokenizer = SimpleTokenizer(str(folder / FILES[2]), context_length=config["text_cfg"]["context_length"])
        if tokenizer.vocab_size != config["text_cfg"]["vocab_size"]:
            raise ValueError(f"{tokenizer.vocab_size} tokens, {config['text_cfg']['vocab_size']} embeddings")
    except Exception as error:
        raise ModelUnavailableError(
            f"The model folder {folder.name} can't be loaded ({one_line(error)}): {_REMEDY}."
        ) from error
    module.to(device).eval()
    module.visual.trunk.tower = visual.trunk
    module.visual.preprocess_cfg = dict(visual.preprocess_cfg)
    return module, tokenizer, dict(visual.preprocess_cfg)
