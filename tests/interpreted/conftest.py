"""Only under Triton's interpreter, which must be chosen before Triton is imported: see tests/unit/test_kernels.py."""

import os

import pytest

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
collect_ignore_glob = [] if INTERPRETED else ["*"]


@pytest.fixture(autouse=True)
def products_of_bfloat16(monkeypatch):
    """The interpreter of Triton 3.9 keeps bfloat16 as bits, and multiplies those: matrices go in as float32 here."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    multiply = InterpreterBuilder.create_dot

    def create_dot(self, a, b, *others):
        if a.dtype.scalar == tl.bfloat16:
            a, b = (self.cast_impl(x, tl.float32) for x in (a, b))
        return multiply(self, a, b, *others)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)
