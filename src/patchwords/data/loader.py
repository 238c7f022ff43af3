"""Batches of any step, prepared in background threads while the step before is trained on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..decode import stated_size
from ..errors import DataError
from ..preprocess import Preprocess
from .augment import Augment
from .augment_ops import GREY
from .plan import Once, Plan, Planned

Rejected = tuple[int, str]
"""(sample id, reason)"""


@dataclass(frozen=True)
class Batch:
    """Samples of one step."""

    images: Tensor
    """(B, C, H, W) uint8"""
    labels: Tensor
    """(B,) int64"""
    weights: Tensor
    """(B,) float32: 1, or 0 for a picture that could not be read, which then is all grey"""
    ids: Tensor
    """(B,) int64: sample numbers, 0 .. num_samples - 1"""
    epoch: Tensor
    """(B,) int64: of each sample; two values where the batch runs over the boundary of epochs"""


class _Started(NamedTuple):
    """A batch being filled by portions."""

    batch: Batch
    portions: list[Future[list[Rejected]]]


class Loader:
    """The common part: which portions are prepared when, and by whom.

    Any step can be asked for at any time; steps asked for in order are found prepared. A portion of a
    batch is filled by one thread, and as pictures depend on nothing but their own numbers, the bits are
    the same for any number of threads, and for none (workers=0: all is done in `batch`).

    Args:
        labels: (N,) int64 class of each sample.
        plan: which samples in which step.
        augment: None leaves pictures as they are.
        workers: threads.
        portion: pictures filled by one thread at a time.
        ahead: steps prepared in advance.
        device: where steps are computed. If that is not the CPU, pictures are augmented there, by `on_device`, but for
            the random crop, which is made at decoding; the bits may be others than those of the CPU.
    """

    _crops = False
    """whether pictures are cropped at random, and mirrored, as they are decoded"""

    def __init__(
        self,
        labels: Tensor,
        plan: Plan | Once,
        augment: Augment | None,
        *,
        workers: int,
        portion: int,
        ahead: int,
        device: str = "cpu",
    ) -> None:
        self.labels, self.plan, self.augment, self.device = labels, plan, augment, device
        self.portion, self.ahead = max(1, portion), ahead if workers else 0
        self._pool = _pool(workers) if workers else None
        self._started: dict[int, _Started] = {}
        self.waited = 0.0
        """seconds that callers of `batch` have spent waiting in it so far"""

    def batch(self, step: int, stop: int | None = None) -> Batch:
        """Return the batch of `step` and have the next ones prepared, up to `stop` where given.

        Raises:
            PatchwordsError: a file that cannot be read, by name; what is wrong inside a picture sets its
                weight to 0.
        """
        asked = time.perf_counter()
        last = step + 1 + self.ahead if stop is None else min(stop, step + 1 + self.ahead)
        for other in [other for other in self._started if not step <= other < last]:
            self._cancel(other)
        for wanted in range(step, max(last, step + 1)):
            if wanted not in self._started:
                self._started[wanted] = self._start(wanted)
        started = self._started[step]
        try:
            for portion in started.portions:
                for sample, reason in portion.result():
                    self._reject(sample, reason)
        except BaseException:  # an interrupt too: nothing stays under way for this step
            self._cancel(step)
            raise
        self.waited += time.perf_counter() - asked
        del self._started[step]
        return started.batch

    def on_device(self, batch: Batch, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return a part of a batch where steps are computed: pictures (b, C, H, W) uint8, labels and weights (b,)."""
        given = (batch.images, batch.labels, batch.weights)
        images, labels, weights = (tensor[part].to(self.device, non_blocking=True) for tensor in given)
        if self.augment and self.device != "cpu":
            epoch, ids = batch.epoch[part].numpy(), batch.ids[part].numpy()
            images = self.augment(images, epoch, ids, cropped=self._crops)
        return images, labels, weights

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Yield the batches of steps start .. stop - 1; stop=None: all of a plan that ends (`Once`)."""
        if stop is None:
            assert isinstance(self.plan, Once), "a training plan has no end"
            stop = self.plan.num_steps
        for step in range(start, stop):
            yield self.batch(step, stop)

    def close(self) -> None:
        """Stop the threads, after the portions they are at; may be called again."""
        for step in list(self._started):
            self._cancel(step)
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self, step: int) -> _Started:
        """Have the portions of `step` filled."""
        planned = self.plan.batch(step)
        positions = torch.from_numpy(planned.positions)
        count = len(positions)
        batch = Batch(
            images=self._empty(count),
            labels=self.labels[positions],
            weights=torch.ones(count),
            ids=positions,
            epoch=torch.from_numpy(planned.epoch),
        )
        portions = []
        for start in range(0, count, self.portion):
            part = slice(start, min(start + self.portion, count))
            portions.append(self._submit(planned, part, batch))
        return _Started(batch, portions)

    def _submit(self, planned: Planned, part: slice, batch: Batch) -> Future[list[Rejected]]:
        if self._pool is not None:
            return self._pool.submit(self._fill, planned, part, batch)
        done: Future[list[Rejected]] = Future()
        done.set_result(self._fill(planned, part, batch))
        return done

    def _fill(self, planned: Planned, part: slice, batch: Batch) -> list[Rejected]:
        """Write the pictures of one portion, augmented, and the weights into `batch`; return what was rejected."""
        epoch, positions = planned.epoch[part], planned.positions[part]
        images = batch.images[part]
        rejected = self._pictures(epoch, positions, images)
        if self.augment and self.device == "cpu":
            changed = self.augment(images, epoch, positions, cropped=self._crops)
            if changed is not images:
                images.copy_(changed)
        for place in rejected:
            batch.images[part.start + place] = GREY
            batch.weights[part.start + place] = 0
        return list(rejected.values())

    def _cancel(self, step: int) -> None:
        for portion in self._started.pop(step).portions:
            portion.cancel()

    def _empty(self, count: int) -> Tensor:
        """Return memory for pictures; an accelerator reads that which is pinned without holding up the CPU."""
        return torch.empty(count, *self._shape, dtype=torch.uint8, pin_memory=self.device == "cuda")

    @property
    def _shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        raise NotImplementedError

    def _pictures(self, epoch: np.ndarray, positions: np.ndarray, images: Tensor) -> dict[int, Rejected]:
        """Write the pictures into `images`; return {place: rejected}."""
        raise NotImplementedError

    def _reject(self, sample: int, reason: str) -> None:
        """Take note of a picture that could not be used; called in the order of the plan, in the caller's thread."""


class MemoryLoader(Loader):
    """Batches of pictures that are all in memory.

    Args:
        pixels: (M, C, H, W) uint8.
        labels: (N,) int64 class of each sample.
        rows: (N,) row of `pixels` of each sample, where they are not the same in number and order.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        plan: Plan | Once,
        augment: Augment | None = None,
        *,
        rows: Tensor | None = None,
        workers: int = 1,
        device: str = "cpu",
    ) -> None:
        portion = math.ceil(plan.batch_size / max(1, workers))
        super().__init__(labels, plan, augment, workers=workers, portion=portion, ahead=1, device=device)
        self.pixels, self.rows = pixels, rows

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(self.pixels.shape[1:])

    def _pictures(self, epoch: np.ndarray, positions: np.ndarray, images: Tensor) -> dict[int, Rejected]:
        chosen = torch.from_numpy(positions)
        torch.index_select(self.pixels, 0, chosen if self.rows is None else self.rows[chosen], out=images)
        return {}


def _pool(workers: int) -> ThreadPoolExecutor:
    """Return that many threads, each of which computes on one core, so that training keeps the others."""
    own = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="patchwords-loader", initializer=use_threads, initargs=(1,))
    started = Barrier(workers + 1)
    try:
        for _ in range(workers):
            pool.submit(started.wait)
        started.wait()
    except BaseException:  # an interrupt: no thread is left waiting
        started.abort()
        pool.shutdown()
        raise
    torch.set_num_threads(own)  # what a thread sets for itself also becomes the default of threads to come
    return pool


def use_threads(count: int) -> None:
    """Have operations called in this thread compute on `count` cores."""
    torch.set_num_threads(count)
    torch.get_num_threads()  # a thread takes the number last set by any at its first operation: now


def _lay(part: Tensor, place: Tensor, flipped: bool) -> None:
    """Write a picture (C, H, W) that lies pixel after pixel to its place, mirrored or not, a channel at a time."""
    pixels, channels = part.numpy(), place.numpy()
    for channel, values in enumerate(pixels):  # numpy's loops over bytes are faster here than a copy of the whole
        channels[channel] = values[:, ::-1] if flipped else values


class Files(Protocol):
    """What is asked of a source or of `Pictures`; called from several threads."""

    def read(self, number: int) -> bytes:
        """Return the bytes of one picture."""

    def where(self, number: int) -> str:
        """Return its name for a message."""


class StreamLoader(Loader):
    """Batches of pictures that are read and decoded when they are due.

    A picture that cannot be decoded has weight 0 and is told to `on_rejected`, once; no other stands in
    for it. Any fault of reading (gone, changed, not allowed) comes through: the data set is not what it was.

    Args:
        source: the files.
        numbers: (N,) number in `source` of each sample.
        paths: (N,) its name, for `on_rejected`.
        labels: (N,) int64 class of each sample.
        preprocess: from bytes to pixels; a random crop is cut out before it is resized.
        on_rejected: called with (path, reason) in the caller's thread.
        scaled_decode: as in `Preprocess.crop_pixels`.
    """

    def __init__(
        self,
        source: Files,
        numbers: Sequence[int],
        paths: Sequence[str],
        labels: Tensor,
        plan: Plan | Once,
        preprocess: Preprocess,
        augment: Augment | None = None,
        *,
        workers: int = 2,
        on_rejected: Callable[[str, str], None] | None = None,
        scaled_decode: bool = False,
        device: str = "cpu",
    ) -> None:
        super().__init__(labels, plan, augment, workers=workers, portion=8, ahead=2, device=device)
        self.source, self.numbers, self.paths, self.preprocess = source, numbers, paths, preprocess
        self.on_rejected, self.scaled_decode = on_rejected, scaled_decode
        self._told: set[int] = set()

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.preprocess.channels, *self.preprocess.image_size

    def _pictures(self, epoch: np.ndarray, positions: np.ndarray, images: Tensor) -> dict[int, Rejected]:
        rejected = {}
        numbers = [int(self.numbers[sample]) for sample in positions.tolist()]
        files = [self.source.read(number) for number in numbers]
        if self._crops:
            boxes = self.augment.crop_boxes(epoch, positions, [stated_size(data) for data in files])
            flips = self.augment.flips(epoch, positions).tolist()
        for place, (number, data) in enumerate(zip(numbers, files, strict=True)):
            name = self.source.where(number)
            try:
                if self._crops:
                    part = self.preprocess.crop_pixels(data, boxes[place], name, scaled=self.scaled_decode)
                    _lay(part, images[place], flips[place])
                else:
                    images[place] = self.preprocess.pixels(data, name)
            except DataError as error:
                images[place] = GREY
                rejected[place] = (int(positions[place]), error.what)
        return rejected

    @property
    def _crops(self) -> bool:
        return self.augment is not None and self.augment.config.crop == "random_resized"

    def _reject(self, sample: int, reason: str) -> None:
        if self.on_rejected is not None and sample not in self._told:
            self._told.add(sample)
            self.on_rejected(self.paths[sample], reason)
