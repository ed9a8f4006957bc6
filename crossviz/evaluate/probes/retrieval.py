"""Retrieval: given a photo, is one of its captions the most similar of all; given a caption, is its photo?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from crossviz.evaluate.probes.report import ProbeReport, share_figure, summary_figure
from crossviz.models import load_model

if TYPE_CHECKING:
    from crossviz.evaluate.dataset import Dataset
    from crossviz.explainer import Explainer

__all__ = ["chance_at", "photo_ranks", "probe_retrieval", "text_ranks"]

_TEXTS = 256  # captions that go through the text tower together
_ROWS = 512  # rows of the similarity matrix at a time: a set of 30,000 photos has 4.5 thousand million pairs
_AT = (1, 5, 10)


def probe_retrieval(explainer: "Explainer", dataset: "Dataset | None" = None, seed: int = 0) -> ProbeReport:
    """Recall at 1, 5 and 10 both ways, by the cosine of the two towers' embeddings; needs captions."""
    if dataset is None:
        return ProbeReport("retrieval", "Not measured: retrieval needs a dataset of photos with captions.")
    items = [item for item in dataset.items if item.captions]
    if len(items) < 2:
        return ProbeReport("retrieval", f"Not measured: {dataset.name} has no two photos with captions.")
    captions = [caption for item in items for caption in item.captions]
    owner = np.repeat(np.arange(len(items)), [len(item.captions) for item in items])
    encoded = (explainer.encode(item.photo).embedding for item in items)
    if (first := next(encoded)) is None:
        return ProbeReport(
            "retrieval",
            f"Not measured: {explainer.info.name} has no embeddings to compare, it reads photo and text together.",
        )
    photos = torch.stack([vector.detach().cpu() for vector in (first, *encoded)])
    texts = _embed(explainer, captions)
    found = [
        ("captions of a photo", _ranks(photos, texts, lambda block, rows: text_ranks(block, owner, rows)), None),
        ("photo of a caption", _ranks(texts, photos, lambda block, rows: photo_ranks(block, owner[rows])), owner),
    ]
    figures = []
    for name, ranks, groups in found:
        counts = np.bincount(owner) if groups is None else np.ones(1, int)
        candidates = len(captions) if groups is None else len(items)
        for k in _AT:
            chance = float(np.mean([chance_at(k, int(own), candidates) for own in counts]))
            figures.append(share_figure(f"{name}, R@{k}", ranks < k, groups, chance))
        figures.append(summary_figure(f"{name}, median rank", ranks + 1, np.median))
    return ProbeReport(
        "retrieval",
        f"{len(items)} photos and {len(captions)} captions of {dataset.name}: the right one among the k most similar.",
        tuple(figures),
        ("A tie counts against the right one.",),
    )


def text_ranks(similarity: NDArray, owner: NDArray[np.int_], rows: Sequence[int]) -> NDArray[np.int_]:
    """How many captions of other photos are at least as similar as the best of a photo's own.

    Args:
        similarity: `photo caption`.
        owner: the number of each caption's photo.
        rows: the numbers of the photos in `similarity`.
    """
    own = owner[None] == np.asarray(rows)[:, None]  # photo caption
    best = np.where(own, similarity, -np.inf).max(1)
    return ((similarity >= best[:, None]) & ~own).sum(1)


def photo_ranks(similarity: NDArray, owner: NDArray[np.int_]) -> NDArray[np.int_]:
    """How many other photos are at least as similar to a caption as its own.

    Args:
        similarity: `caption photo`.
        owner: the number of each caption's photo.
    """
    own = similarity[np.arange(len(owner)), owner]
    return (similarity >= own[:, None]).sum(1) - 1


def chance_at(k: int, own: int, candidates: int) -> float:
    """How often one of `own` right ones is among k drawn from all candidates."""
    wrong = candidates - own
    left = [(wrong - i) / (candidates - i) for i in range(min(k, candidates))]
    return 1 - float(np.prod(np.clip(left, 0, None)))


def _embed(explainer: "Explainer", texts: list[str]) -> torch.Tensor:
    """Unit vectors `text dim`, on the CPU."""
    model = load_model(explainer.info.name, explainer.device)  # the explainer's own, which is loaded already
    with torch.no_grad():
        parts = [model.embed_texts(texts[i : i + _TEXTS]) for i in range(0, len(texts), _TEXTS)]
    return torch.cat(parts).cpu()


def _ranks(queries: torch.Tensor, keys: torch.Tensor, rank) -> NDArray[np.int_]:
    blocks = []
    for start in range(0, len(queries), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(queries)))
        blocks.append(rank((queries[rows] @ keys.T).numpy(), rows))
    return np.concatenate(blocks)
