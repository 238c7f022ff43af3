"""S-25: the paper discards convolutions."""

from __future__ import annotations

import torch

from ..models import build_empty, model_config
from .draws import drawn_model, normal
from .idea import Check, Effort, Idea, Result, verdict_of
from .operations import Operations

SHIPPED = ("vit_tiny_patch4_32", "vit_base_patch16_224", "vit_base_patch32_224", "vit_large_patch16_224")
HYBRID = "vit_base_r50_s16_224"
FORBIDDEN = ("conv", "pool")
"""parts of the names of operations"""


def run(effort: Effort) -> Result:
    """List the operations of the models that are shipped, forward and backward, and of a hybrid beside them."""
    found = {name: audit(name) for name in SHIPPED}
    trained = training(effort.seed)
    hybrid = audit(HYBRID)
    checks = (
        *(Check(f"convolutions and poolings in {name}", float(count), "==", 0.0) for name, (count, _) in found.items()),
        Check("the same in a training step of a small ViT, backward included", float(trained), "==", 0.0),
        Check(
            f"the same in a hybrid ({HYBRID}): what the audit finds where there are some", float(hybrid[0]), ">", 0.0
        ),
    )
    reason = (
        "No operation of the shipped ViTs is a convolution or a pooling, forward or backward: the patch step is a "
        f"reshaping and a matrix product. The same audit finds {hybrid[0]} in the hybrid."
    )
    figures = {f"operations in {name}": total for name, (_, total) in found.items()}
    return Result(verdict_of(checks), reason, checks, figures)


def audit(name: str) -> tuple[int, int]:
    """Return how many operations of a model of the zoo are forbidden, and how many there are; nothing is computed."""
    model = build_empty(model_config(name)).eval()
    rows, columns = model.config.image_size
    with torch.no_grad(), Operations() as operations:
        model(torch.empty(1, model.config.in_channels, rows, columns, device="meta"))
    return len(operations.named(*FORBIDDEN)), len(operations.seen)


def training(seed: int) -> int:
    """Return how many operations of a step of training are forbidden."""
    model = drawn_model(model_config("vit_micro_patch4_32"), seed, torch.float32).train()
    with Operations() as operations:
        model(normal(seed, "no_conv", 1, 3, 32, 32, dtype=torch.float32)).square().sum().backward()
    return len(operations.named(*FORBIDDEN))


IDEA = Idea(
    name="no-conv",
    number="S-25",
    claim="The Vision Transformer completely discards convolutions; even the patch step is one matrix product.",
    experiment="List every operation that the shipped models run, in inference and in a training step.",
    paper="2010.11929, sec. 1 and 3.1",
    trained=False,
    run=run,
)
