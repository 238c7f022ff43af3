"""Models that are no ViTs, adapted: other classes for all of them, other sizes where they read any, nothing else."""

import pytest
import torch

from patchwords.checkpoint import LoadedModel
from patchwords.errors import ConfigError
from patchwords.formats.adapt import adapt_model
from patchwords.preprocess import Preprocess

from ..models.families import OTHERS, alive, pictures

every = pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS.keys())


def loaded(config):
    return LoadedModel(alive(config), tuple("abcde"), Preprocess(image_size=config.image_size), {})


@every
def test_other_classes_give_a_head_of_zeros_and_leave_the_rest(config):
    own = loaded(config)
    made, hows = adapt_model(own, classes=("dog", "cat"))
    assert hows == {"head.weight": "new head of zeros", "head.bias": "new head of zeros"}
    images = pictures(config)
    with torch.no_grad():
        assert torch.equal(made.model(images), torch.zeros(3, 2))
        assert torch.equal(made.model.forward_features(images), own.model.forward_features(images))
    assert made.classes == ("dog", "cat") and made.model.config.num_classes == 2


@every
def test_another_size_where_any_is_read(config):
    own, size = loaded(config), tuple(2 * side for side in config.image_size)
    if not config.any_size:
        with pytest.raises(ConfigError, match="image_size"):
            adapt_model(own, image_size=size)
        return
    made, hows = adapt_model(own, image_size=size)
    assert not hows and made.model.config.image_size == made.preprocess.image_size == size
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert torch.equal(made.model(images), own.model(images))


@every
def test_other_channels_are_refused(config):
    with pytest.raises(ConfigError) as caught:
        adapt_model(loaded(config), channels=1)
    assert "model.in_channels" in caught.value.line() and "\n" not in caught.value.line()
