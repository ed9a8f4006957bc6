"""Gradio's own parts dressed in the design variables of tokens.css, so that they belong to the page."""

import gradio as gr

__all__ = ["theme"]

# Gradio's variable -> design variable. Gradio writes light and dark as two rules; both name the same design variable,
# which then has the right value in each.
_VARIABLES = {
    "body_background_fill": "bg",
    "body_text_color": "ink",
    "body_text_color_subdued": "muted",
    "background_fill_primary": "surface",
    "background_fill_secondary": "sunken",
    "border_color_primary": "line-strong",
    "border_color_accent": "accent",
    "border_color_accent_subdued": "line",
    "color_accent_soft": "sunken",
    "link_text_color": "accent",
    "link_text_color_active": "accent-hover",
    "link_text_color_hover": "accent-hover",
    "link_text_color_visited": "accent",
    "block_background_fill": "surface",
    "block_border_color": "line-strong",
    "block_info_text_color": "muted",
    "block_label_background_fill": "surface",
    "block_label_border_color": "line",
    "block_label_text_color": "muted",
    "block_title_text_color": "muted",
    "panel_background_fill": "surface",
    "panel_border_color": "line",
    "error_background_fill": "error-bg",
    "error_border_color": "error",
    "error_text_color": "error",
    "error_icon_color": "error",
    "input_background_fill": "surface",
    "input_background_fill_focus": "surface",
    "input_background_fill_hover": "surface",
    "input_border_color": "line-strong",
    "input_border_color_focus": "accent",
    "input_border_color_hover": "line-strong",
    "input_placeholder_color": "muted",
    "loader_color": "accent",
    "slider_color": "accent",
    "button_primary_background_fill": "accent",
    "button_primary_background_fill_hover": "accent-hover",
    "button_primary_border_color": "accent",
    "button_primary_border_color_hover": "accent-hover",
    "button_primary_text_color": "accent-ink",
    "button_primary_text_color_hover": "accent-ink",
    "button_secondary_background_fill": "surface",
    "button_secondary_background_fill_hover": "sunken",
    "button_secondary_border_color": "line-strong",
    "button_secondary_border_color_hover": "line-strong",
    "button_secondary_text_color": "ink",
    "button_secondary_text_color_hover": "ink",
}
_TRANSPARENT = ("panel_background_fill",)
_PLAIN = {
    "block_border_width": "1px",
    "block_label_text_size": "var(--cv-text)",
    "block_label_text_weight": "400",
    "block_title_text_size": "var(--cv-text)",
    "block_title_text_weight": "400",
    "block_radius": "var(--cv-radius)",
    "block_shadow": "none",
    "button_large_radius": "var(--cv-radius)",
    "button_large_text_size": "var(--cv-text)",
    "button_large_text_weight": "600",
    "button_small_radius": "var(--cv-radius)",
    "button_small_text_size": "var(--cv-text)",
    "button_transition": "background-color var(--cv-time)",
    "color_accent": "var(--cv-accent)",
    "container_radius": "var(--cv-radius)",
    "input_radius": "var(--cv-radius)",
    "input_shadow": "none",
    "input_shadow_focus": "0 0 0 1px var(--cv-accent)",
    "input_text_size": "var(--cv-text)",
    "body_text_size": "var(--cv-text)",
    "block_info_text_size": "var(--cv-text)",
    "layout_gap": "var(--cv-4)",
}


def theme() -> gr.themes.Base:
    """The theme: system fonts (nothing is fetched), colours and sizes from tokens.css."""
    base = gr.themes.Base(font=["var(--cv-font)"], font_mono=["ui-monospace", "monospace"])
    values = {name: f"var(--cv-{variable})" for name, variable in _VARIABLES.items()}
    dark = {f"{name}_dark": value for name, value in values.items()}
    return base.set(**values, **dark, **_PLAIN)
