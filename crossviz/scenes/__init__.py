"""Scenes of simple solids: what a caption asks for, pictures of it with exact masks, and what a picture shows."""
