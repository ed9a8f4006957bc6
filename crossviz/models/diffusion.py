"""The family "diffusers": text-to-image pipelines of diffusers, with the attention that they draw by.

Named "diffusers:ORG/NAME" for one of the Hugging Face Hub, or "diffusers:" and a folder. Denoising step by denoising
step, every module in which image tokens look at text tokens is recomputed from its real inputs and held against its own
output (`crossviz.capture`); the pipeline goes on with its own. `diffusion_kinds` says which pipelines are read.
"""

import copy
import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from crossviz.capture import capture
from crossviz.generation import Generation, Progress
from crossviz.geometry import PatchGrid
from crossviz.lockstep import lockstep
from crossviz.models import diffusion_hub, diffusion_load, hub
from crossviz.models.base import library_versions, weights_sha256
from crossviz.models.diffusion_capture import WordShares
from crossviz.models.diffusion_load import Loaded
from crossviz.models.diffusion_maps import WordMapsBuilder
from crossviz.models.diffusion_pictures import decode
from crossviz.models.diffusion_settings import chosen, defaults, most_steps
from crossviz.models.diffusion_words import Reading, lengths, read_caption
from crossviz.models.generators import GeneratorInfo, Settings
from crossviz.results import Provenance
from crossviz.version import __version__
from crossviz.words import unknown_sentence

__all__ = ["MAX_FRAMES", "Diffusers", "DiffusionModel"]

MAX_FRAMES = 12
"""Pictures that are decoded in a drawing, the finished one among them; they stand evenly over the steps."""
LIBRARIES = ("torch", "diffusers", "transformers", "tokenizers", "numpy", "pillow")


class Diffusers:
    """The family."""

    name = diffusion_hub.FAMILY

    def infos(self) -> list[GeneratorInfo]:
        """A choice of the hub's pipelines."""
        return diffusion_load.infos()

    def identity(self, name: str) -> tuple[str, str]:
        """As `GeneratorFamily`."""
        return hub.identity(diffusion_hub.place(name))

    def load(self, name: str, device: torch.device) -> "DiffusionModel":
        """As `GeneratorFamily`."""
        return DiffusionModel(diffusion_load.load(name, device))


class DiffusionModel:
    """A loaded pipeline. Drawings may run side by side: each has a scheduler and tokenizers of its own."""

    example = "a red cube left of a blue sphere"

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.info = loaded.info
        self.defaults = replace(defaults(loaded.pipe, loaded.kind), **loaded.own)
        self._spare_tokenizers: list[dict[str, Any]] = []

    def draw(self, caption: str, settings: Settings | None = None) -> Iterator[Progress | Generation]:
        """Draw step by step, as `GeneratorModel`; at most MAX_FRAMES pictures on the way, the `Generation` last.

        `asks_text` has every layer; `WordMapsBuilder` states when heads and steps are averaged. The random numbers are
        the CPU's on every device, so that a seed means one picture.

        Raises:
            CaptionError: there is no word in the caption, or it can't be read.
            SettingsError: the settings can't be used.
            CaptureError: an attention module does not recompute to its own output.
        """
        kind, scale = self._loaded.kind, self._loaded.pipe.vae_scale_factor
        multiple = math.lcm(8, scale * (kind.patch or 1))  # 8 is what most pipelines check
        most = most_steps(self._loaded.pipe.scheduler)
        used = chosen(settings or Settings(), self.defaults, multiple, self.info.name, most)
        with self._pipe_of_its_own() as pipe:
            reading = read_caption(pipe, kind, caption)
        return self._drawing(reading, used)

    def _drawing(self, reading: Reading, settings: Settings) -> Iterator[Progress | Generation]:
        with self._pipe_of_its_own() as pipe:
            run = _Run(self._loaded, pipe, reading, settings)
            with closing(run.pictures()) as pictures:
                yield from (each for each in pictures if each is not None)
        yield self._generation(run)

    @contextmanager
    def _pipe_of_its_own(self) -> Iterator[Any]:
        """The pipeline, with a scheduler and tokenizers that nobody else has meanwhile.

        Schedulers keep where they are; tokenizers keep between calls how a text is padded and cut. Copying CLIP's takes
        more than a second, so copies are used again.
        """
        pipe = copy.copy(self._loaded.pipe)
        pipe.scheduler = copy.deepcopy(self._loaded.pipe.scheduler)
        try:
            own = self._spare_tokenizers.pop()
        except IndexError:
            parts = self._loaded.pipe.components
            own = copy.deepcopy({name: part for name, part in parts.items() if name.startswith("tokenizer")})
        try:
            for name, tokenizer in own.items():
                setattr(pipe, name, tokenizer)
            yield pipe
        finally:
            self._spare_tokenizers.append(own)

    def _generation(self, run: "_Run") -> Generation:
        kind, maps, settings = self._loaded.kind, run.builder, asdict(run.settings)
        notes = ["Query: image places, key: text tokens; each place's words and rest add up to 1."]
        notes.append("The rest went to the marks around the caption, padding, punctuation" + (
            "." if kind.layout is None else ", and other places of the picture, which joint attention looks at too."
        ))  # fmt: skip
        kept = maps.maps()
        if maps.averaged_heads:
            notes.append("The heads of a layer are kept as their mean: apart they would not fit the memory set aside.")
        if len(kept.steps) < run.steps_done:
            notes.append(f"The {run.steps_done} steps are kept as {len(kept.steps)} means over neighbouring ones.")
        if run.reading.prompt != run.reading.caption.text:
            settings["prompt"] = run.reading.prompt
        notes += filter(None, [unknown_sentence(run.reading.caption)])
        if not self.info.trained:
            notes.append("The weights of this model were not trained.")
        return Generation(
            caption=run.reading.caption,
            grid=PatchGrid(*maps.grid),
            frames=torch.stack(run.frames),
            frame_steps=tuple(run.frame_steps),
            asks_text=kept,
            asks_image=None,
            written=None,
            tokens=None,
            settings=settings,
            verdict=None,
            provenance=Provenance(
                crossviz_version=__version__,
                model=self.info.name,
                weights_sha256=self._weights,
                trained=self.info.trained,
                method="cross_attention" if kind.layout is None else "joint_attention",
                libraries=library_versions(LIBRARIES),
                device=str(self._loaded.device),
                notes=(self.info.sentence, *notes),
            ),
        )

    @cached_property
    def _weights(self) -> str:
        """Of the denoiser, whose attention is shown."""
        return weights_sha256(self._loaded.denoiser.state_dict())


class _Run:
    """One drawing: calls the pipeline as anyone would, and collects what comes by."""

    def __init__(self, loaded: Loaded, pipe: Any, reading: Reading, settings: Settings) -> None:
        self.reading = reading
        self.settings = settings
        self.builder = WordMapsBuilder()
        self.frames: list[Tensor] = []
        self.frame_steps: list[int] = []
        self.steps_done = 0
        self._loaded = loaded
        self._pipe = pipe

    def pictures(self) -> Generator[Progress | None, None, None]:
        """The pictures on the way, and at last the finished one; each becomes a frame."""
        drawing = lockstep(self._run)
        with closing(drawing):
            latents = yield from drawing
        yield self._frame(latents, self.steps_done, self.steps_done)

    @property
    def _size(self) -> tuple[int, int]:
        assert self.settings.size_wh is not None  # `chosen` has filled it in
        return self.settings.size_wh

    def _frame(self, latents: Tensor, step: int, steps: int) -> Progress:
        self.frames.append(decode(self._pipe, latents, self._size))
        self.frame_steps.append(step)
        return Progress(step, steps, self.frames[-1])

    def _run(self, give: Callable[[Progress | None], None]) -> Tensor:
        loaded, pipe, asked, (width, height) = self._loaded, self._pipe, self.settings, self._size
        scale = pipe.vae_scale_factor
        latent_hw = (height // scale, width // scale)
        weights = self.reading.weights.to(loaded.device)
        shares = WordShares(loaded.kind, weights, latent_hw, self.builder, loaded.rounds_up)

        def after_step(step: int, steps: int, latents: Tensor) -> None:
            self.steps_done = step
            self.builder.end_step(step, steps)
            shown = min(steps, MAX_FRAMES)
            due = step < steps and step * shown // steps > (step - 1) * shown // steps
            give(self._frame(latents, step, steps) if due else None)

        def newer(pipe: Any, step: int, timestep: Any, given: dict[str, Tensor]) -> dict[str, Tensor]:
            after_step(step + 1, pipe.num_timesteps, given["latents"])
            return {}

        def older(step: int, timestep: Any, latents: Tensor) -> None:
            # A scheduler that asks the denoiser more often than once a step is told of here once a step.
            after_step(self.steps_done + 1, asked.steps or 1, latents)

        options = dict(loaded.kind.options)
        options |= {"callback_on_step_end": newer} if hasattr(pipe, "_callback_tensor_inputs") else {"callback": older}
        if loaded.kind.texts[-1].longest is not None:
            options["max_sequence_length"] = lengths(pipe, loaded.kind)[-1]
        with torch.no_grad(), capture(loaded.sites, keep=("probs",), each=shares):
            result = pipe(
                prompt=self.reading.prompt,
                height=height,
                width=width,
                num_inference_steps=asked.steps,
                guidance_scale=asked.guidance,
                generator=torch.Generator().manual_seed(asked.seed),
                output_type="latent",
                return_dict=False,
                **options,
            )
        return result[0]
