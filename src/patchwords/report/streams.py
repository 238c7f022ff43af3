"""What happens to the tokens on their way: exhibits of similarity between layers, of norms, of receptive fields."""

from __future__ import annotations

import numpy as np

from .. import figures
from ..figures.text import layer_name
from ..inspection.norms import NormRatios, measure_norms
from ..inspection.receptive import ReceptiveField, measure_receptive_field
from ..inspection.similarity import SMALLEST, Similarity, measure_similarity
from .finding import Drawing, Finding, Number, Sheet, figures_of, mean_of, percent, plural
from .subject import DEAR_GFLOP, Report, Subject, of_each, part_of

MINIBATCH = 64
NORM_PICTURES = 64
"""norms vary little between pictures"""
FIELD_LAYERS, FIELD_PICTURES = 6, 32
"""layers and pictures of the receptive field (2108.08810, fig. 6 takes 32)"""
FIELD_GFLOP = 400.0
"""10^9 operations that its pictures may cost, each of which goes back once for every layer"""


def see_similarity(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Measure CKA between all layers of the model, and of two models between them."""
    subject.require_pictures(SMALLEST)
    size = min(MINIBATCH, len(subject))
    parts = 3 if other else 1
    results: dict[str, Similarity] = {"similarity": _cka(subject, None, size, part_of(progress, 0, parts))}
    told = {"similarity": subject.name}
    if other:
        results["similarity_other"] = _cka(other, None, size, part_of(progress, 1, parts))
        results["similarity_between"] = _cka(subject, other, size, part_of(progress, 2, parts))
        told |= {"similarity_other": other.name, "similarity_between": f"{subject.name} beside {other.name}"}
    between = {"similarity_between": (subject.name, other.name)} if other else {}
    drawings = tuple(
        Drawing(
            name,
            f"{told[name]}: CKA of every layer with every layer.",
            lambda figure, n=name, r=result: figures.draw_similarity(r, figure, names=between.get(n, (told[n], ""))),
        )
        for name, result in results.items()
    )
    own = results["similarity"]
    says = [_uniform(own)]
    numbers = [
        Number("mean similarity of different layers", _off_diagonal(own), "CKA", "1: all layers say the same"),
        Number("first block with last", _block_pair(own), "CKA"),
    ]
    if other:
        says.append(f"{other.name}: {_uniform(results['similarity_other'])}")
        says += _between(results["similarity_between"], numbers)
    return Finding(results, drawings, tuple(says), tuple(numbers))


def _cka(subject: Subject, other: Subject | None, size: int, progress: Report) -> Similarity:
    beside = other.batches(lambda done, total: None, size) if other else None
    model = other.model if other else None
    return measure_similarity(subject.model, subject.batches(progress, size), model, other_images=beside)


def _off_diagonal(own: Similarity) -> float:
    """Return the mean similarity of different layers; nan where no layer tells pictures apart."""
    others = own.cka[~np.eye(len(own.layers), dtype=bool)]
    return own.off_diagonal if np.isfinite(others).any() else float("nan")


def _uniform(own: Similarity) -> str:
    mean = _off_diagonal(own)
    if np.isnan(mean):
        return "No layer tells the pictures apart."
    kind = (
        "hardly any layer changes what the tokens say"
        if mean > 0.9
        else "high throughout, as 2108.08810 found for ViTs"
        if mean > 0.7
        else "moderate, the layers change on the way"
        if mean > 0.4
        else "layers differ much"
    )
    return f"Different layers have a mean CKA of {figures_of(mean)} over {plural(own.pictures, 'picture')}: {kind}."


def _block_pair(own: Similarity) -> float:
    blocks = [number for number, name in enumerate(own.layers) if name.startswith("block")]
    return float(own.cka[blocks[0], blocks[-1]]) if blocks else float("nan")


def _between(both: Similarity, numbers: list[Number]) -> list[str]:
    if both.layers == both.other_layers:
        same = np.diag(both.cka)
        low = int(np.nanargmin(same)) if np.isfinite(same).any() else 0
        numbers.append(Number("same layers of the two models", mean_of(same), "CKA", "mean over layers"))
        return [
            f"The same layers of the two models have a mean CKA of {figures_of(mean_of(same))}; they differ "
            f"most at {layer_name(both.layers[low])}, {figures_of(float(same[low]))}."
        ]
    return [f"The last layer of the first is most like {layer_name(both.nearest[-1])} of the second."]


def see_norms(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Measure how much each branch adds to what skips it."""
    found = measure_norms(subject.model, subject.batches(progress, most=NORM_PICTURES))
    drawing = Drawing(
        "norms",
        f"{subject.name}: |skip| / |branch| of each branch, over {plural(found.pictures, 'picture')}.",
        lambda figure: figures.draw_norms(found, figure),
    )
    heads = {
        "branch": "branch",
        "tokens": "tokens",
        "ratio": "|skip| / |branch|",
        "skip_norm": "|skip|",
        "branch_norm": "|branch|",
    }
    rows = [row for row in found.rows() if np.isfinite(row["ratio"])]
    numbers = tuple(
        Number(f"median ratio, {kind}", float(np.median(values)), "", "above 1: what skips is larger")
        for kind, values in _ratios(found).items()
    )
    sheets = (Sheet("Every branch", rows, heads, filter="tokens", open=False),)
    return Finding({"norms": found}, (drawing,), _told_of_norms(found), numbers, sheets)


def _ratios(found: NormRatios) -> dict[str, np.ndarray]:
    kinds = zip(("class token", "patches"), found.ratio.T, strict=True)
    return {kind: values[np.isfinite(values)] for kind, values in kinds if np.isfinite(values).any()}


def _told_of_norms(found: NormRatios) -> tuple[str, ...]:
    told = []
    for kind, values in _ratios(found).items():
        half = max(1, len(values) // 2)
        told.append(
            f"{kind.capitalize()}: what skips is {figures_of(float(np.median(values[:half])))} times the branch in the "
            f"lower half and {figures_of(float(np.median(values[half:] if len(values) > 1 else values)))} times in the "
            "upper half (medians)."
        )
    if not np.isfinite(found.ratio[:, 1]).any():
        return (*told, "No branch adds anything to the patches.")
    least = int(np.nanargmin(np.where(np.isfinite(found.ratio[:, 1]), found.ratio[:, 1], np.nan)))
    told.append(
        f"The branch that changes the patches most is {layer_name(found.branches[least])}, with a ratio of "
        f"{figures_of(float(found.ratio[least, 1]))}."
    )
    return tuple(told)


def see_receptive(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Measure which pixels move the centre token of some layers, of both models where there are two."""
    results, whose, notes = of_each("receptive", subject, other, progress, _field)
    drawings = []
    for name, found in results.items():
        each = whose[name]
        caption = f"{each.name}: mean size of the gradient, over {plural(found.pictures, 'picture')}."
        drawings.append(Drawing(name, caption, lambda figure, r=found: figures.draw_receptive_field(r, figure)))
        if found.pictures < len(each):
            notes.append(f"{each.name}: the first {found.pictures} pictures, each layer of which is one backward pass.")
    found = results["receptive"]
    heads = {
        "layer": "layer",
        "radius50_px": "half of the mass within (px)",
        "radius90_px": "90 % within (px)",
        "centre_share": "in the own patch",
        "support_share": "picture it can see",
    }
    says = _told_of_fields(found)
    if other and "receptive_other" in results:
        says += tuple(f"{other.name}: {sentence}" for sentence in _told_of_fields(results["receptive_other"]))
    numbers = (
        Number(
            "half of the mass within, first layer shown", float(found.radius50_px[0]), "px", layer_name(found.layers[0])
        ),
        Number(
            "half of the mass within, last layer shown",
            float(found.radius50_px[-1]),
            "px",
            layer_name(found.layers[-1]),
        ),
        Number("the same if all pixels counted alike", found.uniform_radius50_px, "px"),
        Number("own patch, last layer shown", float(found.centre_share[-1]), "", "share of the mass"),
    )
    return Finding(
        results, tuple(drawings), says, numbers, (Sheet("Layer by layer", found.rows(), heads),), tuple(notes)
    )


def _field(subject: Subject, progress: Report) -> ReceptiveField:
    images, layers = subject.images(_field_pictures(subject)), _field_layers(subject)
    return measure_receptive_field(subject.model, images, layers=layers, seed=subject.seed, progress=progress)


def _field_layers(subject: Subject) -> list[str] | None:
    """Return the embedding and evenly spaced blocks up to the last; None for models that are no ViT."""
    blocks = getattr(subject.model, "blocks", None)
    if blocks is None:
        return None
    most = FIELD_LAYERS - 1 if subject.gflop < DEAR_GFLOP else 3
    wanted = np.unique(np.linspace(0, len(blocks) - 1, min(len(blocks), most)).round().astype(int))
    return ["embed", *(f"block{number:02d}/+mlp" for number in wanted.tolist())]


def _field_pictures(subject: Subject) -> int:
    """Return how many pictures: as many as the budget allows, at least one."""
    subject.require_pictures()
    allowed = int(FIELD_GFLOP / max(subject.gflop * 2 * FIELD_LAYERS, 1e-9))
    return max(1, min(FIELD_PICTURES, allowed, len(subject)))


def _told_of_fields(found: ReceptiveField) -> tuple[str, ...]:
    full = [name for name, share in zip(found.layers, found.support_share, strict=True) if share >= 1]
    structure = (
        f"From {layer_name(full[0])} on every pixel can move it" if full else "No layer can see the whole picture"
    )
    first, last = layer_name(found.layers[0]), layer_name(found.layers[-1])
    return (
        f"Half of what moves the centre token lies within {figures_of(float(found.radius50_px[0]))} px at "
        f"{first} and {figures_of(float(found.radius50_px[-1]))} px at {last} "
        f"({figures_of(found.uniform_radius50_px)} px if all pixels counted alike).",
        f"{structure}; its own patch still holds {percent(float(found.centre_share[-1]))} of the mass at {last}.",
    )
