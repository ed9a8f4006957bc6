"""A generated picture as a bundle, and back: which part goes where."""

from typing import Any

import numpy as np
import torch

from crossviz.bundle import SCHEMA_VERSION, Bundle
from crossviz.errors import BundleError, CrossvizError
from crossviz.generation import Generation, WordMaps
from crossviz.geometry import PatchGrid
from crossviz.results import Provenance
from crossviz.words import Caption

__all__ = ["GENERATION_KIND", "bundle_to_generation", "generation_to_bundle"]

GENERATION_KIND = "crossviz generation"
_WHOLE = ("frames", "written", "tokens", "codebook")
_MAPS = ("asks_text", "asks_image")


def generation_to_bundle(generation: Generation) -> Bundle:
    """All of it: tensors as arrays, the rest in the manifest."""
    arrays = {name: getattr(generation, name).numpy() for name in _WHOLE if getattr(generation, name) is not None}
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
    for name in _MAPS:
        maps = getattr(generation, name)
        manifest[name] = None
        if maps is not None:
            own, manifest[name] = maps.to_arrays()
            arrays |= {f"{name}_{key}": array for key, array in own.items()}
    return Bundle(manifest, arrays)


def bundle_to_generation(bundle: Bundle) -> Generation:
    """The inverse; each part is checked as it is when it is made.

    Raises:
        BundleError: for a part that is missing, or is not what was saved.
    """
    manifest, arrays = bundle.manifest, bundle.arrays
    if manifest.get("kind") != GENERATION_KIND:
        raise BundleError("The bundle holds something else than a generated picture: load a file that crossviz saved.")

    def maps(name: str) -> WordMaps | None:
        if manifest[name] is None:
            return None
        prefix = f"{name}_"
        own = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        return WordMaps.from_arrays(own, manifest[name])

    try:
        grid = manifest["grid"]
        return Generation(
            caption=Caption.from_meta(manifest["caption"]),
            grid=PatchGrid(grid["height"], grid["width"]),
            frame_steps=tuple(manifest["frame_steps"]),
            asks_text=maps("asks_text"),
            asks_image=maps("asks_image"),
            settings=manifest["settings"],
            verdict=manifest["verdict"],
            provenance=Provenance.from_arrays({}, manifest["provenance"]),
            **{name: torch.from_numpy(np.array(arrays[name])) if name in arrays else None for name in _WHOLE},
        )
    except BundleError:
        raise
    except CrossvizError as error:
        raise BundleError(f"The bundle is damaged: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise BundleError("The bundle has parts missing or of the wrong kind: save the picture again.") from error
