"""Under which names the server is reached, and which other pages may show it or ask it; docs/security.md says why."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from crossviz.web.server_settings import ServerSettings

__all__ = ["LOOPBACK", "Origins"]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SPACES = ("https://huggingface.co", "https://*.hf.space")
_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::[0-9]*)?")


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
    def of(cls, host: str, settings: ServerSettings, environ: Mapping[str, str] = os.environ) -> Self:
        """As the settings say; a Space may be shown by Hugging Face's pages.

        A server on this computer's own address answers to this computer's names only, unless others are named: else
        any web page could reach it by a name of its own that leads here (DNS rebinding).

        Args:
            host: the address that is listened on.
            settings: of the server.
            environ: tells whether this is a Space.
        """
        names = settings.hosts
        own = LOOPBACK | {host.lower()}  # the server asks itself by the address that it listens on
        hosts = None if "*" in names or not (names or host in LOOPBACK) else own | frozenset(names)
        spaces = _SPACES if environ.get("SPACE_ID") else ()
        return cls(hosts, settings.frame_ancestors or spaces, frozenset(settings.allow_origins))

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
