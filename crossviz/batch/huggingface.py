"""A data set of Hugging Face's `datasets`: saved in a folder, or by its name on the hub."""

import importlib
from functools import partial
from pathlib import Path
from typing import Any

from crossviz.batch.extras import require
from crossviz.batch.rows import (
    CAPTION_COLUMNS,
    PHOTO_COLUMNS,
    Columns,
    Row,
    Source,
    caption_of,
    check_some,
    column,
    photo_of,
    unique,
)
from crossviz.errors import DatasetError, PhotoError

__all__ = ["HuggingFaceSource", "is_saved", "open_hub", "open_saved"]

PREFIX = "hf:"


class HuggingFaceSource(Source):
    """The rows of one split. A key is what the id column holds, or else the row's number from 0.

    Args:
        dataset: a `datasets.Dataset`.
        name: what it was asked for by, for messages.
        columns: what the user said.

    Raises:
        DatasetError: it has no column of photos or of captions.
    """

    def __init__(self, dataset: Any, name: str, columns: Columns) -> None:
        datasets = importlib.import_module("datasets")
        self.kind = "a Hugging Face data set"
        self.fingerprint = str(dataset._fingerprint)
        features = dataset.features
        photo = column(features, columns.photo, PHOTO_COLUMNS)
        text = columns.caption is not None or column(features, columns.text, CAPTION_COLUMNS)
        for what, found in (
            ("photos", photo),
            ("captions", text),
            ("ids", columns.id is None or columns.id in features),
        ):
            if not found:
                raise DatasetError(
                    f"{name} has no column of {what} by that name; its columns are {', '.join(features)}: name one "
                    "with --photo-column, --caption-column or --id-column."
                )
        check_some(len(dataset), f"{name} holds no rows")
        if isinstance(features[photo], datasets.Image):
            dataset = dataset.cast_column(photo, datasets.Image(decode=False))  # the file as it is
        self._dataset, self._columns, self._photo = dataset, columns, photo
        identity = columns.id or ("id" if "id" in features else None)
        self._keys = None if identity is None else unique(map(str, dataset[identity]))
        self._texts = None if columns.caption is not None else dataset.select_columns([text])

    def __len__(self) -> int:
        return len(self._dataset)

    def rows(self, start: int, stop: int) -> list[Row]:
        found = []
        for position in range(start, min(stop, len(self))):
            key = str(position) if self._keys is None else self._keys[position]
            found.append(Row(key, key, partial(self._read, position), partial(self._told, position)))
        return found

    def _read(self, position: int) -> str | bytes:
        value = photo_of(self._dataset[position], self._photo)
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path") or ""
        if isinstance(value, str | bytes):
            return value
        raise PhotoError(f"The column {self._photo!r} holds a {type(value).__name__}, and no picture, bytes or path.")

    def _told(self, position: int) -> str:
        return caption_of({} if self._texts is None else self._texts[position], self._columns)


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` of a data set, or of several splits, wrote this folder."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def open_saved(folder: Path, columns: Columns) -> HuggingFaceSource:
    """A folder that `save_to_disk` wrote.

    Raises:
        DatasetError: it can't be read, or holds several splits.
    """
    require("A Hugging Face data set", ["datasets"])
    datasets = importlib.import_module("datasets")
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise DatasetError(f"The data set in {folder} can't be read ({_line(error)}): save it again.") from error
    if isinstance(found, datasets.DatasetDict):
        names = list(found)
        if len(names) != 1:
            raise DatasetError(
                f"{folder} holds the splits {', '.join(names)}: name the folder of one, as {folder / names[0]}."
            )
        found = found[names[0]]
    return HuggingFaceSource(found, str(folder), columns)


def open_hub(name: str, columns: Columns) -> HuggingFaceSource:
    """A data set of the hub by "hf:ORG/NAME" or "hf:ORG/NAME:SPLIT"; it is downloaded the first time.

    Raises:
        DatasetError: it can't be had.
    """
    require("A Hugging Face data set", ["datasets"])
    datasets = importlib.import_module("datasets")
    title, _, split = name.removeprefix(PREFIX).partition(":")
    try:
        if not split:
            splits = datasets.get_dataset_split_names(title)
            if len(splits) != 1:
                raise DatasetError(f"{name} has the splits {', '.join(splits)}: name one, as {name}:{splits[0]}.")
            (split,) = splits
        found = datasets.load_dataset(title, split=split)
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(
            f"The data set {title!r} can't be had ({_line(error)}): check its name and the network, or save it with "
            "save_to_disk where there is one, and name that folder."
        ) from error
    return HuggingFaceSource(found, name, columns)


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
