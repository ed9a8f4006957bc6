"""Small random models with every kind of attention site, and what torch and timm say of their attention."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crossviz.compat import import_open_clip, import_timm

EVERYTHING = ("queries", "keys", "values", "scores", "probs", "context", "output")
HEADS, WIDTH = 4, 32


@dataclass
class Tower:
    model: nn.Module
    run: Callable[[], Tensor]
    names: list[str]
    """Of the sites, in order."""


def image(batch: int = 2, height: int = 32, width: int = 48) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(3))


def text(batch: int = 2, length: int = 9) -> Tensor:
    ids = torch.randint(1, 90, (batch, length), generator=torch.Generator().manual_seed(4))
    ids[0, -3:] = 0  # padding
    return ids


def lively(model: nn.Module) -> nn.Module:
    """Weights and biases large enough that every term matters and attention is far from uniform."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.3 + (parameter.ndim == 1) * 0.3)
    return model.eval()


def blocks(count: int, pattern: str) -> list[str]:
    return [pattern.format(i) for i in range(count)]


def vision(**options) -> nn.Module:
    import_open_clip()
    from open_clip.transformer import VisionTransformer

    made = {"image_size": (32, 48), "patch_size": 8, "width": WIDTH, "layers": 2, "heads": HEADS, "mlp_ratio": 2.0}
    return lively(VisionTransformer(**(made | {"output_dim": 16} | options)))


def language(**options) -> nn.Module:
    import_open_clip()
    from open_clip.transformer import TextTransformer

    made = {"context_length": 9, "vocab_size": 90, "width": WIDTH, "heads": HEADS, "layers": 2, "output_dim": 16}
    return lively(TextTransformer(**(made | options)))


def timm_vit(name: str = "vit_tiny_patch16_224", **options) -> nn.Module:
    made = {"img_size": (32, 48), "depth": 2, "embed_dim": WIDTH, "num_heads": HEADS, "num_classes": 16}
    return lively(import_timm().create_model(name, pretrained=False, **(made | options)))


def coca() -> nn.Module:
    import_open_clip()
    from open_clip.coca_model import CoCa

    shared = {"width": WIDTH, "layers": 2, "heads": HEADS}
    return lively(
        CoCa(
            WIDTH,
            multimodal_cfg={**shared, "context_length": 9, "vocab_size": 90, "dim_head": 8, "attn_pooler_heads": HEADS},
            text_cfg={**shared, "context_length": 10, "vocab_size": 90, "embed_cls": True, "output_tokens": True},
            vision_cfg={
                "width": WIDTH, "layers": 2, "head_width": 8, "image_size": 32, "patch_size": 8,
                "attentional_pool": True, "attn_pooler_heads": HEADS, "output_tokens": True,
            },
        )
    )  # fmt: skip


def tower(name: str) -> Tower:
    resblocks = blocks(2, "transformer.resblocks.{}.attn")
    trunk = blocks(2, "blocks.{}.attn")
    if name == "vision":
        model = vision()
        return Tower(model, lambda: model(image()), resblocks)
    if name == "vision, custom blocks":
        model = vision(block_type="custom")
        return Tower(model, lambda: model(image()), resblocks)
    if name == "vision, custom blocks, qk_norm":
        model = vision(qk_norm=True)
        return Tower(model, lambda: model(image()), resblocks)
    if name == "vision, attention pool":
        model = vision(attentional_pool=True, attn_pooler_queries=5, attn_pooler_heads=2)
        return Tower(model, lambda: model(image()), [*resblocks, "attn_pool.attn"])
    if name == "text":
        model = language()
        return Tower(model, lambda: model(text()), resblocks)
    if name == "text, class token":
        model = language(embed_cls=True, pad_id=0)
        return Tower(model, lambda: model(text()), resblocks)
    if name == "text, both ways, padded":
        model = language(no_causal_mask=True, use_pad_mask=True, pool_type="first")
        return Tower(model, lambda: model(text()), resblocks)
    if name == "text, custom blocks, padded":
        model = language(no_causal_mask=True, use_pad_mask=True, pool_type="first", block_type="custom")
        return Tower(model, lambda: model(text()), resblocks)
    if name == "timm":
        model = timm_vit()
        return Tower(model, lambda: model(image()), trunk)
    if name == "timm, qk_norm":
        model = timm_vit(qk_norm=True)
        return Tower(model, lambda: model(image()), trunk)
    if name == "timm, latent pool":
        model = timm_vit("vit_base_patch16_siglip_224", qk_norm=True)
        return Tower(model, lambda: model(image()), [*trunk, "attn_pool"])
    if name == "coca":
        model = coca()
        names = blocks(2, "text.transformer.resblocks.{}.attn") + blocks(2, "visual.transformer.resblocks.{}.attn")
        names += ["visual.attn_pool.attn", *blocks(2, "text_decoder.resblocks.{}.attn")]
        names += blocks(2, "text_decoder.cross_attn.{}.attn")
        return Tower(model, lambda: model(image(2, 32, 32), text())["logits"], names)
    raise AssertionError(name)


TOWERS = [
    "vision",
    "vision, custom blocks",
    "vision, custom blocks, qk_norm",
    "vision, attention pool",
    "text",
    "text, class token",
    "text, both ways, padded",
    "text, custom blocks, padded",
    "timm",
    "timm, qk_norm",
    "timm, latent pool",
    "coca",
]


def deviation(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    difference = (actual.double() - expected.double()).abs().max() / expected.double().abs().max()
    return difference.item()


def recorded(modules: dict[str, nn.Module], run: Callable[[], Tensor]) -> dict[str, tuple]:
    """The real (args, kwargs, result) of every site, by hooks of this test's own."""
    calls = {}
    handles = [
        module.register_forward_hook(
            lambda _, args, kwargs, result, name=name: calls.__setitem__(name, (args, kwargs, result)), with_kwargs=True
        )
        for name, module in modules.items()
    ]
    run()
    for handle in handles:
        handle.remove()
    return calls


def torch_weights(module: nn.MultiheadAttention, args: tuple, kwargs: dict) -> tuple[Tensor, Tensor]:
    """torch's own probabilities, mean over heads and per head."""
    kwargs = kwargs | {"need_weights": True}
    return module(*args, **kwargs)[1], module(*args, **kwargs, average_attn_weights=False)[1]


def timm_weights(module: nn.Module, args: tuple, kwargs: dict) -> Tensor:
    """timm's own probabilities: what its unfused path hands to `attn_drop`."""
    seen = []
    handle = module.attn_drop.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    fused, module.fused_attn = module.fused_attn, False
    module(*args, **kwargs)
    module.fused_attn = fused
    handle.remove()
    return seen[0]


def own_tensor(module: nn.Module, result) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


def multihead(dtype=torch.float32, **options) -> nn.MultiheadAttention:
    return lively(nn.MultiheadAttention(WIDTH, HEADS, **options)).to(dtype)
