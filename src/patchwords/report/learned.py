"""What is said and drawn of a run over time: training, answers, where it looks, distances, filters, positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import figures
from ..errors import ConfigError
from . import courses
from .finding import Drawing, Finding, Number, Sheet, figures_of, percent, plural
from .watched import Watched

LAYERS = 4
"""layers whose attention is drawn"""


def see_training(log: list[dict[str, Any]], watched: Watched | None) -> Finding:
    """Follow loss, learning rate and right answers on the validation split."""
    if not log:
        raise ConfigError("nothing is logged yet")
    found = courses.Training.of(log)
    drawing = Drawing("training", "Loss, right answers and learning rate.", lambda f: figures.draw_training(log, f))
    losses = found.loss[np.isfinite(found.loss)]
    says, numbers = [], []
    if losses.size:
        says.append(
            f"The loss went from {figures_of(float(losses[0]))} to {figures_of(float(losses[-1]))} nats in "
            f"{figures_of(float(found.epoch[-1]))} epochs."
        )
        numbers.append(Number("last training loss", float(losses[-1]), "nats"))
    if np.isfinite(found.val_top1).any():
        best = int(np.nanargmax(found.val_top1))
        last = float(found.val_top1[np.isfinite(found.val_top1)][-1])
        says.append(
            f"Right answers on the validation split: best {percent(float(found.val_top1[best]))} after epoch "
            f"{figures_of(float(found.epoch[best]))}, last {percent(last)}."
        )
        numbers.append(Number("best right answers", float(found.val_top1[best]), "", "share of the validation split"))
    return Finding({"training": found}, (drawing,), tuple(says), tuple(numbers))


def see_answers(log: list[dict[str, Any]], watched: Watched) -> Finding:
    """Follow the probability that each picture's class is given."""
    found = courses.Answers.of(watched)
    trend = figures.Trend(
        "probability of the right class", "probability", found.of_label, courses.names(watched), limits=(0, 1)
    )
    drawing = Drawing(
        "answers_over_time",
        "Probability of the right class of each picture.",
        lambda figure: figures.draw_trends([trend], figure, title="What is answered", epochs=found.epochs),
    )
    right = found.right
    says = [f"{int(right[-1].sum())} of {right.shape[1]} pictures are answered rightly at the last look."]
    settled = found.settled
    says += [
        f"{name} is right from epoch {figures_of(float(found.epochs[first]))} on."
        for name, first in zip(courses.names(watched), settled.tolist(), strict=True)
        if first >= 0
    ]
    return Finding({"answers_over_time": found}, (drawing,), tuple(says))


def see_looking(log: list[dict[str, Any]], watched: Watched) -> Finding:
    """Follow rollout and attention of the token that answers, on every picture."""
    rolled, seen = courses.Rolled.of(watched), courses.Seen.of(watched)
    layers = seen.maps.shape[1]
    rest = np.unique(np.linspace(0, layers - 1, min(layers, LAYERS)).round().astype(int))[:-1].tolist()
    drawings = [
        _strip("rollout_over_time", "attention rollout", rolled.maps, watched, False),
        _strip(f"attention_over_time_{layers}", f"attention of layer {layers}", seen.maps[:, -1], watched, False),
    ]
    if seen.pooling is not None:
        drawings.append(_strip("pooling_over_time", "attention pooling", seen.pooling, watched, False))
    for layer in rest:
        what = f"attention of layer {layer + 1}"
        drawings.append(_strip(f"attention_over_time_{layer + 1}", what, seen.maps[:, layer], watched, True))
    peaks, spread = rolled.peaks.mean(axis=1), rolled.effective.mean(axis=1)
    says = (
        f"The brightest patch of rollout holds {figures_of(float(peaks[0]))} times the even share at the first look "
        f"and {figures_of(float(peaks[-1]))} times at the last (mean over the pictures).",
        f"Rollout is spread over as much as {figures_of(float(spread[0]))} patches alike at the first look, over "
        f"{figures_of(float(spread[-1]))} of {rolled.maps[0, 0].size} at the last (exponential of its entropy).",
    )
    numbers = (
        Number("peak of rollout, first look", float(peaks[0]), "", "in even shares"),
        Number("peak of rollout, last look", float(peaks[-1]), "", "in even shares"),
    )
    notes = (f"Read at: {rolled.query}.", "attention_over_time.csv has the peak of every map; the NPZ has the maps.")
    return Finding(
        {"rollout_over_time": rolled, "attention_over_time": seen}, tuple(drawings), says, numbers, (), notes
    )


def _strip(name: str, what: str, maps: np.ndarray, watched: Watched, folded: bool) -> Drawing:
    """Return a row of pictures lit by `maps` (looks, pictures, rows, columns) for each picture."""
    epochs, pictures = [look.epoch for look in watched.looks], watched.probes.drawable(watched.pictures)
    return Drawing(
        name,
        f"Each picture, then lit by {what} at every look.",
        lambda figure: figures.draw_over_time(
            maps, figure, epochs=epochs, pictures=pictures, names=courses.labels(watched), what=what
        ),
        folded=folded,
    )


def see_distances(log: list[dict[str, Any]], watched: Watched) -> Finding:
    """Follow how far the heads of each layer look."""
    found = courses.Distances.of(watched)
    means = found.distance_px.mean(axis=2)
    kinds = 100 * np.stack([found.local_share, found.global_share], axis=1)
    trends = [
        figures.Trend("mean of the heads", "attention distance (px)", means, limits=(0, None), guide=found.uniform_px),
        figures.Trend("all heads", "heads (%)", kinds, ("local heads", "global heads"), limits=(0, 100)),
    ]
    even = "even attention"
    note = (
        f"Local: below {percent(found.local_below)} of even attention; global: above {percent(found.global_above)}. "
        f"Mean over {plural(watched.pictures, 'picture')}."
    )
    drawing = Drawing(
        "distance_over_time",
        "Mean attention distance of each layer, and shares of local and global heads.",
        lambda figure: figures.draw_trends(
            trends, figure, title="How far each layer looks", epochs=found.epochs, guide=even, note=note
        ),
    )
    moved = int(np.abs(means[-1] - means[0]).argmax())
    says = (
        f"Layer {moved + 1} changed most: {figures_of(float(means[0, moved]))} px at the first look, "
        f"{figures_of(float(means[-1, moved]))} px at the last; even attention is {figures_of(found.uniform_px)} px."
        if len(means) > 1
        else f"There is one look so far; even attention is {figures_of(found.uniform_px)} px.",
        f"{percent(float(found.local_share[-1]))} of the heads are local and {percent(float(found.global_share[-1]))} "
        f"global at the last look; at the first {percent(float(found.local_share[0]))} and "
        f"{percent(float(found.global_share[0]))}.",
    )
    rows = [
        {"layer": layer + 1, "first": float(means[0, layer]), "last": float(means[-1, layer])}
        for layer in range(means.shape[1])
    ]
    heads = {"layer": "layer", "first": "first look (px)", "last": "last look (px)"}
    return Finding({"distance_over_time": found}, (drawing,), says, (), (Sheet("Layer by layer", rows, heads),))


def see_filters(log: list[dict[str, Any]], watched: Watched) -> Finding:
    """Follow the leading components of the first filters."""
    found = courses.Filters.of(watched)
    pictures = Drawing(
        "filters_over_time",
        "Leading components of the first filters, a row for each look.",
        lambda figure: figures.draw_filters_over_time(found.components, figure, epochs=found.epochs),
    )
    trends = [
        figures.Trend("variance explained", "share of the variance (%)", 100 * found.explained_share, limits=(0, None)),
        figures.Trend("how rough", "roughness (noise: 1)", found.roughness, limits=(0, None), guide=1.0),
    ]
    lines = Drawing(
        "filter_numbers_over_time",
        "Variance that each component explains, and how rough it is.",
        lambda figure: figures.draw_trends(
            trends, figure, title="Filters in numbers", epochs=found.epochs, numbered="component", guide="noise"
        ),
    )
    share, rough = found.explained_share[:, 0], found.roughness[:, 0]
    says = (
        f"The first component explains {percent(float(share[0]))} of the variance of the filters at the first look, "
        f"{percent(float(share[-1]))} at the last; its roughness went from {figures_of(float(rough[0]), 2)} to "
        f"{figures_of(float(rough[-1]), 2)} (0 flat, 1 noise, 2 a chequerboard).",
    )
    return Finding({"filters_over_time": found}, (pictures, lines), says)


def see_positions(log: list[dict[str, Any]], watched: Watched) -> Finding:
    """Follow what is known of positions."""
    found = courses.Positions.of(watched)
    fall = {"distance_correlation": "correlation"}
    shares = {
        "row_share": "variance explained by rows", "column_share": "by columns", "row_r2": "row read out (R²)",
        "column_r2": "column read out (R²)",
    }  # fmt: skip
    trends = [
        figures.Trend("falls with distance", "rank correlation", found.columns(fall), tuple(fall.values()), (-1, 1)),
    ]
    if "row_share" in found.names:
        trends.append(figures.Trend("rows and columns", "share", found.columns(shares), tuple(shares.values())))
    drawing = Drawing(
        "positions_over_time",
        "What is known of where patches lie.",
        lambda figure: figures.draw_trends(trends, figure, title="Positions", epochs=found.epochs),
    )
    first, last = (float(found.columns(fall)[number, 0]) for number in (0, -1))
    fixed = np.ptp(found.values, axis=0).max() == 0
    says = (
        f"The rank correlation with distance is {figures_of(last, 2)} from the first look to the last: these positions "
        "are fixed."
        if fixed
        else f"The rank correlation with distance went from {figures_of(first, 2)} to {figures_of(last, 2)} "
        "(-1: it falls with every step).",
    )
    return Finding({"positions_over_time": found}, (drawing,), says)
