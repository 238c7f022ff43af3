"""The one way from the bytes of a picture to a tensor: decode, resize, normalise; the same in every command.

Resizing is `torch.nn.functional.interpolate` on uint8 with antialias, everywhere: along the rows, then along
the columns, within two levels of Pillow's resize of the same name in that order (nearly always equal), and
several times as fast. Pillow 13 takes the other order where the height shrinks by more than the width, and is
some levels off at sharp edges then. A picture that has the wanted size already is never touched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from .config import INTERPOLATIONS, RESIZES, DataConfig
from .decode import DECODE_RULE, decode, stated_size
from .device import beside
from .errors import CheckpointError, ConfigError

Box = tuple[int, int, int, int]
"""(top, left, rows, columns) in pixels of the upright picture"""

_RESAMPLE = {"bilinear": 2, "bicubic": 3}
"""interpolation -> Pillow's number, as in preprocessor_config.json"""
_LONGEST = 16
"""before a centre crop a picture is at most this many times as long as the crop"""


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How a picture becomes the input of one model; stored beside its weights as preprocessor_config.json."""

    image_size: tuple[int, int] = (224, 224)
    """pixels (rows, columns)"""
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """per channel, of values in 0..1"""
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    """per channel, of values in 0..1"""
    resize: str = "crop"
    """squash: to the size whatever the shape; crop: so that it covers size / crop_fraction, then the centre"""
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"

    @classmethod
    def from_data(cls, data: DataConfig) -> Preprocess:
        """Return the preprocessing that `data` asks for."""
        return cls(**{name: getattr(data, name) for name in cls.__dataclass_fields__})

    def pixels(self, data: bytes, name: str = "") -> torch.Tensor:
        """Return a picture as the model sees it in evaluation, uint8 (channels, rows, columns).

        Raises:
            DataError: the picture cannot be used; the message starts with `name`.
        """
        self._require_channels()
        picture = _channels_first(decode(data, self.channels, name))
        if picture.shape[1:] == self.image_size:
            return picture.contiguous()
        picture = self._without_far_ends(picture)
        rows, columns = self._covering_size(picture.shape[1], picture.shape[2])
        picture = self._resized(picture, (rows, columns))
        top, left = (rows - self.image_size[0]) // 2, (columns - self.image_size[1]) // 2
        return picture[:, top : top + self.image_size[0], left : left + self.image_size[1]].contiguous()

    def crop_pixels(
        self, data: bytes, box: Callable[[int, int], Box], name: str = "", *, scaled: bool = False
    ) -> torch.Tensor:
        """Return one part of a picture at the model's size, uint8 (channels, rows, columns): a view of rows of pixels.

        The part is cut out before it is resized, so that the rest costs nothing but its decoding; below the part
        not even that, of most JPEGs.

        Args:
            data: the whole file.
            box: from (rows, columns) of the upright picture to the part; clipped to the picture.
            name: of the file, for the message.
            scaled: decode a JPEG at 1/2, 1/4 or 1/8 of its size where the part is large enough for that: what is
                left of it is never smaller than the model's size, so that the resize still shrinks.

        Raises:
            DataError: as `pixels`.
        """
        self._require_channels()
        stated, scale, needed = stated_size(data), 1, 0
        if stated and stated[2]:
            part = _clipped(box(*stated[:2]), stated[:2])
            scale = next(s for s in (8, 4, 2, 1) if s == 1 or (scaled and self._covers(part, s)))
            needed = part[0] + part[2]
        picture = decode(data, self.channels, name, scale=scale, rows=needed, writable=False)
        if not (stated and stated[2]):
            part = _clipped(box(*picture.shape[:2]), picture.shape[:2])
        top, left, rows, columns = part
        bottom, right = (-(-stop // scale) for stop in (top + rows, left + columns))
        planes = _channels_first(np.array(picture[top // scale : bottom, left // scale : right]))
        return planes if planes.shape[1:] == self.image_size else self._resized(planes, self.image_size)

    def _covers(self, part: Box, scale: int) -> bool:
        return part[2] >= scale * self.image_size[0] and part[3] >= scale * self.image_size[1]

    def normalize(self, pixels: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return (x / 255 - mean) / std of uint8 (batch, channels, rows, columns), on the same device.

        It is computed in float32, then rounded to `dtype`.
        """
        given = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        mean, std = (beside(values, pixels) for values in given)
        return pixels.to(torch.float32).div_(255).sub_(mean).div_(std).to(dtype)

    def to_json(self) -> dict[str, Any]:
        """Return the content of preprocessor_config.json, in Hugging Face's names."""
        rows, columns = self.image_size
        values: dict[str, Any] = {
            "image_processor_type": "ViTImageProcessor",
            "do_convert_rgb": self.channels == 3,
            "do_resize": True,
            "size": {"height": rows, "width": columns},
            "resample": _RESAMPLE[self.interpolation],
            "do_center_crop": self.resize == "crop",
            "crop_pct": self.crop_fraction,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
            "channels": self.channels,
            "decode_rule": DECODE_RULE,
        }
        if self.resize == "crop":
            values["size"] = {"shortest_edge": _floor(min(rows, columns) / self.crop_fraction)}
            values["crop_size"] = {"height": rows, "width": columns}
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any] | str, where: str = "preprocessor_config.json") -> Preprocess:
        """Return the preprocessing of a preprocessor_config.json, ours or another library's.

        Raises:
            CheckpointError: not such a file, or it asks for what is not done here.
        """
        try:
            values = json.loads(values) if isinstance(values, str) else values
            return cls._from_names(values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"is not a preprocessing that can be followed ({' '.join(str(error).split())})",
                where=where,
                fix="Use the file that belongs to the model",
            ) from None

    @classmethod
    def _from_names(cls, values: dict[str, Any]) -> Preprocess:
        crop = bool(values.get("do_center_crop", False))
        size = values["size"] if isinstance(values["size"], dict) else _square(values["size"])
        wanted = values.get("crop_size", size) if crop else size
        wanted = wanted if isinstance(wanted, dict) else _square(wanted)
        rows, columns = int(wanted["height"]), int(wanted["width"])
        short = size["shortest_edge"] if "shortest_edge" in size else min(size["height"], size["width"])
        mean, std = (tuple(float(v) for v in values[name]) for name in ("image_mean", "image_std"))
        made = cls(
            image_size=(rows, columns),
            channels=int(values.get("channels", len(mean))),
            mean=mean,
            std=std,
            resize="crop" if crop else "squash",
            crop_fraction=float(values.get("crop_pct") or min(rows, columns) / short),
            interpolation={number: name for name, number in _RESAMPLE.items()}[values.get("resample", 2)],
        )
        if values.get("decode_rule", DECODE_RULE) != DECODE_RULE:
            raise ValueError(f"decode rule {values['decode_rule']}, this version follows {DECODE_RULE}")
        if not (len(mean) == len(std) == made.channels and made.channels in (1, 3) and min(std) > 0):
            raise ValueError("image_mean and image_std need one value for each of 1 or 3 channels, std above 0")
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if not values.get(step, True):
                raise ValueError(f"{step} is off")
        if abs(values.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
            raise ValueError("rescale_factor is not 1/255")
        if min(made.image_size) < 1 or not 0 < made.crop_fraction <= 1:
            raise ValueError("size and crop_size do not fit")
        return made

    def __post_init__(self) -> None:
        assert self.resize in RESIZES and self.interpolation in INTERPOLATIONS

    def _require_channels(self) -> None:
        """Raise ConfigError for a model of other channels than pictures have."""
        if self.channels not in (1, 3):
            what = f"the model reads {self.channels} channels, a picture has 1 (grey) or 3 (RGB)"
            raise ConfigError(what, where="channels", fix="Give --channels 3")

    def _covering_size(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the size before the centre crop; for a square it is that of timm and torchvision.

        One side becomes floor(wanted / crop_fraction) and the other follows, rounded down.
        """
        if self.resize == "squash":
            return self.image_size
        tall, wide = (_floor(side / self.crop_fraction) for side in self.image_size)
        if tall * columns >= wide * rows:  # the rows decide
            return tall, max(wide, tall * columns // rows)
        return max(tall, wide * rows // columns), wide

    def _without_far_ends(self, picture: torch.Tensor) -> torch.Tensor:
        """Return the middle of a picture so long and thin that covering the size would take gigabytes."""
        sides = self._covering_size(picture.shape[1], picture.shape[2])
        for axis, (side, wanted) in enumerate(zip(sides, self.image_size, strict=True), start=1):
            if side > _LONGEST * wanted:
                length = picture.shape[axis]
                kept = max(1, length * _LONGEST * wanted // side)
                picture = picture.narrow(axis, (length - kept) // 2, kept)
        return picture

    def _resized(self, picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return (channels, rows, columns), pixel after pixel in memory where `picture` is: by far the fastest."""
        batch = picture.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)
        return functional.interpolate(batch, size, mode=self.interpolation, antialias=True, align_corners=False)[0]


def _clipped(box: Box, size: tuple[int, int]) -> Box:
    """Return the part of a box that lies in a picture of (rows, columns), at least one pixel."""
    top, left = (min(max(start, 0), side - 1) for start, side in zip(box[:2], size, strict=True))
    rows, columns = (
        min(max(length, 1), side - at) for length, side, at in zip(box[2:], size, (top, left), strict=True)
    )
    return top, left, rows, columns


def _channels_first(picture: np.ndarray) -> torch.Tensor:
    """Return a (rows, columns, channels) array as (channels, rows, columns), without a copy."""
    return torch.from_numpy(picture).permute(2, 0, 1)


def _floor(value: float) -> int:
    return math.floor(value + 1e-6)  # 0.9 * 10 must not become 8


def _square(side: int) -> dict[str, int]:
    return {"height": int(side), "width": int(side)}
