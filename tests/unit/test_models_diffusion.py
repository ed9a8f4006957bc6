"""The family diffusers, on small pipelines of every kind: exact attention, the picture it draws, no trace left."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from small_pipelines import KINDS, LENGTH, autoencoder, build, model_of, pipeline_folder
from torch.nn import functional as F

from crossviz import generator
from crossviz.capture import capture
from crossviz.errors import CaptionError, CaptureError, SettingsError
from crossviz.generation import Generation, Progress
from crossviz.models import diffusion_maps
from crossviz.models.diffusion import MAX_FRAMES
from crossviz.models.diffusion_kinds import text_sites
from crossviz.models.diffusion_load import load
from crossviz.models.diffusion_settings import chosen, most_steps
from crossviz.models.generators import Settings

CAPTION = "a red cube, left of zz sphere"
WIDTH, HEIGHT = 48, 32
"""Latents of 24 x 16; the UNets' layers stand at 24 x 16 and 12 x 8, the transformers' at 12 x 8."""
OWN_OPTIONS: dict[str, dict[str, Any]] = {
    "sd": {},
    "sdxl": {},
    "pixart": {"clean_caption": False, "use_resolution_binning": False, "max_sequence_length": LENGTH},
    "sd3": {"max_sequence_length": LENGTH},
    "flux": {"max_sequence_length": LENGTH},
    "lcm": {},
    "heun": {},
}
OWN_OPTIONS["pixart_alpha"] = OWN_OPTIONS["pixart"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    found = {}
    for kind in KINDS:
        folder = pipeline_folder(tmp_path_factory.mktemp("pipelines") / kind, kind)
        found[kind] = generator.load_generator(f"diffusers:{folder}", "cpu")
    return found


@pytest.fixture(scope="module")
def pipes():
    """The same pipelines as diffusers runs them, for tests that leave them as they are."""
    return {kind: build(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def drawings(models):
    """What each model draws of CAPTION with seed 0, in `drawn`'s size and steps: progress and result."""
    return {kind: drawn(model) for kind, model in models.items()}


def denoiser(pipe):
    return pipe.components.get("unet") or pipe.components["transformer"]


def own_picture(pipe, kind, steps=3, seed=0, wh=(WIDTH, HEIGHT), **options):
    """What the pipeline draws when it is called as its documentation says."""
    result = pipe(
        CAPTION, width=wh[0], height=wh[1], num_inference_steps=steps, output_type="np",
        generator=torch.Generator().manual_seed(seed), **OWN_OPTIONS[kind], **options,
    )  # fmt: skip
    return torch.from_numpy((result.images[0] * 255).round().astype("uint8"))


def drawn(model, **settings):
    settings = {"steps": 3, "size_wh": (WIDTH, HEIGHT), **settings}
    *progress, last = model.draw(CAPTION, Settings(**settings))
    assert isinstance(last, Generation) and all(isinstance(each, Progress) for each in progress)
    return progress, last


# The attention is the modules' own ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_captured_probabilities_times_values_are_each_modules_own_output(pipes, kind):
    pipe = pipes[kind]
    sites = text_sites(denoiser(pipe))
    calls, outputs, handles = {}, {}, []
    for name, module in sites.items():
        handles.append(module.register_forward_hook(lambda m, a, out, name=name: outputs.setdefault(name, out)))
    with torch.no_grad(), capture(sites, keep=("probs", "values"), each=lambda c: calls.setdefault(c.name, c)):
        own_picture(pipe, kind, steps=1)
    for handle in handles:
        handle.remove()
    assert set(calls) == set(outputs) == set(sites)
    for name, module in sites.items():
        probs, own = calls[name].probs, outputs[name]
        torch.testing.assert_close(probs.sum(-1), torch.ones_like(probs[..., 0]))
        context = (probs @ calls[name].values).transpose(1, 2).flatten(2)
        if not isinstance(own, tuple):
            project = getattr(module, "to_out", None)
            made, expected = (context if project is None else project[0](context)), own
        else:  # two streams; the image's output comes first
            text = own[1].shape[1]
            of_image, of_text = (
                (context[:, :-text], context[:, -text:]) if kind == "sd3" else (context[:, text:], context[:, :text])
            )
            of_text = of_text if getattr(module, "context_pre_only", False) else module.to_add_out(of_text)
            made, expected = torch.cat([module.to_out[0](of_image), of_text], 1), torch.cat(own, 1)
        assert (made - expected).abs().max() <= 1e-5 * expected.abs().max()


class Recorder:
    """diffusers' oldest processor, which has the probabilities at hand, and keeps them."""

    def __init__(self):
        self.kept = []

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **rest):
        from diffusers.models.attention_processor import AttnProcessor

        scores, found = type(attn).get_attention_scores, []
        attn.get_attention_scores = lambda *given: found.append(scores(attn, *given)) or found[0]
        try:
            out = AttnProcessor()(attn, hidden_states, encoder_hidden_states, attention_mask, **rest)
        finally:
            del attn.get_attention_scores
        self.kept.append(found[0].unflatten(0, (-1, attn.heads)))  # batch head query key
        return out


@pytest.mark.parametrize("guidance", [7.5, 1.0])
@pytest.mark.parametrize("kind", ["sd", "sdxl", "pixart"])
def test_maps_are_what_daam_computes_from_diffusers_own_probabilities(models, kind, guidance):
    pipe = build(kind)
    recorders = {}
    for name, module in text_sites(denoiser(pipe)).items():
        recorders[name] = Recorder()
        module.set_processor(recorders[name])
    own_picture(pipe, kind, guidance_scale=guidance)
    _, found = drawn(models[kind], guidance=guidance)
    assert set(recorders) == set(found.asks_text.layers)
    halvings = {384: (16, 24), 96: (8, 12)}
    grid = (found.grid.height, found.grid.width)
    assert grid == ((16, 24) if kind == "sd" else (8, 12))
    for place, layer in enumerate(found.asks_text.layers):
        assert len(recorders[layer].kept) == 3
        for step, probs in enumerate(recorders[layer].kept):
            assert len(probs) == (2 if guidance > 1 else 1)
            with_caption = probs[-1]  # without the caption comes first
            columns = [with_caption[..., list(word.tokens)].sum(-1) for word in found.words]
            columns.append(1 - torch.stack(columns).sum(0))
            maps = torch.stack(columns, 1).unflatten(-1, halvings[with_caption.shape[1]])
            if maps.shape[-2:] != grid:
                maps = F.interpolate(maps, size=grid, mode="bicubic").clamp_min(0)
                maps = maps / maps.sum(1, keepdim=True)
            torch.testing.assert_close(found.asks_text.values[step, place], maps[:, :-1], atol=2e-5, rtol=0)
            torch.testing.assert_close(found.asks_text.none[step, place], maps[:, -1], atol=2e-5, rtol=0)


# The picture is the pipeline's own ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_is_bit_for_bit_the_pipelines_own(models, drawings, pipes, kind):
    tall = drawn(models[kind], seed=4, size_wh=(32, 64))
    for options, (_, found) in (({}, drawings[kind]), ({"seed": 4, "wh": (32, 64)}, tall)):
        expected = own_picture(pipes[kind], kind, **options)
        assert torch.equal(found.picture, expected) and found.picture.float().std() > 20
    plain = own_picture(pipes[kind], kind, guidance_scale=1.0)
    assert torch.equal(drawn(models[kind], guidance=1)[1].picture, plain)
    assert not torch.equal(plain, drawings[kind][1].picture)


@pytest.mark.parametrize(("kind", "calls"), [("lcm", 3), ("pixart_alpha", 3), ("heun", 5)])
def test_relatives_of_these_pipelines_too(kind, calls):
    pipe = build(kind)
    progress, found = drawn(model_of(pipe))
    assert torch.equal(found.picture, own_picture(pipe, kind))
    assert found.asks_text.steps == tuple(range(1, calls + 1)) == found.frame_steps
    assert [each.step for each in progress] == list(found.frame_steps)


@pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3"])
def test_pictures_on_the_way_are_the_latents_of_each_step(drawings, pipes, kind):
    pipe = pipes[kind]
    kept = []

    def keep(pipe, step, timestep, given):
        kept.append(given["latents"])
        return {}

    own_picture(pipe, kind, callback_on_step_end=keep)
    progress, found = drawings[kind]
    assert [(each.step, each.steps) for each in progress] == [(1, 3), (2, 3), (3, 3)]
    assert found.frame_steps == (1, 2, 3)
    config = pipe.vae.config
    for each, frame, latents in zip(progress, found.frames, kept, strict=True):
        if kind == "sdxl":
            mean, std = (torch.tensor(config[name]).view(1, 4, 1, 1) for name in ("latents_mean", "latents_std"))
            latents = latents * std / config.scaling_factor + mean
        else:
            latents = latents / config.scaling_factor + (config.get("shift_factor") or 0)
        with torch.no_grad():
            pixels = (pipe.vae.decode(latents).sample[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)
        assert torch.equal(each.picture, (pixels * 255).round().byte())
        assert torch.equal(each.picture, frame)


def test_a_long_drawing_shows_some_of_its_steps_and_stays_within_the_bound(models, monkeypatch):
    _, whole = drawn(models["pixart"], steps=16)
    assert len(whole.asks_text.steps) == 16 and whole.asks_text.values.shape[2] == 2
    assert len(whole.frames) == MAX_FRAMES and whole.frame_steps[-1] == 16
    gaps = torch.tensor([0, *whole.frame_steps]).diff()
    assert gaps.min() >= 1 and gaps.max() <= 2
    # With half of the room, stretches of two steps; with a quarter, the heads give way before the steps do.
    numbers = whole.asks_text.values.numel() + whole.asks_text.none.numel()
    for share, stretches, heads in ((2, 8, 2), (4, 8, 1), (32, 1, 1)):
        monkeypatch.setattr(diffusion_maps, "MAX_VALUES", numbers // share)
        _, found = drawn(models["pixart"], steps=16)
        maps = found.asks_text
        assert maps.values.numel() + maps.none.numel() <= numbers // share
        assert maps.steps == tuple(range(16 // stretches, 17, 16 // stretches)) and maps.values.shape[2] == heads
        mean = whole.asks_text.values.unflatten(0, (stretches, -1)).mean(1)
        mean = mean if heads == 2 else mean.mean(2, keepdim=True)
        torch.testing.assert_close(maps.values, mean, atol=1e-6, rtol=0)
        notes = " ".join(found.provenance.notes)
        assert ("heads of a layer are kept as their mean" in notes) == (heads == 1)
        assert f"16 steps are kept as {stretches} means" in notes
        assert torch.equal(found.picture, whole.picture)


# Where things are -----------------------------------------------------------------------------------------------------


def plant(pipe, kind, place, key, latent_hw):
    """One image token in every layer that looks at one text key, by the modules' inputs; returns what takes it back.

    Nothing else has a query or a key, so that all others look everywhere alike.
    """
    handles = []
    for module in text_sites(denoiser(pipe)).values():
        joint = getattr(module, "add_k_proj", None) is not None
        single = kind == "flux" and not joint
        for name in ("to_q", "to_k", "add_q_proj", "add_k_proj"):
            linear = getattr(module, name, None)
            if linear is not None:
                linear.weight.data.zero_()
                linear.bias is None or linear.bias.data.zero_()
        size = module.to_q.weight.shape[0] // module.heads
        # The last pair of a head is what Flux' rotation by place turns least.
        entries = torch.arange(size - 1, module.to_q.weight.shape[0], size)
        module.to_q.weight.data[entries, 0] = 1
        (module.add_k_proj if joint else module.to_k).weight.data[entries, 1] = 1

        def before(module, args, kwargs, joint=joint, single=single):
            x = kwargs.get("hidden_states", args[0] if args else None)
            text = kwargs.get("encoder_hidden_states")
            image = torch.zeros_like(x)
            if single:  # the text's tokens, then the image's
                image[:, LENGTH + index_of(place, x.shape[1] - LENGTH, latent_hw), 0] = 9
                image[:, key, 1] = 9
                return (), {**kwargs, "hidden_states": image}
            image[:, index_of(place, x.shape[1], latent_hw), 0] = 9
            words = torch.zeros_like(text)
            words[-1, key, 1] = 9
            return (), {**kwargs, "hidden_states": image, "encoder_hidden_states": words}

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
    return handles


def index_of(place, tokens, latent_hw):
    """The token at a place that is given in parts of the picture: row and column from 0 to 1."""
    height, width = next(
        (latent_hw[0] // halving, latent_hw[1] // halving)
        for halving in (1, 2)
        if tokens == (latent_hw[0] // halving) * (latent_hw[1] // halving)
    )
    return int(place[0] * height) * width + int(place[1] * width)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wh", [(48, 32), (32, 64)], ids=["wide", "tall"])
def test_a_planted_look_lands_on_its_row_and_column_at_sizes_that_are_not_square(kind, wh):
    model = model_of(build(kind))
    place = (0.3, 0.8)
    handles = []
    try:
        key = 2 if kind in ("pixart", "flux") else 3  # CLIP has a mark before the first word
        handles = plant(model._loaded.pipe, kind, place, key, (wh[1] // 2, wh[0] // 2))
        _, found = drawn(model, steps=1, size_wh=wh)
    finally:
        for handle in handles:
            handle.remove()
    grid = found.grid
    row, column = int(place[0] * grid.height), int(place[1] * grid.width)
    assert (grid.height > grid.width) == (wh[1] > wh[0])
    cube = found.caption.phrase("cube").words
    for layer in range(len(found.asks_text.layers)):
        picture = found.asks_text.select(cube, layer=layer)
        # A coarse layer's token covers two by two places of the grid.
        peak = divmod(int(picture.argmax()), grid.width)
        assert abs(peak[0] - row) <= 1 and abs(peak[1] - column) <= 1
        if grid.height * 2 != wh[1] or "down_blocks.0" in found.asks_text.layers[layer]:
            assert peak == (row, column)
        others = found.asks_text.select(found.caption.phrase("red").words, layer=layer)
        assert picture.max() > 3 * others.max()


# Nothing is left behind -----------------------------------------------------------------------------------------------


def state(model):
    """Everything of a model that a drawing might leave changed."""
    pipe = model._loaded.pipe
    modules = [module for part in pipe.components.values() if isinstance(part, torch.nn.Module)
               for module in part.modules()]  # fmt: skip
    return {
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules],
        "processors": [id(m.processor) for m in modules if hasattr(m, "processor")],
        "modes": [m.training for m in modules],
        "weights": [p.data.double().sum().item() for part in modules for p in part.parameters(recurse=False)],
        "grads": [p.requires_grad or p.grad is not None for m in modules for p in m.parameters(recurse=False)],
        "parts": {name: id(part) for name, part in pipe.components.items()},
        "scheduler": copy.deepcopy({k: str(v) for k, v in vars(pipe.scheduler).items()}),
        "config": str(pipe.config),
        "random": torch.get_rng_state().sum().item(),
        "own": sorted(vars(pipe)),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_after_drawing_closing_or_failing_all_is_as_before(models, drawings, kind):
    model = models[kind]
    before = state(model)
    drawn(model)
    assert state(model) == before
    drawing = model.draw(CAPTION, Settings(steps=3, size_wh=(WIDTH, HEIGHT)))
    assert next(drawing).step == 1
    assert sum(state(model)["hooks"]) > sum(before["hooks"])  # it waits in the middle
    drawing.close()
    assert state(model) == before
    model.draw(CAPTION).close()  # never begun
    site = next(iter(model._loaded.sites.values()))
    calls = []

    def failing(*given):
        calls.append(given)
        if len(calls) == 2:
            raise OSError("the cable came loose")

    handle = site.register_forward_pre_hook(failing)
    try:
        with pytest.raises(OSError, match="cable"):
            drawn(model)
    finally:
        handle.remove()
    assert state(model) == before
    assert torch.equal(drawn(model)[1].picture, drawings[kind][1].picture)


def test_a_module_that_is_not_what_it_was_is_refused_and_leaves_nothing(models):
    model = models["sd"]
    before = state(model)
    name, site = list(model._loaded.sites.items())[2]
    handle = site.register_forward_hook(lambda module, args, out: out * 1.01)
    try:
        with pytest.raises(CaptureError, match=f"{name}.*deviates"):
            drawn(model)
    finally:
        handle.remove()
    assert state(model) == before


def test_drawings_side_by_side_are_those_by_themselves(models):
    model = models["sdxl"]
    alone = [drawn(model, seed=seed)[1] for seed in (0, 1)]
    both = [model.draw(CAPTION, Settings(seed=seed, steps=3, size_wh=(WIDTH, HEIGHT))) for seed in (0, 1)]
    together = list(zip(*both, strict=True))[-1]
    assert together[0] == alone[0] and together[1] == alone[1] and alone[0] != alone[1]


@pytest.mark.parametrize("kind", ["sdxl", "flux"])
def test_drawings_in_two_threads_tokenise_at_once_and_share_no_tokenizer(models, kind, monkeypatch):
    from transformers import PreTrainedTokenizerBase

    model = models[kind]
    alone = [drawn(model, seed=seed, steps=1)[1] for seed in (0, 1)]
    tokenise, both_there, busy, shared = PreTrainedTokenizerBase.__call__, threading.Barrier(2), [], []

    def together(self, *given, **options):
        busy.append(id(self))
        both_there.wait(60)
        shared.append(len(set(busy)) < len(busy))
        found = tokenise(self, *given, **options)
        both_there.wait(60)
        busy.remove(id(self))
        return found

    monkeypatch.setattr(PreTrainedTokenizerBase, "__call__", together)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda seed: drawn(model, seed=seed, steps=1)[1], (0, 1)))
    assert found == alone and shared and not any(shared)


def test_tokenizers_are_copied_when_they_are_needed_and_used_again(models, monkeypatch):
    model = models["flux"]
    drawn(model, steps=1)
    spare = list(model._spare_tokenizers)
    assert spare and set(spare[-1]) == {"tokenizer", "tokenizer_2"}
    begun = model.draw(CAPTION, Settings(steps=2, size_wh=(WIDTH, HEIGHT)))
    next(begun)
    assert len(model._spare_tokenizers) == len(spare) - 1
    begun.close()
    with pytest.raises(CaptionError):
        model.draw("...")
    assert model._spare_tokenizers == spare
    monkeypatch.setattr(model, "_spare_tokenizers", [])
    with pytest.raises(SettingsError):
        model.draw(CAPTION, Settings(steps=0))
    assert not model._spare_tokenizers


# What a result says ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_untrained_weights_are_marked_and_the_result_says_what_it_is(models, drawings, kind):
    assert not models[kind].info.trained
    _, found = drawings[kind]
    about = found.provenance
    assert not about.trained and "The weights of this model were not trained." in about.notes
    assert {"diffusers", "transformers", "torch"} <= set(about.libraries) and about.device == "cpu"
    assert about.method == ("joint_attention" if kind in ("sd3", "flux") else "cross_attention")
    assert any("other places of the picture" in note for note in about.notes) == (kind in ("sd3", "flux"))
    assert found.settings["seed"] == 0 and found.settings["size_wh"] == [WIDTH, HEIGHT]
    assert found.asks_image is None and found.written is None and found.tokens is None and found.verdict is None


def test_another_models_weights_have_another_digest(drawings):
    digests = {found.provenance.weights_sha256 for _, found in drawings.values()}
    assert len(digests) == len(KINDS)


def test_defaults_are_the_pipelines_own(models):
    own = models["sd"].defaults
    assert (own.guidance, own.steps, own.size_wh, own.temperature) == (7.5, 50, (32, 32), None)
    assert models["pixart"].defaults.guidance == 4.5
    tall = build("sd", sample_size=(24, 16))  # height, width
    model = models["sd"]
    from crossviz.models.diffusion_settings import defaults

    assert defaults(tall, model._loaded.kind).size_wh == (32, 48)


@pytest.mark.parametrize("caption", ["", "  ", "...", None])
def test_a_caption_without_words_is_refused_before_anything_is_drawn(models, caption):
    with pytest.raises(CaptionError, match="write what to draw" if caption is not None else "No caption"):
        models["sd"].draw(caption)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size_wh": (50, 33)}, r"multiples of 8 pixels, but 50 x 33 .*take 48 x 32"),
        ({"size_wh": (0, 32)}, "width in pixels must be a whole number from 8"),
        ({"size_wh": (32, 9999)}, "height in pixels must be a whole number from 8 to 4096"),
        ({"size_wh": 32}, "two numbers of pixels"),
        ({"steps": 0}, "number of steps must be a whole number from 1"),
        ({"steps": 2.5}, "number of steps must be a whole number"),
        ({"guidance": -1}, r"Guidance \(1 is none\) must be a number from 0 on"),
        ({"guidance": float("nan")}, r"Guidance \(1 is none\) must be a number from 0 on"),
        ({"guidance": float("inf")}, "must be a number from 0 on, not inf"),
        ({"guidance": 10**400}, "must be a number from 0 on"),
        ({"guidance": True}, "must be a number from 0 on, not True"),
        ({"seed": torch.tensor([1, 2])}, "seed must be a whole number"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"seed": 2**32}, "seed must be a whole number from 0 to 4294967295"),
        ({"temperature": 1.0}, "has no temperature"),
        ({"candidates": 4}, "compares none"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_used_are_named(models, settings, sentence):
    with pytest.raises(SettingsError, match=sentence):
        models["sd"].draw(CAPTION, Settings(**settings))


@pytest.mark.parametrize(
    ("scheduler", "options", "most"),
    [
        ("LCMScheduler", {}, 50),
        ("PNDMScheduler", {"steps_offset": 1, "skip_prk_steps": True}, 999),
        ("DDIMScheduler", {"steps_offset": 1}, 999),
        ("DDIMScheduler", {"num_train_timesteps": 20}, 20),
        ("FlowMatchEulerDiscreteScheduler", {}, 1000),
    ],
)
def test_no_more_steps_are_taken_than_the_scheduler_has(scheduler, options, most):
    import diffusers

    made = getattr(diffusers, scheduler)(**options)
    assert most_steps(made) == most
    made.set_timesteps(most)
    assert int(made.timesteps.max()) < made.config.num_train_timesteps + 1
    own = Settings(guidance=1.0, steps=1, size_wh=(8, 8))
    assert chosen(Settings(steps=most), own, 8, "it", most).steps == most
    with pytest.raises(SettingsError, match=f"whole number from 1 to {most}"):
        chosen(Settings(steps=most + 1), own, 8, "it", most)


@pytest.mark.parametrize("wh", [(56, 40), (40, 56)])
def test_odd_latents_are_halved_as_the_unet_does(wh):
    """7 x 5 latents, a decoder of 8 pixels each as the real ones; the coarser layers stand at 4 x 3."""
    pipe = build("sd")
    pipe.register_modules(vae=autoencoder(blocks=4).eval())
    pipe.vae_scale_factor = 8
    pipe.image_processor.register_to_config(vae_scale_factor=8)
    model = model_of(pipe)
    _, found = drawn(model, steps=1, size_wh=wh)
    assert (found.grid.width, found.grid.height) == (wh[0] // 8, wh[1] // 8)
    assert torch.equal(found.picture, own_picture(pipe, "sd", steps=1, wh=wh))
    with pytest.raises(SettingsError, match="multiples of 8 pixels"):
        model.draw(CAPTION, Settings(size_wh=(44, 40)))


def test_a_transformers_sizes_are_multiples_of_its_patches():
    pipe = build("pixart")
    pipe.register_modules(vae=autoencoder(blocks=4).eval())
    pipe.vae_scale_factor = 8
    with pytest.raises(SettingsError, match="multiples of 16 pixels"):
        model_of(pipe).draw(CAPTION, Settings(size_wh=(40, 32)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_within_what_is_accepted_of_it(kind, dtype):
    pipe = build(kind)
    denoiser(pipe).to(dtype)
    for name, part in pipe.components.items():
        if name.startswith("text_encoder") and part is not None:
            part.to(dtype)
    deviations = []
    with torch.no_grad(), capture(text_sites(denoiser(pipe)), each=lambda call: deviations.append(call.deviation)):
        pipe(CAPTION, width=WIDTH, height=HEIGHT, num_inference_steps=2, output_type="latent",
             generator=torch.Generator().manual_seed(0), **OWN_OPTIONS[kind])  # fmt: skip
    assert 0 < max(deviations) < {torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype] / 2


def test_the_folder_that_is_loaded_has_no_gradients(tmp_path):
    loaded = load(f"diffusers:{pipeline_folder(tmp_path / 'sd', 'sd')}", torch.device("cpu"))
    assert not any(p.requires_grad for p in loaded.denoiser.parameters()) and not loaded.denoiser.training
