"""Every figure, of usual, smallest and large results, on a telephone and on a page: nothing cut, nothing hidden."""

from __future__ import annotations

import functools
import time

import pytest

pytest.importorskip("matplotlib")

from patchwords import figures
from tests.figures import looks, results

NAMES = sorted(results.cases("smallest"))
KINDS = {kind: functools.cache(functools.partial(results.cases, kind)) for kind in ("usual", "smallest", "large")}
SHOWN = [
    pytest.param("usual", figures.NARROW_IN, id="usual-telephone"),
    pytest.param("usual", figures.WIDE_IN, id="usual-page"),
    pytest.param("smallest", figures.NARROW_IN, id="smallest-telephone"),
    pytest.param("smallest", figures.WIDE_IN, id="smallest-page", marks=pytest.mark.slow),
    pytest.param("large", figures.NARROW_IN, id="large-telephone"),
    pytest.param("large", figures.WIDE_IN, id="large-page", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "width"), SHOWN)
def test_nothing_is_cut_or_covered(kind, width, name):
    draw, result, options = KINDS[kind]()[name]
    figure = figures.new_figure(width)
    start = time.process_time()
    draw(result, figure, **options)
    assert time.process_time() - start < 2
    assert figure.get_size_inches()[0] == pytest.approx(width)
    found = looks.letters(figure)
    assert looks.cut(figure, found) == []
    assert looks.overlaps(figure, found) == []
    assert looks.unlabelled(figure) == []
    assert min(text.get_size() for text, *_ in found) >= 7
    assert not any(text.get_parse_math() for text, *_ in found)
    assert figure.get_label()
