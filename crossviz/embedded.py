"""The SHA-256 of every file that an embedded model is loaded from.

They stand in the code so that no folder vouches for its own files. A model that is trained again has other ones:
`tests/unit/test_embedded.py` prints what belongs here.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from crossviz.errors import ModelUnavailableError
from crossviz.paths import assets_dir

__all__ = ["SHA256", "check_embedded", "embedded_sums"]

SHA256: Mapping[str, Mapping[str, str]] = {
    "models/coca-mini": {
        "bpe_vocab.txt.gz": "a8782b7a167785156e8cf340b51c6e91a330c7e0b10d8e760a43a2b877950850",
        "coca.safetensors": "c1d9ba4d93a343b45d89b752ca24d6c5c193b6c832d1d78c114fa5ec05cc80ff",
        "crossviz.json": "6eddc9552e459816b17474699fd1198027b2c62f3c63b30c12fe3266cf32ffda",
        "open_clip_config.json": "11cd9610d61dbbf37b15d095d1d25a54d377b13e88bca85a1cfd531109314627",
    },
    "models/crossviz-mini": {
        "cross_attention.safetensors": "fba1c0dcd1c3295460b5092f5b0abda46f08632946c9dc329bcce923c9d1b6eb",
        "crossviz.json": "05157ab28651beb503d160335b0e2b30226294440a81d81cb2b3908a08c04405",
        "open_clip_config.json": "d8e45ea2b8b4a5152fe5788de47cc7547f7c51a3e649d91f340abba1a7f7e897",
        "open_clip_model.safetensors": "0df758c5d8e90a9b629784c49007c20d3594bad86b7b43201ae80c44263fab5e",
    },
    "models/dalle-mini-scenes": {
        "checker.safetensors": "f07107acd60bc9b9519f22a68e454acbd4308dc54362d4cd42832f6c48460560",
        "crossviz.json": "0d0919043c06c1ce5fe2de55bab7acd342fb9fc2575c0b701b304526b72c8fe6",
        "image_tokenizer.safetensors": "f8d7fc3be353134afa208ff39a081d41c9c452c4675300b8aaca22083ff01fec",
        "reader.safetensors": "ef92ed963cf94a4c65cb2e89b580f2faba0c44e61dd799bc548656c427761deb",
        "transformer.safetensors": "a121e4f631013a67c16453a14307be93e33aa4f93b42184092501c90f2885cfc",
    },
    "models/vilt-mini": {
        "config.json": "5fdb9240b1d6aaf991deaad7be6b8730f9028b7112049d84cf392faca776ed42",
        "crossviz.json": "5c3eeae9c6060fd5aeae21efbdeac85a6b5520612623f786b8dcd69fa9206143",
        "model.safetensors": "335762d4d2f71448082f4b7304933e6de8ea197fcd740984a0fbd70385a81adc",
        "tokenizer.json": "92b3dd14096a46d53d3879229ea493a18be2503c5f977a9e5f26852d9ec13ac8",
        "tokenizer_config.json": "322a5422d40ed108f6e81d5bd4c847cc454731d63a8086f03b4cc015dab0f1b6",
    },
    "noun-phrases": {
        "weights.json": "5d88f15c3d20db54c21586811a609191d800f7ac8958c583b536ac943f80b0ac",
    },
}
"""By the folder in `assets`, then by the file's name."""


def embedded_sums(folder: Path) -> Mapping[str, str]:
    """The SHA-256 of each of a folder's files by its name; of a folder that crossviz does not carry, nothing."""
    home, path = assets_dir().resolve(), folder.resolve()
    return SHA256.get(path.relative_to(home).as_posix(), {}) if path.is_relative_to(home) else {}


def check_embedded(path: Path) -> None:
    """Compare a file that crossviz carries with what stands here.

    Raises:
        ModelUnavailableError: it can't be read, or is another one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelUnavailableError(f"{path.name} can't be read ({error.strerror}): install crossviz again.") from None
    if hashlib.sha256(data).hexdigest() != embedded_sums(path.parent)[path.name]:
        raise ModelUnavailableError(
            f"{path.name} in {path.parent.name} is damaged (its sha256 is not the one in crossviz's code): install "
            "crossviz again."
        )
