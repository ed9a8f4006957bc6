"""Where models of transformers are: in a local folder or by their name on the Hugging Face Hub, or one clear sentence.

Weights are read in the safetensors format only: the older one can run any code as it is read.
"""

from functools import partial
from pathlib import Path
from types import ModuleType

from crossviz.errors import ModelUnavailableError
from crossviz.models import hub
from crossviz.models.hub import Place

__all__ = ["CONFIG", "INDEX", "WEIGHTS", "available", "fetch", "require_transformers"]

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Where the weights are in several files, what says which is in which."""
CONFIG = "config.json"
TOKENIZERS = ("tokenizer.json", "vocab.txt")
_PATTERNS = ("*.json", "vocab.txt", "merges.txt", "model*.safetensors")
_CONVERTER = "SFconvertbot"
INSTALL = "pip install crossviz[transformers]"


def require_transformers(name: str) -> ModuleType:
    """The package transformers, as `hub.require`."""
    return hub.require(name, ("transformers",), INSTALL)


def available(place: Place) -> str:
    """Why the model can't be loaded here and now without fetching anything; "" if it can."""
    absent = hub.missing(("transformers",), INSTALL)
    if absent:
        return f"it {absent}."
    if place.folder is not None:
        return _lacking(place, place.folder)
    found = hub.cached(place, partial(_lacking, place))
    return "" if found else "its weights are not on this machine yet; they are downloaded when it is first used."


def fetch(place: Place) -> Path:
    """The folder that holds the model's files; downloaded to the hub's own cache where they are not on this machine.

    Raises:
        ModelUnavailableError: they can't be had; the message names the model, the reason and what to do.
    """
    folder = place.folder or hub.cached(place, partial(_lacking, place)) or _download(place)
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
    lacking = "" if (folder / WEIGHTS).is_file() else hub.lacking_shards(folder / INDEX, title)
    if lacking:
        return lacking
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return f"{title} holds no tokenizer ({' or '.join(TOKENIZERS)}): save that there as well."
    return ""


def _download(place: Place) -> Path:
    from huggingface_hub import snapshot_download

    with hub.downloading(place, "use crossviz-mini, which needs none"):
        folder = Path(snapshot_download(place.repository, allow_patterns=list(_PATTERNS)))
        if not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
            proposed = _proposed(place.repository)
            if proposed is not None:
                folder = Path(snapshot_download(place.repository, revision=proposed, allow_patterns=list(_PATTERNS)))
        return folder


def _proposed(repository: str) -> str | None:
    """The revision in which the hub's own converter offers the weights as safetensors; None where there is none.

    The hub's converter proposes such files to repositories that have the older format alone, as those of ViLT do.
    """
    from huggingface_hub import get_repo_discussions

    found = get_repo_discussions(repository, author=_CONVERTER, discussion_type="pull_request")
    open_ones = (each for each in found if each.status in ("open", "draft") and "safetensors" in each.title)
    return next((each.git_reference for each in open_ones), None)
