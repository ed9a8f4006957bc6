"""What coca-mini learns from: captions word by word, photos and captions that belong together, phrases' places."""

import torch
from open_clip import CoCa
from torch import Tensor
from torch.nn import functional as F

from crossviz.training.coca_batches import Batch, Texts
from crossviz.training.coca_forward import Forward, ImageSide, compose, forward, image_side, writing_rows
from crossviz.training.losses import contrast

__all__ = ["LOSSES", "grounding_loss", "losses", "place_losses", "word_loss"]

LOSSES = ("words", "contrast", "reading", "writing", "alone")


def losses(module: CoCa, batch: Batch) -> dict[str, Tensor]:
    """Every loss of a batch, not weighted."""
    image = image_side(module.visual.trunk, batch.patches)
    captions, alone = forward(module, image, batch.captions.ids), forward(module, image, batch.alone.ids)
    reading, writing = place_losses(image, captions, batch.captions)
    own, _ = place_losses(image, alone, batch.alone)
    scale = module.logit_scale.exp().clamp(max=100)
    embeddings = (F.normalize(x.float(), dim=-1) for x in (image.latent, captions.latent))
    return {
        "words": word_loss(captions.states, module.text_decoder.text_projection, batch.captions.ids),
        "contrast": contrast(*embeddings, scale),
        "reading": reading,
        "writing": writing,
        "alone": own,
    }


def word_loss(states: Tensor, projection: Tensor, ids: Tensor) -> Tensor:
    """Mean cross-entropy of every token given the photo and the tokens before it, the end mark among them.

    Args:
        states: the decoder's, `photo, texts * length, width`.
        projection: to the vocabulary, `width word`.
        ids: `photo * text, length`, padded with 0 behind the end mark.
    """
    states = states.reshape(*ids.shape, -1)[:, :-1]
    asked = (ids != 0).flip(1).cumsum(1).flip(1)[:, 1:] > 0  # a 0 before the end mark is the token "!", no padding
    return F.cross_entropy((states[asked] @ projection).float(), ids[:, 1:][asked])


def place_losses(image: ImageSide, found: Forward, texts: Texts) -> tuple[Tensor, Tensor]:
    """The grounding loss of the rows that read the phrases, and of those that write them."""
    length = texts.ids.shape[1]
    out = []
    for weights in (texts.weights, writing_rows(texts.weights, length)):
        maps = compose(weights, found.cross, image.probs)
        out.append(grounding_loss(maps[texts.asked], texts.covers[texts.asked]))
    return out[0], out[1]


def grounding_loss(maps: Tensor, covers: Tensor) -> Tensor:
    """-log(mass inside the boxes / mass on all patches), the mean over phrases.

    Args:
        maps: `phrase patch`.
        covers: the share of every patch that lies inside, `phrase patch`.
    """
    if not len(maps):
        return maps.sum()
    inside = (maps * covers).sum(-1) / maps.sum(-1)
    return -torch.log(inside.clamp(min=1e-6)).mean()
