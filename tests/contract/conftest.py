"""What the contract tests run over: every registered family, each by a small model, and every registered method."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from small_families import JOINT_MODELS
from small_models import CLIP_VARIANTS, OTHER_TOWERS, clip_folder, mini_folder

from crossviz import Explainer, Explanation, methods, models
from crossviz.methods import Occlusion
from crossviz.paths import assets_dir
from crossviz.trace import EncodedImage

CAPTION = "A dog's red frisbee, the dog!"
MODELS = {
    "crossviz-mini, random": lambda folder: f"crossviz-mini:{mini_folder(folder)}",
    "crossviz-mini, embedded": lambda folder: "crossviz-mini",
    **{
        f"open_clip, {name}": lambda folder, name=name: f"open_clip:{clip_folder(folder, **CLIP_VARIANTS[name])}"
        for name in ("class token, quick GELU", "average", "timm, class token")
    },
    **{
        f"open_clip, {name}": lambda folder, tower=tower: f"open_clip:{clip_folder(folder, **tower)}"
        for name, tower in OTHER_TOWERS.items()
    },
    **{f"{name}, random": build for name, build in JOINT_MODELS.items()},
    **{
        f"{name}, embedded": lambda folder, mini=mini: mini
        for name, family in models.families().items()
        for mini in getattr(family, "embedded", ())
        if any(info.name == mini and info.available for info in family.infos(False))
    },
}
"""A new family adds its small model here, and is then held to everything in this folder."""
each_architecture = pytest.mark.parametrize(
    "model_name", [name for name in MODELS if name != "crossviz-mini, random"], indirect=True
)
"""For tests of what runs, not of what comes out: crossviz-mini with its own weights is the same program."""
OPEN_CLIPS = ("crossviz-mini", "open_clip", "coca")
"""The families whose modules are open_clip's."""


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Callable[[str], str]:
    """From a key of MODELS to the model's name; each is built, and thereby loaded, once."""
    names: dict[str, str] = {}

    def name_of(kind: str) -> str:
        if kind not in names:
            names[kind] = MODELS[kind](tmp_path_factory.mktemp("model"))
        return names[kind]

    return name_of


@pytest.fixture(scope="session", params=list(MODELS))
def model_name(request, built) -> str:
    """The name of a small model, as `crossviz.Explainer` takes it."""
    return built(request.param)


@pytest.fixture(scope="session", params=[name for name in MODELS if not name.endswith(", random")])
def local_model_name(request, built) -> str:
    """As `model_name`, without what spreads every change over the whole photo if it is random: deep convolutions, and
    text that looks at what a tower made of the photo. Where a planted patch lands in those is in their own tests."""
    return built(request.param)


@pytest.fixture(scope="session", params=[name for name in MODELS if name.partition(",")[0] in OPEN_CLIPS])
def clip_model(request, built):
    """A small model whose embeddings open_clip itself computes."""
    return models.load_model(built(request.param), "cpu")


@pytest.fixture(scope="session")
def model(model_name):
    return models.load_model(model_name, "cpu")


@pytest.fixture(params=[info.name for info in methods.methods()])
def method_name(request) -> str:
    return request.param


def asked(explainer: Explainer, name: str, window: int = 12) -> "methods.Method | str":
    """What to ask an explainer for: the method itself, but occlusion in large windows where patches are many."""
    grid = models.load_model(explainer.info.name, explainer.device).grid
    return Occlusion(window, window) if name == "occlusion" and grid.num_patches > 100 else name


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """Coloured noise with structure at several scales, 96 x 160."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 200, (6, 10, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    return coarse + rng.integers(0, 55, coarse.shape, dtype=np.uint8)


@pytest.fixture(scope="session")
def encoded(model_name, photo) -> EncodedImage:
    """The photo, encoded once for all tests to whom it does not matter; that it does not has a test of its own."""
    return Explainer(model_name, "cpu").encode(photo)


@pytest.fixture(scope="session")
def explained(model_name, encoded) -> Callable[[methods.Method | str], Explanation]:
    """From a method, as `asked` gives it, to its explanation of CAPTION: made once for all tests that only read it."""
    explainer, found = Explainer(model_name, "cpu"), {}

    def of(method: methods.Method | str) -> Explanation:
        name = method if isinstance(method, str) else method.info.name
        if name not in found:
            found[name] = explainer.explain(encoded, CAPTION, method)
        return found[name]

    return of


@pytest.fixture(scope="session")
def cat() -> Image.Image:
    """A real photo of one thing."""
    with Image.open(assets_dir() / "examples" / "cat.jpg") as image:
        return image.convert("RGB")
