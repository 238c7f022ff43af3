"""Changes of whole batches of uint8 pictures with given amounts: no randomness, any device, exact.

All take (B, C, H, W) uint8 with C = 1 or 3, and amounts of one value per picture; all return a new
batch of the same shape. Arithmetic is in integers, or in single float32 operations, each of which is
rounded in the one way that IEEE 754 allows: the result for a picture does not depend on its batch.
Colours follow Pillow's `ImageEnhance` and `ImageOps`, which the tests hold them to.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..device import beside

GREY = 128
"""what holes and uncovered corners are filled with: the middle, which normalizes to about 0"""

_BITS = 11  # of the weights of a blur: two of them and a pixel fit 31 bits


def _column(amount: Tensor, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return `amount` (B,) as (B, 1, 1, 1) on the device of `images`."""
    return beside(amount, images).to(dtype).view(-1, 1, 1, 1)


# geometry


def rearrange(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return pictures whose pixel (y, x) is pixel (rows[b, y], columns[b, x]) of the given ones.

    Args:
        rows: (B, H) int64; columns: (B, W) int64.
    """
    batch, channels, height, width = images.shape
    index = beside(rows, images)[:, :, None] * width + beside(columns, images)[:, None, :]
    index = index.view(batch, 1, -1).expand(-1, channels, -1)
    return images.reshape(batch, channels, -1).gather(2, index).view(batch, channels, rows.shape[1], columns.shape[1])


def move(images: Tensor, down: Tensor, right: Tensor, flipped: Tensor) -> Tensor:
    """Return the pictures with pixel (y, x) from (y + down, x + right), mirrored at the border, then flipped.

    On a processor whole rows of bytes are copied: each is a window into its own row with mirrored ends.

    Args:
        down: (B,) int64 of less than H either way; right: (B,) int64 of less than W; flipped: (B,) bool.
    """
    batch, channels, height, width = images.shape
    if not images.is_cpu:
        columns = torch.arange(width).expand(batch, -1)
        columns = torch.where(flipped[:, None], width - 1 - columns, columns)
        rows = reflect(torch.arange(height) + down[:, None], height)
        return rearrange(images, rows, reflect(columns + right[:, None], width))
    edge = int(right.abs().max()) if batch else 0
    order = flipped.int().argsort(stable=True)  # those to flip last; the windows put all back in their places
    upright, sorted_images = batch - int(flipped.sum()), images.index_select(0, order)
    framed = images.new_empty(batch, channels, height, width + 2 * edge)
    inside = framed[..., edge : edge + width]
    inside[:upright] = sorted_images[:upright]
    inside[upright:] = sorted_images[upright:].flip(-1)
    pixels, last = framed.numpy(), edge + width - 1
    for step in range(1, edge + 1):
        pixels[..., edge - step] = pixels[..., edge + step]
        pixels[..., last + step] = pixels[..., last - step]
    right = torch.where(flipped, -right, right)
    pictures = torch.empty_like(order).scatter_(0, order, torch.arange(batch)).view(-1, 1, 1)
    rows = reflect(torch.arange(height) + down[:, None], height)[:, None]
    lines = (pictures * channels + torch.arange(channels).view(-1, 1)) * height + rows
    starts = lines * framed.shape[-1] + (right + edge).view(-1, 1, 1)
    windows = framed.as_strided((framed.numel() - width + 1, width), (1, 1))
    return windows.index_select(0, starts.flatten()).view(images.shape)


def reflect(index: Tensor, length: int) -> Tensor:
    """Return `index` mirrored at both ends into 0 .. length - 1; the end pixels are not doubled."""
    last = length - 1
    return last - (last - index.abs()).abs()


def crop_resize(images: Tensor, boxes: Tensor, interpolation: str = "bicubic") -> Tensor:
    """Return the box of each picture resized to the full size, by the resize of `preprocess.py`.

    Args:
        boxes: (B, 4) int64 pixels: top, left, height, width; inside the picture.
    """
    result, size = torch.empty_like(images), images.shape[-2:]
    for place, (top, left, height, width) in enumerate(boxes.tolist()):
        part = images[place : place + 1, :, top : top + height, left : left + width]
        if not part.is_cpu:  # uint8 is for processors only; the same to one level
            part = part.float()
        part = functional.interpolate(part, size, mode=interpolation, antialias=True, align_corners=False)
        result[place] = part[0] if part.dtype == torch.uint8 else part[0].round().clamp(0, 255)
    return result


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Return pictures whose pixel (x, y) is the nearest one to (a x + b y + c, d x + e y + f), grey outside.

    Args:
        matrices: (B, 6) float: a, b, c, d, e, f of each picture; pixels count from the centre of the first.
    """
    batch, channels, height, width = images.shape
    framed = functional.pad(images, (1, 1, 1, 1), value=GREY)  # all that lies outside is on the frame
    a, b, c, d, e, f = (_column(matrices[:, i], images)[:, 0] for i in range(6))
    x = torch.arange(width, device=images.device, dtype=torch.float32).view(1, 1, width)
    y = torch.arange(height, device=images.device, dtype=torch.float32).view(1, height, 1)
    column = (a * x).add(b * y).add_(c + 1.5).clamp_(0, width + 1).int()  # 1 for the frame; positive, so int is floor
    row = (d * x).add(e * y).add_(f + 1.5).clamp_(0, height + 1).int()
    index = (row * (width + 2) + column).long().view(batch, 1, -1).expand(-1, channels, -1)
    return framed.view(batch, channels, -1).gather(2, index).view_as(images)


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Return the pictures with one box each made grey.

    Args:
        boxes: (B, 4) int64 pixels: top, left, height, width; may reach outside; empty where height is 0.
    """
    height, width = images.shape[-2:]
    if images.is_cpu:  # most have no hole
        images = images.clone(memory_format=torch.contiguous_format)
        pixels, places = images.numpy(), boxes[:, 2].nonzero()[:, 0]
        for place, (top, left, tall, wide) in zip(places.tolist(), boxes[places].tolist(), strict=True):
            pixels[place, :, max(top, 0) : max(top + tall, 0), max(left, 0) : max(left + wide, 0)] = GREY
        return images
    top, left, tall, wide = (side.view(-1, 1, 1, 1) for side in beside(boxes, images).unbind(1))
    y = torch.arange(height, device=images.device).view(1, 1, height, 1)
    x = torch.arange(width, device=images.device).view(1, 1, 1, width)
    hole = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)
    return torch.where(hole, GREY, images)


# tables: a new value for each of the 256


def look_up(images: Tensor, tables: Tensor) -> Tensor:
    """Return tables[b, c, value] for every value; tables (B, C or 1, 256) of any type, cut to 0..255."""
    batch, channels = images.shape[:2]
    tables = tables.clamp(0, 255).to(torch.uint8).expand(-1, channels, -1)
    return tables.gather(2, images.reshape(batch, channels, -1).long()).view_as(images)


def _values(images: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.arange(256, device=images.device, dtype=dtype).view(1, 1, 256)


def invert(images: Tensor) -> Tensor:
    """Return 255 minus each value."""
    return 255 - images


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Return the pictures with only the highest `bits` (B,), 1 to 8, of each value."""
    shift = (8 - _column(bits, images, torch.int32)[:, 0]).clamp(0, 7)
    return look_up(images, (_values(images, torch.int32) >> shift) << shift)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Return the pictures with values from `threshold` (B,) on inverted."""
    values = _values(images, torch.float32)
    return look_up(images, torch.where(values < _column(threshold, images)[:, 0], values, 255 - values))


def solarize_add(images: Tensor, addition: Tensor) -> Tensor:
    """Return the pictures with `addition` (B,) added to values below 128."""
    values = _values(images, torch.float32)
    return look_up(images, torch.where(values < 128, values + _column(addition, images)[:, 0], values))


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Return each value times `factor` (B,): 0 black, 1 unchanged."""
    return look_up(images, _values(images, torch.float32) * _column(factor, images)[:, 0])


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Return the distance of each value from the picture's mean grey times `factor` (B,)."""
    pixels = images.shape[-2] * images.shape[-1]
    total = grey(images).sum((1, 2, 3), dtype=torch.int64)
    mean = torch.div(2 * total + pixels, 2 * pixels, rounding_mode="floor").view(-1, 1, 1).float()
    change = (_values(images, torch.float32) - mean) * _column(factor, images)[:, 0]
    return look_up(images, mean + change)


def autocontrast(images: Tensor) -> Tensor:
    """Return each channel stretched so that its least value is 0 and its greatest 255."""
    flat = images.flatten(2)
    low, high = flat.amin(2, keepdim=True).int(), flat.amax(2, keepdim=True).int()
    values, span = _values(images, torch.int32), high - low
    stretched = torch.div((values - low) * 255, span.clamp_min(1), rounding_mode="floor")
    return look_up(images, torch.where(span > 0, stretched, values))


def equalize(images: Tensor) -> Tensor:
    """Return each channel with its values spread so that all are about equally frequent."""
    batch, channels = images.shape[:2]
    flat = images.reshape(batch * channels, -1)
    counts = torch.zeros(batch * channels, 256, dtype=torch.int64, device=images.device)
    counts = counts.scatter_add_(1, flat.long(), counts.new_ones(1, 1).expand_as(flat)).view(batch, channels, 256)
    greatest = flat.amax(1).long().view(batch, channels, 1)
    step = torch.div(flat.shape[1] - counts.gather(2, greatest), 255, rounding_mode="floor")
    below = counts.cumsum(2) - counts
    spread = torch.div(below + torch.div(step, 2, rounding_mode="floor"), step.clamp_min(1), rounding_mode="floor")
    return look_up(images, torch.where(step > 0, spread, _values(images, torch.int64)))


# neighbours and channels


def grey(images: Tensor) -> Tensor:
    """Return luma (B, 1, H, W), ITU-R 601-2 in 16-bit fixed point as Pillow's mode L."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.int().split(1, dim=1)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).to(torch.uint8)


def _blend(far: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Return far + factor * (images - far), cut to 0..255; a factor above 1 moves away from `far` (float)."""
    change = images.float().sub_(far).mul_(_column(factor, images))
    return change.add_(far).clamp_(0, 255).to(torch.uint8)


def saturate(images: Tensor, factor: Tensor) -> Tensor:
    """Return the distance of each pixel from its grey times `factor` (B,): 0 grey, 1 unchanged."""
    return images if images.shape[1] == 1 else _blend(grey(images).float(), images, factor)


def sharpen(images: Tensor, factor: Tensor) -> Tensor:
    """Return the distance of each pixel from its 3x3 mean (own weight 5) times `factor` (B,): 0 smooth, 1 unchanged."""
    height, width = images.shape[-2:]
    if height < 3 or width < 3:
        return images.clone()
    wide = images.short()
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[:, :, 1:-1, 1:-1]
    smooth = total.float().mul_(1 / 13).round_()  # thirteenths never lie half-way: the rounding is exact
    result = images.clone()  # the border stays as it is
    result[:, :, 1:-1, 1:-1] = _blend(smooth, images[:, :, 1:-1, 1:-1], factor)
    return result


def blur(images: Tensor, weights: Tensor) -> Tensor:
    """Return the pictures smoothed along rows and columns with their own kernel, border pixels repeated.

    Args:
        weights: (B, 2 r + 1) integers that sum to 2**11.
    """
    weights = beside(weights, images).int()
    rows = _smooth(images.int(), weights, 2)
    return ((_smooth(rows, weights, 3) + (1 << (2 * _BITS - 1))) >> (2 * _BITS)).to(torch.uint8)


def _smooth(values: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Return the weighted sums along one axis, int32, not yet divided."""
    radius, length = weights.shape[1] // 2, values.shape[axis]
    place = torch.arange(-radius, length + radius, device=values.device).clamp_(0, length - 1)
    framed = values.index_select(axis, place)
    total = torch.zeros_like(values)
    for tap in range(2 * radius + 1):
        total += framed.narrow(axis, tap, length) * weights[:, tap].view(-1, 1, 1, 1)
    return total
