"""What speaks for the answer: the exhibit of attributions, each beside the curves that say whether it explains."""

from __future__ import annotations

import numpy as np

from .. import figures
from ..inspection.attribution import Attribution
from ..inspection.curves import RANDOM, Curves, measure_curves
from ..inspection.explanation import METHODS, attribute
from .finding import Bundle, Drawing, Finding, Number, Sheet, percent, plural
from .subject import DEAR_GFLOP, Report, Subject, of_each, part_of


def see_attribution(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Ask every method what speaks for the answer, and take patches away in its order; of both models, if two."""
    asked, whose, notes = of_each("attribution", subject, other, progress, _ask)
    results, drawings = {}, []
    for name, (maps, curves, note) in asked.items():
        each, suffix = whose[name], name.removeprefix("attribution")
        results |= {name: Bundle({each.method: each for each in maps}), f"curves{suffix}": curves}
        drawings += _drawings(each, suffix, maps, curves)
        notes += [f"{each.name}: {note}"] if note else []
    found = results["curves"]
    says = _told(found)
    if other and "curves_other" in results:
        says += tuple(f"{other.name}: {sentence}" for sentence in _told(results["curves_other"]))
    sheets = (Sheet("Every method, mean over the pictures shown", _rows(found), _HEADS),)
    return Finding(results, tuple(drawings), says, _numbers(found), sheets, tuple(notes))


_HEADS = {
    "method": "method",
    "deletion_area": "deletion area",
    "insertion_area": "insertion area",
    "deletion_gain": "less than random",
    "insertion_gain": "more than random",
    "explains": "explains",
}


def _ask(subject: Subject, progress: Report) -> tuple[tuple[Attribution, ...], Curves, str]:
    """Return the maps, the curves, and what was saved on."""
    images = subject.images()
    methods, options, steps, orders, note = _effort(subject)
    maps = attribute(subject.model, images, methods=methods, options=options, progress=part_of(progress, 0, 2))
    curves = measure_curves(
        subject.model,
        images,
        maps,
        steps=steps,
        random_orders=orders,
        seed=subject.seed,
        progress=part_of(progress, 1, 2),
    )
    return maps, curves, note


def _effort(subject: Subject) -> tuple[list[str] | None, dict, int, int, str]:
    """Return methods, their options, steps and random orders of the curves, and what is saved on a large model."""
    if subject.cheap:
        return None, {}, 10, 3, ""
    attends = bool(len(getattr(subject.model, "blocks", ())))
    if subject.gflop < DEAR_GFLOP:
        window = max(1, round(max(subject.model.grid) / 5))
        options = {"integrated_gradients": {"max_steps": 9}, "occlusion": {"window": window}}
        told = f"integrated gradients take 9 steps or fewer, occlusion covers {window}x{window} patches"
        return None, options, 5, 2, f"the model is large: {told}, curves have 5 steps."
    methods = [name for name in METHODS[:1] + ("grad_cam", "gradient_input") if attends or name != METHODS[0]]
    left = ", ".join(name for name in METHODS if name not in methods).replace("_", " ")
    return methods, {}, 2, 1, f"the model is very large: {left} are left out, curves have 2 steps."


def _drawings(subject: Subject, suffix: str, maps: tuple[Attribution, ...], curves: Curves) -> list[Drawing]:
    shown, names = subject.drawable(), subject.names()
    answers = [_class(subject, int(number)) for number in maps[0].targets]
    told = "; ".join(f"{name}: {answer}" for name, answer in zip(names, answers, strict=True))
    return [
        Drawing(
            f"attribution{suffix}",
            f"{subject.name}: what speaks for its answer, by each method ({told}).",
            lambda figure: figures.draw_attribution(
                maps, figure, pictures=shown, picture=range(len(shown)), curves=curves, classes=subject.classes
            ),
        ),
        Drawing(
            f"curves{suffix}",
            f"{subject.name}: probability of the answer as patches go and come ({plural(len(shown), 'picture')}).",
            lambda figure: figures.draw_curves(curves, figure),
        ),
    ]


def _class(subject: Subject, number: int) -> str:
    return subject.classes[number] if number < len(subject.classes) else f"class {number}"


def _rows(curves: Curves) -> list:
    return [
        {
            "method": method,
            "deletion_area": float(curves.deletion_area[number].mean()),
            "insertion_area": float(curves.insertion_area[number].mean()),
            "deletion_gain": float(curves.deletion_gain[number].mean()),
            "insertion_gain": float(curves.insertion_gain[number].mean()),
            "explains": "" if method == RANDOM else "yes" if curves.explains[number] else "not clearly",
        }
        for number, method in enumerate(curves.methods)
    ]


def _gains(curves: Curves) -> np.ndarray:
    """Return (methods,): mean of both gains over the pictures."""
    return ((curves.deletion_gain + curves.insertion_gain) / 2).mean(axis=1)


_GAIN = "area better than a random order; 0: explains nothing"


def _numbers(curves: Curves) -> tuple[Number, ...]:
    return tuple(
        Number(
            f"gain of {method.replace('_', ' ')}",
            float(gain),
            "",
            _GAIN if place == 0 else "",
        )
        for place, (method, gain) in enumerate(zip(curves.methods[:-1], _gains(curves)[:-1], strict=True))
    )


def _told(curves: Curves) -> tuple[str, ...]:
    gains, methods = _gains(curves)[:-1], curves.methods[:-1]
    good = [method.replace("_", " ") for method, works in zip(methods, curves.explains, strict=False) if works]
    bad = [method.replace("_", " ") for method, works in zip(methods, curves.explains, strict=False) if not works]
    best = int(gains.argmax())
    told = [
        f"{methods[best].replace('_', ' ').capitalize()} explains most here: taking patches away in its order leaves "
        f"{percent(float(curves.deletion_area[best].mean()))} of area against "
        f"{percent(float(curves.deletion_area[-1].mean()))} for a random order."
        if good
        else "No method does better than a random order here: do not trust these maps."
    ]
    if good and bad:
        told.append(f"Not clearly better than a random order: {', '.join(bad)}.")
    if curves.deletion.shape[1] < 3:
        told.append(f"With {plural(curves.deletion.shape[1], 'picture')} that is a hint, no more.")
    return tuple(told)
