"""What every family and every method is held to, over the registries: a new entry is tested by being there."""

from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import VISION, clip_folder, own_copy

from crossviz import Explainer, methods
from crossviz.capture import capture
from crossviz.errors import (
    CaptionError,
    CrossvizError,
    ModelError,
    PhotoError,
    SelectionError,
    UnsupportedMethodError,
)
from crossviz.photo import load_photo
from crossviz.tower import run_tower

from .conftest import CAPTION, asked, each_architecture

WINDOW = 4
"""Patches to a side of what occlusion covers, where it has to find a thing."""
MAY_BE_ZERO = ("grad_eclip", "gradcam")
"""They cut off a sum: where every patch speaks against the word, nothing is left."""


@pytest.fixture
def explainer(model_name) -> Explainer:
    return Explainer(model_name, "cpu")


def offered(explainer: Explainer) -> list:
    """The methods that the model supports; that it says why it lacks the others is a test of its own."""
    return [asked(explainer, info.name) for info in explainer.methods]


def name_of(method) -> str:
    return method if isinstance(method, str) else method.info.name


def offered_of(explainer: Explainer, *, text_dependent: bool) -> list:
    return [asked(explainer, info.name) for info in explainer.methods if info.text_dependent == text_dependent]


def state_of(model, *, copied: bool = False) -> dict:
    """Everything about a model that a call must leave as it was, bit for bit; `copied` to be compared with later."""
    modules, parameters = dict(model.module.named_modules()), dict(model.module.named_parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "hooks": {name: [len(getattr(module, kind)) for kind in hooks] for name, module in modules.items()},
        "forwards": {name for name, module in modules.items() if "forward" in vars(module)},
        "modes": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: parameter.requires_grad for name, parameter in parameters.items()},
        "grads": {name for name, parameter in parameters.items() if parameter.grad is not None},
        "weights": {name: each.clone() if copied else each for name, each in model.module.state_dict().items()},
        "autograd": torch.is_grad_enabled(),
        "random": torch.get_rng_state(),
    }


def assert_same_state(before: dict, after: dict) -> None:
    for name in before:
        if name == "weights":
            assert before[name].keys() == after[name].keys()
            assert all(torch.equal(tensor, after[name][key]) for key, tensor in before[name].items())
        elif name == "random":
            assert torch.equal(before[name], after[name])
        else:
            assert before[name] == after[name], name


def test_captured_attention_recomputes_every_sites_own_output(model, photo):
    sites = model.attention_sites()
    assert sites
    with torch.no_grad(), capture(sites, keep=("probs",)) as captured:
        image = model.encode_image(load_photo(photo))
        trace = model.trace(image, CAPTION)
        if "cross_attention" in trace.provides:  # where photo and text are read together
            trace.cross_attention()
    calls = [call for name in sites for call in captured.calls(name)]
    assert all(captured.calls(name) for name in sites)
    assert max(call.deviation for call in calls) <= 1e-5
    for call in calls:
        assert torch.allclose(call.probs.sum(-1), torch.ones(()), atol=1e-5)


def test_the_embeddings_are_open_clips_own(clip_model, photo):
    """What a family takes apart must still be the model that open_clip runs."""
    model = clip_model
    clip = model.module["clip"] if "clip" in dict(model.module.named_children()) else model.module
    tokenized = model.tokenize(CAPTION)
    with torch.no_grad():
        image = model.encode_image(load_photo(photo))
        pixels, _ = model.preprocess(load_photo(photo))
        assert torch.allclose(image.embedding, clip.encode_image(pixels, normalize=True)[0], atol=1e-5)
        text = model.encode_text(tokenized)
        assert torch.allclose(text.embedding, clip.encode_text(tokenized.ids, normalize=True)[0], atol=1e-5)
        assert torch.allclose(model.embed_texts([CAPTION])[0], text.embedding.cpu(), atol=1e-5)
        similarity = model.trace(image, CAPTION).similarity
    assert similarity == pytest.approx(float(image.embedding @ text.embedding), abs=1e-6)
    assert len(text.tokens) == len(tokenized.caption.tokens) if text.tokens is not None else True


def test_what_is_explained_fits_together(explainer, encoded, explained, photo):
    for method in offered(explainer):
        found = explained(method)
        info = next(info for info in methods.methods() if info.name == name_of(method))
        grid, words = found.grid, len(found.words)
        assert [word.text for word in found.words] == ["A", "dog's", "red", "frisbee", "the", "dog"]
        assert found.method == found.map.method == info.name and found.method_title == info.title
        assert (found.map.unit, found.map.signed) == (info.unit, info.signed)
        assert found.map.text_dependent == info.text_dependent
        assert found.map.values.shape == (words, grid.height, grid.width)
        assert found.map.params["layers"] and found.map.notes
        if found.map.per_head is not None:
            assert found.map.per_head.shape[2:] == found.map.values.shape
            # A pooler's attention stands for all layers: no row of a block is the image's.
            assert found.record.layers in (found.map.layers, ("pooler",))
        if found.record is not None:
            assert torch.allclose(torch.softmax(found.record.scores, -1), found.record.probs, atol=1e-5)
        assert found.heatmap("red frisbee").shape == photo.shape[:2]
        assert found.photo.wh == (photo.shape[1], photo.shape[0])
        assert (found.similarity is None) == (encoded.embedding is None)
        assert found.similarity is None or -1 <= found.similarity <= 1
        provenance = found.provenance
        assert provenance.trained == explainer.info.trained
        assert provenance.model == explainer.info.name and len(provenance.weights_sha256) == 64
        assert provenance.libraries["torch"] == metadata.version("torch")
        untrained = [note for note in provenance.notes if "not trained" in note]
        assert bool(untrained) != provenance.trained


def test_a_method_that_the_model_does_not_support_says_why(explainer, method_name, encoded, explained):
    if method_name in [info.name for info in explainer.methods]:
        assert explained(asked(explainer, method_name)).method == method_name
    else:
        with pytest.raises(UnsupportedMethodError, match=r"does not offer .+: its? .+"):
            explainer.explain(encoded, CAPTION, method_name)


def told_of(image) -> dict:
    """What an encoded photo holds, of which a call may change nothing."""
    return {**image.features, "embedding": image.embedding}


class Failing:
    """A method that does its work with autograd on, and then fails."""

    needs_grad = True

    def __init__(self, method) -> None:
        self.method, self.info = method, method.info

    def __call__(self, trace, layers=None):
        self.method(trace, layers)
        raise ZeroDivisionError


@each_architecture
def test_nothing_is_left_behind_after_success_or_failure(explainer, model, photo):
    before = state_of(model, copied=True)
    image = explainer.encode(photo)
    encoded = {name: [tensor.clone() for tensor in tensors_in(part)] for name, part in told_of(image).items()}
    told = (image.view, image.grid, image.model_key, image.model_name)
    for method in offered(explainer):
        explainer.explain(image, "a dog", method)
        assert_same_state(before, state_of(model))
        now = {name: tensors_in(part) for name, part in told_of(image).items()}
        assert now.keys() == encoded.keys(), name_of(method)
        for name, parts in now.items():
            assert all(torch.equal(*pair) for pair in zip(parts, encoded[name], strict=True)), (name_of(method), name)
        assert (image.view, image.grid, image.model_key, image.model_name) == told
        for caption, layers, error in (("   ", None, CaptionError), ("a dog", [99], SelectionError)):
            with pytest.raises(error):
                explainer.explain(image, caption, method, layers)
            assert_same_state(before, state_of(model))

        with pytest.raises(ZeroDivisionError):
            explainer.explain(
                image, "a dog", Failing(methods.get_method(method) if isinstance(method, str) else method)
            )
        assert_same_state(before, state_of(model))


def test_two_calls_are_identical(explainer, explained, photo):
    anew = explainer.encode(photo)
    for method in reversed(offered(explainer)):  # so that what one leaves in the image is not in both
        assert explained(method) == explainer.explain(anew, CAPTION, method), name_of(method)


def test_an_image_encoded_once_explains_as_one_encoded_anew(explainer, encoded, explained, photo):
    for method in offered(explainer):
        first = explained(method)
        explainer.explain(encoded, "a cat", method)
        assert first == explainer.explain(encoded, CAPTION, method), name_of(method)
    default = explainer.methods[0].name
    assert explained(default) == explainer.explain(photo, CAPTION, default)


@each_architecture
def test_threads_do_not_mix_their_photos(explainer, explained, photo):
    """Two photos are explained by the same method while one of them is encoded, too."""
    turned = np.ascontiguousarray(photo[:, ::-1].transpose(1, 0, 2))
    by_itself = explainer.encode(turned)
    by_default = explainer.explain(by_itself, CAPTION)
    with ThreadPoolExecutor(3) as pool:
        images = list(pool.map(explainer.encode, (photo, turned)))
        for method in offered(explainer):
            jobs = [(images[0], method), (images[1], method), (turned, None)]
            together = pool.map(lambda job: explainer.explain(job[0], CAPTION, job[1]), jobs)
            alone = [explained(method), explainer.explain(by_itself, CAPTION, method), by_default]
            assert list(together) == alone, name_of(method)


@pytest.mark.parametrize(
    ("width", "height", "place"),
    [(360, 640, 0.25), (640, 360, 0.62), (1600, 300, 0.25)],
    ids=["portrait", "landscape", "panorama"],
)
def test_the_map_is_where_the_photo_has_the_thing(local_model_name, cat, width, height, place):
    """A cat is put into an even photo. Random weights don't know a cat: there the map changes where it was put."""
    explainer = Explainer(local_model_name, "cpu")
    even = np.full((height, width, 3), (150, 170, 190), dtype=np.uint8)
    bare = explainer.encode(even)
    x0, y0, x1, y1 = bare.view.seen_xyxy
    # A quarter of what the model sees, off the middle and off the diagonal.
    left, top = x0 + place * (x1 - x0), y0 + (0.85 - place) * (y1 - y0)
    box = tuple(round(value) for value in (left, top, left + (x1 - x0) / 4, top + (y1 - y0) / 4))
    with_cat = even.copy()
    with_cat[box[1] : box[3], box[0] : box[2]] = cat.resize((box[2] - box[0], box[3] - box[1]))
    cell_x, cell_y = (x1 - x0) / bare.grid.width, (y1 - y0) / bare.grid.height
    random = not explainer.info.trained or "open_clip" in explainer.info.name
    for info in explainer.methods:
        if not info.text_dependent and not random:
            continue  # what such a method shows first need not be the thing
        if info.name == "image_to_text":
            continue  # which patch asks about a word need not be where the thing is
        if info.name == "grad_eclip":
            continue  # reads the last block alone: random weights turn it anywhere, crossviz-mini's blur it by a cell
        method = asked(explainer, info.name, window=WINDOW)
        if not isinstance(method, str) and bare.grid == explainer.grid and width < 1600:
            continue  # many windows of the same patches whatever the photo's shape, where the other methods look at it
        heat = explainer.explain(with_cat, "a cat", method).heatmap("cat")
        if random:
            heat = np.abs(heat - explainer.explain(bare, "a cat", method).heatmap("cat"))
        row, col = np.unravel_index(heat.argmax(), heat.shape)
        # A window that holds the thing's edge may already take it away.
        slack = WINDOW - 1 if info.name == "occlusion" else 1
        slack_x, slack_y = slack * cell_x, slack * cell_y
        assert box[0] - slack_x <= col <= box[2] + slack_x, info.name
        assert box[1] - slack_y <= row <= box[3] + slack_y, info.name


def test_a_turned_photo_is_explained_upright(explainer, encoded, explained, photo, tmp_path):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: the viewer turns it a quarter clockwise
    Image.fromarray(photo).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    turned = explainer.encode(path)
    assert np.array_equal(turned.photo.pixels, encoded.photo.pixels)
    assert (turned.view, turned.grid) == (encoded.view, encoded.grid)
    one, other = told_of(turned), told_of(encoded)
    assert one.keys() == other.keys()
    for name in one:  # all that a method reads; that it makes the same of the same has a test of its own
        parts = zip(tensors_in(one[name]), tensors_in(other[name]), strict=True)
        assert all(torch.equal(*pair) for pair in parts), name
    default = explainer.methods[0].name
    found = explainer.explain(turned, CAPTION, default)
    assert np.array_equal(found.heatmap("dog's"), explained(default).heatmap("dog's"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (3, 2000)], ids=str)
def test_slivers_are_explained(explainer, shape):
    sliver = np.random.default_rng(2).integers(0, 255, (*shape, 3), dtype=np.uint8)
    image = explainer.encode(sliver)
    chosen = offered(explainer)
    if image.grid == explainer.grid and shape in ((900, 1), (3, 2000)):
        chosen = [None]  # the photo's shape is not seen in the patches: the methods did their part on (1, 900)
    for method in chosen:
        found = explainer.explain(image, "a dog", method)
        assert found.heatmap("dog").shape == shape
        assert np.isfinite(found.heatmap("dog")).all()


@pytest.mark.parametrize(
    ("photo_given", "caption", "error"),
    [
        (None, "a dog", PhotoError),
        (b"not a photo", "a dog", PhotoError),
        ("photo", "", CaptionError),
        ("photo", " \n", CaptionError),
        ("photo", "?!", CaptionError),
        ("photo", "dog " * 2500, CaptionError),
        ("photo", None, CaptionError),
    ],
)
def test_bad_input_is_one_clear_sentence(explainer, photo, photo_given, caption, error):
    for method in offered(explainer):
        with pytest.raises(error) as caught:
            explainer.explain(photo if photo_given == "photo" else photo_given, caption, method)
        assert isinstance(caught.value, CrossvizError)
        assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_caption_longer_than_the_model_reads_says_where_it_was_cut(explainer, encoded):
    caption = " ".join(f"dog{10**6 + i}" for i in range(200))  # of many tokens each: some methods take a pass per word
    for method in offered(explainer):
        found = explainer.explain(encoded, caption, method)
        assert found.caption.truncated and found.words[-1].truncated and not found.words[0].truncated
        assert caption[found.caption.cut_at :]
        assert not found.map.values[-1].any() and found.map.token_counts[-1] == 0
        with pytest.raises(SelectionError, match="did not read"):
            found.heatmap(word=-1)


def test_layers_are_chosen_as_everywhere(explainer, encoded, explained):
    image = encoded
    for method in offered(explainer):
        every = explained(method)
        read = every.map.params["layers"]
        for layers, chosen in ((1, -1), ([read[0]], 0), ([read[-1]], -1)):
            one = explainer.explain(image, CAPTION, method, layers)
            label = read[chosen]
            assert one.map.params["layers"] == [label]
            if len(read) == 1:
                assert one.map == every.map
            if every.map.per_head is not None:
                assert one.map.layers == (label,)
                assert torch.equal(one.map.per_head[0], every.map.per_head[chosen])
            if every.record is not None and every.record.layers == tuple(read):
                assert one.record.layers == (label,)
                assert torch.equal(one.record.probs[0], every.record.probs[chosen])
        assert explainer.explain(image, CAPTION, method, len(read)).map == every.map
        with pytest.raises(SelectionError):
            explainer.explain(image, CAPTION, method, len(read) + 1)


def own_labels(name: str, tower) -> bool:
    """Whether what a method reads are no attention layers of the image tower."""
    return name in ("occlusion", "cross_attention") or (name == "gradcam" and tower.features is not None)


def test_one_list_of_layers_for_every_method_that_reads_the_image_tower(explainer, model, encoded, explained):
    """An index and its label are one layer, the same for all methods; what a method does not read it refuses."""
    image = encoded
    trace = model.trace(image, CAPTION)
    if "image_tower" not in trace.provides:
        # A tower that is run only as a whole has no layers: what is read are those in which text and photo meet.
        read = {
            name_of(method): explained(method).map.params["layers"]
            for method in offered(explainer)
            if name_of(method) != "occlusion"
        }
        assert set(read) <= {
            "cross_attention", "written_attention", "image_to_text", "attention_gradient", "chefer"
        }  # fmt: skip
        assert len({tuple(labels) for labels in read.values()}) <= 1, read
        return
    tower = trace.image_tower()
    labels = [block.label for block in tower.blocks] + ([] if tower.pooler is None else [tower.pooler.label])
    for method in offered(explainer):
        name = name_of(method)
        if own_labels(name, tower):
            continue
        if name == "head_decomposition":
            assert tower.pooler is None, "its labels are those of the blocks"
        read = explained(method).map.params["layers"]
        assert read and set(read) <= set(labels), name
        for label, indices in {labels[0]: {0}, labels[-1]: {-1, len(labels) - 1}}.items():
            if label in read:
                by_label = explainer.explain(image, CAPTION, method, [label]).map
                assert by_label.params["layers"] == [label], name
                for index in indices:
                    assert explainer.explain(image, CAPTION, method, [index]).map == by_label, (name, index)
            else:
                for one in (*indices, label):
                    with pytest.raises(SelectionError, match=f"does not read '{label}'"):
                        explainer.explain(image, CAPTION, method, [one])
        with pytest.raises(SelectionError, match="There is no layer"):
            explainer.explain(image, CAPTION, method, [len(labels)])


def tensors_in(value) -> list[torch.Tensor]:
    """All tensors in something nested, whatever its types."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for part in value.values() for tensor in tensors_in(part)]
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in tensors_in(part)]
    return tensors_in(vars(value)) if hasattr(value, "__dict__") else []


@each_architecture
@pytest.mark.parametrize("on", [True, False], ids=["autograd on", "autograd off"])
def test_a_method_called_by_itself_keeps_nothing_of_a_graph(explainer, model, photo, on):
    image = explainer.encode(photo)
    for method in offered(explainer):
        called = methods.get_method(method) if isinstance(method, str) else method
        with torch.set_grad_enabled(on):
            found = called(model.trace(image, "a dog"))
        assert torch.isfinite(found.map.values).all()
        kept = tensors_in(image._kept) + tensors_in(found.map.values)
        assert not any(tensor.requires_grad for tensor in kept), (called.info.name, list(image._kept))


def test_a_method_has_no_memory(explainer, encoded):
    """What tells two methods apart are their settings, so a call may not change them."""
    for method in offered(explainer):
        called = methods.get_method(method) if isinstance(method, str) else method
        before = {name: repr(value) for name, value in vars(called).items()}
        explainer.explain(encoded, "a dog", called)
        assert {name: repr(value) for name, value in vars(called).items()} == before, called.info.name


def test_words_that_are_texts_by_themselves(explainer, encoded):
    """The same word twice is the same map, whatever stands about it; another word is another map."""
    image = encoded
    if "open_clip" not in explainer.info.name:  # the others read a word together with its neighbours
        here, there = (
            explainer.explain(image, text, "cross_attention").map.values for text in ("a dog runs", "no dog")
        )
        assert not torch.allclose(here[1], there[1], rtol=1e-4)
        return
    for method in offered_of(explainer, text_dependent=True):
        if name_of(method) == "cross_attention":
            continue  # the queries are token states, which the words before have a part in
        found = explainer.explain(image, "a dog, a red bus, a dog", method).map.values
        # Differences of scores near 1 are off by a few 1e-8 whatever their size.
        same = {"rtol": 0, "atol": 1e-5 * float(found.abs().max()) + 1e-7}
        assert torch.allclose(found[1], found[6], **same), name_of(method)
        if name_of(method) not in MAY_BE_ZERO:
            assert found[1].any(), name_of(method)
        assert not torch.allclose(found[1], found[4], **same) or not found[1].any(), name_of(method)
        if name_of(method) != "clip_surgery":  # takes off what the caption's words have in common
            other = explainer.explain(image, "the dog", method).map.values
            assert torch.allclose(found[1], other[1], **same), name_of(method)


def test_a_method_without_text_gives_one_map(explainer, encoded, explained):
    for method in offered_of(explainer, text_dependent=False):
        found = explained(method).map
        other = explainer.explain(encoded, "frisbee", method).map
        assert all(values.equal(other.values[0]) for values in found.values), name_of(method)
        assert other.values.any() and any("same" in note for note in found.notes)


def test_the_default_reads_the_text(explainer, photo):
    default = explainer.explain(photo, "a dog", method=None)
    assert default.map.text_dependent and default.method == explainer.methods[0].name


def test_an_image_of_another_model_is_refused(photo, tmp_path):
    one = Explainer(f"open_clip:{clip_folder(tmp_path / 'one')}", "cpu")
    other = Explainer(f"open_clip:{clip_folder(tmp_path / 'other', vision={**VISION, 'layers': 2})}", "cpu")
    with pytest.raises(ModelError, match="encode it with the explainer that explains it"):
        other.explain(one.encode(photo), "a dog")


def parameters_of(parts) -> list[torch.nn.Parameter]:
    return [one for part in parts for one in ([part] if isinstance(part, torch.nn.Parameter) else part.parameters())]


def test_many_at_once_are_as_each_by_itself(explainer, photo):
    wide = np.tile(photo, (1, 2, 1))[:40]
    photos, captions = [photo, wide, photo], [CAPTION, "dog", "a frisbee in the air, and two dogs after it"]
    together = explainer.encode_many([photos[0], explainer.prepare(photos[1]), photos[2]])
    found = explainer.explain_many(together, captions)
    for image, ex, source, caption in zip(together, found, photos, captions, strict=True):
        alone = explainer.encode(source)
        assert (image.view, image.grid, image.photo) == (alone.view, alone.grid, alone.photo)
        expected = explainer.explain(alone, caption)
        assert ex.caption == expected.caption and ex.provenance == expected.provenance
        for name in ("values", "per_head", "null_mass"):
            one, other = getattr(ex.map, name), getattr(expected.map, name)
            assert (one is None) == (other is None)
            assert one is None or torch.allclose(one, other, rtol=1e-3, atol=2e-5 * float(other.abs().max())), name
        assert ex.similarity == pytest.approx(expected.similarity, abs=1e-5)
        for tensor in image.features.values():  # it keeps no other photo's memory
            assert tensor.untyped_storage().nbytes() <= 2 * max(tensor.nbytes, 64)
    assert explainer.encode_many([]) == explainer.explain_many([], []) == []
    with pytest.raises(ModelError, match="3 photos and 1 captions"):
        explainer.explain_many(together, captions[:1])
    with pytest.raises(ModelError, match="prepared by another model"):
        explainer.encode_many([explainer.prepare(photo)._replace(model_key="another")])
    with pytest.raises(CaptionError):
        explainer.explain_many(together, [CAPTION, " ", CAPTION])


def test_stages_hold_every_parameter_once(model):
    stages = model.stages()
    held = [id(parameter) for _, parts in stages for parameter in parameters_of(parts)]
    assert sorted(held) == sorted({id(parameter) for parameter in model.module.parameters()})
    assert len({label for label, _ in stages}) == len(stages) and all(parameters_of(parts) for _, parts in stages)


def test_a_clone_shares_nothing(model, photo):
    """Every weight of a copy is put out of order: the model is as it was, and all that the copy offers is its own."""
    before = state_of(model, copied=True)
    source = load_photo(photo)
    clone, same = own_copy(model), own_copy(model)
    assert len({model.key, clone.key, same.key}) == 3
    with torch.no_grad():
        image, image_of_same = model.encode_image(source), same.encode_image(source)
        for parameter in clone.module.parameters():
            # As spread out as it was, so that nothing overflows; by no step of a row, channel or head.
            parameter.copy_(parameter.flatten().roll(1 + parameter.numel() // 3).view_as(parameter))
        image_of_clone = clone.encode_image(source)
        traces = [model.trace(image, CAPTION), same.trace(image_of_same, CAPTION), clone.trace(image_of_clone, CAPTION)]
        phrase = [traces[0].caption.phrase(word=3)]
        scores = [trace.match().score(trace.match().state(trace.pixels), phrase) for trace in traces]
        towers = [
            run_tower(trace.image_tower(), trace.pixels).inputs for trace in traces if "image_tower" in trace.provides
        ]
    assert torch.equal(scores[0], scores[1]) and not torch.equal(scores[0], scores[2])
    if image.embedding is not None:
        # Of one vector, so that where the weights lie in memory decides on the last bit.
        assert torch.allclose(image.embedding, image_of_same.embedding, rtol=0, atol=1e-6)
        assert not torch.allclose(image.embedding, image_of_clone.embedding, rtol=0, atol=1e-3)
    if towers:
        assert torch.equal(towers[0], towers[1]) and not torch.equal(towers[0], towers[2])
    with pytest.raises(ModelError, match="other weights"):
        model.trace(image_of_clone, CAPTION)
    before["random"] = torch.get_rng_state()
    assert_same_state(before, state_of(model))
