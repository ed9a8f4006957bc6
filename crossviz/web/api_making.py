"""The endpoints that make something: a caption, a guess, a file, a comparison."""

from collections.abc import Generator, Iterator
from contextlib import closing

from crossviz.errors import CaptionError, CrossvizError
from crossviz.explanation import SUFFIXES
from crossviz.photo import load_photo
from crossviz.render.failed import Failed
from crossviz.render.room import check_room
from crossviz.web.api_json import explanation_json
from crossviz.web.api_values import File, a_list, explained, explained_phrase, handed_out, photo_of, text_of
from crossviz.web.checks import in_one_thread
from crossviz.web.compare_events import FEWEST, MOST, each_model
from crossviz.web.engine import Engine
from crossviz.web.file_names import file_name
from crossviz.words import check_caption

__all__ = ["Making"]


def _last_of(growing: Iterator[str]) -> Generator[str, None, str]:
    """A text as it grows; returns the whole."""
    text = ""
    for text in growing:
        yield text
    return text


class Making:
    """One method per endpoint, under its name.

    Args:
        engine: answers; the one that the page asks, too.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write(self, photo: File, model: str, method: str = "") -> dict:
        """Let a model that writes captions write one for a photo, and say where its words look.

        Parameters:
            photo: a JPEG, PNG, WebP, GIF, BMP or TIFF file
            model: a name that `models` lists, of one that writes, as coca-mini
            method: a name that `methods` lists, the model's first if empty
        Returns:
            What `explain` gives for the caption that the model wrote, as JSON
        """
        steps = self._engine.read_steps(photo_of(photo), text_of("model", model), method=text_of("method", method))
        explainer, image = self._engine.finished(steps)
        with closing(in_one_thread(lambda: _last_of(explainer.write(image)))) as growing:
            caption = self._engine.finished(growing)
        if not any(character.isalnum() for character in caption):
            raise CaptionError(f"{explainer.info.name} wrote no words for this photo: write a caption yourself.")
        return explanation_json(explainer.explain(image, caption.strip(), text_of("method", method) or None))

    def hide(
        self,
        photo: File,
        caption: str,
        model: str,
        text: str | None = None,
        span: list[int] | None = None,
        word: int | None = None,
        method: str = "",
    ) -> dict:
        """Hide a word of the caption from a model that guesses words, as vilt-mini, and say what it takes it for.

        Parameters:
            photo: a JPEG, PNG, WebP, GIF, BMP or TIFF file
            caption: the sentence
            model: a name that `models` lists, of one that guesses
            text: the word or phrase as it stands in the caption; this, span or word is needed
            span: instead of text, its start and end in characters
            word: instead of text, the index of a word, from 0
            method: a name that `methods` lists, the model's first if empty
        Returns:
            What `explain` gives, with the guesses, as JSON
        """
        chosen = {"text": text, "span": span, "word": word}
        shown, phrase = explained_phrase(self._engine, photo, caption, model, method, **chosen)
        steps = self._engine.again_steps(shown, text_of("model", model), (phrase.start, phrase.end))
        return explanation_json(self._engine.finished(steps))

    def export(
        self, photo: File, caption: str, format: str, words: list[str] | None = None, model: str = "", method: str = ""
    ) -> File:
        """Save an explanation as a file: a figure, an interactive page, or the numbers.

        Parameters:
            photo: a JPEG, PNG, WebP, GIF, BMP or TIFF file
            caption: the sentence
            format: .png, .svg, .pdf, .html, .gif, .npz, .json or .csv
            words: words or phrases that a figure or table shows, 100 at most, every word if left out (of a figure the
                first 100); the one that a .gif is about
            model: a name that `models` lists, the server's first if empty
            method: a name that `methods` lists, the model's first if empty
        Returns:
            The file
        """
        suffix = text_of("format", format).lower()
        if suffix not in SUFFIXES:
            raise CrossvizError(f"There is no format {suffix!r:.40}: choose one of {', '.join(SUFFIXES)}.")
        chosen = a_list("words", words, str)
        check_room(len(chosen or ()))
        explanation = explained(self._engine, photo, caption, model, method)
        return handed_out(explanation.to_bytes(suffix, words=chosen), file_name(explanation.caption.text) + suffix)

    def compare(self, photo: File, caption: str, models: list[str]) -> tuple[dict, File]:
        """Draw the maps of several models beside each other, on one scale in multiples of chance.

        Parameters:
            photo: a JPEG, PNG, WebP, GIF, BMP or TIFF file
            caption: the sentence
            models: two to four names that `models` lists
        Returns:
            What `explain` gives for each model, or why it gives nothing, as JSON; and the figure as a PNG file
        """
        from crossviz.render.compare import compare  # matplotlib's figures take a while to load
        from crossviz.render.figure import figure_bytes

        names = a_list("models", models, str) or []
        if not FEWEST <= len(names) <= MOST:
            raise CrossvizError(f"Choose {FEWEST} to {MOST} models to compare; {len(names)} are given.")
        loaded, sentence = load_photo(photo_of(photo)), check_caption(text_of("caption", caption))
        entries = self._engine.finished(each_model(self._engine, loaded, sentence, names))
        if all(isinstance(entry, Failed) for entry in entries):
            raise CrossvizError(" ".join(f"{entry.model}: {entry.reason}" for entry in entries))
        answers = [
            {"model": entry.model, "error": entry.reason} if isinstance(entry, Failed) else explanation_json(entry)
            for entry in entries
        ]
        return {"models": answers}, handed_out(figure_bytes(compare(entries), "png"), "crossviz-comparison.png")
