"""Trust through the public API: every check on small models, kept with the explanation, ended when asked to."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from small_models import clip_folder, mini_folder

import crossviz
from crossviz.cli import main
from crossviz.errors import CrossvizError, MethodError, ModelError, ResultError, SelectionError
from crossviz.explainer import Explainer
from crossviz.methods import HeadDecomposition
from crossviz.models.cascade import cascade
from crossviz.trust import CHECKS, run
from crossviz.trust.deletion import LEVELS
from crossviz.trust.fills import filler
from crossviz.trust.localisation import localise
from crossviz.trust.ranks import spearman

CAPTION = "a dog and a zebra"


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return Explainer(f"open_clip:{clip_folder(tmp_path_factory.mktemp('clip'))}", device="cpu")


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    return Explainer(f"crossviz-mini:{mini_folder(tmp_path_factory.mktemp('mini'))}", device="cpu")


@pytest.fixture(scope="module")
def asked(clip, photo):
    image = clip.encode(photo)
    explanation = clip.explain(image, CAPTION)
    return image, explanation, clip.trust(image, explanation, "dog", box=(10, 10, 60, 50))


def test_every_check_is_made_and_kept_in_every_kind_of_file(asked, tmp_path):
    _, explanation, report = asked
    assert report.made == CHECKS, report.notes
    assert (report.text, report.span, report.method) == ("dog", (2, 5), explanation.method)
    assert report.sentence.endswith(".") and "'dog'" in report.sentence
    kept = explanation.with_trust(report)
    assert kept != explanation and kept.trust == {(2, 5): report} and not explanation.trust
    for suffix in (".npz", ".json", ".html"):
        kept.save(tmp_path / f"x{suffix}")
        assert crossviz.load(tmp_path / f"x{suffix}") == kept
    shown = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert set(shown) == {"span", "text", "method", "sentence", "seconds", "seed", "notes", *CHECKS}
    assert len(shown["deletion"]["deletion"]["map"]) == len(shown["deletion"]["levels"]) == len(LEVELS)
    with pytest.raises(ResultError, match="not at"):
        other = Explanation_of(explanation, "a cat and a zebra")
        other.with_trust(report)


def Explanation_of(explanation, text):

    import factories

    return dataclasses.replace(explanation, caption=factories.caption(text))


def test_the_seed_decides_and_nothing_else(asked, clip, photo):
    image, explanation, report = asked
    again = clip.trust(clip.encode(photo), explanation, "dog", box=(10, 10, 60, 50))
    for name in CHECKS:
        assert getattr(again, name) == getattr(report, name), name
    other = clip.trust(image, explanation, "dog", seed=1, checks=["calibration", "deletion"])
    assert other.calibration != report.calibration and other.deletion != report.deletion
    assert other.made == ("calibration", "deletion")


def test_the_checks_change_nothing_in_the_model(asked, clip):
    image, explanation, _ = asked
    model = clip._model
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    flags = [(p.requires_grad, p.grad) for p in model.module.parameters()]
    clip.trust(image, explanation, "zebra", seed=7)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.module.state_dict().items())
    assert flags == [(p.requires_grad, p.grad) for p in model.module.parameters()]
    assert torch.is_grad_enabled()


def test_a_cascade_ends_with_every_weight_in_another_place(clip):
    model, last = clip._model, None
    real = dict(model.module.named_parameters())
    shares = []
    for (label, share, made), (expected, _) in zip(cascade(model, 0), model.stages(), strict=True):
        assert label == expected and made.key != model.key
        now = dict(made.module.named_parameters())
        for name, parameter in now.items():  # the same numbers, in another order or not yet
            assert torch.equal(parameter.flatten().sort().values, real[name].flatten().sort().values)
            if last is not None and not torch.equal(last[name], real[name]):
                assert torch.equal(parameter, last[name])  # what is random stays so
        changed = sum(p.numel() for name, p in now.items() if not torch.equal(p, real[name]))
        assert changed <= round(share * sum(p.numel() for p in real.values()))
        shares.append(share)
        last = {name: parameter.detach().clone() for name, parameter in now.items()}
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert all(not torch.equal(last[name], p) for name, p in real.items() if p.numel() > 20)


def test_randomisation_is_one_where_nothing_is_random(asked, clip):
    image, explanation, report = asked
    found = report.randomisation
    assert (found.labels[0], found.shares[0], found.correlations[0]) == ("nothing", 0, 1)
    assert len(found.labels) == 1 + len(clip._model.stages())
    # By hand, at the last stage: the photo encoded by the random copy, explained there.
    *_, (_, _, made) = cascade(clip._model, 0)
    with torch.no_grad():
        trace = made.trace(made.encode_image(image.photo), CAPTION)
        chart = run.run_method(clip._method(None), trace, explanation.map.params.get("layers"))
    words = explanation.caption.phrase("dog").words
    expected = spearman(chart.select(words), explanation.map.select(words))
    assert found.last == pytest.approx(expected, abs=1e-3)


def test_the_match_of_the_whole_photo_is_where_every_curve_begins(asked, clip):
    image, explanation, report = asked
    trace = clip._model.trace(image, CAPTION)
    match = trace.match()
    with torch.no_grad():
        score = match.readable(match.score(match.state(trace.pixels), [explanation.caption.phrase("dog")]))
    assert report.deletion.whole == pytest.approx(float(score), abs=1e-5)
    assert report.head_effect.whole == pytest.approx(float(score), abs=1e-4)
    assert torch.allclose(report.deletion.curves[0, :, 0], report.deletion.curves[1, :, -1])


def test_mini_is_checked_with_its_cross_attention_heads(mini, photo):
    image = mini.encode(photo)
    explanation = mini.explain(image, "a dog")
    report = mini.trust(image, explanation, "dog", checks=["head_effect", "deletion"])
    assert report.made == ("deletion", "head_effect"), report.notes
    own = [head for head in report.head_effect.heads if head.layer in explanation.map.layers]
    assert len(own) == explanation.map.per_head.shape[1]
    assert report.head_effect.whole == pytest.approx(1 - explanation.null_mass("dog"), abs=1e-3)
    assert report.deletion.whole == pytest.approx(1 - explanation.null_mass("dog"), abs=1e-3)
    # Leaving a head out of the mean, by hand.
    head = own[0].head
    null = explanation.map.null_mass[0, :, 1]
    rest = 1 - null[torch.arange(len(null)) != head].mean()
    assert own[0].effect == pytest.approx(float(rest - (1 - null.mean())), abs=1e-5)
    assert all(0 <= part.map_change <= 2 for part in report.head_effect.heads)


def test_closing_the_steps_ends_the_checks(asked, clip, photo):
    image, explanation = clip.encode(photo), asked[1]
    steps = clip.trust_steps(image, explanation, "dog")
    done, label = next(steps)
    assert done == 0 and label
    for _ in range(5):
        done, _ = next(steps)
    assert 0 < done < 1
    steps.close()
    seen = []
    clip.trust(image, explanation, "dog", checks=["calibration"], progress=lambda share, label: seen.append(share))
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == 1 and len(seen) > 10


def test_what_can_not_be_checked_is_said(clip, mini, photo):
    image = mini.encode(photo)
    raw = mini.explain(image, "a dog", method="raw_attention")
    report = mini.trust(image, raw, "dog", checks=["calibration", "agreement"])
    assert not report.made and len(report.notes) == 2 and "same for every caption" in report.notes[0]
    assert report.sentence == "What was measured says nothing about the map of 'dog'."


def test_a_map_of_other_settings_needs_its_method_object(clip, photo):
    image, method = clip.encode(photo), HeadDecomposition(prompt="a drawing of a {} on old paper")
    explanation = clip.explain(image, CAPTION, method=method)
    with pytest.raises(MethodError, match="other settings"):
        clip.trust(image, explanation, "dog", checks=["calibration"])
    assert clip.trust(image, explanation, "dog", checks=["calibration"], method=method).made


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (SelectionError, {"text": "cat"}),
        (MethodError, {"text": "dog", "checks": ["taste"]}),
        (MethodError, {"text": "dog", "checks": []}),
        (MethodError, {"text": "dog", "checks": "deletion"}),
        (MethodError, {"text": "dog", "checks": ["localisation"]}),
        (MethodError, {"text": "dog", "fill": "paint"}),
        (CrossvizError, {}),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_computed(asked, clip, error, arguments):
    image, explanation, _ = asked
    with pytest.raises(error):
        clip.trust_steps(image, explanation, **arguments)


def test_another_model_or_photo_is_refused(asked, clip, mini, photo):
    explanation = asked[1]
    with pytest.raises(ModelError, match="made by"):
        mini.trust(photo, explanation, "dog")
    with pytest.raises(ModelError, match="another photo"):
        clip.trust(np.ascontiguousarray(photo[::-1]), explanation, "dog")


def test_the_command_line_prints_the_sentence_and_the_figures(clip, photo, tmp_path, capsys):
    from PIL import Image

    Image.fromarray(photo).save(tmp_path / "photo.png")
    arguments = ["explain", str(tmp_path / "photo.png"), "a dog", "-m", clip.info.name, "--device", "cpu", "--trust"]
    assert main([*arguments, "--words", "dog", "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    kept = crossviz.load(tmp_path / "out" / "explanation.json")
    (report,) = kept.trust.values()
    assert report.text == "dog" and report.sentence in shown
    for name in ("random words", "deletion", "insertion", "random weights", "other methods", "heads"):
        assert f"\n  {name} " in shown
    assert f"highest patch p = {report.calibration.p_peak:.3f}" in shown
    assert main(arguments[:-1]) == 0
    assert "random words" not in capsys.readouterr().out


def test_checks_that_are_given_up_leave_no_more_than_one_cascade(clip):
    image = clip.encode(np.random.default_rng(9).integers(0, 255, (60, 80, 3), dtype=np.uint8))
    explanation = clip.explain(image, CAPTION)
    for seed in (0, 1, 2):
        for places in range(1, 4):
            steps = clip.trust_steps(image, explanation, "dog", checks=["randomisation"], seed=seed)
            for _ in range(places + 1):
                next(steps)
            steps.close()
        whole = clip.trust(image, explanation, "dog", checks=["randomisation"], seed=seed)
        assert len(image.keep("cascade", dict)) == len(clip._model.stages())
        again = clip.trust(image, explanation, "dog", checks=["randomisation"], seed=seed)
        assert again.randomisation == whole.randomisation


def test_copies_share_what_is_not_random_yet(clip):
    model = clip._model
    (_, _, first), *_, (_, _, last) = cascade(model, 3)
    ours, stage = {id(p): name for name, p in model.module.named_parameters()}, model.stages()[0][1]
    own = sum(p.numel() for p in first.module.parameters() if id(p) not in ours)
    assert own == sum(
        p.numel() for part in stage for p in (part.parameters() if hasattr(part, "parameters") else [part])
    )
    assert all(id(p) not in ours for p in last.module.parameters())
    assert first.image_module is model.image_module or any(id(p) not in ours for p in first.image_module.parameters())


def test_a_photo_that_is_removed_whole_is_its_mean_colour_with_either_fill():
    pixels = torch.rand(1, 3, 24, 30) + 5
    masks = torch.ones(1, 1, 24, 30, dtype=torch.bool)
    assert torch.allclose(filler(pixels, "inpaint")(masks), filler(pixels, "mean")(masks))


def test_of_a_cropped_photo_only_what_was_seen_counts():
    heatmap = np.zeros((10, 20), np.float32)
    heatmap[:, 5:15] = 1  # a map that knows nothing, where the model saw the middle
    found = localise(heatmap, (5, 0, 10, 10), (5, 0, 15, 10))
    assert (found.mass, found.area) == (0.5, 0.5)
    with pytest.raises(CrossvizError, match="that the model saw"):
        localise(heatmap, (0, 0, 4, 10), (5, 0, 15, 10))
