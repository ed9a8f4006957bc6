"""Where text-to-image pipelines are: in a local folder or on the Hugging Face Hub, whole, or one clear sentence.

Weights are read in the safetensors format only: the older one can run any code as it is read.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from crossviz.errors import ModelUnavailableError
from crossviz.models import hub
from crossviz.models.diffusion_kinds import PipelineKind, kind_of_class
from crossviz.models.hub import Place, place_of

__all__ = [
    "FAMILY",
    "INDEX",
    "LEFT_OUT",
    "Files",
    "Found",
    "available",
    "class_of",
    "fetch",
    "files_of",
    "parts_of",
    "place",
    "require_diffusers",
]

FAMILY = "diffusers"
INDEX = "model_index.json"
PACKAGES = ("diffusers", "transformers")
INSTALL = "pip install crossviz[diffusers]"
LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of a pipeline that read pictures; none of them has a share in the attention."""
_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|model)(?:\.fp16)?(-\d{5}-of-\d{5})?(?:\.fp16)?\.safetensors(\.index(?:\.fp16)?\.json)?"
)
"""Names of files of weights; the groups are there in one of several, and in what says which is in which."""
_SMALL = (".json", ".txt", ".model")
_TOKENIZERS = ({"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"vocab.txt"}, {"spiece.model"})
"""Files that are a tokenizer by themselves."""


class Files(NamedTuple):
    """What of a repository or folder makes up a pipeline."""

    names: tuple[str, ...]
    variant: str | None
    """"fp16" where some part's weights are there in half precision only."""
    lacking: str
    """What is not there, as a sentence; "" for nothing."""


class Found(NamedTuple):
    """A pipeline on this machine."""

    folder: Path
    kind: PipelineKind
    index: Mapping[str, Any]
    """What its model_index.json says."""
    files: Files


def place(name: str) -> Place:
    """As `place_of`, of this family."""
    return place_of(name, FAMILY)


def require_diffusers(name: str) -> ModuleType:
    """The package diffusers, as `hub.require`; without transformers, diffusers fails only when it is used."""
    return hub.require(name, PACKAGES, INSTALL)


def available(place: Place) -> str:
    """Why the model can't be loaded here and now without fetching anything; "" if it can."""
    absent = hub.missing(PACKAGES, INSTALL)
    if absent:
        return f"it {absent}."
    if place.folder is not None:
        return _lacking(place, place.folder)
    found = hub.cached(place, partial(_lacking, place))
    return "" if found else "it is not on this machine yet; it is downloaded when it is first used."


def fetch(place: Place) -> Found:
    """The folder that holds the pipeline; downloaded to the hub's own cache where it is not on this machine.

    Raises:
        ModelUnavailableError: it can't be had, or is no pipeline that is read here; the message says what to do.
    """
    folder = place.folder or hub.cached(place, partial(_lacking, place)) or _download(place)
    index, files = _in_folder(place, folder)
    kind = kind_of_class(class_of(index), place.name) if index else None
    if kind is None or files.lacking:
        raise ModelUnavailableError(f"{place.name} can't be loaded: {files.lacking}")
    return Found(folder, kind, index, files)


def class_of(index: Mapping[str, Any]) -> str:
    """The pipeline's class, by what model_index.json says; the name of other people's code is none of diffusers."""
    stated = index.get("_class_name")
    return stated if isinstance(stated, str) else "pipeline with code of its own"


def parts_of(index: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The pipeline's parts that are loaded: name to library and class."""
    return {
        name: (str(stated[0]), str(stated[1]))
        for name, stated in index.items()
        if isinstance(stated, list) and len(stated) == 2 and all(stated) and name not in LEFT_OUT
    }


def files_of(index: Mapping[str, Any], there: Iterable[str], title: str) -> Files:
    """Which files a pipeline needs.

    Args:
        index: what its model_index.json says.
        there: paths of the files that there are, with / and relative to it.
        title: what the folder or repository is called in a sentence.
    """
    there = set(there)
    names = {name for name in (INDEX, "crossviz.json") if name in there}
    halves: list[tuple[set[str], set[str]]] = []
    for part in parts_of(index):
        own = {name.partition("/")[2] for name in there if name.startswith(f"{part}/") and name.count("/") == 1}
        weights = {name for name in own if _WEIGHTS.fullmatch(name)}
        lacking = _lacking_in_part(part, own, weights, title)
        if lacking:
            return Files((), None, lacking)
        names |= {f"{part}/{name}" for name in own if name.endswith(_SMALL) and ".safetensors" not in name}
        if weights:
            half = {f"{part}/{name}" for name in weights if "fp16" in name}
            halves.append(({f"{part}/{name}" for name in weights} - half, half))
    variant = "fp16" if any(not _usable(full) for full, _ in halves) else None
    for full, half in halves:
        names |= half if variant and _usable(half) else full
    return Files(tuple(sorted(names)), variant, "")


def _lacking_in_part(part: str, own: set[str], weights: set[str], title: str) -> str:
    """What a part of a pipeline lacks, going by the names of its files, as a sentence; "" for nothing."""
    if not own:
        return f"{title} lacks the folder {part} that its {INDEX} names: put all of it there."
    if part.startswith("tokenizer") and not any(files <= own for files in _TOKENIZERS):
        return f"{title} holds no tokenizer in its folder {part}: put all of its files there."
    if weights and "config.json" not in own:
        return f"{title} lacks {part}/config.json: put that there."
    half = {name for name in weights if "fp16" in name}
    if "config.json" in own and not _usable(weights - half) and not _usable(half):
        return (
            f"{title} holds no weights of {part} as safetensors, the only format that is read: "
            "load the pipeline with diffusers, save it with save_pretrained, name that folder."
        )
    return ""


def _usable(weights: set[str]) -> bool:
    """Whether weights are there: one file of all, or several with what says which is in which."""
    found = [match.groups() for name in weights if (match := _WEIGHTS.fullmatch(name.rpartition("/")[2]))]
    whole, indices = (None, None) in found, any(index for _, index in found)
    return whole or (indices and any(shard for shard, _ in found))


def _index(folder: Path) -> dict[str, Any]:
    """What model_index.json holds; nothing where it is no pipeline's."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) and "_class_name" in index else {}


def _lacking(place: Place, folder: Path) -> str:
    return _in_folder(place, folder)[1].lacking


def _in_folder(place: Place, folder: Path) -> tuple[dict[str, Any], Files]:
    """What a folder's model_index.json holds, and which of its files make up the pipeline."""
    title = place.repository or f"the folder {folder.name}"
    index = _index(folder)
    if not index:
        lacking = f"there is no pipeline of diffusers in {title}: it must hold {INDEX} and a folder for each part."
        return {}, Files((), None, lacking)
    there = [path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_file()]
    files = files_of(index, [*there, *(path.name for path in folder.glob("*") if path.is_file())], title)
    indices = [name for name in files.names if ".safetensors.index" in name]
    lacking = next((each for name in indices if (each := hub.lacking_shards(folder / name, title))), "")
    return index, files._replace(lacking=files.lacking or lacking)


def _download(place: Place) -> Path:
    """Fetch a repository's pipeline; its class is looked at before anything large comes."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    with hub.downloading(place, "name a folder that holds a pipeline"):
        index = json.loads(Path(hf_hub_download(place.repository, INDEX)).read_text(encoding="utf-8"))
        kind_of_class(class_of(index), place.name)
        files = files_of(index, HfApi().list_repo_files(place.repository), place.repository)
        if files.lacking:
            raise ModelUnavailableError(f"{place.name} can't be loaded: {files.lacking}")
        return Path(snapshot_download(place.repository, allow_patterns=list(files.names)))
