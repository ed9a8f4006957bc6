"""Contrast as WCAG 2 counts it, of what a page really paints: texts on what lies under their strokes, the borders of
controls against what lies around them, focus rings against what they are painted over, or the band that sets them off.

The page is taken twice, as it is and with every text transparent: where the two differ is a stroke, and the second
picture is its ground.
"""

import io

import numpy as np
from PIL import Image
from playwright.sync_api import FloatRect, Page

__all__ = ["failures", "ratio"]

TEXT, LARGE, PART = 4.5, 3.0, 3.0
"""What is asked of texts, of large texts (24 px, or 18.66 px bold), and of what shows a control or its focus."""

_HELPERS = """
  const box = ({ left, top, right, bottom }) => [left + scrollX, top + scrollY, right + scrollX, bottom + scrollY];
  const seen = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    && getComputedStyle(node).clipPath === "none" && !node.closest(".cv-live, .cv-told");
  /** The outermost ancestor that is translucent, and the product of all opacities from there. */
  const faded = (node) => {
    let [opacity, group] = [1, null];
    for (let at = node; at; at = at.parentElement) {
      const own = Number(getComputedStyle(at).opacity);
      if (own < 1) [opacity, group] = [opacity * own, at];
    }
    return { opacity, group: group && box(group.getBoundingClientRect()) };
  };
  const off = (node) => node.closest("[disabled], [aria-disabled=true]");
  /** The colour and width of a shadow that is a plain band around the part. */
  const shadow = ({ boxShadow }) => {
    const [, color = null, spread = "0"] = /^(rgb[^)]+[)]) 0px 0px 0px ([0-9.]+)px/.exec(boxShadow) || [];
    return { color, spread: Number(spread) };
  };
  const named = (node) => `<${node.tagName.toLowerCase()} class="${node.className}" id="${node.id}">`;
"""

_TEXTS = (
    "(roots) => {"
    + _HELPERS
    + """
  const found = [];
  const add = (node, text, color, rects) => {
    const { fontSize, fontWeight } = getComputedStyle(node);
    if (rects.length && seen(node) && !off(node)) {
      const type = { size: parseFloat(fontSize), weight: Number(fontWeight) };
      found.push({ name: named(node), text: text.slice(0, 40), color, rects, ...type, ...faded(node) });
    }
  };
  for (const root of document.querySelectorAll(roots)) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (!node.data.trim() || node.parentElement.closest("option, script, style, textarea, svg")) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const { color } = getComputedStyle(node.parentElement);
      add(node.parentElement, node.data, color, [...range.getClientRects()].map(box));
    }
    for (const field of root.querySelectorAll("select, textarea, input:not([type]), input[type=text]")) {
      const style = field.value ? getComputedStyle(field) : getComputedStyle(field, "::placeholder");
      add(field, field.value || field.placeholder || "", style.color, [box(field.getBoundingClientRect())]);
    }
  }
  return found;
}"""
)

_BORDERS = (
    "(roots) => {"
    + _HELPERS
    + """
  const found = [];
  const add = (node, style, rect) => {
    if (!seen(node) || off(node) || style.borderBottomStyle === "none" || !parseFloat(style.borderBottomWidth)) return;
    const reach = 2 + shadow(style).spread;
    found.push({ name: named(node), color: style.borderBottomColor, rect, reach, ...faded(node) });
  };
  const parts = "button, select, input:not([type=radio]), textarea, .cv-segments, .cv-gauge, .cv-swatch, .cv-head";
  for (const root of document.querySelectorAll(roots)) {
    for (const node of root.querySelectorAll(parts)) {
      add(node, getComputedStyle(node), box(node.getBoundingClientRect()));
    }
    for (const node of root.querySelectorAll(".cv-bracket")) {
      const rect = node.getBoundingClientRect();
      const middle = { left: rect.left + 12, right: rect.right - 12, top: rect.top, bottom: rect.top + 7 };
      add(node, getComputedStyle(node, "::before"), box(middle));
    }
  }
  return found;
}"""
)

_RINGS = (
    "(roots) => {"
    + _HELPERS
    + """
  const found = [];
  for (const root of document.querySelectorAll(roots)) {
    for (const node of root.querySelectorAll("button, select, input, textarea, summary, a[href], [tabindex]")) {
      if (off(node) || node.tabIndex < -1 || !node.checkVisibility({ visibilityProperty: true })) continue;
      document.activeElement.blur(); // one that has it by a click would go on without a ring
      node.focus({ focusVisible: true, preventScroll: true });
      if (document.activeElement !== node) continue;
      // Some show the focus of a part on the part that is seen.
      const around = [node.parentElement, node.closest(".cv-segments, .cv-stage, .wrap, .block")];
      const shows = [node, node.nextElementSibling, node.firstElementChild, ...around];
      const drawn = (at) => {
        if (!at || !at.checkVisibility({ opacityProperty: true })) return false;
        const { outlineStyle, outlineWidth } = getComputedStyle(at);
        return outlineStyle !== "none" && parseFloat(outlineWidth) >= 1;
      };
      const ring = shows.find(drawn);
      const name = named(node);
      if (!ring) {
        // Fields show it by a band of their own.
        const glow = shows.find((at) => at && shadow(getComputedStyle(at)).spread >= 1);
        const color = glow ? shadow(getComputedStyle(glow)).color : null;
        found.push({ name, color, rect: glow && box(glow.getBoundingClientRect()), reach: 1, ...faded(node) });
        continue;
      }
      const style = getComputedStyle(ring);
      const offset = parseFloat(style.outlineOffset);
      const { color, spread } = shadow(style);
      const part = { name, color: style.outlineColor, rect: box(ring.getBoundingClientRect()), ...faded(ring) };
      // What it is painted over; or a band of the part's own that lies between.
      const reach = offset + parseFloat(style.outlineWidth) / 2;
      found.push({ ...part, reach, band: spread >= offset ? color : null });
    }
  }
  document.activeElement.blur();
  return found;
}"""
)

_EXTENT = """(roots) => {
  const below = [...document.querySelectorAll(roots)].map((node) => node.getBoundingClientRect().bottom);
  return { x: 0, y: 0, width: innerWidth, height: Math.min(innerHeight, Math.ceil(Math.max(...below)) + 24) };
}"""
"""The part of the window that holds what is looked at, and what lies around it: the rest would be painted in vain."""

_CLEAR = """*, *::before, *::after, *::placeholder {
  color: transparent !important; -webkit-text-fill-color: transparent !important; caret-color: transparent !important;
}"""


def failures(page: Page, roots: str) -> tuple[list[str], dict[str, int]]:
    """What has too little contrast, a line each, and how many texts, borders and rings were looked at.

    Args:
        page: at rest, in a window that holds all of it (a picture of more would move the pointer's place); the focus is
            taken away.
        roots: selector of what is looked at.
    """
    texts, borders = page.evaluate(_TEXTS, roots), page.evaluate(_BORDERS, roots)
    extent = page.evaluate(_EXTENT, roots)
    shown = _picture(page, extent)
    style = page.add_style_tag(content=_CLEAR)
    ground = _picture(page, extent)
    style.evaluate("(node) => node.remove()")
    rings = page.evaluate(_RINGS, roots)
    found, counts = [], {"texts": 0, "borders": 0, "rings": 0}
    for text in texts:
        value = _of_text(text, shown, ground)
        if value is None:  # scrolled out of sight
            continue
        counts["texts"] += 1
        large = text["size"] >= 24 or (text["size"] >= 18.66 and text["weight"] >= 700)
        if value < (LARGE if large else TEXT):
            found.append(f"text {text['text']!r} of {text['name']}: {value:.2f}")
    for kind, parts in (("borders", borders), ("rings", rings)):
        for part in parts:
            value = 0.0 if part["color"] is None else _of_edge(part, ground)
            if value is None:
                continue
            counts[kind] += 1
            if value < PART:
                found.append(f"{kind[:-1]} of {part['name']}: {value:.2f}")
    return found, counts


def ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The contrast of colours `... 3` (0 to 255)."""
    lights = []
    for colour in (one, other):
        share = np.asarray(colour, np.float64) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        lights.append(linear @ np.array([0.2126, 0.7152, 0.0722]) + 0.05)
    return np.maximum(*lights) / np.minimum(*lights)


def _picture(page: Page, extent: FloatRect) -> np.ndarray:
    raw = page.screenshot(animations="disabled", caret="hide", clip=extent)
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))  # a tall page as floats is 100 MB


def _colour(css: str) -> tuple[np.ndarray, float]:
    """Red, green, blue, and alpha."""
    kind, _, inner = css.removesuffix(")").partition("(")
    parts = [float(part) for part in inner.replace(",", " ").replace("/", " ").replace("srgb", " ").split()]
    scale = 255 if kind == "color" else 1
    return np.array(parts[:3]) * scale, parts[3] if len(parts) > 3 else 1.0


def _over(part: dict, ground: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """A part's colour as it is painted over its ground `... 3`."""
    colour, alpha = _colour(part["color"])
    painted = alpha * colour + (1 - alpha) * ground
    if part["group"] is None:
        return painted
    # The ground is already seen through the group; of the part's own colour the rest is what lies behind the group.
    behind = _around(part["group"], 2, picture)
    seen = part["opacity"] * colour + (1 - part["opacity"]) * behind
    return alpha * seen + (1 - alpha) * ground


def _of_text(text: dict, shown: np.ndarray, ground: np.ndarray) -> float | None:
    """Of the strokes that have least of it: the tenth part; None where no stroke is to be seen."""
    under = []
    for left, top, right, bottom in text["rects"]:
        at = np.s_[max(0, int(top)) : int(np.ceil(bottom)), max(0, int(left)) : int(np.ceil(right))]
        strokes = np.abs(shown[at].astype(int) - ground[at]).max(-1) > 12
        under.append(ground[at][strokes])
    grounds = np.concatenate(under)
    if len(grounds) < 4:
        return None
    return float(np.percentile(ratio(_over(text, grounds, ground), grounds), 10))


def _around(rect: list[float], reach: float, picture: np.ndarray) -> np.ndarray | None:
    """The median colour beside the middle of a box's four sides."""
    left, top, right, bottom = rect
    x, y = (left + right) / 2, (top + bottom) / 2
    places = [(x, top - reach), (x, bottom + reach), (left - reach, y), (right + reach, y)]
    height, width = picture.shape[:2]
    inside = [picture[int(row), int(col)] for col, row in places if 0 <= col < width and 0 <= row < height]
    return np.median(inside, axis=0) if inside else None


def _of_edge(part: dict, ground: np.ndarray) -> float | None:
    if not _colour(part["color"])[1]:
        return None
    around = _around(part["rect"], part["reach"], ground)
    if part.get("band"):
        around = _colour(part["band"])[0]
    return None if around is None else float(ratio(_over(part, around, ground), around))
