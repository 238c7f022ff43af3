"""Does a map explain anything? Deletion and insertion curves, beside those of a random order (1806.07421).

Patches are taken away, or put into an empty picture, in the order of the map. A map that explains the answer makes it
fall quickly and rise quickly; one that explains nothing does as well as a random order.

We differ from the paper in two things: whole patches, so that maps of pixels and of patches are held to the same, and
the same empty picture for both curves (the paper blurs for insertion).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..architecture import in_range
from ..errors import ConfigError
from ..randomness import permutation
from .attribution import Attribution, Question, ask
from .results import Progress, Row, table
from .still import chunks, still

RANDOM = "random"


@dataclass(frozen=True)
class Curves:
    """Probability of a class while patches are taken away, or put in, in the order of each map."""

    methods: tuple[str, ...]
    """the last is random: the mean over `random_orders` orders"""
    changed_share: np.ndarray
    """(steps,) share of the patches taken away, or put in, from 0 to 1"""
    deletion: np.ndarray
    """(methods, pictures, steps) probability of the class as patches go"""
    insertion: np.ndarray
    """(methods, pictures, steps) probability of the class as patches come"""
    deletion_area: np.ndarray
    """(methods, pictures) area under the curve, 0..1: small is good"""
    insertion_area: np.ndarray
    """(methods, pictures) area under the curve, 0..1: large is good"""
    targets: np.ndarray
    """(pictures,) classes"""
    random_orders: int

    @property
    def deletion_gain(self) -> np.ndarray:
        """(methods, pictures): how much less area than a random order; above 0 is better."""
        return self.deletion_area[-1] - self.deletion_area

    @property
    def insertion_gain(self) -> np.ndarray:
        """(methods, pictures): how much more area than a random order; above 0 is better."""
        return self.insertion_area - self.insertion_area[-1]

    @property
    def explains(self) -> tuple[bool, ...]:
        """For each method whether it beats the random order: mean of both gains over pictures above two standard
        errors (above 0 for fewer than 3 pictures, which is no more than a hint)."""
        gains = (self.deletion_gain + self.insertion_gain) / 2
        count = gains.shape[1]
        error = gains.std(axis=1, ddof=1) / np.sqrt(count) if count > 2 else np.zeros(len(gains))
        return tuple((gains.mean(axis=1) > 2 * error).tolist())

    def rows(self) -> list[Row]:
        """Return one line for each method, picture and step."""
        axes = [("method", self.methods), "picture", ("changed_share", self.changed_share.tolist())]
        return table(axes, deletion=self.deletion, insertion=self.insertion)


def measure_curves(
    model: nn.Module,
    images: Tensor,
    attributions: Sequence[Attribution],
    *,
    baseline: Tensor | None = None,
    steps: int = 10,
    random_orders: int = 3,
    seed: int = 0,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Curves:
    """Measure deletion and insertion curves of `attributions` and of random orders.

    Args:
        images: those that were attributed, (B, C, H, W), normalised.
        attributions: of one class for each picture; the class of all must be the same.
        baseline: what stands where a patch is taken away; as in `attribute`.
        steps: of a curve; at most as many as there are patches.
        random_orders: orders drawn for each picture, a function of (seed, order, picture). What remains of one as
            patches go is what comes of the reversed one, so that both curves cost one.
        batch_size: pictures at a time.

    Raises:
        ConfigError: no attribution, or attributions of other pictures or classes.
    """
    _check(images, attributions)
    in_range("random_orders", random_orders, 1, 1000)
    in_range("steps", steps, 1, 10_000)
    question = ask(model, images, attributions[0].targets, baseline)
    scores = np.stack([each.patches.reshape(len(images), -1) for each in attributions])
    patches = scores.shape[2]
    counts = np.unique(np.linspace(0, patches, min(steps, patches) + 1).round().astype(np.int64))
    orders = np.argsort(-scores, axis=2, kind="stable")
    drawn = [
        np.stack([permutation(seed, f"curves, order {number}", picture, patches) for picture in range(len(images))])
        for number in range(random_orders)
    ]
    gone = [_gone(order, counts) for order in orders]
    missing = np.stack([*gone, *(~each for each in gone), *(_gone(order, counts) for order in drawn)])
    found = _probabilities(question, missing, batch_size, progress)
    methods = len(orders)
    random = found[2 * methods :].mean(axis=0, keepdims=True)
    deletion = np.concatenate([found[:methods], random])
    insertion = np.concatenate([found[methods : 2 * methods], random[..., ::-1]])
    share = counts / patches
    return Curves(
        methods=(*(each.method for each in attributions), RANDOM),
        changed_share=share.astype(np.float32),
        deletion=deletion,
        insertion=insertion,
        deletion_area=np.trapezoid(deletion, share, axis=2).astype(np.float32),
        insertion_area=np.trapezoid(insertion, share, axis=2).astype(np.float32),
        targets=attributions[0].targets,
        random_orders=random_orders,
    )


def _check(images: Tensor, attributions: Sequence[Attribution]) -> None:
    if not attributions:
        raise ConfigError("no attribution to draw curves of", where="attributions")
    for each in attributions:
        if len(each.maps) != len(images) or not np.array_equal(each.targets, attributions[0].targets):
            what = f"{each.method} was asked about other pictures or classes"
            raise ConfigError(what, where="attributions", fix="Give those of one call")


def _gone(orders: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return which patches are among the first `counts` (steps,) of `orders` (B, N): bool (B, steps, N)."""
    ranks = np.argsort(orders, axis=1, kind="stable")
    return ranks[:, None, :] < counts[None, :, None]


def _probabilities(question: Question, missing: np.ndarray, batch_size: int, progress: Progress | None) -> np.ndarray:
    """Return the class's probability with some patches replaced by the baseline: (orders, B, steps).

    Args:
        missing: (orders, B, steps, N) bool. What is missing in several ways alike is computed once.
    """
    jobs: dict[tuple[int, bytes], int] = {}
    which = np.zeros(missing.shape[:3], np.int64)
    for place in np.ndindex(which.shape):
        which[place] = jobs.setdefault((place[1], missing[place].tobytes()), len(jobs))
    pictures = torch.tensor([picture for picture, _ in jobs])
    masks = torch.from_numpy(np.stack([np.frombuffer(mask, bool) for _, mask in jobs]))
    found = []
    with still(question.model), torch.no_grad():
        for part in chunks(len(jobs), batch_size):
            found.append(_seen(question, pictures[part], masks[part]))
            if progress:
                progress(part.stop, len(jobs))
    return torch.cat(found).numpy()[which]


def _seen(question: Question, pictures: Tensor, masks: Tensor) -> Tensor:
    """Return the probability (n,) of the class in each of `pictures` without the patches of `masks` (n, N)."""
    images, (down, across) = question.images[pictures], question.patch_px
    grid = (images.shape[2] // down, images.shape[3] // across)
    cover = masks.view(-1, 1, *grid).repeat_interleave(down, dim=2).repeat_interleave(across, dim=3)
    logits = question.model(torch.where(cover.to(images.device), question.baseline, images)).float()
    return logits.softmax(dim=1).gather(1, question.targets[pictures, None])[:, 0].cpu()
