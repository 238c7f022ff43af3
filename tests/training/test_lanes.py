"""Shards side by side: the same bits as one after another, errors come through, threads are given back."""

import threading

import pytest
import torch

from patchwords import checkpoint
from patchwords.models import model_config
from patchwords.training import Request
from patchwords.training.lanes import Lanes
from patchwords.training.setup import set_up
from patchwords.training.step import train_step

SETTINGS = {
    "model.dim": "32", "model.depth": "2", "model.num_heads": "2", "model.mlp_dim": "64", "train.steps": "8",
    "train.batch_size": "16", "train.shards": "4", "train.compile": "off", "augment.mixup": "0",
}  # fmt: skip


def test_order_errors_and_threads():
    before = torch.get_num_threads()
    lanes = Lanes(2)
    assert torch.get_num_threads() == before
    assert list(lanes.map(lambda n: n * n, range(9))) == [n * n for n in range(9)]
    inside = set(lanes.map(lambda n: (threading.current_thread().name, torch.get_num_threads()), range(50)))
    assert {threads for _, threads in inside} == {1}
    with pytest.raises(ZeroDivisionError):
        list(lanes.map(lambda n: 1 // n, [1, 0, 1]))
    lanes.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("patchwords-lane")]


def test_any_number_of_lanes_gives_the_same_bits(folder, tmp_path):
    hashes = []
    for count in (1, 2, 4):
        (tmp_path / str(count)).mkdir()
        job = set_up(Request(str(folder), settings=SETTINGS | {"train.threads": "1"}), tmp_path / str(count))
        job.state.lanes = Lanes(count)
        for batch in job.loader.batches(0, 8):
            train_step(job.state, job.shards(batch), lambda: [])
        hashes.append(checkpoint.tensors_hash(job.state.tensors()))
        job.close()
    assert hashes[0] == hashes[1] == hashes[2]


@pytest.mark.parametrize("option", ["dropout", "attention_dropout", "drop_path", "patch_dropout"])
def test_models_that_draw_take_one_lane(folder, tmp_path, option):
    """torch's generator is one for all threads: what depends on it must not run side by side."""
    assert not model_config("vit_digits").draws
    assert model_config("vit_digits", **{option: 0.1}).draws
    for value, lanes in (("0", 2), ("0.1", 1)):
        out = tmp_path / value
        out.mkdir()
        job = set_up(Request(str(folder), settings=SETTINGS | {"train.threads": "2", f"model.{option}": value}), out)
        assert job.state.lanes.count == lanes
        job.close()


def test_between_lanes_the_caller_works_alone_and_has_its_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for count, alone in ((1, 2), (2, 1)):
            lanes = Lanes(count)
            with lanes.between():
                assert torch.get_num_threads() == alone
            assert torch.get_num_threads() == 2
            lanes.close()
    finally:
        torch.set_num_threads(before)
