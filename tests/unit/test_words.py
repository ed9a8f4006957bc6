"""What is a word, which tokens are its own, how a phrase is chosen, and where cleaned text came from."""

import html
import itertools
import json
import random
import re
import string
import unicodedata

import ftfy
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from crossviz.errors import AmbiguousTextError, CaptionError, SelectionError
from crossviz.words import (
    MAX_CAPTION_CHARS,
    Caption,
    Token,
    Word,
    align,
    check_caption,
    make_caption,
    split_words,
    unknown_sentence,
    whole_caption,
)


def words_of(text):
    return [text[start:end] for start, end in split_words(text)]


def by_pairs(text, size=2):
    """Pieces of a tokenizer that cuts every run of non-blank characters into pairs."""
    return [
        (100 + place, text[start : min(start + size, run.end())], start, min(start + size, run.end()))
        for run in re.finditer(r"\S+", text)
        for place, start in enumerate(range(run.start(), run.end(), size))
    ]


def caption_of(text, length=None, size=2):
    """As a CLIP tokenizer would hand it in: start, tokens, end; cut to `length` in all."""
    pieces = by_pairs(text, size)
    room = len(pieces) if length is None else length - 2
    kept = [(1, "<start>", None, None), *pieces[:room], (2, "<end>", None, None)]
    return make_caption(text, kept, cut=pieces[room:])


# Any text, with what is hard about text more often than by chance.
WESTERN = [
    "dog",
    "Dog",
    "don't",
    "don’t",
    "T-shirt",
    "é",
    "e\u0301",
    "İ",
    "ﬁ",
    "ß",
    "&amp;",
    "3",
    "_",
    "'",
    "-",
    "’",
    ".",
]
OTHER = ["一只狗", "フリスビー", "كَلْب", "هذا", "👨‍👩‍👧", "👍🏽", "🇩🇪🇫🇷", "🐶", "❤️", "1️⃣"]
INVISIBLE = ["\u200d", "\u200f", "\x00", "\x07", "\u0301", "  ", "\t", "\n"]
hard = st.sampled_from([*WESTERN, *OTHER, *INVISIBLE])
texts = st.lists(st.one_of(hard, st.text(max_size=4), st.just(" ")), max_size=14).map("".join)
readable = texts.filter(lambda text: split_words(text) and not re.search("[\ud800-\udfff]", text))


class TestSplitWords:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("A black dog catches a red frisbee.", ["A", "black", "dog", "catches", "a", "red", "frisbee"]),
            ("dog, dog; dog!", ["dog", "dog", "dog"]),
            ("Don't say it’s the dogs' T-shirt", ["Don't", "say", "it’s", "the", "dogs", "T-shirt"]),
            ("'quoted' and “typographic” — rock-n-roll", ["quoted", "and", "typographic", "rock-n-roll"]),
            ("mother-in-law's co‑op dog--cat -x- 'tis", ["mother-in-law's", "co‑op", "dog", "cat", "x", "tis"]),
            ("snake_case a/b 2 dogs", ["snake", "case", "a", "b", "2", "dogs"]),
            ("café cafe\u0301 naïve", ["café", "cafe\u0301", "naïve"]),
            ("... !? -- '’ «»", []),
            (" \t\n", []),
            ("一只黑狗 catch飞盘", ["一", "只", "黑", "狗", "catch", "飞", "盘"]),
            ("犬がビーチ、葛\U000e0100", ["犬", "が", "ビー", "チ", "葛\U000e0100"]),
            ("검은 개가", ["검은", "개가"]),
            ("كَلْبٌ أسود، يركض", ["كَلْبٌ", "أسود", "يركض"]),
            ("می‌خواهم צה״ל", ["می‌خواهم", "צה״ל"]),
            ("काला कुत्ता क्‍ष", ["काला", "कुत्ता", "क्‍ष"]),
            ("🐶🐱 🐶", ["🐶", "🐱", "🐶"]),
            ("👨‍👩‍👧‍👦👍🏽👩🏾‍🚀", ["👨‍👩‍👧‍👦", "👍🏽", "👩🏾‍🚀"]),
            ("🇩🇪🇫🇷🏴󠁧󠁢󠁥󠁮󠁧󠁿🏳️‍🌈", ["🇩🇪", "🇫🇷", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏳️‍🌈"]),
            ("❤️ ❤ ✈︎ 1️⃣#️⃣", ["❤️", "❤", "✈︎", "1️⃣", "#️⃣"]),
            ("Acme™ ©2020 ©️", ["Acme", "2020", "©️"]),
            ("I ❤️my 🐶dog", ["I", "❤️", "my", "🐶", "dog"]),
            ("a\x00b\x07c \u0301 \u200d", ["a", "b", "c"]),
            ("\u202eright\u202c left\u200f", ["right", "left"]),
        ],
    )
    def test_words(self, text, words):
        assert words_of(text) == words

    @given(texts)
    def test_every_letter_and_digit_is_in_one_word_and_no_space_is(self, text):
        spans = split_words(text)
        covered = [place for start, end in spans for place in range(start, end)]
        assert covered == sorted(set(covered))
        assert all(start < end for start, end in spans)
        for place, char in enumerate(text):
            if unicodedata.category(char)[0] in "LN":
                assert place in covered
            if char.isspace():
                assert place not in covered

    @given(st.lists(hard.filter(lambda part: len(words_of(part)) == 1 and words_of(part)[0] == part), max_size=9))
    def test_words_between_spaces_stay_whole(self, parts):
        assert words_of("  ".join(parts)) == parts

    def test_emoji_are_never_taken_apart(self):
        """Every sequence of family, profession, skin tone and flag is one word."""
        people, tones, jobs = "👨👩🧑", ["", "🏻", "🏿"], "🌾🍳🎓🚀⚕"
        for person in people:
            for tone in tones:
                for job in jobs:
                    emoji = f"{person}{tone}\u200d{job}" + ("\ufe0f" if job == "⚕" else "")
                    assert words_of(emoji + emoji) == [emoji, emoji]


class TestCheckCaption:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (None, "No caption was given"),
            (b"dog", "of type bytes"),
            (7, "of type int"),
            ("", "is empty"),
            (" \n\t ", "only white space"),
            ("dog " * 2500, "10,000 characters"),
            ("?!... --", "no word"),
            ("\x00\x01", "no word"),
            ("a dog \ud83d", "half of a character"),
        ],
    )
    def test_refused(self, text, says):
        with pytest.raises(CaptionError, match=re.escape(says)) as caught:
            check_caption(text)
        assert len(str(caught.value)) < 250
        assert str(caught.value).isprintable()

    def test_taken_as_it_is(self):
        for text in ("dog", "  a  dog\n", "🐶", "狗", "x" * MAX_CAPTION_CHARS):
            assert check_caption(text) is text


class TestMakeCaption:
    def test_tokens_of_words(self):
        caption = caption_of("The T-shirt, the dog's.")
        # start | Th e | T- sh ir t, | th e | do g' s. | end
        assert [word.text for word in caption.words] == ["The", "T-shirt", "the", "dog's"]
        assert [word.tokens for word in caption.words] == [(1, 2), (3, 4, 5, 6), (7, 8), (9, 10, 11)]
        assert caption.tokens[0] == Token(0, 1, "<start>", None, None)
        assert caption.tokens[6] == Token(6, 103, "t,", 10, 12)
        assert caption.token_counts == (2, 4, 2, 3)
        assert not caption.truncated
        assert caption.cut_at is None

    def test_a_token_over_two_words_counts_for_both(self):
        caption = make_caption("狗猫", [(1, "狗猫", 0, 2)])
        assert [word.tokens for word in caption.words] == [(0,), (0,)]

    def test_bytes_of_one_emoji(self):
        """Byte-level tokenizers make several tokens of one character, all with its span."""
        caption = make_caption(
            "a 🐶!", [(1, "a", 0, 1), (2, "ðŁ", 2, 3), (3, "Ĳ", 2, 3), (4, "¶", 2, 3), (5, "!", 3, 4)]
        )
        assert [word.tokens for word in caption.words] == [(0,), (1, 2, 3)]

    def test_repeated_words_are_told_apart(self):
        caption = caption_of("dog dog dog", size=3)
        assert [(word.index, word.start, word.tokens) for word in caption.words] == [
            (0, 0, (1,)),
            (1, 4, (2,)),
            (2, 8, (3,)),
        ]

    def test_cut_off_at_the_context_length(self):
        text = " ".join(random.Random(0).choices(["dog", "frisbee", "T-shirt", "grass"], k=300))
        caption = caption_of(text, length=77)
        assert len(caption.words) == 300
        assert len(caption.tokens) == 77
        assert caption.truncated
        read = [word for word in caption.words if not word.truncated]
        assert [word.index for word in read] == list(range(len(read)))
        assert read[-1].end <= caption.cut_at
        for word in caption.words[len(read) + 1 :]:  # between the two may be one that was cut in two
            assert word.truncated
            assert word.tokens == ()
            assert word.start >= caption.cut_at
        assert caption.cut_at == by_pairs(text)[75][2]

    def test_a_word_cut_in_two_is_truncated_and_keeps_what_was_read(self):
        caption = caption_of("a frisbee", length=4)
        assert caption.words[1] == Word(1, "frisbee", 2, 9, (2,), True)
        assert caption.cut_at == 4
        assert caption.phrase("frisbee").words == (1,)

    def test_a_word_that_the_tokenizer_drops_is_truncated(self):
        caption = make_caption("a 🐶 dog", [(1, "a", 0, 1), (2, "dog", 4, 7)])
        assert [word.truncated for word in caption.words] == [False, True, False]
        assert not caption.truncated

    @given(readable, st.integers(2, 40), st.integers(1, 4))
    def test_tokens_and_words_overlap(self, text, length, size):
        caption = caption_of(text, length, size)
        assert [(word.start, word.end) for word in caption.words] == split_words(text)
        spans = [token for token in caption.tokens if token.start is not None]
        for word in caption.words:
            expected = [t.index for t in spans if set(range(t.start, t.end)) & set(range(word.start, word.end))]
            assert list(word.tokens) == expected
            covered = {place for index in word.tokens for place in range(*self.span(caption, index))}
            assert word.truncated == (not set(range(word.start, word.end)) <= covered)
        assert caption.truncated == (len(by_pairs(text, size)) > length - 2)

    @staticmethod
    def span(caption, index):
        return caption.tokens[index].start, caption.tokens[index].end

    @given(readable, st.integers(3, 40))
    def test_saved_and_loaded(self, text, length):
        caption = caption_of(text, length)
        assert Caption.from_meta(json.loads(json.dumps(caption.to_meta()))) == caption

    def test_refused(self):
        for make in (
            lambda: make_caption("", []),
            lambda: make_caption("dog", [(1, "dog", 0, 4)]),
            lambda: make_caption("dog", [(1, "dog", None, 3)]),
            lambda: make_caption("dog", [(1, "dog", 2, 1)]),
            lambda: make_caption("dog", [], cut=[(1, "dog", 0, 9)]),
            lambda: Caption("dog", (Token(1, 5, "dog", 0, 3),), ()),
            lambda: Caption("dog", (), (Word(0, "cat", 0, 3, ()),)),
            lambda: Caption("dog", (), (Word(0, "dog", 0, 3, (0,)),)),
            lambda: Caption("dog", (), (), truncated=True),
            lambda: Caption.from_meta({"text": "dog"}),
            lambda: Caption.from_meta({"text": "dog", "tokens": [], "words": [[0, 3]], "cut_at": None}),
        ):
            with pytest.raises(CaptionError):
                make()


class TestPhrase:
    caption = caption_of("A black dog, the Dog and  the\nred don’t-care T‑shirt: A dog.")

    def test_by_text(self):
        for text, words in [
            ("black", (1,)),
            ("BLACK", (1,)),
            ("black dog", (1, 2)),
            ("dog, the dog", (2, 3, 4)),
            ("and the red", (5, 6, 7)),
            (" red ", (7,)),
            ("red.", (7,)),
            ("don't-care", (8,)),
            ("t-shirt", (9,)),
        ]:
            phrase = self.caption.phrase(text)
            assert phrase.words == words
            assert phrase.start == self.caption.words[words[0]].start
            assert phrase.end == self.caption.words[words[-1]].end
            assert phrase.text == self.caption.text[phrase.start : phrase.end]

    def test_text_that_occurs_twice_needs_its_span(self):
        with pytest.raises(AmbiguousTextError, match=r"'dog' occurs 3 times") as caught:
            self.caption.phrase("dog")
        spans = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+), (\d+)\)", str(caught.value))][:3]
        assert [self.caption.phrase(span=span).words for span in spans] == [(2,), (4,), (11,)]
        with pytest.raises(AmbiguousTextError, match="2 times"):
            caption_of("dog dog dog").phrase("dog dog")

    @pytest.mark.parametrize("text", ["cat", "bla", "blackdog", "black, dog", "dog the", "red dog"])
    def test_text_that_is_not_there_lists_the_words(self, text):
        with pytest.raises(SelectionError, match="not in the caption as whole words") as caught:
            self.caption.phrase(text)
        for word in ("'black'", "'red'", "'T‑shirt'"):
            assert word in str(caught.value)

    def test_by_word(self):
        assert self.caption.phrase(word=2).text == "dog"
        assert self.caption.phrase(word=-1).words == (11,)
        for word in (12, -13, 1.0, True, "dog"):
            with pytest.raises(SelectionError, match="0 'A', 1 'black'"):
                self.caption.phrase(word=word)

    def test_by_span(self):
        start = self.caption.text.index("black")
        assert self.caption.phrase(span=(start, start + 5)).words == (1,)
        assert self.caption.phrase(span=[start + 4, start + 7]).words == (1, 2)
        assert self.caption.phrase(span=(0, len(self.caption.text))).words == tuple(range(12))
        for span in [(3, 3), (5, 2), (-1, 4), (0, 999), (1,), (1.5, 2), "ab", 7]:
            with pytest.raises(SelectionError):
                self.caption.phrase(span=span)
        with pytest.raises(SelectionError, match="No word lies in"):
            self.caption.phrase(span=(11, 13))

    def test_by_exactly_one(self):
        for selectors in ({}, {"text": "black", "word": 1}, {"span": (0, 1), "word": 0}):
            with pytest.raises(SelectionError, match="only one"):
                self.caption.phrase(**selectors)
        for text in (7, b"dog"):
            with pytest.raises(SelectionError):
                self.caption.phrase(text)
        for text in ("", " ", "!?"):
            with pytest.raises(SelectionError, match="no word in"):
                self.caption.phrase(text)

    def test_what_was_cut_off_can_not_be_chosen(self):
        caption = caption_of("a dog and a frisbee", length=5)
        assert caption.phrase("a dog").words == (0, 1)
        assert caption.phrase(span=(2, 15)).words == (1, 2, 3, 4)
        with pytest.raises(SelectionError, match=r"'frisbee'.*beyond"):
            caption.phrase("frisbee")

    def test_messages_are_short_and_safe(self):
        caption = caption_of(" ".join(f"w{number}" for number in range(300)))
        for selectors in ({"text": "x" * 5000}, {"text": "<script>\n\x07y"}, {"word": 10**9}, {"span": "z" * 9000}):
            with pytest.raises(SelectionError) as caught:
                caption.phrase(**selectors)
            assert len(str(caught.value)) < 700
            assert str(caught.value).isprintable()
        with pytest.raises(SelectionError, match="and 276 more"):
            caption.phrase("y")

    @given(readable)
    def test_every_word_is_found_by_its_own_text_span_and_index(self, text):
        caption = caption_of(text)
        for word in caption.words:
            phrase = caption.phrase(word=word.index)
            assert (phrase.text, phrase.start, phrase.end) == (word.text, word.start, word.end)
            assert caption.phrase(span=(word.start, word.end)) == phrase
            try:
                assert caption.phrase(word.text) == phrase
            except AmbiguousTextError as error:
                assert f"({word.start}, {word.end})" in str(error)


def clip_clean(text):
    """What open_clip's tokenizers do to a caption before they cut it up."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


def siglip_clean(text):
    """The same, with punctuation taken out."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).replace("_", " ")
    return " ".join(text.translate(str.maketrans("", "", string.punctuation)).lower().split())


class TestAlign:
    @pytest.mark.parametrize(
        ("original", "origins"),
        [
            ("caf&eacute; x", ["c", "a", "f", "&eacute;", " ", "x"]),
            ("&alpha;&beta; a", ["&alpha;", "&beta;", " ", "a"]),
            ("İs", ["İ", "İ", "s"]),
            ("ﬁn", ["ﬁ", "ﬁ", "n"]),
            ("“it’s”", ["“", "i", "t", "’", "s", "”"]),
            ("e\u0301t", ["e\u0301", "t"]),
            ("&lt;b&gt; &amp;amp; c", ["&lt;", "b", "&gt;", " ", "&amp;amp;", " ", "c"]),
            ("donâ€™t", ["d", "o", "n", "â€™", "t"]),
            ("  A \t dog\n", ["A", None, "d", "o", "g"]),
            ("ＤＯＧ", ["Ｄ", "Ｏ", "Ｇ"]),
            ("ΟΔΟΣ", ["Ο", "Δ", "Ο", "Σ"]),
            ("a\x00b", ["a", "b"]),
        ],
    )
    def test_clip(self, original, origins):
        cleaned = clip_clean(original)
        spans = align(original, cleaned)
        assert len(spans) == len(cleaned) == len(origins)
        for (start, end), origin in zip(spans, origins, strict=True):
            assert original[start:end].isspace() if origin is None else original[start:end] == origin

    def test_one_character_made_of_several(self):
        assert align("fin...", "ﬁn…") == [(0, 2), (2, 3), (3, 6)]

    def test_the_second_dog_is_the_second_dog(self):
        original = "A dog &amp; “a dog” — the DOG's_T-shirt"
        for clean in (clip_clean, siglip_clean):
            cleaned = clean(original)
            spans = align(original, cleaned)
            found = [spans[match.start()][0] for match in re.finditer("dog", cleaned)]
            assert found == [match.start() for match in re.finditer("dog", original, re.IGNORECASE)]

    @given(texts)
    def test_equal_texts(self, text):
        assert align(text, text) == [(place, place + 1) for place in range(len(text))]

    @given(texts, st.one_of(texts, st.sampled_from([clip_clean, siglip_clean])))
    @example("", "abc")
    @example("abc", "")
    @example("ab", "xxabxx")
    def test_spans_lie_in_the_original_and_never_go_back(self, original, cleaned):
        cleaned = cleaned(original) if callable(cleaned) else cleaned
        spans = align(original, cleaned)
        assert len(spans) == len(cleaned)
        for start, end in spans:
            assert 0 <= start <= end <= len(original)
            assert start < end or not original
        assert all(one[0] <= two[0] and one[1] <= two[1] for one, two in itertools.pairwise(spans))

    @given(st.text(st.sampled_from("abcAB '-.1é狗"), min_size=1, max_size=60), st.data())
    def test_dropped_characters(self, original, data):
        """A cleaner that only drops and lowers: every character comes from one like it."""
        keep = data.draw(st.lists(st.booleans(), min_size=len(original), max_size=len(original)))
        cleaned = "".join(char for char, kept in zip(original, keep, strict=True) if kept).lower()
        for char, (start, end) in zip(cleaned, align(original, cleaned), strict=True):
            assert original[start:end].lower() == char

    @given(readable)
    def test_words_find_their_letters_again(self, text):
        """ASCII words survive cleaning: each maps back onto its own letters."""
        assume(ftfy.fix_text(text) == text)
        cleaned = clip_clean(text)
        spans = align(text, cleaned)
        original_words = [match.span() for match in re.finditer(r"(?a)[a-zA-Z]{3,}", text)]
        cleaned_words = [match.span() for match in re.finditer(r"(?a)[a-zA-Z]{3,}", cleaned)]
        assume([text[a:b].lower() for a, b in original_words] == [cleaned[a:b] for a, b in cleaned_words])
        assert [(spans[a][0], spans[b - 1][1]) for a, b in cleaned_words] == original_words

    @pytest.mark.parametrize("original", ["&amp;" * 400, "A  " * 666, "ﬃ" * 2000, "ab" * 1000, "dog&amp;" * 250])
    def test_long_repetitive_captions(self, original):
        """The longest captions that are taken, in the ways that make a naive alignment take minutes."""
        for cleaned in (clip_clean(original), original[::-1]):
            spans = align(original, cleaned)
            assert len(spans) == len(cleaned)
            assert all(0 <= start <= end <= len(original) for start, end in spans)


def test_words_that_a_tokenizer_does_not_know_are_named_once():
    text = "a 🐱 on 🚀 or 🐱"
    pieces = [(9, text[a:b] if text[a:b].isascii() else "[UNK]", a, b) for a, b in split_words(text)]
    caption = make_caption(text, pieces)
    assert [caption.words[word].text for word in caption.unknown] == ["🐱", "🚀", "🐱"]
    said = unknown_sentence(caption)
    assert said.count("🐱") == said.count("🚀") == 1
    assert "[UNK] in the place of each" in said
    seven = make_caption("b c d e f g h", [(1, "[UNK]", 2 * i, 2 * i + 1) for i in range(7)])
    assert "and 2 more" in unknown_sentence(seven)
    assert whole_caption(text).unknown == () and unknown_sentence(whole_caption(text)) == ""


def test_every_word_of_a_whole_caption_can_be_chosen():
    caption = whole_caption("a dog, and a zebra")
    assert [caption.phrase(word=word).text for word in range(5)] == ["a", "dog", "and", "a", "zebra"]
    assert not any(word.truncated for word in caption.words)
    with pytest.raises(CaptionError):
        whole_caption("...")


def test_a_caption_of_escapes_makes_no_long_sentence():
    with pytest.raises(CaptionError) as error:
        check_caption("\U000f9c08 " * 200)
    assert len(str(error.value)) < 250
