"""A generated picture as a bundle: which part goes where. `crossviz.generation_loading` is the way back."""

from typing import TYPE_CHECKING, Any

from crossviz.bundle import SCHEMA_VERSION, Bundle

if TYPE_CHECKING:
    from crossviz.generation import Generation

__all__ = ["GENERATION_KIND", "MAPS", "TENSORS", "generation_to_bundle"]

GENERATION_KIND = "crossviz generation"
TENSORS = ("frames", "written", "tokens", "codebook")
"""Fields that are arrays of the same name."""
MAPS = ("asks_text", "asks_image")
"""Fields whose arrays have their name before their own."""


def generation_to_bundle(generation: "Generation") -> Bundle:
    """All of it: tensors as arrays, the rest in the manifest."""
    arrays = {name: getattr(generation, name).numpy() for name in TENSORS if getattr(generation, name) is not None}
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": GENERATION_KIND,
        "caption": generation.caption.to_meta(),
        "grid": {"height": generation.grid.height, "width": generation.grid.width},
        "frame_steps": list(generation.frame_steps),
        "settings": dict(generation.settings),
        "verdict": None if generation.verdict is None else dict(generation.verdict),
        "provenance": generation.provenance.to_arrays()[1],
    }
    for name in MAPS:
        maps = getattr(generation, name)
        manifest[name] = None
        if maps is not None:
            own, manifest[name] = maps.to_arrays()
            arrays |= {f"{name}_{key}": array for key, array in own.items()}
    return Bundle(manifest, arrays)
