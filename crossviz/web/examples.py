"""The example photos: their index, small pictures of them, and copies that Gradio is allowed to hand out."""

import base64
import io
import json
import shutil
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from crossviz.paths import assets_dir
from crossviz.photo import Photo, load_photo
from crossviz.web.own_folder import FILES, own_folder

__all__ = [
    "EXAMPLES",
    "Example",
    "example_hashes",
    "example_named",
    "example_of",
    "examples",
    "keep_photo",
    "thumbnail",
]

THUMBNAIL = (144, 108)
EXAMPLES = "examples"
"""Their folder among the files that Gradio hands out: the only one there that is no visitor's."""


@dataclass(frozen=True, slots=True)
class Example:
    """One example of assets/examples/examples.json."""

    photo: Path
    caption: str
    title: str
    licence: str
    source: str

    @property
    def name(self) -> str:
        """What a link calls it."""
        return self.photo.stem


def examples() -> tuple[Example, ...]:
    """The examples, in the order of the index.

    The photos are copies in the folder of this process: Gradio serves files from there, wherever crossviz itself is
    installed.
    """
    return _examples_in(own_folder())


@lru_cache(maxsize=1)
def _examples_in(_: Path) -> tuple[Example, ...]:
    home = assets_dir() / "examples"
    index = json.loads((home / "examples.json").read_text("utf-8"))
    return tuple(Example(**{**entry, "photo": Path(shutil.copy(home / entry["photo"], _folder()))}) for entry in index)


def example_named(name: str) -> Example | None:
    """The example that a link names; None where there is none."""
    return next((example for example in examples() if example.name == name), None)


def example_of(photo: Photo) -> Example | None:
    """The example whose photo this is, pixel by pixel; None where it is none of them."""
    found = next((example for example in examples() if example.photo.name == photo.name), None)
    return found if found is not None and _sha256(found) == photo.sha256 else None


def example_hashes() -> set[str]:
    """The sha256 of the examples' pixels."""
    return {_sha256(example) for example in examples()}


@cache
def _sha256(example: Example) -> str:
    return load_photo(example.photo).sha256


def keep_photo(photo: Photo) -> Path:
    """The photo as a file that Gradio is allowed to hand out."""
    path = _folder() / f"{photo.sha256[:16]}.png"
    photo.image().save(path)
    return path


def _folder() -> Path:
    folder = own_folder() / FILES / EXAMPLES
    folder.mkdir(exist_ok=True)
    return folder


def thumbnail(example: Example) -> str:
    """A small picture as a data URL."""
    picture = load_photo(example.photo).image().convert("RGB")
    picture.thumbnail((2 * THUMBNAIL[0], 2 * THUMBNAIL[1]))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
