"""The endpoint that draws a picture from a caption."""

from crossviz.web.api_json import generation_json
from crossviz.web.api_values import File, handed_out, text_of
from crossviz.web.file_names import file_name
from crossviz.web.finished import finished
from crossviz.web.generate_values import settings_of
from crossviz.web.studio import Studio
from crossviz.web.visits import still_waits

__all__ = ["Drawing"]


class Drawing:
    """One method per endpoint, under its name.

    Args:
        studio: draws; the one that the page asks, too.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def generate(
        self,
        caption: str,
        seed: int = 0,
        guidance: float | None = None,
        temperature: float | None = None,
        model: str = "",
    ) -> tuple[dict, File]:
        """Draw a picture from a caption, and say where each word wrote.

        Parameters:
            caption: what to draw
            seed: of the random numbers, 0 to 2147483647: the same seed draws the same picture
            guidance: scale of classifier-free guidance, 1 to 10; the model's own choice if left out
            temperature: of the sampling, 0 to 2; the model's own choice if left out
            model: the name of a model that draws, the server's first if empty
        Returns:
            The words with their maps, the verdict and the settings as JSON, and the picture as a PNG file that
            crossviz.load reads
        """
        text, name = text_of("caption", caption), text_of("model", model)
        (settings,) = settings_of(seed, guidance, temperature, 1, self._studio.model(name).defaults)
        generation = finished(self._studio.draw(name, text, settings), still_waits)
        return generation_json(generation), handed_out(generation.to_bytes(".png"), file_name(text) + ".png")
