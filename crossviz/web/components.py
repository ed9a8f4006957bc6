"""The page's own parts: the viewer, the sentence under a field, the row of examples, and a photo input that trusts
nothing.

Each is a `gr.HTML` with a fixed template whose content is built by script, as text and never as markup: Gradio's
templates would run what a caption holds.
"""

import base64
import itertools
import json
from abc import ABCMeta
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta
from gradio.data_classes import ImageData

from crossviz.web import viewer_js

__all__ = [
    "Examples",
    "Feed",
    "Message",
    "PhotoInput",
    "Viewer",
    "envelope",
    "example_row",
    "feed",
    "message",
    "viewer",
]

_count = itertools.count(1)


def envelope(**content: Any) -> str:
    """What the viewer is told: `payload` (a new explanation), `busy` (what is being done) or `stale` (why what it
    shows is not the answer to what was asked); by a feed, `run` and what became of it.

    Numbered, because Gradio tells the page only of values that changed.
    """
    return json.dumps({"n": next(_count), **content}, ensure_ascii=False, separators=(",", ":"))


class _Quiet(ComponentMeta):
    """Makes a component class without writing a `.pyi` file beside the source, as Gradio's own metaclass would."""

    def __new__(mcs, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        return ABCMeta.__new__(mcs, name, bases, attrs)


class _Scripted(gr.HTML, metaclass=_Quiet):
    """An HTML component with events of its own and a value that is only ever text.

    Subclasses have no `__init__` of their own: Gradio makes new instances from the arguments of `gr.HTML`'s.
    """

    signals: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        # gr.HTML takes every word that its script quotes for the name of an event.
        if name not in self.signals:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return super().__getattr__(name)

    def postprocess(self, value: str | None) -> str:
        return value or ""


_VIEWER = """
const host = element.querySelector(".cv-host");
const read = () => { try { return JSON.parse(props.value); } catch { return {}; } };
const viewer = window.CrossvizViewer.mount(host, read().payload || null, {
  onCancel: () => trigger("cancel"),
  onSave: (format, id) => trigger("save", { format, id }),
  onTrust: (asked) => trigger("trust", asked),
  onTrustStop: (asked) => trigger("rest", asked),
  onBox: (asked) => trigger("box", asked),
  formats: [
    [".png", "figure, PNG"],
    [".svg", "figure, SVG"],
    [".pdf", "figure, PDF"],
    [".html", "interactive page, HTML"],
    [".npz", "numbers, NPZ"],
    [".json", "numbers, JSON"],
  ],
});
// Said by the page itself when the photo changes: at once, and never after the next answer.
host.addEventListener("cv-stale", (event) => viewer.stale(event.detail));
host.addEventListener("cv-trust", (event) => viewer.trust(event.detail));
watch("value", () => {
  const { payload, busy, stale } = read();
  if (payload) viewer.update(payload);
  else { viewer.busy(busy || null); if (!busy) viewer.stale(stale || null); }
});
"""


class Viewer(_Scripted):
    """The viewer; its value is an `envelope`.

    Its event `cancel` is the button beside the busy bar; `save` carries `format`, a suffix that `Explanation` writes,
    and the payload's `id`. `trust` asks for the checks of a span: `run` (a number that the answers carry), `id`,
    `start` and `end`; `rest` ends those up to `run`; `box` carries the same as `trust` and `box`, in pixels.
    """

    signals = ("cancel", "save", "trust", "rest", "box")


def viewer(value: str, elem_id: str) -> Viewer:
    """A viewer that shows what the envelope `value` holds."""
    return Viewer(
        value=value,
        html_template='<div class="cv-host"></div>',
        js_on_load=viewer_js() + _VIEWER,
        apply_default_css=False,
        elem_id=elem_id,
    )


_FEED = """
watch("value", () => {
  const viewer = document.querySelector("#cv-viewer .cv-host");
  if (viewer && props.value) viewer.dispatchEvent(new CustomEvent("cv-trust", { detail: JSON.parse(props.value) }));
});
"""


class Feed(_Scripted):
    """Answers for the viewer that may come at any time: its value is an `envelope`.

    Not the viewer's own value: Gradio may tell the page only the last of two that come together, and an explanation
    must not be lost to a check.
    """


def feed(elem_id: str) -> Feed:
    """A feed, which shows nothing itself."""
    return Feed(html_template="<i></i>", js_on_load=_FEED, apply_default_css=False, elem_id=elem_id, visible="hidden")


_MESSAGE = """
const text = element.querySelector("p");
const field = () => text.dataset.for && document.querySelector(text.dataset.for);
const show = () => {
  const value = props.value || "";
  text.textContent = value;
  text.hidden = !value;
  const control = field();
  if (!control) return;
  control.setAttribute("aria-invalid", String(Boolean(value) && text.dataset.kind === "error"));
  control.setAttribute("aria-describedby", text.id);
};
show();
watch("value", show);
"""


class Message(_Scripted):
    """A sentence under a field: an error, or what there is to say of a choice."""


def message(elem_id: str, value: str = "", *, control: str = "", kind: str = "error") -> Message:
    """A sentence, empty to begin with.

    Args:
        control: CSS selector of the input that it belongs to.
        kind: "error" (read out at once) or "about".
    """
    attributes = {
        "id": f"{elem_id}-text",
        "class": "cv-message",
        "role": "alert" if kind == "error" else "note",
        "data-for": control,
        "data-kind": kind,
    }
    return Message(
        value=value,
        html_template="<p {}></p>".format(" ".join(f'{name}="{text}"' for name, text in attributes.items())),
        js_on_load=_MESSAGE,
        apply_default_css=False,
        elem_id=elem_id,
    )


_EXAMPLES = """
const row = element.querySelector(".cv-examples");
JSON.parse(props.value || "[]").forEach((example, index) => {
  const button = document.createElement("button");
  button.type = "button";
  button.title = `${example.caption} (${example.source}, ${example.licence})`;
  const image = document.createElement("img");
  image.src = example.thumbnail;
  image.alt = "";
  const name = document.createElement("span");
  name.textContent = example.title;
  button.append(image, name);
  button.addEventListener("click", () => trigger("pick", { index }));
  row.append(button);
});
"""


class Examples(_Scripted):
    """A row of pictures that run when clicked; its event `pick` carries `index`."""

    signals = ("pick",)


def example_row(entries: list[dict[str, str]], elem_id: str) -> Examples:
    """Entries {title, caption, source, licence, thumbnail} as buttons."""
    return Examples(
        value=json.dumps(entries, ensure_ascii=False),
        html_template='<div class="cv-examples" role="group" aria-label="Examples"></div>',
        js_on_load=_EXAMPLES,
        apply_default_css=False,
        elem_id=elem_id,
    )


class PhotoInput(gr.Image, metaclass=_Quiet):
    """`gr.Image` that hands on the path of what was uploaded and opens nothing.

    Gradio would open the file before our code runs and answer a broken one with its own error;
    `crossviz.photo.load_photo` says what is wrong with it.
    """

    def get_block_name(self) -> str:
        return "image"

    def preprocess(self, payload: ImageData | None) -> str | bytes | None:
        """The uploaded file's path, or its bytes where the page sent them inline."""
        if payload is None or (payload.path is None and not payload.url):
            return None
        if payload.url and payload.url.startswith("data:"):
            try:
                return base64.b64decode(payload.url.partition(",")[2])
            except ValueError:
                return b""  # load_photo says what is wrong with an empty file
        return payload.path

    def postprocess(self, value: str | Path | None) -> ImageData | None:
        """A file of ours, as it is: nothing is converted."""
        return None if value is None else ImageData(path=str(value), orig_name=Path(value).name)
