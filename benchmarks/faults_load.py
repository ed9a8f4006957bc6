"""50 clients and 1,000 questions: every answer is held against the same question asked without a server."""

import io
import itertools
import random
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from benchmarks.faults_client import Client, Row, memory_mb, photo
from benchmarks.load import Server, shown
from crossviz.explainer import Explainer
from crossviz.paths import assets_dir

__all__ = ["mixture"]

MODELS = ("crossviz-mini", "coca-mini", "vilt-mini")
SIZES = ((32, 32), (200, 320), (512, 512), (900, 600), (1024, 768), (4000, 3000))
CAPTIONS = ("a man in a coat", "a cat and a dog", "two cups on a table", "a rocket, a flag and a helmet")
TOLERANCE = 1e-4
"""Of a map's largest value: what rounding makes of passes of other photos."""

Key = tuple[int, str, str]


def _photos() -> list[bytes]:
    """A JPEG for each size; no two alike in content."""
    found, names = [], ("astronaut.jpg", "cat.jpg", "coffee.jpg", "photographer.jpg")
    for number, (size, name) in enumerate(zip(SIZES, itertools.cycle(names), strict=False)):
        picture = Image.open(assets_dir() / "examples" / name).convert("RGB").resize(size)
        pixels = np.asarray(picture).copy()
        pixels[: size[1] // 3, : size[0] // 3] = np.random.default_rng(number).integers(0, 256, 3)
        jpeg = io.BytesIO()
        Image.fromarray(pixels).save(jpeg, "JPEG", quality=85)
        found.append(jpeg.getvalue())
    return found


def _direct(photos: list[bytes]) -> dict[Key, np.ndarray]:
    """Every question's maps, `word gh gw`, from this process."""
    found = {}
    for model in MODELS:
        explainer = Explainer(model)
        for number, content in enumerate(photos):
            image = explainer.encode(content)
            for caption in CAPTIONS:
                found[number, model, caption] = explainer.explain(image, caption).map.values.numpy()
    return found


BAD = (
    # What goes wrong: endpoint, content of the photo (None: a good one), caption, model, method, part of the sentence.
    ("no picture", b"hello, this is a text", "a dog", "", "", "holds text, not a picture"),
    ("cut off", b"\xff\xd8\xff\xe0" + bytes(50), "a dog", "", "", "is damaged or incomplete"),
    ("no caption", None, "", "", "", "caption"),
    ("long caption", None, "a dog " * 1000, "", "", "at most 5,000 are taken"),
    ("no such model", None, "a dog", "nonsense", "", "nonsense"),
    ("no such method", None, "a dog", "", "nonsense", "nonsense"),
    ("not on the list", None, "a dog", "open_clip:/etc", "", "open_clip:/etc"),
)


@dataclass
class _Tally:
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    refused: int = 0
    seconds: list[float] = field(default_factory=list)


def mixture(server: Server, clients: int, requests: int) -> list[Row]:
    """Ask, compare and count.

    Args:
        clients: that ask at the same time.
        requests: of all of them together, one in seven of them wrong in some way.
    """
    photos = _photos()
    direct = _direct(photos)
    before = memory_mb(server.process)
    numbers, lock, tally = itertools.count(), threading.Lock(), _Tally()

    def run(seed: int) -> None:
        rng, client = random.Random(seed), Client(server.port)
        while True:
            with lock:
                if next(numbers) >= requests:
                    break
            bad = rng.random() < 1 / 7
            began = time.perf_counter()
            wrong = _ask_wrong(client, rng, photos) if bad else _ask(client, rng, photos, direct)
            took = time.perf_counter() - began
            with lock:
                tally.seconds.append(took)
                tally.refused += bad
                if wrong:
                    tally.wrong.append(wrong)
                else:
                    tally.right += 1
        client.close()

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = sorted(tally.seconds)
    p50, p95 = times[len(times) // 2], times[int(0.95 * len(times))]
    seen = f"{tally.right} right, {len(tally.wrong)} wrong {tally.wrong[:3] or ''}; p50 {shown(p50)}, p95 {shown(p95)}"
    after = memory_mb(server.process)
    return [
        Row(
            "many at once",
            f"{clients} clients, {requests} questions: {len(MODELS)} models, photos of 32 px to 12 MP, {tally.refused} "
            "of them wrong in one of seven ways",
            "each map is that of the same question asked without a server, value for value; each wrong question gets "
            "its sentence",
            seen,
            tally.right == requests,
        ),
        Row(
            "memory",
            "the same questions",
            "below 4,000 MB with three models and the photos' cache",
            f"{before:,.0f} MB before, {after:,.0f} MB after",
            after < 4000,
        ),
    ]


def _ask(client: Client, rng: random.Random, photos: list[bytes], direct: dict[Key, np.ndarray]) -> str:
    """A question of one word's map; what is wrong with the answer, or ""."""
    number = rng.choices(range(len(photos)), weights=[8] * (len(photos) - 1) + [1])[0]
    model, caption = rng.choices(MODELS, weights=(3, 1, 1))[0], rng.choice(CAPTIONS)
    expected = direct[number, model, caption]
    word = rng.randrange(len(expected))
    status, path = client.upload(photos[number])
    if status != 200:
        return f"upload: {status} {path[:80]}"
    answer = client.ask("heatmap", photo(path), caption, None, None, word, None, None, model, "", False, None)
    if answer.data is None:
        return f"{model}: {answer.status} {answer.error[:80]}"
    values = np.array(answer.data[0]["values"])
    near = values.shape == expected[word].shape and np.allclose(
        values, expected[word], rtol=0, atol=TOLERANCE * float(np.abs(expected).max())
    )
    return "" if near else f"{model}: other values"


def _ask_wrong(client: Client, rng: random.Random, photos: list[bytes]) -> str:
    what, content, caption, model, method, sentence = rng.choice(BAD)
    status, path = client.upload(photos[0] if content is None else content)
    if status != 200:
        return f"upload: {status}"
    answer = client.ask("explain", photo(path), caption, model, method)
    return "" if sentence in answer.error else f"{what}: {answer.status} {answer.error[:80]!r}"
