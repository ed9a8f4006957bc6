"""BLIP's matching model (transformers' BlipForImageTextRetrieval): do this photo and this text belong together?"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.models.base import EncodedText
from crossviz.models.blip_model import LACKS, BlipModel
from crossviz.models.clip_tokens import Tokenized
from crossviz.words import Phrase

__all__ = ["BlipMatcher"]


class BlipMatcher(BlipModel):
    """A text encoder that looks at the photo, and a head on its first token. Without the photo it embeds a text.

    The head gives two logits, "no match" and "match"; what counts here is their difference, the log-odds.
    """

    unit = "log-odds of matching"
    match_sentence = "The log-odds, by the model's matching head, that the photo and these words by themselves match."
    graph_sentence = "The log-odds, by the model's matching head, that the photo and the whole caption match."
    readable = staticmethod(torch.sigmoid)
    readable_unit = "probability of matching"
    attention_notes = (
        "Cross-attention of the model's own, from every layer of its text encoder: W_Q, W_K and W_V were trained with "
        "the head that tells whether photo and text match.",
    )

    @property
    def text_model(self) -> nn.Module:
        return self.module.text_encoder

    def lacks(self) -> Mapping[str, str]:
        return {**LACKS, "written_attention": "it writes nothing"}

    def take_apart(self) -> None:
        # What reads photos is no single module of the library's; kept while its parts are the same.
        parts = [self.module.vision_model, self.module.vision_proj]
        if not hasattr(self, "_reading") or any(a is not b for a, b in zip(self._reading, parts, strict=True)):
            self._reading = nn.ModuleList(parts)

    @property
    def image_module(self) -> nn.Module:
        return self._reading

    def embedding(self, states: Tensor) -> Tensor:
        return F.normalize(self.module.vision_proj(states[0, 0]), dim=-1)

    def encode_texts(self, tokenized: Sequence[Tokenized]) -> list[EncodedText]:
        return [EncodedText(self._embedded(each.ids.to(self.device))[0], None) for each in tokenized]

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> Tensor:
        found = [self._embedded(self._loaded.ids(text).to(self.device)) for text in texts]
        return torch.cat(found).cpu() if found else torch.zeros(0, self.module.text_proj.out_features)

    def _embedded(self, ids: Tensor) -> Tensor:
        """Texts by themselves, `batch embed`."""
        states = self.text_model(input_ids=ids, use_cache=False).last_hidden_state
        return F.normalize(self.module.text_proj(states[:, 0]), dim=-1)

    def match_scores(self, states: Tensor, tokenized: Tokenized, phrases: Sequence[Phrase]) -> Tensor:
        if not phrases:
            return states.new_zeros(len(states), 0)
        ids = [self.tokenize(phrase.text).ids.to(self.device).expand(len(states), -1) for phrase in phrases]
        return torch.stack([self._log_odds(self.read(each, states)) for each in ids], 1)

    def graph_scores(self, tokens: Tensor, tokenized: Tokenized, phrases: Sequence[Phrase]) -> Tensor:
        return self._log_odds(tokens).expand(len(phrases))

    def _log_odds(self, tokens: Tensor) -> Tensor:
        """Token states `batch token dim` to `batch`."""
        no, yes = self.module.itm_head(tokens[:, 0]).unbind(-1)
        return yes - no
