"""The numbers of a study against brute force, worked examples and simulations of which the truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from patchwords.study.bootstrap import Bootstrap, interval, resampled
from patchwords.study.budget import accuracy_at, reached_at_equal_flops
from patchwords.study.crossing import find_crossing, slope_weights
from patchwords.study.decomposition import by_majority, squared
from patchwords.study.entry import Entry, entries_of, labels_of, pairs_of
from patchwords.study.results import Results
from patchwords.study.sample import Sample
from patchwords.study.spread import Spread, measure_spread, seed_variances
from patchwords.study.statistics import summarise
from patchwords.study.student import holm, t_bound, t_tail
from tests.study import made

A, B = Entry("a", "scratch", "none"), Entry("b", "scratch", "none")


@pytest.mark.parametrize(
    ("t", "freedom", "two_sided"),
    [(12.7062, 1, 0.05), (4.30265, 2, 0.05), (2.57058, 5, 0.05), (31.5991, 2, 0.001), (1.95996, 1e9, 0.05), (0, 3, 1)],
)
def test_student_by_the_printed_tables(t, freedom, two_sided):
    assert t_tail(t, freedom) == pytest.approx(two_sided, rel=2e-5)
    assert t_tail(-t, freedom) == t_tail(t, freedom)
    if two_sided == 0.05:
        assert t_bound(freedom) == pytest.approx(t, rel=5e-6)


def test_student_by_another_library():
    stats = pytest.importorskip("scipy.stats")
    for freedom, t in itertools.product((0.7, 1, 2.5, 4.4, 30, 999.5), (1e-3, 0.3, 1, 2.8, 9, 50)):
        assert t_tail(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-8)
    assert t_bound(4.4) == pytest.approx(stats.t.ppf(0.975, 4.4), rel=1e-9)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []


def test_holm_rejects_what_its_steps_reject():
    random = np.random.default_rng(0)
    for _ in range(200):
        chances = random.random(6) ** 4
        order, rejected = np.argsort(chances), set()
        for place, number in enumerate(order):  # the step-down procedure as it is written in the paper
            if chances[number] > 0.05 / (6 - place):
                break
            rejected.add(int(number))
        assert {number for number, p in enumerate(holm(chances.tolist())) if p <= 0.05} == rejected


def test_spread_is_the_analysis_of_variance():
    """Mean squares of a table with two factors, by their definition."""
    table = np.random.default_rng(1).random((4, 7)) + np.arange(4)[:, None] + np.arange(7)
    found = measure_spread(table)
    rest = sum(
        (table[s, t] - table[s].mean() - table[:, t].mean() + table.mean()) ** 2 for s in range(4) for t in range(7)
    ) / (3 * 6)
    seeds = 7 * sum((table[s].mean() - table.mean()) ** 2 for s in range(4)) / 3
    pictures = 4 * sum((table[:, t].mean() - table.mean()) ** 2 for t in range(7)) / 6
    assert found.seed_variance == pytest.approx(seeds / 28) and found.least_variance == pytest.approx(rest / 28)
    assert found.picture_variance == pytest.approx((pictures - rest) / 28) and found.freedom == 3
    assert found.shrink == pytest.approx(math.sqrt((pictures - rest) / pictures))


def test_without_pictures_the_test_is_students():
    """Tables that are the same for all pictures: only seeds differ, and everything is the t test of their means."""
    stats = pytest.importorskip("scipy.stats")
    by_seed = np.array([0.02, 0.05, 0.04, 0.01])
    spread = measure_spread(np.repeat(by_seed[:, None], 9, axis=1))
    assert spread.picture_variance == 0
    assert spread.chance == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue, rel=1e-6)
    assert spread.half == pytest.approx(t_bound(3) * by_seed.std(ddof=1) / 2)


def test_p_and_interval_say_the_same():
    table = np.random.default_rng(2).random((3, 50)) - 0.3
    spread = measure_spread(table)
    moved = measure_spread(table - spread.mean + spread.half)
    assert moved.chance == pytest.approx(0.05, rel=1e-6)
    assert measure_spread(table - spread.mean).chance > 0.99


def test_one_seed_and_no_difference():
    alone = measure_spread(np.array([[1.0, 0, 0, 1, 1]]))
    assert alone.freedom == 0 and math.isnan(alone.chance)
    assert alone.half == pytest.approx(1.959964 * math.sqrt(0.3 / 5))
    assert measure_spread(np.zeros((3, 4))).chance == 1.0
    assert measure_spread(np.ones((3, 4))).chance == 0.0


def test_seed_variances_of_a_product_are_found():
    """Entries that spread 3:1:1:2, sizes that spread 4:1: the product is found."""
    random = np.random.default_rng(3)
    of_entry, of_size = {"a": 3.0, "b": 1.0, "c": 1.0, "d": 2.0}, {10: 4.0, 100: 1.0}
    drawn = {
        size: {entry: (wide * far * random.standard_normal(400)).tolist() for entry, wide in of_entry.items()}
        for size, far in of_size.items()
    }
    found = seed_variances(drawn)
    assert found["a", 10].freedom == pytest.approx(399 * 2 * 3 / 5)
    ratio = found["a", 10].value / found["a", 100].value
    assert ratio == pytest.approx(found["d", 10].value / found["d", 100].value) and 12 < ratio < 20
    assert found["a", 10].value > found["d", 10].value > found["b", 10].value
    alone = seed_variances({10: {"a": [0.1, 0.2, 0.4], "b": [0.3, 0.1, 0.2]}})
    assert alone["a", 10].value + alone["b", 10].value == pytest.approx(np.var([-0.2, 0.1, 0.2], ddof=1))
    assert alone["a", 10].freedom == 2
    assert seed_variances({10: {"a": [0.1, 0.2]}, 20: {"a": [0.1], "b": [0.2]}}) == {}


def test_the_bootstrap_draws_what_it_says():
    bootstrap = Bootstrap(4000, 7)
    values = np.random.default_rng(4).random((50, 2))
    moves = bootstrap.pictures(values)
    assert moves.shape == (4000, 2) and abs(moves.mean()) < 2e-3
    assert moves[:, 0].std() == pytest.approx(values[:, 0].std() / math.sqrt(50), rel=0.04)
    normal = bootstrap.seeds((0, 1, 2))
    assert normal.mean(axis=0) == pytest.approx([0] * 3, abs=0.06) and np.cov(normal.T) == pytest.approx(
        np.eye(3), abs=0.08
    )
    assert Bootstrap(10, 7).pictures(values) == pytest.approx(moves[:10], abs=1e-12)
    assert (Bootstrap(10, 7).seeds((0, 1, 2)) == normal[:10]).all()
    assert not (Bootstrap(10, 8).pictures(values) == moves[:10]).any()


def test_resampled_intervals_are_as_wide_as_they_should_be():
    bootstrap = Bootstrap(4000, 0)
    table = (np.random.default_rng(5).random((3, 400)) < 0.6).astype(float)
    spread = measure_spread(table)
    moves = bootstrap.pictures(table.mean(axis=0)[:, None])[:, 0]
    low, high = interval(resampled(spread, bootstrap.seeds((0, 1, 2)), moves))
    assert (high - low) / 2 == pytest.approx(spread.half, rel=0.06)
    assert (high + low) / 2 == pytest.approx(spread.mean, abs=0.1 * spread.half)


def simulated(random, seeds, pictures, by_seed):
    """Return four models of the same true accuracy, 0.5 over all seeds and pictures."""
    hard = random.normal(0, 1, (1, 1, pictures))
    own = random.normal(0, 0.5, (4, 1, pictures))
    chosen = random.normal(0, by_seed, (4, seeds, 1)) + random.normal(0, by_seed / 2, (1, seeds, 1))
    right = hard + own + chosen + random.normal(0, 1, (4, seeds, pictures)) > 0
    cells = [made.cell(f"m{m}", 1, s, right[m, s]) for m in range(4) for s in range(seeds)]
    return Results({}, (), tuple(cells))


@pytest.mark.parametrize(("seeds", "by_seed"), [(2, 0.05), (3, 0.0), (3, 0.3), (5, 0.1)])
def test_intervals_hold_the_truth(seeds, by_seed):
    """95 % intervals hold the true accuracy and the true difference at least about as often, with few seeds too."""
    random, held, met, false = np.random.default_rng(6), 0, 0, 0
    times = 120
    for number in range(times):
        sample = Sample(simulated(random, seeds, 150, by_seed), Bootstrap(200, number))
        first, second = sample.entries[:2]
        low, high = interval(sample.score(first, 1)[1])
        held += low <= 0.5 <= high
        spread, draws = sample.difference(first, second, 1)
        low, high = interval(draws)
        met += low <= 0 <= high
        false += spread.chance <= 0.05
    assert held / times >= 0.90 and met / times >= 0.90  # 3.0 standard errors below 0.95 is 0.89
    assert false / times <= 0.11


def test_a_real_difference_is_found():
    random, found = np.random.default_rng(8), 0
    for number in range(20):
        curves = {"a": (0.60, 0.6), "b": (0.66, 0.6), "c": (0.6, 0.6), "d": (0.6, 0.6)}
        results = made.study(curves, sizes=(1, 2), seeds=3, pictures=2000, number=int(random.integers(1e6)))
        found += summarise(results, 50, number).pairs[0].p <= 0.05
    assert found >= 17


def curves_of(means, sizes, noise=0.0, number=0):
    draws = np.array(means) + noise * np.random.default_rng(number).standard_normal((3000, len(means)))
    return np.array(means, dtype=float), draws, Spread(0.0, (), 0.0, 0.0, 0.0, 0.0, 0)


def test_a_known_crossing_is_found():
    """a(n) - b(n) = 0.1 (3 - log10 n) is 0 at 1,000; straight lines over log n meet it exactly."""
    sizes = (100, 500, 5000, 20_000)
    means, draws, slope = curves_of([0.1 * (3 - math.log10(n)) for n in sizes], sizes, 0.01)
    met = find_crossing(A, B, sizes, means, draws, np.array([1, 0, 0, -1]), slope)
    assert (met.before, met.after, met.state, met.crossings) == (A, B, "seen", 1)
    assert met.size == pytest.approx(1000) and met.low < 1000 < met.high
    sd = math.log10(met.high / met.low) / (2 * 1.96)
    left = (math.log10(5000) - 3) / (math.log10(5000) - math.log10(500))  # of a straight line between two free ends
    assert sd == pytest.approx(0.1 * math.hypot(left, 1 - left), rel=0.08)


def test_a_crossing_is_the_same_from_both_sides():
    sizes = (100, 1000, 10_000)
    means, draws, _ = curves_of([0.03, 0.01, -0.02], sizes, 0.02)
    slope = Spread(-0.025, (), 0.0, 0.0, 0.0, 0.0, 0)
    turned = Spread(0.025, (), 0.0, 0.0, 0.0, 0.0, 0)
    one = find_crossing(A, B, sizes, means, draws, np.array([1, 0, 0]), slope)
    other = find_crossing(B, A, sizes, -means, -draws, np.array([-1, 0, 0]), turned)
    assert one == other and one.state == "unsure" and one.high == math.inf and one.slope == -0.025


def test_no_crossing_several_and_ties():
    sizes = (10, 100, 1000)
    means, draws, slope = curves_of([-0.1, -0.2, -0.05], sizes)
    none = find_crossing(A, B, sizes, means, draws, np.array([-1, -1, -1]), slope)
    assert (none.before, none.after, none.state, none.crossings) == (B, A, "none", 0)
    assert math.isnan(none.size) and math.isnan(none.low)
    means, draws, slope = curves_of([0.1, -0.1, 0.1], sizes)
    twice = find_crossing(A, B, sizes, means, draws, np.array([1, -1, 1]), slope)
    assert twice.crossings == 2 and (twice.before, twice.after) == (B, A) and 100 < twice.size < 1000
    means, draws, slope = curves_of([0.1, 0.0, -0.1], sizes)
    assert find_crossing(A, B, sizes, means, draws, np.zeros(3), slope).size == pytest.approx(100)
    means, draws, slope = curves_of([0.0, 0.0, 0.0], sizes)
    assert find_crossing(A, B, sizes, means, draws, np.zeros(3), slope).state == "none"


def test_slopes_are_least_squares():
    sizes = (50, 400, 900, 10_000)
    values = np.array([0.3, 0.1, 0.5, 0.2])
    assert slope_weights(sizes) @ values == pytest.approx(np.polyfit(np.log10(sizes), values, 1)[0])


def test_the_crossing_of_a_whole_study():
    curves = {"a": (0.7, 0.7, 0.7), "b": (0.5, 0.65, 0.80)}
    met = summarise(made.study(curves, sizes=(100, 1000, 10_000), pictures=3000), 400).crossings[0]
    truth = 10 ** (3 + 0.05 / 0.15)
    assert met.state == "seen" and met.before.model == "a" and met.after.model == "b"
    assert met.low < truth < met.high and met.size == pytest.approx(truth, rel=0.4)
    assert met.slope - met.slope_half < -0.15 < met.slope + met.slope_half


def test_squared_decomposition_by_enumeration():
    """Votes drawn from known chances: bias² and variance of one picture, worked out over all pairs of models."""
    random = np.random.default_rng(9)
    votes, labels = random.integers(0, 3, (5, 40)), random.integers(0, 3, 40)
    right = votes == labels
    bias2, variance = squared(votes, right)
    apart = np.mean([[votes[i, t] != votes[j, t] for i in range(5) for j in range(5) if i != j] for t in range(40)])
    assert variance.value == pytest.approx(apart / 2)
    assert bias2.value + variance.value == pytest.approx(1 - right.mean())
    assert variance.low < variance.value < variance.high
    assert math.isnan(squared(votes[:2], right[:2])[0].low)


def test_squared_decomposition_has_no_bias_of_its_own():
    """One picture, answers with chances 0.5, 0.3, 0.2: for any number of models the mean estimate is the truth."""
    chances, truth = np.array([0.5, 0.3, 0.2]), 1
    variance = (1 - (chances**2).sum()) / 2
    bias2 = ((chances - np.eye(3)[truth]) ** 2).sum() / 2
    for models in (2, 3):
        estimates = np.zeros(2)
        for votes in itertools.product(range(3), repeat=models):
            drawn = np.array(votes)[:, None]
            parts = squared(drawn, drawn == truth)
            estimates += np.prod(chances[list(votes)]) * np.array([part.value for part in parts])
        assert estimates == pytest.approx([bias2, variance])


def test_majority_decomposition_by_enumeration():
    for votes in itertools.product(range(3), repeat=4):
        drawn, truth = np.array(votes)[:, None], 1
        wrong, costs, gains = by_majority(drawn, drawn == truth)
        counts = [votes.count(each) for each in range(3)]
        main = counts.index(max(counts))
        error = sum(vote != truth for vote in votes) / 4
        assert wrong == (main != truth)
        assert costs == pytest.approx(error if main == truth else 0)
        assert gains == pytest.approx(1 - error if main != truth else 0)
        assert error == pytest.approx(wrong + costs - gains)


def test_models_trained_for_bias_and_variance_go_first():
    subset = made.study({"a": (0.5,), "b": (0.6,)}, sizes=(10,), pictures=60)
    extra = [
        made.cell("a", 10, seed, np.arange(60) % 2 == 0, draw="bootstrap", votes=np.arange(60)) for seed in range(4)
    ]
    summary = summarise(Results(subset.question, subset.classes, (*subset.cells, *extra)), 20)
    first, second = summary.decompositions
    assert (first.entry.model, first.draw, first.models, first.variance.value) == ("a", "bootstrap", 4, 0.0)
    assert (second.entry.model, second.draw, second.models) == ("b", "subset", 3)
    assert [score.seeds for score in summary.scores] == [3, 3]  # they are no part of the curves


def test_accuracy_at_equal_flops():
    right = np.arange(100) < 80
    cheap = made.cell("a", 10, 0, right, flops=100.0, samples_seen=50, curve=[(25, 0.3, 1), (50, 0.6, 1)], val_top1=0.6)
    dear = made.cell("b", 10, 0, right, flops=400.0, samples_seen=50, curve=[(10, 0.2, 1), (20, 0.4, 1), (50, 0.9, 1)])
    assert accuracy_at(dear, 80) == pytest.approx(0.2) and accuracy_at(dear, 120) == pytest.approx(0.3)
    assert math.isnan(accuracy_at(dear, 40)) and accuracy_at(dear, 390) == dear.val_top1
    one, two = reached_at_equal_flops(Results({}, (), (cheap, dear)))
    assert (one.entry.model, one.share, one.val_top1, one.budget) == ("a", 1.0, 0.6, 100.0)
    assert (two.entry.model, two.share) == ("b", 0.25) and two.val_top1 == pytest.approx(0.25)


def test_what_is_compared_with_what():
    cells = [made.cell(model, 1, 0, np.ones(3), arm=arm, augment=level) for model, arm in
             (("vit", "scratch"), ("cnn", "scratch"), ("vit", "transfer")) for level in ("none", "strong")]  # fmt: skip
    entries = entries_of(Results({"models": ["vit", "cnn"]}, (), tuple(cells)))
    labels = labels_of(entries)
    assert [labels[entry] for entry in entries] == [
        "vit (none)", "cnn (none)", "vit (strong)", "cnn (strong)", "vit (transfer, none)", "vit (transfer, strong)"
    ]  # fmt: skip
    told = {frozenset((labels[first], labels[second])) for first, second in pairs_of(entries)}
    assert len(told) == 9 and frozenset(("vit (none)", "cnn (strong)")) not in told
    assert (
        frozenset(("vit (none)", "vit (strong)")) in told and frozenset(("vit (none)", "vit (transfer, none)")) in told
    )


def test_a_study_that_is_not_done():
    whole = made.study(pictures=100)
    cells = [cell for cell in whole.cells if not (cell.model == "vit" and cell.size == 500 and cell.seed)]
    cells = [cell for cell in cells if not (cell.model == "mlp" and cell.size == 2000)]
    summary = summarise(Results(whole.question | {"models": [*made.CURVES, "lstm"], "seeds": 5}, (), tuple(cells)), 50)
    assert summary.missing == (
        "lstm: not at all", "3 of 5 seeds", "vit with 500 pictures: not for seed 1, 2",
        "mlp with 2,000 pictures: not at all",
    )  # fmt: skip
    assert len(summary.scores) == 15 and len(summary.pairs) == 21
    alone = [pair for pair in summary.pairs if pair.size == 500 and "vit" in (pair.first.model, pair.second.model)]
    assert {pair.seeds for pair in alone} == {1} and all(math.isnan(pair.p) for pair in alone)
    assert not any(pair.significant for pair in alone)


def test_learning_rates_at_the_end_of_the_grid():
    right = np.arange(50) < 30
    rates = {"low": 3e-4, "middle": 1e-3, "high": 3e-3}
    cells = [made.cell(name, 10, 0, right, lr=rate) for name, rate in rates.items()]
    cells.append(made.cell("tuned", 10, 0, right, lr=3e-5, arm="transfer"))
    asked = {"rates": list(rates.values())}
    assert summarise(Results(asked, (), tuple(cells)), 20).edges == 3
    assert summarise(Results({}, (), tuple(cells)), 20).edges == -1


def test_the_same_results_give_the_same_numbers():
    results = made.study(pictures=200)
    assert repr(summarise(results, 60)) == repr(summarise(results, 60)) != repr(summarise(results, 60, seed=1))


def test_nothing_is_done_yet():
    summary = summarise(Results({"models": ["vit"]}, ("a",)))
    assert summary.scores == summary.pairs == summary.crossings == () and summary.missing == ("vit: not at all",)
