"""P-23: a fixed rearrangement of patches and of the pixels within them means little to a ViT, and much to a CNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..figures.plot import Grid
from .draws import drawn_model, largest
from .idea import Check, Effort, Idea, Result
from .learn import accuracy, mean_and_sd
from .trained import chance_points, drawn_order, pictures_of, pixel_order, rearrange, scale_of, seeds_of, trained

POINTS = 100


def run(effort: Effort) -> Result:
    """Train a ViT and a CNN on pictures as they are, and on pictures rearranged, tested likewise."""
    scale = scale_of(effort)
    train, test = pictures_of(effort)
    kinds = {"ViT": (scale.vit(), scale.recipe), "CNN": (scale.cnn(), scale.cnn_recipe)}
    vit = kinds["ViT"][0]
    order, inside = drawn_order(vit, effort.seed)
    pixels = pixel_order(vit.image_size, vit.patch_size, order, inside)
    moved_inputs = rearrange(test.inputs, pixels)
    found: dict[tuple[str, str], list[float]] = {}
    for seed in seeds_of(effort):
        for name, (config, recipe) in kinds.items():
            plain = trained(config, train, recipe, seed, effort, name=name)
            moved = trained(config, train, recipe, seed, effort, pixels=pixels, name=f"{name}, rearranged")
            found.setdefault((name, "plain"), []).append(POINTS * accuracy(plain, test.inputs, test.labels))
            found.setdefault((name, "moved"), []).append(POINTS * accuracy(moved, moved_inputs, test.labels))
    model = drawn_model(vit, effort.seed, torch.float64)
    sample = test.inputs[:8].double()
    with torch.no_grad():
        exact = largest(rearranged_model(model, order, inside)(rearrange(sample, pixels)) - model(sample))
    shown = Grid("A picture, and what both models learn from", ("as it is", "rearranged"), _shown(test.images, pixels))
    return concluded(found, exact, len(test), (shown,))


def rearranged_model(model: nn.Module, order: Tensor, inside: Tensor) -> nn.Module:
    """Return the ViT whose answer to rearranged pictures is that of `model` to pictures as they are.

    Only the patch matrix and the position table change: their entries are rearranged as the pictures are. So from
    initial values that are drawn alike for all entries, both trainings are alike but for the draw.
    """
    with torch.random.fork_rng(devices=[]):
        twin = type(model)(model.config).to(next(model.parameters()).dtype).eval()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    matrix, prefix = weights["patch_embed.proj.weight"], model.config.num_placed_prefix_tokens
    weights["patch_embed.proj.weight"] = matrix.flatten(2)[..., inside].view_as(matrix)
    table = weights["pos_embed"]
    weights["pos_embed"] = torch.cat([table[:, :prefix], table[:, prefix:][:, order]], dim=1)
    twin.load_state_dict(weights)
    return twin


def _shown(images: Tensor, pixels: Tensor) -> tuple:
    first = images[:1].float() / 255
    return tuple(each[0].permute(1, 2, 0).numpy() for each in (first, rearrange(first, pixels)))


def concluded(found: dict[tuple[str, str], list[float]], exact: float, tests: int, plots: tuple = ()) -> Result:
    """Return what the accuracies (points, a value for each seed) on `tests` pictures say."""
    lost = {
        name: [a - b for a, b in zip(found[name, "plain"], found[name, "moved"], strict=True)]
        for name in ("ViT", "CNN")
    }
    (vit, vit_sd), (cnn, cnn_sd) = (mean_and_sd(lost[name]) for name in ("ViT", "CNN"))
    checks = (
        Check("ViT: largest change of an answer when its matrix and table are rearranged too", exact, "<", 1e-10),
        Check("ViT: points lost on rearranged pictures", vit, "<=", 1.0),
        Check("CNN: points lost on rearranged pictures", cnn, ">=", 5.0),
    )
    seeds = len(lost["ViT"])
    noise = chance_points(tests, seeds)
    spread = (
        f" (standard deviations over {seeds} seeds {vit_sd:.1f} and {cnn_sd:.1f})" if seeds > 1 else ", with one seed"
    )
    reason = (
        f"Rearranged pictures cost the ViT {vit:.1f} points and the CNN {cnn:.1f}{spread}. For the ViT the "
        "rearrangement is one of its matrix and its table, which are learned anyway: the answers are the same."
    )
    if all(check.met for check in checks):
        verdict = "confirmed"
    else:
        verdict = "qualified" if checks[0].met and vit < 1.0 + noise and cnn > 5.0 - noise else "refuted"
        reason += f" Thresholds are at most 1 point and at least 5; up to {noise:.1f} points may be chance."
    figures: dict[str, float | int | str] = {
        f"{name}, {'as they are' if arm == 'plain' else 'rearranged'}: accuracy, %": mean_and_sd(values)[0]
        for (name, arm), values in found.items()
    }
    return Result(verdict, reason, checks, figures, plots)


IDEA = Idea(
    name="permuted",
    number="P-23",
    claim="The ViT knows of neighbourhood only what it learns: rearranging patches, and pixels within them, always in "
    "the same way, costs it at most 1 point, and a CNN at least 5.",
    experiment="Train both on pictures as they are and on rearranged ones, and test each on pictures of its kind.",
    paper="2010.11929, sec. 3.1, inductive bias",
    trained=True,
    run=run,
)
