"""The button that opens a saved file, and the page that takes one wherever it is dropped."""

import json

from crossviz.photo import MAX_BYTES
from crossviz.web.scripted import Scripted

__all__ = ["Opener", "opener"]

_TOO_LARGE = "This file has {} MB, and at most {} MB are taken here: open it with crossviz.load on your own computer."
_LOST = "The file did not arrive: try again."

_OPENER = (
    f"const MOST = {MAX_BYTES}, TOO_LARGE = {json.dumps(_TOO_LARGE)}, LOST = {json.dumps(_LOST)};"
    """
const [button, input] = [element.querySelector("button"), element.querySelector("input")];
const told = () => document.querySelector("#cv-open-error-text");
const say = (detail) => told()?.dispatchEvent(new CustomEvent("cv-said", { detail }));
const megabytes = (bytes) => String(Math.ceil(bytes / 2 ** 20));
async function take(file) {
  say("");
  if (file.size > MOST) return say(TOO_LARGE.replace("{}", megabytes(file.size)).replace("{}", megabytes(MOST)));
  button.setAttribute("aria-busy", "true");
  try {
    const { path } = await upload(file);
    trigger("open", { path });
  } catch {
    say(LOST);
  } finally {
    button.removeAttribute("aria-busy");
  }
}
button.addEventListener("click", () => input.click());
input.addEventListener("change", () => {
  const [file] = input.files;
  input.value = ""; // the same file may be chosen again
  if (file) take(file);
});
// The photo's own field takes pictures that are dropped on it, as long as it is empty.
const theirs = ({ target }) => document.querySelector("#cv-photo:has(input[type=file])")?.contains(target);
const picture = (file) => /^image\\/(?!svg)/.test(file.type);
document.addEventListener("dragover", (event) => {
  if ([...event.dataTransfer.types].includes("Files")) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  const [file] = event.dataTransfer.files;
  if (!file || (theirs(event) && picture(file))) return;
  event.preventDefault();
  event.stopPropagation();
  take(file);
}, true);
"""
)


class Opener(Scripted):
    """A button for a saved file; its event `open` carries `path`, where the server put what was uploaded."""

    signals = ("open",)


def opener(elem_id: str) -> Opener:
    """The button. Files that are dropped anywhere on the page come the same way."""
    return Opener(
        html_template=(
            '<div class="cv-open"><button type="button">Open a saved file</button>'
            '<input type="file" hidden tabindex="-1" aria-hidden="true" '
            'accept=".png,.svg,.html,.npz,.json,.gif"></div>'
        ),
        js_on_load=_OPENER,
        apply_default_css=False,
        elem_id=elem_id,
    )
