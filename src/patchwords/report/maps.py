"""Where the answer comes from: exhibits of attention maps and of rollout over single pictures (fig. 6, D.8)."""

from __future__ import annotations

import numpy as np

from .. import figures
from ..inspection.attention import AttentionMaps, attention_maps
from ..inspection.rollout import attention_rollout
from .finding import Drawing, Finding, Number, Sheet, figures_of, mean_of, percent, plural
from .subject import Report, Subject, of_each


def see_attention(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Look at what the answer attends to, layer by layer and head by head, on the pictures that are shown."""
    found = attention_maps(subject.model, subject.images(), progress=progress)
    shown, names = subject.drawable(), subject.names()
    drawings = [
        Drawing(
            f"attention_{number + 1}",
            f"Picture {number + 1}, {name}: where the {_who(found)} looks in each layer, mean over heads.",
            lambda figure, n=number: figures.draw_attention(found, figure, pictures=shown, picture=n),
            folded=number > 0,
        )
        for number, name in enumerate(names)
    ]
    drawings.append(
        Drawing(
            "attention_heads",
            f"Picture 1, {names[0]}: every head by itself, in one scale.",
            lambda figure: figures.draw_heads(found, figure, picture=0),
        )
    )
    return Finding({"attention": found}, tuple(drawings), _told_of_maps(found), _numbers_of_maps(found))


def _who(found: AttentionMaps) -> str:
    return {"class": "class token", "mean of patches": "mean of the patches"}.get(found.query, found.query)


def _strongest(maps: np.ndarray) -> np.ndarray:
    """Return (...): the largest value of each map in multiples of an even share of its sum."""
    flat = maps.reshape(*maps.shape[:-2], -1)
    total = flat.sum(axis=-1)
    return np.divide(flat.max(axis=-1) * flat.shape[-1], total, out=np.full_like(total, np.nan), where=total > 0)


def _told_of_maps(found: AttentionMaps) -> tuple[str, ...]:
    peaks = _strongest(found.maps).mean(axis=(1, 2))
    layer = int(np.nanargmax(peaks)) if np.isfinite(peaks).any() else 0
    told = [
        f"The attention of the {_who(found)} is most pointed in layer {layer + 1}: its strongest patch has "
        f"{figures_of(float(peaks[layer]))} times an even share (mean over heads and pictures); in the last layer "
        f"{figures_of(float(peaks[-1]))} times."
    ]
    if found.tokens:
        share = found.prefix_share.sum(axis=3).mean(axis=(1, 2))
        told.append(
            f"To the tokens before the patches ({', '.join(found.tokens[:3])}{', …' if len(found.tokens) > 3 else ''}) "
            f"goes {percent(float(share[0]))} in the first layer and {percent(float(share[-1]))} in the last."
        )
    if found.pool_maps is not None:
        told.append(
            "Attention pooling gives its strongest patch "
            f"{figures_of(mean_of(_strongest(found.pool_maps)))} times an even share."
        )
    return tuple(told)


def _numbers_of_maps(found: AttentionMaps) -> tuple[Number, ...]:
    peaks = _strongest(found.maps).mean(axis=(1, 2))
    return (
        Number(
            "strongest patch, first layer", float(peaks[0]), "×", "times an even share; mean over heads and pictures"
        ),
        Number(
            "strongest patch, last layer", float(peaks[-1]), "×", "times an even share; mean over heads and pictures"
        ),
    )


def see_rollout(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Multiply attention through all layers, on the pictures that are shown, of both models where there are two."""
    results, whose, notes = of_each(
        "rollout",
        subject,
        other,
        progress,
        lambda each, part: attention_rollout(each.model, each.images(), progress=part),
    )
    drawings = tuple(
        Drawing(
            name,
            f"{each.name}: each picture, and the same lit by rollout through all layers.",
            lambda figure, r=results[name], s=each: figures.draw_rollout(
                r, figure, pictures=s.drawable(), names=s.names()
            ),
        )
        for name, each in whose.items()
    )
    found = results["rollout"]
    peaks = _strongest(found.maps[-1])
    says = [
        f"Read at {found.query}, the strongest patch has {figures_of(mean_of(peaks), 2)} times an even share "
        f"(mean of {plural(len(peaks), 'picture')}): {_pointed(mean_of(peaks))}."
    ]
    if other and "rollout_other" in results:
        theirs = mean_of(_strongest(results["rollout_other"].maps[-1]))
        says.append(f"{other.name}: {figures_of(theirs, 2)} times an even share, {_pointed(theirs)}.")
    rows = [
        {"picture": number + 1, "name": name, "strongest": float(peak), "row": int(row), "column": int(column)}
        for number, (name, peak, (row, column)) in enumerate(
            zip(subject.names(), peaks, _places(found.maps[-1]), strict=True)
        )
    ]
    heads = {
        "picture": "picture",
        "name": "file",
        "strongest": "strongest (×)",
        "row": "its row",
        "column": "its column",
    }
    numbers = (
        Number(
            "strongest patch",
            mean_of(peaks),
            "×",
            "times an even share; 1: looks at nothing more than at the rest",
        ),
    )
    sheets = (Sheet("Picture by picture", rows, heads),)
    return Finding(results, drawings, tuple(says), numbers, sheets, tuple(notes))


def _places(maps: np.ndarray) -> list[tuple[int, int]]:
    """Return row and column, from 1, of the strongest patch of each map (pictures, rows, columns)."""
    rows, columns = np.unravel_index(maps.reshape(len(maps), -1).argmax(axis=1), maps.shape[1:])
    return list(zip((rows + 1).tolist(), (columns + 1).tolist(), strict=True))


def _pointed(times: float) -> str:
    if times < 3:
        return "diffuse, it tells little of where the answer comes from"
    return "it points somewhere" if times < 10 else "it points clearly"
