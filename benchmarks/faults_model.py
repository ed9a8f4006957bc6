"""A model's file that is damaged: at the start of a server, and when a visitor chooses it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.faults_client import Client, Row, photo
from benchmarks.latency import ROOT
from benchmarks.load import serving

__all__ = ["damaged"]


def damaged(env: dict[str, str], work: Path) -> list[Row]:
    """In a copy of this checkout, one byte in the middle of a file of weights is changed.

    Args:
        work: an empty folder for the copy.
    """
    from benchmarks.faults_cases import CAPTION, picture

    copy = work / "copy"
    shutil.copytree(ROOT / "crossviz", copy / "crossviz", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "assets", copy / "assets", copy_function=_link)
    shutil.copy(ROOT / "app.py", copy)
    env = {**env, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(work / "cache")}

    _damage(copy / "assets" / "models" / "coca-mini" / "coca.safetensors")
    with serving(env, copy) as server:
        client = Client(server.port)
        _, path = client.upload(picture(1))
        second = client.ask("explain", photo(path), CAPTION, "coca-mini", "").error
        first = client.ask("explain", photo(path), CAPTION, "", "").data is not None
    chosen = Row(
        "model damaged",
        "a byte of coca-mini's weights, chosen on the server",
        "a sentence that names it and says what to do; other models go on",
        f"{second[:140]!r}; crossviz-mini {'answers' if first else 'does not answer'}",
        "coca" in second and "install" in second and first,
    )

    _damage(copy / "assets" / "models" / "crossviz-mini" / "open_clip_model.safetensors")
    shutil.rmtree(work / "cache", ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=copy, env={**os.environ, **env}, capture_output=True, text=True, timeout=300
    )
    said = done.stderr.strip().splitlines()
    started = Row(
        "model damaged",
        "a byte of the first model's weights, then a start",
        "one line that says so, and an exit code other than 0",
        f"exit code {done.returncode}, {len(said)} line: {said[-1][:140] if said else ''!r}",
        done.returncode != 0 and "Traceback" not in done.stderr and "crossviz-mini" in done.stderr,
    )
    return [chosen, started]


def _link(source: str, target: str) -> None:
    """The file itself where the file system can: it is only read."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # not in the file that it is a link to
    path.write_bytes(content)
