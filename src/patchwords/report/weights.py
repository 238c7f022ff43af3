"""What is in the weights before any picture: exhibits of the filters and of the positions (fig. 7 left and centre)."""

from __future__ import annotations

import numpy as np

from .. import figures
from ..errors import ConfigError
from ..inspection.filters import FilterComponents, filter_components, filter_overlap
from ..inspection.position import PositionSimilarity, RelativeBias, positions
from .finding import Drawing, Finding, Number, Sheet, figures_of, percent, plural
from .subject import Report, Subject, of_each

_FILTERS = {
    "component": "component",
    "explained_share": "variance explained",
    "roughness": "roughness",
    "low_share": "in low frequencies",
    "dct_share": "in one DCT picture",
    "dct_down": "half waves down",
    "dct_across": "half waves across",
}


def see_filters(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Measure the leading components of the first filters; of two models also how far they see the same."""
    results, whose, notes = of_each(
        "filters", subject, other, progress, lambda each, part: filter_components(each.model)
    )
    found, drawings = results["filters"], [_drawing(name, results[name], each) for name, each in whose.items()]
    says, numbers = list(_told_of_filters(found)), list(_numbers_of_filters(found))
    if other and "filters_other" in results:
        says += [f"{other.name}: {sentence}" for sentence in _told_of_filters(results["filters_other"])]
        try:
            overlap = filter_overlap(subject.model, other.model)
        except ConfigError as fault:
            notes.append(fault.line())
        else:
            results["filters_overlap"] = overlap
            caption = "Cosines of the angles between what the two banks of filters span."
            drawings.append(Drawing("filters_overlap", caption, lambda figure: figures.draw_overlap(overlap, figure)))
            says.append(
                f"The two banks share {percent(overlap.overlap_share)} of their leading subspaces; random ones would "
                f"share {percent(overlap.chance_share)}."
            )
            numbers.append(Number("overlap of the two models", overlap.overlap_share, "", "1: the same subspace"))
    return Finding(
        results,
        tuple(drawings),
        tuple(says),
        tuple(numbers),
        (Sheet("Every component", found.rows(), _FILTERS, open=False),),
        tuple(notes),
    )


def _drawing(name: str, found: FilterComponents, subject: Subject) -> Drawing:
    caption = f"{subject.name}: components of the {found.filters} filters of {found.source}, most variance first."
    return Drawing(name, caption, lambda figure: figures.draw_filters(found, figure))


def _told_of_filters(found: FilterComponents) -> tuple[str, ...]:
    rough, low = _weighted(found.roughness, found), _weighted(found.low_share, found)
    kind = (
        "without a measure"
        if np.isnan(rough)
        else "smooth"
        if rough < 0.5
        else "no smoother than noise"
        if rough < 1.2
        else "finer than noise, as chequerboards are"
    )
    return (
        f"{plural(len(found.components), 'component')} explain {percent(float(found.explained_share.sum()))} of the "
        f"variance of the filters, the first alone {percent(float(found.explained_share[0]))}.",
        f"They are {kind}: roughness {figures_of(rough, 2)} (noise 1, a chequerboard 2), "
        f"{percent(low)} of their energy in low frequencies (noise {percent(found.low_chance)}).",
    )


def _weighted(values: np.ndarray, found: FilterComponents) -> float:
    """Return the mean of `values` (k,) by the variance that each component explains; nan where there is none."""
    total = float(found.explained_share.sum())
    return float((values * found.explained_share).sum() / total) if total else float("nan")


def _numbers_of_filters(found: FilterComponents) -> tuple[Number, ...]:
    return (
        Number("explained by the first component", float(found.explained_share[0]), "", "share of the variance"),
        Number("explained by those shown", float(found.explained_share.sum()), "", "share of the variance"),
        Number(
            "roughness of the first component", float(found.roughness[0]), "", "0 flat, 1 as noise, 2 a chequerboard"
        ),
        Number("overlap with low DCT pictures", float(found.dct_overlap[-1]), "", "of all components shown"),
        Number("that overlap by chance", float(found.dct_chance[-1]), "", "what noise would have"),
    )


def see_position(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Measure what the model knows of positions: similarity of vectors, or relative biases."""
    results, whose, notes = of_each("position", subject, other, progress, lambda each, part: positions(each.model))
    drawings = []
    for name, found in results.items():
        relative = isinstance(found, RelativeBias)
        draw = figures.draw_relative_bias if relative else figures.draw_position
        words = "biases of each head" if relative else f"similarity of its {found.source}"
        caption = f"{whose[name].name}: {words}."
        drawings.append(Drawing(name, caption, lambda figure, d=draw, f=found: d(f, figure)))
    says, numbers = _told(results["position"])
    if other and "position_other" in results:
        says += tuple(f"{other.name}: {sentence}" for sentence in _told(results["position_other"])[0])
    return Finding(results, tuple(drawings), says, numbers, _sheets(results["position"]), tuple(notes))


def _told(found: PositionSimilarity | RelativeBias) -> tuple[tuple[str, ...], tuple[Number, ...]]:
    return _told_of_biases(found) if isinstance(found, RelativeBias) else _told_of_vectors(found)


def _told_of_vectors(found: PositionSimilarity) -> tuple[tuple[str, ...], tuple[Number, ...]]:
    fall, both = found.distance_correlation, found.row_share + found.column_share
    known = (
        "the model has learned where patches lie"
        if fall < -0.5
        else "it has learned little of where patches lie"
        if fall > -0.2
        else "it knows roughly where patches lie"
    )
    says = (
        f"Similarity and distance have a rank correlation of {figures_of(fall, 2)}: {known}.",
        f"Rows and columns explain {percent(both)} of the vectors; a linear read-out finds the row with R² "
        f"{figures_of(found.row_r2, 2)} and the column with R² {figures_of(found.column_r2, 2)}.",
    )
    numbers = (
        Number("rank correlation with distance", fall, "", "-1: similarity falls with every step"),
        Number("explained by rows", found.row_share, "", "share of the variance of the vectors"),
        Number("explained by columns", found.column_share, "", "share of the variance of the vectors"),
        Number("mean similarity in a row", found.same_row, "", "cosine"),
        Number("mean similarity in a column", found.same_column, "", "cosine"),
        Number("mean similarity elsewhere", found.elsewhere, "", "cosine"),
        Number("R² of the row", found.row_r2, "", "1: read exactly; about 0: not at all"),
        Number("R² of the column", found.column_r2, "", "1: read exactly; about 0: not at all"),
    )
    return says, numbers


def _told_of_biases(found: RelativeBias) -> tuple[tuple[str, ...], tuple[Number, ...]]:
    away = np.abs(found.peak).max(axis=2)
    near, own, total = int((away == 1).sum()), int((away == 0).sum()), away.size
    falls = int((found.distance_correlation < -0.5).sum())
    says = (
        f"The bias is largest for a neighbouring patch in {near} of {plural(total, 'head')}, for the patch itself in "
        f"{own}, and further away in {total - near - own}.",
        f"In {falls} of them it falls with distance (rank correlation below -0.5); alone it would have heads look "
        f"{figures_of(float(found.distance_px.min()))} to {figures_of(float(found.distance_px.max()))} px far "
        f"(uniform {figures_of(found.uniform_px)} px).",
    )
    numbers = (
        Number("heads whose bias is largest one patch away", near, "heads", f"of {total}"),
        Number("heads whose bias is largest on the patch itself", own, "heads", f"of {total}"),
        Number("mean distance of the bias alone", float(found.distance_px.mean()), "px"),
        Number("uniform attention", found.uniform_px, "px"),
    )
    return says, numbers


def _sheets(found: PositionSimilarity | RelativeBias) -> tuple[Sheet, ...]:
    if not isinstance(found, RelativeBias):
        return ()
    rows = [
        {
            "layer": layer + 1,
            "head": head + 1,
            "down": int(found.peak[layer, head, 0]),
            "right": int(found.peak[layer, head, 1]),
            "distance_px": float(found.distance_px[layer, head]),
            "correlation": float(found.distance_correlation[layer, head]),
        }
        for layer, head in np.ndindex(found.distance_px.shape)
    ]
    heads = {
        "layer": "layer",
        "head": "head",
        "down": "peak: patches down",
        "right": "peak: patches right",
        "distance_px": "distance of the bias (px)",
        "correlation": "rank correlation with distance",
    }
    return (Sheet("Every head", rows, heads, filter="layer", open=False),)
