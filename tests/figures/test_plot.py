"""Plots and grids of experiments: what is drawn is the data, and nothing is cut or covered."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from patchwords import figures
from patchwords.figures.plot import Grid, Plot, Series
from tests.figures import looks

WIDTHS = (figures.NARROW_IN, figures.WIDE_IN)
LINE = Series("measured", (1.0, 2.0, 4.0), (1e-15, 2.0, 3e6))
BAND = Series("with an interval", (1.0, 2.0, 3.0), (1.0, 2.0, 4.0), (0.5, -1.0, 3.0), (2.0, 3.0, 5.0))
PLOTS = {
    "plain": Plot("A plot", "tokens T", "seconds", (Series("one", (0.0, 1.0), (2.0, 3.0)), BAND)),
    "logarithmic": Plot("Powers", "tokens T", "seconds", (LINE, BAND), log_x=True, log_y=True),
    "one point": Plot("One", "x", "y", (Series("alone", (5.0,), (7.0,)),), log_x=True, log_y=True),
    "nothing": Plot("Nothing", "x", "y", (Series("empty", (), ()),), log_x=True, log_y=True),
    "constant": Plot("Constant", "x", "y", (Series("", (1.0, 2.0), (0.0, 0.0)),)),
    "many": Plot(
        "A title of several words, which takes two lines on a telephone",
        "a long name of what the axis shows", "another long name, in other units (per cent)",
        tuple(Series(f"series {n} $x_{n}$ <b>", (1.0, 10.0, 100.0), (n, n + 1.0, n + 2.0)) for n in range(9)),
        log_x=True,
    ),
}  # fmt: skip
GRIDS = {
    "maps": Grid("Maps", ("one", "two"), (np.eye(5), 3 * np.ones((5, 5))), "size"),
    "colours": Grid("Colours", ("a picture",), (np.full((4, 6, 3), 0.5),)),
    "shapes": Grid("Shapes", ("wide", "high", "square"), (np.ones((2, 6)), np.zeros((6, 2)), np.eye(3)), "share"),
    "many": Grid(
        "Many",
        tuple(f"layer {n}, a long name" for n in range(30)),
        tuple(np.eye(3) * n for n in range(30)),
    ),
    "constant": Grid("Constant", ("only",), (np.full((2, 2), np.nan),), "value"),
}


def drawn(draw, result, width=figures.WIDE_IN):
    figure = figures.new_figure(width)
    draw(result, figure)
    return figure


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", [*PLOTS, *(f"grid {name}" for name in GRIDS)])
def test_nothing_is_cut_or_covered(case, width):
    grid = case.removeprefix("grid ") if case.startswith("grid ") else ""
    figure = drawn(figures.draw_grid, GRIDS[grid], width) if grid else drawn(figures.draw_plot, PLOTS[case], width)
    found = looks.letters(figure)
    assert looks.cut(figure, found) == [] and looks.overlaps(figure, found) == []
    assert looks.unlabelled(figure) == [] or grid
    assert min(text.get_size() for text, *_ in found) >= 7
    assert not any(text.get_parse_math() for text, *_ in found)
    assert figures.png(figure, 60)[:4] == b"\x89PNG" and b"<svg" in figures.svg(figure)


def test_lines_are_the_data_and_bands_the_intervals():
    (axes,) = drawn(figures.draw_plot, PLOTS["plain"]).axes
    first, second = axes.lines
    assert first.get_xdata().tolist() == [0.0, 1.0] and first.get_ydata().tolist() == [2.0, 3.0]
    assert second.get_ydata().tolist() == [1.0, 2.0, 4.0]
    (band,) = axes.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert {(1.0, 0.5), (2.0, -1.0), (3.0, 3.0), (1.0, 2.0), (2.0, 3.0), (3.0, 5.0)} <= corners


def test_lines_that_lie_on_each_other_can_be_told_apart():
    (axes,) = drawn(figures.draw_plot, PLOTS["many"]).axes
    widths = [line.get_linewidth() for line in axes.lines]
    assert widths == sorted(widths, reverse=True) and widths[0] > widths[1] > widths[2]
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == len(axes.lines)


def test_what_has_no_place_is_left_out_and_counted():
    series = Series("", (1.0, 2.0, 3.0, 4.0), (1.0, 0.0, float("nan"), 2.0))
    figure = drawn(figures.draw_plot, Plot("Zero", "x", "y", (series,), log_y=True))
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1.0, 4.0]
    assert "2 points have no place on these axes and are left out." in looks.said(figure)
    assert "1 point has no place" in looks.said(drawn(figures.draw_plot, Plot("Zero", "x", "y", (series,))))
    assert "no place" not in looks.said(drawn(figures.draw_plot, PLOTS["plain"]))


def test_whole_numbers_have_whole_ticks():
    (axes,) = drawn(figures.draw_plot, Plot("L", "layer", "y", (Series("", (1.0, 2.0, 3.0), (0.1, 0.2, 0.3)),))).axes
    low, high = axes.get_xlim()
    assert all(tick == round(tick) for tick in axes.get_xticks() if low <= tick <= high)
    assert axes.get_xscale() == "linear"


def test_logarithmic_axes_hold_all_points():
    (axes,) = drawn(figures.draw_plot, PLOTS["logarithmic"]).axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_ylim()[0] < 1e-15 and axes.get_ylim()[1] > 3e6


def test_maps_share_one_scale_and_keep_their_pixels_square():
    figure = drawn(figures.draw_grid, GRIDS["shapes"])
    wide, high, square = (
        image for axes in figure.axes for image in axes.images if image.get_array().shape[:2] != (1, 128)
    )
    assert wide.norm is high.norm and (wide.norm.vmin, wide.norm.vmax) == (0.0, 1.0)
    assert np.array_equal(np.asarray(wide.get_array()), np.ones((2, 6)))
    framed = np.asarray(high.get_array().filled(np.nan))
    assert framed.shape == (6, 18) and np.array_equal(framed[:, 8:10], np.zeros((6, 2)))
    assert np.isnan(framed[:, :8]).all() and np.isnan(framed[:, 10:]).all()
    assert square.get_array().shape == (3, 9)


def test_colours_are_shown_as_they_are():
    colours = np.random.default_rng(0).random((4, 4, 3))
    (axes,) = drawn(figures.draw_grid, Grid("", ("",), (colours,))).axes
    assert np.array_equal(np.asarray(axes.images[0].get_array()), np.rint(255 * colours).astype(np.uint8))
