"""dalle-mini-scenes: a small DALL-E that draws scenes of simple solids, trained by us and carried with crossviz.

Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021): a text encoder, an image tokenizer (VQ-VAE), a transformer
that writes image tokens under cross-attention to the text, the tokenizer's decoder; and of several candidates the one
that fits best, which here the model's own reading of them says instead of CLIP.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossviz.errors import ModelUnavailableError, SettingsError, UnknownModelError
from crossviz.generation import IMAGE_ASKS_TEXT, TEXT_ASKS_IMAGE, Generation, Progress, WordMaps
from crossviz.geometry import PatchGrid
from crossviz.models.about import one_line
from crossviz.models.base import folder_state
from crossviz.models.dalle_load import FOLDER, NAME, READER, TOKENIZER, TRANSFORMER, load_parts
from crossviz.models.dalle_reader import DalleReader
from crossviz.models.dalle_sampling import write_tokens
from crossviz.models.dalle_transformer import DalleTransformer
from crossviz.models.dalle_vqvae import VqVae
from crossviz.models.dalle_words import caption_tokens, caption_words
from crossviz.models.generators import GeneratorInfo, Settings, number, whole
from crossviz.results import Provenance
from crossviz.scenes.checker import SceneChecker
from crossviz.scenes.reading import EXAMPLE, can_draw, read
from crossviz.scenes.things import Request
from crossviz.scenes.verdict import verdict
from crossviz.version import __version__

__all__ = ["INFO", "DalleFamily", "DalleScenes", "candidate_seeds", "load"]

INFO = GeneratorInfo(NAME, "DALL·E mini, scenes", f"Draws {can_draw()}, token by token; trained by us, works offline.")
_FRAME = 4  # tokens from one frame of the time line to the next
_BLANK = 128  # the grey of what is not written yet
_MOST_SEED = 2**31 - 1
_EVEN = 4  # the logits of what is read are divided by it: much that is sure counts more than one thing in doubt


class DalleScenes:
    """The loaded model.

    Args:
        vqvae: the image tokenizer.
        transformer: writes its tokens.
        reader: reads them with a caption.
        checker: finds the things in a picture; not part of drawing it.
        about: `crossviz.json` of the model's folder.
    """

    info = INFO
    example = EXAMPLE
    examples = (
        EXAMPLE,
        "a yellow metal ring in front of a blue cylinder at sunset",
        "three red cones on a white floor",
        "a large purple sphere and a small orange cube at night",
    )

    def __init__(
        self,
        vqvae: VqVae,
        transformer: DalleTransformer,
        reader: DalleReader,
        checker: SceneChecker,
        about: dict[str, Any],
    ) -> None:
        self.vqvae, self.transformer, self.reader = vqvae, transformer, reader
        self.checker, self.about, self.trained = checker, about, bool(about["training"]["trained"])
        chosen = about["sampling"]
        self.nucleus = float(chosen["nucleus"])
        self.defaults = Settings(
            guidance=float(chosen["guidance"]),
            temperature=float(chosen["temperature"]),
            candidates=int(chosen["candidates"]),
        )

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.transformer.head.weight.device

    def draw(self, caption: str, settings: Settings) -> Iterator[Progress | Generation]:
        """Draws token by token; a `Progress` after every row of the grid, then the `Generation`.

        What is seen growing is the first of the candidates; the one that is read best may be another, and its frames
        show that one growing.

        Raises:
            CaptionError: the caption is empty, or asks for what the model does not know.
            SettingsError: a setting that the model has not, or out of its bounds.
        """
        return self._drawn(caption, read(caption), self._checked(settings))

    @torch.no_grad()  # in inference_mode the maps would be of no use to autograd
    def _drawn(self, caption: str, request: Request, used: dict[str, Any]) -> Iterator[Progress | Generation]:
        words = caption_tokens(caption)
        seeds = candidate_seeds(used["seed"], used["candidates"])
        grid = self.transformer.config.grid
        asked: list[Tensor] = []
        drawn = write_tokens(
            self.transformer,
            [words] * len(seeds),
            seeds,
            guidance=used["guidance"],
            temperature=used["temperature"],
            nucleus=self.nucleus,
        )
        tokens = torch.empty(0)
        for written in drawn:
            tokens = written.tokens
            asked.append(written.probs)
            if tokens.shape[1] % grid == 0:
                picture = self._partly(tokens[:1], [tokens.shape[1]])[0]
                yield Progress(tokens.shape[1], grid * grid, picture)
        shown, seen = self._read(words, request, tokens)
        told = request.telling()
        best = int(torch.nn.functional.logsigmoid(shown[:, told] / _EVEN).sum(1).argmax())
        steps = [*range(_FRAME, grid * grid, _FRAME), grid * grid]
        frames = self._partly(tokens[best : best + 1].expand(len(steps), -1), steps)
        reading = {str(word): round(float(shown[best, word].sigmoid()), 4) for word in told}
        yield Generation(
            caption=caption_words(caption),
            grid=PatchGrid(grid, grid),
            frames=frames,
            frame_steps=tuple(steps),
            asks_text=self._asks_text(torch.stack(asked, 3)[:, best], len(words)),
            asks_image=self._asks_image(seen[:, best], len(words)),
            written=torch.arange(grid * grid).reshape(grid, grid),
            tokens=tokens[best].cpu().reshape(grid, grid),
            settings={**used, "candidate": best, "reading": reading},
            verdict=verdict(request, self.checker.find(frames[-1:])[0]).as_mapping(),
            provenance=self._provenance(),
            codebook=self._entries(tokens[best].unique()),
        )

    def _read(self, words: list[int], request: Request, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Of each candidate and each word the logit that it shows it, `candidate word`; and the probs of the words that
        ask the picture, `layer candidate head word place+1`."""
        caption = torch.tensor([words] * len(tokens), device=self.device)
        shown, where, probs = self.reader(caption, tokens)
        if request.relation is not None:
            first, second = (list(group.words) for group in request.groups[:2])
            shown[:, request.relation_word] = self.reader.related(where, first, second, request.relation)
        return shown, probs

    def _partly(self, tokens: Tensor, counts: list[int]) -> Tensor:
        """Pictures of the first so many tokens of each, uint8 `picture side side 3`; grey where none is written."""
        grid = self.transformer.config.grid
        places = torch.arange(grid * grid, device=self.device)
        here = places[None] < torch.tensor(counts, device=self.device)[:, None]
        known = torch.nn.functional.pad(tokens, (0, grid * grid - tokens.shape[1]), value=-1)
        known = torch.where(here, known, -1).reshape(-1, grid, grid)
        pictures = self.vqvae.draw(known)
        shown = here.reshape(-1, grid, grid).repeat_interleave(8, 1).repeat_interleave(8, 2)
        return torch.where(shown[..., None], pictures, torch.full_like(pictures, _BLANK)).cpu()

    def _entries(self, used: Tensor) -> Tensor:
        """What the decoder draws where three by three places have the same entry: uint8 `entry 24 24 3`."""
        return self.vqvae.draw(used[:, None, None].expand(-1, 3, 3)).cpu()

    def _asks_text(self, probs: Tensor, words: int) -> WordMaps:
        """From `layer head place word+1`, where the caption's tokens come first, then its end, padding and null key."""
        grid = self.transformer.config.grid
        maps = probs.float().cpu().permute(0, 1, 3, 2).unflatten(-1, (grid, grid))  # layer head word+1 gh gw
        values = maps[:, :, : words - 1]
        return WordMaps(values[None], maps[:, :, words - 1 :].sum(2)[None], self._labels(len(maps)), IMAGE_ASKS_TEXT)

    def _asks_image(self, probs: Tensor, words: int) -> WordMaps:
        """From `layer head word place+1`, the null key last."""
        grid = self.transformer.config.grid
        mine = probs.float().cpu()[:, :, : words - 1]
        values = mine[..., :-1].unflatten(-1, (grid, grid))
        return WordMaps(values[None], mine[..., -1][None], self._labels(len(mine)), TEXT_ASKS_IMAGE)

    @staticmethod
    def _labels(count: int) -> tuple[str, ...]:
        return tuple(f"layer {number}" for number in range(1, count + 1))

    def _checked(self, settings: Settings) -> dict[str, Any]:
        """The settings as they are used.

        Raises:
            SettingsError: one is not there to be set, or out of bounds.
        """
        if settings.steps is not None or settings.size_wh is not None:
            side, steps = self.vqvae.config.side, self.transformer.config.grid**2
            raise SettingsError(
                f"{NAME} writes {steps} tokens, a step each, for a picture of {side} x {side} pixels: leave steps and "
                "size out."
            )
        used: dict[str, Any] = {"seed": whole("The seed", settings.seed, 0, _MOST_SEED)}
        for name, low, high in (("guidance", 1, 10), ("temperature", 0, 2)):
            value = getattr(settings, name)
            value = getattr(self.defaults, name) if value is None else value
            used[name] = number(f"The {name}", value, low, high)
        count = self.defaults.candidates if settings.candidates is None else settings.candidates
        used["candidates"] = whole("The number of candidates", count, 1, 16)
        if used["temperature"] == 0:
            used["candidates"] = 1  # all would be alike
        return {**used, "nucleus": self.nucleus}

    @cached_property
    def _sha256(self) -> str:
        """Of the hashes of all files that have a part in drawing."""
        hashes = [self.about["sha256"][name] for name in (TOKENIZER, TRANSFORMER, READER)]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()

    def _provenance(self) -> Provenance:
        return Provenance(
            crossviz_version=__version__,
            model=NAME,
            weights_sha256=self._sha256,
            trained=self.trained,
            method="cross_attention",
            libraries={"torch": torch.__version__},
            device=str(self.device),
            notes=(f"This model draws {can_draw()}, and nothing else.",),
            method_title="Cross-attention",
        )


class DalleFamily:
    """The one model that comes with crossviz."""

    name = NAME

    def infos(self) -> list[GeneratorInfo]:
        return [INFO]

    def identity(self, name: str) -> tuple[str, str]:
        if name != self.name:
            raise UnknownModelError(f"There is no generator {name[:80]!r}: '{self.name}' is one by itself.")
        return self.name, folder_state(FOLDER)

    def load(self, name: str, device: torch.device) -> DalleScenes:
        return load(device)


def load(device: torch.device, folder: Path | None = None) -> DalleScenes:
    """The model of a folder, or the one that comes with crossviz.

    Raises:
        ModelUnavailableError: a file is missing, damaged or of another format.
    """
    parts = load_parts(device, folder)
    try:
        return DalleScenes(*parts)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelUnavailableError(
            f"crossviz.json of the model lacks something ({one_line(error)}): export it again with "
            "crossviz.training.dalle_export."
        ) from error


def candidate_seeds(seed: int, count: int) -> list[int]:
    """A seed for each candidate, the first the one that was asked for; 32 bits: torch's generator of the CPU takes no
    more of them."""
    others = np.random.SeedSequence(seed).generate_state(max(0, count - 1))
    return [seed, *others.tolist()]
