"""The endpoints that look closer: the arithmetic of one cell, and what differs between two answers."""

from crossviz.errors import CrossvizError
from crossviz.map_difference import difference
from crossviz.web.api_json import difference_json
from crossviz.web.api_values import File, a_list, an_option, explained, explained_phrase, handed_out, text_of
from crossviz.web.engine import Engine
from crossviz.web.file_names import file_name

__all__ = ["Closer"]


class Closer:
    """One method per endpoint, under its name.

    Args:
        engine: answers; the one that the page asks, too.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def inside(
        self,
        photo: File,
        caption: str,
        text: str | None = None,
        span: list[int] | None = None,
        word: int | None = None,
        layer: int | None = None,
        head: int | None = None,
        token: int | None = None,
        patch: list[int] | None = None,
        model: str = "",
    ) -> dict:
        """Open one cell of the model's cross-attention: how a word comes to look at a patch, step by step.

        Parameters:
            photo: a JPEG, PNG, WebP, GIF, BMP or TIFF file
            caption: the sentence
            text: the word or phrase as it stands in the caption; this, span or word is needed
            span: instead of text, its start and end in characters
            word: instead of text, the index of a word, from 0
            layer: index of a layer, the strongest if left out
            head: index of a head, the strongest if left out
            token: of a word of several tokens, the position of one in the model's sequence
            patch: row and column from 0, the one most looked at if left out
            model: a name that `models` lists, the server's first if empty
        Returns:
            The vectors, scores and sums of the cell, every one as the model computed it, as JSON
        """
        given = {"layer": layer, "head": head, "token": token}
        cell = {name: an_option(name, value, int) for name, value in given.items()}
        place = a_list("patch", patch, int)
        if place is not None and len(place) != 2:
            raise CrossvizError(f"`patch` must be a row and a column, but is {place!r:.60}.")
        chosen = {"text": text, "span": span, "word": word}
        explanation, phrase = explained_phrase(self._engine, photo, caption, model, "", **chosen)
        where = {"span": (phrase.start, phrase.end), "patch": None if place is None else tuple(place)}
        return self._engine.inside(explanation, text_of("model", model), **where, **cell).as_dict()

    def difference(
        self,
        photo: File,
        caption: str,
        text: str | None = None,
        span: list[int] | None = None,
        word: int | None = None,
        model: str = "",
        method: str = "",
        other_caption: str | None = None,
        other_text: str | None = None,
        other_model: str | None = None,
        other_method: str | None = None,
        picture: bool = False,
    ) -> tuple[dict, File | None]:
        """Subtract a word's map in a second answer about the same photo from its map in a first, and say what moved.

        Parameters:
            photo: a JPEG, PNG, WebP, GIF, BMP or TIFF file
            caption: the sentence
            text: the word or phrase as it stands in the caption; this, span or word is needed
            span: instead of text, its start and end in characters
            word: instead of text, the index of a word, from 0
            model: a name that `models` lists, the server's first if empty
            method: a name that `methods` lists, the model's first if empty
            other_caption: the second answer's sentence, the same if left out
            other_text: its word or phrase, the one that stands in the first's place if left out
            other_model: its model, the same if left out
            other_method: its method, the same if left out and of the same model, else that model's first
            picture: whether the difference is drawn on the photo, too
        Returns:
            The figures as JSON, and the picture as a PNG file or nothing
        """
        second_model = model if other_model is None else other_model
        same = text_of("model", second_model) == text_of("model", model)
        second_method = (method if same else "") if other_method is None else other_method
        chosen = {"text": text, "span": span, "word": word}
        first, phrase = explained_phrase(self._engine, photo, caption, model, method, **chosen)
        second_caption = caption if other_caption is None else other_caption
        second = explained(self._engine, photo, second_caption, second_model, second_method)
        other = an_option("other_text", other_text, str)
        if other is None and first.caption.text == second.caption.text:
            other = (phrase.start, phrase.end)  # the very words, also where one model cut others off
        found = difference(first, second, (phrase.start, phrase.end), other)
        if picture is not True:
            return difference_json(found), None
        return difference_json(found), handed_out(found.overlay(), file_name(found.word.text) + "-difference.png")
