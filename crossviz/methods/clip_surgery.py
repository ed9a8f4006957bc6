"""CLIP Surgery: a second path of value-value attention through the last blocks, less what all texts have in common.

Li, Wang, Duan, Li, "CLIP Surgery for Better Explainability with Enhancement in Open-Vocabulary Tasks" (2023):

- Architecture surgery. Beside the tower's own path, which stays as it is, a new path begins with the tokens that enter
  the sixth block from the end. Each block adds softmax(V V^T / sqrt(d_k)) V to it, through its output projection; its
  queries, keys and values come from the tower's own path, and the MLPs have no part in it. Then come the last norm
  and projection.
- Feature surgery. With unit vectors F_i of the patches, T_t of n texts and F of the photo, w_t is
  softmax over t of 2 F . T_t, divided by its mean, and the value of patch i for text t is
  w_t F_i . T_t - (1 / n) sum over s of w_s F_i . T_s.

Deviations: the published demo compares with a fixed list of classes, or for a single text with the empty word alone,
put into the prompts as every word is. Here the n texts are the caption's words, a list of everyday things and the
empty word, so that a caption of few words has something to be compared with; `background=()` gives the published
forms. F is the tower's own
embedding, which is that of the class token where there is one. Patches are made unit vectors one by one (the demo
divides each channel by its length over all tokens), prompts are single and not averaged over many templates, and
nothing is rescaled to 0..1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.errors import MethodError
from crossviz.methods.base import (
    Layers,
    MethodInfo,
    MethodResult,
    check_prompt,
    image_record,
    latest,
    select_layers,
    tower_labels,
)
from crossviz.methods.dense import DENSE_REQUIRES, dense_maps, dense_tower, last_blocks, prompts_of, shared_notes
from crossviz.results import AttentionRecord, RelevanceMap
from crossviz.trace import Trace

__all__ = ["BACKGROUND", "ClipSurgery", "above_mean"]

DEPTH = 6
"""How many of the last blocks the new path goes through."""
SHARPNESS = 2.0
"""What similarities are multiplied by before the softmax that weights the texts."""
BACKGROUND: tuple[str, ...] = (
    "person", "animal", "dog", "cat", "bird", "horse", "car", "bus", "bicycle", "boat", "train", "street", "building",
    "wall", "floor", "window", "door", "table", "chair", "bed", "bottle", "plate", "food", "book", "screen", "bag",
    "clothes", "tree", "grass", "flower", "sky", "water", "mountain", "sand", "snow", "light",
)  # fmt: skip
"""Everyday things that a word is compared with, beside the caption's other words."""


class ClipSurgery:
    """Similarity of the value-value path's patches with a word, above that with the mean text.

    Args:
        prompt: the text that stands for a word; "{}" is where the word goes.
        background: words that are compared with beside the caption's; with an empty one the caption's words are
            compared with one another, and a single one with the empty word: the prompt alone.

    Raises:
        MethodError: there is no single "{}" in the prompt, or a word of the background is not a text.
    """

    info = MethodInfo(
        name="clip_surgery",
        title="CLIP Surgery",
        sentence="How much closer each patch comes to the word than to texts in general, by attention of like to like.",
        paper="Li et al., CLIP Surgery for Better Explainability with Enhancement in Open-Vocabulary Tasks, 2023",
        unit="similarity above the mean text",
        signed=True,
        text_dependent=True,
        requires=DENSE_REQUIRES,
        families="vision transformers",
    )
    needs_grad = False

    def __init__(self, prompt: str = "a photo of a {}", background: Sequence[str] = BACKGROUND) -> None:
        self.prompt = check_prompt(prompt)
        if isinstance(background, str) or any(not isinstance(word, str) for word in background):
            raise MethodError(f"`background` is a list of words, but is {background!r:.60}.")
        self.background = tuple(dict.fromkeys(background))

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the layers are the last six blocks, through which the new path goes."""
        tower = dense_tower(trace)
        labels, count = tower_labels(tower), len(tower.blocks)
        first = max(0, count - DEPTH)
        places = select_layers(layers, labels, range(first, count))
        read, chosen = [labels[i] for i in places], [i - first for i in places]
        features, record = latest(trace.image, "clip_surgery", tuple(read), lambda: _new_path(trace, chosen, read))
        prompts = prompts_of(trace.caption, self.prompt)
        texts, redundant = self._texts(trace, prompts.texts)
        embedding = trace.image.embedding.detach().float().cpu()
        values, weights = above_mean(features, texts, embedding, redundant)
        told = [None] * len(trace.caption.words)
        for word, place in zip(prompts.words, prompts.place, strict=True):
            told[word] = {"prompt": prompts.texts[place], "weight": float(weights[place])}
        against = f"{len(texts)} texts" if redundant is None else f'the empty word ("{self._empty}")'
        return MethodResult(
            record,
            RelevanceMap(
                values=dense_maps(values[:, : len(prompts.texts)], prompts, trace),
                unit=self.info.unit,
                signed=self.info.signed,
                method=self.info.name,
                params={
                    "layers": read,
                    "prompt": self.prompt,
                    "background": list(self.background),
                    "texts": len(texts),
                    "words": told,
                },
                direction="query: text, key: image",
                text_dependent=self.info.text_dependent,
                token_counts=trace.caption.token_counts,
                notes=(
                    f"The patches' features come from a second path through {', '.join(read)}: attention of values to "
                    "values, without MLPs.",
                    f"What they have in common with {against} is taken off, so that 0 is no closer than to a text in "
                    "general, and the maps of a caption's words depend a little on one another.",
                    *shared_notes(tower, self.prompt)[1:],
                ),
            ),
        )

    @property
    def _empty(self) -> str:
        """The empty word in the prompt: what a text says whatever its word is."""
        return " ".join(self.prompt.format("").split())

    def _texts(self, trace: Trace, words: list[str]) -> tuple[Tensor, Tensor | None]:
        """The texts that are compared, `text embed`, the words first; and the one that is taken off, where it is."""
        found = trace.embed_texts([*words, self._empty]).detach().float()
        own, empty = found[:-1], found[-1]
        if not self.background:
            return (own, empty) if len(own) == 1 else (own, None)
        filled = [self.prompt.format(word) for word in self.background]
        others = self._background(trace, filled, empty)
        fresh = [i for i, text in enumerate(filled) if text not in words]
        return torch.cat([own, others[fresh], empty[None]]), None

    def _background(self, trace: Trace, filled: list[str], empty: Tensor) -> Tensor:
        """The background's embeddings, kept with the photo; computed again if the empty word is not what it was."""
        slot: dict[tuple[str, ...], tuple[Tensor, Tensor]] = trace.image.keep("clip_surgery background", dict)
        before = slot.get(tuple(filled))
        if before is not None and before[0].shape == empty.shape and torch.allclose(before[0], empty, atol=1e-5):
            return before[1]
        others = trace.embed_texts(filled).detach().float()
        slot.clear()
        slot[tuple(filled)] = (empty, others)
        return others


def above_mean(
    features: Tensor, texts: Tensor, embedding: Tensor, redundant: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Feature surgery: how much more similar patches are to each text than to the mean text.

    Args:
        features: unit vectors of the patches `patch embed`.
        texts: unit vectors `text embed`.
        embedding: unit vector `embed` of the whole photo, which weights the texts.
        redundant: unit vector `embed` to take off each text in place of the weighted mean.

    Returns:
        Values `patch text` and the weights `text`, whose mean is 1.
    """
    if redundant is not None:
        return features @ (texts - redundant).T, torch.ones(len(texts))
    weights = torch.softmax(SHARPNESS * (texts @ embedding), dim=0) * len(texts)  # text; over its mean, 1 / text
    weighted = (features @ texts.T) * weights  # patch text
    return weighted - weighted.mean(-1, keepdim=True), weights


@torch.no_grad()
def _new_path(trace: Trace, chosen: list[int], read: list[str]) -> tuple[Tensor, AttentionRecord | None]:
    """Unit features `patch embed` after the new path, on the CPU, and the attention of the tower's own path.

    Args:
        trace: the photo.
        chosen: which of the last blocks the new path goes through; it begins with the tokens that enter the first.
        read: their labels.
    """
    tower = dense_tower(trace)
    blocks = tower.blocks[-DEPTH:]
    passed = last_blocks(trace, len(blocks))
    x = passed.inputs if chosen[0] == 0 else passed.layers[chosen[0] - 1].output
    for i in chosen:
        values = passed.layers[i].values
        probs = torch.softmax(values @ values.transpose(-2, -1) * blocks[i].scale, dim=-1)
        x = x + blocks[i].merge(probs @ values)
    features = tower.to_text(x[0, tower.grid.num_prefix_tokens :])
    return F.normalize(features.float().cpu(), dim=-1), image_record(passed, read, tower)
