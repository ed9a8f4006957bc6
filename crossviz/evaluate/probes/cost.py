"""What the model costs: seconds to load, milliseconds to explain, memory and size on disk, each in a fresh process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossviz.errors import ModelUnavailableError
from crossviz.evaluate.probes.report import ProbeFigure, ProbeReport, summary_figure
from crossviz.models import families
from crossviz.paths import assets_dir

if TYPE_CHECKING:
    from crossviz.evaluate.dataset import Dataset
    from crossviz.explainer import Explainer

__all__ = ["probe_cost", "size_on_disk"]

PROCESSES, RUNS = 5, 11  # the median of the runs of each process counts
PATIENCE_S = 600
_HERE = Path(__file__).resolve().parent
_PHOTO = "photographer.jpg"
_CAPTIONS = ("a photographer in a coat and his camera", "a man takes a picture on a lawn", "a tripod near a tower")
_ROWS = (
    ("import of crossviz with torch", "import_s", "s"),
    ("load of the model, with its libraries", "load_s", "s"),
    ("load of the model, its libraries there already", "again_s", "s"),
    ("an explanation, warm, from the photo's file", "explain_ms", "ms"),
    ("another caption on the same photo", "caption_ms", "ms"),
    ("most memory the process ever held", "memory_mb", "MB"),
)


def probe_cost(explainer: "Explainer", dataset: "Dataset | None" = None, seed: int = 0) -> ProbeReport:
    """Starts a new Python several times and measures there; needs no dataset."""
    name, device = explainer.info.name, explainer.device
    runs = [_fresh(name, device) for _ in range(PROCESSES)]
    figures = [
        summary_figure(title, [run[key] for run in runs], np.median, unit=unit)
        for title, key, unit in _ROWS
        if all(run[key] is not None for run in runs)
    ]
    if (size := size_on_disk(name)) is not None:
        figures.append(ProbeFigure("size on disk", size, unit="MB"))
    return ProbeReport(
        "cost",
        f"{name} on {device} with {runs[0]['threads']} threads: medians of {PROCESSES} fresh processes.",
        tuple(figures),
        (f"{RUNS} explanations and captions in each process, their median counts. MB are millions of bytes.",),
    )


def size_on_disk(model: str) -> float | None:
    """MB of the model's folder; None where it is not in a folder of its own."""
    source, _ = families()[model.partition(":")[0]].identity(model)
    folder = Path(source)
    if not folder.is_dir():
        return None
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _fresh(model: str, device: str) -> dict[str, float | int | None]:
    """What cost_process.py measures in a new Python, which finds this same crossviz."""
    code = (_HERE / "cost_process.py").read_text("utf-8")
    photo = assets_dir() / "examples" / _PHOTO
    root = str(_HERE.parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    done = subprocess.run(
        [sys.executable, "-c", code, model, device, str(photo), str(RUNS), *_CAPTIONS],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=env,
    )
    if done.returncode:
        reason = " ".join(done.stderr.split())[-200:]
        raise ModelUnavailableError(f"A new process could not run {model} ({reason}): see `crossviz doctor`.")
    return json.loads(done.stdout.splitlines()[-1])
