"""Tasks of the trained ideas on synthetic data: the label is what it says, and nothing gives it away."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from patchwords.architecture import MixerConfig, MLPConfig
from patchwords.ideas import early_far, far_world, load_idea, lstm, on_the_fly, prior, shift, universal
from patchwords.ideas.idea import Check, Effort
from patchwords.ideas.learn import ReadAt, digits, new_model, parameters


def chance_of(labels: torch.Tensor, classes: int) -> float:
    """Return by how many standard errors the commonest class is above its share."""
    counts = torch.bincount(labels, minlength=classes).double()
    share = 1 / classes
    return float((counts.max() / len(labels) - share) / math.sqrt(share * (1 - share) / len(labels)))


# on-the-fly


@pytest.mark.parametrize("filled", [0, 2, 17])
def test_recall_is_the_value_beside_the_key(filled):
    pictures, labels = on_the_fly.recall(3, 5, 40, 64, filled)
    assert pictures.shape == (40, on_the_fly.CHANNELS, 1, 64)
    for picture, label in zip(pictures[:, :, 0].transpose(1, 2), labels, strict=True):
        asked, others = picture[0], picture[1:]
        found = [token for token in others if torch.equal(token[: on_the_fly.KEY], asked[: on_the_fly.KEY])]
        assert len(found) == 1
        assert found[0][on_the_fly.KEY : -1].tolist() == [float(v == label) for v in range(on_the_fly.VALUES)]
        assert asked[on_the_fly.KEY :].tolist() == [0.0] * on_the_fly.VALUES + [1.0]
        assert float(others[:, -1].abs().max()) == 0.0
        with_key = others[others.abs().sum(dim=1) > 0]
        assert len(with_key) == (filled or 63)
        values = with_key[:, on_the_fly.KEY : -1].sum(dim=0)
        assert float(values.max() - values.min()) <= 1.0


def test_recall_is_anywhere_and_any_value():
    pictures, labels = on_the_fly.recall(0, 0, 4000, 16)
    keys = pictures[:, : on_the_fly.KEY, 0]
    places = (keys[:, :, 1:] == keys[:, :, :1]).all(dim=1).double().argmax(dim=1)
    assert chance_of(places, 15) < 4
    assert chance_of(labels, on_the_fly.VALUES) < 4
    assert not torch.equal(pictures, on_the_fly.recall(0, 1, 4000, 16)[0])
    assert torch.equal(pictures, on_the_fly.recall(0, 0, 4000, 16)[0])


def test_lessons_have_few_keys_and_many():
    batch = on_the_fly.lessons(0, 64)
    filled = [int((batch(step)[0][0, :, 0, 1:].abs().sum(dim=0) > 0).sum()) for step in range(200)]
    assert min(filled) == 2 and max(filled) >= 60
    few = sum(count < 5 for count in filled) / 200
    assert few == pytest.approx(math.sqrt(math.log(4.5 / 2) / math.log(63 / 2)), abs=0.12)


def test_both_models_of_recall_are_of_one_size():
    sizes = [parameters(new_model(config, 0)) for config in (on_the_fly.VIT, on_the_fly.MIXER)]
    assert abs(sizes[1] / sizes[0] - 1) < 0.01


def test_which_models_read_other_lengths():
    assert not on_the_fly.refuses(ReadAt(new_model(on_the_fly.VIT, 0), 0), 128)
    assert on_the_fly.refuses(ReadAt(new_model(on_the_fly.MIXER, 0), 0), 128)
    assert isinstance(on_the_fly.MIXER, MixerConfig)


def test_a_new_query_looks_at_all_keys_alike():
    model = ReadAt(new_model(on_the_fly.VIT, 0), 0)
    assert on_the_fly.routed(model, 0) == pytest.approx(1 / 64, rel=0.5)


# early-far


def test_only_the_first_corner_shows_the_cue():
    pictures, labels = early_far.corners(0, 0, 2000, 4)
    assert torch.equal(pictures[:, :, 0, 0].argmax(dim=1), labels)
    assert pictures.flatten(1).sum(dim=1).tolist() == [1.0] * 2000
    assert pictures[:, :, 0, 0].sum(dim=1).tolist() == [1.0] * 2000
    assert chance_of(labels, early_far.CUES) < 4


@pytest.mark.parametrize("side", [3, 4])
def test_the_cue_reaches_the_far_corner_with_the_cone(side):
    for depth in range(1, side + 1):
        reached = early_far.sensitivity(side, "local", depth, 0)
        assert (reached > 0) == (depth >= side - 1), depth
    assert early_far.sensitivity(side, "global", 1, 0) > 0


# lstm


def test_the_first_token_is_the_cue_and_alone_is_marked():
    pictures, labels = lstm.sequences(0, 0, 1000, 8)
    tokens = pictures[:, :, 0].transpose(1, 2)
    assert torch.equal(tokens[:, 0, : lstm.CUES].argmax(dim=1), labels)
    assert tokens[:, :, -1].sum(dim=0).tolist() == [1000.0] + [0.0] * 7
    assert (tokens[:, :, : lstm.CUES].sum(dim=2) == 1).all()
    for place in range(1, 8):
        same = float((tokens[:, place, : lstm.CUES].argmax(dim=1) == labels).double().mean())
        assert abs(same - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 1000)


def test_models_of_sequences_are_of_about_one_size():
    sizes = [parameters(lstm.reader(kind, 32, 0)) for kind in ("lstm", "vit")]
    assert 0.9 < sizes[0] / sizes[1] < 1.1


def test_the_derivative_falls_with_the_way():
    near, far = (lstm.sensitivity("lstm", tokens, 0) for tokens in (8, 64))
    assert far < near / 100
    near, far = (lstm.sensitivity("vit", tokens, 0) for tokens in (8, 64))
    assert far > near / 80


# universal


def test_labels_dealt_out_are_the_same_ones_in_another_order():
    labels = digits()[0].labels
    dealt = universal.dealt(labels, 0)
    assert torch.equal(torch.bincount(dealt), torch.bincount(labels))
    assert float((dealt == labels).double().mean()) < 0.15
    assert not torch.equal(dealt, universal.dealt(labels, 1))


# shift


@pytest.mark.parametrize(("down", "right"), [(1, 0), (-2, 0), (0, 4), (0, -3)])
def test_moves_are_those_of_a_larger_picture(down, right):
    images = torch.randint(0, 256, (2, 3, 10, 12), dtype=torch.uint8)
    for move, mode in ((shift.moved_on_background, {"mode": "constant"}), (shift.moved_reflected, {"mode": "reflect"})):
        large = np.pad(images.numpy(), ((0, 0), (0, 0), (8, 8), (8, 8)), **mode)
        expected = np.roll(large, (down, right), axis=(2, 3))[:, :, 8:18, 8:20]
        assert np.array_equal(move(images, down, right).numpy(), expected)


def test_a_frame_keeps_the_digit_and_a_shift_all_of_it():
    train, _ = digits()
    few = train.first(20)
    framed = shift.framed(few)
    assert torch.equal(framed.images[:, :, 4:12, 4:12], few.images)
    assert framed.inputs.shape == (20, 1, 16, 16)
    moved = shift.moved_on_background(framed.images, 4, 0)
    assert torch.equal(moved[:, :, 8:16, 4:12], few.images)
    assert torch.equal(moved.sum(dim=(1, 2, 3)), framed.images.sum(dim=(1, 2, 3)))


def test_consistency_counts_answers_that_stay():
    train, test = (shift.framed(each).first(60) for each in digits())
    model = new_model(MLPConfig(image_size=(16, 16), in_channels=1, dim=16, depth=1), 0)
    torch.nn.init.normal_(model.head.weight)
    same, right = shift.consistency(model, test, shift.moved_on_background)
    with torch.no_grad():
        before = model(test.inputs).argmax(dim=1)
        ways = [(2, 0), (-2, 0), (0, 2), (0, -2)]
        after = [model(test.preprocess.normalize(shift.moved_on_background(test.images, *way))) for way in ways]
    stays = sum(int(a.argmax()) == int(b) for each in after for a, b in zip(each, before, strict=True))
    assert same[1] == pytest.approx(stays / 240)
    assert right[0] == pytest.approx(float((before == test.labels).double().mean()))
    assert shift.consistency(model, test, lambda images, down, right: images)[0] == (1.0,) * 4
    assert len(train) == 60


def test_a_vit_without_positions_does_not_see_a_shift_by_a_patch():
    change, kept = shift.patch_shift(shift.framed(digits()[1]), 0, count=8)
    assert change < 1e-12
    assert kept == 1.0


# prior


def test_the_far_label_is_the_sum_of_the_corners():
    pictures, labels = far_world.far_pictures(1, 0, 400)
    kinds, side = far_world.marks(1), far_world.PATCH
    first, last = (
        torch.einsum("bij,kij->bk", corner, kinds[place]).argmax(dim=1)
        for place, corner in enumerate((pictures[:, 0, :side, :side], pictures[:, 0, -side:, -side:]))
    )
    assert torch.equal((first + last) % far_world.CLASSES, labels)
    for alone in (first, last):
        for number in range(far_world.CLASSES):
            assert chance_of(labels[alone == number], far_world.CLASSES) < 4


def test_the_hint_is_right_as_often_as_it_says():
    pictures, labels = far_world.far_pictures(1, 0, 1000)
    side = far_world.PATCH
    inner = pictures[:, 0, side:-side, side:-side]
    windows = inner.unfold(1, side, 1).unfold(2, side, 1)
    scores = torch.einsum("brcij,kij->bkrc", windows, far_world.marks(1)[2]).amax(dim=(2, 3))
    right = float((scores.argmax(dim=1) == labels).double().mean())
    assert right == pytest.approx(far_world.HINT, abs=0.05)


def test_models_of_the_far_world_see_pictures_of_their_own():
    first, second = (prior.far_batches(0, number, 64) for number in (0, 1))
    own = {picture.numpy().tobytes() for step in range(2) for picture in first(step)[0]}
    others = {picture.numpy().tobytes() for step in range(2) for picture in second(step)[0]}
    assert len(own) == len(others) == 64
    assert not own & others


def test_no_unit_of_the_cnn_sees_two_corners():
    model = prior.far_model("cnn", 0).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda x: x  # its statistics are of the whole map
    picture = torch.randn(1, 1, far_world.SIDE, far_world.SIDE, requires_grad=True)
    tokens, side = model.forward_features(picture), far_world.PATCH
    for place in range(tokens.shape[1]):
        (gradient,) = torch.autograd.grad(tokens[0, place].sum(), picture, retain_graph=True)
        seen = gradient[0, 0] != 0
        assert not (seen[:side, :side].any() and seen[-side:, -side:].any())


def test_bias_and_variance_add_up_to_the_brier_score():
    random = torch.Generator().manual_seed(0)
    probabilities = torch.rand(3, 50, 4, generator=random, dtype=torch.float64).softmax(dim=2)
    labels = torch.randint(4, (50,), generator=random)
    measured = prior.decomposed(probabilities, labels)
    brier, variance = [], []
    for n in range(50):
        truth = [float(c == labels[n]) for c in range(4)]
        brier += [sum((float(p[n, c]) - truth[c]) ** 2 for c in range(4)) for p in probabilities]
        variance.append(sum(float(np.var(probabilities[:, n, c].numpy(), ddof=1)) for c in range(4)))
    assert measured.variance == pytest.approx(np.mean(variance))
    assert measured.bias + measured.variance == pytest.approx(np.mean(brier))
    same = prior.decomposed(probabilities[:1].repeat(2, 1, 1), labels)
    assert same.variance == 0.0


@pytest.mark.parametrize(
    ("lead", "crossing"),
    [
        ([-1.0, 1.0, 2.0], 10.0**1.5),
        ([-1.0, 1.0, 0.0], math.nan),
        ([1.0, -1.0, 3.0], 10.0**2.25),
        ([1.0, 1.0, 1.0], math.nan),
        ([-3.0, -2.0, -1.0], math.nan),
    ],
)
def test_crossing(lead, crossing):
    assert prior.crossing_of((10, 100, 1000), lead) == pytest.approx(crossing, nan_ok=True)


def test_the_lead_of_the_cnn_is_over_the_best_other():
    leads = prior.leads_of_cnn({"cnn": [0.5, 0.4], "vit": [0.4, 0.1], "mlp": [0.1, 0.5]}, 100)
    error = math.sqrt((0.5 * 0.5 + 0.4 * 0.6) / 100)
    assert leads == [pytest.approx(0.1 / error), pytest.approx(-0.1 / error)]


# verdicts


@pytest.mark.slow
@pytest.mark.parametrize("name", ["on-the-fly", "universal", "lstm", "early-far"])
def test_quick_mode_confirms(name):
    result = load_idea(name).run(Effort())
    assert result.verdict == "confirmed", result.as_dict()
    assert all(check.met for check in result.checks)


@pytest.mark.slow
def test_quick_mode_of_shift_qualifies_the_claim(shared_data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATCHWORDS_DATA", str(shared_data))
    result = load_idea("shift").run(Effort())
    missed = [check.name for check in result.checks if not check.met]
    assert missed and all(", 1 px: consistency" in name for name in missed), result.as_dict()
    assert result.verdict == "qualified"


@pytest.mark.slow
def test_quick_mode_of_prior_finds_the_crossing(shared_data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATCHWORDS_DATA", str(shared_data))
    result = load_idea("prior").run(Effort())
    assert all(check.met for check in result.checks if check.name.startswith("far world")), result.as_dict()
    assert 64 < result.figures["far world: pictures at which the ViT overtakes the CNN for good"] < 8192


def test_the_verdict_on_shifts_follows_its_checks():
    def checks(first: float, patch: float) -> list[Check]:
        agreed = {"mlp": (0.5,) * 3 + (0.1,), "vit": (first,) * 3 + (patch,), "cnn": (0.7,) * 4}
        return shift.compared("pictures", agreed, {})

    assert shift.verdict_of_checks(checks(0.6, 0.9)) == "confirmed"
    assert shift.verdict_of_checks(checks(0.4, 0.9)) == "qualified"
    assert shift.verdict_of_checks(checks(0.6, 0.05)) == "refuted"
    digit = shift.compared("digits", {kind: (0.5,) * 4 for kind in shift.NAMES}, {"mlp": (0.9, 0.8, 0.3, 0.1, 0.1)})
    assert digit[-1].met and digit[-1].value == pytest.approx(1 / 3)
