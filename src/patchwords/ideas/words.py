"""S-27: patches are words: what a bag of them tells, what their company adds, and what their places add."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..architecture import Size
from ..figures.plot import Grid
from ..randomness import permutation
from ..transfer.axes import find_axes
from ..transfer.few_shot import fit_ridge
from .idea import Check, Effort, Idea, Result
from .learn import PictureSet, accuracy, mean_and_sd
from .trained import chance_points, pictures_of, scale_of, seeds_of, trained

WORDS = {False: 128, True: 512}
ROUNDS = 12
SAMPLED = 20_000
"""patches that the vocabulary is made from"""
ARMS = ("bag of words", "ViT without positions", "ViT with positions")


def run(effort: Effort) -> Result:
    """Read pictures as counts of visual words, as a set of patches, and as patches with places."""
    scale = scale_of(effort)
    train, test = pictures_of(effort)
    size = scale.vit().patch_size
    found: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for seed in seeds_of(effort):
        effort.progress(f"bag of {WORDS[effort.full]} words, seed {seed}")
        vocabulary = vocabulary_of(train, size, WORDS[effort.full], seed)
        found[ARMS[0]].append(100 * bag_accuracy(train, test, vocabulary, size))
        for arm, position in zip(ARMS[1:], ("none", "learned"), strict=True):
            model = trained(scale.vit(position=position), train, scale.recipe, seed, effort, name=arm)
            found[arm].append(100 * accuracy(model, test.inputs, test.labels))
    shown = pictures_of_words(vocabulary_of(train, size, WORDS[effort.full], effort.seed), size, train)
    return concluded(found, len(test), shown)


def patches_of(images: Tensor, size: Size) -> Tensor:
    """Return the patches of pictures (B, C, H, W): (B, N, C * rows * columns), rows first."""
    batch, channels = images.shape[:2]
    cut = images.unfold(2, size[0], size[0]).unfold(3, size[1], size[1])  # (B, C, rows, columns, P, P)
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(batch, -1, channels * size[0] * size[1])


def vocabulary_of(train: PictureSet, size: Size, words: int, seed: int) -> Tensor:
    """Return the words (words, C * rows * columns): k-means of patches drawn from the training pictures."""
    patches = patches_of(train.inputs, size).flatten(0, 1)
    chosen = permutation(seed % 2**32, "idea words", 0, len(patches))[:SAMPLED]
    return k_means(patches[torch.from_numpy(chosen)], words, ROUNDS)


def k_means(points: Tensor, count: int, rounds: int) -> Tensor:
    """Return `count` centres (count, D) of points (N, D) in random order, after `rounds` of Lloyd's algorithm.

    The first centres are the first points; one that nothing is nearest to stays where it is.
    """
    centres = points[:count].clone()
    for _ in range(rounds):
        nearest = nearest_words(points, centres)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        counts = torch.bincount(nearest, minlength=len(centres))[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
    return centres


def nearest_words(patches: Tensor, words: Tensor) -> Tensor:
    """Return the number of the nearest word for each of the patches (..., D), the first of equals."""
    half = words.square().sum(dim=1) / 2
    return (half - patches @ words.T).argmin(dim=-1)


def histograms(pictures: PictureSet, words: Tensor, size: Size) -> np.ndarray:
    """Return the square roots of the shares of each word in each picture: (N, words)."""
    rows = []
    for part in pictures.images.split(1000):
        found = nearest_words(patches_of(pictures.preprocess.normalize(part), size), words)
        rows.append(torch.zeros(len(part), len(words)).scatter_add_(1, found, torch.ones(found.shape)))
    counts = torch.cat(rows)
    return (counts / counts.sum(dim=1, keepdim=True)).sqrt().numpy()


def bag_accuracy(train: PictureSet, test: PictureSet, words: Tensor, size: Size) -> float:
    """Return the accuracy of a linear classifier (ridge, its penalty by leaving one out) on counts of words."""
    axes = find_axes(histograms(train, words, size))
    classifier = fit_ridge(axes, train.labels.numpy(), len(train.classes))
    scores = classifier.scores(histograms(test, words, size))
    return float((scores.argmax(axis=1) == test.labels.numpy()).mean())


def pictures_of_words(words: Tensor, size: Size, train: PictureSet) -> np.ndarray:
    """Return 64 of the words side by side, as colours in 0..1."""
    channels = train.images.shape[1]
    std, mean = (torch.tensor(values).view(-1, 1, 1) for values in (train.preprocess.std, train.preprocess.mean))
    tiles = (words[:64].view(-1, channels, *size) * std + mean).clamp(0, 1).permute(0, 2, 3, 1)
    tiles = torch.nn.functional.pad(tiles, (0, 0, 0, 1, 0, 1), value=1.0)
    columns = min(16, len(tiles))
    rows = [torch.cat(list(row), dim=1) for row in tiles[: len(tiles) // columns * columns].split(columns)]
    return torch.cat(rows).numpy()


def concluded(found: dict[str, list[float]], tests: int, shown: np.ndarray) -> Result:
    """Return what the accuracies (%, one a seed) on `tests` pictures say."""
    (bag, _), (unordered, _), (placed, _) = (mean_and_sd(found[arm]) for arm in ARMS)
    checks = (
        Check("company: points of the ViT without positions over the bag of words", unordered - bag, ">", 0.0),
        Check("places: points of positions over none", placed - unordered, ">", 0.0),
    )
    noise = chance_points(tests, len(found[ARMS[0]]))
    reason = (
        f"Counts of words are right for {bag:.1f} %, the set of patches for {unordered:.1f} %, patches with places for "
        f"{placed:.1f} %."
    )
    close = [check for check in checks if abs(check.value) < noise]
    if close:
        reason += f" A difference below {noise:.1f} points, twice its standard error, settles nothing."
    met = sum(check.met for check in checks)
    verdict = "refuted" if met == 0 else "qualified" if met == 1 or close else "confirmed"
    figures: dict[str, float | int | str] = {f"{arm}: accuracy, %": mean_and_sd(found[arm])[0] for arm in ARMS}
    if len(found[ARMS[0]]) > 1:
        figures |= {f"{arm}: standard deviation over seeds, points": mean_and_sd(found[arm])[1] for arm in ARMS}
    return Result(verdict, reason, checks, figures, (Grid("Some visual words", ("words",), (shown,)),))


IDEA = Idea(
    name="words",
    number="S-27",
    claim="A picture is words: counting them tells something, letting them meet tells more, and their places more yet.",
    experiment="Classify by counts of k-means words of patches, by a ViT without positions, and by one with them.",
    paper="2010.11929, title, sec. 3.1 and app. D.4",
    trained=True,
    run=run,
)
