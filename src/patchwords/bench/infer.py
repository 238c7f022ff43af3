"""Inference: torch in float32 and bfloat16, logits checked against float32, then timed in turn."""

from __future__ import annotations

import copy

import torch

from ..cost import cost_of
from ..models import create_model
from .peak import measure_peak
from .timing import Check, Row, alternate

BOUNDS = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""of the difference of the logits, as a share of their norm"""


@torch.inference_mode()
def measure_inference(name: str, batch_size: int, rounds: int, peers: bool = False, **options: int) -> list[Row]:
    """Return a row for each precision; the reference answers picture by picture, so that batching is checked too."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=10, **options).eval()
    torch.nn.init.normal_(model.head.weight, std=0.02)  # a head of zeros would answer zero for everything
    images = torch.randn(batch_size, 3, *model.config.image_size)
    wanted = torch.cat([model(image[None]) for image in images])
    works, checks = {}, {}
    for dtype, bound in BOUNDS.items():
        side = f"patchwords torch {'fp32' if dtype == torch.float32 else 'bf16'}"
        own, pixels = copy.deepcopy(model).to(dtype), images.to(dtype)
        error = ((own(pixels).float() - wanted).norm() / wanted.norm()).item()
        checks[side, dtype] = (Check("logits as in float32, one by one", error, bound),)
        if error <= bound:
            works[side] = lambda own=own, pixels=pixels: own(pixels)
    seconds = alternate(works, rounds)
    flops, rows = batch_size * cost_of(model.config).flops, []
    for (side, dtype), found in checks.items():
        taken = seconds.get(side, ())
        share = flops / min(taken) / measure_peak(dtype) if taken else None
        rows.append(Row(f"infer {name}, batch {batch_size}", side, found, taken, share))
    return rows
