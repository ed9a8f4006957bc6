"""Whether pretrained weights can be had: on this machine already, or from a hub that answers.

Without network, open_clip's downloads try every file several times before they give up. Asking the hub once, with a
short limit, turns minutes of waiting into one sentence.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["cached_weights", "lacking_shards", "shards", "unreachable"]

TIMEOUT_SECONDS = 5.0


def cached_weights(config: Mapping[str, Any]) -> bool:
    """Whether the weights that an entry of open_clip's pretrained table names are on this machine.

    Args:
        config: an entry of `open_clip.pretrained`: `hf_hub` ("org/model/file", "org/model/"), `url` or `file`.
    """
    if "file" in config:
        return Path(config["file"]).is_file()
    if config.get("hf_hub"):
        from huggingface_hub import try_to_load_from_cache
        from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

        repository, name = os.path.split(config["hf_hub"])
        names = {name, Path(name).with_suffix(".safetensors").name} if name else {HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME}
        return any(isinstance(try_to_load_from_cache(repository, each), str) for each in names)
    return (Path("~/.cache/clip").expanduser() / os.path.basename(config.get("url", "nothing"))).is_file()


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
