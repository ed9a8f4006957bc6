"""What the page asks for pictures: the models that draw, and a drawing step by step."""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Protocol

from crossviz import generator
from crossviz.errors import ModelUnavailableError, UnknownModelError
from crossviz.generation import Generation, Progress
from crossviz.models.generators import GeneratorInfo, GeneratorModel, Settings
from crossviz.web.checks import in_one_thread

__all__ = ["Registry", "Studio"]


class Registry(Protocol):
    """Where models that draw are had from; `crossviz.generator` is one."""

    def generators(self) -> Sequence[GeneratorInfo]:
        """The models that there are."""
        ...

    def load_generator(self, name: str, device: str | None = None) -> GeneratorModel:
        """A model by its name, loaded."""
        ...


class Studio:
    """The models of a registry that can be loaded here. A visitor chooses among those; none is loaded by another name.

    Args:
        registry: that of crossviz if None.
        device: as for `Explainer`.
    """

    def __init__(self, registry: Registry | None = None, device: str | None = None) -> None:
        self._registry = generator if registry is None else registry
        self._device = device
        self._known: set[str] = set()

    def infos(self) -> list[GeneratorInfo]:
        """The models to choose from, the default first; empty where there are none."""
        return [info for info in self._registry.generators() if info.available]

    def loaded(self, name: str) -> bool:
        """Whether a model is there at once."""
        return name in self._known

    def model(self, name: str) -> GeneratorModel:
        """A model, loaded when first asked for; the first one if the name is empty.

        Raises:
            UnknownModelError: it is none of `infos`.
            ModelError, DeviceError: it can't be loaded.
        """
        names = [info.name for info in self.infos()]
        name = name or (names[0] if names else "")
        if name not in names:
            raise UnknownModelError(
                f"There is no model {name[:80]!r} that draws here: choose one of {', '.join(names) or 'none'}."
            )
        model = self._registry.load_generator(name, self._device)  # kept there, and loaded anew where its files changed
        self._known.add(name)
        return model

    def captions(self, name: str) -> tuple[str, ...]:
        """Captions that a model draws well: its `examples` where it has some, its one `example` else."""
        model = self.model(name)
        return tuple(getattr(model, "examples", ())) or (model.example,)

    def draw(self, name: str, caption: str, settings: Settings) -> Generator[Progress | Generation, None, Generation]:
        """A picture step by step; the last thing that comes is the `Generation`, which is returned, too. Closing the
        generator ends the drawing.

        Raises:
            CaptionError: the model can't draw that.
            ModelError: it can't be had, or came to no picture.
        """
        model, last = self.model(name), None
        with closing(in_one_thread(lambda: (part for part in model.draw(caption, settings)))) as drawing:
            for last in drawing:
                yield last
        if not isinstance(last, Generation):
            raise ModelUnavailableError(f"{model.info.name} came to no picture: try again, or choose another model.")
        return last
