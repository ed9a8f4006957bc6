"""What coca-mini learns from: captions word by word, photos and captions that belong together, phrases' places."""

from open_clip import CoCa
from torch import Tensor
from torch.nn import functional as F

from crossviz.training.coca_batches import Batch, Texts
from crossviz.training.coca_forward import Forward, ImageSide, compose, forward, image_side, writing_rows
from crossviz.training.losses import contrast
from crossviz.training.place import even_loss, place_loss

__all__ = ["LOSSES", "losses", "place_losses", "word_loss"]

LOSSES = ("words", "contrast", "reading", "writing", "alone", "even")


def losses(module: CoCa, batch: Batch) -> dict[str, Tensor]:
    """Every loss of a batch, not weighted."""
    image = image_side(module.visual.trunk, batch.patches)
    captions, alone = forward(module, image, batch.captions.ids), forward(module, image, batch.alone.ids)
    reading, writing, even = place_losses(image, captions, batch.captions)
    own, _, even_alone = place_losses(image, alone, batch.alone)
    scale = module.logit_scale.exp().clamp(max=100)
    embeddings = (F.normalize(x.float(), dim=-1) for x in (image.latent, captions.latent))
    return {
        "words": word_loss(captions.states, module.text_decoder.text_projection, batch.captions.ids),
        "contrast": contrast(*embeddings, scale),
        "reading": reading,
        "writing": writing,
        "alone": own,
        "even": (even + even_alone) / 2,
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


def place_losses(image: ImageSide, found: Forward, texts: Texts) -> tuple[Tensor, Tensor, Tensor]:
    """Where the maps of the marked phrases lie, the mean over phrases.

    Returns:
        `place_loss` of the rows that read a phrase, and of those that write it; `even_loss` of those that read it.
    """
    covers = texts.covers[texts.asked]
    if not len(covers):
        nothing = found.cross.sum() * 0
        return nothing, nothing, nothing
    reading = compose(texts.weights, found.cross, image.probs)[texts.asked]
    writing = compose(writing_rows(texts.weights, texts.ids.shape[1]), found.cross, image.probs)[texts.asked]
    return (
        place_loss(reading, covers).mean(),
        place_loss(writing, covers).mean(),
        even_loss(reading, covers).mean(),
    )
