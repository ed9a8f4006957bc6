"""A picture that the server makes when it is asked to."""

from crossviz.web.scripted import Scripted

__all__ = ["Picture", "picture"]

_PICTURE = """
const [busy, frame, image, link] = ["p", ".cv-figure-frame", "img", "a"].map((tag) => element.querySelector(tag));
const [text, cancel] = busy.children;
const hint = element.querySelector(".cv-figure-hint");
cancel.addEventListener("click", () => trigger("cancel"));
element.querySelector(".cv-picture").addEventListener("cv-lost", () => (busy.hidden = true));
watch("value", () => {
  const now = JSON.parse(props.value || "{}");
  busy.hidden = !now.busy;
  text.textContent = now.busy || "";
  if (now.busy) return;
  for (const name of ["src", "width", "height", "alt"]) image.setAttribute(name, now[name] ?? "");
  frame.hidden = link.hidden = hint.hidden = !now.src;
  link.href = now.src || "";
});
"""


class Picture(Scripted):
    """A picture that is made on demand: its value is JSON, `busy` (what is being done) or `src`, `width`, `height` and
    `alt`, or nothing of these. Its event `cancel` is the button beside the busy line."""

    signals = ("cancel",)


def picture(elem_id: str) -> Picture:
    """A picture, empty to begin with, and a link that saves it."""
    return Picture(
        html_template=(
            '<div class="cv-picture"><p role="status" hidden><span></span> <button type="button">Cancel</button></p>'
            '<p class="cv-figure-hint" hidden>The figure is wider than this page: move it sideways.</p>'
            '<div class="cv-figure-frame" role="region" aria-label="The comparison" tabindex="0" hidden><img alt="">'
            '</div><a download="crossviz-comparison.png" hidden>Save this picture</a></div>'
        ),
        js_on_load=_PICTURE,
        apply_default_css=False,
        elem_id=elem_id,
    )
