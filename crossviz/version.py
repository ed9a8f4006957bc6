"""The version of crossviz, in one place: pyproject.toml reads it, and every explanation carries it."""

__version__ = "0.1.0"
