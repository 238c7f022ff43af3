"""Models that took seconds to train, for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.inspection import toy


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Keep to one thread: these models are small, and tests beside each other would wait for one another's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def answering_by_class_token():
    """A ViT that finds the one patch that carries the class, read at the class token."""
    return toy.train("cls")


@pytest.fixture(scope="session")
def answering_by_mean():
    """The same task, read as the mean of the patches."""
    return toy.train("mean")
