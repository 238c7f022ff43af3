"""P-15: which kind of position matters little, having one matters."""

from __future__ import annotations

from ..figures.plot import Plot, Series
from .idea import Check, Effort, Idea, Result
from .learn import accuracy, mean_and_sd
from .trained import chance_points, pictures_of, scale_of, seeds_of, trained

KINDS = {
    False: ("none", "learned", "learned_2d", "relative"),
    True: ("none", "learned", "learned_2d", "relative", "sincos_2d", "rope"),
}


def run(effort: Effort) -> Result:
    """Train the same ViT with each kind of position."""
    scale = scale_of(effort)
    train, test = pictures_of(effort)
    found: dict[str, list[float]] = {}
    for kind in KINDS[effort.full]:
        for seed in seeds_of(effort):
            config = scale.vit(position=kind)
            model = trained(config, train, scale.recipe, seed, effort, name=f"position {kind}")
            found.setdefault(kind, []).append(100 * accuracy(model, test.inputs, test.labels))
    return concluded(found, len(test))


def concluded(found: dict[str, list[float]], tests: int) -> Result:
    """Return what the accuracies (%, one a seed) of each kind on `tests` pictures say."""
    mean = {kind: mean_and_sd(values)[0] for kind, values in found.items()}
    others = {kind: value for kind, value in mean.items() if kind != "none"}
    paper = [mean[kind] for kind in ("learned", "learned_2d", "relative")]
    checks = (
        Check("points of the worst kind of position over none", min(others.values()) - mean["none"], ">=", 2.0),
        Check("points between the best and the worst of 1-D, 2-D and relative", max(paper) - min(paper), "<=", 1.0),
    )
    worst = min(mean, key=mean.__getitem__)
    told = ", ".join(f"{kind} {value:.1f}" for kind, value in mean.items())
    seeds = len(found["none"])
    reason = f"Accuracy in %, mean of {seeds} seed{'s' if seeds > 1 else ''}: {told}."
    if worst != "none":
        reason += f" Having no positions is not the worst: {worst} is."
    elif not checks[1].met:
        reason += " Having none is the worst; how the kinds differ here is more than in the paper."
    noise = chance_points(tests, seeds)
    close = abs(checks[0].value) < noise
    if close:
        reason += f" Less than {noise:.1f} points, twice the standard error, settles nothing."
    if all(check.met for check in checks) and not close:
        verdict = "confirmed"
    else:
        verdict = "qualified" if worst == "none" or close else "refuted"
    figures: dict[str, float | int | str] = {f"{kind}: accuracy, %": value for kind, value in mean.items()}
    if seeds > 1:
        figures |= {f"{kind}: standard deviation, points": mean_and_sd(values)[1] for kind, values in found.items()}
    figures["paper, points of 1-D, 2-D, relative over none (ImageNet, 5-shot)"] = "2.8, 2.6, 2.7"
    lines = tuple(
        Series(kind, tuple(float(number + 1) for number in range(seeds)), tuple(values))
        for kind, values in found.items()
    )
    return Result(verdict, reason, checks, figures, (Plot("Kinds of position", "seed", "accuracy, %", lines),))


IDEA = Idea(
    name="positions",
    number="P-15",
    claim="A ViT without positions is clearly worse; 1-D, 2-D and relative ones are within about a point.",
    experiment="Train the same ViT with each kind of position on the same pictures.",
    paper="2010.11929, app. D.4, table 8",
    trained=True,
    run=run,
)
