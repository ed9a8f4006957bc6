"""vilt-mini under training: transformers' ViLT on crossviz-mini's patches, with both heads, and what it starts from."""

from typing import NamedTuple

import torch
from tokenizers import Tokenizer as Pieces
from torch import Tensor, nn
from transformers import ViltConfig, ViltModel
from transformers.models.vilt.modeling_vilt import ViltMLMHead

from crossviz.attention import CrossModalAttention
from crossviz.models.mini_text import text_states
from crossviz.training.model import Tokenizer, pad_ids
from crossviz.training.vilt_words import LONGEST, PAD, SPECIAL

__all__ = ["GRID", "Joint", "ViltMini", "config", "piece_states", "read", "warm_start"]

GRID = 12
"""Patches of a photo's side: 2 x 2 of crossviz-mini's 24 x 24 in one."""
WIDTH = 256


class Joint(NamedTuple):
    """What a pass through photos and texts gives."""

    text: Tensor
    """Token states after the last layer norm: `row token 256`."""
    match: Tensor
    """Log-odds that photo and text belong together: `row`."""
    attention: Tensor
    """Mean over layers and heads of the attention of every text token to every patch: `row token 144`."""


def config(vocabulary: int, **changes: int) -> ViltConfig:
    """The shape: 4 layers of width 256, 4 heads, 40 text tokens, 144 patches; `changes` make it smaller in tests."""
    shape = {
        "vocab_size": vocabulary,
        "max_position_embeddings": LONGEST,
        "hidden_size": WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 4 * WIDTH,
        "image_size": 2 * GRID,
        "patch_size": 2,
        "num_channels": WIDTH,
        "layer_norm_eps": 1e-6,
        "pad_token_id": PAD,
    }
    return ViltConfig(**shape | changes, architectures=["ViltForMaskedLM", "ViltForImageAndTextRetrieval"])


class ViltMini(nn.Module):
    """ViLT with the masked-word head and the matching head; parameters are named as in transformers' own classes."""

    def __init__(self, shape: ViltConfig) -> None:
        super().__init__()
        self.vilt = ViltModel(shape)
        self.mlm_score = ViltMLMHead(shape)
        self.rank_output = nn.Linear(shape.hidden_size, 1)
        for module in (self.mlm_score, self.rank_output):
            for part in module.modules():
                if isinstance(part, nn.Linear):
                    nn.init.normal_(part.weight, std=shape.initializer_range)
                    nn.init.zeros_(part.bias)
        self.mlm_score.decoder.weight = self.vilt.embeddings.text_embeddings.word_embeddings.weight


def read(model: ViltMini, ids: Tensor, patches: Tensor) -> Joint:
    """Photos and texts through the model, patches row by row (transformers draws their order at random).

    Args:
        ids: token ids `row token`, padded.
        patches: crossviz-mini's patches `row 24 24 256`.
    """
    vilt, keep = model.vilt, ids != PAD
    parts = vilt.embeddings
    text = parts.text_embeddings(ids) + parts.token_type_embeddings.weight[0]
    image = parts.patch_embeddings.projection(patches.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
    image = torch.cat([parts.cls_token.expand(len(image), -1, -1), image], 1) + parts.position_embeddings
    x = torch.cat([text, image + parts.token_type_embeddings.weight[1]], 1)
    hidden = torch.zeros(x.shape[:2], dtype=x.dtype)
    hidden[:, : ids.shape[1]].masked_fill_(~keep, -1e4)
    maps = []
    for layer in vilt.encoder.layer:
        x, probs = layer(x, hidden[:, None, None], output_attentions=True)
        maps.append(probs[:, :, : ids.shape[1], ids.shape[1] + 1 :].float().mean(1))
    x = vilt.layernorm(x)
    match = model.rank_output(vilt.pooler(x))[:, 0]
    return Joint(x[:, : ids.shape[1]], match.float(), torch.stack(maps).mean(0))


@torch.no_grad()
def piece_states(pieces: Pieces, tower: nn.Module) -> Tensor:
    """crossviz-mini's text state of every piece by itself, `piece 256`; marks are random with the same spread."""
    tokenizer, names = Tokenizer(), [pieces.id_to_token(i) for i in range(pieces.get_vocab_size())]
    coded = [tokenizer(name.removeprefix("##"))[0][:20] or tokenizer(".")[0] for name in names]
    out = torch.zeros(len(names), WIDTH)
    for start in range(0, len(names), 256):
        ids = pad_ids(coded[start : start + 256], tokenizer)
        states = text_states(tower, ids).tokens
        for i, row in enumerate(coded[start : start + 256]):
            out[start + i] = states[i, 1 : 1 + len(row)].mean(0)
    out[: len(SPECIAL)] = torch.randn(len(SPECIAL), WIDTH) * out.std()
    return out


@torch.no_grad()
def warm_start(
    model: ViltMini, states: Tensor, attention: CrossModalAttention, spread: float, word_scale: float
) -> None:
    """Begin where crossviz-mini is: words by their text states, patches averaged, its queries and keys in each layer.

    A layer norm before each attention takes texts and patches to a spread of 1, which their states nearly have: words
    therefore meet patches at once as they do in crossviz-mini, without the context of the other words.

    Args:
        states: of every piece, `piece 256`.
        attention: crossviz-mini's.
        spread: standard deviation of an averaged patch over its values.
        word_scale: standard deviation of the word embedding; its own layer norm sets it to 1.
    """
    parts = model.vilt.embeddings
    states = states - states.mean(-1, keepdim=True)
    parts.text_embeddings.word_embeddings.weight.copy_(states * (word_scale / states.std()))
    for table in (parts.text_embeddings.position_embeddings, parts.text_embeddings.token_type_embeddings):
        table.weight.mul_(0.1 * word_scale / 0.02)
    eye = torch.eye(WIDTH)[:, :, None, None]
    parts.patch_embeddings.projection.weight.copy_(eye.expand(-1, -1, 2, 2) / (4 * spread))
    parts.patch_embeddings.projection.bias.zero_()
    nn.init.normal_(parts.position_embeddings, std=0.05)
    nn.init.normal_(parts.cls_token, std=1.0)
    for layer in model.vilt.encoder.layer:
        own = layer.attention.attention
        for part, given, scale in ((own.query, attention.q_proj, states.std()), (own.key, attention.k_proj, spread)):
            part.weight.copy_(given.weight * scale)
            part.bias.copy_(given.bias)
