"""The family diffusers: its names, what a folder must hold, what is said where packages or the network are missing."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_pipelines import build, pipeline_folder

from crossviz import generator
from crossviz.errors import ModelUnavailableError, UnknownModelError
from crossviz.models import diffusion_hub, hub
from crossviz.models.diffusion_hub import files_of
from crossviz.models.diffusion_load import CHOICE

HUB = f"diffusers:{next(iter(CHOICE))}"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return pipeline_folder(tmp_path_factory.mktemp("saved") / "sd", "sd")


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "sd")


def refused(folder_or_name):
    name = folder_or_name if str(folder_or_name).startswith("diffusers:") else f"diffusers:{folder_or_name}"
    with pytest.raises(ModelUnavailableError) as caught:
        generator.load_generator(name, "cpu")
    assert name in str(caught.value)
    return str(caught.value)


def index(folder, **changes):
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["diffusers", "diffusers:", "diffusers:nothing", "diffusers:a/b/c"])
def test_names_that_name_nothing(name):
    with pytest.raises(UnknownModelError, match="diffusers:ORG/NAME"):
        generator.load_generator(name)


def test_a_folder_is_loaded_once_and_again_where_a_file_of_it_changed(folder):
    one, same = (generator.load_generator(f"diffusers:{prefix}{folder}", "cpu") for prefix in ("", "local-dir:"))
    assert one is same and one.info.title == "sd" and not one.info.trained
    (folder / "crossviz.json").unlink()
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    doubled = {name: tensor * 2 for name, tensor in load_file(weights).items()}
    save_file(doubled, weights, {"format": "pt"})
    again = generator.load_generator(f"diffusers:{folder}", "cpu")
    assert again is not one and again.info.trained  # without the mark, weights are taken as trained
    name, tensor = next(iter(doubled.items()))
    assert torch.equal(again._loaded.denoiser.state_dict()[name], tensor)


def test_random_numbers_and_autograd_are_left_as_they_were(folder):
    before = torch.get_rng_state()
    generator.load_generator(f"diffusers:{folder}", "cpu")
    assert torch.equal(before, torch.get_rng_state()) and torch.is_grad_enabled()


def test_the_choice_of_the_hubs_models_says_whether_it_is_here(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    listed = {info.name: info for info in generator.generators()}
    assert {f"diffusers:{each}" for each in CHOICE} <= set(listed)
    assert not listed[HUB].available and "not on this machine" in listed[HUB].reason and listed[HUB].trained


def test_a_pipeline_in_the_hubs_cache_is_found_without_network(monkeypatch, tmp_path, saved):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "models--made--up" / "snapshots" / "0123"
    shutil.copytree(saved, snapshot)
    assert generator.load_generator("diffusers:made/up", "cpu").info.title == "made/up"
    (snapshot / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    generator.unload_generators()
    assert "HF_HUB_OFFLINE" in refused("diffusers:made/up")


def test_a_listed_model_has_settings_that_suit_it(monkeypatch, tmp_path, saved):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for owner, name in (("stabilityai", "sd-turbo"), ("made", "up")):
        shutil.copytree(saved, tmp_path / f"models--{owner}--{name}" / "snapshots" / "0123")
    turbo = generator.load_generator("diffusers:stabilityai/sd-turbo", "cpu").defaults
    other = generator.load_generator("diffusers:made/up", "cpu").defaults
    assert (turbo.guidance, turbo.steps) == (1, 4) and (other.guidance, other.steps) == (7.5, 50)
    assert turbo.size_wh == other.size_wh
    generator.unload_generators()


# What is missing ------------------------------------------------------------------------------------------------------


def test_of_several_packages_all_that_are_missing_are_named():
    assert hub.missing(("torch", "torch"), "buy it") == ""
    assert hub.missing(("nothing1", "torch", "nothing2"), "buy it") == (
        "needs the packages nothing1 and nothing2, which are not installed: buy it"
    )


@pytest.mark.parametrize("package", ["diffusers", "transformers"])
def test_without_a_package_the_sentence_says_how_to_install_it(monkeypatch, folder, package):
    monkeypatch.setitem(sys.modules, package, None)
    for name in (f"diffusers:{folder}", HUB):
        message = refused(name)
        assert (
            f"needs the package {package}, which is not installed" in message
            and "pip install crossviz[diffusers]" in message
        )
    infos = [info for info in generator.generators() if info.name.startswith("diffusers:")]
    assert infos and all("pip install crossviz[diffusers]" in info.reason and not info.available for info in infos)


def test_without_network_the_hubs_models_are_refused_at_once(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = refused(HUB)
    assert "HF_HUB_OFFLINE is set" in message and "connect to the network" in message


def test_folders_that_hold_no_pipeline(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "empty", tmp_path / "not there", folder / "unet"):
        assert "model_index.json" in refused(nothing)
    (folder / "model_index.json").write_text("[1, 2]")
    assert "no pipeline of diffusers in the folder sd" in refused(folder)


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        ("DDPMPipeline", "is a DDPMPipeline, no text-to-image pipeline .* read here: choose one of Stable Diffusion"),
        ("KandinskyV22CombinedPipeline", "is a KandinskyV22CombinedPipeline, no text-to-image pipeline"),
        (["my_code", "MyPipeline"], "is a pipeline with code of its own"),
    ],
    ids=str,
)
def test_pipelines_that_are_not_read_here(folder, cls, sentence):
    index(folder, _class_name=cls)
    with pytest.raises(ModelUnavailableError, match=sentence):
        generator.load_generator(f"diffusers:{folder}", "cpu")


def test_weights_that_are_pickled_are_never_read(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"

    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was read",))

    torch.save(Trap(), folder / "unet" / "diffusion_pytorch_model.bin")
    generator.load_generator(f"diffusers:{folder}", "cpu")
    weights.unlink()
    assert "no weights of unet as safetensors" in refused(folder)


def test_a_part_that_is_missing_is_named(folder):
    shutil.rmtree(folder / "text_encoder")
    assert "lacks the folder text_encoder" in refused(folder)


def test_a_pipeline_whose_tokenizers_are_missing_or_slow_is_not_loaded(monkeypatch, folder, tmp_path):
    from transformers import CLIPTokenizer

    with monkeypatch.context() as patched:
        patched.setattr(CLIPTokenizer, "is_fast", False)
        assert "(CLIPTokenizer) does not say which characters" in refused(folder)
    none = build("sdxl")
    none.register_modules(tokenizer=None, tokenizer_2=None)
    assert "has no tokenizer" in refused(pipeline_folder(tmp_path / "none", "sdxl", none))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_missing_are_not_filled_with_random_ones(folder, part):
    (weights,) = (folder / part).glob("*.safetensors")
    tensors = load_file(weights)
    lost = next(name for name in tensors if name.endswith("weight") and "position" not in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, weights, {"format": "pt"})
    assert "don't hold all of its weights" in refused(folder)


def test_a_damaged_file_is_named(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    assert "check the files in that folder" in refused(folder)


def test_parts_of_other_libraries_are_not_loaded(folder):
    index(folder, vae=["os", "system"])
    assert "only those of diffusers and transformers" in refused(folder)


def test_a_denoiser_that_is_read_in_no_covered_way_is_refused(tmp_path):
    mixed = build(
        "sd",
        down_block_types=("SimpleCrossAttnDownBlock2D",) * 2,
        up_block_types=("SimpleCrossAttnUpBlock2D",) * 2,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
    )  # text and image keys in one softmax, as in DeepFloyd IF
    message = refused(pipeline_folder(tmp_path / "mixed", "sd", mixed))
    assert "can't be read at 'down_blocks.0.attentions.0'" in message and "AttnAddedKVProcessor2_0" in message
    plain = build("sd", down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, mid_block_type=None)
    assert "looks at the text" in refused(pipeline_folder(tmp_path / "plain", "sd", plain))


def test_the_safety_checker_is_left_off(folder):
    """Its folder is neither needed nor read."""
    index(folder, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"], requires_safety_checker=True)
    pipe = generator.load_generator(f"diffusers:{folder}", "cpu")._loaded.pipe
    assert pipe.safety_checker is None


# Which files are fetched ----------------------------------------------------------------------------------------------

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
BOTH = [
    "model_index.json", "v1-5-pruned.safetensors", "v1-5-pruned.ckpt", "README.md", "safety_checker/model.safetensors",
    "scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
    "text_encoder/model.fp16.safetensors", "text_encoder/pytorch_model.bin", "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
]  # fmt: skip


def test_only_what_a_pipeline_needs_is_fetched():
    files = files_of(INDEX, BOTH, "x")
    assert not files.lacking and files.variant is None
    assert [name for name in files.names if name.endswith(".safetensors")] == [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    assert {"model_index.json", "tokenizer/merges.txt", "scheduler/scheduler_config.json"} <= set(files.names)


def test_half_precision_where_there_is_nothing_else():
    there = [name for name in BOTH if name != "unet/diffusion_pytorch_model.safetensors"]
    files = files_of(INDEX, there, "x")
    assert files.variant == "fp16" and "unet/diffusion_pytorch_model.fp16.safetensors" in files.names
    assert "unet/diffusion_pytorch_model.non_ema.safetensors" not in files.names


def test_weights_in_several_files_are_taken_with_their_index():
    parts = [f"unet/diffusion_pytorch_model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    parts.append("unet/diffusion_pytorch_model.safetensors.index.json")
    there = [name for name in BOTH if "unet/diffusion" not in name]
    assert set(parts) <= set(files_of(INDEX, [*there, *parts], "x").names)
    assert "no weights of unet" in files_of(INDEX, there, "x").lacking


def test_full_weights_that_lack_all_but_their_index_are_none():
    there = [name for name in BOTH if name != "unet/diffusion_pytorch_model.safetensors"]
    files = files_of(INDEX, [*there, "unet/diffusion_pytorch_model.safetensors.index.json"], "x")
    assert files.variant == "fp16" and "unet/diffusion_pytorch_model.fp16.safetensors" in files.names
    assert not any(name.endswith("index.json") and name.startswith("unet/") for name in files.names)


def in_three(folder, part="unet"):
    """The weights of a part in three files, as diffusers saves large ones; returns the files."""
    (weights,) = (folder / part).glob("*.safetensors")
    tensors = sorted(load_file(weights).items())
    names = [f"{weights.stem}-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    where = {}
    for place, name in enumerate(names):
        own = dict(tensors[place::3])
        save_file(own, folder / part / name, {"format": "pt"})
        where |= dict.fromkeys(own, name)
    weights.with_name(f"{weights.name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    weights.unlink()
    return [folder / part / name for name in names]


@pytest.mark.parametrize("lost", ["shard", "index", "tokenizer", "config"])
def test_a_download_that_broke_off_goes_on(folder, monkeypatch, tmp_path, lost):
    """What is in the hub's cache in part is not taken for all of it."""
    import huggingface_hub
    import huggingface_hub.constants

    shards = in_three(folder)
    snapshot = shutil.copytree(folder, tmp_path / "models--made--up" / "snapshots" / "0123")
    gone = {
        "shard": [snapshot / "unet" / shards[1].name],
        "index": [
            snapshot / "unet" / "diffusion_pytorch_model.safetensors.index.json",
            snapshot / "unet" / shards[2].name,
        ],
        "tokenizer": [each for each in (snapshot / "tokenizer").iterdir() if each.name != "tokenizer_config.json"],
        "config": [snapshot / "unet" / "config.json"],
    }[lost]
    for each in gone:
        each.unlink()
    asked = []

    def download(repository, allow_patterns):
        asked.append(sorted(allow_patterns))
        for each in gone:
            shutil.copy(folder / each.relative_to(snapshot), each)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "unreachable", lambda: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, name: str(folder / name))
    whole = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, repository: whole)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    generator.unload_generators()
    assert "not on this machine" in diffusion_hub.available(diffusion_hub.place("diffusers:made/up"))
    assert generator.load_generator("diffusers:made/up", "cpu").info.title == "made/up"
    assert asked == [sorted(whole)]
    assert diffusion_hub.available(diffusion_hub.place("diffusers:made/up")) == ""


def test_a_folder_that_lacks_some_of_a_parts_files_is_refused_by_name(folder):
    shards = in_three(folder)
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    shards[0].unlink()
    assert f"lacks some of its weights ({shards[0].name})" in refused(folder)
    for broken in ("{", '{"weight_map": {"a": 1}}'):
        index.write_text(broken)
        assert f"{index.name} of the folder sd can't be read" in refused(folder)
    for each in (folder / "tokenizer").glob("tokenizer.json"):
        each.unlink()
    assert "holds no tokenizer in its folder tokenizer" in refused(folder)


def test_a_folder_in_half_precision_only_is_loaded(folder):
    for part in ("unet", "vae", "text_encoder"):
        (weights,) = (folder / part).glob("*.safetensors")
        halves = {name: tensor.half() for name, tensor in load_file(weights).items()}
        save_file(halves, weights.with_name(f"{weights.stem}.fp16.safetensors"), {"format": "pt"})
        weights.unlink()
    model = generator.load_generator(f"diffusers:{folder}", "cpu")
    name, tensor = next(iter(model._loaded.denoiser.state_dict().items()))
    expected = load_file(folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")[name].float()
    assert tensor.dtype == torch.float32 and torch.equal(tensor, expected)


@pytest.mark.parametrize(
    "name", ["diffusers:~nobody_has_this_name/model", "diffusers:/a\0b", f"diffusers:/{'long' * 80}/model"]
)
def test_a_name_that_is_no_path_is_answered_in_a_sentence(name):
    with pytest.raises(UnknownModelError, match="names no folder") as caught:
        generator.load_generator(name, "cpu")
    assert "\n" not in str(caught.value)
