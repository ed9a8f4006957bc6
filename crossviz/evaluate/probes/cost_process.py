"""Run as a program in a fresh Python: prints as JSON what one model costs there (see cost.py).

python -c "$(cat cost_process.py)" MODEL DEVICE PHOTO RUNS CAPTION...
"""

import json
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter


def measure(
    model: str, device: str, photo: str, runs: int, captions: list[str], since: float
) -> dict[str, float | int | None]:
    """Seconds, milliseconds, MB and threads; `since` is when nothing had been imported."""
    from crossviz.explainer import Explainer

    imported = perf_counter()
    explainer = Explainer(model, device)
    loaded = perf_counter()
    import torch

    from crossviz.models import unload_models

    image = explainer.encode(photo)
    explainer.explain(image, captions[0])

    def timed(call: Callable[[], object]) -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        start = perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return 1000 * (perf_counter() - start)

    found = {
        "import_s": imported - since,
        "load_s": loaded - imported,
        "explain_ms": median(timed(lambda: explainer.explain(photo, captions[0])) for _ in range(runs)),
        "caption_ms": median(
            timed(lambda i=i: explainer.explain(image, captions[i % len(captions)])) for i in range(runs)
        ),
        "memory_mb": peak_mb(),
        "threads": torch.get_num_threads(),
    }
    unload_models()  # last, for it would count as memory
    return {**found, "again_s": timed(lambda: Explainer(model, device)) / 1000}


def peak_mb() -> float | None:
    """The most memory that this process ever held; None on Windows, which has no such count in Python."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes there, kilobytes elsewhere


if __name__ == "__main__":
    start = perf_counter()
    name, device, photo, runs, *captions = sys.argv[1:]
    print(json.dumps(measure(name, device, photo, int(runs), captions, start)))
