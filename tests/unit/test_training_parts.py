"""What every head is for, folded standardisation, words that mean nothing."""

import random

import pytest
import torch

from crossviz import compat

compat.ensure_torchvision()

from crossviz.models.mini_tower import MiniImageHead  # noqa: E402
from crossviz.training.calibrate import null_shift  # noqa: E402
from crossviz.training.losses import head_targets, parts_loss  # noqa: E402
from crossviz.training.nonsense import Nonsense  # noqa: E402


def box(top, bottom, left, right, grid=24):
    cover = torch.zeros(grid, grid)
    cover[top:bottom, left:right] = 1
    return cover


def centre(target):
    rows = target.unflatten(-1, (24, 24)).sum(-1)
    return float((rows * torch.arange(24)).sum() / rows.sum())


def test_heads_divide_the_thing():
    cover = box(4, 16, 6, 18)
    upper, lower, core, rim = head_targets(cover.flatten()[None], 24)[0]
    for part in (upper, lower, core, rim):
        assert float(part.sum()) == pytest.approx(1, abs=1e-5)
        assert float(part[cover.flatten() == 0].sum()) == 0
    assert torch.allclose((upper + lower) / 2, cover.flatten() / cover.sum(), atol=1e-6)
    assert centre(upper) == pytest.approx(6.5)
    assert centre(lower) == pytest.approx(12.5)
    y, x = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    away = ((y - 9.5).abs().maximum((x - 11.5).abs())).flatten()
    assert float((core * away).sum()) < 0.85 * float((cover.flatten() / cover.sum() * away).sum())
    assert float((rim * away).sum()) > float((cover.flatten() / cover.sum() * away).sum())


def test_halves_of_two_things_are_halves_of_each():
    upper = head_targets((box(2, 6, 2, 6) + box(12, 20, 14, 20)).flatten()[None], 24)[0, 0].unflatten(0, (24, 24))
    assert upper[2:4, 2:6].sum() > 0
    assert upper[4:6, 2:6].sum() == 0
    assert upper[12:16, 14:20].sum() > 0
    assert upper[16:20, 14:20].sum() == 0


def test_parts_loss_is_least_where_each_head_shows_its_part():
    cover = box(4, 16, 6, 18).flatten()[None]
    targets = head_targets(cover, 24)
    null = torch.full((1, 4, 1), 0.3)
    right = torch.cat([targets * 0.7, null], 2)
    copies = torch.cat([targets.mean(1, keepdim=True).expand(-1, 4, -1) * 0.7, null], 2)
    assert float(parts_loss(right, cover)) == pytest.approx(0, abs=1e-3)
    assert float(parts_loss(copies, cover)) > 0.3
    assert torch.isfinite(parts_loss(right, torch.zeros_like(cover))).all()


def test_folded_projection_equals_standardising_first():
    torch.manual_seed(0)
    head = MiniImageHead(width=32, depth=1, local_depth=1)
    for name in ("fine", "coarse"):
        getattr(head, f"{name}_mean").normal_()
        getattr(head, f"{name}_scale").uniform_(0.5, 2)
    x = torch.randn(2, 5, 5, head.fine_in.in_features)
    naive = head.fine_in((x - head.fine_mean) * head.fine_scale)
    assert torch.allclose(head.eval()._project(x, "fine"), naive, atol=1e-5)
    head.train().channel_drop = 0.0
    assert torch.allclose(head._project(x, "fine"), naive, atol=1e-5)
    head.channel_drop = 1.0
    assert torch.allclose(head._project(x, "fine"), head.fine_in.bias.expand_as(naive), atol=1e-5)


def test_dropping_channels_keeps_the_mean():
    torch.manual_seed(0)
    head = MiniImageHead(width=8, depth=1, local_depth=1).train()
    head.fine_mean.normal_()
    x = torch.randn(1, 1, 1, head.fine_in.in_features).expand(4000, 1, 1, -1)
    naive = head.fine_in((x[:1] - head.fine_mean) * head.fine_scale)
    assert torch.allclose(head._project(x, "fine").mean(0, keepdim=True), naive, atol=0.06)


def test_nonsense_is_new_and_sounds_like_words():
    words = {"guitar", "street", "running", "jacket", "mountain", "orange"}
    real = {"mountar"}
    made = [Nonsense(words, real.__contains__).word(random.Random(seed)) for seed in range(60)]
    assert not (words | real) & set(made)
    pairs = {w[i : i + 2] for w in words for i in range(len(w) - 1)}
    assert all(w[i : i + 2] in pairs for w in made for i in range(len(w) - 1))
    assert all(4 <= len(w) <= 10 for w in made)
    assert len(set(made)) > 10
    assert made == [Nonsense(words, real.__contains__).word(random.Random(seed)) for seed in range(60)]


def test_null_shift_is_the_least_that_silences_enough_words():
    scores = torch.tensor([[-3.0], [-2.0], [-1.0], [1.0]]).expand(4, 4)  # with one score in all heads, half is at 0
    assert null_shift(scores, 1.0) == 0
    assert null_shift(scores, 0.5) == pytest.approx(1.0, abs=0.02)
    assert null_shift(scores, 0.25) == pytest.approx(2.0, abs=0.02)
    assert null_shift(scores, 0.0) == pytest.approx(3.0, abs=0.02)
