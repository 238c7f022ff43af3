"""Models that took seconds to train, for all tests of a session."""

from __future__ import annotations

import pytest

from tests.inspection import toy


@pytest.fixture(scope="session")
def answering_by_class_token():
    """A ViT that finds the one patch that carries the class, read at the class token."""
    return toy.train("cls")


@pytest.fixture(scope="session")
def answering_by_mean():
    """The same task, read as the mean of the patches."""
    return toy.train("mean")
