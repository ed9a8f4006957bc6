"""Gradio is imported without the type stubs that it writes, and is otherwise as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import crossviz

ROOT = Path(crossviz.__file__).parents[1]
WRITES = """
def create_or_modify_pyi(component_class, class_name, events):
    print("wrote a stub")
class Meta(type):
    def __new__(cls, name, bases, attrs):
        made = super().__new__(cls, name, bases, attrs)
        create_or_modify_pyi(made, name, [])
        return made
"""
CODE = """
import sys
from crossviz.web.gradio_import import import_gradio
before = list(sys.meta_path)
gradio = import_gradio()
assert gradio is sys.modules["gradio"] and import_gradio() is gradio and sys.meta_path == before
print(gradio.said, gradio.component_meta.__spec__.name)
"""


def imported(folder: Path, meta: str, code: str = CODE) -> list[str]:
    """What is printed where a package of Gradio's name and shape is imported."""
    package = folder / "gradio"
    package.mkdir()
    (package / "component_meta.py").write_text(meta)
    (package / "__init__.py").write_text(
        "from gradio import component_meta\nclass Part(metaclass=component_meta.Meta): pass\nsaid = Part.__name__\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    return done.stdout.splitlines()


def test_no_stub_is_written(tmp_path):
    assert imported(tmp_path, WRITES) == ["Part gradio.component_meta"]


def test_without_that_function_nothing_changes(tmp_path):
    assert imported(tmp_path, "class Meta(type): pass") == ["Part gradio.component_meta"]


def test_imported_by_others_it_stays_as_it_is(tmp_path):
    assert imported(tmp_path, WRITES, "import gradio" + CODE) == ["wrote a stub", "Part gradio.component_meta"]


def test_the_function_is_still_where_it_is_looked_for():
    meta = pytest.importorskip("gradio").component_meta
    assert callable(meta.create_or_modify_pyi) and meta.ComponentMeta
