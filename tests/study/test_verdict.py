"""The verdict says what the numbers say and no more: constructed studies, of which it is known what may be said."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

from patchwords.study.results import Results
from patchwords.study.statistics import Summary, summarise
from patchwords.study.verdict import between, pair_of, points, share, verdict
from tests.study import made

FAR = {"cnn": (0.70, 0.75), "vit": (0.50, 0.85), "mlp": (0.40, 0.45)}
CLAIMS = re.compile(r"overtakes|ahead with|significantly (above|below)")


def told(results: Results, resamples: int = 200) -> tuple[Summary, str]:
    summary = summarise(results, resamples)
    return summary, "\n".join(verdict(summary).lines())


@pytest.fixture(scope="module")
def clear() -> tuple[Summary, str]:
    return told(made.study(FAR, sizes=(100, 10_000), seeds=5, pictures=1500))


def test_a_clear_study_is_said_clearly(clear):
    summary, words = clear
    assert all(pair.significant for pair in summary.pairs)
    first, last = verdict(summary).order
    best = {size: summary.at(size)[0] for size in summary.sizes}
    assert first.startswith(
        f"With 100 pictures cnn has the highest mean, {share(best[100].mean)}, significantly above both"
    )
    assert last.startswith(f"With 10,000 pictures vit has the highest mean, {share(best[10_000].mean)}")
    assert "3 of 3 differences significant" in first
    met = next(each for each in summary.crossings if each.state == "seen")
    assert f"vit overtakes cnn at about {float(f'{met.size:.3g}'):,.0f} pictures (95 % interval" in words
    assert "cnn is significantly ahead with 100, vit is significantly ahead with 10,000" in words
    assert "No crossing is seen from 100 to 10,000 pictures, by the means, of" in words


def test_every_number_of_the_order_is_a_number_of_the_summary(clear):
    summary, _ = clear
    for size, sentence in zip(summary.sizes, verdict(summary).order, strict=True):
        known = {f"{100 * score.mean:.1f}" for score in summary.at(size)}
        assert set(re.findall(r"(\d+\.\d) %", sentence.replace("95 %", ""))) <= known
        nearest = pair_of(summary, summary.at(size)[0].entry, summary.at(size)[1].entry, size)
        sign = 1 if nearest.difference > 0 else -1
        ends = (nearest.low, nearest.high) if sign > 0 else (-nearest.high, -nearest.low)
        assert f"by {points(sign * nearest.difference)}, {between(*ends)}" in sentence


def test_equal_models_are_not_told_apart():
    summary, words = told(made.study({"a": (0.6, 0.6), "b": (0.6, 0.6)}, sizes=(10, 100), pictures=300))
    assert not any(pair.significant for pair in summary.pairs)
    assert not CLAIMS.search(words) and words.count("not distinguishable from") == 2
    assert "3 seeds say little" in words


def test_one_seed_claims_nothing():
    summary, words = told(made.study(FAR, sizes=(100, 10_000), seeds=1, pictures=500))
    assert not CLAIMS.search(words) and "distinguishable" not in words and "significant:" not in words.lower()
    assert words.count("the seeds they share are too few to tell which is better") == 2
    assert "no crossing is shown" in words and "nothing is known of how far seeds spread" in words
    assert not summary.decompositions and "variance" not in words


def test_a_crossing_without_two_significant_leads_is_not_called_one(clear):
    summary, _ = clear
    quiet = tuple(
        dataclasses.replace(pair, holm=0.3) if pair.size == 100 and pair.first.model == "cnn" else pair
        for pair in summary.pairs
    )
    unsure = tuple(
        dataclasses.replace(each, state="unsure") if each.state == "seen" else each for each in summary.crossings
    )
    words = "\n".join(verdict(dataclasses.replace(summary, pairs=quiet, crossings=unsure)).lines())
    assert "overtakes" not in words and "no crossing is shown" in words
    assert "With 100 pictures cnn has the highest mean" in words and "not distinguishable from vit" in words


@pytest.mark.parametrize("number", range(12))
def test_claims_need_their_numbers(number):
    """Of studies of every kind: who is said to be significantly ahead is, by the corrected test, in that direction."""
    random = np.random.default_rng(number)
    curves = {name: np.sort(random.uniform(0.3, 0.9, 3)) for name in ("a", "b", "c", "d")[: 2 + number % 3]}
    results = made.study(curves, sizes=(10, 100, 1000), seeds=2 + number % 3, pictures=150, by_seed=0.02, number=number)
    summary, _ = told(results, 60)
    said = verdict(summary)
    for size, sentence in zip(summary.sizes, said.order, strict=True):
        best, *others = summary.at(size)
        pairs = [pair_of(summary, best.entry, other.entry, size) for other in others]
        ahead = [pair for pair in pairs if pair.significant]
        alike = re.search(r"not distinguishable from (.*?)\.(?= |$)", sentence)
        named = set(re.findall(r"\b([a-d]) \(by", alike[1])) if alike else set()
        assert named == {other.entry.model for other, pair in zip(others, pairs, strict=True) if not pair.significant}
        assert ("significantly above" in sentence) == bool(ahead)
    for sentence in said.crossings:
        found = re.match(r"(\w) overtakes (\w) at about", sentence)
        if found:
            after, before = found.groups()
            leads = {
                model: [
                    pair.size for pair in summary.pairs if pair.significant
                    and {pair.first.model, pair.second.model} == {after, before}
                    and (pair.first if pair.difference > 0 else pair.second).model == model
                ]
                for model in (before, after)
            }  # fmt: skip
            assert leads[before] and leads[after] and min(leads[before]) < max(leads[after])


def test_what_was_not_compared_is_said():
    whole = made.study(FAR, sizes=(100, 10_000), seeds=3, pictures=200)
    cells = [cell for cell in whole.cells if cell.model != "mlp" or cell.seed == 0]
    _, words = told(Results(whole.question | {"models": ["cnn", "vit", "mlp", "lstm"]}, whole.classes, tuple(cells)))
    assert "not tested against mlp for want of common seeds" in words
    assert "Not all that was asked for is there: lstm: not at all; mlp with 100 pictures: not for seed 1, 2" in words
    assert "Where a model has one seed only" in words


def test_learning_rates_at_an_end_and_unequal_flops_are_said():
    right = np.arange(60) < 40
    cells = [
        made.cell(name, 10, 0, right, lr=lr, flops=flops) for name, lr, flops in (("a", 1e-3, 1e9), ("b", 3e-3, 3e9))
    ]
    _, words = told(Results({"rates": [3e-4, 1e-3, 3e-3]}, (), tuple(cells)))
    assert "in 1 of 2 groups" in words and "did not spend the same training FLOPs" in words
    same = [dataclasses.replace(cell, flops=1e9, lr=1e-3) for cell in cells]
    _, words = told(Results({"rates": [3e-4, 1e-3, 3e-3]}, (), tuple(same)))
    assert "groups" not in words and "FLOPs" not in words


def test_levels_of_augmentation_are_told_apart():
    plain = made.study({"cnn": (0.6,), "vit": (0.4,)}, sizes=(100,), seeds=5, pictures=1000)
    better = made.study({"cnn": (0.6,), "vit": (0.7,)}, sizes=(100,), seeds=5, pictures=1000)
    strong = tuple(dataclasses.replace(cell, augment="strong") for cell in better.cells)
    summary, words = told(Results(plain.question, plain.classes, (*plain.cells, *strong)))
    assert "Augmentation none: With 100 pictures cnn has the highest mean" in words
    assert "Augmentation strong: With 100 pictures vit has the highest mean" in words
    assert re.search(r"Augmentation: 1 of 2 differences significant: vit with 100 pictures: \d+\.\d points more with "
                     r"augmentation strong than with none", words)  # fmt: skip
    assert len([pair for pair in summary.pairs if not math.isnan(pair.p)]) == 4


def test_an_empty_study_and_a_single_model():
    assert verdict(summarise(Results({}, ()))).lines() == []
    _, words = told(made.study({"vit": (0.5, 0.6)}, sizes=(10, 20), pictures=100))
    assert "With 10 pictures: vit" in words and "95 % interval" in words and not CLAIMS.search(words)
