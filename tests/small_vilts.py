"""Small ViLTs with random weights, built here: folders that transformers and crossviz load as they load real ones."""

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor

from crossviz.compat import ensure_torchvision
from crossviz.photo import Photo

WORDS = ("a", "the", "of", "on", "dog", "cat", "red", "ball", "tree", "house", "##s", "狗", "é")
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = [prefix + letter for letter in string.ascii_lowercase + string.digits for prefix in ("", "##")]
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
    "layer_norm_eps": 1e-6,
    "pad_token_id": 0,
}


def vocabulary() -> list[str]:
    """The pieces in the order of their ids."""
    return [*MARKS, *string.punctuation, *LETTERS, *(word for word in WORDS if word not in LETTERS)]


def pieces() -> Tokenizer:
    """A BERT tokenizer of `vocabulary`."""
    found = Tokenizer(WordPiece({name: i for i, name in enumerate(vocabulary())}, unk_token="[UNK]"))
    found.normalizer = BertNormalizer(lowercase=True)
    found.pre_tokenizer = BertPreTokenizer()
    found.add_special_tokens(list(MARKS))
    return found


def save_tokenizer(folder: Path) -> None:
    """`pieces`, as transformers saves it."""
    pieces().save(str(folder / "tokenizer.json"))
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    about = {"tokenizer_class": "BertTokenizerFast", "model_max_length": 16, **dict(zip(names, MARKS, strict=True))}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


def config(**changes: Any) -> Any:
    """A ViltConfig of a few numbers."""
    from transformers import ViltConfig

    return ViltConfig(vocab_size=len(vocabulary()), **{**SHAPE, **changes})


def vilt_folder(folder: Path, head: str = "ViltForMaskedLM", **changes: Any) -> Path:
    """A model of transformers' by its class, with random weights large enough to tell patches and words apart."""
    ensure_torchvision()
    import transformers
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = getattr(transformers, head)(config(**changes))
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and ".query." not in name and ".key." not in name:
                parameter.data.normal_(std=0.2)
            else:
                parameter.data += torch.randn_like(parameter) * 0.2
    model.save_pretrained(folder)
    ViltImageProcessorPil().save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def bright_patch_folder(folder: Path) -> Path:
    """A model whose first layer's tokens all look for bright patches: keys grow with a patch's mean colour."""
    vilt_folder(folder)
    weights = load_file(folder / "model.safetensors")
    embeddings, first = "vilt.embeddings.", "vilt.encoder.layer.0."
    side = weights[f"{embeddings}patch_embeddings.projection.weight"]
    side.zero_()
    side[0] = 3.0 / side[0].numel()
    for name in ("position_embeddings", "token_type_embeddings.weight"):
        weights[embeddings + name].zero_()
    query, key = (f"{first}attention.attention.{part}." for part in ("query", "key"))
    for name in (f"{query}weight", f"{key}weight", f"{key}bias"):
        weights[name].zero_()
    weights[f"{query}bias"].fill_(1.0)
    weights[f"{key}weight"][:, 0] = 1.0
    weights[f"{first}layernorm_before.weight"].fill_(1.0)
    weights[f"{first}layernorm_before.bias"].zero_()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


class OwnRun(NamedTuple):
    """One pass by transformers' own code."""

    out: Any
    places: list[Tensor]  # of each photo, the sequence's patches as row, column, padding left out
    where: list[Tensor]  # of each photo, their places among the patches of the sequence
    count: int
    """Text tokens."""

    def order(self, photo: int) -> list[int]:
        """The sequence's places in crossviz' order: text tokens, image token, patches row by row."""
        places = self.places[photo]
        rows = (places[:, 0] * (int(places[:, 1].max()) + 1) + places[:, 1]).argsort()
        return [*range(self.count + 1), *(self.count + 1 + self.where[photo][rows]).tolist()]


class OwnVilt:
    """A folder's model by transformers alone: its own class, processor and tokenizer, its random order of patches."""

    def __init__(self, folder: Path, head: str) -> None:
        ensure_torchvision()
        import transformers
        from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

        self.model = getattr(transformers, head).from_pretrained(folder, attn_implementation="eager").eval()
        self.processor = ViltImageProcessorPil.from_pretrained(folder)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def run(self, photos: Sequence[Photo], text: str | Tensor, *, grad: bool = False) -> OwnRun:
        """Photos in one padded batch, each with the same text (or token ids `1 token`)."""
        given = self.processor([photo.image() for photo in photos], return_tensors="pt")
        ids = text if isinstance(text, Tensor) else self.tokenizer(text, return_tensors="pt")["input_ids"]
        embeddings, seen = self.model.vilt.embeddings, []

        def watched(*args: Any, **kwargs: Any) -> Any:
            seen.append(type(embeddings).visual_embed(embeddings, *args, **kwargs))
            return seen[-1]

        embeddings.visual_embed = watched
        try:
            with torch.set_grad_enabled(grad):
                out = self.model(input_ids=ids.expand(len(photos), -1), **given, output_attentions=True)
        finally:
            del embeddings.visual_embed
        _, mask, (places, _) = seen[0]
        where = [row[1:].nonzero()[:, 0] for row in mask]
        return OwnRun(out, [part[valid] for part, valid in zip(places, where, strict=True)], where, ids.shape[1])

    def attentions(self, photos: Sequence[Photo], text: str) -> list[Tensor]:
        """Of each photo `layer head query key` in crossviz' order, padding left out."""
        found = self.run(photos, text)
        stacked = torch.stack(found.out.attentions, 1)  # photo layer head query key
        orders = [found.order(i) for i in range(len(photos))]
        return [part[:, :, order][..., order] for part, order in zip(stacked, orders, strict=True)]


def mini_vilt_folder(folder: Path, *, trained: bool = False) -> Path:
    """A folder of vilt-mini's kind with random weights, as training writes it; `trained` is what it claims."""
    ensure_torchvision()
    from crossviz.training.vilt_export import export
    from crossviz.training.vilt_model import ViltMini
    from crossviz.training.vilt_model import config as shape_of

    shape = shape_of(len(vocabulary()), num_hidden_layers=2, intermediate_size=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = ViltMini(shape)
        for parameter in model.parameters():
            parameter.data += torch.randn_like(parameter) * 0.05
    export(model.state_dict(), shape, pieces(), {"trained": trained}, folder)
    return folder
