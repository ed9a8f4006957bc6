"""Captions of every script and control character: `python -m fuzz.captions [--cases 2000] [--case NUMBER]`.

In this process through the embedded model's tokenizer and back through a saved file; `python -m fuzz` sends the same
captions to a running server.
"""

import functools
import random
import sys
import unicodedata

import regex

from crossviz.errors import CaptionError
from fuzz.command import command
from fuzz.outcome import Outcome
from fuzz.scripts import SCRIPTS

__all__ = ["check", "fault_of_spans", "make"]

_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_INVISIBLE = "\0\u00ad\u034f\u115f\u180e\u200b\u200c\u200d\u2060\u2061\u2064\u3164\ufeff\ufff9\ufffa\ufffb\ufffc\ufffd"
_SPACES = " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2003\u2009\u2028\u2029\u202f\u205f\u3000"
_MARKUP = (
    "<img src=x onerror=alert(1)>",
    "<!-- -->",
    "&amp;lt;b&amp;gt; &#0; &#x110000; &notanentity; &#55296;",
    "${alert(1)} {{7*7}} #{1} <%= 1 %> {% x %}",
    "<|endoftext|> <start_of_text> [SEP] [CLS] [PAD] [MASK] [UNK] </s> <pad>",
    "\\ud800 \\x00 %00 %s %n {0} {} \\N{SNOWMAN}",
    "'; DROP TABLE words; --",
    "../../etc/passwd\0.png file:///etc/passwd",
    "Ã©tÃ© â€œquotedâ€\x9d schÃ¶n",
    "$\\alpha_{1}^2$ \\write18{id} $$",
    "a\u2019b don''t ''' --- - ' \u2011\u2010",
)
_EMOJI = (
    "👩\u200d🚀",
    "👨🏽\u200d👩🏿\u200d👧\u200d👦",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "🇨🇭",
    "🇨",
    "1️⃣",
    "❤️",
    "☠︎",
    "🏳️\u200d🌈",
)


def make(number: int) -> tuple[str, str]:
    """The caption of a case, and how it was made. The first ones are a script each."""
    rng = random.Random(f"caption {number}")
    if number < len(SCRIPTS) or rng.random() < 0.25:
        script = SCRIPTS[number % len(SCRIPTS)]
        return _words(rng, _letters(script)), f"script {script}"
    kind = rng.choice(_KINDS)
    return kind(rng), kind.__name__.strip("_").replace("_", " ")


def _mixed_scripts(rng: random.Random) -> str:
    return " ".join(_words(rng, _letters(rng.choice(SCRIPTS))) for _ in range(rng.randint(2, 4)))


def _control_characters(rng: random.Random) -> str:
    controls = [chr(code) for code in (*range(32), *range(127, 160))]
    return _sprinkled(rng, "a dog and a cat", controls)


def _bidi_controls(rng: random.Random) -> str:
    return _sprinkled(rng, "a dog and כלב وكلب", _BIDI)


def _invisible_characters(rng: random.Random) -> str:
    return _sprinkled(rng, "a dog and a red cat", _INVISIBLE)


def _spaces(rng: random.Random) -> str:
    return "".join(
        rng.choice(("dog", "a", "cat", "é")) + rng.choice(_SPACES) * rng.choice((1, 2, 30)) for _ in range(6)
    )


def _combining_runs(rng: random.Random) -> str:
    marks = _marks()
    return " ".join(
        rng.choice("aeoZकก가あ1👩") + "".join(rng.choices(marks, k=rng.choice((1, 3, 30, 400)))) for _ in range(5)
    )


def _emoji(rng: random.Random) -> str:
    return rng.choice(("", "a ")) + "".join(
        rng.choice((*_EMOJI, "\u200d", "\ufe0f", " ", "dog")) for _ in range(rng.randint(1, 12))
    )


def _surrogates(rng: random.Random) -> str:
    halves = [chr(rng.randrange(0xD800, 0xE000)) for _ in range(3)]
    return _sprinkled(rng, "a dog and a cat", halves)


def _any_characters(rng: random.Random) -> str:
    return "".join(chr(rng.randrange(sys.maxunicode + 1)) for _ in range(rng.choice((1, 5, 40, 300))))


def _not_characters(rng: random.Random) -> str:
    odd = [chr(plane << 16 | low) for plane in (0, 1, 16) for low in (0xFFFE, 0xFFFF)] + [
        "\ue000",
        "\U0010fffd",
        "\u0378",
    ]
    return _sprinkled(rng, "a dog and a cat", odd)


def _markup(rng: random.Random) -> str:
    return " ".join(rng.sample(_MARKUP, rng.randint(1, 3))) + rng.choice(("", " a dog"))


def _long(rng: random.Random) -> str:
    unit = rng.choice(("dog ", "a", "é ", "🐕", "犬", "a-", "’", " ", "&amp;", "ﷺ ", "𒐫", "ก", "<b>"))
    return unit * (rng.choice((400, 4999, 5000, 5001, 20_000, 100_000)) // len(unit))


def _short(rng: random.Random) -> str:
    return rng.choice(("", " ", "\0", ".", "a", "1", "-", "'", "。", "́", "\u200d", "🐕", "ß", "ﬁ", "İ", "ﷺ", "\ufeff"))


_KINDS = (
    *(_mixed_scripts, _control_characters, _bidi_controls, _invisible_characters, _spaces, _combining_runs, _emoji),
    *(_surrogates, _any_characters, _not_characters, _markup, _long, _short),
)


def check(number: int, text: str, label: str) -> Outcome:
    """What the embedded model makes of it: words within the caption, and the same after saving and loading."""
    from crossviz.words import Caption

    try:
        found = _explained(text)
    except CaptionError as error:
        said = str(error)
        return Outcome(number, label, "wrong" if "\n" in said or len(said) > 400 else "refused", said)
    spans = [(word.start, word.end, word.text) for word in found.words]
    fault = fault_of_spans(text, spans) if found.text == text else "the caption is another"
    if Caption.from_meta(found.to_meta()) != found:
        fault = "it comes back from its saved form as another"
    return Outcome(number, label, "wrong" if fault else "accepted", fault)


def fault_of_spans(text: str, words: list[tuple[int, int, str]]) -> str:
    """What is wrong with a caption's words (start, end, text of each); "" if they are its characters, in order."""
    last = 0
    for start, end, word in words:
        if not last <= start < end <= len(text) or text[start:end] != word:
            return f"the word {word!r:.40} is not the caption's characters {start} to {end}"
        last = end
    return "" if words else "there is no word"


@functools.cache
def _asked() -> tuple:
    import crossviz
    from fuzz.photo_seeds import photo_seeds

    explainer = crossviz.Explainer("crossviz-mini")
    return explainer, explainer.encode(photo_seeds()["png rgb"])


def _explained(text: str):
    explainer, image = _asked()
    found = explainer.explain(image, text)
    assert found.map.values.isfinite().all()
    return found.caption


@functools.cache
def _letters(script: str) -> list[str]:
    return regex.findall(rf"\p{{Script={script}}}", _everything())


@functools.cache
def _everything() -> str:
    return "".join(chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)


@functools.cache
def _marks() -> list[str]:
    return [char for char in _everything() if unicodedata.category(char).startswith("M")]


def _words(rng: random.Random, letters: list[str]) -> str:
    return " ".join("".join(rng.choices(letters, k=rng.randint(1, 8))) for _ in range(rng.randint(1, 12)))


def _sprinkled(rng: random.Random, text: str, odd) -> str:
    """The text with odd characters in it, one to many, sometimes alone."""
    if rng.random() < 0.1:
        return "".join(rng.choices(odd, k=rng.randint(1, 20)))
    for _ in range(rng.choice((1, 2, 10, 100))):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(odd) + text[at:]
    return text


if __name__ == "__main__":
    command("captions", __doc__, 2_000)
