"""Charts over epochs and filters over epochs: what is drawn is what was given, and no letters touch."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from patchwords import figures
from patchwords.figures.filters import component_picture
from patchwords.figures.mosaic import mosaic
from tests.figures import looks, results

EPOCHS = np.array([0, 2.5, 5.05, 7.5, 10, 100])


def trends(lines: int):
    return [
        figures.Trend("mean of the heads", "attention distance (px)", 90 * results.chance(6, lines), guide=40.0),
        figures.Trend("all heads", "heads (%)", 100 * results.chance(6, 2), ("local heads", "global heads"), (0, 100)),
        figures.Trend("alone", "rank correlation", results.chance(6, 1), ("falls with distance",), (-1, 1)),
    ]


def drawn(lines: int, width: float):
    figure = figures.new_figure(width)
    figures.draw_trends(trends(lines), figure, title="How far", epochs=EPOCHS, guide="even attention", note="A note.")
    return figure


@pytest.mark.parametrize("width", [figures.NARROW_IN, figures.WIDE_IN])
@pytest.mark.parametrize("lines", [1, 4, 24])
def test_nothing_touches_and_every_axis_says_what_it_is(lines, width):
    pictures = figures.new_figure(width)
    figures.draw_filters_over_time(results.chance(30, 8, 3, 16, 16) - 0.5, pictures, epochs=np.linspace(0, 100, 30))
    for figure in (drawn(lines, width), pictures):
        letters = looks.letters(figure)
        assert not looks.cut(figure, letters) and not looks.overlaps(figure, letters) and not looks.unlabelled(figure)


def test_lines_are_the_values():
    figure = drawn(4, figures.WIDE_IN)
    for axes, trend in zip(figure.axes, trends(4), strict=False):
        found = [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == len(EPOCHS)]
        assert np.array_equal(found, trend.values.T)
    assert "falls with distance" not in looks.said(figure) and "local heads" in looks.said(figure)


def test_filters_are_their_pictures_and_those_not_drawn_are_told():
    components = results.chance(30, 4, 1, 2, 2) - 0.5
    figure = figures.new_figure(figures.WIDE_IN)
    figures.draw_filters_over_time(components, figure, epochs=np.linspace(0, 29, 30), most_times=3)
    (image,) = [image.get_array() for axes in figure.axes for image in axes.images]
    tiles = np.array([[component_picture(each) for each in components[time]] for time in (0, 14, 29)])
    assert np.array_equal(np.asarray(image), mosaic(tiles).image)
    assert "3 of 30 times are drawn" in looks.said(figure)
