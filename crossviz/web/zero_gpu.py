"""ZeroGPU: a Space without a GPU of its own, which borrows one for each call of a function that is marked for it.

How the package `spaces` does that (0.51, read): the marked function runs in a process that is forked from this one when
a GPU is granted, and that stays for the next call. Its arguments and all that it yields are pickled; what a generator
returns is lost; an exception comes back as its class's name, after its whole text was printed. In this process CUDA is
only pretended to be there, and must not be touched.

So a question that is lent out goes as plain bytes: the photo and the caption there, the finished explanation back. All
that belongs to threads stays behind, the line of photos too: a fork has the one thread that asked. Whatever is not lent
out is computed here, on the CPU.

None of this was tried on Hugging Face's ZeroGPU hardware.
"""

import logging
import os
import pickle
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from crossviz.errors import CrossvizError, DeviceError
from crossviz.web.operations.logs import event, frames

if TYPE_CHECKING:
    from crossviz.explanation import Explanation
    from crossviz.photo import Photo
    from crossviz.trust import TrustReport

__all__ = ["Borrowed", "borrow", "on_zero_gpu"]

SECONDS = {"explain": 30, "trust": 60}
"""How long a GPU is asked for; who asks for less gets one sooner. It counts as long as it was used."""
_HOME = os.getpid()
_ON = ("1", "t", "true")
_LOCK = type(threading.Lock())

Work = Callable[..., Generator[bytes, None, None]]
Decorate = Callable[..., Callable[[Work], Work]]


def on_zero_gpu(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a Space on ZeroGPU, as the package `spaces` tells it."""
    return environ.get("SPACES_ZERO_GPU", "").lower() in _ON


def borrow() -> "Borrowed | None":
    """What lends questions out, on ZeroGPU; None elsewhere. To be called after Gradio is imported, before a model is.

    Raises:
        DeviceError: the package `spaces`, which every Space on ZeroGPU has, can't be imported.
    """
    if not on_zero_gpu():
        return None
    try:
        import spaces  # changes PyTorch as it is imported, so nowhere else
    except Exception as error:
        raise DeviceError(
            f"This is a Space on ZeroGPU, and its package spaces can't be imported ({type(error).__name__}): see that "
            "PyTorch is a build with CUDA, restart the Space, or choose other hardware."
        ) from error
    return Borrowed(spaces.GPU, "cuda")


class Borrowed:
    """Explains and checks in a process that has a GPU for a while.

    Args:
        decorate: `spaces.GPU`, or what does as it.
        device: where the other process computes.
    """

    def __init__(self, decorate: Decorate, device: str) -> None:
        self._device = device
        self._work = decorate(duration=_seconds)(work)
        os.register_at_fork(after_in_child=renew_locks)

    def wanted(self, model: str) -> bool:
        """Whether a model's questions are lent out. The embedded models' are not: their answer is there on a CPU before
        a GPU is."""
        return ":" in model

    def explain(
        self, model: str, photo: "Photo", caption: str, method: str | None
    ) -> "Generator[str, None, Explanation]":
        """As `Engine.steps`."""
        yield "waiting for a GPU"
        return (yield from self._run("explain", model, photo, caption, method))

    def trust(
        self, model: str, explanation: "Explanation", **asked: Any
    ) -> "Generator[tuple[float, str], None, TrustReport]":
        """As `Explainer.trust_steps`; `asked` are its arguments."""
        yield 0.0, "waiting for a GPU"
        return (yield from self._run("trust", model, explanation, asked))

    def _run(self, task: str, model: str, *args: Any) -> Generator[Any, None, Any]:
        with closing(self._work(task, model, self._device, pickle.dumps(args))) as work:
            while True:
                kind, value = self._next(work)
                if kind == "step":
                    yield value
                    continue
                with suppress(Exception):
                    next(work, None)  # to its end, or it would count as broken off
                if kind == "done":
                    return value
                if kind == "refused":
                    raise value
                name, places = value
                event("borrowed", logging.ERROR, error=name, came_through=places)
                raise Unknown(name)

    def _next(self, work: Iterator[bytes]) -> tuple[str, Any]:
        try:
            return pickle.loads(next(work))  # from this program's own process
        except StopIteration:
            raise DeviceError("The GPU was taken away before there was an answer: ask again.") from None
        except Exception as error:  # no GPU is granted, or its process is gone
            raise DeviceError(
                f"There is no GPU to be had now ({_title(error)}). Ask again in a while, sign in to Hugging Face for "
                "more of its time, or choose crossviz-mini, which needs none."
            ) from None


class Unknown(Exception):
    """An error in the other process that crossviz does not know; its class."""


def work(task: str, model: str, device: str, payload: bytes) -> Generator[bytes, None, None]:
    """Runs in the other process: what is being done, then the result or why there is none, each pickled."""
    import torch

    if os.getpid() != _HOME:
        torch.set_num_threads(1)  # the threads that OpenMP had are not there, and would be waited for
    steps = {"explain": _explain, "trust": _trust}[task](model, device, *pickle.loads(payload))
    try:
        while True:
            try:
                told: tuple[str, Any] = ("step", next(steps))
            except StopIteration as done:
                told = ("done", done.value)
            yield pickle.dumps(told)
            if told[0] == "done":
                return
    except CrossvizError as error:
        yield pickle.dumps(("refused", error))
    except Exception as error:
        yield pickle.dumps(("failed", (type(error).__name__, frames(error.__traceback__))))


def _explain(
    model: str, device: str, photo: "Photo", caption: str, method: str | None
) -> "Generator[str, None, Explanation]":
    from crossviz.explainer import Explainer

    yield f"loading {model[:80]}"
    explainer = Explainer(model, device)
    yield "reading the photo"
    image = explainer.encode(photo)
    yield "asking every word"
    return explainer.explain(image, caption, method)


def _trust(
    model: str, device: str, explanation: "Explanation", asked: Mapping[str, Any]
) -> "Generator[tuple[float, str], None, TrustReport]":
    from crossviz.explainer import Explainer

    explainer = Explainer(model, device)
    yield 0.0, "reading the photo"
    image = explainer.encode(explanation.photo)
    return (yield from explainer.trust_steps(image, explanation, **asked))


def _seconds(task: str, *_: Any) -> int:
    return SECONDS[task]


def _title(error: Exception) -> str:
    """What ZeroGPU calls the reason; its sentences may hold HTML."""
    title = getattr(error, "title", None)
    return title if isinstance(title, str) and title.isprintable() and len(title) < 80 else type(error).__name__


def renew_locks() -> None:
    """In a forked process: locks that another thread held at that moment would never be let go."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "crossviz":
            for key, value in list(vars(module).items()):
                if isinstance(value, _LOCK):
                    setattr(module, key, threading.Lock())
                elif hasattr(type(value), "renew_locks"):
                    value.renew_locks()
