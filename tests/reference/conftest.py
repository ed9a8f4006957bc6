"""Comparisons with published packages: `make test-reference` installs those and runs this folder, `make test` not."""

from crossviz.compat import ensure_torchvision

# The packages import torchvision themselves, before any test could see to it.
ensure_torchvision()
