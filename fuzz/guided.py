"""Coverage-guided fuzzing by atheris: `python -m fuzz.guided photos|bundles [--seconds 600] [--corpus FOLDER]`.

The Python code of crossviz and Pillow is instrumented, so that an
input that reaches a new branch is kept and varied. The sound files that the other fuzzers damage are the beginning.
What ends in another error than crossviz's own, takes more than 10 s or 2 GB is kept in the folder `findings`.
"""

import argparse
import contextlib
import importlib
import logging
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from fuzz import ROOT

FOLDER = ROOT / "build" / "fuzz"
LIMIT_S = 10
LIMIT_MB = 2048
MOST_BYTES = 1 << 16


def main() -> None:
    """Run one target for a while."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.guided", description=__doc__.split(":")[0])
    parser.add_argument("target", choices=("photos", "bundles"))
    parser.add_argument("--seconds", type=int, default=600, help="how long (%(default)s)")
    parser.add_argument("--corpus", type=Path, help="where the inputs are kept that reach something new")
    args = parser.parse_args()
    try:
        import atheris
    except ModuleNotFoundError:
        sys.exit("This needs atheris (Linux, CPython 3.11 to 3.13): pip install -r requirements-fuzz.txt")
    with atheris.instrument_imports(include=["PIL", "crossviz"], enable_loader_override=False):
        photo = importlib.import_module("crossviz.photo")
        loading = importlib.import_module("crossviz.loading") if args.target == "bundles" else None
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    corpus = args.corpus or FOLDER / args.target
    findings = FOLDER / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(_seeds(args.target)):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    flags = [
        f"-max_total_time={args.seconds}",
        f"-timeout={LIMIT_S}",
        f"-rss_limit_mb={LIMIT_MB}",
        f"-max_len={MOST_BYTES}",
        f"-artifact_prefix={findings}/{args.target}-",
        "-print_final_stats=1",
    ]
    target = _photo_target(photo) if loading is None else _bundle_target(loading)
    atheris.Setup([sys.argv[0], *flags, str(corpus)], target)
    atheris.Fuzz()


def _seeds(target: str) -> list[bytes]:
    """What the runs begin with; of saved files, behind a byte that says which suffix they have."""
    if target == "photos":
        return list(importlib.import_module("fuzz.photo_seeds").photo_seeds().values())
    from crossviz.bundle import LOADABLE
    from fuzz.bundle_seeds import small_seeds
    from fuzz.damage_bundle import as_file, members_of, zipped

    small, found = small_seeds(), []
    for kind in ("explanation", "generation"):
        npz = zipped(
            members_of(small[f"small {kind}.npz"]), zipfile.ZIP_STORED
        )  # so that what is varied is the content
        files = {suffix: as_file(suffix, npz) for suffix in LOADABLE if suffix != ".json"}
        files[".json"] = small[f"small {kind}.json"]
        found += [bytes([LOADABLE.index(suffix)]) + data for suffix, data in files.items() if len(data) < MOST_BYTES]
    return found


def _photo_target(photo: ModuleType) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        with contextlib.suppress(photo.PhotoError):
            photo.load_photo(data)

    return target


def _bundle_target(loading: ModuleType) -> Callable[[bytes], None]:
    from crossviz.bundle import LOADABLE
    from crossviz.errors import BundleError

    folder = Path(tempfile.mkdtemp(prefix="crossviz-fuzz-"))  # libFuzzer ends the process: nothing can take it away
    zipfile.ZipExtFile._update_crc = lambda *_: None  # or every varied part would end at its checksum
    paths = [folder / f"case{suffix}" for suffix in LOADABLE]

    def target(data: bytes) -> None:
        path = paths[data[0] % len(paths)] if data else paths[0]
        path.write_bytes(data[1:])
        with contextlib.suppress(BundleError):
            loading.load_any(path, most_bytes=64 << 20)

    return target


if __name__ == "__main__":
    main()
