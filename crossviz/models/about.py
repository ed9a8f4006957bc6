"""What the `crossviz.json` of a model's folder says of the model; other people's folders have none."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crossviz.embedded import embedded_sums
from crossviz.errors import ModelUnavailableError

__all__ = ["ABOUT", "check_files", "kind_of", "one_line", "read_about", "says_trained"]

ABOUT = "crossviz.json"


def read_about(folder: Path, needed: Mapping[str, type], remedy: str, kind: str | None = None) -> dict[str, Any]:
    """All that it says.

    Args:
        folder: of a model that was made by crossviz's training.
        needed: what must be in it beside its format, with the types.
        remedy: what to do where it will not do; ends the sentence.
        kind: what it must state as its kind; None where it need not state one.

    Raises:
        ModelUnavailableError: it is missing, can't be read, lacks something, or is of another kind or format.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelUnavailableError(
            f"There is no model in the folder {folder.name} ({ABOUT} is missing): {remedy}."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelUnavailableError(f"{ABOUT} of {folder.name} can't be read ({one_line(error)}): {remedy}.") from error
    every = {"format": int, **({} if kind is None else {"kind": str}), **needed}
    wrong = [key for key, kind in every.items() if not isinstance(about, dict) or not isinstance(about.get(key), kind)]
    if wrong:
        raise ModelUnavailableError(f"{ABOUT} of {folder.name} lacks {', '.join(wrong)}: {remedy}.")
    if about["format"] != 1:
        raise ModelUnavailableError(
            f"The model folder {folder.name} has format {about['format']}, and this crossviz reads format 1: update it."
        )
    if kind is not None and about["kind"] != kind:
        raise ModelUnavailableError(
            f"The folder {folder.name} holds a model of the kind '{about['kind']:.40}', not {kind}: {remedy}."
        )
    return about


def check_files(folder: Path, names: Iterable[str], about: Mapping[str, Any], remedy: str) -> None:
    """Compare files with their sha256: of an embedded model that in crossviz's code, else that stated in `about`.

    Raises:
        ModelUnavailableError: one is missing, or another one.
    """
    own = embedded_sums(folder)
    stated, where = (own, "crossviz's code") if own else (about["sha256"], ABOUT)
    for name in (*names, ABOUT) if own else names:
        try:
            found = hashlib.sha256((folder / Path(name).name).read_bytes()).hexdigest()
        except OSError as error:
            raise ModelUnavailableError(
                f"{name} of the model {folder.name} can't be read ({error.strerror}): {remedy}."
            ) from None
        if found != stated.get(name):
            raise ModelUnavailableError(
                f"{name} of the model {folder.name} is damaged (its sha256 is not the one in {where}): {remedy}."
            )


def one_line(error: Exception) -> str:
    """An error as part of a sentence."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def kind_of(folder: Path) -> str:
    """The kind that it states, as "coca-mini"; "" where it states none."""
    try:
        return str(json.loads((folder / ABOUT).read_text(encoding="utf-8")).get("kind", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def says_trained(folder: Path) -> bool:
    """Whether the model's weights were trained; a folder without that file is taken to hold trained ones."""
    about = folder / ABOUT
    if not about.is_file():
        return True
    try:
        return bool(json.loads(about.read_text(encoding="utf-8"))["training"]["trained"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
