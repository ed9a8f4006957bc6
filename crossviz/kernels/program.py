"""The GPU program: one tile of queries against all keys of one head, in Triton.

Attention whose probabilities must be written can't be one pass of online softmax (Milakov and Gimelshein 2018; Dao et
al., "FlashAttention", 2022): a row's sum is known only when its last key has been seen, and by then all of the row has
to be written. Two ways out, both here, and which is faster is for the tuner to find:

- **Whole**: one block holds the whole row, padded to a power of two, in registers. Keys and values are read once and
  the scores computed once; only for short rows.
- **Twice**: a first loop over blocks of keys finds maximum and sum, a second computes the scores again, writes, and
  sums up the context. Keys are read twice, the second time from the L2 cache; any number of keys will do.

Several blocks kept in registers, with the loop unrolled, are no third: compiled for sm_90, 64 x 576 in nine blocks or
in five spills 0.8 to 1.3 kB per thread.

All sums are float32. Natural units throughout, so that the scores that are written are those of the formula.
"""

import triton
import triton.language as tl

__all__ = ["attend_tile"]


@triton.jit
def score_block(
    q,  # BLOCK_Q BLOCK_D, rows and columns beyond the tensor are 0
    null_scores,  # BLOCK_Q; read only with a null key
    rows,  # BLOCK_Q, which queries
    cols,  # BLOCK_K, which keys; `keys` itself is the null key
    k_head,
    key_mask_batch,
    attn_mask_head,
    scores_head,
    k_step,
    key_mask_step,
    attn_mask_row_step,
    attn_mask_step,
    queries,
    keys,
    row_step,
    scale,
    DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WRITE: tl.constexpr,
    NULL: tl.constexpr,
    KEY_MASK: tl.constexpr,
    ATTN_MASK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Scores of one block of keys, float32 `BLOCK_Q BLOCK_K`, -inf where there is nothing; written where asked for."""
    dims = tl.arange(0, BLOCK_D)
    there = cols < keys
    k = tl.load(
        k_head + cols[:, None].to(tl.int64) * k_step + dims[None, :],
        mask=there[:, None] & (dims < DIM)[None, :],
        other=0.0,
    )
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
    if ATTN_MASK != "none":
        at = rows[:, None].to(tl.int64) * attn_mask_row_step + cols[None, :].to(tl.int64) * attn_mask_step
        inside = (rows < queries)[:, None] & there[None, :]
        if ATTN_MASK == "bool":
            scores = tl.where(tl.load(attn_mask_head + at, mask=inside, other=1) != 0, scores, float("-inf"))
        else:
            scores += tl.load(attn_mask_head + at, mask=inside, other=0.0).to(tl.float32)
    if KEY_MASK:
        seen = tl.load(key_mask_batch + cols.to(tl.int64) * key_mask_step, mask=there, other=1)
        scores = tl.where((seen != 0)[None, :], scores, float("-inf"))
    scores = tl.where(there[None, :], scores, float("-inf"))
    if NULL:
        scores = tl.where((cols == keys)[None, :], null_scores[:, None], scores)
    if WRITE:
        write_block(scores_head, scores, rows, cols, queries, row_step)
    return scores


@triton.jit
def write_block(head, block, rows, cols, queries, row_step):
    """Write `BLOCK_Q BLOCK_K` into one head's matrix, also into the padding that ends each row.

    `row_step` is a multiple of 4 to the compiler's knowledge, and so is where the mask ends: four numbers go at a time.
    """
    at = rows[:, None].to(tl.int64) * row_step + cols[None, :]
    tl.store(head + at, block.to(head.dtype.element_ty), mask=(rows < queries)[:, None] & (cols < row_step)[None, :])


@triton.jit
def settled(maximum):
    """A row's maximum, or 0 where nothing may be looked at, so that exp(-inf - it) is 0 and not NaN."""
    return tl.where(maximum == float("-inf"), 0.0, maximum)


@triton.jit
def row_sums(powers, cols, keys):
    """Sum over the keys of a block, the null key left out."""
    return tl.sum(tl.where((cols < keys)[None, :], powers, 0.0), axis=1)


@triton.jit
def value_block(v_head, cols, dims, v_step, keys, DIM: tl.constexpr):
    """Values of a block of keys, 0 beyond the last."""
    return tl.load(
        v_head + cols[:, None].to(tl.int64) * v_step + dims[None, :],
        mask=(cols < keys)[:, None] & (dims < DIM)[None, :],
        other=0.0,
    )


@triton.jit
def attend_tile(
    q,
    k,
    v,
    key_mask,
    attn_mask,
    null_key,
    null_value,
    null_bias,
    scores,
    probs,
    context,
    q_batch_step,
    q_head_step,
    q_step,
    k_batch_step,
    k_head_step,
    k_step,
    v_batch_step,
    v_head_step,
    v_step,
    key_mask_batch_step,
    key_mask_step,
    attn_mask_batch_step,
    attn_mask_head_step,
    attn_mask_row_step,
    attn_mask_step,
    context_batch_step,
    context_head_step,
    context_step,
    heads,
    queries,
    keys,
    quarter_row,  # numbers from one row of scores and probs to the next, divided by 4
    scale,
    DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WRITE_SCORES: tl.constexpr,
    NULL: tl.constexpr,
    KEY_MASK: tl.constexpr,
    ATTN_MASK: tl.constexpr,  # "none", "bool" or "float"
    PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """Scores, probs and context of `BLOCK_Q` queries of one head; the programs of a head follow each other."""
    tiles = tl.cdiv(queries, BLOCK_Q)
    program = tl.program_id(0)
    tile = program % tiles
    batch = (program // tiles // heads).to(tl.int64)
    head = (program // tiles % heads).to(tl.int64)
    row_step = quarter_row * 4
    matrix = (batch * heads + head) * queries * row_step
    k_head = k + batch * k_batch_step + head * k_head_step
    v_head = v + batch * v_batch_step + head * v_head_step
    probs_head = probs + matrix
    scores_head = scores + matrix if WRITE_SCORES else scores
    key_mask_batch = key_mask + batch * key_mask_batch_step if KEY_MASK else key_mask
    attn_mask_head = attn_mask
    if ATTN_MASK != "none":
        attn_mask_head += batch * attn_mask_batch_step + head * attn_mask_head_step

    rows = tile * BLOCK_Q + tl.arange(0, BLOCK_Q)
    dims = tl.arange(0, BLOCK_D)
    q_tile = tl.load(
        q + batch * q_batch_step + head * q_head_step + rows[:, None].to(tl.int64) * q_step + dims[None, :],
        mask=(rows < queries)[:, None] & (dims < DIM)[None, :],
        other=0.0,
    )
    # The null key is counted from the start, and left out of the sums over blocks.
    maximum = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    mixed = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    null_scores = maximum
    if NULL:
        learned = tl.load(null_key + head * DIM + dims, mask=dims < DIM, other=0.0).to(tl.float32)
        null_scores = tl.sum(q_tile.to(tl.float32) * learned[None, :], axis=1) * scale
        null_scores += tl.load(null_bias + head).to(tl.float32)
        maximum = null_scores
        total += 1.0
        # It stands in the last block of keys, unless that is full: then it is written by itself.
        alone = rows < tl.where(keys % BLOCK_K == 0, queries, 0)
        last = rows.to(tl.int64) * row_step + keys
        if WRITE_SCORES:
            tl.store(scores_head + last, null_scores.to(scores.dtype.element_ty), mask=alone)

    if WHOLE:
        cols = tl.arange(0, BLOCK_K)
        block = score_block(
            q_tile, null_scores, rows, cols, k_head, key_mask_batch, attn_mask_head, scores_head,
            k_step, key_mask_step, attn_mask_row_step, attn_mask_step, queries, keys, row_step, scale,
            DIM, BLOCK_D, WRITE_SCORES, NULL, KEY_MASK, ATTN_MASK, PRECISION,
        )  # fmt: skip
        larger = tl.maximum(maximum, tl.max(block, axis=1))
        block = tl.exp(block - settled(larger)[:, None])
        total = total * tl.exp(maximum - settled(larger)) + row_sums(block, cols, keys)
        maximum = larger
        inverse = 1.0 / tl.where(total == 0.0, 1.0, total)
        block *= inverse[:, None]
        write_block(probs_head, block, rows, cols, queries, row_step)
        v_block = value_block(v_head, cols, dims, v_step, keys, DIM)
        mixed = tl.dot(block.to(v_block.dtype), v_block, mixed, input_precision=PRECISION)
    else:
        for start in tl.range(0, keys, BLOCK_K):
            cols = start + tl.arange(0, BLOCK_K)
            block = score_block(
                q_tile, null_scores, rows, cols, k_head, key_mask_batch, attn_mask_head, scores_head,
                k_step, key_mask_step, attn_mask_row_step, attn_mask_step, queries, keys, row_step, scale,
                DIM, BLOCK_D, False, NULL, KEY_MASK, ATTN_MASK, PRECISION,
            )  # fmt: skip
            larger = tl.maximum(maximum, tl.max(block, axis=1))
            block = tl.exp(block - settled(larger)[:, None])
            total = total * tl.exp(maximum - settled(larger)) + row_sums(block, cols, keys)
            maximum = larger
        inverse = 1.0 / tl.where(total == 0.0, 1.0, total)
        for start in tl.range(0, keys, BLOCK_K):
            cols = start + tl.arange(0, BLOCK_K)
            block = score_block(
                q_tile, null_scores, rows, cols, k_head, key_mask_batch, attn_mask_head, scores_head,
                k_step, key_mask_step, attn_mask_row_step, attn_mask_step, queries, keys, row_step, scale,
                DIM, BLOCK_D, WRITE_SCORES, NULL, KEY_MASK, ATTN_MASK, PRECISION,
            )  # fmt: skip
            block = tl.exp(block - settled(maximum)[:, None]) * inverse[:, None]
            write_block(probs_head, block, rows, cols, queries, row_step)
            v_block = value_block(v_head, cols, dims, v_step, keys, DIM)
            mixed = tl.dot(block.to(v_block.dtype), v_block, mixed, input_precision=PRECISION)

    if NULL:
        absent = tl.exp(null_scores - settled(maximum)) * inverse
        tl.store(probs_head + last, absent.to(probs.dtype.element_ty), mask=alone)
        value = tl.load(null_value + head * DIM + dims, mask=dims < DIM, other=0.0).to(tl.float32)
        mixed += absent[:, None] * value[None, :]
    tl.store(
        context
        + batch * context_batch_step
        + head * context_head_step
        + rows[:, None].to(tl.int64) * context_step
        + dims[None, :],
        mixed.to(context.dtype.element_ty),
        mask=(rows < queries)[:, None] & (dims < DIM)[None, :],
    )
