"""Attention while writing: where a decoder looked in the photo at the moment when it wrote each word.

Vaswani et al., "Attention Is All You Need" (2017), eq. 1, with queries from the text and keys from the image, in models
that write captions (Yu et al., "CoCa", 2022; Li et al., "BLIP", 2022). Such a model reads from left to right: what
writes a token is the position before it, and that position's row is shown as the token's. It has not seen what it
wrote, so the row is the same whatever word follows; what it says is where the model looked for the next word.
`cross_attention` has the other row, of the position that has read the word. The map of a word is the mean of its
tokens' rows; of a word of several tokens only the first row knows nothing of it, the others have read its beginning.
"""

from crossviz.methods.base import Layers, MethodInfo, MethodResult
from crossviz.methods.cross_attention import attention_result
from crossviz.trace import Trace

__all__ = ["WrittenAttention"]

_NOTE = (
    "The row that wrote a word has not seen it: the map is the same whatever word follows, and says where the model "
    "looked for the next one."
)


class WrittenAttention:
    """The attention of the positions that wrote the caption's tokens, read as it is."""

    info = MethodInfo(
        name="written_attention",
        title="Attention while writing",
        sentence="Where the model looked when it wrote each word: the row that wrote a word has not seen it, so it is "
        "the same whatever word follows.",
        paper="Vaswani et al., Attention Is All You Need, 2017",
        unit="probability",
        signed=False,
        text_dependent=True,
        requires=("written_attention",),
        families="models that write captions",
        before_word=True,
    )
    needs_grad = False

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the record holds the row that wrote each token, the map every word's."""
        return attention_result(trace, self.info, trace.written_attention(), layers, notes=(_NOTE,))
