"""Token merging: patches with alike keys become one token, block after block (ToMe, arXiv 2210.09461, sec. 3).

| sec. 3                                               | here                                       |
|------------------------------------------------------|--------------------------------------------|
| similarity: cosine of the keys, mean over the heads  | `Attention.with_keys`, `alike`             |
| bipartite soft matching, steps 1 to 3                | `match`                                    |
| merge, a mean weighted by size (steps 4 and 5)       | `merge`                                    |
| proportional attention: log size added to the scores | `position.Places.sizes`, `Attention._bias` |

Tokens before the patches are neither merged nor merged into. The order of the tokens is that of the authors' code:
the two sets alternate along the sequence, a class token counted; after a step come what is left of A, then B. A merged
token stands where its token of B stands: rotations and relative biases are those of one place, not a mean of several.
After the last block each patch is given the token that it is part of (`spread`): a mean over patches stays that,
attention pooling sees a token once for each of its patches, and every patch has an answer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .position import Places


class Matching(NamedTuple):
    """Which of T tokens are merged into which others; tokens before the patches count."""

    left: Tensor
    """(B, T - r) tokens that stay, in their new order: those before the patches, the rest of A, all of B"""
    merged: Tensor
    """(B, r) tokens of A that go, most alike first"""
    into: Tensor
    """(B, r) where in `left` the token is that each of `merged` goes into"""


def sides(prefix: int) -> tuple[slice, slice]:
    """Return which tokens are set A and which B (step 1): patches at even and at odd places of the sequence."""
    return slice(prefix + prefix % 2, None, 2), slice(prefix + 1 - prefix % 2, None, 2)


def alike(keys: Tensor, prefix: int) -> Tensor:
    """Return the cosine of the keys (B, T, D_h) of every token of A with every token of B: (B, |A|, |B|)."""
    a, b = sides(prefix)
    unit = F.normalize(keys.float(), dim=-1)  # in bfloat16 many cosines would be equal
    return unit[:, a] @ unit[:, b].transpose(1, 2)


def match(keys: Tensor, prefix: int, count: int) -> Matching:
    """Return the bipartite soft matching: every token of A draws an edge to the most similar of B, `count` are kept.

    Args:
        keys: (B, T, D_h).
        prefix: tokens before the patches.
        count: r, at most half of the patches.
    """
    best, nearest = alike(keys, prefix).max(dim=2)  # step 2
    order = best.argsort(dim=1, descending=True)  # step 3
    merged, rest = order[:, :count], order[:, count:].sort(dim=1).values
    a, b = (torch.arange(keys.shape[1], device=keys.device)[side] for side in sides(prefix))
    first = torch.arange(prefix, device=keys.device)
    left = torch.cat([first.expand(keys.shape[0], -1), a[rest], b.expand(keys.shape[0], -1)], dim=1)
    return Matching(left, a[merged], nearest.gather(1, merged) + prefix + rest.shape[1])


def merge(z: Tensor, places: Places, matching: Matching, prefix: int) -> tuple[Tensor, Places]:
    """Return the tokens (B, T - r, D) that are left of z (B, T, D), each the mean of its patches, and their places."""
    left, merged, into = matching
    numbers = torch.arange(left.shape[1], device=z.device)
    exact = torch.promote_types(z.dtype, torch.float32)  # of larger sizes than bfloat16 can count
    sizes = z.new_ones(z.shape[:2], dtype=exact) if places.sizes is None else places.sizes
    patches = torch.where(into[:, None] == numbers[:, None], sizes.gather(1, merged)[:, None], 0.0)  # (B, T - r, r)
    sizes = sizes.gather(1, left) + patches.sum(dim=2)
    shares = (patches / sizes[..., None]).to(z.dtype)
    tokens = rows(z, left)
    tokens = tokens + shares @ (rows(z, merged) - rows(tokens, into))  # so written, equal tokens stay as they are
    became = torch.empty_like(left).new_empty(z.shape[:2])
    became = became.scatter(1, torch.cat([left, merged], dim=1), torch.cat([numbers.expand_as(left), into], dim=1))
    source = became[:, prefix:] if places.source is None else became.gather(1, places.source)
    return tokens, places.kept(left)._replace(sizes=sizes, source=source)


def spread(tokens: Tensor, places: Places, prefix: int) -> Tensor:
    """Return (B, prefix + N, D) of tokens (B, T, D): every patch gets the token that it is part of."""
    if places.source is None:
        return tokens
    return torch.cat([tokens[:, :prefix], rows(tokens, places.source)], dim=1)


def rows(tokens: Tensor, numbers: Tensor) -> Tensor:
    """Return the tokens (B, t, D) with these `numbers` (B, t) of tokens (B, T, D).

    index_select copies whole rows: one Zen 4 thread, 32 x 90 of 197 tokens of width 384: 0.13 ms, gather 2.4.
    """
    batch, count, dim = tokens.shape
    starts = torch.arange(batch, device=tokens.device)[:, None] * count
    return tokens.reshape(-1, dim).index_select(0, (numbers + starts).flatten()).view(batch, -1, dim)
