"""Occlusion: cover one part of the picture at a time and see what the class loses (1311.2901, sec. 4.2)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..architecture import in_range
from .attribution import Attribution, Question
from .results import Progress
from .still import chunks, still
from .stream import grid_of

MOST_WINDOWS = 64
"""covers of a picture when `window` is left open: 7x7 of 2x2 patches at 224 pixels, 8x8 single ones at 32"""


def occlude(
    question: Question, *, window: int = 0, batch_size: int = 32, progress: Progress | None = None
) -> Attribution:
    """Return what the logit loses when the baseline covers each window of patches, shared out over its patches.

    Args:
        window: patches on a side of the cover; 0: the fewest with which at most `MOST_WINDOWS` covers do.
        batch_size: covered pictures at a time.

    Raises:
        ConfigError: a window larger than the picture.
    """
    images = question.images
    grid = grid_of(question.model, images.shape[2:])
    in_range("window", window, 0, max(grid))
    window = window or smallest_window(grid)
    covers = [(row, column) for row in range(0, grid[0], window) for column in range(0, grid[1], window)]
    maps = np.zeros((len(images), *grid), np.float32)
    jobs = [(picture, *cover) for picture in range(len(images)) for cover in covers]
    with still(question.model), torch.no_grad():
        for part in chunks(len(jobs), batch_size):
            covered = torch.stack([_covered(question, job, window) for job in jobs[part]])
            which = torch.tensor([job[0] for job in jobs[part]], device=images.device)
            logits = question.model(covered).gather(1, question.targets[which, None])[:, 0]
            losses = (question.logits[which] - logits).float().tolist()
            for (picture, row, column), loss in zip(jobs[part], losses, strict=True):
                cell = maps[picture, row : row + window, column : column + window]
                cell[:] = loss / cell.size
            if progress:
                progress(part.stop, len(jobs))
    baseline_logits = question.baseline_logits.float().cpu().numpy()
    return question.answer("occlusion", "logits", maps, baseline_logits=baseline_logits, passes=len(jobs))


def smallest_window(grid: tuple[int, int], most: int = MOST_WINDOWS) -> int:
    """Return the smallest side of a window of which at most `most` cover `grid`."""
    window = 1
    while math.prod(-(-count // window) for count in grid) > most:
        window += 1
    return window


def _covered(question: Question, job: tuple[int, int, int], window: int) -> Tensor:
    picture, row, column = job
    down, across = question.patch_px
    place = (
        slice(None),
        slice(row * down, (row + window) * down),
        slice(column * across, (column + window) * across),
    )
    image = question.images[picture].clone()
    image[place] = question.baseline[place]
    return image
