"""Loaders: the same bits for any number of workers and any start, errors by name, no thread left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from patchwords.config import AugmentConfig
from patchwords.data.augment import Augment
from patchwords.data.loader import MemoryLoader, StreamLoader
from patchwords.data.plan import Once, Plan
from patchwords.data.sources import open_source
from patchwords.errors import DataError, MissingError
from patchwords.preprocess import Preprocess

PREPROCESS = Preprocess(image_size=(24, 20))
STRONG = AugmentConfig(
    crop="random_resized", flip=True, randaugment_layers=2, randaugment_magnitude=10.0, color_jitter=0.3, erasing=0.3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of two classes of 13 and 10 small pictures, PNG and JPEG, of several sizes."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(23):
        place = root / ("cat" if number < 13 else "dog")
        place.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (30 + number, 50 - number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:02}.{'png' if number % 2 else 'jpg'}")
    return root


@pytest.fixture(autouse=True)
def no_thread_is_left_behind():
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in set(threading.enumerate()) - before]
    assert not left


def stream(folder, workers, *, augment=STRONG, size=6, plan=None, **options):
    source = open_source(folder)
    count = len(source)
    labels = torch.tensor([("cat", "dog").index(entry.label) for entry in source.entries])
    plan = plan or Plan(5, count, size)
    change = Augment(augment, 5) if augment else None
    paths = [entry.path for entry in source.entries]
    return StreamLoader(source, range(count), paths, labels, plan, PREPROCESS, change, workers=workers, **options)


def memory(workers, *, augment=STRONG, size=6, **options):
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (23, 3, 24, 20), dtype=np.uint8))
    change = Augment(augment, 5) if augment else None
    return MemoryLoader(pixels, torch.arange(23) % 4, Plan(5, 23, size), change, workers=workers, **options)


def same(one, other):
    names = ("images", "labels", "weights", "ids", "epoch")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def make(kind, folder, workers, **options):
    return memory(workers, **options) if kind == "memory" else stream(folder, workers, **options)


@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_any_number_of_workers_gives_the_same_bits(kind, folder):
    found = []
    for workers in (0, 1, 4):
        with make(kind, folder, workers) as loader:
            found.append(list(loader.batches(0, 9)))
    assert all(same(*pair) for other in found[1:] for pair in zip(found[0], other, strict=True))
    assert len({batch.images.sum().item() for batch in found[0]}) == 9


@pytest.mark.parametrize("kind", ["memory", "stream"])
@pytest.mark.parametrize("workers", [0, 2])
def test_any_step_can_be_asked_for(kind, workers, folder):
    with make(kind, folder, 0) as loader:
        forward = list(loader.batches(0, 10))
    with make(kind, folder, workers) as loader:
        for step in (7, 8, 2, 2, 9, 3, 4, 5, 0):
            assert same(loader.batch(step), forward[step]), step
        assert all(same(*pair) for pair in zip(loader.batches(4, 10), forward[4:], strict=True))


@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_batches_are_what_the_plan_says(kind, folder):
    with make(kind, folder, 2) as loader:
        for step, batch in enumerate(loader.batches(0, 8)):
            planned = loader.plan.batch(step)
            assert batch.images.dtype == torch.uint8 and batch.images.shape == (6, 3, 24, 20)
            assert batch.ids.tolist() == planned.positions.tolist() and batch.epoch.tolist() == planned.epoch.tolist()
            assert torch.equal(batch.labels, loader.labels[batch.ids])
            assert batch.weights.dtype == torch.float32 and (batch.weights == 1).all()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_waited_for_is_counted(workers, monkeypatch):
    """Nearly all of it where the pictures take long, little where they are there when they are asked for."""
    slow, fill = 0.05, MemoryLoader._fill
    monkeypatch.setattr(MemoryLoader, "_fill", lambda *a: (time.sleep(slow), fill(*a))[1])
    with memory(workers) as loader:
        list(loader.batches(0, 4))
        assert 3 * slow < loader.waited < 12 * slow
        loader.batch(4)
        time.sleep(2 * slow)
        before = loader.waited
        loader.batch(5)
        assert (loader.waited - before < slow / 2) == bool(workers)


def test_memory_loader_gives_augmented_pixels():
    with memory(1) as loader:
        batch = loader.batch(3)
    wanted = Augment(STRONG, 5)(loader.pixels[batch.ids], batch.epoch.numpy(), batch.ids.numpy())
    assert torch.equal(batch.images, wanted)


def test_rows_choose_pictures_without_a_copy():
    rows = torch.arange(22, -1, -1)
    with memory(1, augment=None, rows=rows) as loader:
        batch = loader.batch(0)
    assert torch.equal(batch.images, loader.pixels[22 - batch.ids])


def test_stream_loader_gives_decoded_pixels(folder):
    with stream(folder, 2, augment=None) as loader:
        batch = loader.batch(1)
        for image, sample in zip(batch.images, batch.ids.tolist(), strict=True):
            assert torch.equal(image, PREPROCESS.pixels(loader.source.read(sample)))


@pytest.mark.parametrize("flip", [False, True])
def test_stream_loader_crops_before_it_resizes(flip, folder):
    config = AugmentConfig(crop="random_resized", flip=flip)
    with stream(folder, 2, augment=config) as loader:
        batch = loader.batch(1)
        for image, sample, epoch in zip(batch.images, batch.ids.tolist(), batch.epoch.tolist(), strict=True):

            def box(rows, columns, sample=sample, epoch=epoch):
                return Augment(config, 5).crop_box(rows, columns, epoch, sample)

            part = PREPROCESS.crop_pixels(loader.source.read(sample), box)[None]
            assert torch.equal(image, Augment(AugmentConfig(flip=flip), 5)(part, epoch, np.array([sample]))[0])


@pytest.mark.parametrize("workers", [0, 3])
def test_evaluation_sees_every_picture_once_in_order(workers, folder):
    with stream(folder, workers, augment=None, plan=Once(23, 5)) as loader:
        batches = list(loader.batches())
    assert [len(batch.images) for batch in batches] == [5, 5, 5, 5, 3]
    assert torch.cat([batch.ids for batch in batches]).tolist() == list(range(23))


class WatchedSource:
    """A source that remembers what was read."""

    def __init__(self, source):
        self.source, self.asked = source, set()

    def where(self, number):
        return self.source.where(number)

    def read(self, number):
        self.asked.add(number)
        return self.source.read(number)


class BrokenSource(WatchedSource):
    """A source with a fault of its own."""

    def read(self, number):
        return 1 / 0


class ChangedSource(WatchedSource):
    """A source that checks its first picture and finds it changed."""

    def read(self, number):
        if number == 0:
            raise DataError("was changed since the run began", where=self.where(number))
        return self.source.read(number)


class WatchedPlan(Plan):
    """A plan that remembers which steps were asked for."""

    asked: set[int] = set()

    def batch(self, step):
        self.asked.add(step)
        return super().batch(step)


def test_next_step_is_prepared_while_this_one_is_used(folder):
    with stream(folder, 1) as loader:
        loader.source = WatchedSource(loader.source)
        asked = loader.source.asked
        loader.batch(0)
        wanted = set(loader.plan.batch(1).positions.tolist())
        deadline = time.monotonic() + 20
        while not wanted <= asked and time.monotonic() < deadline:
            time.sleep(0.01)
        assert wanted <= asked


def test_nothing_is_prepared_beyond_the_last_step(folder):
    with stream(folder, 2, plan=WatchedPlan(5, 23, 6)) as loader:
        list(loader.batches(1, 4))
    assert WatchedPlan.asked == {1, 2, 3}


@pytest.mark.parametrize("workers", [0, 4])
def test_undecodable_picture_has_weight_zero_and_no_stand_in(workers, folder, tmp_path):
    for place in ("cat", "dog"):
        (tmp_path / place).mkdir()
        for path in sorted((folder / place).iterdir()):
            data = path.read_bytes()
            (tmp_path / place / path.name).write_bytes(data[:60] if path.name[:2] in ("03", "15") else data)
    told = []
    with stream(tmp_path, workers, on_rejected=lambda *row: told.append(row)) as bad, stream(folder, 0) as good:
        for step in range(12):
            found, wanted = bad.batch(step), good.batch(step)
            broken = torch.isin(found.ids, torch.tensor([3, 15]))
            assert torch.equal(found.weights == 0, broken)
            assert (found.images[broken] == 128).all()
            assert torch.equal(found.images[~broken], wanted.images[~broken])
            assert torch.equal(found.ids, wanted.ids) and torch.equal(found.labels, wanted.labels)
    assert sorted(path for path, _ in told) == ["cat/03.png", "dog/15.png"]
    assert all(reason and "cat/" not in reason for _, reason in told)


@pytest.mark.parametrize("workers", [0, 4])
def test_file_that_is_gone_is_named_when_its_step_is_due(workers, folder, tmp_path):
    for number in range(23):
        place = tmp_path / ("cat" if number < 13 else "dog")
        place.mkdir(exist_ok=True)
        Image.new("RGB", (30, 30)).save(place / f"{number:02}.png")
    with stream(tmp_path, workers) as loader:
        order = np.concatenate([loader.plan.batch(step).positions for step in range(3)])
        gone = order[14]  # in step 2
        os.remove(tmp_path / loader.paths[gone])
        loader.batch(0)
        loader.batch(1)
        with pytest.raises(MissingError, match=f"{gone:02}.png"):
            loader.batch(2)
        Image.new("RGB", (30, 30)).save(tmp_path / loader.paths[gone])
        assert (loader.batch(2).weights == 1).all()  # the loader itself is none the worse


@pytest.mark.parametrize("workers", [0, 2])
def test_file_that_became_something_else_is_not_passed_over(workers, folder, tmp_path):
    source = open_source(folder)
    plan = Plan(5, 23, 6)
    with stream(folder, workers, plan=plan) as loader:
        loader.source = ChangedSource(source)
        with pytest.raises(DataError, match=r"cat/00\.jpg: was changed"):
            list(loader.batches(0, 4))


def test_fault_of_our_own_comes_through(folder):
    with stream(folder, 2) as loader:
        loader.source = BrokenSource(loader.source)
        with pytest.raises(ZeroDivisionError):
            loader.batch(0)


def test_abandoned_in_the_middle_it_closes_at_once(folder):
    loader = stream(folder, 4)
    for _ in loader.batches(0, 1000):
        break
    start = time.monotonic()
    loader.close()
    loader.close()
    assert time.monotonic() - start < 5


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_of_the_caller_are_left_as_they_are(folder, two_threads):
    with stream(folder, 3) as loader:
        loader.batch(0)
        assert torch.get_num_threads() == 2
        other = []
        thread = threading.Thread(target=lambda: other.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert other == [2]


def test_interrupt_ends_it_without_hanging(folder):
    program = f"""
        import signal, torch
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell began us in the background
        from patchwords.data.loader import StreamLoader
        from patchwords.data.plan import Plan
        from patchwords.data.sources import open_source
        from patchwords.preprocess import Preprocess
        source = open_source({str(folder)!r})
        paths = [entry.path for entry in source.entries]
        plan, labels = Plan(0, 23, 6), torch.zeros(23, dtype=torch.long)
        loader = StreamLoader(source, range(23), paths, labels, plan, Preprocess(image_size=(24, 20)), workers=3)
        try:
            for batch in loader.batches(0, 10**9):
                print("ready", flush=True)
        except KeyboardInterrupt:
            print("stopped", flush=True)
            loader.close()
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert output.endswith("stopped\n")
    assert process.returncode == 0
    assert time.monotonic() - start < 30
