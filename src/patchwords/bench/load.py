"""Loading: pictures a second from files, shards and memory, and the time to the first batch.

Every round takes all pictures once, from nothing prepared to the last batch; each side makes the same crops, and is
compared with Pillow, or with one picture after another, before it is timed. Crops are those of the random resized crop
(area 0.08 to 1, ratio 3/4 to 4/3), to 224 pixels, bicubic with antialiasing.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..config import AugmentConfig, DataConfig
from ..data.augment import Augment
from ..data.augment_ops import GREY
from ..data.loader import Loader, MemoryLoader, StreamLoader
from ..data.manifest import Pictures, make_manifest
from ..data.pack import PackOptions, pack
from ..data.plan import Plan
from ..data.sources import open_source
from ..preprocess import Preprocess
from ..progress import say
from . import loaders
from .timing import Check, Row, alternate

CROPS = AugmentConfig(crop="random_resized", crop_scale=(0.08, 1.0), crop_ratio=(3 / 4, 4 / 3), flip=True)
SMALL = AugmentConfig(crop="shift", shift=4, flip=True, erasing=0.25)
PIXEL_BOUND, FAR_BOUND = 2, 1e-4
"""levels that any value may differ by from Pillow's decode, crop and resize; the share that may by more than one"""
BATCH, SMALL_BATCH, WORKERS = 64, 512, 2
CIFAR = Preprocess(image_size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616))


@dataclass
class Case:
    """Sides that make the same batches."""

    name: str
    count: int
    """pictures in a round"""
    references: tuple[Tensor, ...]
    """what a round gives; each picture may be that of any"""
    bound: float
    """of the difference of any value"""
    checks: dict[str, tuple[Check, ...]] = field(default_factory=dict)
    rounds: dict[str, Callable[[], object]] = field(default_factory=dict)

    def add(self, side: str, found: Tensor, work: Callable[[], object]) -> None:
        """Compare what a side gives, and have `work` timed if that is right."""
        off = torch.full((1, 2), float("nan"))
        if found.shape == self.references[0].shape:
            off = torch.tensor([_off(picture, *known) for picture, *known in zip(found, *self.references, strict=True)])
        checks = (Check("largest difference", off[:, 0].max().item(), self.bound),)
        if self.bound:
            checks += (Check("share of values off by more than 1", off[:, 1].mean().item(), FAR_BOUND),)
        self.checks[side] = checks
        if all(check.passed for check in checks):
            self.rounds[side] = work

    def measure(self, rounds: int) -> list[Row]:
        """Return the rows of all sides, timed in turn."""
        seconds = alternate(self.rounds, rounds)
        return [
            Row(self.name, side, checks, seconds.get(side, ()), None, self.count)
            for side, checks in self.checks.items()
        ]


def measure_load(
    rounds: int, peers: bool = False, pictures: int = 512, small_pictures: int = 20 * SMALL_BATCH
) -> list[Row]:
    """Return rows for JPEG files, raw shards, JPEG shards, small pictures in memory, and the first batch of JPEG files.

    Args:
        rounds: timed rounds of each case.
        peers: beside torch's DataLoader over Pillow and over simplejpeg, and beside webdataset where it is installed.
        pictures: of 500x375, made from the photographs in PATCHWORDS_DATA, or drawn where there are none.
        small_pictures: of 32x32.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        root = Path(folder) / "pictures"
        write_pictures(root, pictures)
        rows = []
        for options in (None, PackOptions(resize=256, raw=True, shard_size=16), PackOptions(resize=256, shard_size=4)):
            rows += _photographs(root, options, peers, opened).measure(rounds)
        rows += _first_batch(root, peers).measure(rounds)
        rows += _small(small_pictures, peers, opened).measure(rounds)
    return rows


def write_pictures(root: Path, count: int) -> None:
    """Write JPEG files of 500x375, quality 90, in two classes: photographs, then the same mirrored and turned."""
    data = os.environ.get("PATCHWORDS_DATA", "")
    photographs = sorted((Path(data) / "photos").glob("*")) if data else []
    turns = (None, *Image.Transpose)[:4]  # mirrored, upside down, both
    for number in range(count):
        if photographs:
            turn, place = divmod(number, len(photographs))
            image = Image.open(photographs[place]).convert("RGB").resize((500, 375), Image.Resampling.BICUBIC)
            image = image if turns[turn % 4] is None else image.transpose(turns[turn % 4])
        else:
            rng = np.random.default_rng(number)
            coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            grain = rng.normal(0, 8, (375, 500, 3))
            image = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)) + grain
            image = Image.fromarray(image.clip(0, 255).astype(np.uint8))
        path = root / "ab"[number % 2] / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)


def _photographs(root: Path, options: PackOptions | None, peers: bool, opened: ExitStack) -> Case:
    """Return the case of the files in `root`, or of the same packed by `options`."""
    kind = "JPEG 500x375" if options is None else f"shards of {'raw' if options.raw else 'JPEG'} 256 pixels"
    spec, shards = str(root), ()
    if options:
        packed = pack(open_source(root), root.with_name("raw" if options.raw else "jpeg") / "set", options)
        spec, shards = packed.index, packed.shards
    pictures = _open(spec)
    cuts = _cuts(pictures)
    case = Case(f"load {kind} to 224, batch {BATCH}", len(cuts), _by_pillow(pictures, cuts), PIXEL_BOUND)
    loader = opened.enter_context(_loader(pictures))
    _add(case, f"patchwords, {WORKERS} threads", lambda: _images(loader, len(cuts)))
    if peers and not options:
        for workers in (0, WORKERS):
            plain = loaders.batches(_files(pictures, cuts, loaders.by_pillow), BATCH, workers)
            _add(case, f"torch DataLoader and Pillow, {workers} workers", partial(iter, plain))
        fast = loaders.batches(_files(pictures, cuts, loaders.by_simplejpeg), BATCH, WORKERS)
        _add(case, f"torch DataLoader and simplejpeg, {WORKERS} workers", partial(iter, fast))
    if peers and options and options.raw:
        try:
            theirs = loaders.webdataset(shards, cuts, BATCH, WORKERS)
        except ImportError as error:
            say(f"bench: webdataset is left out: {error}")
        else:
            images, numbers = (torch.cat(part) for part in zip(*theirs, strict=True))
            places = {number: place for place, number in enumerate(numbers.tolist())}
            found = images[[places[cut.number] for cut in cuts]]
            case.add(f"webdataset and Pillow, {WORKERS} workers", found, lambda: _run(iter(theirs)))
    return case


def _first_batch(root: Path, peers: bool) -> Case:
    """Return the case of a loader that is made, asked for its first batch, and closed."""
    pictures = _open(str(root))
    cuts = _cuts(pictures)[:BATCH]
    case = Case(f"first batch of JPEG 500x375, {BATCH} pictures", BATCH, _by_pillow(pictures, cuts), PIXEL_BOUND)

    def ours() -> Iterator[Tensor]:
        with _loader(pictures) as loader:
            yield from _images(loader, BATCH)

    _add(case, f"patchwords, {WORKERS} threads", ours)
    for workers in (0, WORKERS) if peers else ():
        files = _files(pictures, cuts, loaders.by_pillow)
        _add(
            case, f"torch DataLoader and Pillow, {workers} workers",
            lambda files=files, workers=workers: iter(loaders.batches(files, BATCH, workers)),
        )  # fmt: skip
    return case


def _small(count: int, peers: bool, opened: ExitStack) -> Case:
    """Return the case of pictures of 32x32 in memory: shifted, mirrored, erased, normalised to bfloat16."""
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8))
    augment, plan = Augment(SMALL, 0), Plan(0, count, SMALL_BATCH)
    labels = torch.zeros(count, dtype=torch.int64)
    ids = np.concatenate([plan.batch(step).positions for step in range(count // SMALL_BATCH)])
    down, right = augment.shifts(0, ids, (32, 32))
    moves = list(zip(down.tolist(), right.tolist(), augment.flips(0, ids).tolist(), strict=True))
    holes = [tuple(hole) for hole in augment.holes(0, ids, (32, 32)).tolist()]
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (CIFAR.mean, CIFAR.std))
    single = loaders.Small(pixels, ids.tolist(), moves, holes, mean, std, GREY / 255)
    reference = torch.stack([single[place] for place in range(len(ids))]).bfloat16()
    case = Case(f"load 32x32 from memory to bfloat16, batch {SMALL_BATCH}", len(ids), (reference,), 0.0)

    for workers in range(WORKERS + 1):
        loader = opened.enter_context(MemoryLoader(pixels, labels, plan, augment, workers=workers))
        _add(
            case, f"patchwords, {workers} threads",
            lambda loader=loader: (CIFAR.normalize(x, torch.bfloat16) for x in _images(loader, len(ids))),
        )  # fmt: skip
    for workers in (0, WORKERS) if peers else ():
        theirs = loaders.batches(single, SMALL_BATCH, workers)
        _add(
            case, f"torch DataLoader, {workers} workers",
            lambda theirs=theirs: (images.bfloat16() for images in theirs),
        )  # fmt: skip
    return case


def _add(case: Case, side: str, batches: Callable[[], Iterator[Tensor]]) -> None:
    case.add(side, torch.cat(list(batches())), lambda: _run(batches()))


def _run(batches: Iterator[object]) -> None:
    """Take all batches, and let each go."""
    for _ in batches:
        pass


def _open(spec: str) -> Pictures:
    source = open_source(spec)
    return Pictures(source, make_manifest(source, DataConfig(val_fraction=0, test_fraction=0, workers=WORKERS)))


def _loader(pictures: Pictures) -> StreamLoader:
    """Return the loader that a training on these pictures has."""
    count, paths = len(pictures), [picture.path for picture in pictures.manifest.pictures]
    labels, plan = torch.from_numpy(pictures.manifest.labels), Plan(0, count, BATCH)
    return StreamLoader(
        pictures,
        range(count),
        paths,
        labels,
        plan,
        Preprocess(),
        Augment(CROPS, 0),
        workers=WORKERS,
        scaled_decode=True,
    )


def _images(loader: Loader, count: int) -> Iterator[Tensor]:
    """Yield the pictures of the first `count`, from nothing prepared."""
    return (batch.images for batch in loader.batches(0, count // loader.plan.batch_size))


def _cuts(pictures: Pictures) -> list[loaders.Cut]:
    """Return what our loader does to the pictures of its first epoch, in its order."""
    augment, plan = Augment(CROPS, 0), Plan(0, len(pictures), BATCH)
    ids = np.concatenate([plan.batch(step).positions for step in range(len(pictures) // BATCH)])
    cuts = []
    for number, flipped in zip(ids.tolist(), augment.flips(0, ids).tolist(), strict=True):
        width, height = _pillow(pictures.read(number)).size
        top, left, rows, columns = augment.crop_box(height, width, 0, number)
        cuts.append(loaders.Cut(number, (left, top, left + columns, top + rows), flipped))
    return cuts


def _pillow(data: bytes) -> Image.Image:
    """Return a picture as Pillow decodes it; stored pixels as they are."""
    if data.startswith(b"\x93NUMPY"):
        return Image.fromarray(np.load(io.BytesIO(data)))
    return loaders.by_pillow(io.BytesIO(data))


def _by_pillow(pictures: Pictures, cuts: list[loaders.Cut]) -> tuple[Tensor, Tensor]:
    """Return what Pillow makes of `cuts`: resized along the rows first, and as this Pillow does.

    From version 13 on it resizes along the columns first where the height shrinks by more than the width does; what is
    beyond black and white is clipped in between, which shows at sharp edges.
    """
    images = [_pillow(pictures.read(cut.number)) for cut in cuts]
    pairs = [(cut.of(image, rows_first=True), cut.of(image)) for cut, image in zip(cuts, images, strict=True)]
    first, plain = (torch.stack(part) for part in zip(*pairs, strict=True))
    return first, plain


def _off(picture: Tensor, *references: Tensor) -> tuple[float, float]:
    """Return how far a picture is from the nearest of some: the largest difference, the share of those above 1."""
    differences = [(picture.float() - reference.float()).abs() for reference in references]
    nearest = min(differences, key=lambda difference: difference.max().item())
    return nearest.max().item(), (nearest > 1).double().mean().item()


def _files(pictures: Pictures, cuts: list[loaders.Cut], opener: Callable[..., Image.Image]) -> loaders.Files:
    return loaders.Files([pictures.where(number) for number in range(len(pictures))], cuts, opener)
