"""The family coca: its attention is that of the modules themselves, its probabilities and captions open_clip's own."""

import copy
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_cocas import COCAS, DECODER, TEXT, VISION, coca_folder
from small_models import clip_folder
from torch.nn import functional as F

from crossviz import Explainer, models
from crossviz.capture import capture
from crossviz.compat import import_open_clip
from crossviz.errors import (
    CaptionError,
    ModelUnavailableError,
    RegistryError,
    SelectionError,
    UnknownModelError,
    UnsupportedMethodError,
)
from crossviz.models.coca import Coca, CocaModel
from crossviz.models.coca_attention import CROSS_PART, POOLER_PART
from crossviz.models.coca_write import repeating
from crossviz.models.open_clip_load import load, source_of
from crossviz.photo import load_photo

CAPTION = "a red frisbee, two dogs"


@pytest.fixture(scope="module", params=list(COCAS))
def model(request, tmp_path_factory):
    """A CoCa of each kind that open_clip builds."""
    folder = coca_folder(tmp_path_factory.mktemp("coca"), vision=COCAS[request.param])
    return models.load_model(f"coca:{folder}", "cpu")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The kind that open_clip's trained CoCas are of."""
    return models.load_model(f"coca:{coca_folder(tmp_path_factory.mktemp('one'))}", "cpu")


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)


def traced(model, photo, caption=CAPTION):
    with torch.no_grad():
        return model.trace(model.encode_image(load_photo(photo)), caption)


def pool_weights(model, pixels):
    """torch's own weights of the pooler whose queries the decoder looks at: `head query key`, all queries and keys."""
    visual = model.module.visual
    with torch.no_grad():
        x = visual.transformer(visual._embeds(pixels))
        if visual.attn_pool_contrastive is not None:
            x = visual.ln_post(x)
        pool = visual.attn_pool
        keys, queries = pool.ln_k(x), pool.ln_q(pool.query)[None]
        return pool.attn(queries, keys, keys, need_weights=True, average_attn_weights=False)[1][0]


def decoder_weights(model, pixels, ids):
    """torch's own weights of the decoder's cross-attentions, block by block, and the logits: unpadded, in a loop."""
    decoder, weights = model.module.text_decoder, []
    with torch.no_grad():
        tokens, x = model.module._encode_image(pixels)[1], model.module._encode_text(ids)[1]
        mask = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)
        for own, cross in zip(decoder.resblocks, decoder.cross_attn, strict=True):
            x = own(x, attn_mask=mask)
            keys = cross.ln_1_kv(tokens)
            out, found = cross.attn(cross.ln_1(x), keys, keys, need_weights=True, average_attn_weights=False)
            weights.append(found[0])
            x = x + out
            x = x + cross.mlp(cross.ln_2(x))
        return torch.stack(weights), decoder.ln_final(x) @ decoder.text_projection


def read_ids(trace):
    return torch.tensor([[token.id for token in trace.caption.tokens]])


# Attention -----------------------------------------------------------------------------------------------------


def test_both_attentions_are_the_weights_that_torch_itself_returns(model, photo):
    trace = traced(model, photo)
    found = trace.cross_attention()
    pool = pool_weights(model, trace.pixels)
    skipped = pool.shape[1] - trace.image.features["tokens"].shape[0]
    assert skipped == (model.module.visual.attn_pool_contrastive is None)
    record = found.parts[POOLER_PART]
    patches = model.grid.num_patches
    assert torch.allclose(record.probs[0, :, :, :patches], pool[:, skipped:, 1:], atol=1e-6)
    assert torch.allclose(record.probs[0, :, :, patches:], pool[:, skipped:, :1], atol=1e-6)  # the class token
    cross, _ = decoder_weights(model, trace.pixels, read_ids(trace))
    assert torch.allclose(found.parts[CROSS_PART].probs, cross, atol=1e-6)
    for part in found.parts.values():
        assert torch.allclose(part.scores.softmax(-1), part.probs, atol=1e-6)


def test_the_composition_is_the_sum_over_queries_written_out(model, photo):
    trace = traced(model, photo)
    found = trace.cross_attention()
    cross, pool = found.parts[CROSS_PART].probs.double(), found.parts[POOLER_PART].probs[0].double()
    heads, queries, keys = pool.shape
    expected = torch.zeros(*cross.shape[:3], keys, dtype=torch.float64)
    for layer, head, token, query in itertools.product(*map(range, cross.shape)):
        for other in range(heads):
            expected[layer, head, token] += cross[layer, head, token, query] * pool[other, query] / heads
    assert cross.shape[-1] == queries and found.probs.shape == expected.shape
    assert torch.allclose(found.probs.double(), expected, atol=1e-6)
    assert torch.allclose(found.probs.sum(-1), torch.ones(()), atol=1e-5)
    assert torch.allclose(found.scores.exp(), found.probs, atol=1e-6)
    assert found.key_kind == "image patches, then the class token" and "composition" in found.notes[0]
    assert len(found.layers) == DECODER["layers"] and not found.has_null


def test_a_pooler_query_is_the_decoders_token_in_the_same_place(model, photo):
    """Another query changes what the decoder gets in that place, and nothing else of it."""
    pool = model.module.visual.attn_pool
    before = model.encode_image(load_photo(photo)).features["tokens"]
    skipped = len(pool.query) - len(before)
    for place in range(skipped, len(pool.query)):
        weights = pool.query.detach().clone()
        weights[place] += torch.randn(weights.shape[1], generator=torch.Generator().manual_seed(place))
        after = model.with_weights({pool.query: weights}).encode_image(load_photo(photo)).features["tokens"]
        assert (after - before).abs().amax(1).gt(1e-3).nonzero().flatten().tolist() == [place - skipped]


def test_a_row_has_read_its_own_word_and_none_after_it(one, photo):
    """Rows are the caption's tokens: another word changes its own row and later ones; the row that wrote it, not."""
    dogs, cats = (traced(one, photo, f"a red {animal} here") for animal in ("dog", "cat"))
    assert len(dogs.caption.tokens) == len(cats.caption.tokens) == 6
    (changed,) = dogs.caption.words[2].tokens
    assert changed == 3
    for offer, first in (("cross_attention", changed), ("written_attention", changed + 1)):
        here, there = getattr(dogs, offer)(), getattr(cats, offer)()
        for rows in ("probs", "scores"):
            differs = (getattr(here, rows) - getattr(there, rows)).abs().amax((0, 1, 3)) > 1e-6
            assert differs.tolist() == [token >= first for token in range(6)], offer


def test_written_attention_is_the_row_before(model, photo):
    trace = traced(model, photo)
    read, wrote = trace.cross_attention(), trace.written_attention()
    assert torch.equal(wrote.probs[:, :, 1:], read.probs[:, :, :-1])
    assert torch.equal(wrote.probs[:, :, 0], read.probs[:, :, 0])
    parts = wrote.parts[CROSS_PART].probs, read.parts[CROSS_PART].probs
    assert torch.equal(parts[0][:, :, 1:], parts[1][:, :, :-1])
    assert wrote.parts[POOLER_PART] == read.parts[POOLER_PART]
    told = " ".join(wrote.notes)
    assert "has not seen the word itself" in told and "that has read it" not in told and "composition" in told


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("wh", [(300, 520), (600, 400), (1200, 260)], ids=["portrait", "landscape", "panorama"])
def test_the_map_lands_on_the_patch_that_the_pooler_looks_at(mode, wh, tmp_path):
    """The tower passes brightness on, the pooler looks at what is bright: one bright place in a dark photo."""
    folder = coca_folder(tmp_path / "m", resize_mode=mode)
    explainer, model = Explainer(f"coca:{folder}", "cpu"), models.load_model(f"coca:{folder}", "cpu")
    visual = model.module.visual
    with torch.no_grad():
        for name, parameter in visual.named_parameters():
            if name.startswith(("transformer.", "class_emb", "positional_emb", "conv1", "ln_pre", "attn_pool.ln_k")):
                parameter.zero_()  # blocks that add nothing
        visual.conv1.weight[0] = 1.0
        for norm in (visual.ln_pre, visual.attn_pool.ln_k):
            norm.weight.fill_(1.0)
        attention, width = visual.attn_pool.attn, VISION["width"]
        attention.in_proj_weight[: 2 * width] = 0.0
        attention.in_proj_weight[width : 2 * width, 0] = 1.0  # keys are brightness
        attention.in_proj_bias[:width] = 1.0
        attention.in_proj_bias[width : 2 * width] = 0.0
    view = explainer.encode(np.zeros((wh[1], wh[0], 3), np.uint8)).view
    x0, y0, x1, y1 = view.seen_xyxy
    right, bottom = view.input_to_source([16, 16]) - view.input_to_source([0, 0])  # a patch's size in the photo
    width, height = min(1.6 * right, x1 - x0), min(1.6 * bottom, y1 - y0)  # so that one patch is bright in most parts
    for across, down in ((0.1, 0.8), (0.9, 0.2)):
        left, top = x0 + across * (x1 - x0 - width), y0 + down * (y1 - y0 - height)
        box = [round(value) for value in (left, top, left + width, top + height)]
        bright = np.zeros((wh[1], wh[0], 3), np.uint8)
        bright[box[1] : box[3], box[0] : box[2]] = 255
        found = explainer.explain(bright, CAPTION, "cross_attention")
        assert found.map.values.flatten(1).max(1).values.min() > 1.5 / model.grid.num_patches
        row, col = np.unravel_index(found.heatmap("frisbee").argmax(), bright.shape[:2])
        # A patch that lies by half in the bright place is as bright as one that lies within: hence half a patch.
        assert box[0] - right / 2 <= col < box[2] + right / 2 and box[1] - bottom / 2 <= row < box[3] + bottom / 2


# Words and captions --------------------------------------------------------------------------------------------


def test_the_decoder_gives_open_clips_own_logits(model, photo):
    trace = traced(model, photo)
    tokenized = model.tokenize(CAPTION)
    count = len(trace.caption.tokens)
    with torch.no_grad():
        whole = model.module(trace.pixels, tokenized.ids, output_labels=True)["logits"][0, : count - 1]
        states = model.encode_text(tokenized).tokens
        again = model.module.text_decoder(trace.image.features["tokens"][None], states[None])[0, :-1]
    _, naive = decoder_weights(model, trace.pixels, read_ids(trace))
    assert torch.allclose(again, whole, atol=1e-4) and torch.allclose(naive[0, :-1], whole, atol=1e-4)


def test_the_embeddings_are_open_clips_own(model, photo):
    trace, tokenized = traced(model, photo), model.tokenize(CAPTION)
    with torch.no_grad():
        image = model.module.encode_image(trace.pixels).flatten()
        text = model.module.encode_text(tokenized.ids)[0]
    assert torch.allclose(trace.image.embedding, image, atol=1e-6)
    assert trace.similarity == pytest.approx(float(image @ text), abs=1e-6)
    assert torch.allclose(model.embed_texts([CAPTION, "x"])[0], text, atol=1e-6)
    assert model.embed_texts([]).shape == (0, 32)


def test_a_match_is_the_mean_log_probability_of_the_words_one_by_one(model, photo):
    trace = traced(model, photo)
    ids = read_ids(trace)[0].tolist()
    pixels = torch.cat([trace.pixels, trace.pixels.flip(-1)])

    def log_prob(place: int, which: int) -> float:
        with torch.no_grad():
            given = torch.tensor([ids[:place]])
            logits = model.module(pixels[which : which + 1], given, output_labels=False)["logits"]
        return float(F.log_softmax(logits[0, -1], -1)[ids[place]])

    phrases = [trace.caption.phrase("red frisbee"), trace.caption.phrase("a"), trace.caption.phrase("dogs")]
    places = [[place for word in phrase.words for place in trace.caption.words[word].tokens] for phrase in phrases]
    expected = [[np.mean([log_prob(place, which) for place in some]) for some in places] for which in range(2)]
    match = trace.match()
    with torch.no_grad():
        found = match.score(match.state(pixels), phrases)
    assert found.numpy() == pytest.approx(np.array(expected), abs=1e-4)
    assert torch.equal(match.readable(found), found)
    assert match.score(match.state(pixels), []).shape == (2, 0)
    with torch.enable_grad():
        state = match.state(pixels).requires_grad_(True)
        assert torch.autograd.grad(match.score(state, phrases).sum(), state)[0].abs().amax((1, 2)).gt(0).all()


def test_a_word_that_was_not_read_has_no_probability(one, photo):
    trace = traced(one, photo, " ".join(f"dog{i}" for i in range(60)))
    unread = trace.caption._phrase_of([len(trace.caption.words) - 1])
    with pytest.raises(SelectionError, match="read no token"):
        trace.match().score(trace.match().state(trace.pixels), [unread])


def test_the_graphs_gradients_are_those_of_the_attention(one, photo):
    """The decoder written out once more, and the gradients compared."""
    trace = traced(one, photo)
    phrase = trace.caption.phrase("two dogs")
    graph = trace.attention_graph()
    (score,) = graph.score([phrase])
    grads = torch.autograd.grad(score, [*graph.probs, *graph.text_probs], retain_graph=True)
    assert torch.allclose(score.detach(), trace.match().score(trace.match().state(trace.pixels), [phrase])[0, 0])

    decoder, ids = one.module.text_decoder, read_ids(trace)
    # What is added to the probabilities, nothing: the gradient of it is theirs, with all that depends on them.
    leaves = [torch.zeros_like(probs).requires_grad_(True) for probs in (*graph.probs, *graph.text_probs)]

    def attend(attention, queries, values, added, mask=0.0):
        weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        given = (queries, values, values)
        projected = [F.linear(*each) for each in zip(given, weights, biases, strict=True)]
        q, k, v = (x.unflatten(-1, (attention.num_heads, -1)).transpose(0, 1) for x in projected)
        probs = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5 + mask, -1) + added
        return attention.out_proj((probs @ v).transpose(0, 1).flatten(1))

    tokens = trace.image.features["tokens"]
    x = one.module._encode_text(ids)[1][0].detach()
    for i, (own, cross) in enumerate(zip(decoder.resblocks, decoder.cross_attn, strict=True)):
        causal = torch.full((len(x), len(x)), -torch.inf).triu(1)
        x = x + attend(own.attn, own.ln_1(x), own.ln_1(x), leaves[len(graph.probs) + i], causal)
        x = x + own.mlp(own.ln_2(x))
        x = x + attend(cross.attn, cross.ln_1(x), cross.ln_1_kv(tokens), leaves[i])
        x = x + cross.mlp(cross.ln_2(x))
    logits = decoder.ln_final(x) @ decoder.text_projection
    places = [place for word in phrase.words for place in trace.caption.words[word].tokens]
    naive = torch.stack([F.log_softmax(logits[place - 1], -1)[ids[0, place]] for place in places]).mean()
    assert torch.allclose(naive, score, atol=1e-4)
    for found, expected in zip(grads, torch.autograd.grad(naive, leaves), strict=True):
        assert expected.abs().max() > 0
        assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()) + 1e-7)
    assert list(graph.rows(phrase)) == [place - 1 for place in places]
    assert not graph.joint and len(graph.text_probs) == len(graph.probs) == DECODER["layers"]
    last = grads[len(graph.probs) - 1].abs().amax((0, 2))
    assert last.gt(0).nonzero().flatten().tolist() == list(graph.rows(phrase))  # of the last block, only those
    for probs, rows in zip(graph.probs, trace.cross_attention().probs, strict=True):
        assert torch.allclose(graph.to_patches(probs), rows[..., : one.grid.num_patches], atol=1e-6)
    assert graph.score([]).shape == (0,)


def test_gradients_need_no_trainable_weights(tmp_path, photo):
    model = models.load_model(f"coca:{coca_folder(tmp_path / 'm')}", "cpu")
    model.module.requires_grad_(False)
    graph = traced(model, photo).attention_graph()
    trace = traced(model, photo)
    (score,) = graph.score([trace.caption.phrase("dogs")])
    assert all(grad.any() for grad in torch.autograd.grad(score, graph.probs))


def greedy(model, pixels, longest):
    """Token by token through open_clip's own forward; every caption so far."""
    tokenizer, ids, texts = model._tokenizer, [49406], []
    while len(texts) < longest:
        with torch.no_grad():
            logits = model.module(pixels, torch.tensor([ids]), output_labels=False)["logits"][0, -1]
        for token in logits.argsort(descending=True).tolist():
            said = [*ids[1:], token]
            grams = [tuple(said[i : i + 3]) for i in range(len(said) - 2)]
            if token == 49406 or len(set(grams)) < len(grams) or (len(said) == 1 and token in (0, 49407)):
                continue
            break
        if token in (0, 49407):
            return texts
        ids.append(token)
        texts.append(tokenizer.decode(ids[1:]).strip())
    return texts


def test_a_caption_is_written_greedily(model, photo):
    image = model.encode_image(load_photo(photo))
    assert model.writes
    expected = greedy(model, image.features["pixels"], 12)
    found = list(model.write(image, 12))
    assert len(found) == len(expected) >= 1
    for text, naive in zip(found, expected, strict=True):
        assert text.replace(" ", "") == naive.replace(" ", "").rstrip("\ufffd")
    assert list(model.write(image, 12)) == found
    assert list(model.write(image, 3)) == list(model.write(image, np.int64(3))) == found[:3]
    assert len(list(model.write(image, 1000))) <= TEXT["context_length"] - 2


def test_a_caption_ends_where_the_model_ends_it_and_does_not_go_round(one, photo):
    """Words that the decoder wants are put into its last projection: always the same, then its end."""
    image = one.encode_image(load_photo(photo))
    decoder, dog, comma, end = one.module.text_decoder, 1929, 267, one._tokenizer.eot_token_id
    wants = decoder.text_projection.detach().clone() * 1e-3
    norms = {decoder.ln_final.weight: decoder.ln_final.weight.detach() * 0, decoder.ln_final.bias: wants[:, 0] * 0 + 1}
    for token, want in ((dog, 3.0), (comma, 2.0), (end, 1.0)):
        wants[:, token] = want
    captions = list(one.with_weights({decoder.text_projection: wants, **norms}).write(image))
    # "dog dog dog" once; then two dogs may not be followed by a third: a comma. It goes on till nothing new is left.
    assert captions[:4] == ["dog", "dog dog", "dog dog dog", "dog dog dog,"]
    said = captions[-1].replace(",", " ,").split()
    grams = list(zip(said, said[1:], said[2:], strict=False))
    assert len(set(grams)) == len(grams) and len(captions) < 20
    silent = wants.clone()
    silent[:, end] = 9.0
    assert list(one.with_weights({decoder.text_projection: silent, **norms}).write(image)) == ["dog"]  # never empty


@pytest.mark.parametrize("longest", [0, -3, True, 2.0, "3", None], ids=repr)
def test_a_caption_of_no_tokens_is_refused_before_anything_is_written(one, photo, longest):
    image = one.encode_image(load_photo(photo))
    with pytest.raises(CaptionError, match=rf"after 1 token or more, in whole numbers, not after {longest!r}\.$"):
        one.write(image, longest)


def test_three_in_a_row_are_not_repeated():
    assert repeating([1, 2, 3, 1, 2]) == {3}
    assert repeating([1, 2, 3, 1, 2, 4, 1, 2]) == {3, 4}
    assert repeating([1, 1]) == repeating([1]) == repeating([]) == set()
    assert repeating([1, 1, 1]) == {1}


# What a family owes ---------------------------------------------------------------------------------------------


def test_two_calls_are_identical_and_leave_the_model_as_it_was(model, photo):
    explainer = Explainer(model.info.name, "cpu")

    def state():
        modules = dict(model.module.named_modules()).items()
        hooks = {name: (len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for name, m in modules}
        weights = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
        grads = [p.grad for p in model.module.parameters()]
        return hooks, weights, grads, torch.get_rng_state()

    before = state()
    image = explainer.encode(photo)
    for info in explainer.methods:
        assert explainer.explain(photo, CAPTION, info.name) == explainer.explain(image, CAPTION, info.name), info.name
    list(explainer.write(image, 4))
    hooks, weights, grads, random = state()
    assert hooks == before[0] and all(weights[name].equal(tensor) for name, tensor in before[1].items())
    assert grads == before[2] and torch.equal(random, before[3])
    assert {"cross_attention", "written_attention", "occlusion"} <= {info.name for info in explainer.methods}


def test_every_site_recomputes_its_own_output(model, photo):
    with torch.no_grad(), capture(model.attention_sites(), keep=("probs",)) as captured:
        model.module(*(model.preprocess(load_photo(photo))[0], model.tokenize(CAPTION).ids))
    calls = [call for name in captured for call in captured.calls(name)]
    assert len(calls) == len(model.attention_sites()) and max(call.deviation for call in calls) <= 1e-5


def test_what_it_does_not_offer_has_a_reason(one, photo):
    trace = traced(one, photo)
    assert set(trace.provides) == {"cross_attention", "written_attention", "match", "attention_graph", "cells"}
    with pytest.raises(UnsupportedMethodError, match=r"when the same weights are loaded by the family open_clip\."):
        trace.image_tower()
    with pytest.raises(UnsupportedMethodError, match="no patch looks at a word"):
        trace.image_to_text()
    with pytest.raises(CaptionError):
        one.trace(trace.image, "?!")


def test_stages_are_every_weight_once_from_the_decoder_to_the_input(model, photo):
    stages = model.stages()
    held = [id(parameter) for _, parts in stages for parameter in parts]
    assert sorted(held) == sorted(id(parameter) for parameter in model.module.parameters())
    assert [label for label, _ in stages] == [
        "decoder's words",
        "decoder block 3",
        "decoder block 2",
        "decoder block 1",
        "image pooler",
        "image tower",
        "text tower",
        "embeddings of patches and tokens",
        "projections and temperature of the embeddings",
    ]
    by_label, names = dict(stages), {id(parameter): name for name, parameter in model.module.named_parameters()}
    held = {label: {names[id(parameter)] for parameter in parts} for label, parts in by_label.items()}
    assert held["decoder's words"] == {
        f"text_decoder.{n}" for n in ("ln_final.weight", "ln_final.bias", "text_projection")
    }
    assert any("cross_attn.2.attn" in name for name in held["decoder block 3"])
    assert "visual.attn_pool.query" in held["image pooler"]
    assert {"visual.conv1.weight", "text.token_embedding.weight"} < held["embeddings of patches and tokens"]
    assert {"logit_scale", "visual.proj"} < held["projections and temperature of the embeddings"]


def test_only_the_image_module_reads_photos(one, photo):
    inside = {id(parameter) for parameter in one.image_module.parameters()}
    others = {p: torch.randn_like(p) for p in one.module.parameters() if id(p) not in inside}
    made = one.with_weights(others)
    here, there = (each.encode_image(load_photo(photo)) for each in (one, made))
    assert all(torch.equal(here.features[name], there.features[name]) for name in here.features)
    assert torch.equal(here.embedding, there.embedding)
    assert not torch.equal(traced(one, photo).cross_attention().probs, traced(made, photo).cross_attention().probs)


# Names and refusals --------------------------------------------------------------------------------------------


def test_what_is_no_coca_is_sent_to_open_clip(tmp_path):
    with pytest.raises(UnknownModelError, match=r"ViT-B-32/openai is no CoCa.* Load it as open_clip:ViT-B-32/openai\."):
        models.load_model("coca:ViT-B-32/openai")
    folder = clip_folder(tmp_path / "clip")
    with pytest.raises(UnknownModelError, match=rf"clip is no CoCa.* Load it as open_clip:{folder}\."):
        models.load_model(f"coca:{folder}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("coca:coca_ViT-B-33/laion2b_s13b_b90k", "Did you mean coca_ViT-B-32/laion2b_s13b_b90k"),
        ("coca:coca_ViT-L-14/laion", "it has: laion2b_s13b_b90k, mscoco_finetuned_laion2b_s13b_b90k"),
        ("coca:", "write coca:ARCH/TAG, or coca: and a folder"),
        ("coca", "names no model"),
    ],
)
def test_unknown_names_are_told_what_there_is(name, said):
    with pytest.raises(UnknownModelError) as caught:
        models.load_model(name)
    assert said in str(caught.value)


def test_the_listed_models_are_open_clips_trained_cocas():
    listed, everything = ({info.name: info for info in Coca().infos(all_)} for all_ in (False, True))
    trained = {
        f"coca:coca_ViT-{size}/{tag}laion2b_s13b_b90k" for size in ("B-32", "L-14") for tag in ("", "mscoco_finetuned_")
    }
    assert set(listed) - {"coca-mini"} == set(everything) - {"coca-mini"} == trained
    assert all("writes captions" in listed[name].sentence for name in trained)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vision": {**VISION, "attentional_pool": False}}, "no attention pooler for its decoder"),
        ({"vision": {**VISION, "pool_type": "none"}}, "more than one embedding"),
        ({"text": {"no_causal_mask": True}}, "reads all words at once"),
        (
            {"vision": {**VISION, "output_tokens": False}},
            r"its image tower fails on 64 x 96 pixels \(ValueError",
        ),
    ],
    ids=["no pooler", "no embedding", "not causal", "no tokens"],
)
def test_cocas_of_another_build_are_refused_by_name(changes, reason, tmp_path):
    folder = coca_folder(tmp_path / "m", **changes)
    with pytest.raises(
        ModelUnavailableError, match=rf"coca:.*can't be explained: .*{reason}.*\. Choose another model\."
    ):
        models.load_model(f"coca:{folder}")


@pytest.mark.parametrize("block", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}], ids=str)
def test_weights_without_network_are_refused_at_once(block, tmp_path):
    """In a process of its own: huggingface_hub reads its settings once."""
    code = """
import crossviz
try:
    crossviz.Explainer("coca:coca_ViT-B-32/laion2b_s13b_b90k")
except crossviz.ModelUnavailableError as error:
    print(error)
"""
    env = {**os.environ, "HF_HOME": str(tmp_path), **block}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=env)
    (message,) = done.stdout.splitlines()
    assert "coca:coca_ViT-B-32/laion2b_s13b_b90k" in message and "crossviz-mini" in message
    assert "HF_HUB_OFFLINE is set" in message or "127.0.0.1:9 can't be reached" in message


def test_an_architecture_without_a_tag_has_the_same_random_weights_every_time(monkeypatch, photo):
    """open_clip leaves the decoder's last projection as it finds the memory."""
    factory = import_open_clip().factory
    config = {
        "embed_dim": 32,
        "vision_cfg": VISION,
        "text_cfg": TEXT | {"output_tokens": True},
        "multimodal_cfg": DECODER,
    }
    monkeypatch.setitem(factory._MODEL_CONFIGS, "coca_small", {**copy.deepcopy(config), "custom_text": True})
    before = torch.get_rng_state()
    one = models.load_model("coca:coca_small", "cpu")
    models.unload_models()
    other = models.load_model("coca:coca_small", "cpu")
    assert one is not other and one.weights_sha256 == other.weights_sha256
    assert torch.equal(before, torch.get_rng_state())
    weights = one.module.text_decoder.text_projection
    assert float(weights.detach().std()) == pytest.approx(DECODER["width"] ** -0.5, rel=0.01)
    found = Explainer("coca:coca_small", "cpu").explain(photo, CAPTION)
    assert not found.provenance.trained and "random weights" in one.info.sentence


def test_patches_that_leave_a_rest_are_placed_where_they_were_read(tmp_path):
    folder = coca_folder(tmp_path / "m", vision=COCAS["patches that leave a rest"])
    image = Explainer(f"coca:{folder}", "cpu").encode(np.zeros((960, 960, 3), np.uint8))
    assert (image.grid.height, image.grid.width) == (6, 6)  # of 14 pixels in 96
    assert image.view.patch_box(image.grid, 5, 5) == pytest.approx((700, 700, 840, 840))


def test_a_tokenizer_that_can_not_be_turned_back_writes_nothing(one, photo, tmp_path):
    class Reading:
        """Only reads."""

        context_length = TEXT["context_length"]

    source = source_of(f"open_clip:{coca_folder(tmp_path / 'm')}")
    model = CocaModel(source, load(source)[0], Reading(), torch.device("cpu"))
    assert not model.writes
    with pytest.raises(UnsupportedMethodError, match="its tokenizer \\(Reading\\)"):
        model.write(model.encode_image(load_photo(photo)))


def test_an_embedded_models_name_reaches_its_family_and_is_taken():
    class Other:
        name, embedded = "other", ("coca-mini",)

    with pytest.raises(RegistryError, match="'coca-mini' is registered already"):
        models.register(Other())
    assert "other" not in models.families()
    with pytest.raises(UnknownModelError, match="There is no model 'coca-mini:x'"):
        models.load_model("coca-mini:x")
