"""Results of every kind out of random numbers: usual ones, the smallest there are, and large ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from patchwords import figures
from patchwords.inspection.attention import AttentionMaps, AttentionWeights
from patchwords.inspection.attribution import Attribution
from patchwords.inspection.components import Components
from patchwords.inspection.curves import Curves
from patchwords.inspection.distance import HeadDistances
from patchwords.inspection.filters import FilterComponents, FilterOverlap
from patchwords.inspection.lens import Lens
from patchwords.inspection.nearest import Neighbours
from patchwords.inspection.norms import NormRatios
from patchwords.inspection.position import PositionSimilarity, RelativeBias
from patchwords.inspection.receptive import ReceptiveField
from patchwords.inspection.rollout import Rollout
from patchwords.inspection.similarity import Similarity
from patchwords.metrics import measure

Case = tuple[Callable[..., None], Any, dict[str, Any]]
"""draw function, result, options"""


def chance(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def shares(*shape: int, seed: int = 0) -> np.ndarray:
    """Maps (..., rows, columns) that sum to 1, unlike each other."""
    values = chance(*shape, seed=seed) ** 4
    return values / values.sum(axis=(-2, -1), keepdims=True)


def photographs(count: int, size: tuple[int, int] = (32, 32), grey: bool = False) -> list[np.ndarray]:
    shape = size if grey else (*size, 3)
    return [(255 * chance(*shape, seed=number)).astype(np.uint8) for number in range(count)]


def blocks(depth: int) -> tuple[str, ...]:
    return ("embed", *(f"block{n:02d}/+mlp" for n in range(depth)), "encoded")


def attention(layers: int, pictures: int, heads: int, grid: tuple[int, int], pool: bool = False) -> AttentionMaps:
    maps = shares(layers, pictures, heads, *grid) * 0.9
    pooled = shares(pictures, heads, *grid, seed=1) if pool else None
    return AttentionMaps(maps, np.full((layers, pictures, heads, 1), 0.1), pooled, "class", ("class",), (4, 4))


def weights(layers: int, heads: int, grid: tuple[int, int]) -> AttentionWeights:
    tokens = 1 + grid[0] * grid[1]
    values = chance(layers, 1, heads, tokens, tokens) ** 3
    return AttentionWeights(values / values.sum(axis=-1, keepdims=True), None, ("class",), grid, (4, 4))


def rollout(layers: int, pictures: int, grid: tuple[int, int]) -> Rollout:
    share, numbers = np.zeros((layers, pictures, 1)), tuple(range(1, layers + 1))
    maps = shares(layers, pictures, *grid)
    return Rollout(maps, share, None, "class", "mean", 0.0, 0.5, numbers, ("class",), (4, 4))


def distance(layers: int, heads: int) -> HeadDistances:
    values = 12 * chance(layers, heads)
    return HeadDistances(values, values * 0, values / 6, values * 0, 10.0, 4.16, 0.5, 0.8, 3, (8, 8), (4, 4))


def position(rows: int, columns: int) -> PositionSimilarity:
    vectors = chance(rows * columns, 9) - 0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (vectors @ vectors.T).reshape(rows, columns, rows, columns)
    numbers = (-0.8, 0.4, 0.5, 0.3, 0.3, 0.1, 0.95, float("nan"))
    return PositionSimilarity(cosines, np.zeros((0, rows, columns)), *numbers, "pos_embed", (4, 4))


def relative(layers: int, heads: int, grid: tuple[int, int]) -> RelativeBias:
    bias = chance(layers, heads, 2 * grid[0] - 1, 2 * grid[1] - 1) - 0.5
    each = chance(layers, heads)
    return RelativeBias(bias, np.zeros((layers, heads, 2), int), each, 10 * each, 16.5, (4, 4))


def filters(count: int, channels: int, size: tuple[int, int]) -> FilterComponents:
    values = chance(count, channels, *size) - 0.5
    each = np.sort(chance(count))[::-1]
    waves = np.zeros((count, 2), int)
    share = each / each.sum()
    return FilterComponents(values, share, 2 * each, each, 0.25, each, waves, each, each, "patch_embed.proj", 64)


def receptive(depth: int, size: tuple[int, int]) -> ReceptiveField:
    names = (*blocks(depth), *(f"block{n:02d}/attn" for n in range(depth)))
    maps = shares(len(names), *size)
    support = np.ones(maps.shape, bool)
    support[0, size[0] // 2 :] = False
    each = np.linspace(2, 12, len(names))
    reached = support.mean(axis=(1, 2))
    return ReceptiveField(names, maps, each / 2, each, 9.0, 14.0, each / 20, support, reached, 2)


def similarity(layers: int, others: int, same: bool) -> Similarity:
    names, tokens = blocks(max(layers - 2, 0))[:layers], "mean"
    cka = chance(layers, others)
    cka[0, 0] = np.nan
    return Similarity(names, blocks(max(others - 2, 0))[:others], cka, tokens, "cls", 64, 32, same)


def norms(depth: int, tokens: int) -> NormRatios:
    names = tuple(f"block{n:02d}/{kind}" for n in range(depth) for kind in ("attn", "mlp"))
    ratio = 0.3 + 20 * chance(len(names), 2) ** 3
    every = 0.3 + 20 * chance(len(names), tokens) ** 3
    every[0, 0] = np.inf
    return NormRatios(names, ratio, ratio, ratio, every, 3)


def lens(depth: int, pictures: int, grid: tuple[int, int], labels: bool = True) -> Lens:
    names = blocks(depth)
    each = np.linspace(0.1, 0.9, len(names))
    right = each if labels else np.full(len(names), np.nan)
    many = np.ones((len(names), 9), int)
    maps = chance(len(names), pictures, *grid)
    targets = np.arange(pictures) % 3
    return Lens(names, right, right / 2, each, many, many / 2, many, targets, maps)


def attributions(pictures: int, size: tuple[int, int], methods: int) -> list[Attribution]:
    names = ("gradient_rollout", "integrated_gradients", "grad_cam", "gradient_input", "gradient", "occlusion")
    each = np.arange(pictures)
    maps = [chance(pictures, *size, seed=n) - 0.5 * (n % 2) for n in range(methods)]
    return [
        Attribution(name, "logits", one, (1, 1), (4, 4), each % 3, 2.5 + each, each * 0.0, each * np.nan, 7)
        for name, one in zip(names, maps, strict=False)
    ]


def curves(methods: int, pictures: int) -> Curves:
    names = (*(one.method for one in attributions(1, (4, 4), methods)), "random")
    falling = np.linspace(0.9, 0.1, 11) * (0.8 + 0.2 * chance(len(names), pictures, 1))
    areas = falling.mean(axis=2)
    share = np.linspace(0, 1, 11)
    return Curves(names, share, falling, falling[..., ::-1], areas, areas + 0.1, np.arange(pictures) % 3, 3)


def components(pictures: int, grid: tuple[int, int]) -> Components:
    return Components(chance(pictures, *grid, 3), np.array([0.31, 0.2, 0.1]), None, "encoded")


def neighbours(queries: int, k: int, among: int) -> Neighbours:
    order = np.argsort(chance(queries, among), axis=1)[:, :k]
    return Neighbours(order, np.sort(chance(queries, k), axis=1)[:, ::-1])


def evaluation(classes: tuple[str, ...], total: int) -> Any:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(classes), total)
    logits = rng.normal(size=(total, len(classes)))
    logits[np.arange(total), labels] += 2.0
    return measure(logits, labels, classes)


def training(epochs: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(1, 10 * epochs + 1):
        rows.append({"step": step, "epoch": step / 10, "loss": 2.3 / step, "grad_norm": 1.0, "lr": 1e-4 * step})
        if step % 10 == 0:
            rows.append({"step": step, "epoch": step / 10, "val_top1": 1 - 1 / step, "val_loss": 2 / step})
    return rows


def cases(kind: str) -> dict[str, Case]:
    """Every figure once: kind is "usual", "smallest" or "large"."""
    sizes: dict[str, dict[str, Any]] = {
        "usual": dict(depth=6, heads=4, grid=(8, 8), pictures=5, size=(32, 32), classes=10, k=5, methods=6, grey=False),
        "smallest": dict(depth=1, heads=1, grid=(1, 1), pictures=1, size=(2, 2), classes=1, k=1, methods=1, grey=True),
        "large": dict(
            depth=24, heads=16, grid=(24, 24), pictures=40, size=(384, 256), classes=1000, k=20, methods=6, grey=False
        ),
    }
    s = sizes[kind]
    depth, heads, grid, count, size = s["depth"], s["heads"], s["grid"], s["pictures"], s["size"]
    photos = photographs(count, size, s["grey"])
    names = tuple(f"class {n}" for n in range(s["classes"]))
    seen = attention(depth, min(count, 3), heads, grid, pool=kind != "large")
    judged = evaluation(names, 30 * min(s["classes"], 100))
    tiles = [names[n % len(names)] for n in range(count)]
    asked = attributions(min(count, 2), size, s["methods"])
    set_of = photographs(s["k"] + 2, size, s["grey"])
    return {
        "attention": (figures.draw_attention, seen, {"pictures": photos}),
        "heads": (figures.draw_heads, seen, {"distance_px": distance(depth, heads).distance_px}),
        "weights": (figures.draw_weights, weights(min(depth, 8), min(heads, 2), grid), {}),
        "rollout": (figures.draw_rollout, rollout(depth, count, grid), {"pictures": photos, "names": tiles}),
        "distance": (figures.draw_distance, distance(depth, heads), {}),
        "position": (figures.draw_position, position(*grid), {}),
        "relative": (figures.draw_relative_bias, relative(depth, heads, grid), {}),
        "filters": (figures.draw_filters, filters(1 if kind == "smallest" else 28, 3, (8, 8)), {}),
        "overlap": (
            figures.draw_overlap,
            FilterOverlap(np.sort(chance(depth))[::-1], 0.4, 0.1, (8, 8), ("patch_embed.proj", "root.conv")),
            {},
        ),
        "receptive": (figures.draw_receptive_field, receptive(depth, size), {}),
        "similarity": (figures.draw_similarity, similarity(depth + 2, depth + 2, True), {}),
        "similarity of two": (figures.draw_similarity, similarity(depth + 2, 3, False), {"names": ("ViT", "CNN")}),
        "norms": (figures.draw_norms, norms(depth, 1 + grid[0] * grid[1]), {}),
        "lens": (figures.draw_lens, lens(depth, min(count, 4), grid), {"pictures": photos, "classes": names * 3}),
        "attribution": (
            figures.draw_attribution,
            asked,
            {"pictures": photos, "picture": range(len(asked[0].maps)), "classes": names * 3},
        ),
        "curves": (figures.draw_curves, curves(s["methods"], min(count, 4)), {}),
        "components": (figures.draw_components, components(count, grid), {"pictures": photos, "names": tiles}),
        "nearest": (
            figures.draw_nearest,
            neighbours(count, s["k"], len(set_of)),
            {"queries": photos, "pictures": set_of, "query_names": tiles, "names": ["a set's picture"] * len(set_of)},
        ),
        "confusion": (figures.draw_confusion, judged, {}),
        "reliability": (figures.draw_reliability, judged, {}),
        "accuracy": (figures.draw_accuracy, judged, {}),
        "training": (figures.draw_training, training(depth), {}),
        "over time": (
            figures.draw_over_time,
            shares(depth, count, *grid),
            {"epochs": np.arange(depth) * 0.5, "pictures": photos, "names": tiles},
        ),
    }
