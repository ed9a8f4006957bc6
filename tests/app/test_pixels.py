"""What the viewer draws and says is what Python computes: the same bytes, levels, ticks and texts."""

import base64

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import meadow, shares

from crossviz.explanation import Explanation
from crossviz.render import colour
from crossviz.render.contour import half_mass, half_mass_outlines
from crossviz.render.overlay import dim_photo, display_rgba
from crossviz.render.payload import viewer_payload
from crossviz.render.quantised import dequantise
from crossviz.render.scale import Scale, shared_scale, word_scale

READ = """async ([word, layer, head, smooth, own, opacity, cmap, width, height]) => {
  const { payload, field } = crossvizView.view();
  const state = { layer, head, smooth, own, opacity, cmap };
  const image = CrossvizViewer.heatFor(payload, field, state, [{ word, hue: 0 }], [], { width, height });
  let text = "";
  for (const byte of image.data) text += String.fromCharCode(byte);
  return btoa(text);
}"""
CANVAS = """() => {
  const canvas = crossvizView.view().stage.heat();
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (const byte of data) text += String.fromCharCode(byte);
  return [canvas.width, canvas.height, btoa(text)];
}"""


def rgba(text: str, width: int, height: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def sent(explanation: Explanation, layer: int | None, head: int | None) -> np.ndarray:
    """The maps `word gh gw` as the viewer gets them (quantised), aggregated as it must."""
    payload = viewer_payload(explanation)
    grid = (explanation.grid.height, explanation.grid.width)
    words = len(explanation.words)
    if layer is None and head is None:
        return dequantise(payload["means"], (words, *grid))
    maps = dequantise(payload["maps"], (len(payload["layers"]), payload["heads"], words, *grid))
    maps = maps[[layer] if layer is not None else slice(None)][:, [head] if head is not None else slice(None)]
    return maps.sum((0, 1)) if explanation.map.reduce == "sum" else maps.mean((0, 1))


def part_scale(explanation: Explanation, one_layer: bool, one_head: bool, shared: Scale) -> Scale:
    """Parts of a sum share a scale of their own, which ends at the largest part of that kind."""
    if explanation.map.reduce == "mean":
        return shared
    layers, heads = explanation.map.per_head.shape[:2]
    parts = [
        sent(explanation, layer, head)
        for layer in (range(layers) if one_layer else [None])
        for head in (range(heads) if one_head else [None])
    ]
    return shared_scale(np.stack(parts), explanation.unit, signed=explanation.map.signed)


@pytest.mark.parametrize(
    ("explanation", "layer", "head"),
    [
        (meadow(), None, None),
        (meadow(size_wh=(301, 700)), None, 2),
        (meadow(crop=True), None, None),
        (meadow(layers=3), 1, None),
        (shares(3, 4), None, None),
        (shares(3, 4), 2, 1),
        (shares(3, 4), 1, None),
    ],
    ids=[
        "mean",
        "portrait, one head",
        "centre crop",
        "one layer",
        "signed, summed",
        "signed, one head",
        "signed, one layer",
    ],
)
@pytest.mark.parametrize("smooth", [True, False], ids=["smooth", "patches"])
def test_heat_has_the_bytes_of_the_reference(show, explanation, layer, head, smooth):
    page = show(explanation).page
    chart = explanation.map
    for word, own, opacity, size, cmap in [
        (1, False, 0.85, (512, 341), None),
        (len(explanation.words) - 1, True, 0.6, (97, 64), -1),
    ]:
        values = sent(explanation, layer, head)[word]
        scale = shared_scale(sent(explanation, None, None), chart.unit, signed=chart.signed)
        if layer is not None or head is not None:
            scale = part_scale(explanation, layer is not None, head is not None, scale)
        scale = word_scale(values, scale) if own else scale
        names = colour.DIVERGING if chart.signed else colour.SEQUENTIAL
        name = names[0] if cmap is None else names[cmap]
        wanted = display_rgba(values, scale, size, view=explanation.view, smooth=smooth, opacity=opacity, cmap=name)
        seen = rgba(page.evaluate(READ, [word, layer, head, smooth, own, opacity, name, *size]), *size)
        # vmax travels with seven digits, so an index that lies within 1e-6 of a rounding edge may fall the other way.
        differ = (seen != wanted).any(axis=-1)
        assert differ.mean() < 2e-4
        if differ.any():
            assert np.abs(seen[differ].astype(int) - wanted[differ]).max() <= 6


def test_canvas_holds_what_was_drawn(show):
    explanation = meadow()
    page = show(explanation).page
    page.hover(".cv-chip >> text=frisbee")
    width, height, text = page.evaluate(CANVAS)
    seen = rgba(text, width, height).astype(int)
    word = next(word.index for word in explanation.words if word.text == "frisbee")
    scale = shared_scale(sent(explanation, None, None), "probability")
    wanted = display_rgba(sent(explanation, None, None)[word], scale, (width, height), view=explanation.view).astype(
        int
    )
    assert (width, height) == (512, 341)
    assert (np.abs(seen[..., 3] - wanted[..., 3]) <= 1).all()
    assert wanted[..., 3].max() > 200
    # A canvas keeps colours multiplied by alpha, in bytes: half a level there is 127.5 / alpha levels here.
    alpha = wanted[..., 3:]
    allowed = np.ceil(127.5 / np.maximum(alpha, 1)) + 3
    assert ((np.abs(seen - wanted)[..., :3] <= allowed) | (alpha == 0)).all()


def test_colour_tables_are_those_of_python(show):
    page = show(meadow()).page
    for signed, names in ((False, colour.SEQUENTIAL), (True, colour.DIVERGING)):
        assert page.evaluate("s => s ? CrossvizViewer.DIVERGING : CrossvizViewer.SEQUENTIAL", signed) == list(names)
        for name in names:
            table = page.evaluate("([n, s]) => Array.from(CrossvizViewer.packedTable(n, 0.7, s))", [name, signed])
            seen = np.array(table, dtype="<u4").view(np.uint8).reshape(256, 4)
            assert (seen == colour.rgba_table(name, 0.7, signed)).all(), name


@pytest.mark.parametrize("smooth", [True, False], ids=["smooth", "patches"])
def test_half_of_the_mass_lies_where_python_says(show, smooth):
    explanation = meadow()
    page = show(explanation).page
    for word in (1, 5, len(explanation.words) - 1):
        values = sent(explanation, None, None)[word]
        wanted = half_mass(values, smooth=smooth)
        seen = page.evaluate("([w, s]) => crossvizView.view().field.stats(w, null, null, s).half", [word, smooth])
        assert seen["level"] == pytest.approx(wanted.level, rel=1e-9)
        assert seen["area"] == pytest.approx(wanted.area, abs=1e-9)
        assert seen["mass"] == pytest.approx(wanted.mass, rel=1e-9)


def test_outline_runs_where_python_draws_it(show):
    explanation = meadow()
    page = show(explanation).page
    word = next(word.index for word in explanation.words if word.text == "dog")
    segments = page.evaluate("w => crossvizView.view().field.outline(w, null, null, true)", word)
    points = {tuple(point) for point in np.round(np.array(segments).reshape(-1, 2), 6)}
    lines = half_mass_outlines(sent(explanation, None, None)[word])
    wanted = {tuple(point) for line in lines for point in np.round(line, 6)}
    assert len(wanted) > 50
    assert points == wanted


def test_a_word_below_chance_has_no_outline(show):
    explanation = meadow()
    page = show(explanation).page
    zebra = next(word.index for word in explanation.words if word.text == "zebra")
    assert page.evaluate("w => crossvizView.view().field.outline(w, null, null, true)", zebra) == []


@pytest.mark.parametrize(
    "explanation", [meadow(), meadow("a zebra", {}), shares(2, 2)], ids=["found", "floor", "signed"]
)
def test_ticks_are_those_of_the_figure(show, explanation):
    page = show(explanation).page
    chart = explanation.map
    scale = shared_scale(sent(explanation, None, None), chart.unit, signed=chart.signed)
    seen = page.evaluate(
        "() => { const f = crossvizView.view().field; return CrossvizViewer.barTicks(f.scaleFor([])); }"
    )
    assert seen == pytest.approx(scale.ticks(), rel=1e-5)


def test_null_mass_is_that_of_the_explanation(show):
    explanation = meadow(layers=2)
    page = show(explanation).page
    for layer, head in ((None, None), (1, None), (None, 2), (0, 3)):
        for word in explanation.words:
            seen = page.evaluate(
                "([w, l, h]) => crossvizView.view().field.nullMass(w, l, h)", [word.index, layer, head]
            )
            assert seen == pytest.approx(explanation.null_mass(word=word.index, layer=layer, head=head), abs=1e-5)


def test_photo_is_dimmed_for_the_download_as_in_the_figure(show):
    page = show(meadow()).page
    colours = torch.randint(0, 256, (64, 3), generator=torch.Generator().manual_seed(0)).numpy().astype(np.uint8)
    seen = page.evaluate(
        """(rows) => {
          const canvas = document.createElement("canvas");
          Object.assign(canvas, { width: rows.length, height: 1 });
          const ctx = canvas.getContext("2d");
          rows.forEach(([r, g, b], i) => { ctx.fillStyle = `rgb(${r} ${g} ${b})`; ctx.fillRect(i, 0, 1, 1); });
          CrossvizViewer.dimPhoto(ctx, rows.length, 1);
          return Array.from(ctx.getImageData(0, 0, rows.length, 1).data);
        }""",
        colours.tolist(),
    )
    wanted = np.asarray(dim_photo(Image.fromarray(colours[None])))[0].astype(int)
    assert np.abs(np.array(seen).reshape(-1, 4)[:, :3] - wanted).max() <= 1
