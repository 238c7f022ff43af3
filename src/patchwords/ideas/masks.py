"""S-09: local, axial and strided attention are masks over one kernel, and cost what their masks leave."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..figures.plot import Grid, Plot, Series
from ..models.attention import attend
from .draws import drawn_model, largest, normal
from .idea import Check, Effort, Idea, Result, verdict_of
from .operations import Operations
from .reach import masked_model, offsets, pixel_config, window

SIDE, RADIUS, STRIDE, DEPTH = 12, 2, 4, 2


@torch.no_grad()
def run(effort: Effort) -> Result:
    """Compare the model's own local and axial attention with dense attention under -inf, and count what is left."""
    masks = seen_by_kind()
    looped = max(kernel_error(effort.seed, seen) for seen in masks.values())
    local, local_pairs, local_made = compared(effort.seed, "local", [masks["local"]] * DEPTH)
    axial, axial_pairs, axial_made = compared(effort.seed, "axial", [masks["row"], masks["column"]])
    count, wide = SIDE**2, 2 * RADIUS + 1
    inside = (SIDE * wide - RADIUS * (RADIUS + 1)) ** 2
    checks = (
        Check("the kernel under every mask against loops over what is left", looped, "<", 1e-12),
        Check("local attention of the model against dense attention with -inf", local, "<", 1e-6),
        Check("axial attention of the model against dense attention with -inf", axial, "<", 1e-6),
        Check("pairs of a local head, over N w^2 less what hangs over the border", local_pairs[0] / inside, "==", 1.0),
        Check("pairs of two axial layers, over 2 N sqrt(N)", sum(axial_pairs) / (2 * count * SIDE), "==", 1.0),
        Check("scores made for a local head, over N^2", local_made / count**2, "<", 1.0),
        Check("scores made for two axial layers, over 2 N^2", axial_made / (2 * count**2), "<", 1.0),
    )
    reason = (
        f"Local and axial attention are dense attention with -inf added outside of a window or a line, to "
        f"{max(local, axial):.1g}; on {SIDE} x {SIDE} patches they leave {100 * local_pairs[0] / count**2:.3g} % and "
        f"{100 * sum(axial_pairs) / (2 * count**2):.3g} % of the pairs, and the model does not compute all of the "
        "others. What they do to accuracy is not measured here."
    )
    figures = {"patches N": count, "pairs of a global head": count**2, "pairs of a local head": local_pairs[0]}
    figures |= {"pairs of an axial head": axial_pairs[0], "pairs of a strided head": pairs_of(masks["strided"])}
    figures |= {"scores made for a local head": local_made, "scores made for two axial layers": axial_made}
    return Result(verdict_of(checks), reason, checks, figures, _plots(masks))


def seen_by_kind() -> dict[str, Tensor]:
    """Return the offsets (2 side - 1, 2 side - 1) that each kind of attention looks at."""
    down, right = offsets(SIDE)
    strided = (down % STRIDE == 0) & (right % STRIDE == 0)
    return {"local": window(SIDE, RADIUS), "row": down == 0, "column": right == 0, "strided": strided}


def pairs_seen(seen: Tensor) -> Tensor:
    """Return which key each query looks at: (N, N) bool."""
    place = torch.arange(SIDE)
    steps = place[:, None] - place + SIDE - 1
    return seen[steps[:, None, :, None], steps[None, :, None, :]].flatten(2, 3).flatten(0, 1)


def pairs_of(seen: Tensor) -> int:
    """Return how many pairs a head looks at."""
    return int(pairs_seen(seen).sum())


def kernel_error(seed: int, seen: Tensor) -> float:
    """Return how far `attend` under -inf is from a loop over queries that takes no other keys; largest."""
    q, k, v = (normal(seed, f"masks {name}", 1, 1, SIDE**2, 4) for name in "qkv")
    passes = pairs_seen(seen)
    masked, _ = attend(q, k, v, torch.zeros(passes.shape, dtype=q.dtype).masked_fill(~passes, -torch.inf))
    looped = [(q[0, 0, i] @ k[0, 0, keys].T / 2).softmax(-1) @ v[0, 0, keys] for i, keys in enumerate(passes)]
    return largest(masked[0, 0] - torch.stack(looped))


def compared(seed: int, kind: str, layers: list[Tensor]) -> tuple[float, list[int], int]:
    """Return how far a model's own attention is from the dense one, its pairs a layer, and the scores it makes.

    Both ways of the model are compared, with a record and without: small pictures are masked, large ones cut in tiles.
    """
    settings = {"attention": kind, "attention_window": RADIUS, "position": "relative", "relative_slope": 0.1}
    model = drawn_model(pixel_config(SIDE, DEPTH, **settings), seed)
    dense = _dense(model, layers, seed)
    picture, record = normal(seed, "masks picture", 2, 3, SIDE, SIDE), {}
    with Operations() as operations:
        recorded = model.forward_features(picture, record)
    expected = dense.forward_features(picture)
    weights = [record[f"block{layer:02d}/attn/weights"] for layer in range(DEPTH)]
    heads = 2 * model.config.num_heads  # of two pictures
    pairs = [int((each != 0).sum()) // heads for each in weights]
    made = [count * rows * columns for count, rows, inner, columns in operations.products() if inner == 4]
    error = max(largest(model.forward_features(picture) - expected), largest(recorded - expected))
    return error, pairs, sum(made) // heads // (1 if kind == "axial" else DEPTH)


def _dense(model: nn.Module, layers: list[Tensor], seed: int) -> nn.Module:
    """Return a model of the same parameters that attends densely, -inf outside of the offsets of each layer."""
    dense = masked_model(SIDE, DEPTH, layers[0], seed)
    dense.load_state_dict(model.state_dict())
    for block, seen in zip(dense.blocks, layers, strict=True):
        block.attn.relative_position_bias_table.data[~seen.flatten()] = -torch.inf
    return dense


def _plots(masks: dict[str, Tensor]) -> tuple[Grid | Plot, ...]:
    middle = SIDE // 2 * SIDE + SIDE // 2
    maps = tuple(pairs_seen(seen)[middle].view(SIDE, SIDE).double().numpy() for seen in masks.values())
    counts = [float(side**2) for side in (8, 16, 32, 64, 128)]
    wide = 2 * RADIUS + 1
    lines = (
        Series("global, N^2", tuple(counts), tuple(n**2 for n in counts)),
        Series("axial, 2 N sqrt(N)", tuple(counts), tuple(2 * n**1.5 for n in counts)),
        Series(f"local, N w^2 with w = {wide}", tuple(counts), tuple(n * wide**2 for n in counts)),
    )
    return (
        Grid("What the middle patch attends to", tuple(masks), maps),
        Plot("Pairs of one head (axial: of two layers)", "patches N", "pairs", lines, log_x=True, log_y=True),
    )


IDEA = Idea(
    name="masks",
    number="S-09",
    claim="Local and axial attention, to which people resorted, are masks over one kernel: N w^2, 2 N sqrt(N) pairs.",
    experiment="Compare the model's local and axial attention with dense attention under -inf; count pairs and scores.",
    paper="2010.11929, sec. 2 and app. D.6; 1802.05751, 1912.12180, 1904.10509",
    trained=False,
    run=run,
)
