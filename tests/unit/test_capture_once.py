"""`capture(once=True)`: the tensors and output of the checked path from one computation, and when that is trusted."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from crossviz.capture import capture, sites
from crossviz.compat import import_timm
from crossviz.errors import CaptureError
from tests.towers import EVERYTHING, TOWERS, WIDTH, deviation, image, lively, multihead, tower, vision


@pytest.fixture
def alone(monkeypatch):
    """No site may be computed beside its own pass."""

    def refuse() -> None:
        def recompute(*_):
            raise AssertionError("computed beside the module's own pass")

        monkeypatch.setattr("crossviz.capture.recompute", recompute)

    return refuse


@pytest.fixture
def forwards(monkeypatch):
    """Counts the calls of nn.MultiheadAttention's own `forward`."""
    calls, own = [], nn.MultiheadAttention.forward

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
                average_attn_weights=True, is_causal=False):  # fmt: skip
        calls.append(self)
        return own(self, query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal)

    monkeypatch.setattr(nn.MultiheadAttention, "forward", forward)
    return calls


def once(module: nn.Module, *args, **options) -> Tensor:
    """The probs of one call of an nn.MultiheadAttention."""
    with torch.no_grad(), capture({"it": module}, keep=("probs",), once=True) as captured:
        module(*args, **options)
    return captured["it"].probs


@pytest.mark.parametrize("name", TOWERS)
def test_the_checked_path_s_tensors_and_the_model_s_output(name, alone):
    subject = tower(name)
    found = sites(subject.model)
    with torch.no_grad():
        expected = subject.run()
        with capture(found, keep=EVERYTHING) as checked:
            subject.run()
        with capture(found, keep=("probs",), once=True) as first:
            subject.run()
        alone()
        with capture(found, keep=EVERYTHING, once=True) as captured:
            actual = subject.run()
    assert deviation(actual, expected) <= 1e-5
    for site, call in captured.items():
        assert call.num_heads == checked[site].num_heads and 0 <= call.deviation <= 1e-5
        assert deviation(first[site].probs, checked[site].probs) <= 1e-5
        for field in set(EVERYTHING) - {"scores"}:
            assert deviation(getattr(call, field), getattr(checked[site], field)) <= 1e-5
        scores, others = call.scores, checked[site].scores
        assert torch.equal(scores.isneginf(), others.isneginf())
        assert deviation(scores.clamp(min=-1e9), others.clamp(min=-1e9)) <= 1e-5


def test_other_kinds():
    pytest.importorskip("transformers")
    from transformers import BlipTextConfig, BlipVisionConfig, ViltConfig
    from transformers.models.blip.modeling_blip import BlipAttention
    from transformers.models.blip.modeling_blip_text import BlipTextSelfAttention
    from transformers.models.vilt.modeling_vilt import ViltSelfAttention

    sizes = {"hidden_size": WIDTH, "num_attention_heads": 4, "attention_probs_dropout_prob": 0.0}
    x, y, mask = torch.randn(2, 5, WIDTH), torch.randn(2, 7, WIDTH), torch.zeros(2, 1, 1, 5)
    mask[1, ..., 3:] = torch.finfo(torch.float32).min
    text = BlipTextSelfAttention(BlipTextConfig(**sizes, encoder_hidden_size=WIDTH), is_cross_attention=True)
    vilt = ViltSelfAttention(ViltConfig(**sizes))
    calls = [
        (vilt, lambda: vilt(x, mask)),
        (vilt, lambda: vilt(x, None, output_attentions=True)),
        (image_attention := BlipAttention(BlipVisionConfig(**sizes)), lambda: image_attention(x)),
        (text, lambda: text(x, encoder_hidden_states=y)),
    ]
    for module, call in calls:
        lively(module)
        with torch.no_grad():
            expected = call()
            with capture({"it": module}) as checked:
                call()
            for rows in (None, [0, -1]):
                with capture({"it": module}, once=True, rows=rows) as captured:
                    actual = call()
                assert len(actual) == len(expected)
                assert all(deviation(a, b) <= 1e-5 for a, b in zip(actual, expected, strict=True))
                for field in ("scores", "probs"):
                    whole = getattr(checked["it"], field)
                    torch.testing.assert_close(
                        getattr(captured["it"], field), whole if rows is None else whole[:, :, rows]
                    )


@pytest.mark.parametrize("options", [{"once": True}, {}], ids=["once", "beside"])
@pytest.mark.parametrize("rows", [slice(0, 1), slice(None, None, 3), [0, -1, 7], []], ids=str)
def test_some_rows_in_another_precision(rows, options):
    subject = tower("text, both ways, padded")
    found = sites(subject.model)
    with torch.no_grad():
        expected = subject.run()
        with capture(found) as whole:
            subject.run()
        for dtype in (None, torch.float16, torch.bfloat16, torch.float64):
            with capture(found, rows=rows, dtype=dtype, **options) as captured:
                actual = subject.run()
            assert deviation(actual, expected) <= 1e-5
            for name, call in captured.items():
                for field in ("scores", "probs"):
                    part, all_rows = getattr(call, field), getattr(whole[name], field)
                    assert part.dtype == (dtype or torch.float32)
                    assert part.untyped_storage().nbytes() == part.nbytes, "the other rows are not kept"
                    torch.testing.assert_close(
                        part.double(), all_rows[:, :, rows].to(dtype or torch.float32).double(), rtol=1e-2, atol=1e-2
                    )
            with capture(found, dtype=dtype, keep=("probs",), **options) as captured:
                subject.run()
            probs = captured[next(iter(found))].probs
            torch.testing.assert_close(probs.sum(-1).double(), torch.ones(probs.shape[:3]).double(), rtol=0, atol=0.02)


def test_rows_that_are_not_there_or_not_possible():
    module, x = multihead(batch_first=True), torch.randn(1, 3, WIDTH)
    for is_once in (False, True):
        with (
            torch.no_grad(),
            pytest.raises(CaptureError, match="'it' can't be captured: row 3 was asked for, and it has 3 queries"),
            capture({"it": module}, once=is_once, rows=[3]),
        ):
            module(x, x, x)
    with pytest.raises(CaptureError, match="`substitute` needs all rows"), capture({}, substitute=True, rows=[0]):
        pass


# --- What is trusted, and how long ------------------------------------------------------------------------------------


def test_own_forward_runs_once_in_each_situation(forwards):
    module, x, y = multihead(batch_first=True), torch.randn(2, 5, WIDTH), torch.randn(2, 4, WIDTH)

    def checks(*args, **options) -> int:
        """How often `forward` runs in two calls; that the probs are right."""
        forwards.clear()
        for _ in range(2):
            probs = once(module, *args, **options)
        count = len(forwards)
        with torch.no_grad():
            expected = module(*args, **options | {"need_weights": True, "average_attn_weights": False})[1]
        torch.testing.assert_close(probs, expected.to(probs.dtype))
        return count

    assert checks(x, x, x) == 1
    assert checks(y, y, y) == 0, "of another size"
    assert checks(x, x, x, need_weights=False) == 1
    assert checks(x, y, y) == 1
    assert checks(x, x, x, attn_mask=torch.ones(5, 5).triu(1).bool()) == 1
    assert checks(x, x, x, attn_mask=torch.randn(5, 5)) == 1
    assert checks(x, x, x) == 0
    with torch.no_grad():
        module.in_proj_weight.mul_(0.5)
    assert checks(x, x, x) == 1
    module.in_proj_weight = nn.Parameter(module.in_proj_weight.detach() + 0.1)
    assert checks(x, x, x) == 1
    module.train()
    assert checks(x, x, x) == 1
    module.num_heads, module.head_dim = 2, WIDTH // 2
    assert checks(x, x, x) == 1
    with torch.autocast("cpu", torch.bfloat16):
        forwards.clear()
        assert once(module, x, x, x).dtype == torch.float32 and len(forwards) == 1
    module.double()
    assert checks(*[x.double()] * 3) == 1


def test_a_forward_that_computes_something_else_is_refused(monkeypatch):
    module, x = multihead(batch_first=True), torch.randn(2, 5, WIDTH)
    once(module, x, x, x)
    own = nn.MultiheadAttention.forward

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
                average_attn_weights=True, is_causal=False):  # fmt: skip
        output, weights = own(self, query, key, value, key_padding_mask, need_weights, attn_mask)
        return output * 1.001, weights

    monkeypatch.setattr(nn.MultiheadAttention, "forward", forward)
    for _ in range(2):
        with pytest.raises(CaptureError, match=r"'it'.*deviates from its own output"):
            once(module, x, x, x)


def test_a_forward_that_returns_something_else_is_computed_beside():
    base = import_timm().layers.Attention

    def forward(self, x, attn_mask=None, is_causal=False):
        return base.forward(self, x, attn_mask, is_causal).half()

    module = lively(type("Attention", (base,), {"forward": forward, "__module__": base.__module__})(WIDTH, 4))
    x = torch.randn(2, 5, WIDTH)
    with torch.no_grad():
        expected = module(x)
    for _ in range(2):
        assert torch.equal(once_output(module, x), expected) and expected.dtype == torch.float16


def once_output(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad(), capture({"it": module}, once=True):
        return module(x)


@pytest.mark.parametrize("where", ["on the site", "on a part", "on a part, before", "everywhere, before"])
def test_hooks_of_others_see_the_module_s_own_call(where):
    module, x = lively(import_timm().layers.Attention(WIDTH, 4)), torch.randn(2, 5, WIDTH)
    with torch.no_grad():
        expected, fired = once_output(module, x), []
        if where == "everywhere, before":
            note = lambda one, _: fired.append(1) if one is module.proj else None  # noqa: E731
            handle = torch.nn.modules.module.register_module_forward_pre_hook(note)
        elif where == "on the site":
            handle = module.register_forward_hook(lambda *_: fired.append(1))
        elif where == "on a part":
            handle = module.proj.register_forward_hook(lambda *_: fired.append(1))
        else:
            handle = module.qkv.register_forward_pre_hook(lambda *_: fired.append(1))
        try:
            assert torch.allclose(once_output(module, x), expected, atol=1e-6) and fired == [1]
        finally:
            handle.remove()
        module.register_forward_hook(lambda _, __, result: result * 1.001)
        with pytest.raises(CaptureError, match="deviates from its own output"):
            once_output(module, x)


def test_with_gradients_it_is_the_checked_path():
    model = vision()
    expected = model(image())
    with capture(sites(model), once=True, substitute=True) as captured:
        output = model(image())
    assert deviation(output, expected) <= 1e-5
    assert all(g.any() for g in torch.autograd.grad(output.square().sum(), [c.probs for c in captured.values()]))


def test_masks_that_leave_a_query_without_a_key():
    """Modules differ in what they give for it: it's theirs to say."""
    model = lively(import_timm().layers.Attention(WIDTH, 4))
    x, mask = torch.randn(2, 5, WIDTH), torch.ones(2, 1, 5, 5, dtype=torch.bool)
    with torch.no_grad(), capture({"it": model}, once=True) as captured:
        for hidden in (slice(0, 0), slice(3, 5), slice(0, 5)):
            mask[:, :, 1, hidden] = False
            output = model(x, mask)
        expected = model(x, mask)
    seen = captured.calls("it")
    assert torch.equal(output, expected)
    assert seen[1].probs[:, :, 1, 3:].max() == 0 and seen[1].probs[:, :, 1, :3].min() > 0
    assert torch.equal(seen[2].probs[:, :, 1], torch.zeros(2, 4, 5))
    module = multihead(batch_first=True)
    for _ in range(2):
        with pytest.raises(CaptureError, match="not finite"):
            once(module, x, x, x, key_padding_mask=torch.ones(2, 5, dtype=torch.bool))


# --- Nothing is left, and nobody else is touched ----------------------------------------------------------------------


def untouched(model: nn.Module) -> bool:
    return not any("forward" in vars(part) or part._forward_hooks for part in model.modules())


def end_well(model: nn.Module) -> None:
    model(image())


def end_in_the_model(model: nn.Module) -> None:
    model(image(2, 8, 8))


def end_in_the_block(model: nn.Module) -> None:
    model(image())
    raise KeyboardInterrupt


def end_in_the_check(model: nn.Module) -> None:
    model(image() * torch.nan)


@pytest.mark.parametrize("end", [end_well, end_in_the_model, end_in_the_block, end_in_the_check])
@pytest.mark.parametrize("trusted", [False, True], ids=["first", "trusted"])
def test_nothing_is_left_behind(end: Callable[[nn.Module], None], trusted):
    model = vision()
    weights = {name: (weight.clone(), weight._version) for name, weight in model.state_dict().items()}
    with torch.inference_mode():
        expected = model(image())
        if trusted:
            with capture(sites(model), once=True):
                model(image())
        try:
            with capture(sites(model), once=True) as captured:
                assert all("forward" in vars(module) for module in sites(model).values())
                end(model)
        except (KeyboardInterrupt, CaptureError, RuntimeError) as error:
            assert end is not end_well, error
            assert "not finite" in str(error) or end is not end_in_the_check
        else:
            assert end is end_well
        assert untouched(model)
        assert torch.equal(model(image()), expected)
    assert all(len(captured.calls(name)) <= 1 for name in captured)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, weights[name][0]) and weight._version == weights[name][1]


def test_a_site_within_another_capture_of_it_and_one_refused_on_entering():
    model = vision()
    found = sites(model)
    with torch.no_grad():
        with capture(found, once=True) as outer, capture(found, once=True) as inner:
            model(image())
        for name in found:
            assert deviation(outer[name].probs, inner[name].probs) <= 1e-5
        model.transformer.resblocks[1].attn.add_zero_attn = True
        with pytest.raises(CaptureError, match=r"resblocks\.1\.attn"), capture(found, once=True):
            pass
    assert untouched(model)


def test_threads_on_one_model_see_only_their_own():
    model = vision()
    found = sites(model)
    inputs = [torch.randn(1 + i, 3, 32, 48, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    with torch.no_grad():
        expected = []
        for pixels in inputs:
            with capture(found) as captured:
                output = model(pixels)
            expected.append((output, [call.probs for call in captured.values()]))
    barrier, failures = threading.Barrier(4), []

    def work(i: int) -> None:
        try:
            barrier.wait(30)
            for _ in range(10):
                with torch.no_grad():
                    if i == 3:  # without a capture of its own: its very own output
                        assert torch.equal(model(inputs[i]), expected[i][0])
                        continue
                    with capture(found, once=i < 2) as captured:
                        output = model(inputs[i])
                assert deviation(output, expected[i][0]) <= 1e-5
                for call, probs in zip(captured.values(), expected[i][1], strict=True):
                    assert deviation(call.probs, probs) <= 1e-5
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == [] and untouched(model)


def test_what_is_done_with_each_call():
    module, x, seen = multihead(batch_first=True), torch.randn(1, 3, WIDTH), []
    with torch.no_grad(), capture({"it": module}, keep=("single",), each=seen.append, once=True) as captured:
        own = [module(x, x, x, average_attn_weights=False)[1][0] for _ in range(2)]
    assert captured.calls("it") == () and len(seen) == 2
    for call, expected in zip(seen, own, strict=True):
        assert torch.equal(call.single, expected)
        with pytest.raises(CaptureError, match="probs of site 'it' were not kept"):
            call.probs  # noqa: B018


def test_what_is_kept_is_not_changed_by_what_the_model_does_with_the_output():
    module, x = lively(import_timm().layers.Attention(WIDTH, 4)), torch.randn(2, 5, WIDTH)
    for _ in range(2):
        with torch.no_grad(), capture({"it": module}, keep=EVERYTHING, once=True) as captured:
            output = module(x)
        held = captured["it"].output.clone()
        output.zero_()
        assert torch.equal(captured["it"].output, held) and held.any()
