"""BLIP's two models, with random weights: against the library's own results, by loops, and with planted things."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_blips import SIDE, SPECIAL, START, VOCAB, blip_folder, build, plant

from crossviz import models
from crossviz.capture import capture, sites, uncovered
from crossviz.errors import CaptionError, CaptureError, SelectionError, UnsupportedMethodError
from crossviz.geometry import ImageView
from crossviz.methods import get_method, methods
from crossviz.models.blip_text import text_pass
from crossviz.models.cascade import cascade
from crossviz.photo import load_photo
from crossviz.trace import CAPABILITIES
from crossviz.words import Phrase

TEXT = "a red dog on the skateboard, and grass."
KINDS = {"matcher": False, "captioner": True}


def library(folder, captioner):
    """The same model as transformers itself loads it, with its own processor."""
    import transformers

    kind = transformers.BlipForConditionalGeneration if captioner else transformers.BlipForImageTextRetrieval
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pictures = transformers.models.blip.image_processing_pil_blip.BlipImageProcessorPil.from_pretrained(folder)
    return kind.from_pretrained(folder, attn_implementation="eager").eval(), transformers.BlipProcessor(
        pictures, tokenizer
    )


@pytest.fixture(scope="module", params=KINDS)
def subject(request, tmp_path_factory):
    """A model, the library's own, a photo and a caption in both."""
    captioner = KINDS[request.param]
    folder = blip_folder(tmp_path_factory.mktemp(request.param) / "blip", captioner)
    model = models.load_model(f"blip:{folder}")
    own, processor = library(folder, captioner)
    pixels = np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)
    photo = load_photo(pixels)
    given = processor(images=photo.image(), text=TEXT, return_tensors="pt")
    if captioner:
        given["input_ids"][:, 0] = own.config.text_config.bos_token_id  # as the library's `generate` does
    with torch.no_grad():
        image = model.encode_image(photo)
        states = own.vision_model(given["pixel_values"]).last_hidden_state
    return SimpleNamespace(
        captioner=captioner, model=model, own=own, processor=processor, photo=photo, image=image, given=given,
        ids=given["input_ids"], states=states, trace=model.trace(image, TEXT),
    )  # fmt: skip


def text_side(subject):
    return subject.own.text_decoder if subject.captioner else subject.own.text_encoder


# What goes in ---------------------------------------------------------------------------------------------------


def test_pixels_and_token_ids_are_those_of_the_librarys_own_processor(subject):
    assert torch.equal(subject.image.features["pixels"], subject.given["pixel_values"])
    assert torch.equal(subject.model.tokenize(TEXT).ids, subject.ids)
    assert subject.image.view == ImageView.squash((150, 90), (SIDE, SIDE))
    assert (subject.image.grid.height, subject.image.grid.width) == (5, 5)


def test_the_image_tower_is_the_librarys_and_every_site_recomputes_its_own_output(subject):
    found = sites(subject.model.module)
    assert uncovered(subject.model.module) == {}
    assert len(found) == 5 + 2 * 3  # image blocks, and two attentions in every text layer
    with torch.no_grad(), capture(found) as captured:
        subject.model.encode_image(subject.photo)
        subject.model.read(subject.ids, subject.states)
    assert all(captured[name].deviation <= 1e-5 for name in found)
    with torch.no_grad():
        own = subject.own.vision_model(subject.given["pixel_values"], output_attentions=True)
    torch.testing.assert_close(subject.image.features["states"], own.last_hidden_state)
    seen = [captured[name].probs for name in found if "vision" in name]
    torch.testing.assert_close(torch.stack(seen), torch.stack(own.attentions))


def test_masks_are_read_and_what_is_substituted_has_the_same_gradient(subject):
    site = subject.model.text_model.encoder.layer[0].attention.self
    cross = subject.model.text_model.encoder.layer[0].crossattention.self
    tokens, image = torch.randn(2, 5, 32), subject.states.expand(2, -1, -1)
    own_mask, image_mask = torch.zeros(2, 1, 1, 5), torch.zeros(2, 1, 1, 26)
    own_mask[1, ..., 4:], image_mask[1, ..., 20:] = -torch.inf, -torch.inf
    with capture({"own": site, "cross": cross}, substitute=True) as captured:
        first = site(tokens, attention_mask=own_mask)
        second = cross(tokens, own_mask, encoder_hidden_states=image, encoder_attention_mask=image_mask)
    for name, masked, got in (("own", slice(4, None), first), ("cross", slice(20, None), second)):
        probs = captured[name].probs
        assert not probs[1, ..., masked].any() and (probs[0, ..., masked] > 0).all()
        torch.testing.assert_close(got[1], probs)
        (grad,) = torch.autograd.grad(got[0].square().sum(), probs)
        context = captured[name].probs.detach().requires_grad_(True)
        values = (site.value(tokens) if name == "own" else cross.value(image)).unflatten(-1, (4, 8)).transpose(1, 2)
        by_hand = (context @ values).transpose(1, 2).flatten(2)
        torch.testing.assert_close(by_hand, got[0])
        torch.testing.assert_close(grad, torch.autograd.grad(by_hand.square().sum(), context)[0])


def test_calls_that_are_not_covered_are_refused(subject):
    text = subject.model.text_model
    cross = {"cross": text.encoder.layer[1].crossattention.self}
    with torch.no_grad(), capture(cross), pytest.raises(CaptureError, match=r"called with `(past_key_values|cache)`"):
        text(input_ids=subject.ids, encoder_hidden_states=subject.states, is_decoder=True, use_cache=True)
    states = torch.randn(1, 4, 32)
    with torch.no_grad(), capture(cross), pytest.raises(CaptureError, match="`more`"):
        cross["cross"](states, encoder_hidden_states=subject.states, more=1)


# Cross-attention --------------------------------------------------------------------------------------------------


def eager(subject):
    """The library's own attentions of the text layers, each `layer head token key`."""
    with torch.no_grad():
        out = text_side(subject)(
            input_ids=subject.ids,
            encoder_hidden_states=subject.states,
            is_decoder=subject.captioner,
            use_cache=False,
            output_attentions=True,
        )
    return torch.cat(out.attentions), torch.cat(out.cross_attentions)


def test_cross_attention_is_the_librarys_with_the_class_token_last(subject):
    found = subject.trace.cross_attention()
    _, own = eager(subject)
    assert own.shape == (3, 4, len(subject.trace.caption.tokens), 26)
    torch.testing.assert_close(found.probs, torch.cat([own[..., 1:], own[..., :1]], -1))
    torch.testing.assert_close(found.scores.softmax(-1), found.probs)
    torch.testing.assert_close(found.probs.sum(-1), torch.ones(own.shape[:-1]))
    assert found.layers == ("layer 1", "layer 2", "layer 3") and not found.has_null
    assert own.std() > 0.02, "far from even, or nothing is tested"


@pytest.mark.parametrize("subject", ["captioner"], indirect=True)
def test_the_row_that_wrote_a_token_is_that_of_the_one_before(subject):
    read, written = subject.trace.cross_attention(), subject.trace.written_attention()
    assert torch.equal(written.probs[:, :, 1:], read.probs[:, :, :-1])
    assert torch.equal(written.scores[:, :, 1:], read.scores[:, :, :-1])
    assert torch.equal(written.probs[:, :, 0], read.probs[:, :, 0])
    # The row that wrote a word can't know it.
    other = subject.model.trace(subject.image, TEXT.replace("dog", "grass"))
    assert torch.equal(other.written_attention().probs[:, :, 3], written.probs[:, :, 3])
    assert not torch.equal(other.cross_attention().probs[:, :, 3], read.probs[:, :, 3])


# Scores -----------------------------------------------------------------------------------------------------------


def matching(subject, text, pixel_values=None):
    """The library's log-odds that photo and text match."""
    ids = subject.processor(text=text, return_tensors="pt")["input_ids"]
    pixel_values = subject.given["pixel_values"] if pixel_values is None else pixel_values
    with torch.no_grad():
        no, yes = subject.own(ids, pixel_values).itm_score[0]
    return yes - no


def log_probs(subject, pixel_values=None, grad=False):
    """Of every token but the first, by a loop over the library's own logits."""
    pixel_values = subject.given["pixel_values"] if pixel_values is None else pixel_values
    with torch.set_grad_enabled(grad):
        logits = subject.own(pixel_values, subject.ids, use_cache=False).logits[0]
        found = [logits[i - 1].log_softmax(-1)[subject.ids[0, i]] for i in range(1, subject.ids.shape[1])]
    return [None, *found]


def phrases_of(caption):
    return [caption.phrase("red dog"), caption.phrase("skateboard"), caption.phrase("grass")]


@pytest.mark.parametrize("subject", ["matcher"], indirect=True)
def test_matching_is_the_librarys_head_for_each_phrase_by_itself(subject):
    match, phrases = subject.trace.match(), phrases_of(subject.trace.caption)
    pixels = torch.cat([subject.image.features["pixels"], torch.randn(1, 3, SIDE, SIDE)])
    with torch.no_grad():
        found = match.score(match.state(pixels), phrases)
    expected = [[matching(subject, phrase.text, each[None]) for phrase in phrases] for each in pixels]
    torch.testing.assert_close(found, torch.tensor(expected))
    own = torch.softmax(torch.stack([torch.zeros_like(found), found], -1), -1)[..., 1]
    torch.testing.assert_close(match.readable(found), own)
    assert match.score(match.state(pixels), []).shape == (2, 0)


@pytest.mark.parametrize("subject", ["matcher"], indirect=True)
def test_similarity_is_the_librarys_and_texts_are_embedded_as_captions_are(subject):
    with torch.no_grad():
        cosine = subject.own(subject.ids, subject.given["pixel_values"], use_itm_head=False).itm_score.item()
    assert subject.trace.similarity == pytest.approx(cosine, abs=1e-6)
    texts = [TEXT, "", "dog"]
    found = subject.model.embed_texts(texts)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(found[0], subject.model.encode_text(subject.model.tokenize(TEXT)).embedding)
    assert subject.model.embed_texts([]).shape == (0, 20)


@pytest.mark.parametrize("subject", ["captioner"], indirect=True)
def test_the_captioners_match_is_the_mean_log_probability_of_the_words_tokens(subject):
    match, phrases = subject.trace.match(), phrases_of(subject.trace.caption)
    pixels = torch.cat([subject.image.features["pixels"], torch.randn(1, 3, SIDE, SIDE)])
    with torch.no_grad():
        found = match.score(match.state(pixels), phrases)
    tokens = [[2, 3], [6, 7], [10]]  # of "red dog", "skate ##board", "grass"
    shown = [[subject.trace.caption.tokens[i].text for i in places] for places in tokens]
    assert shown == [["red", "dog"], ["skate", "board"], ["grass"]]
    for photo, row in zip(pixels, found, strict=True):
        own = log_probs(subject, photo[None])
        torch.testing.assert_close(row, torch.stack([sum(own[i] for i in places) / len(places) for places in tokens]))
    assert subject.trace.similarity is None and subject.model.encode_text(subject.model.tokenize(TEXT)) == (None, None)
    with pytest.raises(UnsupportedMethodError, match="no embeddings of texts"):
        subject.model.embed_texts(["dog"])


def test_match_has_a_gradient_to_the_photos_state(subject):
    match, phrases = subject.trace.match(), phrases_of(subject.trace.caption)
    state = match.state(subject.image.features["pixels"]).requires_grad_(True)
    (grad,) = torch.autograd.grad(match.score(state, phrases).sum(), state)
    assert grad.abs().max() > 0


# The gradient -----------------------------------------------------------------------------------------------------


def gradients(subject, score):
    """The library's own probs of cross- and self-attention with the gradient of a score, kept by hooks."""
    kept, handles = {"attention": [], "crossattention": []}, []
    text = text_side(subject)
    for layer in (text.bert if subject.captioner else text).encoder.layer:
        for name, probs in kept.items():
            site = getattr(layer, name).self
            handles.append(site.register_forward_hook(lambda m, a, out, probs=probs: probs.append(out[1])))
    try:
        value = score()
    finally:
        for handle in handles:
            handle.remove()
    both = [*kept["attention"], *kept["crossattention"]]
    grads = torch.autograd.grad(value, both, allow_unused=True, materialize_grads=True)
    return value, [p[0].detach() for p in both], [g[0] for g in grads]


def near(found, expected):
    """Up to rounding, relative to the largest value: small gradients are differences of large numbers."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()


def score_of(subject, phrase):
    if subject.captioner:
        own = log_probs(subject, grad=True)
        tokens = [token for word in phrase.words for token in subject.trace.caption.words[word].tokens]
        return sum(own[i] for i in tokens) / len(tokens)
    no, yes = subject.own(subject.ids, subject.given["pixel_values"]).itm_score[0]
    return yes - no


def test_the_attention_graph_has_the_librarys_probs_and_gradients(subject):
    for phrase in phrases_of(subject.trace.caption):
        graph = subject.trace.attention_graph()
        (score,) = graph.score([phrase])
        value, probs, grads = gradients(subject, lambda phrase=phrase: score_of(subject, phrase))
        torch.testing.assert_close(score, value)
        nodes = [*graph.text_probs, *graph.probs]
        found = torch.autograd.grad(score, nodes, allow_unused=True, materialize_grads=True)
        for node, grad, own, expected in zip(nodes, found, probs, grads, strict=True):
            near(node.detach(), own)
            near(grad, expected)
        assert all(expected.abs().max() > 0 for expected in grads[3:]), "every layer's look at the photo counts"
    columns = torch.arange(26.0)
    assert torch.equal(graph.to_patches(columns), columns[1:])
    assert not graph.joint and graph.score([]).shape == (0,)


def test_gradient_times_attention_by_loops(subject):
    result = get_method("attention_gradient")(subject.trace)
    caption = subject.trace.caption
    for word in caption.words:
        _, probs, grads = gradients(subject, lambda word=word: score_of(subject, caption.phrase(word=word.index)))
        expected = torch.zeros(3, 4, 25)
        for layer in range(3):
            own, grad = probs[3 + layer], grads[3 + layer]
            for head in range(4):
                # A word to be written has a score of its own, which all rows before it make.
                rows = range(own.shape[1]) if subject.captioner else word.tokens
                for row in rows:
                    product = (own[head, row] * grad[head, row]).clamp(min=0)[1:]
                    expected[layer, head] += product / (1 if subject.captioner else len(rows))
        found = result.map.per_head[:, :, word.index].flatten(2)
        near(found, expected)


def test_parts_that_give_other_states_than_the_model_are_refused(subject):
    text = subject.model.text_model
    dense = text.encoder.layer[1].output.dense
    handle = dense.register_forward_hook(lambda m, a, out: out * (1 + 0.5 * torch.rand(())))
    try:
        with pytest.raises(CaptureError, match="differ from its own"):
            text_pass(text, subject.ids, subject.states, causal=subject.captioner)
    finally:
        handle.remove()


# Writing ----------------------------------------------------------------------------------------------------------


NO_TEXT = [*map(VOCAB.index, SPECIAL), START]


def greedy(own, pixel_values, longest):
    """Token after token by the library's own forward."""
    ids = [own.config.text_config.bos_token_id]
    with torch.no_grad():
        for _ in range(longest):
            logits = own(pixel_values, torch.tensor([ids])).logits[0, -1]
            if len(ids) == 1:
                logits[NO_TEXT] = -torch.inf  # a caption is not empty
            ids.append(int(logits.argmax()))
            if ids[-1] == own.config.text_config.sep_token_id:
                break
    return ids


@pytest.mark.parametrize("ends", [False, True])
def test_captions_are_written_as_the_library_writes_them(tmp_path, ends):
    made = build(True)
    if not ends:
        made.text_decoder.cls.predictions.bias.data[VOCAB.index("[SEP]")] = -100
    folder = blip_folder(tmp_path / "m", True, made)
    model = models.load_model(f"blip:{folder}")
    own, processor = library(folder, True)
    ended = []
    for seed in range(4):
        pixels = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        photo = load_photo(pixels)
        given = processor(images=photo.image(), return_tensors="pt")["pixel_values"]
        ids = greedy(own, given, 9)
        chosen = {"num_beams": 1, "do_sample": False, "begin_suppress_tokens": NO_TEXT}
        generated = own.generate(given, max_new_tokens=9, **chosen)[0].tolist()
        assert generated == ids
        ended.append(ids[-1] == VOCAB.index("[SEP]"))
        written = ids[1:-1] if ended[-1] else ids[1:]
        texts = [processor.decode(written[: i + 1], skip_special_tokens=True) for i in range(len(written))]
        with torch.no_grad():
            assert list(model.write(model.encode_image(photo), 9)) == texts
    assert model.writes and any(ended) == ends
    with torch.no_grad():
        assert len(list(model.write(model.encode_image(photo), 99))) <= 23  # positions, less the start


@pytest.mark.parametrize("mark", [*SPECIAL, None], ids=str)
def test_a_caption_is_never_empty(tmp_path, mark):
    """The decoder wants one special token above all, and a word next; None: its own start, which no tokenizer knows."""
    made = build(True)
    bias = made.text_decoder.cls.predictions.bias.data
    bias[VOCAB.index("dog")] = 300
    bias[START if mark is None else VOCAB.index(mark)] = 600
    model = models.load_model(f"blip:{blip_folder(tmp_path / 'm', True, made)}")
    with torch.no_grad():
        image = model.encode_image(load_photo(np.zeros((40, 60, 3), np.uint8)))
        captions = list(model.write(image, 3))
    assert captions == (["dog"] if mark == "[SEP]" else ["dog"] * 3)


@pytest.mark.parametrize("subject", KINDS, indirect=True)
@pytest.mark.parametrize("longest", [0, -1])
def test_a_caption_of_no_tokens_is_refused(subject, longest):
    with pytest.raises(CaptionError, match=f"after 1 token or more, in whole numbers, not after {longest}"):
        subject.model.write(subject.image, longest)


@pytest.mark.parametrize("subject", ["matcher"], indirect=True)
def test_the_matcher_writes_nothing(subject):
    assert not subject.model.writes
    with pytest.raises(UnsupportedMethodError):
        subject.model.write(subject.image)


# Through the seams --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("captioner", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("wh", [(300, 520), (640, 400), (1500, 160)], ids=["portrait", "landscape", "panorama"])
def test_a_planted_patch_is_found_where_it_lies(tmp_path_factory, captioner, wh):
    folder = tmp_path_factory.getbasetemp() / f"planted-{captioner}"
    caption = "a red dog on blue grass"
    if not folder.exists():
        blip_folder(folder, captioner, plant(captioner, caption, {"red": (255, 0, 0), "blue": (0, 0, 255)}))
    model = models.load_model(f"blip:{folder}")
    pixels = np.zeros((wh[1], wh[0], 3), dtype=np.uint8)
    places = {"red": (1, 3), "blue": (4, 0)}
    view = ImageView.squash(wh, (SIDE, SIDE))
    for word, place in places.items():
        left, top, right, bottom = (round(side) for side in view.patch_box(model.grid, *place))
        pixels[top:bottom, left:right] = (255, 0, 0) if word == "red" else (0, 0, 255)
    with torch.no_grad():
        image = model.encode_image(load_photo(pixels))
    trace = model.trace(image, caption)
    values = get_method("cross_attention")(trace).map.values
    for word in trace.caption.words:
        if word.text in places:
            assert model.grid.row_col(int(values[word.index].argmax())) == places[word.text]
            assert values[word.index].max() > 0.5
    points = {word: view.patch_box(model.grid, *place) for word, place in places.items()}
    for word, (left, top, right, bottom) in points.items():
        assert view.patch_at(image.grid, ((left + right) / 2, (top + bottom) / 2)) == places[word]


def test_every_method_that_fits_runs_twice_with_identical_results_and_changes_nothing(subject):
    before = {name: tensor.clone() for name, tensor in subject.model.module.state_dict().items()}
    fitting = [m for m in methods() if get_method(m.name).info.served_by(subject.model.lacks())]
    names = {method.name for method in fitting}
    assert {"cross_attention", "attention_gradient", "occlusion"} <= names
    assert ("written_attention" in names) == subject.captioner
    for name in sorted(names):
        first, second = (get_method(name)(subject.model.trace(subject.image, TEXT)) for _ in range(2))
        assert torch.equal(first.map.values, second.map.values), name
        assert first.map.values.isfinite().all() and first.map.values.shape[1:] == (5, 5)
    with torch.no_grad():
        again = subject.model.encode_image(subject.photo)
    assert torch.equal(again.features["states"], subject.image.features["states"])
    after = subject.model.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    for module in subject.model.module.modules():
        assert not module.training and not module._forward_hooks and not module._forward_pre_hooks
    assert all(parameter.grad is None for parameter in subject.model.module.parameters())


def test_what_is_offered_and_what_is_not_make_up_all_capabilities(subject):
    lacks = subject.model.lacks()
    assert set(lacks) | set(subject.trace.provides) == set(CAPABILITIES)
    assert not set(lacks) & set(subject.trace.provides)
    assert ("written_attention" in lacks) != subject.captioner


def test_a_phrase_that_was_cut_off_is_refused(subject):
    caption = " ".join(["dog"] * 22) + " red grass"
    trace = subject.model.trace(subject.image, caption)
    assert trace.caption.truncated and len(trace.caption.tokens) == 24
    cut = trace.caption.words[-1]
    phrase = Phrase(cut.text, cut.start, cut.end, (cut.index,))
    with pytest.raises(SelectionError, match="read no token"):
        trace.attention_graph().rows(phrase)


# Copies -------------------------------------------------------------------------------------------------------------


def test_stages_hold_every_weight_once_and_copies_follow_them(subject):
    model = subject.model
    parts = [
        parameter
        for _, stage in model.stages()
        for part in stage
        for parameter in (part.parameters() if isinstance(part, torch.nn.Module) else [part])
    ]
    assert len({id(p) for p in parts}) == len(parts)
    assert {id(p) for p in parts} == {id(p) for p in model.module.parameters()}
    first = model.trace(subject.image, TEXT).cross_attention().probs
    shares = []
    for label, share, copy in cascade(model, 0):
        shares.append(share)
        with torch.no_grad():
            image = copy.encode_image(subject.photo)
        probs = copy.trace(image, TEXT).cross_attention().probs
        assert probs.isfinite().all(), label
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert (probs - first).abs().max() > 0.01
    assert torch.equal(model.trace(subject.image, TEXT).cross_attention().probs, first)


def test_a_weight_used_in_two_places_is_replaced_in_both(subject):
    if subject.captioner:
        embedding = subject.model.module.text_decoder.bert.embeddings.word_embeddings.weight
        assert embedding is subject.model.module.text_decoder.cls.predictions.decoder.weight
        decoder = subject.model.with_weights({embedding: torch.zeros_like(embedding)}).module.text_decoder
        assert decoder.cls.predictions.decoder.weight is decoder.bert.embeddings.word_embeddings.weight
        assert not decoder.cls.predictions.decoder.weight.any() and embedding.any()
        assert decoder.cls.predictions.decoder.bias is decoder.cls.predictions.bias
    else:
        # What reads photos is the tower and its projection: both change the photo's embedding.
        own = subject.model
        text, image = own.module.itm_head.weight, own.module.vision_proj.weight
        assert own.with_weights({text: text.detach().clone()}).image_module is own.image_module
        changed = own.with_weights({image: torch.ones_like(image)})
        assert changed.image_module is not own.image_module
        with torch.no_grad():
            assert not torch.equal(changed.encode_image(subject.photo).embedding, subject.image.embedding)
