"""How the embedded model was made, repeatable: see NOTES.md beside this file."""

from crossviz import compat

# Modules of this package import timm and open_clip directly.
compat.ensure_torchvision()
