"""CrossModalAttention against torch's own attention, a plain loop, and the identities of attention."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.attention import CrossModalAttention, CrossModalOutput, masked_softmax
from crossviz.errors import AttentionInputError, CrossvizError

BATCH, QUERIES, KEYS, HEADS = 3, 4, 6, 2
# The largest difference from a float64 oracle, relative to the oracle's largest value.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.bfloat16: 4e-2}
DTYPES = list(TOLERANCE)
MASKS = ("none", "key", "bool", "float", "head", "key+float", "key+bool")


def make(query_dim=8, key_dim=10, *, seed=0, **options) -> CrossModalAttention:
    torch.manual_seed(seed)
    module = CrossModalAttention(query_dim, key_dim, num_heads=HEADS, **options)
    with torch.no_grad():  # norms and biases that matter
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.double().eval()


def tokens(query_dim=8, key_dim=10, *, keys=KEYS, batch=BATCH, seed=1) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    query = torch.randn(batch, QUERIES, query_dim, generator=rng, dtype=torch.float64)
    return query, torch.randn(batch, keys, key_dim, generator=rng, dtype=torch.float64)


def masks(kind: str) -> dict[str, Tensor]:
    """No row of them is masked as a whole; that has tests of its own."""
    rng = torch.Generator().manual_seed(2)
    made = {}
    if "key" in kind:
        made["key_mask"] = torch.arange(KEYS) < torch.tensor([[KEYS], [2], [3]])
    if "bool" in kind:
        made["attn_mask"] = torch.rand(QUERIES, KEYS, generator=rng) < 0.6
        made["attn_mask"][:, 0] = True
    if "float" in kind:
        made["attn_mask"] = torch.randn(QUERIES, KEYS, generator=rng, dtype=torch.float64)
        made["attn_mask"][1, 3] = -math.inf
    if "head" in kind:
        made["attn_mask"] = torch.randn(BATCH, HEADS, QUERIES, KEYS, generator=rng, dtype=torch.float64)
    return made


def additive(made: dict[str, Tensor]) -> Tensor:
    """The same masks as one float tensor, `batch head query key`."""
    bias = torch.zeros(BATCH, HEADS, QUERIES, KEYS, dtype=torch.float64)
    if "attn_mask" in made:
        mask = made["attn_mask"]
        bias = bias.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else bias + mask
    if "key_mask" in made:
        bias = bias.masked_fill(~made["key_mask"][:, None, None], -math.inf)
    return bias


def torch_oracle(module: CrossModalAttention, query: Tensor, key: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """nn.MultiheadAttention with the module's weights; the null key is its `bias_k`, `bias_v`."""
    width = module.q_proj.out_features
    has_null = module.has_null_key
    oracle = nn.MultiheadAttention(
        width, HEADS, kdim=key.shape[-1], vdim=key.shape[-1], add_bias_kv=has_null, batch_first=True
    ).double()
    names = ("q_proj", "k_proj", "v_proj")
    weights = {f"{name}_weight": getattr(module, name).weight for name in names}
    if oracle.in_proj_weight is not None:
        weights = {"in_proj_weight": torch.cat(list(weights.values()))}
    if module.q_proj.bias is not None:
        weights["in_proj_bias"] = torch.cat([getattr(module, name).bias for name in names])
    else:
        weights["in_proj_bias"] = torch.zeros(3 * width, dtype=torch.float64)
    weights["out_proj.weight"] = module.out_proj.weight
    weights["out_proj.bias"] = (
        torch.zeros(width, dtype=torch.float64) if module.out_proj.bias is None else module.out_proj.bias
    )
    if has_null:
        weights["bias_k"] = module.null_key.reshape(1, 1, width)
        weights["bias_v"] = module.null_value.reshape(1, 1, width)
        # torch's extra key has no bias: the other keys get it, negated, which is the same to a softmax.
        bias = bias - module.null_bias[:, None, None]
    arguments = (query, key, key)
    options = {"attn_mask": bias.flatten(0, 1), "average_attn_weights": False}
    attended, probs = torch.func.functional_call(oracle, weights, arguments, options)
    return {"output": module.norm(query + attended), "probs": probs}


def sdpa_oracle(module: CrossModalAttention, query: Tensor, key: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """F.scaled_dot_product_attention; the null key and value are appended, its bias is a column of the mask."""
    q, k, v = (
        F.linear(x, layer.weight, layer.bias).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for layer, x in ((module.q_proj, query), (module.k_proj, key), (module.v_proj, key))
    )
    if module.has_null_key:
        k = torch.cat([k, module.null_key[None, :, None].expand(len(k), -1, -1, -1)], 2)
        v = torch.cat([v, module.null_value[None, :, None].expand(len(v), -1, -1, -1)], 2)
        column = module.null_bias[None, :, None, None].expand(len(k), -1, query.shape[1], 1)
        bias = torch.cat([bias, column], -1)
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    attended = F.linear(context.transpose(1, 2).flatten(2), module.out_proj.weight, module.out_proj.bias)
    return {"context": context, "output": module.norm(query + attended)}


def loop_oracle(module: CrossModalAttention, query: Tensor, key: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """One number at a time, from the formula."""
    batch, head_dim = len(query), module.head_dim
    scores, probs, context = {}, {}, {}
    for b, h, i in itertools.product(range(batch), range(HEADS), range(QUERIES)):
        rows = slice(h * head_dim, (h + 1) * head_dim)

        def project(layer: nn.Linear, x: Tensor, rows=rows) -> Tensor:
            out = layer.weight[rows] @ x
            return out if layer.bias is None else out + layer.bias[rows]

        q = project(module.q_proj, query[b, i])
        keys = [project(module.k_proj, x) for x in key[b]]
        values = [project(module.v_proj, x) for x in key[b]]
        added = list(bias[b, h, i])
        if module.has_null_key:
            keys.append(module.null_key[h])
            values.append(module.null_value[h])
            added.append(module.null_bias[h])
        row = [
            sum(q[d] * k[d] for d in range(head_dim)) / math.sqrt(head_dim) + a
            for k, a in zip(keys, added, strict=True)
        ]
        powers = [torch.exp(score) for score in row]
        scores[b, h, i] = torch.stack(row)
        probs[b, h, i] = torch.stack([power / sum(powers) for power in powers])
        context[b, h, i] = sum(p * v for p, v in zip(probs[b, h, i], values, strict=True))

    def gather(rows: dict) -> Tensor:
        flat = torch.stack([rows[index] for index in itertools.product(range(batch), range(HEADS), range(QUERIES))])
        return flat.unflatten(0, (batch, HEADS, QUERIES))

    made = {"scores": gather(scores), "probs": gather(probs), "context": gather(context)}
    x = query + F.linear(made["context"].transpose(1, 2).flatten(2), module.out_proj.weight, module.out_proj.bias)
    centred = x - x.mean(-1, keepdim=True)
    normed = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + module.norm.eps)
    return made | {"output": normed * module.norm.weight + module.norm.bias}


ORACLES = {"torch": torch_oracle, "sdpa": sdpa_oracle, "loop": loop_oracle}


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    assert actual.shape == expected.shape, what
    actual, expected = actual.detach().double(), expected.detach().double()
    infinite = expected.isinf()
    assert torch.equal(actual[infinite], expected[infinite]), what
    actual, expected = actual[~infinite], expected[~infinite]
    if expected.numel():
        deviation = ((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()
        assert deviation <= tolerance, f"{what} deviates by {deviation:.1e}"


def gradients(outputs: dict[str, Tensor], leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients of one scalar that every number of the outputs enters with its own weight."""
    loss = 0.0
    for name, tensor in sorted(outputs.items()):
        tensor = tensor.masked_fill(tensor.isinf(), 0.0)
        rng = torch.Generator().manual_seed(len(name))
        loss = loss + (tensor.double() * torch.randn(tensor.shape, generator=rng, dtype=torch.float64)).sum()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()), allow_unused=True), strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("null_key", [False, True], ids=["plain", "null"])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("oracle", ORACLES)
def test_forward_and_gradient_are_those_of_the_oracle(oracle, kind, null_key, dtype):
    module = make(null_key=null_key).to(dtype)
    query, key = (x.to(dtype).requires_grad_() for x in tokens())
    made = masks(kind)
    given_masks = {name: mask.to(dtype) if mask.is_floating_point() else mask for name, mask in made.items()}
    # The oracle gets the very numbers, rounded to dtype, in float64.
    bias = additive({name: mask.double() if mask.is_floating_point() else mask for name, mask in given_masks.items()})
    exact = copy.deepcopy(module).double()
    exact_query, exact_key = (x.detach().double().requires_grad_() for x in (query, key))

    expected = ORACLES[oracle](exact, exact_query, exact_key, bias)
    result = module(query, key, **given_masks)
    actual = {name: getattr(result, name) for name in expected}

    for name, tensor in expected.items():
        assert actual[name].dtype == dtype
        assert_close(actual[name], tensor, TOLERANCE[dtype], name)
    leaves = {"query": query, "key": key, **dict(module.named_parameters())}
    exact_leaves = {"query": exact_query, "key": exact_key, **dict(exact.named_parameters())}
    expected_gradients = gradients(expected, exact_leaves)
    # A bias of the keys moves all scores of a row alike, so without a null key its gradient is 0 but for rounding.
    largest = max(gradient.abs().max() for gradient in expected_gradients.values() if gradient is not None)
    for name, gradient in gradients(actual, leaves).items():
        deviation = (gradient.double() - expected_gradients[name]).abs().max() / largest
        assert deviation <= TOLERANCE[dtype], f"gradient of {name} deviates by {deviation:.1e}"


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("null_key", [False, True], ids=["plain", "null"])
def test_one_width_for_all_is_the_packed_attention_of_torch(bias, null_key):
    module = make(8, None, bias=bias, null_key=null_key)
    query, key = tokens(8, 8)
    expected = torch_oracle(module, query, key, additive({}))
    result = module(query, key)
    assert_close(result.output, expected["output"], 1e-12, "output")
    assert_close(result.probs, expected["probs"], 1e-12, "probs")


@pytest.mark.parametrize("oracle", ["sdpa", "loop"])
def test_an_inner_width_of_its_own(oracle):
    module = make(attn_dim=6, null_key=True)
    query, key = tokens()
    expected = ORACLES[oracle](module, query, key, additive({}))
    result = module(query, key)
    assert result.context.shape == (BATCH, HEADS, QUERIES, 3)
    for name, tensor in expected.items():
        assert_close(getattr(result, name), tensor, 1e-12, name)


@pytest.mark.parametrize("null_key", [False, True], ids=["plain", "null"])
def test_gradient_is_the_slope(null_key):
    module = make(null_key=null_key)
    query, key = (x[:1, :3].clone().requires_grad_() for x in tokens())
    parameters = dict(module.named_parameters())

    def output(query, key, *values):
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), (query, key))[:2]

    values = [value.detach().clone().requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(output, (query, key, *values))


def test_shapes_and_the_identities_between_the_fields():
    module = make(null_key=True)
    query, key = tokens()
    result = module(query, key)
    assert isinstance(result, CrossModalOutput) and module.has_null_key
    assert result.output.shape == query.shape
    assert result.scores.shape == result.probs.shape == (BATCH, HEADS, QUERIES, KEYS + 1)
    assert_close(result.probs, result.scores.softmax(-1), 1e-12, "probs")
    assert_close(result.probs.sum(-1), torch.ones(BATCH, HEADS, QUERIES), 1e-12, "sums")
    assert make().has_null_key is False


def test_a_null_bias_moves_all_probability_to_the_last_key():
    module = make(null_key=True)
    query, key = tokens()
    with torch.no_grad():
        module.null_bias.fill_(200.0)
        result = module(query, key, key_mask=masks("key")["key_mask"])
    assert torch.equal(result.probs[..., -1], torch.ones(BATCH, HEADS, QUERIES, dtype=torch.float64))
    assert_close(result.context, module.null_value[None, :, None].expand_as(result.context), 1e-12, "context")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_non_contiguous_input(dtype):
    module = make(null_key=True).to(dtype)
    query, key = (x.to(dtype) for x in tokens())
    strided = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in (query, key)]
    spaced = torch.stack([key, -key], dim=-1)[..., 0]
    assert not strided[0].is_contiguous() and not spaced.is_contiguous()
    mask = masks("bool")["attn_mask"].T.contiguous().T
    for again in (module(*strided, attn_mask=mask), module(query, spaced, attn_mask=mask)):
        for actual, expected in zip(again, module(query, key, attn_mask=mask), strict=True):
            assert_close(actual, expected, TOLERANCE[dtype], "non-contiguous")


@pytest.mark.parametrize("null_key", [False, True], ids=["plain", "null"])
def test_empty_batch(null_key):
    module = make(null_key=null_key)
    query, key = (x[:0].requires_grad_() for x in tokens())
    result = module(query, key, key_mask=torch.ones(0, KEYS, dtype=torch.bool), attn_mask=masks("bool")["attn_mask"])
    assert result.output.shape == (0, QUERIES, 8)
    assert result.probs.shape == (0, HEADS, QUERIES, KEYS + null_key)
    result.output.sum().backward()
    assert query.grad.shape == query.shape and torch.equal(module.q_proj.weight.grad.unique(), torch.zeros(1).double())


def blind_oracle(module: CrossModalAttention, query: Tensor) -> tuple[Tensor, Tensor]:
    """Context and output of queries that see nothing but the null key, or nothing at all."""
    seen = module.null_value if module.has_null_key else torch.zeros(HEADS, module.head_dim, dtype=query.dtype)
    context = seen[None, :, None].expand(len(query), -1, query.shape[1], -1)
    return context, module.norm(query + module.out_proj(seen.flatten()))


@pytest.mark.parametrize("how", ["no keys", "key_mask", "bool", "float"])
@pytest.mark.parametrize("null_key", [False, True], ids=["plain", "null"])
def test_nothing_to_look_at(null_key, how):
    module = make(null_key=null_key)
    query, key = tokens(keys=0 if how == "no keys" else KEYS)
    key.requires_grad_()
    shape = (QUERIES, key.shape[1])
    made = {
        "no keys": {},
        "key_mask": {"key_mask": torch.zeros(BATCH, KEYS, dtype=torch.bool)},
        "bool": {"attn_mask": torch.zeros(shape, dtype=torch.bool)},
        "float": {"attn_mask": torch.full(shape, -math.inf)},
    }[how]
    result = module(query, key, **made)
    context, output = blind_oracle(module, query)
    assert_close(result.context, context, 1e-12, "context")
    assert_close(result.output, output, 1e-12, "output")
    total = torch.full((BATCH, HEADS, QUERIES), float(null_key), dtype=torch.float64)
    assert torch.equal(result.probs.sum(-1), total)
    assert torch.equal(result.scores[..., : key.shape[1]].isneginf().all(), torch.tensor(True))
    gradient, *rest = torch.autograd.grad(result.output.square().sum(), [key, *module.parameters()])
    assert not gradient.any()
    assert all(part.isfinite().all() for part in rest)


def test_only_the_rows_that_see_nothing_are_zero():
    module = make()
    query, key = tokens()
    mask = torch.ones(QUERIES, KEYS, dtype=torch.bool)
    mask[2] = False
    result = module(query, key, attn_mask=mask)
    assert not result.probs[:, :, 2].any()
    free = module(query, key)
    keep = [0, 1, 3]
    assert_close(result.probs[:, :, keep], free.probs[:, :, keep], 1e-12, "probs")
    assert_close(result.output[:, keep], free.output[:, keep], 1e-12, "output")


def test_one_key_gets_everything():
    module = make()
    query, key = tokens(keys=1)
    result = module(query, key)
    assert torch.equal(result.probs, torch.ones(BATCH, HEADS, QUERIES, 1, dtype=torch.float64))
    value = module.v_proj(key).unflatten(-1, (HEADS, -1)).transpose(1, 2)
    assert_close(result.context, value.expand_as(result.context), 1e-12, "context")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_keys_in_another_order_and_masked_keys(data):
    keys = data.draw(st.integers(1, 7))
    order = torch.tensor(data.draw(st.permutations(range(keys))))
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=keys, max_size=keys)))[None].expand(BATCH, -1)
    module = make(null_key=data.draw(st.booleans()))
    query, key = tokens(keys=keys, seed=data.draw(st.integers(0, 99)))
    result = module(query, key, key_mask=mask)
    assert not result.probs[..., :keys].masked_select(~mask[:, None, None]).any()
    shuffled = module(query, key[:, order], key_mask=mask[:, order])
    assert_close(shuffled.output, result.output, 1e-11, "output")
    assert_close(shuffled.probs[..., :keys], result.probs[..., order], 1e-11, "probs")
    without = module(query, key[:, mask[0]])
    assert_close(without.output, result.output, 1e-11, "masked keys might as well not be there")


def test_masks_of_every_rank_broadcast():
    module = make()
    query, key = tokens()
    mask = masks("bool")["attn_mask"]
    expected = module(query, key, attn_mask=mask).probs
    for same in (mask[None], mask[None, None], mask.expand(HEADS, -1, -1), mask.expand(BATCH, HEADS, -1, -1)):
        assert torch.equal(module(query, key, attn_mask=same).probs, expected)
    row = torch.arange(KEYS) < 3
    assert torch.equal(
        module(query, key, attn_mask=row).probs, module(query, key, key_mask=row.expand(BATCH, -1)).probs
    )


def test_dropout_is_on_in_training_mode_only():
    module = make(dropout=0.5, null_key=True)
    query, key = tokens()
    quiet = make(dropout=0.0, null_key=True)
    assert torch.equal(module(query, key).output, quiet(query, key).output)
    module.train()
    torch.manual_seed(5)
    result = module(query, key)
    torch.manual_seed(5)
    dropped = F.dropout(result.probs, 0.5)
    values = module.v_proj(key).unflatten(-1, (HEADS, -1)).transpose(1, 2)
    values = torch.cat([values, module.null_value[None, :, None].expand(BATCH, -1, -1, -1)], 2)
    assert torch.equal(result.probs, quiet(query, key).probs), "probs are those before dropout"
    assert_close(result.context, dropped @ values, 1e-12, "context")
    assert not torch.equal(module(query, key).context, result.context)


@pytest.mark.parametrize("null_key", [False, True], ids=["plain", "null"])
def test_state_dict_round_trip(null_key):
    module = make(null_key=null_key)
    other = make(null_key=null_key, seed=9)
    query, key = tokens()
    assert not torch.equal(other(query, key).output, module(query, key).output)
    assert any(name.startswith("null") for name in module.state_dict()) is null_key
    other.load_state_dict(module.state_dict())
    for again in (other, copy.deepcopy(module)):
        for actual, expected in zip(again(query, key), module(query, key), strict=True):
            assert torch.equal(actual, expected)
    with pytest.raises(RuntimeError, match="null_key"):
        make(null_key=not null_key).load_state_dict(module.state_dict())


def test_autocast():
    module = make(null_key=True).float()
    query, key = (x.float() for x in tokens())
    expected = module(query, key, **masks("key+bool"))
    with torch.autocast("cpu", torch.bfloat16):
        result = module(query, key, **masks("key+bool"))
    for name in ("output", "probs", "context", "scores"):
        assert_close(getattr(result, name), getattr(expected, name), TOLERANCE[torch.bfloat16], name)


def test_inputs_and_masks_are_left_alone():
    module = make(null_key=True)
    query, key = tokens()
    made = masks("key+float")
    before = [x.clone() for x in (query, key, *made.values())]
    module(query, key, **made)
    assert all(torch.equal(was, now) for was, now in zip(before, (query, key, *made.values()), strict=True))


@pytest.mark.parametrize("null_key", [False, True], ids=["plain", "null"])
@pytest.mark.parametrize("kind", ["none", "key", "key+float"])
def test_keys_and_values_may_be_worked_out_before(kind, null_key, monkeypatch):
    module = make(null_key=null_key)
    query, key = tokens()
    expected = module(query, key, **masks(kind))
    projected = module.project(key)
    monkeypatch.setattr(module.k_proj, "forward", None)  # would fail if it were called
    monkeypatch.setattr(module.v_proj, "forward", None)
    for part in (slice(None), slice(1, 3)):  # also for some of the queries
        made = masks(kind)
        if "attn_mask" in made:
            made["attn_mask"] = made["attn_mask"][part]
        result = module(query[:, part], key, **made, projected=projected)
        torch.testing.assert_close(result.output, expected.output[:, part])
        for name in ("context", "scores", "probs"):
            torch.testing.assert_close(getattr(result, name), getattr(expected, name)[:, :, part])


BAD_SIZES = {
    "query_dim=0": {"query_dim": 0},
    "key_dim=-1": {"query_dim": 4, "key_dim": -1},
    "num_heads=0": {"query_dim": 4, "num_heads": 0},
    "not divisible by `num_heads`=3": {"query_dim": 4, "num_heads": 3},
    "`attn_dim`=6": {"query_dim": 8, "num_heads": 4, "attn_dim": 6},
    "`dropout`=1.0": {"query_dim": 8, "dropout": 1.0},
    "`dropout`=-0.1": {"query_dim": 8, "dropout": -0.1},
    "`dropout`=nan": {"query_dim": 8, "dropout": math.nan},
}


@pytest.mark.parametrize("message", BAD_SIZES)
def test_sizes_that_do_not_fit(message):
    with pytest.raises(AttentionInputError, match=message):
        CrossModalAttention(**BAD_SIZES[message])


def bad_calls() -> dict[str, tuple[str, dict]]:
    query, key = tokens()
    ones = torch.ones
    return {
        "query width": ("`query` must be of shape", {"query": query[..., :5]}),
        "query rank": ("`query` must be of shape", {"query": query[0]}),
        "key width": (r"`key` must be of shape \(batch, tokens, 10\)", {"key": query}),
        "key rank": ("`key` must be of shape", {"key": key[None]}),
        "batches": ("batch of 3 and `key` of 2", {"key": key[:2]}),
        "projected": ("`projected` must be two tensors", {"projected": [ones(BATCH, HEADS, KEYS - 1, 4).double()] * 2}),
        "key_mask shape": ("`key_mask` must be bool of shape", {"key_mask": ones(BATCH, KEYS - 1).bool()}),
        "key_mask rank": ("`key_mask` must be bool", {"key_mask": ones(KEYS).bool()}),
        "key_mask dtype": ("torch.float32", {"key_mask": ones(BATCH, KEYS)}),
        "attn_mask shape": ("`attn_mask` must be bool or float", {"attn_mask": ones(QUERIES, KEYS + 1)}),
        "attn_mask transposed": ("broadcast to", {"attn_mask": ones(KEYS, QUERIES).bool()}),
        "attn_mask dtype": ("torch.int64", {"attn_mask": ones(QUERIES, KEYS).long()}),
        "attn_mask rank": ("broadcast", {"attn_mask": ones(1, 1, 1, QUERIES, KEYS)}),
        # Both broadcast with the scores, but would stretch them.
        "attn_mask wider": ("broadcast", {"key": key[:, :1], "attn_mask": ones(QUERIES, KEYS)}),
        "attn_mask deeper": ("broadcast", {"query": query[:1], "key": key[:1], "attn_mask": ones(5, 1, QUERIES, KEYS)}),
    }


@pytest.mark.parametrize("null_key", [False, True], ids=["plain", "null"])
@pytest.mark.parametrize("case", bad_calls())
def test_calls_that_do_not_fit(case, null_key):
    message, changed = bad_calls()[case]
    query, key = tokens()
    with pytest.raises(AttentionInputError, match=message) as caught:
        make(null_key=null_key)(**({"query": query, "key": key} | changed))
    assert isinstance(caught.value, CrossvizError | ValueError)


def test_only_keys_are_projected():
    query, _ = tokens()
    with pytest.raises(AttentionInputError, match=r"`key` must be of shape \(batch, tokens, 10\)"):
        make().project(query)


def test_masked_softmax():
    scores = torch.tensor([[0.0, math.log(3.0)], [-math.inf, 1.0], [-math.inf, -math.inf], [-1e30, -1e30]])
    expected = torch.tensor([[0.25, 0.75], [0.0, 1.0], [0.0, 0.0], [0.5, 0.5]])
    assert torch.allclose(masked_softmax(scores), expected)
    assert masked_softmax(torch.empty(2, 0)).shape == (2, 0)
