"""Where models of transformers are: in a local folder or by their name on the Hugging Face Hub, or one clear sentence.

Weights are read in the safetensors format only: the older one can run any code as it is read.
"""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from crossviz import compat
from crossviz.errors import ModelUnavailableError, UnknownModelError
from crossviz.models.about import one_line
from crossviz.models.base import folder_state
from crossviz.models.hub import lacking_shards, unreachable

__all__ = [
    "CONFIG",
    "INDEX",
    "WEIGHTS",
    "Place",
    "available",
    "fetch",
    "identity",
    "place_of",
    "require_transformers",
]

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Where the weights are in several files, what says which is in which."""
CONFIG = "config.json"
TOKENIZERS = ("tokenizer.json", "vocab.txt")
_PATTERNS = ("*.json", "vocab.txt", "merges.txt", "model*.safetensors")
_CONVERTER = "SFconvertbot"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
INSTALL = "pip install crossviz[transformers]"


@dataclass(frozen=True)
class Place:
    """Where a model is: a folder, or a repository of the hub."""

    name: str
    """What it is called here, with its family: "vilt:dandelin/vilt-b32-mlm"."""
    folder: Path | None
    repository: str

    @property
    def title(self) -> str:
        """The folder's name, or the repository's with its owner."""
        return self.repository or (self.folder.name if self.folder is not None else self.name)


def place_of(name: str, family: str) -> Place:
    """Read a name: "FAMILY:ORG/NAME", "FAMILY:local-dir:FOLDER" or "FAMILY:FOLDER" (from /, ./, ../ or ~ on).

    Raises:
        UnknownModelError: it is none of these.
    """
    rest = name.removeprefix(f"{family}:") if name.startswith(f"{family}:") else ""
    if rest.startswith(("local-dir:", "/", "./", "../", "~")) or Path(rest).is_absolute():
        return Place(name, Path(rest.removeprefix("local-dir:")).expanduser().resolve(), "")
    if not _REPOSITORY.fullmatch(rest):
        raise UnknownModelError(
            f"'{name[:80]}' names no model: write {family}:ORG/NAME for one of the Hugging Face Hub, or {family}: and "
            "a folder, beginning with / or ./."
        )
    return Place(name, None, rest)


def identity(place: Place) -> tuple[str, str]:
    """What tells two models apart: the repository, or the folder and the state of its files."""
    return (place.repository, "") if place.folder is None else (str(place.folder), folder_state(place.folder))


def missing_package() -> str:
    """Why transformers can't be used, "" if it is there; nothing is imported to look."""
    try:
        there = importlib.util.find_spec("transformers") is not None
    except (ImportError, ValueError):  # ValueError: something else stands in its place in sys.modules
        there = False
    return "" if there else f"it needs the package transformers, which is not installed: {INSTALL}"


def require_transformers(name: str) -> ModuleType:
    """The package transformers.

    Args:
        name: the model that needs it.

    Raises:
        ModelUnavailableError: it is not installed, or can't be imported.
    """
    if missing_package():
        raise ModelUnavailableError(f"{name} needs the package transformers, which is not installed: {INSTALL}")
    compat.ensure_torchvision()  # transformers imports it where it is there
    try:
        import transformers
    except Exception as error:  # a broken installation may raise anything
        raise ModelUnavailableError(
            f"{name} needs the package transformers, which can't be imported ({one_line(error)}): {INSTALL}"
        ) from error
    return transformers


def available(place: Place) -> str:
    """Why the model can't be loaded here and now without fetching anything; "" if it can."""
    missing = missing_package()
    if missing:
        return f"{missing}."
    if place.folder is not None:
        return _lacking(place, place.folder)
    return (
        "" if _cached(place) else "its weights are not on this machine yet; they are downloaded when it is first used."
    )


def fetch(place: Place) -> Path:
    """The folder that holds the model's files; downloaded to the hub's own cache where they are not on this machine.

    Raises:
        ModelUnavailableError: they can't be had; the message names the model, the reason and what to do.
    """
    require_transformers(place.name)
    if place.folder is not None:
        lacking = _lacking(place, place.folder)
        if lacking:
            raise ModelUnavailableError(f"{place.name} can't be loaded: {lacking}")
        return place.folder
    found = _cached(place)
    if found is not None:
        return found
    reason = unreachable()
    if reason is not None:
        raise ModelUnavailableError(
            f"The weights of {place.name} are not on this machine, and {reason}: connect to the network and try again, "
            "or use crossviz-mini, which needs none."
        )
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(place.repository, allow_patterns=list(_PATTERNS)))
        if not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
            proposed = _proposed(place.repository)
            if proposed is not None:
                folder = Path(snapshot_download(place.repository, revision=proposed, allow_patterns=list(_PATTERNS)))
    except Exception as error:
        raise ModelUnavailableError(
            f"{place.name} can't be downloaded ({one_line(error)}): check its name, connect to the network and try "
            "again, or use crossviz-mini, which needs none."
        ) from error
    lacking = _lacking(place, folder)
    if lacking:
        raise ModelUnavailableError(f"{place.name} can't be loaded: {lacking}")
    return folder


def _lacking(place: Place, folder: Path) -> str:
    """What the folder of a model lacks, as a sentence; "" for nothing."""
    title = place.repository or f"the folder {folder.name}"
    if not (folder / CONFIG).is_file():
        return f"there is no model of transformers in {title}: it must hold {CONFIG} and weights."
    if not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
        return (
            f"{title} holds no {WEIGHTS}, the only format of weights that is read: load the model with transformers, "
            "save it with save_pretrained, and name that folder."
        )
    lacking = "" if (folder / WEIGHTS).is_file() else lacking_shards(folder / INDEX, title)
    if lacking:
        return lacking
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return f"{title} holds no tokenizer ({' or '.join(TOKENIZERS)}): save that there as well."
    return ""


def _cached(place: Place) -> Path | None:
    """The folder of the hub's cache that holds the model; None where none is whole."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    base = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=place.repository, repo_type="model")
    main = base / "refs" / "main"
    first = [base / "snapshots" / main.read_text(encoding="utf-8").strip()] if main.is_file() else []
    return next((each for each in [*first, *sorted((base / "snapshots").glob("*"))] if not _lacking(place, each)), None)


def _proposed(repository: str) -> str | None:
    """The revision in which the hub's own converter offers the weights as safetensors; None where there is none.

    The hub's converter proposes such files to repositories that have the older format alone, as those of ViLT do.
    """
    from huggingface_hub import get_repo_discussions

    found = get_repo_discussions(repository, author=_CONVERTER, discussion_type="pull_request")
    open_ones = (each for each in found if each.status in ("open", "draft") and "safetensors" in each.title)
    return next((each.git_reference for each in open_ones), None)
