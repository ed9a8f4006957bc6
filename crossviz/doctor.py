"""What `crossviz doctor` checks: the installation, the device, and that the embedded model computes what it shows."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from crossviz import compat
from crossviz.attention import CrossModalAttention
from crossviz.capture import capture
from crossviz.embedded import embedded_sums
from crossviz.errors import CrossvizError
from crossviz.models import DEFAULT_MODEL, Model, load_model, resolve_device
from crossviz.paths import assets_dir
from crossviz.photo import load_photo
from crossviz.version import __version__

__all__ = ["Check", "checks"]

TOLERANCE = 1e-5
"""The largest deviation of a recomputed attention from the module's own output, relative to its largest value."""
PACKAGES = (
    "torch", "torchvision", "open_clip_torch", "timm", "safetensors", "numpy", "pillow", "matplotlib", "gradio",
)  # fmt: skip


class Check(NamedTuple):
    """One line of the report."""

    name: str
    ok: bool
    result: str


class Broken(CrossvizError):
    """What a check found wrong."""


def checks() -> Iterator[Check]:
    """Run the checks one after the other; one that fails does not stop the rest."""
    model: list[Model] = []

    def load() -> str:
        started = time.perf_counter()
        model.append(load_model())
        trained = "trained weights" if model[0].info.trained else "weights that were NOT trained"
        return f"loads in {time.perf_counter() - started:.1f} s, {trained}, {model[0].weights_sha256[:12]}"

    def attention() -> str:
        if not model:
            raise Broken("the model could not be loaded.")
        return _attention_recomputes(model[0])

    for name, check in (
        ("crossviz", lambda: f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"),
        ("packages", _packages),
        ("torchvision's build", _torchvision),
        ("device", _device),
        (f"files of {DEFAULT_MODEL}", lambda: files_intact(assets_dir() / "models" / DEFAULT_MODEL)),
        (DEFAULT_MODEL, load),
        ("attention", attention),
    ):
        yield _run(name, check)


def _run(name: str, check: Callable[[], str]) -> Check:
    # Whatever a broken installation raises is what the report is for.
    try:
        return Check(name, True, check())
    except Exception as error:
        kind = "" if isinstance(error, CrossvizError) else f"{type(error).__name__}: "
        return Check(name, False, kind + " ".join(str(error).split()))


def _packages() -> str:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise Broken(f"{', '.join(missing)} not installed: run pip install with crossviz's requirements.txt.")
    return ", ".join(found)


def _torchvision() -> str:
    compat.import_open_clip()
    return "another than torch's, which crossviz works around" if compat.worked_around() else "matches torch's"


def _device() -> str:
    device = resolve_device(None)
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return f"{device}, {torch.get_num_threads()} threads; CUDA is not available"


def files_intact(folder: Path) -> str:
    """Compare the files of a model folder with their sha256 sums: an embedded one's in crossviz's code, else those in
    its crossviz.json.

    Raises:
        Broken: a file is missing or differs.
    """
    about = folder / "crossviz.json"
    if not about.is_file():
        raise Broken(f"There is no model in {folder}: install crossviz again.")
    sums = embedded_sums(folder) or json.loads(about.read_text(encoding="utf-8"))["sha256"]
    for name, expected in sums.items():
        if not (folder / name).is_file():
            raise Broken(f"{name} is missing in {folder}: install crossviz again.")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise Broken(f"{name} in {folder} is damaged (its sha256 is not {expected[:12]}...): install it again.")
    size = sum((folder / name).stat().st_size for name in sums)
    return f"{len(sums)} files, {size / 1e6:.0f} MB, every sha256 as it should be"


@torch.no_grad()
def _attention_recomputes(model: Model) -> str:
    """Every attention module on the first example: recomputed from its weights and inputs, against its own output."""
    folder = assets_dir() / "examples"
    example = json.loads((folder / "examples.json").read_text(encoding="utf-8"))[0]
    with capture(model.attention_sites(), keep=()) as captured:
        image = model.encode_image(load_photo(folder / example["photo"]))
        text = model.encode_text(model.tokenize(example["caption"]))
    deviations = [call.deviation for name in captured for call in captured.calls(name)]
    deviations += [
        recompute_deviation(module) for module in model.module.modules() if isinstance(module, CrossModalAttention)
    ]
    if not deviations:
        raise Broken("the model has no attention module that could be recomputed.")
    if not image.embedding.isfinite().all() or not text.embedding.isfinite().all():
        raise Broken("the model's embeddings are not finite.")
    worst = max(deviations)
    if not worst <= TOLERANCE:
        raise Broken(f"a recomputed attention is {worst:.1e} off its module's own output; {TOLERANCE:.0e} is allowed.")
    return f"{len(deviations)} recomputed, at most {worst:.1e} off the modules' own outputs"


@torch.no_grad()
def recompute_deviation(module: CrossModalAttention) -> float:
    """How far a `CrossModalAttention` is off the formula, relative to its output's largest value.

    LayerNorm(query + concat_h(softmax(Q K^T / sqrt(d_k)) V) W_O) on random tokens, computed by torch's own fused
    attention, with the null key as one key more.
    """
    weight = module.q_proj.weight
    generator = torch.Generator().manual_seed(0)

    def tokens(count: int, width: int) -> Tensor:
        return torch.randn(2, count, width, generator=generator).to(weight)

    query, key = tokens(5, module.q_proj.in_features), tokens(7, module.k_proj.in_features)

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (module.num_heads, module.head_dim)).transpose(1, 2)  # batch head token head_dim

    q, k, v = heads(module.q_proj(query)), heads(module.k_proj(key)), heads(module.v_proj(key))
    bias = None
    if module.has_null_key:
        k = torch.cat([k, module.null_key[None, :, None].expand(2, -1, -1, -1)], dim=2)
        v = torch.cat([v, module.null_value[None, :, None].expand(2, -1, -1, -1)], dim=2)
        bias = q.new_zeros(1, module.num_heads, 1, k.shape[2])
        bias[0, :, 0, -1] = module.null_bias
    context = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    expected = module.norm(query + module.out_proj(context.transpose(1, 2).flatten(2)))
    own = module(query, key).output
    return ((own - expected).abs().max() / expected.abs().max()).item()
