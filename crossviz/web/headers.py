"""What the server tells browsers to refuse: headers of every answer, and the few of a visitor's file."""

from collections.abc import Iterable

from crossviz.web.origins import Origins

__all__ = ["BARE", "Header", "file_headers", "page_headers"]

Header = tuple[bytes, bytes]

_EVERYWHERE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (
        b"permissions-policy",
        b"camera=(self), clipboard-read=(self), clipboard-write=(self), fullscreen=(self), display-capture=(), "
        b"geolocation=(), hid=(), microphone=(), midi=(), payment=(), serial=(), usb=()",
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
# Gradio's page needs inline scripts and eval. Nothing may be loaded from elsewhere, and nothing sent there.
_PAGE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors {}"
)
# A visitor's file is never a page of ours: shown or saved, and nothing in it runs.
_FILE = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
BARE = [*_EVERYWHERE, (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox")]
"""For a sentence that no app sends: there is no page, and no request either."""
_OF_A_FILE = {
    b"content-length",
    b"content-type",
    b"content-disposition",
    b"content-encoding",
    b"vary",
    b"etag",
    b"last-modified",
}
_SHOWN = (b"image/jpeg", b"image/png", b"image/gif", b"image/webp")
_KEPT = ("/assets/", "/static/")


def page_headers(origins: Origins, path: str) -> list[Header]:
    """For an answer that is not a visitor's file. What it says itself of the same name is kept.

    Args:
        path: what was asked for, from which it is known what browsers may keep.
    """
    ancestors = " ".join(dict.fromkeys(("'self'", *origins.frames)))
    headers = [*_EVERYWHERE, (b"content-security-policy", _PAGE.format(ancestors).encode())]
    return [header for header in headers if header[0] != b"cache-control" or not path.startswith(_KEPT)]


def file_headers(given: Iterable[Header]) -> list[Header]:
    """All headers of a visitor's file, from those that the server made for it.

    Gradio's answer to a part of a file repeats the headers of the request, so only known ones are let through. What is
    no picture is saved, never shown.
    """
    found = {name: value for name, value in given if name in _OF_A_FILE}
    if found.get(b"content-type") not in _SHOWN:
        _, semicolon, name = found.get(b"content-disposition", b"").partition(b";")
        found[b"content-type"] = b"application/octet-stream"
        found[b"content-disposition"] = b"attachment" + semicolon + name
    return [*found.items(), *_EVERYWHERE, (b"content-security-policy", _FILE)]
