"""What benchmarks.capture measures memory by, and that its passes run."""

import torch

from benchmarks.capture import captured, kept_bytes, peak_bytes
from crossviz.capture import sites
from tests.towers import image, vision


def test_what_is_kept_is_the_formula():
    model = vision()
    with torch.inference_mode():
        kept = captured(lambda: model(image()), sites(model), keep=("probs",), once=True, dtype=torch.float16)
        both = captured(lambda: model(image()), sites(model), once=True, rows=[0])
    layers, heads, tokens, photos = 2, 4, 25, 2
    assert kept_bytes(kept) == photos * layers * heads * tokens * tokens * 2
    assert kept_bytes(both) == photos * layers * heads * 1 * tokens * 4 * 2
    assert kept_bytes(model) == 0


def test_the_peak_is_what_is_there_at_one_time():
    def call() -> None:
        for _ in range(3):
            first = torch.empty(1000, dtype=torch.float32)
            second = torch.empty(3000, dtype=torch.float32)
            del first, second

    assert 16000 <= peak_bytes(call) <= 20000
