"""Receptive fields against pixels perturbed one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchwords.errors import ConfigError
from patchwords.inspection.receptive import exact_support, measure_receptive_field, radii
from patchwords.inspection.results import arrays
from tests.inspection.tiny import assert_as_found, disturb, pictures, tiny_cnn, tiny_vit

FAMILIES = {
    "vit": lambda: tiny_vit(),
    "vit, registers, rotary, mean": lambda: tiny_vit(position="rope", num_registers=2, pool="mean", num_heads=4),
    "vit, conv stem": lambda: tiny_vit(stem="conv", image_size=(16, 16), patch_size=(4, 4)),
    "cnn": lambda: tiny_cnn(),
}


def centres(model, batch, names):
    """Centre tokens (B, D) of each layer."""
    record, found = {}, []
    with torch.no_grad():
        model(batch, record)
    for name in names:
        tokens, (rows, columns) = record[name], model.grid
        finer = 2 if tokens.shape[1] == 4 * rows * columns else 1
        rows, columns = finer * rows, finer * columns
        found.append(tokens[:, tokens.shape[1] - rows * columns + rows // 2 * columns + columns // 2])
    return found


def moved_by_one_pixel(model, image, names, step=1e-4):
    """Oracle: (layers, H, W) sum over channels and colours of |change of the centre token| for one pixel moved."""
    model, image = model.double(), image.double()
    moved = torch.eye(image.numel(), dtype=torch.float64).view(-1, *image.shape) * step + image
    before, after = centres(model, image[None], names), centres(model, moved, names)
    changes = [
        (new - old).abs().sum(dim=1).view(image.shape).sum(dim=0) for new, old in zip(after, before, strict=True)
    ]
    return torch.stack(changes).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_support_is_what_single_pixels_move(family):
    model = FAMILIES[family]()
    images = pictures(model, 6)
    names = ["embed", "block00/+mlp", "block01/+mlp", "encoded"]
    moved = sum(moved_by_one_pixel(model, image, names, step=0.5) for image in images)  # large: past every ReLU
    np.testing.assert_array_equal(exact_support(model, images, names), moved > 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_mass_lies_in_the_support(family):
    model = FAMILIES[family]()
    field = measure_receptive_field(model, pictures(model))
    np.testing.assert_allclose(field.maps.sum(axis=(1, 2)), 1, atol=1e-5)
    assert not (field.maps > 0)[~field.support].any()


def test_field_of_one_channel_equals_finite_differences():
    model = tiny_vit(dim=4, num_heads=1, mlp_dim=1).double()
    images = pictures(model, 1)
    with torch.no_grad():  # one channel alone reaches the end, so that signs do not matter
        model.norm.weight[1:] = 0
        model.norm.bias[1:] = 0
    field = measure_receptive_field(model, images, layers=["encoded"])
    moved = moved_by_one_pixel(model, images[0], ["encoded"])[0]
    np.testing.assert_allclose(field.maps[0], moved / moved.sum(), atol=2e-5)


def test_embedding_sees_its_patch_and_the_first_global_layer_everything():
    model = tiny_vit(image_size=(16, 16), patch_size=(4, 4))
    field = measure_receptive_field(model, pictures(model))
    first, after = field.layers.index("embed"), field.layers.index("block00/+mlp")
    own = np.zeros((16, 16), bool)
    own[8:12, 8:12] = True
    np.testing.assert_array_equal(field.support[first], own)
    assert field.centre_share[first] == pytest.approx(1)
    assert field.support[after].all()
    assert field.radius90_px[first] < field.radius90_px[after] <= field.uniform_radius90_px + 8
    assert "block00/attn" in field.layers and len(field.rows()) == len(field.layers)
    assert arrays(field)["support"].dtype == bool


def test_zero_weights_count_as_structure_and_convolutions_grow():
    model = tiny_cnn()
    torch.nn.init.zeros_(model.convs[0].weight)
    sizes = exact_support(model, pictures(model), ["embed", "block00/+mlp", "block01/+mlp"]).sum(axis=(1, 2))
    assert sizes.tolist() == [3 * 3, 8 * 8, 11 * 12]  # the last is cut off by the border


def test_closed_units_count_as_structure():
    model = tiny_cnn()
    sizes = exact_support(model, pictures(model), ["block01/+mlp"]).sum()
    with torch.no_grad():
        model.root.bias -= 50  # every ReLU is shut, for this picture
    images = pictures(model)
    assert not measure_receptive_field(model, images, layers=["block01/+mlp"]).maps.any()
    assert exact_support(model, images, ["block01/+mlp"]).sum() == sizes == 11 * 12


def test_radii_by_hand():
    mass = np.zeros((5, 5))
    mass[2, 2], mass[2, 4], mass[0, 0] = 0.5, 0.4, 0.1
    assert radii(mass, (2, 2)) == [0, 2]
    assert radii(mass, (2, 2), [0.95]) == [pytest.approx(8**0.5)]
    assert np.isnan(radii(np.zeros((3, 3)), (1, 1))).all()


def test_repeatable_batches_do_not_matter_and_the_model_is_left_alone():
    model = tiny_vit(dropout=0.5)
    images = pictures(model, 5)
    before = disturb(model)
    first = measure_receptive_field(model, images, batch_size=2)
    with torch.inference_mode():
        second = measure_receptive_field(model, images.clone(), batch_size=5)
    assert_as_found(model, before)
    np.testing.assert_allclose(first.maps, second.maps, atol=1e-6)
    assert measure_receptive_field(model, images, batch_size=2).maps.tobytes() == first.maps.tobytes()


def test_unknown_layer_is_named():
    model = tiny_vit()
    with pytest.raises(ConfigError, match="block00/attn"):
        measure_receptive_field(model, pictures(model), layers=["block00/atn"])
