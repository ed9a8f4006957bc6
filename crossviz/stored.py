"""An explanation as a bundle, and back: which part goes where."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from crossviz.bundle import SCHEMA_VERSION, Bundle
from crossviz.errors import BundleError, CrossvizError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.photo import Photo, load_photo
from crossviz.results import AttentionRecord, Guess, Provenance, RelevanceMap
from crossviz.trust.report import TrustReport
from crossviz.view_settings import ViewSettings
from crossviz.words import Caption

if TYPE_CHECKING:
    from crossviz.explanation import Explanation

__all__ = ["bundle_to_parts", "bundle_to_settings", "explanation_to_bundle"]

_KIND = "crossviz explanation"
_PHOTO = "photo.png"


def explanation_to_bundle(ex: "Explanation", settings: ViewSettings | None = None) -> Bundle:
    """All of an explanation: tensors as arrays, the photo as a PNG, the rest in the manifest; with the settings of a
    view where there are any."""
    arrays, values = {}, {}
    parts = {"provenance": ex.provenance} | ({} if ex.record is None else {"record": ex.record})
    parts |= {f"map{number}": chart for number, chart in enumerate(ex.maps.values())}
    parts |= {f"trust{number}": report for number, report in enumerate(ex.trust.values())}
    parts |= {f"part{number}": record for number, record in enumerate(ex.parts.values())}
    for name, part in parts.items():
        own, values[name] = part.to_arrays()
        arrays |= {f"{name}_{key}": array for key, array in own.items()}
    png = io.BytesIO()
    ex.photo.image().save(png, "PNG")
    view, grid = ex.view, ex.grid
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "kind": _KIND,
        "caption": ex.caption.to_meta(),
        "method": ex.method,
        "similarity": ex.similarity,
        "photo": {"name": ex.photo.name, "sha256": ex.photo.sha256},
        "view": {
            "source_wh": list(view.source_wh),
            "input_hw": list(view.input_hw),
            "crop_xyxy": list(view.crop_xyxy),
        },
        "grid": {"height": grid.height, "width": grid.width, "num_prefix_tokens": grid.num_prefix_tokens},
        "record": values.get("record"),
        "provenance": values["provenance"],
        "maps": [[name, values[f"map{number}"]] for number, name in enumerate(ex.maps)],
        "trust": [values[f"trust{number}"] for number in range(len(ex.trust))],
        "parts": [[title, values[f"part{number}"]] for number, title in enumerate(ex.parts)],
        "hidden": list(ex.hidden),
        "guesses": [{"token": guess.token, "choices": [list(pair) for pair in guess.choices]} for guess in ex.guesses],
    }
    if settings is not None:
        manifest["settings"] = settings.as_dict()
    return Bundle(manifest, arrays, {_PHOTO: png.getvalue()})


def bundle_to_settings(bundle: Bundle) -> ViewSettings | None:
    """The settings of the view; None where there are none that this version knows: the maps are good without."""
    try:
        return ViewSettings.from_json(bundle.manifest["settings"])
    except (KeyError, CrossvizError):
        return None


def bundle_to_parts(bundle: Bundle) -> dict[str, Any]:
    """The arguments of `Explanation`; each part is checked as it is when it is made.

    Raises:
        BundleError: for a part that is missing, or is not what was saved.
    """
    manifest = bundle.manifest
    if manifest.get("kind") != _KIND:
        raise BundleError("The bundle holds something else than an explanation: load a file that crossviz saved.")

    def arrays(name: str) -> dict[str, np.ndarray]:
        prefix = f"{name}_"
        return {key.removeprefix(prefix): value for key, value in bundle.arrays.items() if key.startswith(prefix)}

    try:
        photo = Photo(load_photo(bundle.files[_PHOTO]).pixels, manifest["photo"]["name"])
        if photo.sha256 != manifest["photo"]["sha256"]:
            raise BundleError("The photo in the bundle is not the one that was saved: the file was changed.")
        reports = [
            TrustReport.from_arrays(arrays(f"trust{number}"), values)
            for number, values in enumerate(manifest.get("trust", []))  # none in files of crossviz 0.1
        ]
        return {
            "photo": photo,
            "caption": Caption.from_meta(manifest["caption"]),
            "view": ImageView(**{name: tuple(value) for name, value in manifest["view"].items()}),
            "grid": PatchGrid(**manifest["grid"]),
            "record": None
            if manifest["record"] is None
            else AttentionRecord.from_arrays(arrays("record"), manifest["record"]),
            "maps": {
                name: RelevanceMap.from_arrays(arrays(f"map{number}"), values)
                for number, (name, values) in enumerate(manifest["maps"])
            },
            "trust": {report.span: report for report in reports},
            "method": manifest["method"],
            "similarity": None if manifest["similarity"] is None else float(manifest["similarity"]),
            "provenance": Provenance.from_arrays({}, manifest["provenance"]),
            # None of these in files of crossviz 0.1.
            "parts": {
                title: AttentionRecord.from_arrays(arrays(f"part{number}"), values)
                for number, (title, values) in enumerate(manifest.get("parts", []))
            },
            "hidden": tuple(manifest.get("hidden", [])),
            "guesses": tuple(
                Guess(guess["token"], tuple((text, share) for text, share in guess["choices"]))
                for guess in manifest.get("guesses", [])
            ),
        }
    except BundleError:
        raise
    except CrossvizError as error:
        raise BundleError(f"The bundle is damaged: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError("The bundle has parts missing or of the wrong kind: save the explanation again.") from error
