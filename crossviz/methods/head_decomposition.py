"""Head decomposition: which head of which layer, looking at which patch, makes up how much of the similarity.

Gandelsman, Efros, Steinhardt, "Interpreting CLIP's Image Representation via Text-Based Decomposition" (ICLR 2024),
eqs. 3 to 6: the image embedding is P(LN(sum over layers of attention and MLP outputs)), attention outputs are sums
over heads and tokens, and the LayerNorm, with its mean and deviation held at what they are for this photo, is linear.
The inner product of every summand with a text's embedding, divided by the image embedding's length, is its share of
the cosine similarity; patches are kept apart, every other summand is a named term. Beyond the paper: towers that
average their patches, and the error of the sum as a figure on the result.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from crossviz.errors import CaptureError
from crossviz.methods.base import Layers, MethodInfo, MethodResult, check_prompt, select_layers
from crossviz.results import AttentionRecord, RelevanceMap
from crossviz.trace import ResidualLayer, ResidualStream, Trace

__all__ = ["HeadDecomposition", "decompose"]

MAX_ERROR = 1e-4
"""Conservation error above which the decomposition is refused: what is missing from the sum, relative to the similarity
or, where that is smaller, to `SMALLEST`."""
SMALLEST = 0.01
"""The similarity below which the error is not measured against it: a cosine of 0 has no relative error."""


class HeadDecomposition:
    """Exact shares of the similarity, for every word as a text by itself.

    Args:
        prompt: the text that stands for a word; "{}" is where the word goes.

    Raises:
        MethodError: there is no single "{}" in the prompt.
    """

    info = MethodInfo(
        name="head_decomposition",
        title="Head decomposition",
        sentence="How much each patch, through each head of each layer, adds to the similarity of photo and word.",
        paper="Gandelsman et al., Interpreting CLIP's Image Representation via Text-Based Decomposition, 2024",
        unit="similarity share",
        signed=True,
        text_dependent=True,
        requires=("residual_stream",),
        families="vision transformers with a class token or a mean",
    )
    needs_grad = False

    def __init__(self, prompt: str = "a photo of a {}") -> None:
        self.prompt = check_prompt(prompt)

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the record holds the image tower's own attention row, one query per layer."""
        stream = trace.residual_stream()
        chosen = select_layers(layers, stream.labels)
        labels = tuple(stream.labels[i] for i in chosen)
        words = [word for word in trace.caption.words if word.tokens]
        prompts = [self.prompt.format(word.text) for word in words]
        unique = list(dict.fromkeys(prompts))
        texts = trace.embed_texts(unique).detach()  # text embed
        patches, terms = decompose(stream, texts)  # layer head text patch; text
        total = patches.sum((0, 1, 3)) + sum(terms.values())  # text
        length = stream.embedding.double().norm()
        similarity = texts.double() @ stream.embedding.double() / length  # text
        error = float(((total - similarity).abs() / similarity.abs().clamp(min=SMALLEST)).max())
        if not error <= MAX_ERROR:
            raise CaptureError(
                f"The shares of {trace.image.model_name} don't add up to its similarity (relative error {error:.1e}, "
                f"at most {MAX_ERROR:.0e} is accepted), so they are not shown."
            )
        place = torch.tensor([unique.index(prompt) for prompt in prompts], dtype=torch.long)
        read = torch.tensor([word.index for word in words], dtype=torch.long)
        grid, count = trace.image.grid, len(trace.caption.words)
        shares = patches[chosen].float().unflatten(-1, (grid.height, grid.width))  # layer head text gh gw
        per_head = shares.new_zeros(*shares.shape[:2], count, grid.height, grid.width)  # layer head word gh gw
        values = shares.new_zeros(count, grid.height, grid.width)
        # Summed before words are looked up, so that a word that occurs twice has one map to the last bit.
        per_head[:, :, read], values[read] = shares[:, :, place], shares.sum((0, 1))[place]
        record = AttentionRecord(
            scores=torch.stack([stream.layers[i].scores for i in chosen])[:, :, None],  # layer head 1 key
            probs=torch.stack([stream.layers[i].probs for i in chosen])[:, :, None],
            layers=labels,
            query_kind=stream.query_kind,
            key_kind=stream.key_kind,
        )
        per_word = {
            word.index: {
                "prompt": prompts[i],
                "similarity": float(similarity[place[i]]),
                "patches": float(patches[:, :, place[i]].sum()),
                **{name: float(term[place[i]]) for name, term in terms.items()},
            }
            for i, word in enumerate(words)
        }
        return MethodResult(
            record,
            RelevanceMap(
                values=values,
                unit=self.info.unit,
                signed=self.info.signed,
                method=self.info.name,
                params={
                    "layers": list(labels),
                    "prompt": self.prompt,
                    "conservation_error": error,
                    "words": [per_word.get(word.index) for word in trace.caption.words],
                },
                direction="query: text, key: image",
                text_dependent=self.info.text_dependent,
                token_counts=trace.caption.token_counts,
                reduce="sum",
                per_head=per_head,
                layers=labels,
                notes=(
                    f'Every word is a text by itself ("{self.prompt.format("word")}"): its map does not depend on '
                    "the caption's other words.",
                    "The patches' shares, with the terms named in params, add up to the similarity of photo and word "
                    f"(error {error:.0e}, relative to the similarity or to {SMALLEST:g}, whichever is larger).",
                    f"The attention shown is the image tower's own (query: {stream.query_kind}); the text has no part "
                    "in it.",
                    *stream.notes,
                ),
            ),
        )


def decompose(stream: ResidualStream, texts: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The shares of the cosine similarity between the photo and each text; their sum is the similarity.

    Args:
        stream: the photo's image embedding, taken apart.
        texts: unit vectors `text embed`.

    Returns:
        Shares of the patches `layer head text patch` (float64), and the other terms by name, each `text`.
    """
    aim = texts.double() / stream.embedding.double().norm()  # text embed
    back = aim @ stream.projection.double().T  # text dim; the direction before the projection
    scaled = back * stream.norm_weight.double()
    direction = scaled - scaled.mean(-1, keepdim=True)  # text dim; taking off the mean is its own transpose
    shares = torch.stack([_layer_shares(layer, direction) for layer in stream.layers])  # layer head text key
    prefix = shares[..., : stream.num_prefix_tokens]
    terms = {
        "prefix tokens": prefix.sum((0, 1, 3)),
        "attention biases": direction @ torch.stack([layer.bias for layer in stream.layers]).double().sum(0),
        "MLPs": direction @ torch.stack([layer.mlp for layer in stream.layers]).double().sum(0),
        "input embedding": direction @ stream.initial.double(),
        "last LayerNorm's bias": back @ stream.norm_bias.double(),
        "projection's bias": aim @ stream.projection_bias.double(),
    }
    return shares[..., stream.num_prefix_tokens :], terms


def _layer_shares(layer: ResidualLayer, direction: Tensor) -> Tensor:
    aims = torch.einsum("hcd,td->htc", layer.out_weight.double(), direction)  # head text head_dim
    return torch.einsum("hkc,htc->htk", layer.values.double(), aims) * layer.weighted.double()[:, None]
