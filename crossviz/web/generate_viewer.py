"""The Generate page's own parts: the viewer of pictures, and a row of captions that draw when they are clicked."""

import json

from crossviz.web.scripted import Scripted

__all__ = ["Captions", "GenerationViewer", "caption_row", "generation_viewer"]

EMPTY = "Nothing is drawn yet. Choose a caption, or write one, and press Draw."

_VIEWER = (
    f"const EMPTY = {json.dumps(EMPTY)};"
    """
const host = element.querySelector(".cv-generation-host");
const empty = element.querySelector(".cv-generation-empty");
empty.textContent = EMPTY;
let viewer = null;
let job = 0; // the newest drawing that was heard of
let stopped = 0; // up to this one, what is still said comes too late
let last = null; // how far the picture on its way is
let pictures = 0; // the drawing whose pictures are there
const WAITING = { src: null, step: 0, steps: 0, seed: 0, number: 1, count: 1 };
const options = {
  formats: [
    [".png", "picture, PNG"],
    [".gif", "growing, GIF"],
    [".html", "interactive page, HTML"],
    [".npz", "numbers, NPZ"],
    [".json", "numbers, JSON"],
  ],
  onSave: (format, id, words) => trigger("save", { format, id, words }),
  onExplain(id) {
    document.dispatchEvent(new CustomEvent("cv-tab", { detail: "explain" }));
    trigger("explain", { id });
  },
};
/** The viewer, made when there is first something to show. */
const there = () => {
  if (!viewer) {
    empty.hidden = true;
    viewer = window.crossvizGeneration = window.CrossvizViewer.mountGenerations(host, [], options);
  }
  return viewer;
};
const known = (id) => there().generations().some((one) => one.id === id);
async function take({ job: of, done = [], progress, idle, open }) {
  if (of !== pictures && (done.length || progress?.steps)) {
    pictures = of;
    there().clear();
  }
  for (const generation of done) if (!known(generation.id)) there().add(generation);
  if (progress) {
    last = progress;
    there().progress(progress);
  }
  if (idle) {
    last = null;
    await viewer?.rest();
  }
  if (open) document.dispatchEvent(new CustomEvent("cv-tab", { detail: "generate" }));
}
// One after the other: each may wait for its maps.
let turn = Promise.resolve();
const next = (work) => (turn = turn.then(work).catch((error) => console.error(error)));
watch("value", () => {
  const told = JSON.parse(props.value || "{}");
  if (told.job !== undefined && (told.job <= stopped || told.job < job)) return;
  // A picture out of a file ends the drawing under way, which would take its place.
  if (told.open && told.done && last) document.querySelector("#cv-draw-stop").click();
  job = told.job ?? job;
  next(() => take(told));
});
host.addEventListener("cv-wait", () => next(() => last ?? take({ progress: WAITING })));
host.addEventListener("cv-over", () => next(() => take({ idle: true })));
host.addEventListener("cv-stop", () => {
  stopped = job;
  next(async () => {
    if (!last) return;
    const { step, steps, count } = last;
    last = null;
    const all = there().generations(); // those of the drawing before, where this one had not begun
    if (all.length) await there().rest();
    const some = `Stopped: ${all.length} of ${count} pictures are drawn.`;
    const begun = all.length ? some : `Stopped at step ${step} of ${steps}.`;
    there().stopped(steps ? begun : "Stopped before it began.");
  });
});
"""
)


class GenerationViewer(Scripted):
    """The viewer of generated pictures. Its value is JSON, numbered by `n`: `job` (the number of the drawing; its
    pictures take the place of those before), `done` (payloads of all pictures that are finished), `progress` (of the
    one on its way), `idle` (that nothing is being drawn), `open` (that its tab comes to the front).

    Its event `save` carries `format`, the picture's `id`, and `words`, spans whose maps a .gif shows; `explain` carries
    the `id`.
    """

    signals = ("save", "explain")


def generation_viewer(elem_id: str) -> GenerationViewer:
    """The viewer, empty to begin with. The scripts that it needs are those of the page's other viewer."""
    return GenerationViewer(
        html_template='<p class="cv-generation-empty"></p><div class="cv-generation-host"></div>',
        js_on_load=_VIEWER,
        apply_default_css=False,
        elem_id=elem_id,
    )


_CAPTIONS = """
const row = element.querySelector(".cv-captions");
const show = () => {
  row.replaceChildren(...JSON.parse(props.value || "[]").map((text) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", () => trigger("pick", { caption: text }));
    return button;
  }));
};
show();
watch("value", show);
"""


class Captions(Scripted):
    """Captions as buttons; its value is a JSON list of texts, its event `pick` carries the `caption`."""

    signals = ("pick",)


def caption_row(elem_id: str) -> Captions:
    """The row, empty until the model is there that draws them."""
    return Captions(
        html_template='<div class="cv-captions" role="group" aria-label="Captions to draw"></div>',
        js_on_load=_CAPTIONS,
        apply_default_css=False,
        elem_id=elem_id,
    )
