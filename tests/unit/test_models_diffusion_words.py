"""Captions as pipelines read them: which keys are a word's, what is a mark, what two towers read differently."""

import pytest
import torch
from small_pipelines import LENGTH, build, clip_tokenizer

from crossviz.errors import CaptionError
from crossviz.models.diffusion_kinds import KINDS, kind_of_class
from crossviz.models.diffusion_words import lengths, read_caption


@pytest.fixture(scope="module")
def pipes():
    return {kind: build(kind) for kind in ("sd", "sdxl", "pixart", "sd3", "flux")}


def read(pipe, text):
    return read_caption(pipe, kind_of_class(type(pipe).__name__, "x"), text)


def keys(reading, word):
    return reading.weights[:, word].nonzero().flatten().tolist()


def test_every_kind_has_as_many_keys_as_its_text_states(pipes):
    captured = {"sd": LENGTH, "sdxl": LENGTH, "pixart": LENGTH, "sd3": 2 * LENGTH, "flux": LENGTH}
    for name, count in captured.items():
        pipe = pipes[name]
        kind = kind_of_class(type(pipe).__name__, "x")
        assert sum(lengths(pipe, kind)) == count == len(read(pipe, "a red cube").weights)


def test_a_spelled_word_has_all_its_tokens_and_marks_have_none(pipes):
    found = read(pipes["sd"], "A Red  cube, zz!")
    assert [word.text for word in found.caption.words] == ["A", "Red", "cube", "zz"]
    assert [keys(found, word) for word in range(4)] == [[1], [2], [3], [5, 6]]
    # The start mark, the comma, the exclamation mark, the end and the padding are no word's.
    assert found.weights.sum(1).tolist() == [0, 1, 1, 1, 0, 1, 1, *[0] * (LENGTH - 7)]
    tokens = found.caption.tokens
    assert len(tokens) == 9 and tokens[0].text == "<|startoftext|>" and tokens[-1].text == "<|endoftext|>"
    own = pipes["sd"].tokenizer(found.prompt, padding="max_length", truncation=True).input_ids
    assert [token.id for token in tokens] == own[:9] and set(own[9:]) == {own[8]}


def test_t5_reads_lower_case_and_a_space_by_itself_is_no_words(pipes):
    found = read(pipes["pixart"], "Zz Red")
    assert [keys(found, word) for word in range(2)] == [[1, 2], [3]]  # the space before "zz" comes first
    assert found.caption.tokens[-1].text == "</s>"


def test_sd3_has_a_words_keys_in_both_texts(pipes):
    found = read(pipes["sd3"], "a red zz")
    assert keys(found, 1) == [2, LENGTH + 1] and keys(found, 2) == [3, 4, LENGTH + 3, LENGTH + 4]
    assert len(found.caption.tokens) == 6  # CLIP's


def test_sd3_without_t5_has_no_words_among_its_zeros(pipes):
    pipe = build("sd3")
    pipe.register_modules(text_encoder_3=None, tokenizer_3=None)
    found = read(pipe, "a red cube")
    assert keys(found, 1) == [2] and not found.weights[LENGTH:].any()
    assert len(found.weights) == LENGTH + 256


def test_words_that_share_a_token_share_its_attention(pipes):
    """A tokenizer need not cut where words end; here it is made to put two of them into one token."""
    tokenizer = pipes["sd"].tokenizer

    class Joined:
        is_fast, all_special_tokens, model_max_length = True, [], LENGTH
        unk_token_id = tokenizer.unk_token_id

        def convert_ids_to_tokens(self, ids):
            return [str(each) for each in ids]

        def __call__(self, text, **options):
            ids = [4, 5, 0] if options.get("padding") else [4, 5]
            return {
                "input_ids": ids, "offset_mapping": [(0, 5), (6, 10), (0, 0)][: len(ids)],
                "special_tokens_mask": [0, 0, 1][: len(ids)],
            }  # fmt: skip

    class Pipe:
        tokenizer = Joined()

    found = read_caption(Pipe(), KINDS[0], "a red cube")
    assert found.weights.tolist() == [[0.5, 0.5, 0], [0, 0, 1], [0, 0, 0]]


def test_what_is_beyond_the_length_is_cut_and_said_so(pipes):
    text = "a red cube left of the blue sphere on the floor zz zz a red"
    found = read(pipes["sd"], text)
    caption = found.caption
    assert caption.truncated and caption.cut_at == text.index("zz") + 4  # the second one's second letter
    assert [word.truncated for word in caption.words][-4:] == [False, True, True, True]
    assert not found.weights[:, -2:].any() and len(caption.tokens) == LENGTH


@pytest.mark.parametrize("mark", ["<|endoftext|>", "<|startoftext|>"])
def test_what_looks_like_a_mark_is_read_as_its_characters(pipes, mark):
    text = f"a red {mark} cube"
    found = read(pipes["sd"], text)
    assert found.caption.text == text and mark not in found.prompt
    ids = pipes["sd"].tokenizer(found.prompt).input_ids
    specials = {pipes["sd"].tokenizer.bos_token_id, pipes["sd"].tokenizer.eos_token_id}
    assert [place for place, id_ in enumerate(ids) if id_ in specials] == [0, len(ids) - 1]
    spans = [(token.start, token.end) for token in found.caption.tokens if token.start is not None]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert text[slice(*spans[2])] == "<"


@pytest.mark.parametrize("mark", ["</s>", "</S>", "<PAD>", "<Unk>"])
def test_t5s_marks_too_which_the_pipeline_lowers(pipes, mark):
    found = read(pipes["pixart"], f"a {mark} cube")
    assert found.prompt == f"a {mark[0]} {mark[1:]} cube"
    tokenizer = pipes["pixart"].tokenizer
    ids = tokenizer(found.prompt.lower()).input_ids
    marks = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    assert [place for place, id_ in enumerate(ids) if id_ in marks] == [len(ids) - 1]
    assert [token.id for token in found.caption.tokens] == ids


def test_a_mark_that_the_tokenizer_finds_in_lowered_text(pipes):
    from transformers import AddedToken

    pipe = build("sd")
    pipe.tokenizer = clip_tokenizer(bos_token=AddedToken("<|startoftext|>", normalized=True, special=True))
    found = read(pipe, "a <|STARTOFTEXT|> cube")
    assert pipe.tokenizer(found.prompt).input_ids.count(pipe.tokenizer.bos_token_id) == 1


def test_two_towers_side_by_side_read_the_same_words(pipes):
    one, two = (read(pipes[name], "a red cube!") for name in ("sd", "sdxl"))
    assert torch.equal(one.weights, two.weights)  # "!" is padding to the second tower, and no word's
    other = build("sdxl")
    other.tokenizer_2 = clip_tokenizer(["a", "red"], pad_token="!")  # it would spell "cube"
    assert read(other, "a red").caption == read(pipes["sdxl"], "a red").caption
    with pytest.raises(CaptionError, match="two text towers read 'cube' differently"):
        read(other, "a red cube")


@pytest.mark.parametrize("text", ["", " ", "!?"])
def test_a_caption_without_words_says_what_to_write(pipes, text):
    with pytest.raises(CaptionError, match="write what to draw"):
        read(pipes["flux"], text)
