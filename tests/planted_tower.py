"""Image towers made of random matrices, in float64, and traces around them: for methods, without a model."""

from collections.abc import Mapping

import factories
import torch
from torch import Tensor

from crossviz.geometry import ImageView, PatchGrid
from crossviz.tower import run_tower
from crossviz.trace import EncodedImage, ImageTower, Match, Pooler, TowerBlock, Trace

DIM, HEADS, EMBED = 8, 2, 5
PIXELS_PER_PATCH = 4


def matrices(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=rng, dtype=torch.float64) * 0.5 for shape in shapes]


def split(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def norm(x: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


def block(number: int) -> TowerBlock:
    q, k, v, out, mlp = matrices(10 + number, *[(DIM, DIM)] * 5)
    return TowerBlock(
        label=f"block {number + 1}",
        norm=norm,
        project=lambda x: (split(x @ q), split(x @ k), split(x @ v)),
        scale=(DIM / HEADS) ** -0.5,
        merge=lambda context: context.transpose(1, 2).flatten(2) @ out,
        mlp=lambda x: torch.tanh(norm(x) @ mlp),
    )


def vision_transformer(pool: str = "token", *, depth: int = 3, grid: PatchGrid | None = None) -> ImageTower:
    """Patches of 4 x 4 pixels, a class token, `depth` blocks, a projection; the state is `batch embed`."""
    grid = PatchGrid(2, 3, 1) if grid is None else grid
    patch, cls, places, query, key, value, head = matrices(
        1, (3 * PIXELS_PER_PATCH**2, DIM), (1, grid.num_prefix_tokens, DIM), (1, grid.num_tokens, DIM), (1, DIM),
        (DIM, DIM), (DIM, DIM), (DIM, EMBED),
    )  # fmt: skip

    def embed(pixels: Tensor) -> tuple[Tensor, None]:
        cut = pixels.unfold(2, PIXELS_PER_PATCH, PIXELS_PER_PATCH).unfold(3, PIXELS_PER_PATCH, PIXELS_PER_PATCH)
        tokens = cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2) @ patch
        return torch.cat([cls.expand(len(pixels), -1, -1), tokens], 1) + places, None

    def readout(x: Tensor, beside: None, features: None) -> Tensor:
        if pool == "token":
            x = x[:, 0]
        elif pool == "avg":
            x = x[:, grid.num_prefix_tokens :].mean(1)
        return x @ head

    pooler = Pooler(
        label="pooler",
        project=lambda x: (split(query.expand(len(x), 1, DIM)), split(x @ key), split(x @ value)),
        scale=(DIM / HEADS) ** -0.5,
        merge=lambda context: context.transpose(1, 2).flatten(1),
    )
    blocks = tuple(block(number) for number in range(depth))
    attends = {"pooler": pooler, "final_norm": norm} if pool == "attention" else {}
    return ImageTower(embed, blocks, grid, pool, None, readout, to_text=lambda x: x @ head, **attends)


def convolutional(channels: Tensor) -> ImageTower:
    """The last feature map of a pixel is `channels` (`channel 3`) times its colours; the state is its mean."""
    return ImageTower(
        embed=lambda pixels: (torch.einsum("kc,bchw->bkhw", channels, pixels), None),
        blocks=(),
        grid=PatchGrid(4, 6),
        pool="none",
        features=lambda x, beside: x,
        readout=lambda x, beside, features: x.mean((-2, -1)),
    )


def texts(words: list[str], width: int = EMBED) -> Mapping[str, Tensor]:
    """A vector for each word, the same whenever it is asked for."""
    return {word: matrices(sum(map(ord, word)), (width,))[0] for word in words}


def linear_match(tower: ImageTower, vectors: Mapping[str, Tensor]) -> Match:
    """The inner product of state and word."""

    def state(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return run_tower(tower, pixels).state

    return Match(
        unit="inner product",
        sentence="The inner product of the photo and the word.",
        state=state,
        score=lambda state, phrases: state @ torch.stack([vectors[phrase.text] for phrase in phrases]).T,
        readable=lambda scores: scores,
        readable_unit="inner product",
    )


def trace(
    tower: ImageTower,
    text: str = "a dog and a zebra",
    *,
    vectors: Mapping[str, Tensor] | None = None,
    grid: PatchGrid | None = None,
    pixels: Tensor | None = None,
    read: int | None = None,
) -> Trace:
    """A photo of noise and a caption; the explanation's grid is the tower's without prefix unless one is given."""
    own = tower.grid
    grid = PatchGrid(own.height, own.width) if grid is None else grid
    scale = PIXELS_PER_PATCH if tower.blocks else 1
    size = (own.height * scale, own.width * scale)
    if pixels is None:
        (pixels,) = matrices(3, (1, 3, *size))
    caption = factories.caption(text, read=read)
    photo = factories.photo()
    image = EncodedImage(
        photo=photo,
        view=ImageView.squash(photo.wh, tuple(pixels.shape[-2:])),
        grid=grid,
        embedding=torch.ones(EMBED) / EMBED**0.5,
        features={"pixels": pixels},
        model_key="planted",
        model_name="planted",
    )
    words = [word.text for word in caption.words]
    match = linear_match(tower, texts(words) if vectors is None else vectors)
    provides = {"image_tower": lambda: tower, "match": lambda: match}
    if tower.blocks:
        provides |= {"image_attention": lambda: True, "patch_texts": lambda: True}
    return Trace(
        image=image,
        caption=caption,
        similarity=0.1,
        provides=provides,
        lacks={},
        embed_texts=lambda asked: torch.stack([texts(asked)[one] for one in asked]).float(),
    )
