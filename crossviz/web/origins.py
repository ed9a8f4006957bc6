"""Under which names the server is reached, and which other pages may show it or ask it; docs/security.md says why.

CROSSVIZ_HOSTS             names that it answers to, as example.org,localhost; * for any
CROSSVIZ_FRAME_ANCESTORS   origins whose pages may show it in a frame, as https://blog.example.org; * for any
CROSSVIZ_ALLOW_ORIGINS     origins whose scripts may ask it and read the answer; * for any
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from crossviz.errors import CrossvizError

__all__ = ["LOOPBACK", "Origins", "check_root_path"]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SPACES = ("https://huggingface.co", "https://*.hf.space")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:]*:[0-9a-f:.]*")
_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::[0-9]*)?")
_ORIGIN = re.compile(r"https?://(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")
_ROOT_PATH = re.compile(r"(https?://[\w.-]+(:[0-9]{1,5})?)?(/[\w.~-]+)*/?")


@dataclass(frozen=True)
class Origins:
    """Who may reach the server, and from where.

    `hosts` are the names that it answers to (None: any), `frames` the origins that may show it besides its own, and
    `callers` those that may ask it from a browser; "*" stands for all.
    """

    hosts: frozenset[str] | None
    frames: tuple[str, ...]
    callers: frozenset[str]

    @classmethod
    def of(cls, host: str, environ: Mapping[str, str] = os.environ) -> Self:
        """As environment variables say.

        A server on this computer's own address answers to this computer's names only, unless others are named: else
        any web page could reach it by a name of its own that leads here (DNS rebinding).

        Args:
            host: the address that is listened on.

        Raises:
            CrossvizError: a variable holds something else.
        """
        names = _listed(environ, "CROSSVIZ_HOSTS", _HOST, "host names without a port, as crossviz.example.org")
        hosts = None if "*" in names or not (names or host in LOOPBACK) else LOOPBACK | frozenset(names)
        frames = _listed(environ, "CROSSVIZ_FRAME_ANCESTORS", _ORIGIN, "origins, as https://blog.example.org")
        callers = _listed(environ, "CROSSVIZ_ALLOW_ORIGINS", _ORIGIN, "origins, as https://notebook.example.org")
        spaces = _SPACES if environ.get("SPACE_ID") else ()
        return cls(hosts, frames or spaces, frozenset(callers))

    @property
    def private(self) -> bool:
        """Whether only this computer's own names lead here."""
        return self.hosts == LOOPBACK

    def answers_to(self, host: str) -> bool:
        """Whether this is the name (with or without a port) of a server that we are."""
        found = _AUTHORITY.fullmatch(host.lower())
        return self.hosts is None or (found is not None and (found[1] or found[2]) in self.hosts)

    def lets_ask(self, origin: str) -> bool:
        """Whether scripts of this origin may ask."""
        return "*" in self.callers or origin.lower() in self.callers


def check_root_path(environ: Mapping[str, str] = os.environ) -> None:
    """Says what is wrong with the path under which the app is to be reached.

    Raises:
        CrossvizError: GRADIO_ROOT_PATH is neither a path nor an address.
    """
    given = environ.get("GRADIO_ROOT_PATH", "")
    if not _ROOT_PATH.fullmatch(given):
        raise CrossvizError(
            "GRADIO_ROOT_PATH is the path under which visitors reach the page, as /tools/crossviz, or its whole "
            f"address, as https://example.org/tools/crossviz, not '{given[:60]}'."
        )


def _listed(environ: Mapping[str, str], name: str, kind: re.Pattern[str], expected: str) -> tuple[str, ...]:
    """What a variable lists, separated by commas or spaces."""
    found = tuple(filter(None, re.split(r"[,\s]+", environ.get(name, "").lower())))
    for entry in found:
        if entry != "*" and not kind.fullmatch(entry):
            raise CrossvizError(f"{name} lists {expected}, separated by commas, or is *, but holds '{entry[:60]}'.")
    return found
