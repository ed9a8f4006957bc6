"""Teach the small text tower what MiniLM knows: token embeddings first, then word and sentence states."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, mse_loss

from crossviz.models.mini_text import text_states
from crossviz.training.config import load_config
from crossviz.training.forward import plain_attention
from crossviz.training.log import CsvLog
from crossviz.training.model import Tokenizer, build_clip, pad_ids
from crossviz.training.teacher import DIM, MiniLM
from crossviz.training.text_corpus import read_corpus

__all__ = ["distil", "initial_embedding", "word_means"]


def initial_embedding(teacher: MiniLM, tokenizer: Tokenizer, width: int, scale: float) -> Tensor:
    """A first embedding of all 49,408 tokens: the teacher's embedding of each token's text, reduced by PCA.

    Rare words thereby start near their kin, also those that no training caption holds.
    """
    texts = [tokenizer.word_of_token(t) or "." for t in range(49406)]
    vectors = torch.from_numpy(teacher.embed(texts))
    vectors -= vectors.mean(0)
    values, axes = torch.linalg.eigh(vectors.T @ vectors)
    reduced = vectors @ axes[:, values.argsort(descending=True)[:width]]
    marks = torch.randn(2, width) * reduced.std()
    return torch.cat([reduced, marks]) * (scale / reduced.std())


def word_means(states: Tensor, word: Tensor, words: int) -> Tensor:
    """Mean of the token states of each word: `batch token dim`, word index (-1: none) to `batch word dim`."""
    weights = (word[:, None, :] == torch.arange(words)[None, :, None]).to(states.dtype)
    return (weights @ states) / weights.sum(-1, keepdim=True).clamp(min=1)


def _teacher_words(teacher: MiniLM, texts: list[str], spans: list[list[tuple[int, int]]]) -> tuple[Tensor, Tensor]:
    states, offsets, pooled = teacher.run(texts)
    word = torch.full(offsets.shape[:2], -1)
    for i, row in enumerate(spans):
        place = {c: w for w, (start, end) in enumerate(row) for c in range(start, end)}
        for j, (start, end) in enumerate(offsets[i].tolist()):
            if end > start:
                word[i, j] = place.get(start, -1)
    return word_means(states, word, max(map(len, spans))), pooled


def _teach(texts: list[str], tokenizer: Tokenizer, teacher: MiniLM, tokens_a_batch: int) -> list[tuple[Tensor, ...]]:
    """Batches of texts of like length with the teacher's states: ids, word of token, states (fp16), valid, pooled."""
    coded = [(text, *tokenizer(text)) for text in texts]
    coded = sorted((c for c in coded if c[1]), key=lambda c: len(c[1]))
    batches: list[tuple[Tensor, ...]] = []
    start, began = 0, time.time()
    while start < len(coded):
        size = max(1, tokens_a_batch // (len(coded[min(start + 200, len(coded) - 1)][1]) + 3))
        rows = coded[start : start + size]
        start += size
        spans = [sorted(set(r[2])) for r in rows]
        ids = pad_ids([r[1] for r in rows], tokenizer)
        word = torch.full(ids.shape, -1)
        for i, r in enumerate(rows):
            place = {span: w for w, span in enumerate(spans[i])}
            word[i, 1 : 1 + len(r[2])] = torch.tensor([place[s] for s in r[2]])
        target, pooled = _teacher_words(teacher, [r[0] for r in rows], spans)
        valid = (word[:, None, :] == torch.arange(target.shape[1])[None, :, None]).any(-1) & (target != 0).any(-1)
        batches.append((ids, word, target.half(), valid, pooled.half()))
        if len(batches) % 100 == 0:
            print(f"teacher: {start} of {len(coded)} texts, {time.time() - began:.0f} s", flush=True)
    return batches


def distil(data: Path, work: Path, settings: dict) -> None:
    """Write `text_tower.pt`: the tower's weights after distillation."""
    torch.manual_seed(settings["seed"])
    tokenizer, teacher, tower = Tokenizer(), MiniLM(), build_clip().text
    path = work / "embedding.pt"
    if not path.exists():
        torch.save(initial_embedding(teacher, tokenizer, tower.width, settings["embedding_scale"]), path)
    tower.token_embedding.weight.data.copy_(torch.load(path, weights_only=True))
    tower.token_embedding.requires_grad_(False)
    print("token embedding ready", flush=True)
    texts = read_corpus(data, tokenizer, settings["captions"], settings["phrases"], settings["seed"])
    cache = work / "teacher.pt"
    if not cache.exists():
        torch.save(_teach(texts, tokenizer, teacher, settings["tokens_a_batch"]), cache)
    batches = torch.load(cache, weights_only=True)
    held, batches = batches[7::50], [b for i, b in enumerate(batches) if i % 50 != 7]
    known = torch.cat([t[v].float() for _, _, t, v, _ in held])
    mean, std = known.mean(0), known.std(0).clamp(min=1e-2)  # one of MiniLM's dimensions is constant

    to_word, to_pooled = nn.Linear(tower.width, DIM), nn.Linear(tower.output_dim, DIM)
    params = [p for m in (tower, to_word, to_pooled) for p in m.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=settings["lr"], weight_decay=0.01, betas=(0.9, 0.98))
    total = settings["epochs"] * len(batches)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, settings["lr"], total, pct_start=0.05, cycle_momentum=False)
    log = CsvLog(work / "text_distil.csv", ["step", "seconds", "word_r2", "pooled_cosine"])

    def losses(batch: tuple) -> tuple[Tensor, Tensor]:
        ids, word, target, valid, pooled = batch
        with torch.autocast("cpu", dtype=torch.bfloat16), plain_attention(torch.device("cpu")):
            states = text_states(tower, ids)
            words = to_word(word_means(states.tokens, word[:, : states.tokens.shape[1]], target.shape[1]))
            embedding = to_pooled(states.pooled)
        word_loss = mse_loss(words[valid].float(), (target[valid].float() - mean) / std)
        return word_loss, 1 - cosine_similarity(embedding.float(), pooled.float()).mean()

    began, step, rng = time.time(), 0, np.random.default_rng(settings["seed"])
    for _ in range(settings["epochs"]):
        for i in rng.permutation(len(batches)):
            word_loss, pooled_loss = losses(batches[i])
            opt.zero_grad()
            (word_loss + settings["pooled_weight"] * pooled_loss).backward()
            nn.utils.clip_grad_norm_(params, 1.0)
            opt.step()
            plan.step()
            step += 1
            if step % 200 == 0 or step == total:
                with torch.no_grad():
                    found = torch.tensor([losses(b) for b in held[:: max(1, len(held) // 12)]]).mean(0)
                log.write(step, time.time() - began, 1 - float(found[0]), 1 - float(found[1]))
                print(f"{step} of {total}: {log.last}", flush=True)
                torch.save(tower.state_dict(), work / "text_tower.pt")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made on the way")
    parser.add_argument("--config", type=Path, default=None, help="TOML settings (default: mini.toml beside this)")
    args = parser.parse_args()
    distil(args.data, args.work, load_config(args.config)["text"])


if __name__ == "__main__":
    main()
