"""Which kind of source a name is, and opening it."""

import glob
from pathlib import Path

from crossviz.batch import huggingface
from crossviz.batch.folder import TABLES, FolderSource, photo_files
from crossviz.batch.rows import Columns, Source
from crossviz.batch.shards import ShardSource, expand
from crossviz.batch.table import SUFFIXES, TableSource
from crossviz.errors import DatasetError
from crossviz.words import check_caption

__all__ = ["open_source"]

KINDS = "a folder of photos, a .jsonl, .csv or .tsv file, .tar shards (x-{000..009}.tar), or hf:ORG/NAME"


def open_source(name: str, columns: Columns | None = None) -> Source:
    """Rows of photos and captions.

    Args:
        name: a folder of photos, of .tar shards or of a data set that `datasets` saved; a .jsonl, .csv or .tsv file;
            one .tar file, or several by "x-{000..009}.tar" or "x-*.tar"; "hf:ORG/NAME" or "hf:ORG/NAME:SPLIT".
        columns: one caption for all, or names of columns.

    Raises:
        DatasetError: there is no such thing, it can't be read, or it holds no rows.
        CaptionError: the caption for all can't be explained.
    """
    columns = columns or Columns()
    if columns.caption is not None:
        check_caption(columns.caption)
    if name.startswith(huggingface.PREFIX):
        return huggingface.open_hub(name, columns)
    path = Path(name).expanduser().absolute()  # other processes may stand elsewhere
    if path.is_dir():
        return _open_folder(path, columns)
    if path.suffix.lower() == ".tar":
        return ShardSource(_shards(str(path)), columns)
    if not path.exists():
        raise DatasetError(f"There is no {name}: give {KINDS}.")
    if path.suffix.lower() in SUFFIXES:
        return TableSource(path, columns)
    raise DatasetError(f"{path.name} is no source of photos: give {KINDS}.")


def _open_folder(folder: Path, columns: Columns) -> Source:
    if huggingface.is_saved(folder):
        return huggingface.open_saved(folder, columns)
    tables = [folder / name for name in TABLES if (folder / name).is_file()]
    if tables and columns.caption is None:
        return TableSource(tables[0], columns)
    shards = sorted(folder.glob("*.tar"))
    if shards and not photo_files(folder):
        return ShardSource(shards, columns)
    return FolderSource(folder, columns)


def _shards(pattern: str) -> list[Path]:
    if Path(pattern).is_file():
        return [Path(pattern)]
    names = sorted(glob.glob(pattern)) if any(sign in pattern for sign in "*?[") else expand(pattern)
    missing = next((name for name in names if not Path(name).is_file()), None)
    if missing is not None or not names:
        raise DatasetError(f"There is no file {missing or pattern}: check the path.")
    return [Path(name) for name in names]
