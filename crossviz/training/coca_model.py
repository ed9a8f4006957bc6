"""coca-mini under training: its sizes, and a start from what crossviz-mini knows already."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from open_clip import CoCa
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.models.base import Model
from crossviz.models.coca_mini import HEADS, QUERIES, WIDTH, build_coca
from crossviz.models.mini_text import text_states
from crossviz.models.mini_tower import IMAGE_SIZE
from crossviz.training.coca_words import CONTEXT, Words
from crossviz.training.model import Tokenizer, pad_ids

__all__ = ["model_cfg", "start", "trainable", "word_states"]

_QUIET = 0.25  # what is left of a residual branch at the start


def model_cfg(words: int) -> dict[str, Any]:
    """open_clip's configuration, for a vocabulary of so many words."""
    return copy.deepcopy({
        "embed_dim": WIDTH,
        "vision_cfg": {
            "timm_model_name": "crossviz_coca_tower",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "none",
            "image_size": IMAGE_SIZE,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": words,
            "width": WIDTH,
            "heads": HEADS,
            "layers": 2,
            "embed_cls": True,
            "output_tokens": True,
        },
        "multimodal_cfg": {
            "context_length": CONTEXT,
            "vocab_size": words,
            "width": WIDTH,
            "heads": HEADS,
            "layers": 3,
            "n_queries": QUERIES,
            "attn_pooler_heads": HEADS,
        },
        "custom_text": True,
    })  # fmt: skip


@torch.no_grad()
def word_states(mini: Model, texts: Sequence[str], batch: int = 256) -> Tensor:
    """crossviz-mini's states of texts by themselves, the mean over their tokens: `text 256`."""
    tokenizer, tower, out = Tokenizer(), mini.module["clip"].text, []
    for i in range(0, len(texts), batch):
        rows = [tokenizer(text)[0] or [tokenizer.end] for text in texts[i : i + batch]]
        states = text_states(tower, pad_ids(rows, tokenizer)).tokens
        out += [state[1 : 1 + len(row)].mean(0) for state, row in zip(states, rows, strict=True)]
    return torch.stack(out)


def trainable(config: dict[str, Any]) -> CoCa:
    """A CoCa with random weights, all of them trained but the norm of the pooler's keys.

    The projections behind that norm can do what its weights could, and without them no patch needs a gradient.
    """
    module = build_coca(config)
    module.visual.trunk.pooler.ln_k.requires_grad_(False)
    return module


@torch.no_grad()
def start(mini: Model, words: Words, phrases: Sequence[str], patches: Tensor) -> CoCa:
    """A CoCa that begins with crossviz-mini's word states and cross-attention, fitted to its own norms.

    Every token's embedding is crossviz-mini's state of the token's text. The pooler's queries are the centres of 65
    clusters of phrases' states; its values pass the patches on, so that a token is the mean of what its query looks
    at. Both attentions match as crossviz-mini's does, by least squares; everything else is random and quiet.

    Args:
        mini: crossviz-mini, loaded.
        words: the vocabulary.
        phrases: phrases of training captions.
        patches: patches of some training photos, `n 256`.
    """
    module, attention = trainable(model_cfg(words.size)), mini.module["attention"]
    embedding = _standard(word_states(mini, [words.word_of_token(i) or "." for i in range(words.size - 2)]))
    text, decoder, tower = module.text, module.text_decoder, module.visual.trunk
    text.token_embedding.weight.normal_(std=0.5)
    text.token_embedding.weight[: len(embedding)] = embedding
    nn.init.normal_(text.positional_embedding, std=0.1)
    nn.init.normal_(text.cls_emb, std=0.5)
    decoder.text_projection[:, : len(embedding)] = embedding.T * (_QUIET * WIDTH**-0.5)
    for block in (*text.transformer.resblocks, *decoder.resblocks, *decoder.cross_attn):
        block.attn.out_proj.weight.mul_(_QUIET)
        block.mlp.c_proj.weight.mul_(_QUIET)
    told = word_states(mini, phrases)
    centres = _clusters(told, QUERIES)
    patches = patches.float()
    asked, seen = attention.q_proj(told), attention.k_proj(patches)
    tower.pooler.query.copy_(centres)
    _fit(tower.pooler.attn, slice(0, WIDTH), F.layer_norm(told, (WIDTH,)), asked)
    _fit(tower.pooler.attn, slice(WIDTH, 2 * WIDTH), F.layer_norm(patches, (WIDTH,)), seen)
    _fit(tower.pooler.attn, slice(2 * WIDTH, 3 * WIDTH), patches, patches)
    nn.init.eye_(tower.pooler.attn.out_proj.weight)
    for block in decoder.cross_attn:
        _fit(block.attn, slice(0, WIDTH), _standard(told), asked)
        _fit(block.attn, slice(WIDTH, 2 * WIDTH), F.layer_norm(patches, (WIDTH,)), seen)
    return module


def _fit(attention: nn.MultiheadAttention, rows: slice, x: Tensor, y: Tensor) -> None:
    """Set rows of an attention's input projection to the ridge regression from `n in` to `n out`."""
    x = F.pad(x.double(), (0, 1), value=1.0)
    gram = x.T @ x / len(x) + 1e-3 * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, x.T @ y.double() / len(x)).T
    attention.in_proj_weight[rows] = weight[:, :-1].float()
    attention.in_proj_bias[rows] = weight[:, -1].float()


def _standard(x: Tensor) -> Tensor:
    """Rows around 0, each with a spread of 1."""
    x = x - x.mean(0)
    return x / x.std(1, keepdim=True).clamp(min=1e-6)


def _clusters(x: Tensor, count: int, rounds: int = 15) -> Tensor:
    """Centres of a k-means by cosine, `count dim`; an empty cluster keeps its centre."""
    generator = torch.Generator().manual_seed(0)
    unit = F.normalize(x - x.mean(0), dim=-1)
    centres = unit[torch.randperm(len(x), generator=generator)[:count]]
    for _ in range(rounds):
        nearest = (unit @ centres.T).argmax(1)
        for i in nearest.unique().tolist():
            centres[i] = F.normalize(unit[nearest == i].mean(0), dim=0)
    nearest = (unit @ centres.T).argmax(1)
    return torch.stack([x[nearest == i].mean(0) if (nearest == i).any() else x.mean(0) for i in range(count)])
