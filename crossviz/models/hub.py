"""Whether pretrained weights can be had: on this machine already, or from a hub that answers.

Without network, open_clip's downloads try every file several times before they give up. Asking the hub once, with a
short limit, turns minutes of waiting into one sentence.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["cached_weights", "unreachable"]

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
