"""Scenes of simple solids that dalle-mini-scenes draws: what a caption asks for, and pictures of it with exact masks."""
