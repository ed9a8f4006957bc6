"""The page's second half: a caption goes in, a picture comes out, and every word shows where it wrote."""

import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

from crossviz.errors import CrossvizError
from crossviz.models.generators import Settings
from crossviz.web.answers import UNEXPECTED, log
from crossviz.web.components import message
from crossviz.web.generate_values import COUNTS, GUIDANCE, TEMPERATURE
from crossviz.web.generate_viewer import caption_row, generation_viewer
from crossviz.web.studio import Studio

__all__ = ["GenerateTab"]

_OWN = Settings(guidance=3.0, temperature=1.0)
"""What the sliders show until the model is there."""


class GenerateTab:
    """The fields and the viewer; to be made inside the page's `gr.Blocks`, where they are to stand.

    Args:
        studio: has at least one model. It need not be loaded yet; each visit fills the fields when it is.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        infos = studio.infos()
        with gr.Row(elem_id="cv-generate"):
            with gr.Column(elem_id="cv-generate-ask", min_width=0):
                self.caption = gr.Textbox(
                    label="Caption",
                    placeholder="Describe the picture",
                    lines=1,
                    max_lines=6,
                    elem_id="cv-draw-caption",
                )
                self.caption_error = message("cv-draw-caption-error", control="#cv-draw-caption textarea")
                with gr.Row(elem_id="cv-draw-do"):
                    self.button = gr.Button("Draw", variant="primary", elem_id="cv-draw", min_width=0)
                    self.stop = gr.Button("Stop", interactive=False, elem_id="cv-draw-stop", min_width=0)
                self.general = message("cv-draw-general-error")
                with gr.Row(elem_id="cv-draw-seed-row"):
                    self.seed = gr.Number(
                        value=0,
                        label="Seed",
                        step=1,
                        elem_id="cv-draw-seed",
                        min_width=0,
                    )
                    self.dice = gr.Button("Roll the dice", elem_id="cv-draw-dice", min_width=0)
                self.count = gr.Radio(
                    choices=[(str(count), count) for count in COUNTS],
                    value=1,
                    label="Pictures, each with the next seed",
                    elem_id="cv-draw-count",
                )
                self.guidance = gr.Slider(
                    *GUIDANCE, value=_OWN.guidance, step=0.5, label="Guidance", buttons=[], elem_id="cv-draw-guidance"
                )
                self.temperature = gr.Slider(
                    *TEMPERATURE,
                    value=_OWN.temperature,
                    step=0.05,
                    label="Temperature",
                    buttons=[],
                    elem_id="cv-draw-temperature",
                )
                self.settings_error = message("cv-draw-settings-error", control="#cv-draw-seed input")
                self.model = gr.Dropdown(
                    choices=[(info.title, info.name) for info in infos],
                    value=infos[0].name,
                    label="Model",
                    elem_id="cv-draw-model",
                )
                self.model_error = message("cv-draw-model-error", control="#cv-draw-model input")
                self.about = message("cv-draw-about", infos[0].sentence, kind="about")
                self.captions = caption_row("cv-draw-captions")
            with gr.Column(elem_id="cv-generate-answer", min_width=0):
                self.viewer = generation_viewer("cv-generation")
                self.file = gr.DownloadButton(visible="hidden", elem_id="cv-draw-file")
        self.messages: Mapping[str, Any] = {
            "caption": self.caption_error,
            "settings": self.settings_error,
            "model": self.model_error,
            "general": self.general,
        }

    def said(self, field: str = "", text: str = "") -> dict[Any, str]:
        """All messages empty but one."""
        return {part: text if name == field else "" for name, part in self.messages.items()}

    @property
    def follows(self) -> list[Any]:
        """What `follow` may change."""
        return [self.about, self.guidance, self.temperature, self.captions, self.model_error]

    def follow(self, name: str) -> dict[Any, Any]:
        """What changes with the model, which is loaded if need be: the line on it, its settings, its captions."""
        try:
            model = self.studio.model(name)
            captions = self.studio.captions(name)
        except CrossvizError as error:
            return {self.model_error: str(error)}
        except Exception as error:
            log.error(
                "A model that draws could not be loaded for a reason that crossviz does not know.", exc_info=error
            )
            return {self.model_error: UNEXPECTED}
        own = model.defaults
        return {
            self.about: model.info.sentence,
            self.guidance: gr.update(visible=own.guidance is not None, value=own.guidance or _OWN.guidance),
            self.temperature: gr.update(
                visible=own.temperature is not None,
                value=_OWN.temperature if own.temperature is None else own.temperature,
            ),
            self.captions: json.dumps(captions, ensure_ascii=False),
            self.model_error: "",
        }
