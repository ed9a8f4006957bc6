"""The model under training: open_clip's two towers with the cross-attention between them."""

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import nn

import crossviz.models.mini_tower  # noqa: F401  (registers the tower with timm)
from crossviz.attention import CrossModalAttention
from crossviz.models.mini_tower import IMAGE_SIZE, MEAN, STD

__all__ = ["ATTENTION", "MODEL_CFG", "PREPROCESS_CFG", "Tokenizer", "build_attention", "build_clip", "pad_ids"]

MODEL_CFG = {
    "embed_dim": 256,
    "vision_cfg": {
        "timm_model_name": "crossviz_mini_tower",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": IMAGE_SIZE,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 256,
        "heads": 4,
        "layers": 4,
        "embed_cls": True,
        "no_causal_mask": True,
    },
    "custom_text": True,
}
PREPROCESS_CFG = {"mean": [MEAN] * 3, "std": [STD] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
ATTENTION = {"query_dim": 256, "key_dim": 256, "num_heads": 4, "null_key": True}


def build_clip() -> nn.Module:
    """The two towers, as open_clip builds them from the exported config, with random weights."""
    cfg = {k: v for k, v in MODEL_CFG.items() if k != "custom_text"}
    return open_clip.CustomTextCLIP(**cfg)


def build_attention(null_bias: float = 3.0) -> CrossModalAttention:
    """The cross-attention from words to patches; its null bias starts high, so that absence is the default."""
    attention = CrossModalAttention(**ATTENTION)
    nn.init.constant_(attention.null_bias, null_bias)
    return attention


class Tokenizer:
    """CLIP's byte-pair tokens with the word (character span) that each belongs to."""

    def __init__(self) -> None:
        self._bpe = SimpleTokenizer()
        self._cache: dict[str, list[int]] = {}
        self.start, self.end = self._bpe.sot_token_id, self._bpe.eot_token_id

    def __call__(self, text: str, limit: int = 76) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and spans of `text`, without start and end marks, cut so that both and one pad still fit."""
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for match in self._bpe.pat.finditer(text.lower()):
            word = match.group()
            if word not in self._cache:
                coded = "".join(self._bpe.byte_encoder[b] for b in word.encode())
                self._cache[word] = [self._bpe.encoder[t] for t in self._bpe.bpe(coded).split(" ")]
            ids += self._cache[word]
            spans += [match.span()] * len(self._cache[word])
        return ids[: limit - 2], spans[: limit - 2]

    def word_of_token(self, token: int) -> str:
        """What a token stands for, as text."""
        return self._bpe.decode([token]).strip()


def pad_ids(rows: list[list[int]], tokenizer: Tokenizer) -> torch.Tensor:
    """Token lists to a padded batch with start and end marks and at least one pad."""
    out = torch.zeros(len(rows), max(map(len, rows), default=0) + 3, dtype=torch.long)
    for i, row in enumerate(rows):
        out[i, : len(row) + 2] = torch.tensor([tokenizer.start, *row, tokenizer.end])
    return out
