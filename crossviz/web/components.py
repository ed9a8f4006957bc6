"""The page's own parts: the viewer, the sentence under a field, and the row of examples.

Each is a `gr.HTML` with a fixed template whose content is built by script, as text and never as markup: Gradio's
templates would run what a caption holds.
"""

import itertools
import json
from typing import Any

from crossviz.web import viewer_js
from crossviz.web.scripted import Scripted

__all__ = [
    "OLD_METHOD",
    "OLD_MODEL",
    "STALE",
    "Examples",
    "Feed",
    "Message",
    "Viewer",
    "envelope",
    "example_row",
    "feed",
    "message",
    "viewer",
]

STALE = "This is still the answer to the photo and caption before."
OLD_MODEL = "This is still the picture of the model before."
OLD_METHOD = "This is still the picture of the method before."
_count = itertools.count(1)


def envelope(**content: Any) -> str:
    """What the viewer is told: `payload` (a new explanation; with `guesses` if its model guesses hidden words, `newest`
    if its last word is to be shown, `example` if its photo is one, `settings` of the view), `busy` (what is being done)
    or `stale` (why what it shows is not the answer to what was asked); by a feed, `run` and what became of it. `job` is
    the number of the question that this is about, and `caption` goes into the caption's field.

    Numbered, because Gradio tells the page only of values that changed.
    """
    return json.dumps({"n": next(_count), **content}, ensure_ascii=False, separators=(",", ":"))


_VIEWER = (
    f"const STALE = {json.dumps(STALE)}, OLD_MODEL = {json.dumps(OLD_MODEL)}, OLD_METHOD = {json.dumps(OLD_METHOD)};"
    """
const host = element.querySelector(".cv-host");
const read = () => { try { return JSON.parse(props.value); } catch { return {}; } };
const first = read();
let job = 0; // the newest question that was heard of
let waiting = null; // a link that was opened: its view is for the first answer to its caption
let example = first.example || null; // the name of the photo, if it is one of the page's own
let cancelled = 0; // up to this one nobody waits for an answer: what they still say comes too late
const viewer = window.CrossvizViewer.mount(host, first.payload || null, {
  opening: first,
  onCancel() {
    cancelled = job;
    viewer.busy(null);
    viewer.stale(STALE);
    trigger("cancel");
  },
  onSave: (format, id, settings, cell) => trigger("save", { format, id, settings, cell }),
  onTrust: (asked) => trigger("trust", asked),
  onTrustStop: (asked) => trigger("rest", asked),
  onBox: (asked) => trigger("box", asked),
  onHide: (asked) => trigger("hide", asked),
  onInside: (asked) => trigger("inside", asked),
  onAgain(asked) {
    host.cvAgain = asked;
    trigger("again");
  },
  link: (payload, settings) => ({
    address: CrossvizViewer.linkTo(location.href, {
      caption: payload.caption.text, model: payload.model.name, method: payload.method.name, example, settings,
    }),
    example,
  }),
  formats: [
    [".png", "figure, PNG"],
    [".svg", "figure, SVG"],
    [".pdf", "figure, PDF"],
    [".html", "interactive page, HTML"],
    [".npz", "numbers, NPZ"],
    [".json", "numbers, JSON"],
    [".csv", "table, CSV"],
    [".gif", "layers, GIF"],
  ],
});
host.crossvizSettings = viewer.settings;
// Said by the page itself when the photo changes: at once, and never after the next answer.
host.addEventListener("cv-stale", (event) => viewer.stale(event.detail));
host.addEventListener("cv-chosen", ({ detail: { model, method } }) => {
  const shown = viewer.payload();
  const old = method && method !== shown?.method.name ? OLD_METHOD : null;
  const other = shown && (model !== shown.model.name ? OLD_MODEL : old);
  const said = host.querySelector(".cv-stale").textContent;
  if (!said || said === OLD_MODEL || said === OLD_METHOD) viewer.stale(other || null);
});
// Said by the page itself, too: the question can't be answered, or has not begun.
host.addEventListener("cv-lost", () => {
  cancelled = job;
  viewer.busy(null);
  viewer.stale(STALE);
});
host.addEventListener("cv-queued", (event) => viewer.busy(event.detail));
host.addEventListener("cv-trust", (event) => viewer.trust(event.detail));
host.addEventListener("cv-asked", (event) => viewer.asked(event.detail));
host.addEventListener("cv-inside", (event) => viewer.inside(event.detail));
const follow = () => {
  const link = CrossvizViewer.readLink(location.hash);
  if (!link) return;
  const { settings, wrong, ...asked } = link;
  const told = document.querySelector("#cv-general-error-text");
  if (wrong) return told?.dispatchEvent(new CustomEvent("cv-said", { detail: wrong }));
  waiting = { caption: asked.caption.trim(), settings };
  trigger("link", asked);
};
addEventListener("hashchange", follow);
requestAnimationFrame(follow); // once the page's other parts are there
// Typed into the field, as it were: all that a cancelled question still says is dropped at one place.
const write = (text) => {
  const field = document.querySelector("#cv-caption textarea");
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
};
watch("value", () => {
  const { payload, busy, stale, caption, ...how } = read();
  if (payload) example = how.example || null;
  const late = how.job !== undefined && how.job <= cancelled;
  if (late) {
    // The server holds this explanation by now, and would save and check no other.
    if (payload) { viewer.update(payload, how); if (busy) viewer.stale(STALE); }
    return;
  }
  job = how.job ?? job;
  if (payload && waiting?.caption === payload.caption.text.trim()) {
    how.settings ??= waiting.settings;
    waiting = null;
  }
  if (caption !== undefined) write(caption);
  if (payload) { viewer.update(payload, how); if (busy) viewer.busy(busy); }
  else { viewer.busy(busy || null); if (!busy) viewer.stale(stale || null); }
});
"""
)


class Viewer(Scripted):
    """The viewer; its value is an `envelope`.

    Its event `cancel` is the button beside the busy bar; `save` carries `format`, a suffix that `Explanation` writes,
    the payload's `id`, the view's `settings`, and what was asked for the `cell` that is open inside, or null. `link`
    says what the page's address asks for: `caption`, `model`, `method`, `example`. `trust` asks for the checks of a
    span: `run` (a number that the answers carry), `id`, `start` and `end`; `rest` ends those up to `run`; `box` carries
    the same as `trust` and `box`, in pixels. `hide` asks for the same explanation without some words: `id`, `start` and
    `end`, both null where all are to be read. `inside` asks for the arithmetic of one cell: `run`, `id`, `start`,
    `end`, and, null where the server is to choose, `token`, `layer`, `head`, `row` and `col`. `again` says that an
    earlier answer of the visit is shown: what the fields held when it was asked for is at the element, as `cvAgain`.
    """

    signals = ("cancel", "save", "link", "trust", "rest", "box", "hide", "inside", "again")


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
  if (viewer && props.value) viewer.dispatchEvent(new CustomEvent(EVENT, { detail: JSON.parse(props.value) }));
});
"""


class Feed(Scripted):
    """Answers for the viewer that may come at any time: its value is an `envelope`.

    Not the viewer's own value: Gradio may tell the page only the last of two that come together, and an explanation
    must not be lost to a check.
    """


def feed(elem_id: str, event: str = "cv-trust") -> Feed:
    """A feed, which shows nothing itself.

    Args:
        event: the name by which the viewer's element hears of what comes.
    """
    script = f"const EVENT = {json.dumps(event)};{_FEED}"
    return Feed(html_template="<i></i>", js_on_load=script, apply_default_css=False, elem_id=elem_id, visible="hidden")


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
// Said by the page itself. What the server says next takes its place, also where it is what it said before.
text.addEventListener("cv-said", (event) => { props.value = event.detail; show(); });
"""


class Message(Scripted):
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


class Examples(Scripted):
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
