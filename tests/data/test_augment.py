"""Augmentation: the same bits in any batch, and each change held to Pillow, a loop or a formula."""

from __future__ import annotations

import hashlib
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from patchwords.config import AugmentConfig
from patchwords.data import augment_ops as ops
from patchwords.data.augment import Augment, gaussian, random_boxes
from patchwords.data.levels import AUGMENT_LEVELS, with_level
from patchwords.data.randaugment import OPERATIONS
from patchwords.errors import ConfigError

GOLDEN = Path(__file__).parents[1] / "golden" / "augment.json"

CONFIGS = {
    "none": {},
    "shift": {"crop": "shift", "shift": 4},
    "flip": {"flip": True},
    "shift_flip": {"crop": "shift", "shift": 4, "flip": True},
    "random_resized": {"crop": "random_resized"},
    "randaugment": {"randaugment_layers": 2, "randaugment_magnitude": 10.0},
    "randaugment_strong": {"randaugment_layers": 3, "randaugment_magnitude": 20.0},
    "three_augment": {"three_augment": True},
    "color_jitter": {"color_jitter": 0.4},
    "erasing": {"erasing": 0.5},
    "all": {
        "crop": "random_resized",
        "flip": True,
        "randaugment_layers": 1,
        "randaugment_magnitude": 9.0,
        "three_augment": True,
        "color_jitter": 0.3,
        "erasing": 0.25,
    },
}


def pictures(count: int, channels: int = 3, rows: int = 32, columns: int = 32) -> torch.Tensor:
    """Return smooth waves with some noise, different in each picture; whole-number arithmetic only."""
    y, x = np.arange(rows)[:, None], np.arange(columns)[None]
    numbers = np.arange(count * channels).reshape(count, channels, 1, 1)
    wave = np.abs((x * (5 + numbers % 7) + y * (3 + numbers % 5) + numbers * 31) % 400 - 200)
    noise = (x * 7919 + y * 104729 + numbers * 1299709) % 37
    return torch.from_numpy(np.clip(wave + noise, 0, 255).astype(np.uint8))


def augment(name: str, seed: int = 3) -> Augment:
    return Augment(AugmentConfig(**CONFIGS[name]), seed)


def pillow(picture: torch.Tensor) -> Image.Image:
    return Image.fromarray(picture.permute(1, 2, 0).numpy())


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


# the whole


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_result_does_not_depend_on_the_batch(name, channels):
    images, ids = pictures(128, channels, 32, 24), np.arange(128) * 37 + 5
    epoch = np.arange(128) % 3
    whole = augment(name)(images, epoch, ids)
    assert whole.dtype == torch.uint8 and whole.shape == images.shape
    for size, stop in ((1, 40), (7, 128), (50, 128)):
        parts = [slice(start, min(start + size, stop)) for start in range(0, stop, size)]
        again = torch.cat([augment(name)(images[p], epoch[p], ids[p]) for p in parts])
        assert torch.equal(again, whole[:stop]), f"batches of {size}"
    order = np.random.default_rng(0).permutation(128)
    assert torch.equal(augment(name)(images[order], epoch[order], ids[order]), whole[order])


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "none"])
def test_result_depends_on_seed_epoch_and_sample(name):
    images, ids = pictures(1).expand(64, -1, -1, -1), np.arange(64)
    once = augment(name)(images, 0, ids)
    assert torch.equal(once, augment(name)(images, 0, ids))
    assert not torch.equal(once, augment(name)(images, 1, ids))
    assert not torch.equal(once, augment(name)(images, 0, ids + 64))
    assert not torch.equal(once, augment(name, seed=4)(images, 0, ids))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (8, 8), (1, 40)])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_smallest_pictures_are_fine(name, rows, columns):
    images = pictures(40, 1, rows, columns)
    changed = augment(name)(images, 0, np.arange(40))
    assert changed.shape == images.shape and changed.dtype == torch.uint8


def test_given_pictures_are_not_written_to():
    for name in CONFIGS:
        images = pictures(32)
        augment(name)(images, 0, np.arange(32))
        assert torch.equal(images, pictures(32)), name


def test_results_stay_what_they_are():
    # a change here means that no run of an earlier version can be gone on with
    images, ids = pictures(64), np.arange(64)
    found = {name: hashlib.sha256(augment(name)(images, 2, ids).numpy().tobytes()).hexdigest()[:16] for name in CONFIGS}
    assert found == json.loads(GOLDEN.read_text())


def test_nothing_on_changes_nothing():
    images = pictures(8)
    assert torch.equal(augment("none")(images, 0, np.arange(8)), images)


@pytest.mark.parametrize(("name", "least"), [("shift_flip", 10_000), ("randaugment", 1_500), ("random_resized", 1_500)])
def test_is_fast_on_pictures_of_32_pixels(name, least):
    images, ids, change = pictures(128), np.arange(128), augment(name)
    took, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)  # several would spin where a core is busy, which counts as time of the process
    for _ in range(8):
        start = time.process_time()
        change(images, 0, ids)
        took.append(time.process_time() - start)
    torch.set_num_threads(threads)
    assert 128 / min(took) > least


# geometry


def test_shift_is_a_window_of_the_mirrored_picture():
    images = pictures(600, 1, 9, 12)
    moved = augment("shift")(images, 0, np.arange(600))
    places = set()
    for before, after in zip(images[:, 0].numpy(), moved[:, 0].numpy(), strict=True):
        padded = np.pad(before, 4, mode="reflect")
        found = [(y, x) for y in range(9) for x in range(9) if (padded[y : y + 9, x : x + 12] == after).all()]
        assert found
        places.update(found)
    assert len(places) == 81  # every move from -4 to 4 along both axes


def test_shift_larger_than_the_picture_stays_inside():
    images = pictures(50, 3, 3, 5)
    moved = Augment(AugmentConfig(crop="shift", shift=100), 0)(images, 0, np.arange(50))
    for before, after in zip(images, moved, strict=True):
        assert set(after[0].flatten().tolist()) <= set(before[0].flatten().tolist())


def test_two_epochs_in_a_row_show_both_sides():
    ids = np.arange(1000)
    flips = [augment("flip").flips(epoch, ids) for epoch in range(4)]
    assert all((one ^ other).all() for one, other in zip(flips, flips[1:], strict=False))
    mixed = augment("flip").flips(np.repeat([0, 3], 500), ids)  # an epoch for each picture
    assert (mixed == np.concatenate([flips[0][:500], flips[3][500:]])).all()


def test_flip_mirrors_half_of_the_pictures():
    images = pictures(1000, 1, 4, 5)
    flipped = augment("flip")(images, 0, np.arange(1000))
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert 440 < mirrored.sum() < 560


def test_boxes_are_inside_and_of_the_area_and_ratio_asked_for():
    count = 4000
    draws = np.random.default_rng(0).random((count, 22))
    height, width = np.full(count, 300), np.full(count, 400)
    top, left, tall, wide = random_boxes(height, width, (0.2, 0.6), (0.5, 2.0), draws).T
    assert (top >= 0).all() and (left >= 0).all() and (top + tall <= 300).all() and (left + wide <= 400).all()
    share, ratio = tall * wide / 120_000, wide / tall
    assert share.min() > 0.195 and share.max() < 0.605 and abs(share.mean() - 0.4) < 0.02
    assert ratio.min() > 0.49 and ratio.max() < 2.02
    assert (top + tall == 300).any() and (top == 0).any()


def test_box_that_never_fits_is_the_largest_of_an_allowed_ratio_in_the_centre():
    draws = np.full((1, 22), 0.5)
    box = random_boxes(np.array([100]), np.array([1000]), (1.0, 1.0), (0.5, 2.0), draws)
    assert box.tolist() == [[0, 400, 100, 200]]
    assert random_boxes(np.array([1]), np.array([1]), (0.08, 1.0), (0.75, 1.3), draws).tolist() == [[0, 0, 1, 1]]


def test_crop_box_at_decoding_is_that_of_the_batch():
    change, ids = augment("random_resized"), np.arange(20)
    sizes = np.array([[300 + i, 500 - 9 * i] for i in ids])
    together = change._boxes(sizes[:, 0], sizes[:, 1], np.full(20, 6), ids)
    assert [change.crop_box(*sizes[i].tolist(), 6, i) for i in ids.tolist()] == [tuple(b) for b in together.tolist()]
    assert augment("shift").crop_box(30, 40, 0, 0) == (0, 0, 30, 40)
    for told in ([], [tuple(size) for size in sizes], [tuple(size) if i % 3 else None for i, size in enumerate(sizes)]):
        boxes = change.crop_boxes(np.full(20, 6), ids, told)
        assert [box(*size) for box, size in zip(boxes, sizes.tolist(), strict=True)] == list(
            map(tuple, together.tolist())
        )


def test_pictures_cropped_at_decoding_are_not_cropped_again():
    images = pictures(8)
    assert torch.equal(augment("random_resized")(images, 0, np.arange(8), cropped=True), images)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crop_resize_is_that_of_pillow_to_one_level(interpolation):
    images = pictures(40, 3, 20, 28)
    rng = np.random.default_rng(1)
    tall, wide = rng.integers(1, 21, 40), rng.integers(1, 29, 40)
    top, left = (rng.random(40) * (21 - tall)).astype(int), (rng.random(40) * (29 - wide)).astype(int)
    boxes = torch.from_numpy(np.stack([top, left, tall, wide], axis=1))
    cropped = ops.crop_resize(images, boxes, interpolation)
    for picture, (y, x, rows, columns), found in zip(images, boxes.tolist(), cropped, strict=True):
        part = pillow(picture[:, y : y + rows, x : x + columns])
        wanted = tensor(part.resize((28, 20), Image.Resampling[interpolation.upper()]))
        assert (found.int() - wanted.int()).abs().max() <= 1
    whole = torch.tensor([[0, 0, 20, 28]]).expand(40, -1)
    assert torch.equal(ops.crop_resize(images, whole, interpolation), images)


def test_warp_takes_the_nearest_pixel_and_fills_with_grey():
    images = pictures(6, 2 + 1, 7, 9)
    matrices = torch.from_numpy(np.random.default_rng(2).normal(size=(6, 6)).astype(np.float32)) * 0.4
    matrices[:, 0] += 1
    matrices[:, 4] += 1
    found = ops.warp(images, matrices)
    for b in range(6):
        a, b_, c, d, e, f = matrices[b].double().tolist()
        for y in range(7):
            for x in range(9):
                column, row = math.floor(a * x + b_ * y + c + 0.5), math.floor(d * x + e * y + f + 0.5)
                inside = 0 <= column < 9 and 0 <= row < 7
                wanted = images[b, :, row, column].tolist() if inside else [128] * 3
                assert found[b, :, y, x].tolist() == wanted


def test_erasing_makes_boxes_grey_as_often_as_asked():
    images = torch.zeros(2000, 1, 20, 20, dtype=torch.uint8)
    erased = augment("erasing")(images, 0, np.arange(2000))
    hit = (erased == 128).flatten(1)
    assert set(erased.unique().tolist()) == {0, 128}
    assert 0.45 < hit.any(1).float().mean() < 0.55
    share = hit[hit.any(1)].float().mean(1)
    assert share.min() > 0.01 and share.max() < 0.36
    for picture in erased[hit.any(1)][:100, 0]:
        rows, columns = (picture == 128).any(1), (picture == 128).any(0)
        assert (picture == 128).sum() == rows.sum() * columns.sum()  # one full box


# colours, against Pillow


FACTORS = (0.0, 0.1, 0.5, 1.0, 1.9, 2.8)
EXACT = {
    "invert": (lambda x, a: ops.invert(x), lambda i, a: ImageOps.invert(i), (0,)),
    "posterize": (ops.posterize, lambda i, a: ImageOps.posterize(i, int(a)), (1, 4, 6, 8)),
    "solarize": (ops.solarize, lambda i, a: ImageOps.solarize(i, a), (0, 100, 128, 256)),
    "equalize": (lambda x, a: ops.equalize(x), lambda i, a: ImageOps.equalize(i), (0,)),
    "color": (ops.saturate, lambda i, a: ImageEnhance.Color(i).enhance(a), FACTORS),
    "contrast": (ops.contrast, lambda i, a: ImageEnhance.Contrast(i).enhance(a), FACTORS),
    "brightness": (ops.brightness, lambda i, a: ImageEnhance.Brightness(i).enhance(a), FACTORS),
    "sharpness": (ops.sharpen, lambda i, a: ImageEnhance.Sharpness(i).enhance(a), FACTORS),
}


@pytest.mark.parametrize("name", EXACT)
def test_colour_operation_is_that_of_pillow(name):
    ours, theirs, amounts = EXACT[name]
    images = torch.cat([pictures(10, 3, 30, 41), torch.full((1, 3, 30, 41), 77, dtype=torch.uint8)])
    images[1] //= 5  # dark
    images[2] = images[2] // 2 + 128  # bright
    for amount in amounts:
        found = ours(images, torch.full((11,), float(amount)))
        wanted = torch.stack([tensor(theirs(pillow(picture), amount)) for picture in images])
        assert torch.equal(found, wanted), amount


def test_autocontrast_is_that_of_pillow_to_one_level():
    # Pillow's float arithmetic can end one below the whole number that is meant
    images = torch.cat([pictures(10, 3, 30, 41), torch.full((1, 3, 30, 41), 77, dtype=torch.uint8)])
    images[1] = images[1] // 3 + 40
    found = ops.autocontrast(images)
    wanted = torch.stack([tensor(ImageOps.autocontrast(pillow(picture))) for picture in images])
    assert (found.int() - wanted.int()).abs().max() <= 1
    assert found[1].amin((1, 2)).tolist() == [0, 0, 0] and found[1].amax((1, 2)).tolist() == [255, 255, 255]


def test_grey_is_that_of_pillow():
    images = pictures(6)
    wanted = [torch.from_numpy(np.array(pillow(picture).convert("L"))) for picture in images]
    assert torch.equal(ops.grey(images)[:, 0], torch.stack(wanted))
    assert torch.equal(ops.grey(images[:, :1]), images[:, :1])


def test_solarize_add_lifts_the_dark_half():
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    wanted = [min(v + 110, 255) if v < 128 else v for v in range(256)]
    assert ops.solarize_add(values, torch.tensor([110.0])).flatten().tolist() == wanted


def test_amounts_are_taken_picture_by_picture():
    images, factors = pictures(4), torch.tensor([0.2, 1.0, 1.5, 3.0])
    for change in (ops.brightness, ops.contrast, ops.saturate, ops.sharpen):
        together = change(images, factors)
        each = [change(images[i : i + 1], factors[i : i + 1]) for i in range(4)]
        assert torch.equal(together, torch.cat(each))
        assert torch.equal(together[1], images[1])  # a factor of 1


def test_sharpness_leaves_pictures_without_inner_pixels():
    images = pictures(2, 3, 2, 9)
    assert torch.equal(ops.sharpen(images, torch.tensor([0.1, 2.0])), images)


def test_blur_is_a_gaussian():
    images, sigma = pictures(3, 3, 12, 15), np.array([0.1, 0.75, 2.0])
    found = ops.blur(images, gaussian(sigma, 6))
    assert torch.equal(found[0], images[0])
    for picture, s, got in zip(images.double(), sigma, found, strict=True):
        kernel = torch.exp(-0.5 * (torch.arange(-6, 7).double() / s) ** 2)
        kernel = (kernel[:, None] * kernel) / kernel.sum() ** 2
        padded = torch.nn.functional.pad(picture[None], (6, 6, 6, 6), mode="replicate")
        wanted = torch.nn.functional.conv2d(padded.transpose(0, 1), kernel[None, None])[:, 0]
        assert (got - wanted).abs().max() < 1.0


def test_three_augment_is_grey_solarized_or_blurred():
    images = pictures(1).expand(300, -1, -1, -1)
    changed = augment("three_augment")(images, 0, np.arange(300))
    grey = (changed == ops.grey(images)).flatten(1).all(1)
    solarized = (changed == ops.solarize(images, torch.full((300,), 128.0))).flatten(1).all(1)
    assert 70 < grey.sum() < 130 and 70 < solarized.sum() < 130
    rest = changed[~grey & ~solarized].float()
    roughness = (rest.diff(dim=3).abs().mean((1, 2, 3)) / images[:1].float().diff(dim=3).abs().mean()).tolist()
    assert max(roughness) <= 1.01 and min(roughness) < 0.95


def test_color_jitter_stays_within_its_share():
    images = torch.full((500, 3, 4, 4), 100, dtype=torch.uint8)  # without contrast and colour: brightness is left
    found = augment("color_jitter")(images, 0, np.arange(500))[:, 0, 0, 0]
    assert found.min() >= 60 and found.max() <= 140
    assert found.min() < 65 and found.max() > 135


# RandAugment

BIG_VISION = (
    "AutoContrast, Equalize, Invert, Rotate, Posterize, Solarize, Color, Contrast, Brightness, Sharpness, "
    "ShearX, ShearY, TranslateX, TranslateY, Cutout, SolarizeAdd"
)


def test_operations_are_those_of_big_vision():
    assert ", ".join(name.title().replace("_", "") for name in OPERATIONS) == BIG_VISION.replace("AutoC", "Autoc")


def test_operations_are_drawn_with_equal_chances():
    single = torch.zeros(1, 1, 24, 24, dtype=torch.uint8)
    images = (single + pictures(1, 1, 24, 24)).expand(4000, -1, -1, -1)
    change = Augment(AugmentConfig(randaugment_layers=1, randaugment_magnitude=4.0), 0)
    inverted = (change(images, 0, np.arange(4000)) == 255 - images).flatten(1).all(1).sum()
    assert abs(inverted - 4000 / 16) < 60


@pytest.mark.parametrize(
    ("name", "magnitude", "wanted"),
    [
        ("posterize", 10.0, lambda x: x & 0xF0),
        ("posterize", 15.0, lambda x: x & 0xFC),
        ("posterize", 0.0, lambda x: x & 0x80),
        ("posterize", 30.0, lambda x: x),
        ("solarize", 5.0, lambda x: torch.where(x < 128, x, 255 - x)),
        ("solarize", 15.0, lambda x: x),
        ("brightness", 5.0, lambda x: x),
        ("color", 5.0, lambda x: x),
        ("sharpness", 5.0, lambda x: x),
        ("contrast", 5.0, lambda x: x),
        ("rotate", 0.0, lambda x: x),
        ("shear_x", 0.0, lambda x: x),
        ("translate_y", 0.0, lambda x: x),
        ("cutout", 0.0, lambda x: x),
    ],
)
def test_magnitude_means_what_it_does_in_big_vision(name, magnitude, wanted):
    images = pictures(5)
    assert torch.equal(OPERATIONS[name](images, magnitude, np.full((5, 3), 0.3)), wanted(images))


def test_translation_of_224_pixels_is_100_at_magnitude_10_to_either_side():
    images = pictures(2, 1, 224, 224)
    draws = np.array([[0.1, 0, 0], [0.9, 0, 0]])
    left, right = OPERATIONS["translate_x"](images, 10.0, draws)
    assert torch.equal(left[:, :, 100:], images[0][:, :, :-100]) and (left[:, :, :100] == 128).all()
    assert torch.equal(right[:, :, :-100], images[1][:, :, 100:]) and (right[:, :, -100:] == 128).all()
    up = OPERATIONS["translate_y"](images[1:], 5.0, draws[1:])
    assert torch.equal(up[0, :, :-50], images[1][:, 50:]) and (up[0, :, -50:] == 128).all()


def test_shear_keeps_the_first_line_and_moves_the_others():
    images = pictures(1, 1, 32, 32)
    sheared = OPERATIONS["shear_x"](images, 10.0, np.array([[0.9, 0, 0]]))
    for y in range(32):
        move = math.floor(0.3 * y + 0.5)
        assert torch.equal(sheared[0, 0, y, : 32 - move], images[0, 0, y, move:])


def test_rotation_is_that_of_pillow():
    images = pictures(2, 3, 41, 30)
    found = OPERATIONS["rotate"](images, 10.0, np.array([[0.1, 0, 0], [0.9, 0, 0]]))
    for picture, angle, got in zip(images, (-30, 30), found, strict=True):
        wanted = tensor(pillow(picture).rotate(angle, Image.Resampling.NEAREST, fillcolor=(128, 128, 128)))
        assert (got != wanted).float().mean() < 0.01  # ties of the nearest pixel


def test_cutout_hole_has_its_size_and_may_hang_over_the_border():
    images = torch.zeros(200, 1, 224, 224, dtype=torch.uint8)
    draws = np.random.default_rng(0).random((200, 3))
    holes = (OPERATIONS["cutout"](images, 10.0, draws) == 128).flatten(1).sum(1)
    assert holes.max() == 80 * 80
    assert holes.min() < 80 * 80


def test_levels_are_those_of_augreg():
    figures = {name: tuple(level.values()) for name, level in AUGMENT_LEVELS.items()}
    assert figures == {
        "none": (0, 0, 0),
        "light1": (2, 0, 0),
        "light2": (2, 10, 0.2),
        "medium1": (2, 15, 0.2),
        "medium2": (2, 15, 0.5),
        "strong1": (2, 20, 0.5),
        "strong2": (2, 20, 0.8),
        "light": (2, 10, 0.2),
        "medium": (2, 15, 0.2),
        "strong": (2, 20, 0.5),
    }


def test_level_keeps_the_other_settings():
    base = AugmentConfig(crop="shift", flip=True, cutmix=1.0, mixup=0.9)
    changed = with_level(base, "medium2")
    assert (changed.crop, changed.flip, changed.cutmix) == ("shift", True, 1.0)
    assert (changed.randaugment_layers, changed.randaugment_magnitude, changed.mixup) == (2, 15.0, 0.5)
    with pytest.raises(ConfigError, match=r"augment\.level.*Did you mean medium"):
        with_level(base, "meduim")
