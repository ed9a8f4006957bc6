"""What the API answers, as plain JSON values: numbers in full, nothing quantised, no picture inside."""

from typing import Any

import numpy as np

from crossviz.explainer import Explainer
from crossviz.explanation import Explanation
from crossviz.generation import Generation, WordMaps
from crossviz.map_difference import Difference
from crossviz.methods import MethodInfo
from crossviz.models import ModelInfo
from crossviz.words import Phrase

__all__ = [
    "difference_json",
    "explanation_json",
    "generation_json",
    "heatmap_json",
    "method_json",
    "model_json",
]


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Everything about an explanation but its maps; docs/api.md says what each part is."""
    ex, chart = explanation, explanation.map
    provenance = ex.provenance.to_arrays()[1]
    answer = {
        "caption": ex.caption.text,
        "words": [_word(ex, index) for index in range(len(ex.words))],
        "noun_phrases": [{"text": p.text, "start": p.start, "end": p.end} for p in ex.noun_phrases],
        "cut_at": ex.caption.cut_at,
        "model": ex.provenance.model,
        "method": ex.method,
        "unit": ex.unit,
        "signed": chart.signed,
        "direction": chart.direction,
        "text_dependent": chart.text_dependent,
        "similarity": ex.similarity,
        "layers": list(chart.layers) if chart.per_head is not None else [],
        "heads": 0 if chart.per_head is None else chart.per_head.shape[1],
        **_place(ex),
        "scale": _scale(ex),
        "notes": list(chart.notes),
        "figure_caption": ex.figure_caption(),
        "provenance": provenance,
    }
    if ex.hidden:
        tokens, written = ex.caption.tokens, ex.caption.text
        answer["hidden"] = list(ex.hidden)
        answer["guesses"] = [
            {
                "token": written[tokens[guess.token].start : tokens[guess.token].end],
                "choices": [[text, share] for text, share in guess.choices],
            }
            for guess in ex.guesses
        ]
    return answer


def generation_json(generation: Generation) -> dict[str, Any]:
    """A generated picture without its pixels: of each word the maps of both directions, the mean over layers and heads;
    docs/api.md says what each part is."""
    drawn = generation
    height, width = drawn.picture.shape[:2]
    maps = {"asks_text": drawn.asks_text, "asks_image": drawn.asks_image}
    return {
        "caption": drawn.caption.text,
        "words": [
            {
                "index": word.index,
                "text": word.text,
                "start": word.start,
                "end": word.end,
                **{name: None if found is None else _word_map(found, word.index) for name, found in maps.items()},
            }
            for word in drawn.words
        ],
        "grid": {"height": drawn.grid.height, "width": drawn.grid.width},
        "picture": {"height": height, "width": width},
        "steps": drawn.steps,
        "written": None if drawn.written is None else drawn.written.tolist(),
        "tokens": None if drawn.tokens is None else drawn.tokens.tolist(),
        "settings": dict(drawn.settings),
        "verdict": None if drawn.verdict is None else dict(drawn.verdict),
        "model": drawn.provenance.model,
        "notes": list(drawn.provenance.notes),
        "provenance": drawn.provenance.to_arrays()[1],
    }


def heatmap_json(explanation: Explanation, phrase: Phrase, layer: int | str | None, head: int | None) -> dict[str, Any]:
    """One map with its numbers.

    Raises:
        SelectionError: no such layer or head.
    """
    ex, words = explanation, phrase.words
    values = ex.map.select(words, layer, head).numpy()  # gh gw
    return {
        "text": phrase.text,
        "start": phrase.start,
        "end": phrase.end,
        "layer": layer,
        "head": head,
        "unit": ex.unit,
        "values": [[_exact(value) for value in row] for row in values],
        "null_mass": None if ex.map.null_mass is None else ex.map.select_null(words, layer, head),
        "peak": _peak(ex, values),
        **_place(ex),
        "scale": _scale(ex),
        "figure_caption": ex.figure_caption(span=(phrase.start, phrase.end), layer=layer, head=head),
        "provenance": ex.provenance.to_arrays()[1],
    }


def difference_json(found: Difference) -> dict[str, Any]:
    """What differs between two maps: their figures, how much moved, and where the difference is largest."""
    values = found.values()
    sides = {"first": (found.first, found.word), "second": (found.second, found.other)}
    return {
        **{
            name: {
                "caption": ex.caption.text,
                "model": ex.provenance.model,
                "method": ex.method,
                "text": phrase.text,
                "start": phrase.start,
                "end": phrase.end,
                "null_mass": None if ex.map.null_mass is None else ex.map.select_null(phrase.words),
            }
            for name, (ex, phrase) in sides.items()
        },
        "moved": found.moved,
        "unit": found.unit,
        "scale_end": found.scale.vmax,
        "largest": _extreme(values, values.argmax()),
        "smallest": _extreme(values, values.argmin()),
    }


def _extreme(values: np.ndarray, at: int) -> dict[str, Any]:
    y, x = divmod(int(at), values.shape[1])
    return {"value": _exact(values[y, x]), "xy": [x, y]}


def model_json(info: ModelInfo, explainer: Explainer | None) -> dict[str, Any]:
    """A model; what it can do is known only once it is loaded, and None until then."""
    loaded = explainer is not None
    return {
        "name": info.name,
        "title": info.title,
        "sentence": info.sentence,
        "attention": info.attention_sentence,
        "trained": info.trained,
        "available": info.available,
        "reason": info.reason,
        "loaded": loaded,
        "writes": explainer.writes if loaded else None,
        "guesses": explainer.guesses if loaded else None,
    }


def method_json(info: MethodInfo) -> dict[str, Any]:
    """A method."""
    return {
        "name": info.name,
        "title": info.title,
        "sentence": info.sentence,
        "paper": info.paper,
        "unit": info.unit,
        "signed": info.signed,
        "text_dependent": info.text_dependent,
    }


def _word(ex: Explanation, index: int) -> dict[str, Any]:
    word, chart = ex.words[index], ex.map
    read = bool(word.tokens)
    return {
        "index": index,
        "text": word.text,
        "start": word.start,
        "end": word.end,
        "read": read,
        "null_mass": ex.null_mass(word=index) if read and chart.null_mass is not None else None,
        "peak": _peak(ex, chart.values[index].numpy()) if read else None,
    }


def _peak(ex: Explanation, values: np.ndarray) -> dict[str, Any]:
    """The strongest patch of a map `gh gw`."""
    row, column = (int(at) for at in np.unravel_index(int(values.argmax()), values.shape))
    left, top, right, bottom = ex.view.patch_box(ex.grid, row, column)
    value = _exact(values[row, column])
    return {
        "row": row,
        "column": column,
        "xy": [(left + right) / 2, (top + bottom) / 2],
        "value": value,
        "times_chance": value * ex.grid.num_patches if ex.unit == "probability" else None,
    }


def _place(ex: Explanation) -> dict[str, Any]:
    return {
        "grid": {"height": ex.grid.height, "width": ex.grid.width},
        "photo": {"width": ex.view.source_wh[0], "height": ex.view.source_wh[1]},
        "crop_xyxy": list(ex.view.crop_xyxy),
    }


def _scale(ex: Explanation) -> dict[str, Any]:
    scale = ex.scale
    return {"start": scale.vmin, "end": scale.vmax, "factor": scale.factor, "label": scale.label}


def _exact(value: np.float32) -> float:
    """The shortest number that is the same float32 again."""
    return float(str(np.float32(value)))


def _word_map(maps: WordMaps, word: int) -> list[list[float]]:
    return [[_exact(value) for value in row] for row in maps.select((word,)).numpy()]
