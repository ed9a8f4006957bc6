"""Tokens with their characters: the tokenizer's own ids, and spans that lead back to the user's text."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from crossviz.compat import import_open_clip
from crossviz.errors import CaptionError, ModelError
from crossviz.models.clip_tokens import tokenize
from crossviz.words import split_words

SIMPLE = import_open_clip().get_tokenizer("ViT-B-32")
START, END = SIMPLE.sot_token_id, SIMPLE.eot_token_id


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(split_words))
@example("don't  Worry, it’s “fine” &amp; easy")
@example("naïve café 🙂👩‍👩‍👧 犬が走る")
@example("مرحبا بالعالم")
@example("schÃ¶n")
@example("İstanbul ﬁn")
def test_ids_are_the_tokenizers_own_and_spans_lie_in_the_text(text):
    ids, positions, caption = tokenize(SIMPLE, text)
    if "_of_text" not in text.lower():
        assert ids.tolist() == SIMPLE(text).tolist()
    assert [token.id for token in caption.tokens] == ids[0, list(positions)].tolist()
    assert caption.text == text
    assert (caption.tokens[0].id, caption.tokens[-1].id) == (START, END)
    content = caption.tokens[1:-1]
    assert all(0 <= token.start < token.end <= len(text) for token in content)
    starts = [token.start for token in content]
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("A dog", ["A", "dog"]),
        ("  the   DOG  ", ["the", "DOG"]),
        ("don't", ["don", "'t"]),
        ("a dog.", ["a", "dog", "."]),
        ("cats &amp; dogs", ["cats", "&amp;", "dogs"]),
        ("a “dog”", ["a", "“", "dog", "”"]),
        ("frisbeeee", ["fris", "be", "eee"]),
    ],
)
def test_spans_are_the_words_as_written(text, spans):
    caption = tokenize(SIMPLE, text).caption
    assert [caption.text[token.start : token.end] for token in caption.tokens[1:-1]] == spans


def test_a_character_of_several_tokens_belongs_to_all_of_them():
    caption = tokenize(SIMPLE, "a 犬 runs").caption
    assert len(caption.words[1].tokens) > 1
    assert {caption.tokens[i].start for i in caption.words[1].tokens} == {2}


@pytest.mark.parametrize("text", ["<end_of_text> a dog", "a <start_of_text> dog", "&lt;END_OF_TEXT&gt; dog"])
def test_a_typed_special_token_is_read_as_characters(text):
    ids, _, caption = tokenize(SIMPLE, text)
    row = ids[0].tolist()
    assert row.count(START) == 1 and row.count(END) == 1
    assert "dog" in [word.text for word in caption.words]
    assert all(word.tokens for word in caption.words)


def test_what_the_context_length_cuts_off_is_named():
    text = " ".join(f"word{i}" for i in range(60))
    ids, positions, caption = tokenize(SIMPLE, text, context_length=20)
    assert ids.shape == (1, 20) and len(positions) == 20
    assert ids.tolist() == SIMPLE(text, context_length=20).tolist()
    assert caption.truncated and caption.words[-1].truncated
    assert text.startswith("word", caption.cut_at) or caption.text[caption.cut_at].isdigit()


def test_a_caption_without_words_is_refused():
    with pytest.raises(CaptionError):
        tokenize(SIMPLE, "...")


def test_a_tokenizer_that_drops_tokens_is_refused():
    dropping = import_open_clip().tokenizer.SimpleTokenizer(context_length=6, reduction_mask="shuffle")
    with pytest.raises(ModelError, match="drop tokens"):
        tokenize(dropping, "one two three four five six seven eight nine ten")


def test_a_tokenizer_that_says_no_places_is_refused():
    class Silent:
        context_length = 8

    with pytest.raises(ModelError, match="Silent"):
        tokenize(Silent(), "a dog")


class FastStandIn:
    """The interface of transformers' fast tokenizers, over words: ids by a table, offsets in the text it is given."""

    is_fast = True
    all_special_ids = (0, 1, 2)
    pad_token_id = 0

    def __init__(self) -> None:
        self.table = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2}

    def __call__(self, text, add_special_tokens, return_offsets_mapping, truncation):
        assert not add_special_tokens and return_offsets_mapping and not truncation
        spans = split_words(text)
        # As SentencePiece does: the space before a word belongs to its token.
        offsets = [(max(start - 1, 0) if text[start - 1 : start] == " " else start, end) for start, end in spans]
        return {"input_ids": [self.id(text[start:end]) for start, end in spans], "offset_mapping": offsets}

    def id(self, word: str) -> int:
        return self.table.setdefault(word, len(self.table))

    def convert_ids_to_tokens(self, ids):
        names = {id_: name for name, id_ in self.table.items()}
        return names[ids] if isinstance(ids, int) else [names[id_] for id_ in ids]


class FastWrapped:
    """As open_clip's HFTokenizer: cleans, adds special tokens, cuts, pads."""

    def __init__(self, context_length: int) -> None:
        self.context_length, self.tokenizer = context_length, FastStandIn()
        self.clean_fn = lambda text: " ".join(text.split()).lower()

    def __call__(self, texts, context_length):
        rows = []
        for text in texts:
            ids = self.tokenizer(self.clean_fn(text), False, True, False)["input_ids"][: context_length - 2]
            rows.append(([1, *ids, 2] + [0] * context_length)[:context_length])
        return torch.tensor(rows)


def test_fast_tokenizers_of_transformers_give_spans_in_the_users_text():
    ids, positions, caption = tokenize(FastWrapped(10), "The   DOG and the  dog")
    assert ids.tolist() == FastWrapped(10)(["The   DOG and the  dog"], 10).tolist()
    assert positions == tuple(range(7))
    spans = [caption.text[t.start : t.end] for t in caption.tokens if t.start is not None]
    assert spans == ["The", "DOG", "and", "the", "dog"]
    assert [word.tokens for word in caption.words] == [(1,), (2,), (3,), (4,), (5,)]


def test_fast_tokenizers_say_what_was_cut_off():
    caption = tokenize(FastWrapped(4), "one two three").caption
    assert [word.truncated for word in caption.words] == [False, False, True]
    assert caption.cut_at == 8


def test_a_fast_tokenizer_whose_tokens_are_not_in_the_text_is_refused():
    class Inserting(FastWrapped):
        def __call__(self, texts, context_length):
            ids = super().__call__(texts, context_length)
            ids[0, 1] = 77
            return ids

    with pytest.raises(ModelError, match="Token 1 of this model's Inserting"):
        tokenize(Inserting(8), "a dog")


def test_nothing_that_was_written_stays_in_the_tokenizer():
    tokenizer = import_open_clip().tokenizer.SimpleTokenizer()
    tokenize(tokenizer, "a zxqvwish dog")
    known = len(tokenizer.cache)
    tokenize(tokenizer, "a qwzxish zxqvwish cat")
    assert len(tokenizer.cache) == known and not any("zxish" in word for word in tokenizer.cache)
