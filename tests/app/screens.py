"""Screens compared with stored baselines, and one HTML report of all of them.

Two browsers draw text differently, so do two machines with other fonts, and another Gradio has other controls. A
baseline is therefore compared only where the Chromium version, the platform, the Gradio and the widths of a few texts
are those it was recorded with; elsewhere the report says so, and the tests rely on what holds everywhere (canvas
pixels, layout, roles).
"""

import base64
import html
import io
import json
import sys
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops
from playwright.sync_api import Page
from watched import PATIENCE

__all__ = ["Album", "differing"]

TOLERANCE = 8
"""Levels of 255 that a channel may differ by before its pixel counts."""
SHARE = 0.0005
"""Share of pixels that may count before a screen has changed."""

_MEASURE = """() => {
  const ctx = document.createElement("canvas").getContext("2d");
  const family = getComputedStyle(document.querySelector(".cv-viewer")).fontFamily;
  return ["400 16px", "600 16px", "700 22px"].flatMap((font) => {
    ctx.font = `${font} ${family}`;
    const texts = ["photo 0123456789 ×", "كلب القرص", "🥏 猫"];
    return texts.map((text) => Math.round(100 * ctx.measureText(text).width) / 100);
  });
}"""


def differing(one: Image.Image, other: Image.Image) -> np.ndarray:
    """Where two pictures of one size differ by more than the tolerance: bool `H W`."""
    between = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return (np.asarray(between) > TOLERANCE).any(axis=-1)


@dataclass
class _Entry:
    name: str
    verdict: str
    pictures: dict[str, str]
    failed: bool = False


@dataclass
class Album:
    """The baselines of a folder.

    Args:
        home: holds `baselines/`, and gets `report/`.
        record: store what is seen instead of comparing it.
    """

    home: Path
    record: bool = False
    entries: list[_Entry] = field(default_factory=list)

    def check(self, page: Page, name: str, *, full_page: bool = True) -> None:
        """Compare the page as it stands, once it rests, with the baseline of that name.

        Raises:
            AssertionError: it has changed, never rests, or has no baseline although one could be compared here.
        """
        seen, shot = _at_rest(page, full_page=full_page)
        now = {"now": _data_url(shot, "png")}
        here = self._environment(page)
        stored = self.home / "baselines" / f"{name}.webp"  # lossless, half of a PNG's bytes
        if self.record:
            stored.parent.mkdir(exist_ok=True)
            seen.save(stored, lossless=True, quality=100, method=6)
            (stored.parent / "environment.json").write_text(json.dumps(here, indent=1) + "\n", "utf-8")
            self.entries.append(_Entry(name, "recorded", now))
            return
        if here != self._recorded_environment():
            self.entries.append(_Entry(name, "not comparable here: other browser, Gradio or fonts", now))
            return
        if not stored.is_file():
            self.entries.append(_Entry(name, "no baseline", now, failed=True))
            raise AssertionError(f"{name} has no baseline: look at it, then record it with `make screenshots`.")
        baseline = Image.open(stored).convert("RGB")
        both = {"baseline": _data_url(stored.read_bytes(), "webp"), **now}
        if baseline.size != seen.size:
            verdict = f"size changed from {baseline.size} to {seen.size}"
            self.entries.append(_Entry(name, verdict, both, failed=True))
            raise AssertionError(f"{name}: {verdict}; see tests/app/report/index.html.")
        changed = differing(baseline, seen)
        share = float(changed.mean())
        failed = share > SHARE
        pictures = now
        if changed.any():
            mark = np.where(changed[..., None], np.array([255, 0, 90]), np.asarray(seen) // 3 + 160).astype(np.uint8)
            file = io.BytesIO()
            Image.fromarray(mark).save(file, "PNG", compress_level=1)
            pictures = both | {"difference": _data_url(file.getvalue(), "png")}
        self.entries.append(_Entry(name, f"{share:.4%} of the pixels differ", pictures, failed))
        assert not failed, f"{name}: {share:.3%} of the pixels differ; see tests/app/report/index.html."

    def write_report(self) -> None:
        """All screens of this run on one page, the failed ones first."""
        if not self.entries:
            return
        folder = self.home / "report"
        folder.mkdir(exist_ok=True)
        parts = [
            "<!doctype html><meta charset=utf-8><title>crossviz screens</title><style>body{font:15px sans-serif;"
            "margin:2rem}img{max-width:30rem;border:1px solid #bbb;vertical-align:top}figure{display:inline-block;"
            "margin:0 1rem 1rem 0}.failed h2{color:#a3241a}</style><h1>Screens</h1>"
        ]
        for entry in sorted(self.entries, key=lambda entry: not entry.failed):
            shown = "".join(
                f"<figure><figcaption>{what}</figcaption><img src='{picture}'></figure>"
                for what, picture in entry.pictures.items()
            )
            kind = "failed" if entry.failed else "fine"
            parts.append(
                f"<section class={kind}><h2>{html.escape(entry.name)}</h2><p>{entry.verdict}</p>{shown}</section>"
            )
        (folder / "index.html").write_text("\n".join(parts), "utf-8")

    def _environment(self, page: Page) -> dict:
        return {
            "chromium": page.context.browser.version.partition(".")[0],
            "platform": sys.platform,
            "gradio": metadata.version("gradio"),
            "text widths": page.evaluate(_MEASURE),
        }

    def _recorded_environment(self) -> dict | None:
        stored = self.home / "baselines" / "environment.json"
        return json.loads(stored.read_text("utf-8")) if stored.is_file() else None


def _at_rest(page: Page, **options: bool) -> tuple[Image.Image, bytes]:
    """The page's picture, also as the PNG that the browser made, as soon as two in a row are as good as the same: a
    layout may settle some frames after what it shows, and a shadow is not always rounded the same way."""
    end = time.monotonic() + PATIENCE / 1000
    last, raw = None, b""
    while time.monotonic() < end:
        shot = page.screenshot(animations="disabled", **options)
        now = last if last is not None and shot == raw else Image.open(io.BytesIO(shot)).convert("RGB")
        if last is not None and now.size == last.size and (now is last or not differing(now, last).any()):
            return now, shot
        last, raw = now, shot
    raise AssertionError("The page never comes to rest.")


def _data_url(picture: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()
