"""A link with a question in it: `/?caption=a+dog&model=coca-mini&method=written_attention` fills in the fields.

The page itself reads its address: nothing of it is run, and the photo is never in it. What is filled in is text like
what a visitor types, and is answered, or refused, as that is.
"""

import gradio as gr

from crossviz.web.choice import QUIET, Choice

__all__ = ["connect"]

_READ = """(...fields) => {
  const asked = new URLSearchParams(location.search);
  return ["caption", "model", "method"].map((name, place) => (asked.get(name) || "").trim() || fields[place]);
}"""


def connect(page: gr.Blocks, caption: gr.Textbox, choice: Choice) -> None:
    """Fill the fields from the page's address when it opens; to be called inside the page's `gr.Blocks`."""
    fields = [caption, choice.model, choice.method]
    page.load(fn=None, inputs=fields, outputs=fields, js=_READ, **QUIET)
