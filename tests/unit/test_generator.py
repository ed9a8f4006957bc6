"""The registry of generators: what there is, what is loaded once, what unknown names are told."""

import pytest
import torch

import crossviz
from crossviz import generator
from crossviz.errors import DeviceError, ModelUnavailableError, RegistryError, UnknownModelError
from crossviz.generation import IMAGE_ASKS_TEXT, Generation, Progress, WordMaps
from crossviz.geometry import PatchGrid
from crossviz.models.generators import GeneratorInfo, Settings
from crossviz.results import Provenance
from crossviz.words import whole_caption


class Painter:
    """A family of models that paint the seed as a grey picture."""

    name = "painter"

    def __init__(self):
        self.loads = []

    def infos(self):
        return [GeneratorInfo("painter:grey", "Grey", "Paints grey.")]

    def identity(self, name):
        return name, ""

    def load(self, name, device):
        self.loads.append((name, str(device)))
        return self if name == "painter:grey" else Silent()

    def draw(self, caption, settings: Settings):
        picture = torch.full((4, 6, 3), settings.seed, dtype=torch.uint8)
        yield Progress(1, 1, picture)
        words = whole_caption(caption)
        values = torch.full((1, 1, 1, len(words.words), 2, 3), 1 / len(words.words))
        maps = WordMaps(values, torch.zeros(1, 1, 1, 2, 3), ("only",), IMAGE_ASKS_TEXT)
        about = Provenance("0", "painter:grey", None, False, "none", {}, "cpu")
        told = {"seed": settings.seed, "guidance": settings.guidance, "size_wh": settings.size_wh}
        yield Generation(words, PatchGrid(2, 3), picture[None], (1,), maps, None, None, None, told, None, about)


class Silent:
    def draw(self, caption, settings):
        return iter([Progress(1, 1, torch.zeros(1, 1, 3, dtype=torch.uint8))])


@pytest.fixture
def painter(monkeypatch):
    monkeypatch.setattr(generator._registry, "by_name", dict(generator._registry.by_name))
    generator.unload_generators()
    return generator.register_generator(Painter())


def test_the_public_names_are_here():
    assert crossviz.generate is generator.generate and crossviz.generators is generator.generators
    assert crossviz.Generation is Generation


def test_the_families_that_come_with_it_are_registered():
    assert {"dalle-mini-scenes", "diffusers"} <= set(generator._registry.by_name)
    assert any(info.name.startswith("diffusers:") for info in generator.generators())


def test_a_registered_family_is_listed_loaded_once_and_draws(painter):
    assert "painter:grey" in [info.name for info in generator.generators()]
    found = generator.generate("a red cube", "painter:grey", seed=9, guidance=2, size_wh=(6, 4), device="cpu")
    assert isinstance(found, Generation) and found.picture.unique().tolist() == [9]
    assert dict(found.settings) == {"seed": 9, "guidance": 2, "size_wh": [6, 4]}
    generator.generate("a red cube", " painter:grey ", device="cpu")
    assert painter.loads == [("painter:grey", "cpu")]
    generator.unload_generators()
    generator.load_generator("painter:grey", "cpu")
    assert len(painter.loads) == 2


def test_a_family_that_tells_its_files_apart_is_loaded_again_where_they_changed(painter):
    states = ["one", "one", "two"]
    painter.identity = lambda name: (name, states.pop(0))
    for _ in range(3):
        generator.load_generator("painter:grey", "cpu")
    assert len(painter.loads) == 2


def test_a_name_is_registered_once(painter):
    with pytest.raises(RegistryError, match="'painter' is registered already"):
        generator.register_generator(Painter())


@pytest.mark.parametrize("name", ["panter:grey", "paintr"])
def test_an_unknown_name_is_told_close_ones_and_what_there_is(painter, name):
    with pytest.raises(UnknownModelError, match=rf"no generator '{name}'. Did you mean .*painter.*There are: "):
        generator.generate("a red cube", name)


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(UnknownModelError, match="chosen by its name"):
        generator.load_generator(name)


def test_a_device_that_is_not_there(painter):
    with pytest.raises(DeviceError, match="cuda:77"):
        generator.load_generator("painter:grey", "cuda:77")


def test_a_drawing_without_an_end_is_an_error(painter):
    with pytest.raises(ModelUnavailableError, match="without a picture"):
        generator.generate("a red cube", "painter:silent", device="cpu")
