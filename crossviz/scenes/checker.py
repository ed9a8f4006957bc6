"""The scene checker: reads a picture of a scene back into the things that stand in it."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import max_pool2d

from crossviz.errors import GeometryError, ModelUnavailableError
from crossviz.scenes.checker_network import KINDS, OFFSET, STRIDE, CheckerNetwork, Maps, pool, to_input
from crossviz.scenes.found import Found, FoundScene
from crossviz.scenes.render import SIDE
from crossviz.scenes.vocabulary import FLOORS, MOODS

__all__ = ["SceneChecker", "load_checker"]

_SURE = 0.3  # a centre is one from this probability on
_MOST = 8  # so many things are looked for; captions ask for up to four
_PIXELS = 16  # smaller ones are none: the renderer shows 40 of each at the least
_BATCH = 64
_ANEW = "install crossviz anew, or give another file."


class SceneChecker:
    """A trained network, and what its maps say."""

    def __init__(self, network: CheckerNetwork) -> None:
        self.network = network.eval().requires_grad_(False)

    @torch.inference_mode()
    def find(self, pictures: Tensor | NDArray[np.uint8]) -> list[FoundScene]:
        """What stands in each picture.

        Args:
            pictures: uint8 `batch 96 96 3`.

        Raises:
            GeometryError: the pictures are of another size or kind.
        """
        pictures = pictures if isinstance(pictures, Tensor) else torch.tensor(pictures)
        if pictures.dtype != torch.uint8 or tuple(pictures.shape[1:]) != (SIDE, SIDE, 3):
            raise GeometryError(
                f"The pictures are {pictures.dtype} of shape {tuple(pictures.shape)}: the scene checker reads uint8 of "
                f"shape batch {SIDE} {SIDE} 3."
            )
        found: list[FoundScene] = []
        for start in range(0, len(pictures), _BATCH):
            maps = self._maps(to_input(pictures[start : start + _BATCH]))
            found += [_scene(maps, row) for row in range(len(maps.centres))]
        return found

    def _maps(self, pictures: Tensor) -> Maps:
        """The means of what the network says of pictures and of their mirror images."""
        plain, mirrored = self.network(pictures), self.network(pictures.flip(3))
        left_to_right = torch.tensor([-1.0, 1.0])[:, None, None]
        back = {
            name: value.flip(-1) if name not in ("floors", "moods") else value for name, value in vars(mirrored).items()
        }
        back["places"], back["offsets"] = back["places"] * left_to_right, back["offsets"] * left_to_right
        return Maps(**{name: (value + back[name]) / 2 for name, value in vars(plain).items()})


def _scene(maps: Maps, row: int) -> FoundScene:
    centres = maps.centres[row].sigmoid()
    highest = centres == max_pool2d(centres[None], 3, 1, 1)[0]
    at = (highest & (centres >= _SURE)).nonzero()
    at = at[centres[at[:, 0], at[:, 1]].argsort(descending=True)][:_MOST]
    masks = _masks(maps, row, at)
    kept = masks.sum((1, 2)) >= _PIXELS
    if not kept.all():  # what the others said goes to the rest
        at = at[kept]
        masks = _masks(maps, row, at)
    floor, mood = FLOORS[int(maps.floors[row].argmax())], MOODS[int(maps.moods[row].argmax())]
    if not len(at):
        return FoundScene((), floor, mood)
    sure = centres[at[:, 0], at[:, 1]]
    logits = pool(maps.kinds[row : row + 1], masks[None])[0].split([len(words) for words in KINDS.values()], 1)
    kinds = [part.argmax(1) for part in logits]
    places = pool(maps.places[row : row + 1], masks[None])[0]
    things = [
        Found(
            *(words[int(kind[k])] for words, kind in zip(KINDS.values(), kinds, strict=True)),
            x=float(places[k, 0]),
            y=float(places[k, 1]),
            mask=masks[k].numpy(),
            certainty=float(sure[k]),
        )
        for k in range(len(at))
    ]
    things.sort(key=lambda thing: -thing.y)
    return FoundScene(tuple(things), floor, mood)


def _masks(maps: Maps, row: int, at: Tensor) -> Tensor:
    """bool `thing side side`: every pixel of a thing goes to the centre nearest to where it points."""
    front = maps.front[row] > 0
    side = torch.arange(front.shape[-1]) + 0.5
    pointed = torch.stack([side[None].expand_as(front), side[:, None].expand_as(front)]) + OFFSET * maps.offsets[row]
    centres = (at.flip(1) + 0.5) * STRIDE  # right, down
    if not len(at):
        return front.new_zeros((0, *front.shape))
    nearest = ((pointed[None] - centres[:, :, None, None]) ** 2).sum(1).argmin(0)
    return (nearest == torch.arange(len(at))[:, None, None]) & front


def load_checker(file: Path) -> SceneChecker:
    """The checker from a file that `python -m crossviz.training.checker` wrote.

    Raises:
        ModelUnavailableError: the file is missing or damaged.
    """
    try:
        with safe_open(file, "pt") as stored:
            about = stored.metadata() or {}
        sizes = {name: tuple(map(int, about[name].split())) for name in ("widths", "blocks") if name in about}
        weights, network = load_file(file), CheckerNetwork(**sizes)
        network.load_state_dict({name: w.float() if w.is_floating_point() else w for name, w in weights.items()})
    except FileNotFoundError as error:
        raise ModelUnavailableError(f"The scene checker's weights {file} are missing: {_ANEW}") from error
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ModelUnavailableError(f"The scene checker's weights {file} are damaged: {_ANEW}") from error
    return SceneChecker(network)
