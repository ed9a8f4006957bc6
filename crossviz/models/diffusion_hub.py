"""Where text-to-image pipelines are: in a local folder or on the Hugging Face Hub, whole, or one clear sentence.

Weights are read in the safetensors format only: the older one can run any code as it is read.
"""

import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from crossviz import compat
from crossviz.errors import ModelUnavailableError
from crossviz.models.about import one_line
from crossviz.models.base import folder_state
from crossviz.models.diffusion_kinds import PipelineKind, kind_of_class
from crossviz.models.hub import lacking_shards, unreachable
from crossviz.models.transformers_hub import Place, place_of

__all__ = [
    "FAMILY",
    "INDEX",
    "LEFT_OUT",
    "Files",
    "Found",
    "Place",
    "available",
    "class_of",
    "fetch",
    "files_of",
    "identity",
    "parts_of",
    "place",
    "require_diffusers",
]

FAMILY = "diffusers"
INDEX = "model_index.json"
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


def identity(place: Place) -> tuple[str, str]:
    """What tells two models apart: the repository, or the folder and the state of its files."""
    if place.folder is None:
        return place.repository, ""
    folders = [place.folder, *sorted(each for each in place.folder.glob("*") if each.is_dir())]
    return str(place.folder), "\n".join(f"{each.name}\n{folder_state(each)}" for each in folders)


def missing_packages() -> str:
    """What is not installed, joined by commas; "" for nothing. Nothing is imported to look."""
    return ", ".join(name for name in ("diffusers", "transformers") if not _installed(name))


def require_diffusers(name: str) -> ModuleType:
    """The package diffusers.

    Args:
        name: the model that needs it.

    Raises:
        ModelUnavailableError: it or transformers is not installed, or can't be imported.
    """
    missing = missing_packages()
    if missing:
        raise ModelUnavailableError(f"{name} needs {missing}, which is not installed: {INSTALL}")
    compat.ensure_torchvision()  # transformers imports it where it is there
    try:
        import diffusers
        import transformers  # noqa: F401  diffusers puts off its error to the first use
    except Exception as error:  # a broken installation may raise anything
        raise ModelUnavailableError(
            f"{name} needs the package diffusers, which can't be imported ({one_line(error)}): {INSTALL}"
        ) from error
    return diffusers


def available(place: Place) -> str:
    """Why the model can't be loaded here and now without fetching anything; "" if it can."""
    missing = missing_packages()
    if missing:
        return f"it needs {missing}, which is not installed: {INSTALL}."
    if place.folder is not None:
        return _in_folder(place, place.folder).lacking
    return "" if _cached(place) else "it is not on this machine yet; it is downloaded when it is first used."


def fetch(place: Place) -> Found:
    """The folder that holds the pipeline; downloaded to the hub's own cache where it is not on this machine.

    Raises:
        ModelUnavailableError: it can't be had, or is no pipeline that is read here; the message says what to do.
    """
    require_diffusers(place.name)
    folder = place.folder or _cached(place) or _download(place)
    files = _in_folder(place, folder)
    index = _index(folder)
    if index is None:
        raise ModelUnavailableError(f"{place.name} can't be loaded: {files.lacking}")
    kind = kind_of_class(class_of(index), place.name)
    if files.lacking:
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


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # ValueError: something else stands in its place in sys.modules
        return False


def _index(folder: Path) -> dict[str, Any] | None:
    """What model_index.json holds; None where it is no pipeline's."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return index if isinstance(index, dict) and "_class_name" in index else None


def _in_folder(place: Place, folder: Path) -> Files:
    title = place.repository or f"the folder {folder.name}"
    index = _index(folder)
    if index is None:
        return Files(
            (), None, f"there is no pipeline of diffusers in {title}: it must hold {INDEX} and a folder for each part."
        )
    there = [path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_file()]
    files = files_of(index, [*there, *(path.name for path in folder.glob("*") if path.is_file())], title)
    indices = [name for name in files.names if ".safetensors.index" in name]
    lacking = next((each for name in indices if (each := lacking_shards(folder / name, title))), "")
    return files._replace(lacking=files.lacking or lacking)


def _cached(place: Place) -> Path | None:
    """The folder of the hub's cache that holds the whole pipeline; None where none does."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    base = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=place.repository, repo_type="model")
    main = base / "refs" / "main"
    first = [base / "snapshots" / main.read_text(encoding="utf-8").strip()] if main.is_file() else []
    found = [*first, *sorted((base / "snapshots").glob("*"))]
    return next((each for each in found if not _in_folder(place, each).lacking), None)


def _download(place: Place) -> Path:
    """Fetch a repository's pipeline; its class is looked at before anything large comes."""
    reason = unreachable()
    if reason is not None:
        raise ModelUnavailableError(
            f"{place.name} is not on this machine, and {reason}: connect to the network and try again, or name a "
            "folder that holds a pipeline."
        )
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    try:
        index = json.loads(Path(hf_hub_download(place.repository, INDEX)).read_text(encoding="utf-8"))
        kind_of_class(class_of(index), place.name)
        files = files_of(index, HfApi().list_repo_files(place.repository), place.repository)
        if not files.lacking:
            return Path(snapshot_download(place.repository, allow_patterns=list(files.names)))
    except ModelUnavailableError:
        raise
    except Exception as error:
        raise ModelUnavailableError(
            f"{place.name} can't be downloaded ({one_line(error)}): check its name, connect to the network and try "
            "again, or name a folder that holds a pipeline."
        ) from error
    raise ModelUnavailableError(f"{place.name} can't be loaded: {files.lacking}")
