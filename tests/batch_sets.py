"""Small sources of photos with captions, the same rows in every kind, and what a run left in its folder."""

import csv
import io
import json
import tarfile
from pathlib import Path

import factories
import pyarrow.parquet as pq

CAPTIONS = ("a red ball", "a dog, and a dog", "ein Fußball im Grünen", '"quoted", with\na second line', "a 🐕 on grass")
WH = ((40, 24), (24, 40), (32, 32))


def photo_bytes(number: int) -> bytes:
    """A small photo, another one for every number; PNG, so that it is the same after every way."""
    made = io.BytesIO()
    factories.photo(*WH[number % 3], seed=number).image().save(made, "PNG")
    return made.getvalue()


def rows(count: int) -> list[tuple[str, bytes, str]]:
    """Name, photo and caption."""
    return [(f"photo{n:03d}", photo_bytes(n), CAPTIONS[n % len(CAPTIONS)]) for n in range(count)]


def write_folder(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data, caption in rows(count):
        (folder / f"{name}.png").write_bytes(data)
        (folder / f"{name}.txt").write_text(caption, encoding="utf-8")
    return folder


def _photos(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data, _ in rows(count):
        (folder / f"{name}.png").write_bytes(data)


def write_jsonl(folder: Path, count: int) -> Path:
    _photos(folder / "photos", count)
    lines = [
        json.dumps({"photo": f"photos/{name}.png", "caption": caption}, ensure_ascii=n % 2 == 0)
        for n, (name, _, caption) in enumerate(rows(count))
    ]
    (folder / "rows.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    return folder / "rows.jsonl"


def write_csv(folder: Path, count: int) -> Path:
    _photos(folder / "photos", count)
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8-sig") as opened:
        writer = csv.writer(opened)
        writer.writerow(["number", "caption", "image"])
        writer.writerows([n, caption, f"photos/{name}.png"] for n, (name, _, caption) in enumerate(rows(count)))
    return folder / "rows.csv"


def write_sidecar(folder: Path, count: int) -> Path:
    _photos(folder, count)
    lines = [json.dumps({"file_name": f"{name}.png", "text": caption}) for name, _, caption in rows(count)]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def write_shards(folder: Path, count: int, a_shard: int = 4) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    made = rows(count)
    shards = -(-count // a_shard)
    for shard in range(shards):
        with tarfile.open(folder / f"x-{shard:03d}.tar", "w") as opened:
            for name, data, caption in made[shard * a_shard : (shard + 1) * a_shard]:
                text = caption.encode() if shard % 2 else json.dumps({"caption": caption, "id": name}).encode()
                for suffix, content in (("png", data), ("txt" if shard % 2 else "json", text)):
                    member = tarfile.TarInfo(f"./{name}.{suffix}")
                    member.size = len(content)
                    opened.addfile(member, io.BytesIO(content))
    return str(folder / f"x-{{000..{shards - 1:03d}}}.tar")


def write_saved(folder: Path, count: int) -> Path:
    import datasets

    made = rows(count)
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    photos = [{"bytes": data, "path": None} for _, data, _ in made]
    columns = {"image": photos, "text": [caption for *_, caption in made]}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(folder))
    return folder


KINDS = {
    "folder": write_folder,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "sidecar": write_sidecar,
    "shards": write_shards,
    "saved data set": write_saved,
}


def files_of(out: Path) -> dict[str, bytes]:
    """Every file of a folder of results with its bytes; batch.json, tables and the report apart."""
    kept = sorted(each for each in out.rglob("*") if each.is_file() and each.name != ".lock")
    as_bytes = {each.relative_to(out).as_posix(): each.read_bytes() for each in kept}
    return {name: data if "zarr" in name else b"" for name, data in as_bytes.items()}


def tables_of(out: Path) -> list[dict]:
    """Every row of the tables, of the good ones and then of those that were set aside."""
    files = [file for name in ("rows", "bad") for file in sorted((out / name).glob("*.parquet"))]
    return [{"file": file.name, **row} for file in files for row in pq.read_table(file).to_pylist()]


def assert_same(out: Path, expected: Path) -> None:
    """Two folders of results hold the same, value for value, and nothing beside it."""
    assert tables_of(out) == tables_of(expected)
    assert files_of(out) == files_of(expected)
