"""Probes on features: each against its definition written out, against NumPy, SciPy or scikit-learn."""

import time

import numpy as np
import pytest
import torch

from patchwords.transfer.axes import find_axes
from patchwords.transfer.draws import Draws
from patchwords.transfer.few_shot import GRID, fit_ridge, left_out_errors, targets_of
from patchwords.transfer.interval import Accuracy, t_quantile
from patchwords.transfer.logistic import choose_l2, cross_entropies, fit_logistic, folds_of
from patchwords.transfer.neighbours import vote

SHAPES = [(1000, 192), (300, 192), (193, 192), (192, 192), (100, 192), (10, 192), (50, 7), (3, 1), (1, 4)]


def made(pictures: int, width: int, classes: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of unlike scales around a centre for each class; every class is there when there are enough."""
    random = np.random.default_rng(seed)
    labels = np.arange(pictures) % classes
    centres = random.normal(size=(classes, width))
    features = (centres[labels] * 0.7 + random.normal(size=(pictures, width))) * random.uniform(0.01, 20, width)
    return (features + random.normal(size=width) * 5).astype(np.float32), labels


def standardised(features: np.ndarray, by: np.ndarray) -> np.ndarray:
    return (features - by.astype(np.float64).mean(axis=0)) / (by.astype(np.float64).std(axis=0) + 1e-5)


def with_bias(features: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.hstack([standardised(features, by), np.full((len(features), 1), 100.0)])


@pytest.mark.parametrize(("pictures", "width"), SHAPES)
@pytest.mark.parametrize("l2", [1e-2, 1.0, 1024.0])
def test_ridge_is_the_solution_of_the_normal_equations(pictures, width, l2):
    features, labels = made(pictures, width)
    fitted = fit_ridge(find_axes(features), labels, 10, l2)
    x, y = with_bias(features, features), np.where(np.eye(10)[labels] > 0, 1.0, -1.0)
    solution = np.linalg.solve(x.T @ x + l2 * np.eye(width + 1), x.T @ y)
    asked, _ = made(40, width, seed=1)
    np.testing.assert_allclose(fitted.scores(asked), with_bias(asked, features) @ solution, atol=1e-6)
    scale = features.astype(np.float64).std(axis=0)[:, None] + 1e-5
    np.testing.assert_allclose(fitted.weights * scale, solution[:-1], atol=1e-6)
    dual = x.T @ np.linalg.solve(x @ x.T + l2 * np.eye(pictures), y)
    np.testing.assert_allclose(solution, dual, atol=1e-6)  # what was taken as the measure holds itself


def test_ridge_is_quick():
    """With the penalty chosen, 192 features: under 50 ms of this thread, however busy the machine is."""
    for pictures in (1000, 193, 100, 10):
        features, labels = made(pictures, 192)
        seconds = []
        for _ in range(7):
            began = time.thread_time()
            fit_ridge(find_axes(features), labels, 10)
            seconds.append(time.thread_time() - began)
        assert min(seconds) < 0.05


def test_constant_and_equal_features_do_no_harm():
    features, labels = made(60, 5)
    odd = np.hstack([features, features[:, :1], np.full((60, 1), 3.3, np.float32), np.zeros((60, 1), np.float32)])
    fitted = fit_ridge(find_axes(odd), labels, 10, 1.0)
    assert np.isfinite(fitted.weights).all() and np.abs(fitted.weights[-2:]).max() < 1e-6
    x = with_bias(odd, odd)
    solution = np.linalg.solve(x.T @ x + np.eye(9), x.T @ targets_of(labels, 10))
    np.testing.assert_allclose(fitted.scores(odd), x @ solution, atol=1e-6)
    same = fit_ridge(find_axes(np.ones((20, 4), np.float32)), labels[:20], 10)  # nothing to go by
    assert np.isfinite(same.scores(np.ones((1, 4)))).all()


@pytest.mark.parametrize(("pictures", "width"), [(40, 6), (20, 50)])
def test_left_out_errors_are_those_of_solving_again_without(pictures, width):
    features, labels = made(pictures, width, classes=4)
    targets = targets_of(labels, 4)
    x = with_bias(features, features)
    for l2 in (0.25, 64.0):
        again = []
        for out in range(pictures):
            rest = np.delete(x, out, axis=0)
            gram = rest.T @ rest + l2 * np.eye(width + 1)
            again.append((targets[out] - x[out] @ np.linalg.solve(gram, rest.T @ np.delete(targets, out, axis=0))) ** 2)
        np.testing.assert_allclose(left_out_errors(find_axes(features), targets, l2), again, rtol=1e-6)


def test_the_penalty_is_chosen_by_what_is_left_out():
    features, labels = made(200, 30)
    axes, targets = find_axes(features), targets_of(labels, 10)
    errors = [left_out_errors(axes, targets, l2).mean() for l2 in GRID]
    assert fit_ridge(axes, labels, 10).l2 == GRID[int(np.argmin(errors))]
    noise = np.random.default_rng(2).permutation(labels)
    assert fit_ridge(axes, noise, 10).l2 > fit_ridge(axes, labels, 10).l2  # where nothing is to be learned


@pytest.mark.parametrize(("pictures", "width"), [(400, 12), (60, 100), (20, 3)])
@pytest.mark.parametrize("l2", [100.0, 1.0, 0.01])
def test_logistic_regression_is_that_of_scikit_learn(pictures, width, l2):
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, labels = made(pictures, width, classes=5)
    fitted = fit_logistic(find_axes(features), labels, 5, l2)
    x = standardised(features, features)
    theirs = linear_model.LogisticRegression(C=1 / l2, tol=1e-9, max_iter=20000).fit(x, labels)
    ours, other = fitted.scores(features), theirs.decision_function(x)
    ours, other = (scores - scores.mean(axis=1, keepdims=True) for scores in (ours, other))
    np.testing.assert_allclose(ours, other, atol=2e-3)

    def loss(scores: np.ndarray, weights: np.ndarray) -> float:
        return cross_entropies(scores, labels).sum() + 0.5 * l2 * (weights**2).sum()

    scale = features.astype(np.float64).std(axis=0)[:, None] + 1e-5
    assert loss(ours, fitted.weights * scale) <= loss(other, theirs.coef_) + 1e-8 * pictures


def test_logistic_penalty_is_chosen_by_folds():
    features, labels = made(100, 6)
    axes = find_axes(features)
    l2 = choose_l2(axes, labels, 10)
    fold = np.arange(100) // 10 % 5  # labels take turns: the first of each class, the second of each, ...
    errors = {
        each: sum(held_out(axes, labels, fold == out, each) for out in range(5)) for each in (l2 / 10, l2, l2 * 10)
    }
    assert min(errors, key=errors.__getitem__) == l2


def test_folds_have_even_classes():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [11, 5, 8]))
    counts = np.zeros((3, 5), dtype=int)
    np.add.at(counts, (labels, folds_of(labels, 5)), 1)
    assert counts.sum(axis=1).tolist() == [11, 5, 8] and np.ptp(counts, axis=1).max() <= 1


def held_out(axes, labels, left_out, l2: float) -> float:
    """Cross-entropy of the left out under the answer for the others, found by another optimizer."""
    x, y = torch.from_numpy(axes.places), torch.from_numpy(labels)
    rest = torch.from_numpy(~left_out)
    weights = torch.zeros(x.shape[1], 10, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weights, bias], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure():
        search.zero_grad()
        answers = x[rest] @ weights + bias
        loss = torch.nn.functional.cross_entropy(answers, y[rest], reduction="sum") + l2 / 2 * weights.square().sum()
        loss.backward()
        return loss

    search.step(closure)
    return torch.nn.functional.cross_entropy((x @ weights + bias)[~rest], y[~rest], reduction="sum").item()


def test_one_picture_a_class_leaves_nothing_to_choose_by():
    features, labels = made(10, 192)
    axes = find_axes(features)
    power = np.linalg.eigvalsh(standardised(features, features) @ standardised(features, features).T)[1:].mean()
    assert fit_ridge(axes, labels, 10).l2 == pytest.approx(power) and 192 <= power < 214
    assert fit_logistic(axes, labels, 10).l2 == pytest.approx(power / 10)


@pytest.mark.parametrize("k", [1, 4, 20, 1000])
def test_neighbours_vote_as_written_out(k):
    known, labels = made(70, 9, classes=4)
    asked, _ = made(33, 9, classes=4, seed=5)
    votes = vote(known, labels, 4, asked, k, 0.07)
    for row, each in enumerate(asked.astype(np.float64)):
        likeness = [each @ other / np.linalg.norm(each) / np.linalg.norm(other) for other in known.astype(np.float64)]
        nearest = sorted(range(70), key=lambda i: -likeness[i])[:k]
        weighted, counted = np.zeros(4), np.zeros(4)
        for i in nearest:
            weighted[labels[i]] += np.exp((likeness[i] - max(likeness)) / 0.07)
            counted[labels[i]] += 1
        np.testing.assert_allclose(votes.weighted[row], weighted, rtol=1e-4, atol=1e-6)
        assert (np.floor(votes.counted[row]) == counted).all()
        best = max(range(4), key=lambda label: (counted[label], weighted[label]))
        assert votes.counted[row].argmax() == best


def test_neighbours_in_parts_and_of_nothing(monkeypatch):
    known, labels = made(50, 8)
    asked, _ = made(31, 8, seed=3)
    asked[0] = 0  # no direction at all
    whole = vote(known, labels, 10, asked)
    monkeypatch.setattr("patchwords.transfer.neighbours._ENTRIES", 150)
    parts = vote(known, labels, 10, asked)
    np.testing.assert_allclose(parts.weighted, whole.weighted, rtol=1e-5)
    assert np.isfinite(whole.weighted).all() and whole.counted.sum() == pytest.approx(31 * 20.5)


def test_draws_are_nested_even_and_follow_content_alone():
    labels = np.array([0] * 9 + [1] * 4 + [2] * 6)
    hashes = [f"{number * 7919 % 1000:03d}" for number in range(19)]
    draws = Draws(labels, hashes, ("a", "b", "c"), seed=3)
    for repeat in range(5):
        drawn = {shots: draws.numbers(repeat, shots).tolist() for shots in (1, 3, 5, 100)}
        assert set(drawn[1]) < set(drawn[3]) < set(drawn[5]) < set(drawn[100]) == set(range(19))
        assert [len(set(each)) for each in drawn.values()] == [3, 9, 14, 19]
        assert np.bincount(labels[drawn[3]]).tolist() == [3, 3, 3]
        order = np.random.default_rng(repeat).permutation(19)  # other names, another order of the files
        again = Draws(labels[order], [hashes[i] for i in order], ("a", "b", "c"), seed=3)
        assert order[again.numbers(repeat, 3)].tolist() == drawn[3]
        without = Draws(labels[9:] - 1, hashes[9:], ("b", "c"), seed=3)  # other classes do not matter
        assert (without.numbers(repeat, 3) + 9).tolist() == drawn[3][3:]
    assert draws.short(4) == () and draws.short(5) == ("b",) and draws.short(7) == ("b", "c")
    several = {tuple(Draws(labels, hashes, ("a", "b", "c"), seed).numbers(repeat, 3).tolist())
               for seed in (0, 1) for repeat in range(10)}  # fmt: skip
    assert len(several) > 15


def test_every_picture_is_drawn_equally_often():
    labels, hashes = np.zeros(10, dtype=np.int64), [str(number) for number in range(10)]
    draws = Draws(labels, hashes, ("a",), seed=0)
    counts = np.bincount(np.concatenate([draws.numbers(repeat, 2) for repeat in range(1000)]), minlength=10)
    assert counts.sum() == 2000 and np.abs(counts - 200).max() < 60  # 4.7 standard deviations


def test_interval():
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 3, 4, 5, 9, 10, 29, 100, 999):
        assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)
    values = (0.5, 0.75, 0.625, 0.875)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    accuracy = Accuracy(values)
    assert accuracy.mean == pytest.approx((low + high) / 2) and accuracy.half == pytest.approx((high - low) / 2)
    assert Accuracy((0.5,)).half is None and Accuracy((0.5, 0.5)).half == 0
