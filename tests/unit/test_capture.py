"""`capture`: gradients through what it captures, nothing left behind, nobody else's data."""

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from crossviz.capture import TOLERANCES, Captured, SiteCapture, capture, sites, uncovered
from crossviz.compat import import_open_clip, import_timm
from crossviz.errors import CaptureError
from tests.towers import EVERYTHING, HEADS, TOWERS, WIDTH, deviation, image, lively, multihead, timm_vit, tower, vision


@pytest.mark.parametrize("name", TOWERS)
def test_substituted_output_is_the_model_s_and_so_are_all_gradients(name):
    subject = tower(name)
    expected = subject.run()
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(5))
    parameters = [p for p in subject.model.parameters() if p.requires_grad]
    plain = torch.autograd.grad((expected * weight).sum(), parameters, allow_unused=True)
    with capture(sites(subject.model), substitute=True) as captured:
        actual = subject.run()
    assert deviation(actual, expected) <= 1e-4
    loss = (actual * weight).sum()
    by_probs = torch.autograd.grad(loss, [captured[n].probs for n in captured], retain_graph=True, allow_unused=True)
    reached = {n for n, gradient in zip(captured, by_probs, strict=True) if gradient is not None and gradient.any()}
    assert reached == set(captured)
    again = torch.autograd.grad(loss, parameters, allow_unused=True)
    largest = max(g.abs().max() for g in plain if g is not None)
    for was, now in zip(plain, again, strict=True):
        assert (was is None) == (now is None)
        assert was is None or (was - now).abs().max() <= 1e-4 * largest


def naive_vision(model: nn.Module, pixels: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """open_clip's VisionTransformer written out, with its scores and probs as tensors of their own."""
    x = model.conv1(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([model.class_embedding.expand(len(x), 1, -1), x], 1) + model.positional_embedding
    x = model.ln_pre(x)
    all_scores, all_probs = [], []
    for block in model.transformer.resblocks:
        attention, y = block.attn, block.ln_1(x)
        q, k, v = (y @ attention.in_proj_weight.T + attention.in_proj_bias).split(WIDTH, -1)
        q, k, v = (z.reshape(len(z), -1, HEADS, WIDTH // HEADS).permute(0, 2, 1, 3) for z in (q, k, v))
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / (WIDTH // HEADS) ** 0.5
        powers = scores.exp()
        probs = powers / powers.sum(-1, keepdim=True)
        all_scores.append(scores)
        all_probs.append(probs)
        joined = torch.einsum("bhqk,bhkd->bqhd", probs, v).reshape(y.shape)
        x = x + joined @ attention.out_proj.weight.T + attention.out_proj.bias
        x = x + block.mlp(block.ln_2(x))
    return model.ln_post(x)[:, 0] @ model.proj, all_scores, all_probs


def test_gradients_through_substituted_probs_are_those_of_the_network_written_out():
    model = vision().double()
    pixels = image().double()
    direction = torch.randn(16, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    output, scores, probs = naive_vision(model, pixels)
    expected = torch.autograd.grad((output @ direction).sum(), [*scores, *probs])
    with capture(sites(model), substitute=True) as captured:
        similarity = (model(pixels) @ direction).sum()
    tensors = [captured[n].scores for n in captured] + [captured[n].probs for n in captured]
    actual = torch.autograd.grad(similarity, tensors)
    for was, now in zip(expected, actual, strict=True):
        assert was.abs().max() > 0
        assert deviation(now, was) <= 1e-9


def test_gradients_of_captured_probs_reach_the_input_without_substitution():
    model = vision().double()
    pixels = image().double().requires_grad_()
    _, _, naive = naive_vision(model, pixels)
    pick = torch.randn(naive[1].shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    expected = torch.autograd.grad((naive[1] * pick).sum(), pixels)[0]
    with capture(sites(model)) as captured:
        output = model(pixels)
    last = captured["transformer.resblocks.1.attn"].probs
    assert deviation(torch.autograd.grad((last * pick).sum(), pixels, retain_graph=True)[0], expected) <= 1e-9
    # The model went on with its own output, which does not come from these probs.
    assert torch.autograd.grad(output.sum(), last, allow_unused=True) == (None,)


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_substituted_weights_have_the_gradient_path_that_torch_s_lack(batch_first, average):
    module = multihead(batch_first=batch_first)
    x = torch.randn(3, 5, WIDTH)
    expected, expected_weights = module(x, x, x, average_attn_weights=average)
    with capture({"it": module}, substitute=True) as captured:
        output, weights = module(x, x, x, average_attn_weights=average)
    assert deviation(output, expected) <= 1e-5 and deviation(weights, expected_weights) <= 1e-5
    assert output.is_contiguous()
    for result in (output.sum(), weights.square().sum()):
        assert torch.autograd.grad(result, captured["it"].probs, retain_graph=True)[0].any()


def test_autocast():
    subject = tower("vision")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = subject.run()
        with capture(sites(subject.model), keep=EVERYTHING, substitute=True) as captured:
            actual = subject.run()
    assert actual.dtype == expected.dtype and deviation(actual, expected) < 0.1
    assert all(seen.deviation <= TOLERANCES[torch.bfloat16] for seen in captured.values())
    assert all(seen.probs.dtype == torch.float32 for seen in captured.values())


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["scale", "shape", "one value"])
def test_an_output_that_is_not_the_attention_s_is_refused(change):
    model = vision()
    module = model.transformer.resblocks[1].attn

    def alter(_, __, result):
        if change == "scale":
            return result[0] * 1.001, None
        if change == "shape":
            return result[0][:1], None
        changed = result[0].clone()
        changed[1, 2, 3] += 1e-4 * changed.abs().max()
        return changed, None

    handle = module.register_forward_hook(alter)
    message = "has .*" if change == "shape" else r"deviates from its own output by \d"
    with (
        torch.no_grad(),
        pytest.raises(CaptureError, match=rf"'transformer.resblocks.1.attn'.*{message}"),
        capture(sites(model)),
    ):
        model(image())
    handle.remove()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_calls_that_can_t_be_recomputed():
    module = multihead(batch_first=True)
    x = torch.randn(2, 5, WIDTH)

    def refused_call(message: str, *args, module: nn.Module = module, **kwargs) -> None:
        expected = pytest.raises(CaptureError, match=f"Site 'it' can't be captured: .*{message}")
        with torch.no_grad(), expected, capture({"it": module}):
            module(*args, **kwargs)

    refused_call("not finite", *[x * torch.nan] * 3)
    refused_call("not finite", x, x, x, key_padding_mask=torch.ones(2, 5, dtype=torch.bool))
    nested = torch.nested.as_nested_tensor([torch.randn(3, WIDTH), torch.randn(4, WIDTH)])
    refused_call("nested tensors", nested, nested, nested)
    rounded = module.register_forward_hook(lambda _, __, result: (result[0].int(), None))
    refused_call("output is torch.int32; run the model in torch.float64", x, x, x)
    rounded.remove()
    with capture({"it": module}) as captured:
        module(x, x, x)
    assert len(captured.calls("it")) == 1


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("nested", [True, False])
def test_an_encoder_with_padding(nested):
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True)
    encoder = lively(nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested))
    x, padding = torch.randn(2, 5, WIDTH), torch.arange(5) >= torch.tensor([[5], [3]])
    with torch.no_grad():
        expected = encoder(x, src_key_padding_mask=padding)
        if nested:
            with pytest.raises(CaptureError, match="enable_nested_tensor=False"), capture(sites(encoder)):
                encoder(x, src_key_padding_mask=padding)
        else:
            with capture(sites(encoder)) as captured:
                encoder(x, src_key_padding_mask=padding)
            assert all(not seen.probs[1, :, :, 3:].any() for seen in captured.values())
        assert torch.equal(encoder(x, src_key_padding_mask=padding), expected)


def newer_version(forward: Callable) -> nn.Module:
    """A module whose class has the place and the name of timm's, with another `forward`."""
    base = import_timm().layers.Attention
    cls = type("Attention", (base,), {"forward": forward, "__module__": base.__module__})
    return lively(cls(WIDTH, HEADS))


def test_an_argument_that_a_newer_version_adds():
    base = import_timm().layers.Attention

    def forward(self, x, attn_mask=None, is_causal=False, rope=None):
        return base.forward(self, x if rope is None else x + rope, attn_mask, is_causal)

    def other_forward(self, x, rope):
        return base.forward(self, x + rope)

    x = torch.randn(2, 5, WIDTH)
    module = newer_version(forward)
    with capture({"it": module}) as captured:
        module(x)
    assert captured["it"].deviation <= 1e-5
    with pytest.raises(CaptureError, match=r"'it' .* called with `rope`"), capture({"it": module}):
        module(x, rope=x)
    assert "its `forward` takes `rope`" in uncovered(newer_version(other_forward))[""]


# --- What `capture` gives back ---------------------------------------------------------------------------------------


def test_only_what_is_asked_for_is_kept():
    subject = tower("vision")
    found = sites(subject.model)

    def alive() -> int:
        gc.collect()
        return sum(type(x) is Tensor and x.shape == (2, HEADS, 25, 25) for x in gc.get_objects())

    before = alive()
    for keep, kept in (((), 0), (("probs",), 2), (("scores", "probs"), 4)):
        with torch.no_grad(), capture(found, keep=keep) as captured:
            subject.run()
        assert alive() - before == kept
        seen = captured["transformer.resblocks.0.attn"]
        assert isinstance(seen, SiteCapture)
        for name in EVERYTHING:
            if name in keep:
                assert torch.is_tensor(getattr(seen, name)) and name in repr(seen)
            else:
                with pytest.raises(CaptureError, match=f"{name} of site 'transformer.resblocks.0.attn' were not kept"):
                    getattr(seen, name)
        del captured, seen
    assert alive() == before


@pytest.mark.parametrize("keep", ["probs", ["weights"], ("probs", "attention")])
def test_keep_must_name_what_there_is(keep):
    with pytest.raises(CaptureError, match="`keep` must hold some of queries, keys"), capture({}, keep=keep):
        pass


def test_a_site_called_often_or_never_or_unknown():
    module, other = multihead(batch_first=True), multihead()
    x, y = torch.randn(1, 3, WIDTH), torch.randn(2, 4, WIDTH)
    with capture({"it": module, "other": other}) as captured:
        module(x, x, x)
        module(y, y, y)
    assert isinstance(captured, Captured)
    assert [seen.probs.shape[0] for seen in captured.calls("it")] == [1, 2]
    assert captured.calls("other") == () and list(captured) == ["it", "other"] and len(captured) == 2
    with pytest.raises(CaptureError, match=r"'it' was called 2 times .* calls\('it'\)"):
        captured["it"]
    with pytest.raises(CaptureError, match="'other' was not called"):
        captured["other"]
    with pytest.raises(CaptureError, match="No site 'nowhere' was captured; there are: it, other"):
        captured["nowhere"]
    assert "nowhere" not in captured and "it" in captured


def test_one_module_under_two_names():
    module = multihead()
    with pytest.raises(CaptureError, match="'a' and 'b' are the same module"), capture({"a": module, "b": module}):
        pass


def test_captures_in_one_another():
    subject = tower("vision")
    found = sites(subject.model)
    name = "transformer.resblocks.1.attn"
    with torch.no_grad(), capture(found) as outer:
        subject.run()
        with capture({name: found[name]}, substitute=True) as inner:
            subject.run()
        subject.run()
    assert len(outer.calls(name)) == 3 and len(inner.calls(name)) == 1
    assert torch.equal(inner[name].probs, outer.calls(name)[1].probs)


def test_a_substitute_changed_in_place_does_not_change_what_was_captured():
    import_open_clip()
    from open_clip.transformer import LayerScale, ResidualAttentionBlock

    block = lively(ResidualAttentionBlock(WIDTH, HEADS, ls_init_value=0.1))
    block.ls_1 = lively(LayerScale(WIDTH, inplace=True))
    x = torch.randn(2, 5, WIDTH)
    with torch.no_grad():
        expected = block(x)
        with capture(sites(block), keep=EVERYTHING, substitute=True) as captured:
            actual = block(x)
        y = block.ln_1(x)
        attended = block.attn(y, y, y)[0]
    assert deviation(actual, expected) <= 1e-5
    assert deviation(captured["attn"].output, attended) <= 1e-5


# --- Nothing is left behind ------------------------------------------------------------------------------------------


def snapshot(model: nn.Module) -> dict:
    state = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if "hook" in key:
                state[name, key] = None if value is None else list(value.items()) if hasattr(value, "items") else value
            elif not key.startswith("_"):
                state[name, key] = value
        state[name, "vars"] = sorted(vars(module))
        state[name, "grad"] = [(p.requires_grad, p.data_ptr(), p._version) for p in module.parameters(recurse=False)]
    return state


def tensors(model: nn.Module) -> list[Tensor]:
    found = [*model.parameters(), *model.buffers()]
    found += [p.grad for p in model.parameters() if p.grad is not None]
    return [tensor.detach().clone() for tensor in found]


class Stop(BaseException):
    """Not even an Exception, as Ctrl-C."""


def end_well(model: nn.Module) -> None:
    model(image())


def end_in_the_model(model: nn.Module) -> None:
    model(image(2, 8, 8))


def end_in_the_block(model: nn.Module) -> None:
    model(image())
    raise Stop


def end_in_the_check(model: nn.Module) -> None:
    model(image() * torch.nan)


@pytest.mark.parametrize("substitute", [False, True], ids=["own", "substitute"])
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("end", [end_well, end_in_the_model, end_in_the_block, end_in_the_check])
def test_nothing_is_left_behind(end, train, substitute):
    model = vision(attentional_pool=True, attn_pooler_queries=5).train(train)
    model(image()).sum().backward()
    model.conv1.weight.requires_grad_(False)
    model.transformer.resblocks[1].attn.eval()
    fired = []
    model.transformer.resblocks[0].attn.register_forward_hook(lambda *_: fired.append(1))
    before, held = snapshot(model), tensors(model)
    try:
        with capture(sites(model), keep=EVERYTHING, substitute=substitute) as captured:
            end(model)
    except (Stop, CaptureError, RuntimeError) as error:
        assert end is not end_well, error
    else:
        assert end is end_well
        similarity = captured["attn_pool.attn"].probs.square().sum()
        torch.autograd.grad(similarity, [seen.probs for seen in captured.values()], allow_unused=True)
    assert snapshot(model) == before
    after = tensors(model)
    assert len(after) == len(held) and all(map(torch.equal, after, held))
    count = len(fired)
    model(image())
    assert len(fired) == count + 1
    if end is end_well:
        assert len(captured.calls("attn_pool.attn")) == 1, "the block is over"


def test_nothing_is_left_behind_when_a_site_is_refused_on_entering():
    model = vision()
    model.transformer.resblocks[1].attn.add_zero_attn = True
    before = snapshot(model)
    named = {name: module for name, module in model.named_modules() if isinstance(module, nn.MultiheadAttention)}
    with pytest.raises(CaptureError, match=r"resblocks\.1\.attn"), capture(named):
        pass
    assert snapshot(model) == before


def test_hooks_on_the_pooler_s_parts_run_once():
    model = timm_vit("vit_base_patch16_siglip_224")
    fired = []
    for part in (model.attn_pool.mlp, model.attn_pool.norm, model.attn_pool.q, model.blocks[0].attn.proj):
        part.register_forward_hook(lambda module, *_: fired.append(type(module)))
    with capture(sites(model)):
        model(image())
    assert len(fired) == 4


# --- Several at once -------------------------------------------------------------------------------------------------


def test_threads_on_one_model_see_only_their_own():
    model = vision()
    found = sites(model)
    inputs = [torch.randn(1 + i, 3, 32, 48, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    with torch.no_grad():
        expected = []
        for pixels in inputs:
            with capture(found) as captured:
                output = model(pixels)
            expected.append((output, [captured[name].probs for name in captured]))
    before = snapshot(model)
    barrier, failures = threading.Barrier(3), []

    def work(i: int) -> None:
        try:
            barrier.wait(30)
            for _ in range(15):
                with torch.no_grad():
                    if i == 2:  # without a capture of its own
                        assert torch.equal(model(inputs[i]), expected[i][0])
                        continue
                    with capture(found, substitute=i == 1) as captured:
                        output = model(inputs[i])
                assert deviation(output, expected[i][0]) <= 1e-5
                for name, probs in zip(captured, expected[i][1], strict=True):
                    assert deviation(captured[name].probs, probs) <= 1e-5
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert snapshot(model) == before


def test_a_capture_that_ends_while_another_thread_is_inside_the_site():
    """torch then calls the hook that is gone, without the keyword arguments that it asked for."""
    module = multihead(batch_first=True)
    x = torch.randn(1, 3, WIDTH)
    inside, over = threading.Event(), threading.Event()

    def wait(*_) -> None:
        inside.set()
        assert over.wait(30)

    blocker = module.register_forward_hook(wait)
    results = []

    def work() -> None:
        try:
            results.append(module(x, x, x)[0])
        except BaseException as error:
            results.append(error)

    with capture({"it": module}) as captured:
        thread = threading.Thread(target=work)
        thread.start()
        assert inside.wait(30)
    over.set()
    thread.join(30)
    blocker.remove()
    assert torch.equal(results[0], module(x, x, x)[0])
    assert captured.calls("it") == ()


def test_asyncio_tasks_see_only_their_own():
    module = multihead(batch_first=True)

    async def task(batch: int) -> int:
        x = torch.randn(batch, 3, WIDTH)
        with capture({"it": module}) as captured:
            await asyncio.sleep(0.01)
            await asyncio.to_thread(module, x, x, x)
            await asyncio.sleep(0.01)
        return captured["it"].probs.shape[0]

    async def both() -> list[int]:
        return await asyncio.gather(task(1), task(2))

    with ThreadPoolExecutor(1) as pool:  # a loop of its own: this thread may have the browser tests' one
        assert pool.submit(asyncio.run, both()).result() == [1, 2]
    assert len(module._forward_hooks) == 0


def test_what_is_done_with_each_call_takes_the_place_of_keeping_it():
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(1, 3, 8)
    seen = []
    with torch.no_grad(), capture({"one": attention}, keep=("probs",), each=seen.append) as captured:
        own = [attention(x, x, x, average_attn_weights=False)[1] for _ in range(2)]
    assert captured.calls("one") == () and [call.name for call in seen] == ["one", "one"]
    for call, expected in zip(seen, own, strict=True):
        torch.testing.assert_close(call.probs, expected)

    def fail(call):
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), capture({"one": attention}, each=fail):
        attention(x, x, x)
    assert not attention._forward_hooks
