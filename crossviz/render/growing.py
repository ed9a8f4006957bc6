"""A generated picture as it grows: an animated GIF, on request with a word's map over every frame."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from crossviz.render import colour
from crossviz.render.animation import fit, font_of
from crossviz.render.overlay import stamp_untrained

if TYPE_CHECKING:
    from crossviz.generation import Generation
    from crossviz.words import Phrase

__all__ = ["evenly", "growing_bytes", "marked"]

WIDTH = 384
MOST_FRAMES = 48
PAUSE, LAST_PAUSE = 90, 1800
"""Milliseconds that a frame is shown, and that the finished picture is."""


def evenly(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 0 to before `count`, evenly apart, the last one always."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def marked(generation: "Generation") -> Image.Image:
    """The finished picture; with the permanent stripe where the weights were not trained."""
    picture = generation.image()
    if not generation.provenance.trained:
        stamp_untrained(picture)
    return picture


def growing_bytes(generation: "Generation", phrases: "Sequence[Phrase]" = ()) -> bytes:
    """The GIF; it repeats without end. Under each frame stands how far it is, and the caption.

    Args:
        phrases: after the growing picture, each one's map on the finished one; a single one is drawn on every frame
            instead, as far as the picture is written.
    """
    source = generation.view.source_wh
    size = (WIDTH, max(1, round(source[1] * WIDTH / source[0])))
    shown: list[tuple[Image.Image, str, int]] = []
    for index in evenly(len(generation.frame_steps), MOST_FRAMES):
        step = generation.frame_steps[index]
        label = f"step {step} of {generation.steps}"
        if len(phrases) == 1 and step:
            phrase = phrases[0]
            picture = generation.overlay(span=(phrase.start, phrase.end), step=step, width=WIDTH)
            shown.append((picture, f"“{phrase.text}”, {label}", PAUSE))
        else:
            frame = Image.fromarray(generation.frames[index].numpy()).resize(size, Image.Resampling.BICUBIC)
            if not generation.provenance.trained:
                stamp_untrained(frame)
            shown.append((frame, label, PAUSE))
    shown[-1] = (*shown[-1][:2], LAST_PAUSE)
    for phrase in phrases if len(phrases) > 1 else ():
        picture = generation.overlay(span=(phrase.start, phrase.end), width=WIDTH)
        shown.append((picture, f"“{phrase.text}” wrote here", LAST_PAUSE))
    about = f"{generation.caption.text} · {generation.provenance.model}"
    pictures = [_lettered(picture, label, about) for picture, label, _ in shown]
    out = io.BytesIO()
    pictures[0].save(
        out,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=[pause for *_, pause in shown],
        loop=0,
        disposal=1,
    )
    return out.getvalue()


def _lettered(picture: Image.Image, label: str, about: str) -> Image.Image:
    """The picture with two lines under it, in 256 colours."""
    points = max(11, round(picture.width / 32))
    whole = Image.new("RGB", (picture.width, picture.height + round(points * 3.2)), colour.PAPER)
    whole.paste(picture, (0, 0))
    pen, font, left = ImageDraw.Draw(whole), font_of(points), points // 2
    for line, (text, ink) in enumerate([(label, colour.INK), (about, colour.MUTED)]):
        pen.text(
            (left, picture.height + points * (0.35 + 1.4 * line)), fit(text, font, picture.width - 2 * left), ink, font
        )
    return whole.quantize(256, Image.Quantize.MEDIANCUT)
