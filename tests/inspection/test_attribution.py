"""Attribution against finite differences, fine steps, loops, and a task whose answer lies in one known patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchwords.errors import ConfigError
from patchwords.inspection.attribution import ask, by_patch
from patchwords.inspection.explanation import METHODS, attribute
from patchwords.inspection.integrated import integrate_gradients
from patchwords.inspection.occlusion import occlude, smallest_window
from patchwords.inspection.results import arrays
from patchwords.inspection.rollout import attention_rollout
from patchwords.inspection.still import still
from tests.inspection import toy
from tests.inspection.tiny import assert_as_found, disturb, pictures, tiny_cnn, tiny_vit

ATTENDING = {
    "cls": dict(pool="cls", num_registers=1),
    "mean": dict(pool="mean", class_token=True),
    "cls+mean": dict(pool="cls+mean"),
    "attention pooling": dict(pool="map", class_token=False),
    "distilled": dict(pool="cls", distillation_token=True),
}


def one(model, images, method, targets=None, **options):
    return attribute(model, images, targets, methods=[method], **options)[0]


def target_logits(model, images, targets):
    with torch.no_grad():
        return model(images).gather(1, torch.as_tensor(targets)[:, None])[:, 0]


@pytest.mark.parametrize("build", [tiny_vit, tiny_cnn])
def test_gradients_are_finite_differences(build):
    model = build().double()
    image, targets, step = pictures(model, 1).double(), [2], 1e-6
    slopes = torch.zeros_like(image)
    for place in np.ndindex(*image.shape):
        up, down = image.clone(), image.clone()
        up[place] += step
        down[place] -= step
        slopes[place] = (target_logits(model, up, targets) - target_logits(model, down, targets))[0] / (2 * step)
    np.testing.assert_allclose(one(model, image, "gradient", targets).maps, slopes.abs().sum(dim=1), atol=1e-5)
    colour = torch.tensor([0.1, -0.2, 0.3])
    expected = (slopes * (image - colour[:, None, None])).sum(dim=1)
    found = one(model, image, "gradient_input", targets, baseline=colour)
    np.testing.assert_allclose(found.maps, expected, atol=1e-5)
    assert found.cell_px == (1, 1) and found.targets.tolist() == targets and found.unit == "logits"


@pytest.mark.parametrize("build", [tiny_vit, tiny_cnn])
def test_integrated_gradients_are_complete_and_equal_many_small_steps(build):
    model = build().double()
    images = pictures(model, 3).double()
    found = one(model, images, "integrated_gradients", options={"integrated_gradients": {"tolerance_share": 1e-3}})
    assert (np.abs(found.gap) <= 1e-3 * np.maximum(np.abs(found.logits - found.baseline_logits), 1)).all()
    difference = target_logits(model, images, found.targets) - target_logits(model, images * 0, found.targets)
    np.testing.assert_allclose(found.maps.sum(axis=(1, 2)) - found.gap, difference, atol=1e-5)
    steps, total = 400, torch.zeros_like(images)
    for number in range(steps):
        x = (images * (number + 0.5) / steps).requires_grad_()
        logits = model(x).gather(1, torch.from_numpy(found.targets)[:, None]).sum()
        total += torch.autograd.grad(logits, x)[0] * images / steps
    largest = np.abs(found.maps).max()
    np.testing.assert_allclose(found.maps, total.sum(dim=1), atol=2e-2 * largest)


def test_steps_go_where_they_are_needed_and_a_gap_that_stays_is_told():
    model = tiny_vit()
    with torch.no_grad():
        model.patch_embed.proj.weight.mul_(20)  # nearly all happens close to the baseline
    images = pictures(model, 2)
    rough = integrate_gradients(ask(model, images), max_steps=5, tolerance_share=1e-3)
    fine = integrate_gradients(ask(model, images), tolerance_share=1e-3)
    assert rough.passes == 10 < fine.passes <= 512
    assert (np.abs(fine.gap) < 0.02).all() and np.abs(rough.gap).max() > 10 * np.abs(fine.gap).max()
    np.testing.assert_allclose(rough.maps.sum(axis=(1, 2)) - rough.logits + rough.baseline_logits, rough.gap, atol=1e-4)
    with pytest.raises(ConfigError, match="steps"):
        integrate_gradients(ask(model, images), max_steps=4)


@pytest.mark.parametrize("window", [1, 2])
def test_occlusion_covers_one_window_at_a_time(window):
    model = tiny_vit()
    images, baseline = pictures(model, 2), torch.full((3, 12, 8), 0.25)
    found = occlude(ask(model, images, [1, 4], baseline), window=window, batch_size=5)
    before = target_logits(model, images, [1, 4])
    for row in range(0, 3, window):
        for column in range(0, 4, window):
            covered = images.clone()
            covered[:, :, 4 * row : 4 * (row + window), 2 * column : 2 * (column + window)] = 0.25
            loss = (before - target_logits(model, covered, [1, 4])).numpy()
            part = found.maps[:, row : row + window, column : column + window]
            np.testing.assert_allclose(part.sum(axis=(1, 2)), loss, atol=1e-5)
            assert np.ptp(part, axis=(1, 2)).max() < 1e-6
    assert found.cell_px == (4, 2)
    assert (smallest_window((14, 14)), smallest_window((8, 8)), smallest_window((3, 200))) == (2, 1, 4)


def recorded(model, image, target):
    record, x = {}, image.clone().requires_grad_()
    logit = model(x, record)[0, target]
    return record, logit


@pytest.mark.parametrize("family", ATTENDING)
def test_gradient_rollout_by_loops(family):
    model = tiny_vit(**ATTENDING[family]).double()
    image = pictures(model, 1).double()
    record, logit = recorded(model, image, 3)

    def positive(name):
        (gradient,) = torch.autograd.grad(logit, record[name], retain_graph=True, allow_unused=True)
        heads = [(gradient[0, head] * record[name][0, head]).clamp(min=0) for head in range(2)]
        return (sum(heads) / 2).detach().numpy()

    tokens = record["embed"].shape[1]
    relevance = np.eye(tokens)
    for layer in range(2):
        relevance = relevance + positive(f"block{layer:02d}/attn/weights") @ relevance
    gained, prefix = relevance - np.eye(tokens), model.num_prefix_tokens
    if family == "attention pooling":
        read = (positive("pool/weights") @ relevance)[0]
    else:
        rows = {"cls": [[0]], "distilled": [[0, 1]], "mean": [range(prefix, tokens)]}
        rows = rows.get(family, [[0], range(prefix, tokens)])
        read = sum(gained[list(each)].mean(axis=0) for each in rows)
    found = one(model, image, "gradient_rollout", [3])
    np.testing.assert_allclose(found.maps[0].ravel(), read[prefix:], rtol=1e-5, atol=1e-9)
    assert found.maps.max() > 0 and found.cell_px == (4, 2)


@pytest.mark.parametrize("family", ["cls", "mean", "cnn"])
def test_grad_cam_by_loops(family):
    model = (tiny_cnn() if family == "cnn" else tiny_vit(**ATTENDING[family])).double()
    images = pictures(model, 4).double()
    found = one(model, images, "grad_cam", [0, 1, 2, 3])
    assert found.maps.max() > 0
    for number, target in enumerate(range(4)):
        record, logit = recorded(model, images[number : number + 1], target)
        tokens = record["encoded" if family == "cnn" else "block00/+mlp"]
        gradient = torch.autograd.grad(logit, tokens)[0][0, model.num_prefix_tokens :]
        values = tokens[0, model.num_prefix_tokens :].detach()
        expected = [max(0.0, sum(gradient[:, d].mean() * v[d] for d in range(len(v))).item()) for v in values]
        np.testing.assert_allclose(found.maps[number].ravel(), expected, rtol=1e-5, atol=1e-9)


def test_every_method_in_one_call_repeatable_and_the_model_left_alone():
    model = tiny_vit(dropout=0.5)
    images, steps = pictures(model, 5), []
    before = disturb(model)
    first = attribute(model, images, progress=lambda *done: steps.append(done))
    with torch.inference_mode():
        second = attribute(model, images, [int(each) for each in first[0].targets])
    assert_as_found(model, before)
    assert tuple(each.method for each in first) == METHODS
    assert steps[-1][0] == steps[-1][1] and steps == sorted(steps)
    for a, b in zip(first, second, strict=True):
        assert a.maps.dtype == np.float32 and a.maps.tobytes() == b.maps.tobytes(), a.method
        assert a.patches.shape == (5, 3, 4) and len(a.rows()) == 60
        np.testing.assert_array_equal(a.targets, model.eval()(images).argmax(dim=1))
        assert "maps" in arrays(a)


def test_a_model_is_held_still_and_put_back_even_after_a_fault():
    model = tiny_vit(dropout=0.5)
    before = disturb(model)
    with pytest.raises(ZeroDivisionError), torch.no_grad(), still(model):
        assert torch.is_grad_enabled() and not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())  # no time spent on their gradients
        _ = 1 / 0
    assert_as_found(model, before)


def test_a_cnn_is_asked_all_but_the_rollout():
    model = tiny_cnn()
    found = attribute(model, pictures(model))
    assert [each.method for each in found] == [name for name in METHODS if name != "gradient_rollout"]
    assert all(each.patches.shape == (3, 6, 8) for each in found)
    with pytest.raises(ConfigError, match="no attention"):
        one(model, pictures(model), "gradient_rollout")


def test_questions_that_cannot_be_asked():
    model = tiny_vit()
    images = pictures(model)
    for wrong in ([5, 0, 0], [-1, 0, 0], [1, 2]):
        with pytest.raises(ConfigError, match="0 to 4"):
            attribute(model, images, wrong)
    with pytest.raises(ConfigError, match="grad_cam"):
        attribute(model, images, methods=["gradcam"])
    with pytest.raises(ConfigError, match="baseline"):
        attribute(model, images, baseline=torch.zeros(2))
    with pytest.raises(ConfigError, match="options"):
        attribute(model, images, options={"oclusion": {}})
    for headless in (tiny_vit(num_classes=0), tiny_vit(pool="none")):
        with pytest.raises(ConfigError, match="vector of classes"):
            attribute(headless, images)


def test_maps_are_summed_over_patches():
    maps = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    np.testing.assert_array_equal(by_patch(maps, (1, 1), (2, 3)), [[[24, 42], [96, 114]]])
    np.testing.assert_array_equal(by_patch(maps, (2, 3), (2, 3)), maps)


SEARCHING = ("integrated_gradients", "gradient_rollout", "gradient", "occlusion")


@pytest.mark.parametrize("pool", ["class_token", "mean"])
def test_where_the_answer_lies_in_one_known_patch(pool, request):
    """Rollout and attribution put more than 5 times the uniform mass there; without the top patch the answer flips."""
    model, known = request.getfixturevalue(f"answering_by_{pool}"), toy.draw(50, 7)
    each, patches = np.arange(50), toy.GRID**2
    said = model(known.images).argmax(dim=1)
    assert (said == known.labels).float().mean() > 0.97
    maps = {found.method: found.patches for found in attribute(model, known.images, known.labels, methods=SEARCHING)}
    maps["rollout"] = attention_rollout(model, known.images).maps[-1]
    for method, found in maps.items():
        mass = np.maximum(found.reshape(50, -1), 0)
        assert (mass[each, known.where] / mass.sum(axis=1)).mean() > 5 / patches, method
        top = mass.argmax(axis=1)
        without = known.images.clone().view(50, toy.GRID, toy.PATCH, toy.GRID, toy.PATCH)
        without[each, top // toy.GRID, :, top % toy.GRID] = 0
        flips = (model(without.view_as(known.images)).argmax(dim=1) != said).float().mean()
        if method in ("rollout", "integrated_gradients", "occlusion"):
            assert flips > 0.8, method
