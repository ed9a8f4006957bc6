"""Results check themselves, keep their own copies, select by the arithmetic that they state, and load as saved."""

import copy
import dataclasses
import json
import math
import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossviz.errors import BundleError, MethodError, ResultError, SelectionError
from crossviz.results import AttentionRecord, Provenance, RelevanceMap, head_index, layer_index

LAYERS, HEADS, WORDS, GH, GW = 3, 4, 5, 2, 6
COUNTS = (1, 3, 0, 2, 1)


def record(seed=0, *, has_null=True, masked=True, **changes):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(LAYERS, HEADS, 7, 9, generator=generator)
    if masked:
        scores[..., 3] = -math.inf
    probs = scores.softmax(-1)
    if masked:
        scores[:, :, 2] = -math.inf  # a query that may look at nothing
        probs[:, :, 2] = 0.0
    parts = {"scores": scores, "probs": probs, "layers": ("a", "b", "last"), "query_kind": "text", "key_kind": "image"}
    return AttentionRecord(**{**parts, "has_null": has_null, **changes})


def parts_of_map(seed=0, kind="probability"):
    """`layer head word gh gw` and the fields that belong to it."""
    generator = torch.Generator().manual_seed(seed)
    per_head = torch.randn(LAYERS, HEADS, WORDS, GH, GW, generator=generator)
    if kind == "probability":
        joint = torch.cat([per_head.flatten(3), torch.randn(LAYERS, HEADS, WORDS, 1, generator=generator)], -1).softmax(
            -1
        )
        per_head, null_mass = joint[..., :-1].unflatten(-1, (GH, GW)), joint[..., -1]
        values, unit, signed, reduce = per_head.mean((0, 1)), "probability", False, "mean"
    else:
        values, unit, signed, reduce, null_mass = per_head.sum((0, 1)), "similarity share", True, "sum", None
    return {
        "values": values,
        "unit": unit,
        "signed": signed,
        "method": "test",
        "params": {"temperature": 0.5, "layers": (1, 2), "nested": {"x": [None, True]}},
        "direction": "query: text, key: image",
        "text_dependent": True,
        "token_counts": COUNTS,
        "reduce": reduce,
        "per_head": per_head,
        "layers": ("a", "b", "last"),
        "null_mass": null_mass,
        "notes": ("one", "two"),
    }


def relevance(seed=0, kind="probability", **changes):
    return RelevanceMap(**{**parts_of_map(seed, kind), **changes})


def provenance(**changes):
    parts = {"crossviz_version": "0.1", "model": "m", "weights_sha256": "ab", "trained": False, "method": "test"}
    return Provenance(**{**parts, "libraries": {"torch": "2"}, "device": "cpu", "notes": ("n",), **changes})


RESULTS = {
    "record": record,
    "record without mask": lambda: record(masked=False, has_null=False),
    "probability": relevance,
    "share": lambda: relevance(kind="share"),
    "without heads": lambda: relevance(per_head=None),
    "bare": lambda: relevance(per_head=None, null_mass=None, layers=(), notes=()),
    "no words": lambda: RelevanceMap(torch.zeros(0, 2, 2), "similarity", True, "m", {}, "d", False, ()),
    "provenance": provenance,
    "provenance without hash": lambda: provenance(weights_sha256=None),
}
every_result = pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)


class TestSavedAndLoaded:
    @every_result
    def test_equal_after_arrays_and_json(self, make):
        result = make()
        arrays, values = result.to_arrays()
        assert all(array.dtype == np.float32 for array in arrays.values())
        back = type(result).from_arrays(arrays, json.loads(json.dumps(values, allow_nan=False)))
        assert back == result
        assert result == back

    @every_result
    def test_equal_after_pickling_and_copying(self, make):
        result = make()
        assert pickle.loads(pickle.dumps(result)) == result
        assert copy.deepcopy(result) == result

    @every_result
    def test_arrays_are_copies(self, make):
        result = make()
        arrays, values = result.to_arrays()
        for array in arrays.values():
            array += 1
        for value in values.values():
            if isinstance(value, dict):
                value["new"] = 1
        assert result == make()

    @every_result
    def test_any_other_field_is_unequal(self, make):
        """One changed number, word or flag is enough."""
        result = make()
        arrays, values = result.to_arrays()
        for name in arrays:
            changed = getattr(result, name).clone()
            if changed.numel() == 0:
                continue
            flat = changed.flatten()
            flat[-1] = torch.nextafter(flat[-1], torch.tensor(math.inf))
            other = copy.deepcopy(result)
            object.__setattr__(other, name, changed)
            assert other != result
        for name, value in values.items():
            other = copy.deepcopy(result)
            object.__setattr__(other, name, (not value) if isinstance(value, bool) else f"{value}!")
            assert other != result
        assert result != "something else"

    @every_result
    def test_damaged_parts_are_a_bundle_error(self, make):
        result = make()
        arrays, values = result.to_arrays()
        kind = type(result)
        for name in values:
            if name in ("has_null", "notes", "layers", "reduce", "method_title"):  # these have defaults
                continue
            with pytest.raises(BundleError, match=kind.__name__):
                kind.from_arrays(arrays, {k: v for k, v in values.items() if k != name})
        with pytest.raises(BundleError):
            kind.from_arrays(arrays, {**values, "unknown": 1})
        for name, array in arrays.items():
            with pytest.raises(BundleError):
                kind.from_arrays({**arrays, name: array[None]}, values)
            with pytest.raises(BundleError):
                kind.from_arrays({**arrays, name: np.array(["x"])}, values)


class TestFrozen:
    @every_result
    def test_fields_can_not_be_set(self, make):
        result = make()
        for field in dataclasses.fields(result):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(result, field.name, None)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
    def test_tensors_are_own_float32_without_gradient(self, dtype):
        values = torch.rand(2, 3, 4).to(dtype).transpose(1, 2).requires_grad_()
        result = RelevanceMap(values, "similarity", True, "m", {}, "d", True, (1, 1))
        assert result.values.dtype == torch.float32
        assert result.values.is_contiguous()
        assert not result.values.requires_grad
        assert torch.equal(result.values, values.detach().float())

    def test_inputs_may_change_afterwards(self):
        parts = parts_of_map()
        result = RelevanceMap(**parts)
        for value in parts.values():
            if isinstance(value, torch.Tensor):
                value.zero_()
        parts["params"]["nested"]["x"].append(7)
        assert result == relevance()

    def test_mappings_are_read_only(self):
        with pytest.raises(TypeError):
            relevance().params["temperature"] = 1
        with pytest.raises(TypeError):
            provenance().libraries["torch"] = "1"


class TestSelect:
    @pytest.mark.parametrize("kind", ["probability", "share"])
    @given(st.data())
    def test_is_the_mean_over_the_words_tokens(self, kind, data):
        result = relevance(kind=kind)
        words = data.draw(st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=WORDS, unique=True))
        layer = data.draw(st.sampled_from([None, 0, 1, 2, -1, -3, "a", "last"]))
        head = data.draw(st.sampled_from([None, 0, 3, -1]))
        places = {None: range(LAYERS), "a": [0], "last": [2]}.get(layer) or [layer % LAYERS]
        heads = range(HEADS) if head is None else [head % HEADS]
        tokens = [word for word in words for _ in range(COUNTS[word])]
        if not tokens:
            with pytest.raises(SelectionError, match="read no token"):
                result.select(words, layer, head)
            return
        maps = np.array([[result.per_head[p, h].double().numpy() for h in heads] for p in places])
        over_heads = maps.mean((0, 1)) if kind == "probability" else maps.sum((0, 1))  # word gh gw
        expected = np.mean([over_heads[word] for word in tokens], axis=0)
        found = result.select(words, layer, head)
        assert found.shape == (GH, GW)
        assert np.abs(found.numpy() - expected).max() < 1e-5
        if kind == "probability":
            null = np.array([[result.null_mass[p, h].numpy() for h in heads] for p in places]).mean((0, 1))
            null_mass = result.select_null(words, layer, head)
            assert null_mass == pytest.approx(np.mean([null[word] for word in tokens]), abs=1e-6)
            assert null_mass + found.sum().item() == pytest.approx(1.0, abs=1e-5)

    def test_layers_and_heads_of_shares_add_up(self):
        result = relevance(kind="share")
        single = [result.select([1], layer, head) for layer in range(LAYERS) for head in range(HEADS)]
        assert torch.stack(single).sum(0) == pytest.approx(result.select([1]), abs=1e-5)

    def test_the_result_is_its_own(self):
        result = relevance(per_head=None, token_counts=(1,) * WORDS)
        result.select([0]).zero_()
        result.select([0, 1]).zero_()
        assert result == relevance(per_head=None, token_counts=(1,) * WORDS)

    def test_a_word_named_twice_counts_once(self):
        assert torch.equal(relevance().select([1, 0, 1]), relevance().select([0, 1]))

    def test_without_single_heads(self):
        result = relevance(per_head=None, null_mass=None, layers=())
        assert torch.equal(result.select([0]), result.values[0])
        for selectors in ({"layer": 0}, {"head": 0}):
            with pytest.raises(SelectionError, match="leave `layer` and `head` out"):
                result.select([0], **selectors)
        with pytest.raises(MethodError, match="no null key"):
            result.select_null([0])

    @pytest.mark.parametrize("words", [[], [WORDS], [-1], [0, 99]])
    def test_words_that_are_not_there(self, words):
        for select in (relevance().select, relevance().select_null):
            with pytest.raises(SelectionError):
                select(words)

    @pytest.mark.parametrize("layer", [3, -4, "z", 1.5, True, "0"])
    def test_layers_that_are_not_there_list_what_there_is(self, layer):
        for select in (relevance().select, relevance().select_null):
            with pytest.raises(SelectionError, match=re.escape("0 'a', 1 'b', 2 'last'")):
                select([0], layer=layer)
        with pytest.raises(SelectionError):
            layer_index(("a",), layer)

    @pytest.mark.parametrize("head", [4, -5, "0", 1.5, True])
    def test_heads_that_are_not_there(self, head):
        for select in (relevance().select, relevance().select_null):
            with pytest.raises(SelectionError, match="0 to 3"):
                select([0], head=head)
        with pytest.raises(SelectionError):
            head_index(4, head)

    def test_of_a_record(self):
        attention = record()
        assert attention.num_layers == LAYERS
        assert attention.num_heads == HEADS
        assert attention.select() == pytest.approx(attention.probs.mean((0, 1)))
        assert torch.equal(attention.select("last", -1), attention.probs[2, 3])
        assert attention.select(layer=1) == pytest.approx(attention.probs[1].mean(0))


def changed(tensor, value):
    tensor = tensor.clone()
    tensor.view(-1)[-1] = value
    return tensor


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"probs": changed(record().probs, 0.5)}, "sum to 1"),
            ({"probs": record().probs * 1.001}, "sum to 1"),
            ({"probs": record().probs[..., :-1]}, "one shape"),
            ({"probs": changed(record().probs, -0.1)}, "negative"),
            ({"probs": changed(record().probs, math.nan)}, "finite"),
            ({"scores": changed(record().scores, math.nan)}, "finite"),
            ({"scores": changed(record().scores, math.inf)}, "finite"),
            ({"scores": record().scores[0]}, "layer head query key"),
            ({"scores": record().scores.long()}, "int64"),
            ({"scores": record().scores.numpy()}, "ndarray"),
            ({"layers": ("a", "b")}, "3 different labels"),
            ({"layers": ("a", "b", "a")}, "3 different labels"),
            ({"layers": "abc"}, "strings"),
            ({"layers": (0, 1, 2)}, "strings"),
            ({"query_kind": ""}, "query_kind"),
            ({"key_kind": None}, "key_kind"),
            ({"has_null": 1}, "has_null"),
        ],
    )
    def test_record(self, changes, says):
        with pytest.raises(ResultError, match=re.escape(says)):
            record(**changes)

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"values": parts_of_map()["values"] * 1.01}, "must be the mean of `per_head`"),
            (
                {"values": parts_of_map()["per_head"][0, 0]},
                "must be the mean of `per_head`",
            ),  # one head is no aggregate
            ({"reduce": "sum"}, "must be the sum of `per_head`"),
            ({"reduce": "max"}, "`reduce`"),
            ({"values": changed(parts_of_map()["values"], math.inf)}, "finite"),
            ({"per_head": changed(parts_of_map()["per_head"], math.nan)}, "finite"),
            ({"null_mass": changed(parts_of_map()["null_mass"], math.nan)}, "finite"),
            ({"null_mass": changed(parts_of_map()["null_mass"], 1.1)}, "0 to 1"),
            ({"null_mass": changed(parts_of_map()["null_mass"], -0.1)}, "0 to 1"),
            ({"null_mass": torch.ones(LAYERS, HEADS, WORDS)}, "sum to at most 1"),
            ({"null_mass": parts_of_map()["null_mass"][:, :2]}, "`null_mass`"),
            ({"values": parts_of_map()["values"][:, :, :0], "per_head": None}, "at least one patch"),
            ({"values": parts_of_map()["values"][0]}, "word gh gw"),
            ({"per_head": parts_of_map()["per_head"][..., :3]}, "`per_head`"),
            ({"values": -parts_of_map()["values"], "per_head": None}, "not signed"),
            ({"values": parts_of_map()["values"] * 9, "per_head": None}, "at most 1"),
            ({"values": -parts_of_map()["values"], "per_head": None, "signed": True}, "not be negative"),
            ({"token_counts": (1, 1)}, "token_counts"),
            ({"token_counts": (1, 1, 1, 1, -1)}, "token_counts"),
            ({"token_counts": (1, 1, 1, 1, 0.5)}, "token_counts"),
            ({"layers": ("a", "b")}, "3 different labels"),
            ({"params": {"x": object()}}, "JSON-able"),
            ({"params": {"x": math.nan}}, "JSON-able"),
            ({"params": [1]}, "mapping"),
            ({"notes": "one"}, "notes"),
            ({"unit": " "}, "unit"),
            ({"method": None}, "method"),
            ({"signed": 0}, "signed"),
            ({"text_dependent": "yes"}, "text_dependent"),
        ],
    )
    def test_map(self, changes, says):
        with pytest.raises(ResultError, match=re.escape(says)):
            relevance(**changes)

    @pytest.mark.parametrize(
        "changes",
        [{"model": ""}, {"trained": 1}, {"weights_sha256": 7}, {"libraries": 3}, {"notes": (1,)}, {"device": None}],
    )
    def test_provenance(self, changes):
        with pytest.raises(ResultError, match=next(iter(changes)) + "|Param"):
            provenance(**changes)

    def test_row_sums_within_rounding_are_taken(self):
        low = record().probs.bfloat16().float()
        half = low / low.sum(-1, keepdim=True).clamp(min=1e-9) * (1 + 5e-5)
        assert record(probs=half, scores=record().scores).num_heads == HEADS
