"""Small BLIPs with random weights, as folders that transformers loads: the matching model and the captioner."""

from pathlib import Path
from typing import Any

import torch

from crossviz import compat

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
WORDS = ["dog", "grass", "skate", "##board", "red", "blue", "the", "on", "and", "'", ",", ".", "?", "-"]
VOCAB = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]
START, END = len(VOCAB), VOCAB.index("[SEP]")
"""BLIP's [DEC] is no token of its tokenizer; the two ids behind that one's last are [DEC] and [ENC]."""
SIDE, PATCH = 80, 16
"""A grid of 5 x 5 patches; BLIP's are square."""
TEXT = {
    "vocab_size": len(VOCAB) + 2, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 24, "bos_token_id": START, "eos_token_id": 2,
    "sep_token_id": END, "pad_token_id": 0,
}  # fmt: skip
VISION = {
    "hidden_size": 40, "intermediate_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4, "image_size": SIDE,
    "patch_size": PATCH,
}  # fmt: skip

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the colours that BLIP's image processor takes off and divides by."""


def build(captioner: bool, side: int = SIDE, **text: Any) -> Any:
    """One with random weights, strong enough for attention that is far from even."""
    compat.ensure_torchvision()
    import transformers

    config = transformers.BlipConfig(
        text_config={**TEXT, **text}, vision_config={**VISION, "image_size": side}, image_text_hidden_size=20
    )
    kind = transformers.BlipForConditionalGeneration if captioner else transformers.BlipForImageTextRetrieval
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = kind(config)
        for name, parameter in model.named_parameters():
            wide = any(part in name for part in (".query.weight", ".key.weight", ".qkv.weight"))
            parameter.data += torch.randn(parameter.shape) * (0.5 if wide else 0.15)
    return model.eval()


def blip_folder(folder: Path, captioner: bool, model: Any = None) -> Path:
    """That model (or another), with a tokenizer of WordPiece and an image processor, as `save_pretrained` leaves it."""
    model = build(captioner) if model is None else model
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCAB), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    BlipImageProcessorPil(
        size=dict.fromkeys(("height", "width"), model.config.vision_config.image_size)
    ).save_pretrained(folder)
    return folder


def plant(captioner: bool, caption: str, colours: dict[str, tuple[int, int, int]]) -> Any:
    """One of a single text layer in which each of some words looks at patches of its colour, on a black photo.

    The image tower mixes no patches, and the queries and keys are solved for: a word's query and its colour's key have
    one large entry in common.
    """
    model = build(captioner, num_hidden_layers=1)
    text = model.text_decoder.bert if captioner else model.text_encoder
    for block in model.vision_model.encoder.layers:
        block.self_attn.projection.weight.data.zero_()
        block.self_attn.projection.bias.data.zero_()
    model.vision_model.embeddings.position_embedding.data.zero_()
    words = caption.split()
    ids = torch.tensor([[START if captioner else VOCAB.index("[CLS]"), *(VOCAB.index(word) for word in words), END]])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    layer, seen = text.encoder.layer[0], []
    handle = layer.crossattention.register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    with torch.no_grad():
        keys = []
        for colour in ((0, 0, 0), *colours.values()):
            pixels = (torch.tensor(colour).view(1, 3, 1, 1) / 255 - mean) / std
            states = model.vision_model(pixels.expand(1, 3, SIDE, SIDE)).last_hidden_state
            keys.append(states[0, 1])
        text(input_ids=ids, encoder_hidden_states=states, is_decoder=captioner, use_cache=False)
        handle.remove()
        # Columns that give 1 for one state and 0 for the others.
        of_word, of_key = torch.linalg.pinv(seen[0]), torch.linalg.pinv(torch.stack([*keys, states[0, 0]]))
        site = layer.crossattention.self
        for part in (site.query, site.key):
            part.weight.zero_()
            part.bias.zero_()
        size = site.attention_head_size
        for head in range(site.num_attention_heads):
            for place, word in enumerate(colours):
                site.query.weight[head * size + place] = 60 * of_word[:, 1 + words.index(word)]
                site.key.weight[head * size + place] = of_key[:, 1 + place]
    return model
