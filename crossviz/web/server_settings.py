"""What a server is set to by environment variables; docs/deploy.md has them in one table, which a test compares."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from crossviz.errors import CrossvizError
from crossviz.web.gradio_variables import check_gradio
from crossviz.web.setting_kinds import Address, Folder, Kind, Listed, Names, Switch, Text, Whole, Word

__all__ = ["ServerSettings"]

PREFIX = "CROSSVIZ_"
OF_TESTS = {"CROSSVIZ_RECORD"}
_LINK = re.compile(r"CROSSVIZ_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP)(_\w+)?)")
_SHARE = re.compile(r"[0-9]+m")
"""Thousandths of a core, as Kubernetes writes them and platforms pass them on as OMP_NUM_THREADS."""
HOSTS = Listed(
    "host names without a port, or *", re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:]*:[0-9a-f:.]*")
)
ORIGINS = Listed(
    "origins as https://example.org, or *", re.compile(r"https?://(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")
)
SUB_PATH = Text(
    "a path, as /tools/crossviz, or an address that ends with one", r"(https?://[\w.-]+(:[0-9]{1,5})?)?(/[\w.~-]+)*/?"
)
MOST_ON_CPU = 8
MOST_ON_GPU = 16


def _variable(name: str, kind: Kind, default: Any = None) -> Any:
    return field(default=default, metadata={"variable": name, "kind": kind})


@dataclass(frozen=True)
class ServerSettings:
    """Each is set by the variable that stands beside it; what is empty counts as not set.

    Raises:
        CrossvizError: a value will not do.
    """

    model: str = _variable("CROSSVIZ_MODEL", Text("a model's name", r"[^\x00-\x1f\x7f]{1,400}"), "crossviz-mini")
    """The model that is there from the start."""
    models: tuple[str, ...] = _variable("CROSSVIZ_MODELS", Names("names of models with commas between them"), ())
    """The models that visitors may choose, beside the first; with none, all that crossviz lists."""
    device: str | None = _variable("CROSSVIZ_DEVICE", Text("cpu, cuda, cuda:N or mps", r"cpu|cuda(:[0-9]{1,2})?|mps"))
    """Where models compute; None takes CUDA where there is one, else the CPU."""
    cache_mb: int = _variable("CROSSVIZ_CACHE_MB", Whole(0, 1 << 20), 512)
    """MiB of encoded photos that are kept."""
    kept_mb: int = _variable("CROSSVIZ_KEPT_MB", Whole(256, 1 << 20), 2048)
    """MiB of what the visits' pages show that is kept, to be saved and checked."""
    batch: int | None = _variable("CROSSVIZ_BATCH", Whole(1, 64))
    """Photos that go through a model together at most; None for what suits the device."""
    at_once: int | None = _variable("CROSSVIZ_AT_ONCE", Whole(1, 40))
    """Questions that are worked on at once; the others wait in the queue. None for what suits the cores."""
    queue: int = _variable("CROSSVIZ_QUEUE", Whole(1, 4096), 64)
    """Questions that may wait; the next is refused."""
    log: str = _variable("CROSSVIZ_LOG", Word(("text", "json", "off")), "text")
    """What log lines look like."""
    log_level: str | None = _variable("CROSSVIZ_LOG_LEVEL", Word(("error", "warning", "info", "debug")))
    """From which importance on there is a line; None for info, and for debug where lines are JSON."""
    metrics_port: int | None = _variable("CROSSVIZ_METRICS_PORT", Whole(1, 65535))
    """Port on which metrics are told; None for no metrics."""
    metrics_host: str = _variable("CROSSVIZ_METRICS_HOST", Address(), "127.0.0.1")
    """Address on which metrics are told."""
    hosts: tuple[str, ...] = _variable("CROSSVIZ_HOSTS", HOSTS, ())
    """Names that the server answers to, beside this computer's own."""
    frame_ancestors: tuple[str, ...] = _variable("CROSSVIZ_FRAME_ANCESTORS", ORIGINS, ())
    """Origins whose pages may show it in a frame."""
    allow_origins: tuple[str, ...] = _variable("CROSSVIZ_ALLOW_ORIGINS", ORIGINS, ())
    """Origins whose scripts may ask it."""
    health_seconds: int = _variable("CROSSVIZ_HEALTH_SECONDS", Whole(1, 600), 20)
    """How long the explanation of a health check may take."""
    host: str = _variable("GRADIO_SERVER_NAME", Address(), "127.0.0.1")
    """Address to listen on."""
    port: int = _variable("GRADIO_SERVER_PORT", Whole(1, 65535), 7860)
    """Port to listen on."""
    root_path: str = _variable("GRADIO_ROOT_PATH", SUB_PATH, "")
    """The path under which a proxy shows the page."""
    mcp: bool = _variable("GRADIO_MCP_SERVER", Switch(), False)
    """Whether the API is offered to MCP clients, too."""
    temp_dir: str | None = _variable("GRADIO_TEMP_DIR", Folder())
    """Where uploads lie; Gradio reads it itself."""
    hub_offline: bool = _variable("HF_HUB_OFFLINE", Switch(), False)
    """Whether no model is ever downloaded; huggingface_hub reads it itself."""
    hub_home: str | None = _variable("HF_HOME", Folder(write=False))
    """Where downloaded models lie; huggingface_hub reads it itself."""
    threads: str | None = _variable(
        "OMP_NUM_THREADS",
        Text("a whole number from 1 on, or several with commas between them", r"[1-9]\d*(,[1-9]\d*)*"),
    )
    """Threads of one pass on a CPU; PyTorch reads it itself."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value, kind = getattr(self, each.name), each.metadata["kind"]
            if value is not each.default and not kind.fits(value):
                raise _wrong(each.metadata["variable"], kind, value)

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings that environment variables name.

        Raises:
            CrossvizError: a value will not do, a variable that begins with CROSSVIZ_ is none, or one of Gradio's would
                open the server.
        """
        check_gradio(environ)
        known = {each.metadata["variable"]: each for each in fields(cls)}
        for name in sorted(environ):
            if name.startswith(PREFIX) and name not in known and name not in OF_TESTS and not _of_a_link(name, environ):
                raise _unknown(name, [each for each in known if each.startswith(PREFIX)])
        given = {}
        for name, each in known.items():
            text = environ.get(name, "").strip()
            share = name == "OMP_NUM_THREADS" and _SHARE.fullmatch(text) is not None  # OpenMP can't read it either
            if text and not share and not _of_a_link(name, environ):
                kind = each.metadata["kind"]
                try:
                    value = kind.read(text)
                except ValueError:
                    raise _wrong(name, kind, text) from None
                if not kind.fits(value):
                    raise _wrong(name, kind, text)
                given[each.name] = value
        return cls(**given)

    def places(self, cores: int) -> int:
        """How many questions are worked on at once.

        Two for each core, from 4 to 16: enough to fill a pass while the last one runs. With more, who only changes a
        caption is served sooner, and who has a new photo later.

        Args:
            cores: that this process may use.
        """
        return min(16, max(4, 2 * cores)) if self.at_once is None else self.at_once

    def together(self, device: str, threads: int) -> int:
        """How many photos go through a model together at most.

        On a CPU as many as PyTorch has threads, up to 8: what one photo leaves of them idle is used, and more only make
        the first wait for the last.

        Args:
            device: where the model computes.
            threads: PyTorch's threads on a CPU.
        """
        if self.batch is not None:
            return self.batch
        return min(threads, MOST_ON_CPU) if device == "cpu" else MOST_ON_GPU


def _of_a_link(name: str, environ: Mapping[str, str]) -> bool:
    """Whether Kubernetes or Docker set it, as they do beside a service called crossviz, and none of ours is meant."""
    address = name.endswith("_PORT") and environ[name].startswith(("tcp://", "udp://"))
    return address or _LINK.fullmatch(name) is not None


def _wrong(name: str, kind: Kind, value: object) -> CrossvizError:
    return CrossvizError(f"{name} is {kind.expects}, not {str(value)[:40]!r}.")


def _unknown(name: str, known: list[str]) -> CrossvizError:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return CrossvizError(f"There is no setting {name[:60]}: did you mean {close[0]}? docs/deploy.md lists all of them.")
