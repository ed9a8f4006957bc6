"""A generated picture out of a bundle, which may come from anyone."""

import numpy as np
import torch

from crossviz.bundle import Bundle
from crossviz.errors import BundleError, CrossvizError
from crossviz.generation import Generation, WordMaps
from crossviz.geometry import PatchGrid
from crossviz.results import Provenance
from crossviz.stored_generation import GENERATION_KIND, TENSORS
from crossviz.words import Caption

__all__ = ["bundle_to_generation"]


def bundle_to_generation(bundle: Bundle) -> Generation:
    """The inverse of `generation_to_bundle`; each part is checked as it is when it is made.

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
            **{name: torch.from_numpy(np.array(arrays[name])) if name in arrays else None for name in TENSORS},
        )
    except BundleError:
        raise
    except CrossvizError as error:
        raise BundleError(f"The bundle is damaged: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise BundleError("The bundle has parts missing or of the wrong kind: save the picture again.") from error
