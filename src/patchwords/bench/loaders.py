"""Loaders of others: torch's DataLoader over Pillow or simplejpeg, and webdataset.

They are told what to cut out, to mirror and to erase, so that every side makes the same pictures and can be checked
against the others; what drawing these numbers would cost them is not counted.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

SIZE = 224
FILTER = Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Cut:
    """What becomes of one picture."""

    number: int
    """of the picture in its source"""
    box: tuple[int, int, int, int]
    """(left, top, right, bottom), as Pillow has it"""
    flipped: bool

    def of(self, image: Image.Image, rows_first: bool = False) -> Tensor:
        """Return the part of a picture at the model's size, uint8 (3, SIZE, SIZE).

        Args:
            rows_first: resize along the rows, then along the columns, whatever this Pillow would do.
        """
        part = image.crop(self.box)  # `box` of resize would look beyond the box
        if rows_first:
            part = part.resize((SIZE, part.height), FILTER)
        part = part.resize((SIZE, SIZE), FILTER)
        if self.flipped:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(part)).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class Files(Dataset):
    """Pictures in files, each opened, cut, resized and mirrored by Pillow."""

    paths: Sequence[str]
    cuts: Sequence[Cut]
    open: Callable[[str], Image.Image]

    def __len__(self) -> int:
        return len(self.cuts)

    def __getitem__(self, place: int) -> Tensor:
        cut = self.cuts[place]
        return cut.of(self.open(self.paths[cut.number]))


def by_pillow(path: str) -> Image.Image:
    """Return a picture, decoded."""
    return Image.open(path).convert("RGB")


def by_simplejpeg(path: str) -> Image.Image:
    """Return a JPEG, decoded at 1/2 or less of its size where that is enough for the whole of it."""
    import simplejpeg

    with open(path, "rb") as file:
        pixels = simplejpeg.decode_jpeg(file.read(), "RGB", min_height=SIZE, min_width=SIZE, min_factor=2)
    return Image.fromarray(pixels)


@dataclass(frozen=True)
class Small(Dataset):
    """Small pictures in memory, each shifted with a mirrored border, mirrored, normalised and erased by torch."""

    pixels: Tensor
    """(N, 3, H, W) uint8"""
    ids: Sequence[int]
    moves: Sequence[tuple[int, int, bool]]
    """(down, right, whether mirrored)"""
    holes: Sequence[tuple[int, int, int, int]]
    """(top, left, height, width)"""
    mean: Tensor
    std: Tensor
    """(3, 1, 1), of values in 0..1"""
    fill: float
    """of the hole, in 0..1"""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Tensor:
        image, (down, right, flipped) = self.pixels[self.ids[place]].float().div_(255), self.moves[place]
        reach, (height, width) = max(abs(down), abs(right)), image.shape[1:]
        if reach:
            image = torch.nn.functional.pad(image[None], (reach,) * 4, mode="reflect")[0]
            image = image[:, reach + down : reach + down + height, reach + right : reach + right + width]
        image = image.flip(-1) if flipped else image.clone()
        top, left, tall, wide = self.holes[place]
        image[:, top : top + tall, left : left + wide] = self.fill
        return image.sub_(self.mean).div_(self.std)


def batches(dataset: Dataset, batch_size: int, workers: int) -> DataLoader:
    """Return torch's loader of a data set; its processes stay when a round is over."""
    context = "fork" if workers else None
    return DataLoader(
        dataset, batch_size, num_workers=workers, persistent_workers=workers > 0, multiprocessing_context=context
    )


def webdataset(shards: Sequence[str], cuts: Sequence[Cut], batch_size: int, workers: int) -> DataLoader:
    """Return webdataset's loader of (pictures, numbers) of raw shards, cut, resized and mirrored by Pillow.

    Raises:
        ImportError: webdataset is not there.
    """
    from webdataset import WebDataset

    by_number = {cut.number: cut for cut in cuts}

    def cut(sample: dict) -> tuple[Tensor, int]:
        number, pixels = int(sample["__key__"]), np.load(io.BytesIO(sample["npy"]))
        return by_number[number].of(Image.fromarray(pixels)), number

    dataset = WebDataset(list(shards), shardshuffle=False, empty_check=False).map(cut)
    return batches(dataset, batch_size, workers)
