"""The recipe: every kind of data set gets a run that can be built and that the same request finds again."""

import pytest

from patchwords.data.survey import Survey
from patchwords.models import list_models
from patchwords.training.recipe import choose
from patchwords.training.request import Request, reapply, resolve


def looks(size, pictures=3000, channels=3):
    half = (0.5,) * channels
    return Survey(pictures, pictures, 10, size, True, channels, half, half, ())


SIZES = [(8, 8), (9, 15), (16, 16), (28, 28), (32, 32), (33, 47), (48, 48), (64, 64), (90, 70), (224, 224), (375, 500)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pictures", [20, 3000, 200_000])
def test_every_data_set_gets_a_run(size, channels, pictures):
    for device in ("cpu", "cuda"):
        looked = looks(size, pictures, channels)
        run = resolve(Request("x"), looked, device).run
        assert run.model.num_classes == 10 and run.model.in_channels == channels
        assert run.train.epochs >= 5 and run.train.batch_size % run.train.shards == 0
        assert choose(looked, device).reasons(looked)


@pytest.mark.parametrize(
    "name", [n for n in list_models("*") if n.endswith(("_32", "digits", "patch8_64")) or "deit" in n]
)
def test_a_named_model_is_trained_as_it_is_and_found_again(name):
    for size in ((8, 8), (32, 32), (64, 64), (224, 224)):
        request = Request("x", model=name, settings={"train.epochs": "7"})
        try:
            run = resolve(request, looks(size), "cpu").run
        except Exception as fault:
            assert getattr(fault, "exit_code", 1) == 2, fault  # such as patches larger than the picture
            continue
        assert run.train.epochs == 7
        assert reapply(request, run).model == run.model
