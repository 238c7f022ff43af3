"""What is drawn is the result: numbers read back from the lines, bars and images of each figure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from patchwords import figures
from patchwords.figures.accuracy import wilson
from patchwords.figures.attention import asked_patch
from patchwords.figures.attribution import over
from patchwords.figures.confusion import largest_confusions
from patchwords.figures.filters import component_picture
from patchwords.figures.mosaic import mosaic
from patchwords.figures.overlay import lit
from patchwords.figures.weights import pooled
from tests.figures import looks, results


def drawn(draw, result, width=figures.WIDE_IN, **options):
    figure = figures.new_figure(width)
    draw(result, figure, **options)
    return figure


def images(figure):
    """Return the arrays of all images but the bars of scales."""
    return [np.asarray(i.get_array()) for a in figure.axes for i in a.images if i.get_array().shape[:2] != (1, 128)]


def test_attention_maps_are_means_over_heads_in_even_shares():
    seen = results.attention(3, 2, 4, (4, 6))
    photos = results.photographs(2, (24, 36))
    found = images(drawn(figures.draw_attention, seen, pictures=photos, picture=1))
    want = seen.mean_maps[:, 1] * 24
    assert np.array_equal(found[0], photos[1]) and np.allclose(found[1], want.mean(axis=0))
    for layer in range(3):
        assert np.array_equal(found[2 + 2 * layer], lit(photos[1], want[layer]))
        assert np.allclose(found[3 + 2 * layer], want[layer])


def test_head_grid_is_in_order_of_distance():
    seen, far = results.attention(2, 1, 3, (8, 8)), results.chance(2, 3)
    (found,) = images(drawn(figures.draw_heads, seen, distance_px=far))
    tiles = [seen.maps[layer, 0][np.argsort(far[layer])] for layer in range(2)]
    assert np.array_equal(found, mosaic(np.stack(tiles) * 64).image, equal_nan=True)


def test_heads_that_do_not_fit_are_told():
    figure = drawn(figures.draw_heads, results.attention(24, 1, 16, (8, 8)), figures.NARROW_IN)
    assert "9 of 16 heads are drawn" in looks.said(figure)
    assert "of 16 heads" not in looks.said(drawn(figures.draw_heads, results.attention(24, 1, 16, (8, 8))))


def test_mosaic_gives_back_its_tiles():
    tiles = results.chance(3, 4, 9, 5)
    made = mosaic(tiles)
    for (row, column), _ in np.ndenumerate(tiles[..., 0, 0]):
        assert np.array_equal(made.at(row, column), tiles[row, column])
    assert np.isnan(made.image).sum() == made.image.size - tiles.size
    assert np.unique(mosaic(np.ones((1, 2, 1, 1))).at(0, 1)).tolist() == [1.0]


def test_dots_are_the_distances():
    heads = results.distance(5, 3)
    dots, bars = drawn(figures.draw_distance, heads).axes
    assert np.array_equal(dots.lines[0].get_ydata().reshape(5, 3), heads.distance_px)
    assert dots.lines[0].get_xdata().tolist() == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3 + [5] * 3
    assert set(dots.lines[1].get_ydata()) == {10.0}
    local, _, far = ([bar.get_height() for bar in kind] for kind in bars.containers)
    assert np.allclose(local, 100 * (heads.relative < 0.5).mean(axis=1))
    assert np.allclose(far, 100 * (heads.relative > 0.8).mean(axis=1))


def test_pictures_stand_beside_their_own_maps():
    photos = results.photographs(3, (8, 8))
    rolled = results.rollout(2, 3, (4, 4))
    found = images(drawn(figures.draw_rollout, rolled, pictures=photos))
    for number, photo in enumerate(photos):
        assert np.array_equal(found[2 * number], photo)
        assert np.array_equal(found[2 * number + 1], lit(photo, rolled.maps[-1, number]))
    coloured = results.components(3, (4, 4))
    found = images(drawn(figures.draw_components, coloured, pictures=photos))
    assert np.array_equal(found[1::2], np.rint(255 * coloured.colours))
    times = results.shares(4, 3, 4, 4)
    found = images(drawn(figures.draw_over_time, times, epochs=range(4), pictures=photos))
    assert all(np.array_equal(found[5 * n + 1 + t], lit(photos[n], times[t, n])) for n in range(3) for t in range(4))
    near = results.neighbours(2, 3, 6)
    among = results.photographs(6, (8, 8))
    found = images(drawn(figures.draw_nearest, near, queries=photos[:2], pictures=among))
    assert all(np.array_equal(found[4 * q + 1 + k], among[near.indices[q, k]]) for q in range(2) for k in range(3))


def test_the_patch_that_is_asked_is_framed():
    seen = replace(results.attention(1, 1, 1, (4, 6)), query="patch (2, 5)")
    assert asked_patch(seen) == pytest.approx((4 / 6, 1 / 4, 1 / 6, 1 / 4))
    assert asked_patch(replace(seen, query="class")) is None
    (axes, _) = drawn(figures.draw_attention, seen, pictures=results.photographs(1, (24, 36))).axes
    assert len(axes.patches) == 2


def test_overlap_and_weights():
    same = results.cases("usual")["overlap"][1]
    line, _ = drawn(figures.draw_overlap, same).axes[0].lines
    assert np.array_equal(line.get_ydata(), same.cosines)
    every = results.weights(2, 3, (4, 4))
    found = images(drawn(figures.draw_weights, every))
    assert np.allclose(found, 17 * every.weights[:, 0].mean(axis=1))


def test_position_maps_stand_at_their_patches():
    same = results.position(8, 9)
    (found,) = images(drawn(figures.draw_position, same))
    assert np.array_equal(found, mosaic(same.similarity).image, equal_nan=True)


def test_filters_are_scaled_about_grey():
    bank = results.filters(5, 3, (8, 8))
    found = images(drawn(figures.draw_filters, bank))
    assert all(np.array_equal(f, component_picture(c)) for f, c in zip(found, bank.components, strict=True))
    assert component_picture(np.zeros((3, 2, 2))).tolist() == [[[128] * 3] * 2] * 2
    one = np.array([[[-1.0, 2.0]]])
    assert component_picture(one)[0].tolist() == [[64] * 3, [255] * 3]
    shares, rough = drawn(figures.draw_filters, bank).axes[-2:]
    assert np.allclose(shares.lines[0].get_ydata(), 100 * bank.explained_share.cumsum())
    assert np.array_equal(rough.lines[0].get_ydata(), bank.roughness)


def test_receptive_maps_are_empty_where_nothing_reaches():
    seen = results.receptive(2, (8, 8))
    figure = drawn(figures.draw_receptive_field, seen)
    for found, values, support in zip(images(figure), seen.maps, seen.support, strict=True):
        assert np.array_equal(np.isnan(found), ~support)
        assert np.allclose(found[support], (values / values.max()).clip(1e-3)[support])
    radii, shares = figure.axes[-2:]
    stream = [not name.endswith("/attn") for name in seen.layers]
    assert np.array_equal(radii.lines[0].get_ydata(), seen.radius90_px[stream])
    assert radii.lines[0].get_xdata().tolist() == [0, 1, 2, 3] and radii.lines[1].get_xdata().tolist() == [1, 2]
    assert np.allclose(shares.lines[0].get_ydata(), 100 * seen.support_share[stream])


def test_similarity_norms_and_relative_biases():
    alike, sizes = results.similarity(5, 4, False), results.norms(3, 10)
    assert np.array_equal(images(drawn(figures.draw_similarity, alike))[0], alike.cka, equal_nan=True)
    figure = drawn(figures.draw_norms, sizes)
    assert np.array_equal(figure.axes[0].lines[0].get_ydata(), sizes.ratio[:, 1])
    assert np.array_equal(figure.axes[0].lines[1].get_ydata(), sizes.ratio[:, 0])
    found = images(figure)[0]
    assert np.isnan(found[0, 0]) and np.array_equal(found[1:], sizes.token_ratio[1:])
    bias = results.relative(2, 3, (4, 5))
    assert np.array_equal(images(drawn(figures.draw_relative_bias, bias))[0], mosaic(bias.bias).image, equal_nan=True)


def test_lens_without_labels_draws_agreement_alone():
    read = results.lens(3, 2, (4, 4), labels=False)
    figure = drawn(figures.draw_lens, read, pictures=results.photographs(2))
    (line,) = figure.axes[0].lines
    assert np.allclose(line.get_ydata(), 100 * read.agreement)
    assert np.array_equal(images(figure)[1], read.maps[0, 0])


def test_curves_are_means_over_pictures():
    measured = results.curves(3, 4)
    away, back = drawn(figures.draw_curves, measured).axes
    for number in range(4):
        assert np.allclose(away.lines[number].get_ydata(), measured.deletion[number].mean(axis=0))
        assert np.allclose(back.lines[number].get_ydata(), measured.insertion[number].mean(axis=0))
    assert np.allclose(away.lines[0].get_xdata(), 100 * measured.changed_share)


def test_signs_are_colours():
    grey = np.full((2, 2, 3), 128, dtype=np.uint8)
    (speaks, against), (nothing, _) = over(grey, np.array([[1.0, -1.0], [0.0, np.nan]]))
    assert speaks[0] > speaks[2] and against[2] > against[0] and len(set(nothing.tolist())) == 1
    assert np.array_equal(over(grey, np.zeros((2, 2))), over(grey, np.full((2, 2), np.nan)))


def test_confusion_of_few_and_of_many_classes():
    judged = results.evaluation(("a", "b", "c"), 90)
    counts, share = images(drawn(figures.draw_confusion, judged))
    assert np.array_equal(counts, judged.confusion)
    assert np.allclose(share, 100 * judged.confusion / judged.confusion.sum(axis=1, keepdims=True))
    table = np.array([[5, 2, 0], [7, 5, 0], [2, 0, 9]])
    assert largest_confusions(table, 3) == [(1, 0, 7), (0, 1, 2), (2, 0, 2)]
    many = results.evaluation(tuple(f"class {n}" for n in range(40)), 2000)
    bars = drawn(figures.draw_confusion, many, largest=6).axes[0].containers
    assert [bar[0].get_width() for bar in bars] == [count for *_, count in largest_confusions(many.confusion, 6)]


def test_reliability_and_accuracy():
    judged = results.evaluation(tuple("abcd"), 300)
    bins = judged.calibration
    accuracy, counts = drawn(figures.draw_reliability, judged).axes
    assert np.allclose([bar.get_height() for bar in accuracy.containers[0]], np.nan_to_num(100 * bins.accuracy))
    assert np.allclose([bar.get_height() for bar in counts.containers[0]], 100 * bins.counts / 300)
    (axes,) = drawn(figures.draw_accuracy, judged).axes
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert np.allclose(dots, np.sort(100 * np.diag(judged.confusion) / judged.confusion.sum(axis=1)))
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 5)[0] == 0 and wilson(5, 5)[1] == 1


def test_training_curves_are_the_log():
    rows = results.training(3)
    rows[4]["loss"] = float("inf")
    loss, right, rate = drawn(figures.draw_training, rows).axes
    got = loss.lines[0].get_ydata()
    assert np.isnan(got[4]) and got[5] == rows[5]["loss"] and len(got) == 30
    assert np.allclose(right.lines[0].get_ydata(), [90, 95, 100 * (1 - 1 / 30)])
    assert rate.lines[0].get_xdata()[-1] == 3
    for empty in ([], [{"step": 1, "epoch": 0.1, "loss": None, "lr": 0.0}]):
        assert looks.unlabelled(drawn(figures.draw_training, empty)) == []


def test_pictures_are_lit_in_proportion():
    white = np.full((4, 4, 3), 255, dtype=np.uint8)
    values = np.array([[1.0, 0.5], [0.0, np.nan]])
    assert lit(white, values, smooth=False)[::2, ::2, 0].tolist() == [[255, 128], [0, 0]]
    assert lit(white, np.zeros((2, 2))).max() == 0


def test_matrix_of_many_tokens_is_pooled_without_loss_of_mass():
    matrix = results.chance(10, 10)
    assert np.allclose(pooled(matrix, 4)[0, 0], matrix[:4, :4].mean())
    assert np.allclose(pooled(matrix, 4)[2, 1], matrix[8:, 4:8].mean())


@pytest.mark.parametrize("name", ["attention", "heads", "rollout", "distance", "relative", "norms", "lens", "position"])
def test_what_is_not_a_number_is_left_empty(name):
    draw, result, options = results.cases("usual")[name]
    for value in vars(result).values():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            value[...] = np.nan
    figure = drawn(draw, result, **options)
    found = looks.letters(figure)
    assert looks.cut(figure, found) == [] and looks.overlaps(figure, found) == []
    figures.png(figure, dpi=50)
