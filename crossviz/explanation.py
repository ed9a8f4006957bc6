"""What one explanation holds, how to ask it, and how to keep it."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from crossviz.bundle import Bundle, read_bundle, write_atomic
from crossviz.errors import BundleError, ResultError
from crossviz.export import SUFFIXES, export_bytes
from crossviz.geometry import ImageView, PatchGrid
from crossviz.noun_phrases import noun_phrases
from crossviz.photo import Photo
from crossviz.results import AttentionRecord, Guess, Heads, Provenance, RelevanceMap
from crossviz.stored import bundle_to_parts, bundle_to_settings
from crossviz.trust.report import TrustReport
from crossviz.view_settings import ViewSettings
from crossviz.words import Caption, Phrase, Word

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crossviz.inside import Inside
    from crossviz.render.scale import Scale

__all__ = ["SUFFIXES", "Explanation", "explanation_of", "load", "load_with_settings"]

Selector = int | str | tuple[int, int]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where each word of a caption looks in a photo. Equality is exact, of every part.

    A word or a phrase is chosen by exactly one of `text` ("red frisbee", as whole words), `span` (start and end in
    characters) and `word` (index). Its map is the mean over its tokens; layers and heads are averaged (probabilities)
    or summed (shares) unless one is asked for.

    Args:
        photo: the photo, upright.
        caption: the caption with its tokens and words.
        view: from the photo to what the model saw.
        grid: the patches.
        record: every head's attention; None where the method read none.
        maps: relevance by method name.
        method: the name of the map that is shown.
        similarity: cosine of photo and caption, in [-1, 1]; None where the model has no such figure.
        provenance: model, weights, libraries.
        trust: how far maps of single words can be trusted, by span; see `Explainer.trust`.
        parts: where `record` is composed of several attentions, each of them by its title.
        hidden: indices of the words that the model did not get to read.
        guesses: what it took their tokens for.

    Raises:
        ResultError: for parts that don't fit together.
    """

    photo: Photo
    caption: Caption
    view: ImageView
    grid: PatchGrid
    record: AttentionRecord | None
    maps: Mapping[str, RelevanceMap]
    method: str
    similarity: float | None
    provenance: Provenance
    trust: Mapping[tuple[int, int], TrustReport] = field(default_factory=dict)
    parts: Mapping[str, AttentionRecord] = field(default_factory=dict)
    hidden: tuple[int, ...] = ()
    guesses: tuple[Guess, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", MappingProxyType(dict(self.maps)))
        object.__setattr__(self, "trust", MappingProxyType(dict(self.trust)))
        object.__setattr__(self, "parts", MappingProxyType(dict(self.parts)))
        object.__setattr__(self, "hidden", tuple(self.hidden))
        object.__setattr__(self, "guesses", tuple(self.guesses))
        if self.similarity is not None:
            object.__setattr__(self, "similarity", float(self.similarity))
        if self.method not in self.maps:
            raise ResultError(
                f"There is no map of method {self.method!r:.60}, only of {', '.join(self.maps) or 'none'}."
            )
        if self.similarity is not None and not math.isfinite(self.similarity):
            raise ResultError(f"`similarity` must be a finite number, but is {self.similarity}.")
        if self.view.source_wh != self.photo.wh:
            raise ResultError(f"`view` is of a photo of {self.view.source_wh} pixels, but `photo` has {self.photo.wh}.")
        expected = (len(self.caption.words), self.grid.height, self.grid.width)
        for name, chart in self.maps.items():
            if chart.values.shape != expected:
                raise ResultError(
                    f"The map of {name!r:.60} must be of shape {expected} (words, grid height, grid width), "
                    f"but is {tuple(chart.values.shape)}."
                )
        tokens = {token for word in self.hidden if 0 <= word < expected[0] for token in self.words[word].tokens}
        if any(not 0 <= word < expected[0] for word in self.hidden) or any(g.token not in tokens for g in self.guesses):
            raise ResultError("`hidden` must hold words of the caption, and `guesses` be of their tokens.")
        for span, report in self.trust.items():
            if span != report.span:
                raise ResultError(f"`trust` holds at {span} a report of {report.span}.")
            report.check_fits(self.caption.text, tuple(self.maps), expected[1:])

    def __eq__(self, other: object) -> bool:
        if type(other) is not Explanation:
            return NotImplemented
        return all(getattr(self, part.name) == getattr(other, part.name) for part in fields(self))

    __hash__ = None

    def __reduce__(self) -> tuple:
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return _restore, (values | {name: dict(getattr(self, name)) for name in ("maps", "trust", "parts")},)

    def with_trust(self, report: TrustReport) -> "Explanation":
        """This explanation with a report of one of its words, in the place of an older one of the same span.

        Raises:
            ResultError: the report is of another caption, method or grid.
        """
        return replace(self, trust={**self.trust, report.span: report})

    @property
    def words(self) -> tuple[Word, ...]:
        """The caption's words, with character spans."""
        return self.caption.words

    @property
    def noun_phrases(self) -> tuple[Phrase, ...]:
        """The caption's noun phrases of more than one word ("a red frisbee"), in order, as far as the model read it.

        Found by a small tagger for English; in a caption that seems to be in another language there are none.
        """
        found = noun_phrases(self.caption)
        return tuple(self.caption.phrase(span=(self.words[a].start, self.words[b].end)) for a, b in found)

    @property
    def map(self) -> RelevanceMap:
        """The map of `method`."""
        return self.maps[self.method]

    @property
    def unit(self) -> str:
        """What a value of `heatmap` is, e.g. "probability"."""
        return self.map.unit

    @property
    def method_title(self) -> str:
        """The method's name as it reads in a sentence."""
        known = self.provenance.method_title if self.provenance.method == self.map.method else ""
        return known or self.map.method.replace("_", " ").capitalize()

    @property
    def scale(self) -> "Scale":
        """The one colour scale of all words."""
        from crossviz.render.scale import map_scale

        return map_scale(self.map)

    def patch_map(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        layer: int | str | None = None,
        head: Heads = None,
    ) -> np.ndarray:
        """The map over patches, not normalised: float32 `gh gw`, in `unit`.

        Raises:
            SelectionError: no such word, layer or head, or one that the model did not read.
        """
        phrase = self.caption.phrase(text, span=span, word=word)
        return self.map.select(phrase.words, layer, head).numpy()

    def heatmap(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        layer: int | str | None = None,
        head: Heads = None,
        smooth: bool = True,
    ) -> np.ndarray:
        """The map in the photo's own pixels, not normalised: float32 `H W`, in `unit`; 0 where the model saw nothing.

        Args:
            text, span, word: the word or phrase, by one of the three.
            layer: index or label; all of them if None.
            head: index; all of them if None; or pairs of a layer and a head, as [(0, 2), ("layer 4", 1)], whose mean
                is meant.
            smooth: bilinear between the centres of the patches, or the patches themselves.

        Raises:
            SelectionError: no such word, layer or head, or one that the model did not read.
        """
        values = self.patch_map(text, span=span, word=word, layer=layer, head=head)
        return self.view.upsample(values, smooth=smooth)

    def null_mass(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        layer: int | str | None = None,
        head: Heads = None,
    ) -> float:
        """How much of the word's attention went to the null key, "nothing in this picture": 0 to 1.

        Raises:
            SelectionError: as for `heatmap`.
            MethodError: the method has no null key.
        """
        return self.map.select_null(self.caption.phrase(text, span=span, word=word).words, layer, head)

    def overlay(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        layer: int | str | None = None,
        head: Heads = None,
        smooth: bool = True,
        opacity: float | None = None,
        cmap: str | None = None,
        scale: Literal["shared", "word"] = "shared",
        contour: bool | float = True,
        width: int | None = None,
    ) -> Image.Image:
        """The map drawn on the photo, mode RGB.

        Args:
            text, span, word, layer, head, smooth: as for `heatmap`.
            opacity: of the strongest heat, 0 to 1; 0.85 if None.
            cmap: "viridis" (the default), "plasma", "inferno", "magma", "cividis"; for signed maps "RdBu_r" (the
                default), "PuOr_r", "coolwarm".
            scale: "shared": one scale for all words of the caption; of a map that is a sum, parts of the same kind
                (single heads, single layers) share one of their own. "word": this map's own maximum is the end of
                the scale, so that pictures of two words no longer compare.
            contour: the line around the smallest region that holds half of the map's mass, or, as a number, this
                share of it; False draws none.
            width: of the picture in pixels, 1 to 16384; the photo's own size if None.

        Raises:
            SelectionError: as for `heatmap`.
            RenderError: no such colour map, opacity, scale, contour or width.
        """
        from crossviz.render import colour
        from crossviz.render.overlay import draw_overlay, sized
        from crossviz.render.panels import check_scale
        from crossviz.render.scale import map_scale, word_scale

        values = self.patch_map(text, span=span, word=word, layer=layer, head=head)
        check_scale(scale)
        shared = map_scale(self.map, layer, head)
        return draw_overlay(
            self.photo.image(),
            values,
            self.view,
            shared if scale == "shared" else word_scale(values, shared),
            smooth=smooth,
            opacity=colour.OPACITY if opacity is None else opacity,
            cmap=cmap,
            contour=contour,
            trained=self.provenance.trained,
            size_wh=sized(self.photo.wh, width),
        )

    def figure_caption(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        layer: int | str | None = None,
        head: Heads = None,
        scale: Literal["shared", "word"] = "shared",
    ) -> str:
        """One line for papers: model, weights, method, layer, head, scale and crop.

        Args:
            text, span, word: the word or phrase that the picture shows; of all words if none of them is given.
            layer, head, scale: as for `overlay`.

        Raises:
            SelectionError: as for `heatmap`.
            RenderError: no such scale.
        """
        from crossviz.render.caption_line import caption_line
        from crossviz.render.panels import check_scale
        from crossviz.render.scale import map_scale, word_scale

        check_scale(scale)
        if text is None and span is None and word is None:
            return caption_line(self, layer=layer, head=head)
        phrase = self.caption.phrase(text, span=span, word=word)
        values = self.map.select(phrase.words, layer, head).numpy()
        vmax = None if scale == "shared" else word_scale(values, map_scale(self.map, layer, head)).vmax
        return caption_line(self, phrase.text, layer, head, vmax)

    def sentence(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        layer: int | str | None = None,
        head: int | None = None,
        share: float = 0.5,
    ) -> str:
        """Where the map lies, for those who don't see it: "‘frisbee’ looks mostly at the upper right, 46 % of its
        attention in 9 % of the picture."

        The place is that of the smallest region that holds `share` of the attention on the picture; the figures are
        that region's part of all attention, null key included, and of the picture's area. No place is named where the
        map does not stand out from chance.

        Args:
            text, span, word, layer, head: as for `heatmap`.
            share: above 0, at most 1.

        Raises:
            SelectionError: as for `heatmap`.
            RenderError: no such share.
        """
        from crossviz.render.told import told

        return told(self, self.caption.phrase(text, span=span, word=word), layer, head, share)

    def figure(
        self,
        words: Sequence[Selector] | None = None,
        *,
        layer: int | str | None = None,
        head: Heads = None,
        smooth: bool = True,
        opacity: float | None = None,
        cmap: str | None = None,
        scale: Literal["shared", "word"] = "shared",
        contour: bool | float = True,
        width: int | None = None,
    ) -> "Figure":
        """A matplotlib figure: the photo, a panel per word on one scale, the colour bar, and how it was made.

        Args:
            words: what to show, each by index, by text, or by span, 100 at most; every word of the caption if None, of
                a longer one the first 100.
            layer, head, smooth, opacity, cmap, scale, contour: as for `overlay`.
            width: of the figure as a PNG, in pixels, 64 to 16384; 160 pixels per inch if None.

        Raises:
            SelectionError: no such word, layer or head.
            RenderError: too many words; no such colour map, opacity, scale, contour or width.
        """
        from crossviz.render.panels import explanation_figure

        return explanation_figure(
            self,
            words,
            layer=layer,
            head=head,
            smooth=smooth,
            opacity=opacity,
            cmap=cmap,
            scale=scale,
            contour=contour,
            width=width,
        )

    def sheet(
        self,
        words: Sequence[Selector] | None = None,
        *,
        layer: int | str | None = None,
        head: Heads = None,
        smooth: bool = True,
        opacity: float | None = None,
        cmap: str | None = None,
        scale: Literal["shared", "word"] = "shared",
        contour: bool | float = False,
        cell: int | None = None,
    ) -> Image.Image:
        """Every word through every head in one picture, mode RGB: a row per word, a column per head, each cell what
        `overlay` draws of them; with the photo, the null mass under each cell, the colour bar, and how it was made.

        Args:
            words: a row for each, by index, by text, or by span; every word of the caption if None.
            layer: index or label; the heads of all layers if None.
            head: index; every head if None; or pairs of a layer and a head, as [(0, 2), ("layer 4", 1)], a column each.
            smooth, opacity, cmap, contour: as for `overlay`; no line if not asked for.
            scale: "shared": one scale for the whole sheet, that of `overlay`. "word": each row's largest value is the
                end of its scale, so that heads of one word compare, and words don't.
            cell: side of a square photo's cell in pixels, 24 to 2048 (other shapes have the same area); if None 112,
                160 where there are no more than 60 cells, and less where there are more than 1200.

        Raises:
            SelectionError: no such word, layer or head, or a method without single heads.
            RenderError: no such colour map, opacity, scale, contour or cell, no word, or a sheet of more than 16384
                pixels a side or 80 million in all.
        """
        from crossviz.render.sheet import explanation_sheet

        return explanation_sheet(
            self,
            words,
            layer=layer,
            head=head,
            smooth=smooth,
            opacity=opacity,
            cmap=cmap,
            scale=scale,
            contour=contour,
            cell=cell,
        )

    def save(
        self,
        path: str | os.PathLike,
        *,
        words: Sequence[Selector] | None = None,
        width: int | None = None,
        settings: ViewSettings | None = None,
        cells: "Sequence[Inside]" = (),
    ) -> None:
        """Write the explanation; the suffix decides what.

        .npz the data; .json the data as text; .png and .svg the figure; .html the interactive page; .gif one word's
        map layer by layer (head by head where there is one layer); these six hold the whole explanation, which `load`
        reads back. .pdf is the figure alone, .csv a table with a row per word and patch. The file is written whole or
        not at all.

        Args:
            path: where to.
            words: what a .png, .svg, .pdf or .csv shows, as for `figure`, and the one word or phrase that a .gif is
                about (the most strongly found if None); the data is always whole.
            width: of a .png or .gif in pixels, at most 16384.
            settings: how pictures are drawn: through which layer and heads, on which scale, in which colours. An .html
                opens with them, and every file that holds the explanation keeps them for `load_with_settings`. They
                choose the words, too, where `words` is None and they hold or show any.
            cells: of `Explainer.inside`, whose arithmetic an .html shows, too.

        Raises:
            BundleError: another suffix, or a folder that can't be written to.
            SelectionError: no such word, layer or head.
            RenderError: no such width or colour map, or a width for a file without pixels, or cells for another
                than an .html.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise BundleError(
                f"{path.name!r:.80} can't be saved as {suffix or 'a file without suffix'}: "
                f"choose one of {', '.join(SUFFIXES)}."
            )
        if not path.parent.is_dir():
            raise BundleError(f"There is no folder {str(path.parent)!r}: make it first.")
        write_atomic(path, self.to_bytes(suffix, words=words, width=width, settings=settings, cells=cells))

    def to_bytes(
        self,
        suffix: str,
        *,
        words: Sequence[Selector] | None = None,
        width: int | None = None,
        settings: ViewSettings | None = None,
        cells: "Sequence[Inside]" = (),
    ) -> bytes:
        """What `save` writes for a suffix of `SUFFIXES`."""
        return export_bytes(self, suffix, words, width, settings, cells)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What Jupyter shows: the interactive view, and a still picture where that can't be."""
        from crossviz.render.notebook import mimebundle

        return mimebundle(self)

    def _repr_html_(self) -> str:
        """For notebooks that ask for no more than HTML."""
        from crossviz.render.notebook import notebook_html

        return notebook_html(self)

    def __repr__(self) -> str:
        return f"<Explanation of {self.caption.text!r:.60} by {self.provenance.model}, {self.method}>"


def load(path: str | os.PathLike) -> Explanation:
    """Read an explanation that `Explanation.save` wrote, but for .pdf and .csv; equal to the one that was saved.

    Safe for files from others: nothing in them is executed, and sizes are checked before anything is unpacked.

    Raises:
        BundleError: the file is missing, of another kind, damaged, or of a newer schema.
    """
    return load_with_settings(path)[0]


def load_with_settings(
    path: str | os.PathLike, *, most_bytes: int | None = None
) -> tuple[Explanation, ViewSettings | None]:
    """As `load`, and the settings of the view that it was saved with; None where it was saved without, or with some
    that this version does not know.

    Args:
        most_bytes: what the file may unpack to; 2 GB if None.

    Raises:
        BundleError: as for `load`.
    """
    return explanation_of(read_bundle(path, most_bytes))


def explanation_of(bundle: Bundle) -> tuple[Explanation, ViewSettings | None]:
    """The explanation that a bundle holds, and the settings of its view; None where there are none.

    Raises:
        BundleError: it holds something else, or is damaged.
    """
    parts = bundle_to_parts(bundle)
    try:
        return Explanation(**parts), bundle_to_settings(bundle)
    except ResultError as error:
        raise BundleError(f"The bundle is damaged: {error}") from error
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise BundleError("The bundle has parts of the wrong kind: save the explanation again.") from error


def _restore(values: dict) -> Explanation:
    return Explanation(**values)
