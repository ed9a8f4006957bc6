"""MaskCLIP: what the values of the image tower's last attention say of each patch, each patch by itself.

Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP" (ECCV 2022): queries and keys of the last attention
are left out, every token keeps its own value, and the output projection follows. As in the published code for vision
transformers the block's residual connection and MLP are kept; then come the tower's last norm and projection. Where
an attention pooler is the tower's last attention, as in the paper's ResNet, its values are read and the blocks stay
as they are. Key smoothing and prompt denoising, which need a closed set of classes, are left out.
"""

from crossviz.methods.base import Layers, MethodInfo, MethodResult, check_prompt, select_layers, tower_labels
from crossviz.methods.dense import dense_result, dense_tower, last_block, patch_features, pooler_alone
from crossviz.trace import Trace

__all__ = ["MaskClip"]


class MaskClip:
    """The value path of the last attention.

    Args:
        prompt: the text that stands for a word; "{}" is where the word goes.

    Raises:
        MethodError: there is no single "{}" in the prompt.
    """

    info = MethodInfo(
        name="maskclip",
        title="MaskCLIP",
        sentence="How close each patch's own value in the last attention comes to the word.",
        paper="Zhou et al., Extract Free Dense Labels from CLIP, 2022",
        unit="cosine similarity",
        signed=True,
        text_dependent=True,
        requires=("image_tower", "image_row", "patch_texts"),
        families="vision transformers, and towers with an attention pooler",
    )
    needs_grad = False

    def __init__(self, prompt: str = "a photo of a {}") -> None:
        self.prompt = check_prompt(prompt)

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the one layer is the last block, or the pooler of a tower that has one."""
        tower = dense_tower(trace, pooler=True)
        if tower.pooler is not None:
            labels = tower_labels(tower)
            select_layers(layers, labels, [len(labels) - 1])
            last = (last_block(trace, None) if tower.blocks else pooler_alone(trace))._replace(label=labels[-1])
            cells = last.layer.output[:, tower.grid.num_prefix_tokens :] if tower.blocks else last.inputs.flatten(2).mT
            features = tower.to_text(cells[0])
            made = "Every patch passes the values and the output of the pooler by itself, after all that comes before."
            params = {"attention": "own value"}
        else:
            last = last_block(trace, layers)
            features = patch_features(last, last.layer.values, residual=True, mlp=True)
            made = (
                "In the last block every token keeps its own value instead of attending to others; residual connection "
                "and MLP are kept."
            )
            params = {"attention": "own value", "residual": True, "mlp": True}
        return dense_result(self.info, trace, last, features, self.prompt, params, made)
