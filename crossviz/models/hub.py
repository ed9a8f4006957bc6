"""Where pretrained models are: in a folder, on this machine already, or on a hub that answers; and packages they need.

Without network, open_clip's downloads try every file several times before they give up. Asking the hub once, with a
short limit, turns minutes of waiting into one sentence.
"""

import importlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from crossviz import compat
from crossviz.errors import ModelUnavailableError, UnknownModelError
from crossviz.models.about import one_line
from crossviz.models.base import folder_state

__all__ = [
    "Place",
    "cached",
    "cached_weights",
    "downloading",
    "fetch_weights",
    "identity",
    "lacking_shards",
    "missing",
    "place_of",
    "require",
    "safe_weights",
    "shards",
    "unreachable",
]

TIMEOUT_SECONDS = 5.0
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


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
        try:
            folder = Path(rest.removeprefix("local-dir:")).expanduser().resolve()
            folder.stat()  # a name that is too long is refused here
        except FileNotFoundError:
            pass  # said where it is loaded
        except (OSError, RuntimeError, ValueError) as error:
            raise UnknownModelError(f"{name[:80]!r} names no folder ({one_line(error)}): check the path.") from None
        return Place(name, folder, "")
    if not _REPOSITORY.fullmatch(rest):
        raise UnknownModelError(
            f"{name[:80]!r} names no model: write {family}:ORG/NAME for one of the Hugging Face Hub, or {family}: and "
            "a folder, beginning with / or ./."
        )
    return Place(name, None, rest)


def identity(place: Place) -> tuple[str, str]:
    """What tells two models apart: the repository, or the folder and the state of its files and of its parts'."""
    if place.folder is None:
        return place.repository, ""
    folders = [place.folder, *sorted(each for each in place.folder.glob("*") if each.is_dir())]
    return str(place.folder), "\n".join(f"{each.name}\n{folder_state(each)}" for each in folders)


def missing(packages: Sequence[str], install: str) -> str:
    """Which of the packages are not installed, for "it" or a name before it; "" for none. Nothing is imported to look.

    Args:
        packages: their names.
        install: the command that installs them.
    """
    absent = [package for package in packages if not _installed(package)]
    what, are = ("package", "is") if len(absent) == 1 else ("packages", "are")
    return f"needs the {what} {' and '.join(absent)}, which {are} not installed: {install}" if absent else ""


def require(name: str, packages: Sequence[str], install: str) -> ModuleType:
    """The first of the packages, all of them imported.

    Args:
        name: the model that needs them.
        packages, install: as `missing`.

    Raises:
        ModelUnavailableError: one is not installed, or can't be imported.
    """
    absent = missing(packages, install)
    if absent:
        raise ModelUnavailableError(f"{name} {absent}")
    compat.ensure_torchvision()  # transformers imports it where it is there
    modules = []
    for package in packages:
        try:
            modules.append(importlib.import_module(package))
        except Exception as error:  # a broken installation may raise anything
            raise ModelUnavailableError(
                f"{name} needs the package {package}, which can't be imported ({one_line(error)}): {install}"
            ) from error
    return modules[0]


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # ValueError: something else stands in its place in sys.modules
        return False


def cached(place: Place, lacking: Callable[[Path], str]) -> Path | None:
    """The folder of the hub's cache that holds the model; None where none is whole.

    Args:
        place: a repository.
        lacking: what a folder lacks, "" for nothing.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    base = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=place.repository, repo_type="model")
    main = base / "refs" / "main"
    first = [base / "snapshots" / main.read_text(encoding="utf-8").strip()] if main.is_file() else []
    return next((each for each in [*first, *sorted((base / "snapshots").glob("*"))] if not lacking(each)), None)


@contextmanager
def downloading(place: Place, instead: str) -> Iterator[None]:
    """What is done inside fetches a model from the hub, which is asked first whether it is there.

    Args:
        place: the model's repository.
        instead: what else one may do, as the end of a sentence.

    Raises:
        ModelUnavailableError: the hub does not answer, or what was done inside failed.
    """
    reason = unreachable()
    if reason is not None:
        raise ModelUnavailableError(
            f"The weights of {place.name} are not on this machine, and {reason}: connect to the network and try again, "
            f"or {instead}."
        )
    try:
        yield
    except ModelUnavailableError:
        raise
    except Exception as error:
        raise ModelUnavailableError(
            f"{place.name} can't be downloaded ({one_line(error)}): check its name, connect to the network and try "
            f"again, or {instead}."
        ) from error


def safe_weights(config: Mapping[str, Any]) -> tuple[str, str]:
    """The repository and the file of an entry's weights as safetensors, the only format that is read.

    Args:
        config: an entry of open_clip's pretrained table, with `hf_hub`: "org/model/file" or "org/model/".

    Returns:
        ("", "") where it names no repository.
    """
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME

    repository, name = os.path.split(config.get("hf_hub") or "")
    return repository, (Path(name).with_suffix(".safetensors").name if name else HF_SAFE_WEIGHTS_NAME) * bool(
        repository
    )


def cached_weights(config: Mapping[str, Any]) -> bool:
    """Whether the weights that an entry of open_clip's pretrained table names are on this machine as safetensors."""
    if "file" in config:
        return Path(config["file"]).suffix == ".safetensors" and Path(config["file"]).is_file()
    from huggingface_hub import try_to_load_from_cache

    repository, name = safe_weights(config)
    return bool(repository) and isinstance(try_to_load_from_cache(repository, name), str)


def fetch_weights(name: str, config: Mapping[str, Any]) -> None:
    """See to it that the weights of an entry of open_clip's pretrained table are in the hub's cache as safetensors.

    open_clip takes them from there; where they aren't, it takes the older format, which can run any code as it is read.

    Args:
        name: what the model is called in a sentence.

    Raises:
        ModelUnavailableError: the hub does not answer, or has them in the older format only.
    """
    if cached_weights(config):
        return
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repository, file = safe_weights(config)
    place, instead = Place(name, None, repository), "use crossviz-mini, which needs none"
    only = (
        f"The weights of {name} are not there as {file or 'safetensors'}, the only format that is read: choose another "
        f"model, or {instead}."
    )
    if not repository:
        raise ModelUnavailableError(only)
    with downloading(place, instead):
        try:
            hf_hub_download(repository, file)
        except EntryNotFoundError:
            raise ModelUnavailableError(only) from None


def unreachable() -> str | None:
    """Why the Hugging Face Hub can't be asked for files now; None if it answers."""
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set, so nothing is downloaded"
    host = urlsplit(constants.ENDPOINT).netloc or constants.ENDPOINT
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT_SECONDS)
    except Exception as error:
        # The classes differ between versions of huggingface_hub (requests, httpx); any failure means no answer.
        return f"{host} can't be reached ({type(error).__name__})"
    return None


def shards(index: Path) -> list[str] | None:
    """The files of weights that an index names; None where it can't be read."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return names if all(isinstance(name, str) for name in names) else None


def lacking_shards(index: Path, title: str) -> str:
    """What of the files that an index of weights names is not beside it, as a sentence; "" for nothing.

    Args:
        index: its file.
        title: what the model's folder or repository is called in a sentence.
    """
    names = shards(index)
    if names is None:
        return f"{index.name} of {title} can't be read: save the model again."
    missing = [name for name in names if not (index.parent / name).is_file()]
    if not missing:
        return ""
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return f"{title} lacks some of its weights ({', '.join(missing[:3])}{more}): put all of them there."
