"""Pictures of results: the colour scale, overlays, figures, the viewer's payload and the page that stands alone.

Nothing here computes a result, and nothing rescales one in secret: `scale` says what a colour means.
"""
