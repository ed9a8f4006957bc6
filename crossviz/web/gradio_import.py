"""Imports Gradio without the type stubs that it writes for editors.

Gradio parses the source of each of its components whenever it is imported, to write a `.pyi` file beside it. That takes
two fifths of its import (`python -m benchmarks.latency_parts`), and a running app needs none of it. Its module
`component_meta` is imported as it is; then the function that writes is one that doesn't. In a Gradio without such a
function, or one that is imported already, nothing changes.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

__all__ = ["import_gradio"]

_MODULE = "gradio.component_meta"
_WRITER = "create_or_modify_pyi"


def import_gradio() -> ModuleType:
    """The module `gradio`, imported quickly if it was not imported before."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module("gradio")
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == _MODULE else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def then_still(module: ModuleType) -> None:
            execute(module)
            if hasattr(module, _WRITER):
                setattr(module, _WRITER, lambda *args, **kwargs: None)

        spec.loader.exec_module = then_still  # type: ignore[method-assign]
        return spec
