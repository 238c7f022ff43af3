"""How far heads look: the exhibit of mean attention distance (2010.11929, fig. 7 right and fig. 11)."""

from __future__ import annotations

import numpy as np

from .. import figures
from ..inspection.distance import HeadDistances, attention_distance
from .finding import Drawing, Finding, Number, Sheet, figures_of, mean_of, percent, plural
from .subject import Report, Subject, of_each

_HEADS = {
    "layer": "layer",
    "head": "head",
    "distance_px": "distance (px)",
    "part_of_uniform": "of uniform",
    "kind": "kind",
    "deviation_px": "± (px)",
    "entropy_nats": "entropy",
    "prefix_share": "to prefix",
}
_LAYERS = {
    "layer": "layer",
    "mean_px": "mean (px)",
    "furthest_head": "furthest head",
    "furthest_px": "looks (px)",
    "nearest_head": "nearest head",
    "nearest_px": "looks (px) ",
    "local_share": "local",
    "global_share": "global",
}


def see_distance(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Measure how far each head looks, of both models where there are two."""
    measured, whose, notes = of_each(
        "distance", subject, other, progress, lambda each, part: attention_distance(each.model, each.batches(part, 8))
    )
    heads = measured["distance"]
    says = told_of_heads(heads)
    if other and "distance_other" in measured:
        says += tuple(f"{other.name}: {sentence}" for sentence in told_of_heads(measured["distance_other"]))
    return Finding(
        results=measured,
        drawings=tuple(
            Drawing(name, _caption(result, whose[name]), lambda figure, r=result: figures.draw_distance(r, figure))
            for name, result in measured.items()
        ),
        says=says,
        numbers=numbers_of_heads(heads),
        sheets=(
            Sheet("Layer by layer", layer_rows(heads), _LAYERS),
            Sheet("Every head, the furthest of each layer first", ordered_rows(heads), _HEADS, filter="layer"),
        ),
        notes=tuple(notes),
    )


def _caption(result: HeadDistances, subject: Subject) -> str:
    return f"{subject.name}: distance of each head over {plural(result.pictures, 'picture')}."


def ordered_rows(heads: HeadDistances) -> list:
    """Return the lines of all heads, layer by layer, those that look furthest first."""
    return sorted(heads.rows(), key=lambda row: (row["layer"], -np.nan_to_num(row["distance_px"], nan=-1)))


def layer_rows(heads: HeadDistances) -> list:
    """Return a line for each layer: its mean, and which head looks nearest and furthest."""
    found = []
    for layer, distances in enumerate(heads.distance_px):
        if not np.isfinite(distances).any():
            continue
        near, far = int(np.nanargmin(distances)), int(np.nanargmax(distances))
        found.append(
            {
                "layer": layer + 1,
                "mean_px": mean_of(distances),
                "nearest_head": near + 1,
                "nearest_px": float(distances[near]),
                "furthest_head": far + 1,
                "furthest_px": float(distances[far]),
                "local_share": float(heads.local_share[layer]),
                "global_share": float(heads.global_share[layer]),
            }
        )
    return found


def numbers_of_heads(heads: HeadDistances) -> tuple[Number, ...]:
    """Return the key numbers of the distances."""
    rows = layer_rows(heads)
    local, wide = int((heads.relative < heads.local_below).sum()), int((heads.relative > heads.global_above).sum())
    told = [Number("uniform attention", heads.uniform_px, "px", "what a head that looks everywhere alike would have")]
    if rows:
        first, last = rows[0], rows[-1]
        told += [
            Number(f"mean of layer {first['layer']}", first["mean_px"], "px"),
            Number(f"mean of layer {last['layer']}", last["mean_px"], "px"),
            Number(
                f"furthest head of layer {first['layer']}",
                first["furthest_px"],
                "px",
                f"head {first['furthest_head']} looks furthest in the first layer",
            ),
        ]
    return (
        *told,
        Number("local heads", local, "heads", f"below {heads.local_below:g} of uniform"),
        Number("global heads", wide, "heads", f"above {heads.global_above:g} of uniform"),
        Number(
            "rank correlation with depth", heads.depth_correlation, "", "1: every layer looks further than the last"
        ),
    )


def told_of_heads(heads: HeadDistances) -> tuple[str, ...]:
    """Return what the distances say, in words."""
    total, rows = heads.distance_px.size, layer_rows(heads)
    local, wide = int((heads.relative < heads.local_below).sum()), int((heads.relative > heads.global_above).sum())
    below, above = heads.local_below * heads.uniform_px, heads.global_above * heads.uniform_px
    told = [
        f"{local} of {plural(total, 'head')} {'is' if local == 1 else 'are'} local (below "
        f"{percent(heads.local_below)} of uniform attention, {figures_of(below)} px), {wide} "
        f"{'is' if wide == 1 else 'are'} global (above {percent(heads.global_above)}, {figures_of(above)} px)."
    ]
    if not rows:
        return (*told, "No head attends to patches at all: everything goes to the tokens before them.")
    first, last = rows[0], rows[-1]
    part = percent(first["furthest_px"] / heads.uniform_px) if heads.uniform_px else "all"
    told.append(
        f"In layer {first['layer']} head {first['furthest_head']} looks furthest, "
        f"{figures_of(first['furthest_px'])} px ({part} of uniform); head {first['nearest_head']} looks nearest, "
        f"{figures_of(first['nearest_px'])} px."
    )
    if len(rows) > 1:
        told.append(
            f"From layer {first['layer']} to layer {last['layer']} the mean goes from "
            f"{figures_of(first['mean_px'])} to {figures_of(last['mean_px'])} px: {_trend(heads.depth_correlation)}."
        )
    return tuple(told)


def _trend(correlation: float) -> str:
    if np.isnan(correlation):
        return "no trend with depth"
    words = (
        "it grows with depth"
        if correlation > 0.5
        else "it falls with depth"
        if correlation < -0.5
        else "no clear trend"
    )
    return f"{words} (rank correlation {figures_of(correlation, 2)})"
