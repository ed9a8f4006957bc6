"""The endpoints that answer with numbers: explain, heatmap, trust, models, methods."""

from contextlib import closing

from crossviz.errors import CrossvizError
from crossviz.web.api_json import explanation_json, heatmap_json, method_json, model_json
from crossviz.web.api_values import File, a_list, an_option, explained, explained_phrase, handed_out, text_of
from crossviz.web.checks import in_one_thread
from crossviz.web.engine import Engine
from crossviz.web.file_names import file_name

__all__ = ["Asking"]

MAX_WIDTH = 4096


class Asking:
    """One method per endpoint, under its name.

    Args:
        engine: answers; the one that the page asks, too.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def explain(self, photo: File, caption: str, model: str = "", method: str = "") -> dict:
        """Say where each word of a caption looks in a photo: null mass, strongest patch, scale, provenance.

        Parameters:
            photo: a JPEG, PNG, WebP, GIF, BMP or TIFF file
            caption: the sentence
            model: a name that `models` lists, the server's first if empty
            method: a name that `methods` lists, the model's first if empty
        Returns:
            The words with their spans and figures, as JSON
        """
        return explanation_json(explained(self._engine, photo, caption, model, method))

    def heatmap(
        self,
        photo: File,
        caption: str,
        text: str | None = None,
        span: list[int] | None = None,
        word: int | None = None,
        layer: int | str | None = None,
        head: int | None = None,
        model: str = "",
        method: str = "",
        picture: bool = False,
        width: int | None = None,
    ) -> tuple[dict, File | None]:
        """Give the map of one word or phrase as numbers per patch, and as a picture on the photo if asked.

        Parameters:
            photo: a JPEG, PNG, WebP, GIF, BMP or TIFF file
            caption: the sentence
            text: the word or phrase as it stands in the caption; this, span or word is needed
            span: instead of text, its start and end in characters
            word: instead of text, the index of a word, from 0
            layer: index or label of one layer, all of them together if left out
            head: index of one head, all of them together if left out
            model: a name that `models` lists, the server's first if empty
            method: a name that `methods` lists, the model's first if empty
            picture: whether the map is drawn on the photo, too
            width: the picture's width in pixels, up to 4096; the photo's own if left out
        Returns:
            The map as JSON, and the picture as a PNG file or nothing
        """
        wide = an_option("width", width, int)
        if wide is not None and not 1 <= wide <= MAX_WIDTH:
            raise CrossvizError(f"`width` must lie between 1 and {MAX_WIDTH} pixels, not {wide}.")
        chosen = {"text": text, "span": span, "word": word}
        explanation, phrase = explained_phrase(self._engine, photo, caption, model, method, **chosen)
        part = {"layer": layer, "head": head}
        answer = heatmap_json(explanation, phrase, **part)
        if picture is not True:
            return answer, None
        own = explanation.photo.wh[0]
        drawn = explanation.overlay(span=(phrase.start, phrase.end), width=min(wide or own, MAX_WIDTH), **part)
        return answer, handed_out(drawn, file_name(phrase.text) + ".png")

    def trust(
        self,
        photo: File,
        caption: str,
        text: str | None = None,
        span: list[int] | None = None,
        word: int | None = None,
        model: str = "",
        method: str = "",
        checks: list[str] | None = None,
        box: list[float] | None = None,
    ) -> dict:
        """Measure how far the map of one word or phrase can be trusted; takes seconds.

        Parameters:
            photo: a JPEG, PNG, WebP, GIF, BMP or TIFF file
            caption: the sentence
            text: the word or phrase as it stands in the caption; this, span or word is needed
            span: instead of text, its start and end in characters
            word: instead of text, the index of a word, from 0
            model: a name that `models` lists, the server's first if empty
            method: a name that `methods` lists, the model's first if empty
            checks: calibration, deletion, randomisation, agreement, head_effect, localisation; all if left out
            box: where the thing is, for localisation: left, top, right and bottom in the photo's pixels
        Returns:
            One plain sentence and the figures of each check, as JSON
        """
        names, corners = a_list("checks", checks, str), a_list("box", box, float, int)
        chosen = {"text": text, "span": span, "word": word}
        explanation, phrase = explained_phrase(self._engine, photo, caption, model, method, **chosen)
        corners = None if corners is None else tuple(corners)
        asked = (explanation, text_of("model", model), (phrase.start, phrase.end), names, corners)
        with closing(in_one_thread(lambda: self._engine.trust_steps(*asked))) as running:
            return self._engine.finished(running).as_dict()

    def models(self) -> dict:
        """List the models that this server has, with what each is and can do.

        Returns:
            The models, and the name of the first, as JSON
        """
        infos = [model_json(info, self._engine.loaded(info.name)) for info in self._engine.models()]
        return {"default": self._engine.model, "models": infos}

    def methods(self, model: str = "") -> dict:
        """List the methods that a model supports, with what each one's map means. Loads the model if need be.

        Parameters:
            model: a name that `models` lists, the server's first if empty
        Returns:
            The methods, the default first, as JSON
        """
        explainer = self._engine.explainer(text_of("model", model))
        infos = [method_json(info) for info in explainer.methods]
        return {"model": explainer.info.name, "default": infos[0]["name"] if infos else None, "methods": infos}
