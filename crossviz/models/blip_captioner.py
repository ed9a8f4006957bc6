"""BLIP's captioner (transformers' BlipForConditionalGeneration): a text decoder that looks at the photo."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from crossviz.errors import UnsupportedMethodError
from crossviz.models.base import EncodedText
from crossviz.models.blip_model import LACKS, BlipModel
from crossviz.models.clip_tokens import Tokenized
from crossviz.trace import CrossAttention, EncodedImage
from crossviz.words import Caption, Phrase

__all__ = ["BlipCaptioner"]


class BlipCaptioner(BlipModel):
    """Reads a caption from left to right, and at every position foretells the next token.

    So the logits that a token is written by, and the attention that they were made with, are those of the position
    before it.
    """

    writes = True
    unit = "log-probability"
    match_sentence = (
        "The mean log-probability of the words' tokens in the caption, given the photo and the words before them."
    )
    graph_sentence = match_sentence
    readable = staticmethod(lambda scores: scores)
    readable_unit = "log-probability per token"
    attention_notes = (
        "Cross-attention of the model's own, from every layer of its text decoder: W_Q, W_K and W_V were trained to "
        "write captions.",
        "A word does not see the words after it.",
    )

    @property
    def text_model(self) -> nn.Module:
        return self.module.text_decoder.bert

    @property
    def image_module(self) -> nn.Module:
        return self.module.vision_model

    def lacks(self) -> Mapping[str, str]:
        return LACKS

    def encode_texts(self, tokenized: Sequence[Tokenized]) -> list[EncodedText]:
        return [EncodedText(None, None)] * len(tokenized)

    def embed_texts(self, texts: list[str]) -> Tensor:
        raise UnsupportedMethodError(
            f"{self.info.name} has no embeddings of texts, since it reads a text only together with a photo. Choose a "
            "model that has, as crossviz-mini."
        )

    def capabilities(
        self, image: EncodedImage, tokenized: Tokenized, text: EncodedText
    ) -> Mapping[str, Callable[[], Any]]:
        states = image.features["states"].detach()
        return {
            **super().capabilities(image, tokenized, text),
            "written_attention": lambda: self._written_attention(tokenized, states),
        }

    def _written_attention(self, tokenized: Tokenized, states: Tensor) -> CrossAttention:
        """As `cross_attention`, each row that of the position before; the start, which nothing wrote, keeps its own."""
        read = self.cross_attention(tokenized, states)
        before = [max(position - 1, 0) for position in range(read.probs.shape[2])]
        return replace(read, scores=read.scores[:, :, before], probs=read.probs[:, :, before])

    def rows(self, caption: Caption, phrase: Phrase) -> Sequence[int]:
        return [token - 1 for token in caption.tokens_of(phrase)]

    def match_scores(self, states: Tensor, tokenized: Tokenized, phrases: Sequence[Phrase]) -> Tensor:
        ids = tokenized.ids.to(self.device).expand(len(states), -1)
        return self._mean_log_probs(self.read(ids, states), tokenized, phrases)

    def graph_scores(self, tokens: Tensor, tokenized: Tokenized, phrases: Sequence[Phrase]) -> Tensor:
        return self._mean_log_probs(tokens, tokenized, phrases)[0]

    def _mean_log_probs(self, tokens: Tensor, tokenized: Tokenized, phrases: Sequence[Phrase]) -> Tensor:
        """Token states `batch token dim` to `batch phrase`."""
        if not phrases:
            return tokens.new_zeros(len(tokens), 0)
        logits = self.module.text_decoder.cls(tokens[:, :-1])  # batch token-1 vocabulary
        written = tokenized.ids[0, 1:].to(self.device)
        own = logits[:, range(len(written)), written] - logits.logsumexp(-1)  # batch token-1
        return torch.stack([own[:, list(self.rows(tokenized.caption, phrase))].mean(1) for phrase in phrases], 1)

    def captions(self, image: EncodedImage, longest: int) -> Iterator[str]:
        """As `Model`; greedy: the likeliest token at every step, as transformers' `generate` with one beam.

        A caption is not empty: its first token is none that ends it or that is no text.
        """
        start, end = self._loaded.ends
        ids, past = [start], None
        for _ in range(min(longest, self._loaded.longest - 1)):
            with torch.no_grad():
                # The cache keeps the photo's keys and values, which are most of the work of a step.
                found = self.module.text_decoder(
                    input_ids=torch.tensor([ids[-1:]], device=self.device),
                    encoder_hidden_states=image.features["states"],
                    past_key_values=past,
                    use_cache=True,
                )
            past = found.past_key_values
            logits = found.logits[0, -1].clone()
            if len(ids) == 1:
                logits[self._loaded.marks] = -torch.inf
            ids.append(int(logits.argmax()))
            if ids[-1] == end:
                return
            yield self._loaded.decode(ids[1:])
