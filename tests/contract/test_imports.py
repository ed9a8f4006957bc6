"""Who may import whom, read from the source; hooks in one file; what `import crossviz` brings and costs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import crossviz
from crossviz import errors

ROOT = Path(crossviz.__file__).parent
EVERYONE = {"errors", "version"}
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "paths": set(),
    "compat": set(),
    "embedded": {"paths"},
    "kernels": set(),
    "align": set(),
    "geometry": set(),
    "lockstep": set(),
    "photo": {"photo_limits"},
    "photo_limits": set(),
    "frozen": set(),
    "bundle": {"gif"},
    "gif": set(),
    "table": {"words"},
    "view_settings": set(),
    "export": {"bundle", "stored", "table", "render", "view_settings"},
    "words": {"align"},
    "noun_phrases": {"embedded", "paths", "words"},
    "results": {"geometry", "words", "frozen"},
    "attention": {"kernels"},
    "site_parts": set(),
    "site_kinds_transformers": {"site_parts"},
    "site_kinds_diffusers": {"site_parts"},
    "site_kinds": {"site_parts", "site_kinds_diffusers", "site_kinds_transformers"},
    "instead": set(),
    "site_projections": {"site_parts"},
    "sites": {"attention", "instead", "site_kinds", "site_parts", "site_projections"},
    "site_trust": set(),
    "site_once": {"kernels", "site_parts", "site_trust", "sites"},
    "captured": set(),
    "capture": {"captured", "instead", "site_once", "site_trust", "sites"},
    "cell": {"frozen"},
    "cell_source": {"cell", "site_parts"},
    "trace": {"results", "geometry", "words", "photo", "attention", "cell_source"},
    "inside_parts": set(),
    "inside_steps": {"cell", "inside_parts"},
    "inside": {"cell", "frozen", "inside_parts", "inside_steps"},
    "look_inside": {"cell", "cell_source", "inside", "inside_parts", "explanation", "trace", "results", "geometry"}
    | {"words"},
    "models": {
        "generation",
        "scenes",
        "trace",
        "results",
        "tower",
        "cell_source",
        "capture",
        "sites",
        "geometry",
        "words",
        "align",
        "photo",
        "attention",
        "compat",
        "embedded",
        "paths",
        "lockstep",
    },
    "tower": {"trace"},
    "measures": set(),
    "methods": {"trace", "tower", "results", "attention", "geometry", "words"},
    "trust": {"trace", "tower", "results", "methods", "words", "measures", "geometry", "frozen", "photo"},
    "stored": {"bundle", "results", "geometry", "words", "photo", "trust", "view_settings"},
    "render": {"results", "geometry", "words", "web", "view_settings", "bundle", "stored"},
    "explanation": {
        "view_settings",
        "bundle",
        "stored",
        "export",
        "noun_phrases",
        "render",
        "results",
        "geometry",
        "words",
        "photo",
        "trust",
        "measures",
    },
    "stored_generation": {"bundle"},
    "generation_export": {"bundle", "stored_generation", "render"},
    "generation": {"frozen", "geometry", "results", "words", "render", "generation_export"},
    "generation_loading": {"bundle", "generation", "geometry", "results", "stored_generation", "words"},
    "loading": {"bundle", "explanation", "generation", "generation_loading", "stored_generation", "view_settings"}
    | {"batch"},
    "batch": {"explainer", "explanation", "geometry", "models", "photo", "results", "words"},
    "pairs": set(),
    "scenes": {"words"},
    "map_difference": {"explanation", "geometry", "pairs", "render", "words"},
    "explainer": {
        "models",
        "methods",
        "trust",
        "explanation",
        "inside",
        "look_inside",
        "trace",
        "results",
        "photo",
        "words",
        "geometry",
    },
    "web": {
        "captured",
        "generator",
        "generation",
        "generation_export",
        "loading",
        "lockstep",
        "view_settings",
        "map_difference",
        "explainer",
        "explanation",
        "results",
        "trust",
        "bundle",
        "models",
        "methods",
        "render",
        "trace",
        "photo",
        "words",
        "paths",
    },
    "evaluate": {"explainer", "explanation", "models", "methods", "trace", "results", "geometry", "photo", "words"}
    | {"render", "compat", "paths", "measures"},
    "doctor": {"models", "attention", "capture", "compat", "embedded", "paths", "photo"},
    "cli": {
        "bundle",
        "generation",
        "generation_export",
        "generator",
        "explainer",
        "explanation",
        "models",
        "render",
        "web",
        "doctor",
        "photo",
        "words",
        "evaluate",
    }
    | {"training", "batch"},
    "training": {"models", "attention", "compat", "evaluate", "explainer", "geometry", "measures", "photo", "render"}
    | {"words", "paths", "noun_phrases", "scenes", "generation"},
    "generator": {"generation", "models"},
    "__main__": {"cli"},
    "__init__": {"attention", "errors", "explainer", "explanation", "geometry", "render", "results", "trace", "trust"}
    | {"words", "generation", "loading"},
}
"""The arrows of the design: a module or package of crossviz to those that it may import, EVERYONE left out."""


def imported(source: str) -> Iterator[str]:
    """The first-level modules of crossviz that a source text imports, also inside functions, not for types only."""
    for node in walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            head, _, rest = node.module.partition(".")
            if head == "crossviz":
                yield from [rest.partition(".")[0]] if rest else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "crossviz":
                    yield parts[1] if len(parts) > 1 else "__init__"


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        types_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if not types_only:
            yield node
            yield from walk(node)


def home(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def forbidden(source: str, where: str) -> set[str]:
    public = {"cli", "training"}  # they may use the public names, as any other program
    return set(imported(source)) - ARROWS[where] - EVERYONE - {where} - ({"__init__"} if where in public else set())


SOURCES = sorted(path for path in ROOT.rglob("*.py") if "assets" not in path.parts)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_the_design_allows(path):
    assert home(path) in ARROWS, "a new module: draw its arrows here and in the design"
    wrong = forbidden(path.read_text(encoding="utf-8"), home(path))
    assert not wrong, f"{path.name} must not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize(
    "source",
    [
        "from crossviz.methods import get_method",
        "import crossviz.methods.base",
        "def late():\n    from crossviz.methods.base import Method",
        "from crossviz import methods",
        "import crossviz",
    ],
)
def test_a_forbidden_import_is_found_wherever_it_hides(source):
    assert forbidden(source, "models")
    assert not forbidden(f"if TYPE_CHECKING:\n    {source}" if "\n" not in source else "", "models")


def test_the_arrows_make_no_circle():
    seen: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in seen:
            for other in ARROWS[name] - {("web" if name == "render" else "")}:  # render reads the viewer's files only
                visit(other, (*trail, name))
            seen.add(name)

    for name in ARROWS:
        visit(name, ())


def test_only_one_file_sets_hooks():
    setters = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr.startswith("register_") and node.attr.endswith("hook")
    }
    assert setters == {"capture.py"}


def test_the_public_names_are_what_all_says():
    assert sorted(crossviz.__all__) == list(crossviz.__all__)
    assert set(crossviz.__all__) <= set(dir(crossviz))
    for name in crossviz.__all__:
        assert getattr(crossviz, name) is not None
    typed = next(node for node in ast.parse((ROOT / "__init__.py").read_text()).body if isinstance(node, ast.If))
    names = {alias.name for node in typed.body for alias in node.names}
    assert names | {"__version__"} == set(crossviz.__all__)
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        crossviz.explian  # noqa: B018


def test_every_error_is_public_and_a_crossviz_error():
    public = {name for name in crossviz.__all__ if name.endswith("Error")}
    assert set(errors.__all__) == public
    assert all(issubclass(getattr(errors, name), crossviz.CrossvizError) for name in errors.__all__)


def test_importing_crossviz_is_light():
    code = """
import sys
import crossviz
heavy = {"torch", "open_clip", "timm", "torchvision", "gradio", "matplotlib", "transformers", "pyarrow", "zarr"}
heavy &= set(sys.modules)
print(sorted(heavy))
crossviz.methods()
import crossviz.explainer
print(sorted({"open_clip", "timm", "torchvision", "gradio", "matplotlib", "pyarrow", "zarr"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]
