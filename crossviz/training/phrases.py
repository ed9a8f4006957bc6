"""What a caption's phrases are to the training code: tokens, head noun, kinds."""

from dataclasses import dataclass

from crossviz.evaluate.absent import head_noun
from crossviz.training.model import Tokenizer

__all__ = ["STOP_WORDS", "CodedPhrase", "CodedSentence", "code_text"]

STOP_WORDS = frozenset(
    """a an the this that these those some any his her its their my your our of in on at to from with by
    for and or as into onto over under up down off out through near next while is are was were be being been he she
    they them him who which there s 's has have , . ; : ! ? ' " - ( )""".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class CodedPhrase:
    """A phrase within a coded text: token indices (all, and without stop words), boxes, head noun."""

    tokens: tuple[int, ...]
    content: tuple[int, ...]
    text: str
    head: str
    kinds: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True)
class CodedSentence:
    """A caption as token ids, its phrases, and the stop words outside any phrase."""

    text: str
    ids: tuple[int, ...]
    phrases: tuple[CodedPhrase, ...]
    stops: tuple[int, ...]


def code_text(text: str, spans: list, tokenizer: Tokenizer) -> CodedSentence:
    """Tokens of a caption and of the phrases in it; a phrase that the tokenizer cut off is dropped.

    `spans` holds anything with start, end, kinds and boxes.
    """
    ids, where = tokenizer(text)
    phrases, inside = [], set()
    stop = [text[s:e].lower() in STOP_WORDS for s, e in where]
    for span in spans:
        tokens = tuple(i for i, (s, e) in enumerate(where) if s < span.end and e > span.start)
        inside.update(tokens)
        if tokens:
            content = tuple(i for i in tokens if not stop[i]) or tokens
            part = text[span.start : span.end]
            phrases.append(CodedPhrase(tokens, content, part, head_noun(part), span.kinds, span.boxes))
    stops = tuple(i for i, s in enumerate(stop) if s and i not in inside)
    return CodedSentence(text, tuple(ids), tuple(phrases), stops)
