"""The registries: what is in them, what they refuse, and that all in them is held to this folder's contract."""

import pytest

import crossviz
from crossviz import methods, models
from crossviz.errors import MethodError, RegistryError, UnknownMethodError, UnknownModelError
from crossviz.trace import CAPABILITIES

from .conftest import MODELS


def test_every_family_has_a_small_model_here():
    assert {name.partition(",")[0] for name in MODELS} == set(models.families())


@pytest.mark.parametrize("registry", [models, methods], ids=["models", "methods"])
def test_a_second_entry_of_the_same_name_is_refused(registry):
    taken = next(iter(models.families().values())) if registry is models else methods.get_method("cross_attention")
    before = registry()
    with pytest.raises(RegistryError, match="registered already"):
        registry.register(taken)
    assert registry() == before


def test_an_unknown_model_names_close_ones_and_what_there_is():
    with pytest.raises(UnknownModelError, match=r"Did you mean crossviz-mini( or .*)?\?.*There are: crossviz-mini, "):
        models.load_model("crosviz-mini")


def test_an_unknown_method_names_close_ones_and_what_there_is():
    with pytest.raises(UnknownMethodError) as caught:
        methods.get_method("cross_atention")
    assert "Did you mean cross_attention or raw_attention?" in str(caught.value)
    assert all(info.name in str(caught.value) for info in methods.methods())


def test_every_entry_says_what_it_is_in_one_line():
    entries = [*crossviz.models(), *crossviz.methods()]
    assert entries[0].name == "crossviz-mini"
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        for line in (entry.title, entry.sentence, getattr(entry, "attention_sentence", "query and key")):
            assert line and "\n" not in line
    for info in crossviz.models():
        assert info.attention_sentence.startswith("query: ") and ", key: " in info.attention_sentence
        assert info.available == (info.reason == "")
    assert all(set(info.requires) <= set(CAPABILITIES) for info in crossviz.methods())


def test_models_and_methods_are_callable_before_and_after_their_packages_are_imported():
    assert crossviz.models is models and crossviz.methods is methods
    assert crossviz.models() == models.models()
    assert crossviz.methods() == methods.methods()


def test_all_of_open_clips_pretrained_models_can_be_named():
    from crossviz.compat import import_open_clip

    listed = {info.name for info in models.models(everything=True)}
    known = {f"open_clip:{arch}/{tag}" for arch, tag in import_open_clip().list_pretrained()}
    assert {name for name in listed if name.startswith("open_clip:")} == known and "crossviz-mini" in listed
    assert all(name.partition(":")[0] in models.families() or ":" not in name for name in listed)
    assert {info.name for info in models.models()} <= listed


def test_an_explainer_offers_the_methods_that_its_model_supports(model):
    from crossviz import Explainer

    explainer = Explainer(model.info.name, "cpu")
    offered = {info.name for info in explainer.methods}
    assert offered
    for info in methods.methods():
        assert (info.name in offered) == info.served_by(model.lacks())
    with pytest.raises(MethodError, match="method object"):
        explainer.explain(b"", "a dog", method=3)
