"""The registry: what docs/inspection.md says of the exhibits is what they say of themselves."""

from __future__ import annotations

import pytest

from patchwords.errors import ConfigError
from patchwords.report.exhibits import EXHIBITS, choose_exhibits, listed
from tests.conftest import REPOSITORY


def test_the_page_of_the_docs_has_the_table():
    page = (REPOSITORY / "docs" / "inspection.md").read_text()
    begin, end = "<!-- exhibits: made by `patchwords.report.exhibits.listed` -->\n", "\n<!-- end of exhibits -->"
    assert page.partition(begin)[2].partition(end)[0] == listed()


def test_every_exhibit_says_what_it_is():
    for name, exhibit in EXHIBITS.items():
        assert exhibit.name == name and exhibit.title and exhibit.paper
        for sentence in (exhibit.shows, exhibit.healthy):
            assert sentence.endswith(".") and sentence[0].isupper() and "|" not in sentence
        assert set(exhibit.needs) <= {"pictures", "attention", "positions", "a head"}


def test_exhibits_are_chosen_by_name_in_the_order_of_the_page():
    assert [each.name for each in choose_exhibits(["filters", "distance"])] == ["distance", "filters"]
    assert [each.name for each in choose_exhibits([])] == list(EXHIBITS)
    with pytest.raises(ConfigError, match="Did you mean filters"):
        choose_exhibits(["filter"])
