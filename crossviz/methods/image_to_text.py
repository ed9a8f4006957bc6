"""Image to text: which word each patch looks at, in models where text and image are one sequence.

Kim et al., "ViLT" (2021): every token attends to every other, so that patches query text tokens too. Each patch gives
a probability of 1 in all to the caption's tokens and to what stands beside them; the value of a word at a patch is what
this patch gives to the word's tokens. As everywhere in crossviz that is the mean over the tokens, not their sum: a word
cut into many pieces does not look strong for that alone.

A patch's values sum to at most 1 over the tokens, but a word's do not over the patches: the map is no probability
distribution over the photo, and is not shown as multiples of chance.
"""

import torch

from crossviz.methods.base import Layers, MethodInfo, MethodResult, select_layers, word_means
from crossviz.results import AttentionRecord, RelevanceMap
from crossviz.trace import Trace

__all__ = ["ImageToText"]


class ImageToText:
    """The attention of image patches over the text's tokens, read as it is, word by word."""

    info = MethodInfo(
        name="image_to_text",
        title="Image to text",
        sentence="How much of its attention each patch gives to the word: the patches look, the word is looked at.",
        paper="Kim et al., ViLT, 2021",
        unit="share of the patch's attention",
        signed=False,
        text_dependent=True,
        requires=("image_to_text",),
        families="models that read text and image as one sequence",
    )
    needs_grad = False

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the record holds every patch's row, the map every word's column."""
        found, grid, caption = trace.image_to_text(), trace.image.grid, trace.caption
        chosen = select_layers(layers, found.layers)
        labels = tuple(found.layers[i] for i in chosen)
        scores, probs = found.scores[chosen], found.probs[chosen]  # layer head patch key; the tokens come first
        given = probs[:, :, : grid.num_patches, : len(caption.tokens)]
        columns = torch.einsum("wt,lhpt->lhwp", word_means(caption, probs), given)  # layer head word patch
        per_head = columns.unflatten(-1, (grid.height, grid.width))
        return MethodResult(
            AttentionRecord(scores, probs, labels, found.query_kind, found.key_kind, found.has_null),
            RelevanceMap(
                values=per_head.mean((0, 1)),
                unit=self.info.unit,
                signed=self.info.signed,
                method=self.info.name,
                params={"layers": list(labels), **found.params},
                direction="query: image, key: text",
                text_dependent=self.info.text_dependent,
                token_counts=caption.token_counts,
                reduce="mean",
                per_head=per_head,
                layers=labels,
                notes=(
                    *found.notes,
                    "Each patch shares out its attention: a word's values do not sum to 1 over the photo. A word of "
                    "several tokens has the mean over them.",
                ),
            ),
            found.parts,
        )
