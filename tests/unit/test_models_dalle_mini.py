"""dalle-mini-scenes as it is shipped: that it is what its card says, and better than chance by far."""

from pathlib import Path

import numpy as np
import pytest
import torch

import crossviz
from crossviz.generator import load_generator
from crossviz.models.dalle import DalleScenes
from crossviz.models.generators import Settings
from crossviz.paths import assets_dir
from crossviz.training.dalle_captions import captions
from crossviz.training.dalle_figures import measure, reconstruction

FOLDER = assets_dir() / "models" / "dalle-mini-scenes"


@pytest.fixture(scope="module")
def model() -> DalleScenes:
    found = load_generator("dalle-mini-scenes", "cpu")
    assert isinstance(found, DalleScenes)
    return found


def test_it_is_small_and_trained(model: DalleScenes) -> None:
    weights = list(FOLDER.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in weights) < 40e6
    assert model.about["training"]["trained"]
    assert not list(FOLDER.glob("*.pt")) and not list(FOLDER.glob("*.bin"))


def test_the_tokenizer_keeps_scenes(model: DalleScenes) -> None:
    kept = reconstruction(model, 20)
    assert kept["psnr"] > 28
    assert kept["perplexity"] > 100


def test_words_peak_on_what_they_name(model: DalleScenes) -> None:
    """Of captions that it was not trained on; the thing takes about a tenth of the picture."""
    texts = [text for kind in ("1 seen", "1 unseen", "2 seen") for text in captions("test")[kind][:4]]
    tally = measure(model, texts, Settings())
    assert tally.pictures == 12 and tally.nouns >= 10
    assert tally.covered / tally.words < 0.3
    for way in ("image asks text", "text asks image"):
        assert tally.noun_peaks[way] / tally.nouns >= 0.85, way
        assert tally.peaks[way] / tally.words >= 0.8, way
    assert tally.asked / tally.pictures >= 0.7


def test_what_it_draws_has_the_colours_that_are_asked_for(model: DalleScenes) -> None:
    """Without the checker: the most colourful place is red, green or blue as asked."""
    for channel, colour in enumerate(("red", "green", "blue")):
        *_, made = model.draw(f"a large {colour} matte cube on a grey floor by day", Settings(seed=1, candidates=1))
        picture = made.picture.float()  # height width 3
        spread = picture.amax(-1) - picture.amin(-1)
        most = picture.flatten(0, 1)[int(spread.argmax())]
        assert int(most.argmax()) == channel, colour


def test_the_same_seed_gives_the_same_picture_through_the_public_api(tmp_path: Path) -> None:
    one = crossviz.generate("a red cube", seed=3, candidates=2)
    again = crossviz.generate("a red cube", seed=3, candidates=2)
    assert torch.equal(one.picture, again.picture)
    one.save(tmp_path / "drawn.npz")
    assert crossviz.load(tmp_path / "drawn.npz") == one
    assert np.isclose(one.heatmap("cube").sum(), again.heatmap("cube").sum())
