"""Attribution from one backward pass: input gradient, gradient x input, Grad-CAM on tokens, gradient rollout.

| method            | what                                                       | source                             |
|-------------------|------------------------------------------------------------|------------------------------------|
| `gradient`        | |d logit / d pixel|, summed over colours                   | 1312.6034, sec. 3                  |
| `gradient_input`  | that gradient times (pixel - baseline), summed             | 1605.01713                         |
| `grad_cam`        | max(0, sum over channels of mean gradient x token)         | 1610.02391, sec. 3, eq. 1-2        |
| `gradient_rollout`| max(0, gradient x attention), added up through the layers  | Chefer et al., 2103.15679, eq. 5-6 |

All that are asked for come from the same forward and backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .attribution import Attribution, Question
from .results import Progress
from .still import chunks, still
from .stream import as_tokens, choose, is_layer, place
from .trace import check_attends

GRADIENT_METHODS = {
    "gradient": "logits per unit of normalised brightness",
    "gradient_input": "logits",
    "grad_cam": "relevance",
    "gradient_rollout": "relevance",
}
"""name -> unit"""


def attribute_by_gradient(
    question: Question,
    methods: Sequence[str] = tuple(GRADIENT_METHODS),
    *,
    layer: str = "",
    batch_size: int = 4,
    progress: Progress | None = None,
) -> tuple[Attribution, ...]:
    """Return the map of each of `methods`, from one backward pass for each picture.

    Args:
        layer: name of the record that `grad_cam` looks at; "": the tokens that the last block reads (its own are not
            read any more where the class token answers), or the last maps of a model without attention.
        batch_size: pictures whose graph is in memory at a time.

    Raises:
        ConfigError: `gradient_rollout` of a model without attention; no such layer.
    """
    maps: dict[str, list[Tensor]] = {method: [] for method in methods}
    images = question.images
    with still(question.model):
        for part in chunks(len(images), batch_size):
            for method, found in _one_pass(question, part, methods, layer).items():
                maps[method].append(found.cpu())
            if progress:
                progress(part.stop, len(images))
    return tuple(question.answer(name, GRADIENT_METHODS[name], torch.cat(found)) for name, found in maps.items())


def _one_pass(question: Question, part: slice, methods: Sequence[str], layer: str) -> dict[str, Tensor]:
    model, x, record = question.model, question.images[part].clone().requires_grad_(), {}
    logits = model(x, record).gather(1, question.targets[part, None]).sum()
    attention = [name for name in record if name.endswith("/weights")] if "gradient_rollout" in methods else []
    if "gradient_rollout" in methods and not attention:
        what = f"{type(model).__name__} has no attention for gradient_rollout"
        raise ConfigError(what, where="methods", fix="Choose another: integrated_gradients, grad_cam, occlusion")
    if "gradient_rollout" in methods:
        check_attends(model)
    read = choose([layer] if layer else None, record, [_last_tokens(record)])[0]
    sought = {"x": x} | {name: record[name] for name in (read, *attention)}
    gradients = dict(zip(sought, torch.autograd.grad(logits, list(sought.values()), allow_unused=True), strict=True))
    with torch.no_grad():
        found = {
            "gradient": lambda: gradients["x"].abs().sum(dim=1),
            "gradient_input": lambda: (gradients["x"] * (x - question.baseline)).sum(dim=1),
            "grad_cam": lambda: _grad_cam(model, x, record[read], gradients[read]),
            "gradient_rollout": lambda: _rollout(model, x, record, gradients),
        }
        return {method: found[method]() for method in methods}


def _last_tokens(record: dict[str, Any]) -> str:
    """Return the name of the last tokens all of which still reach the answer."""
    layers = [name for name in record if is_layer(name) and name != "encoded"]
    attends = any(name.endswith("/attn/weights") for name in record)
    return layers[-2] if attends and len(layers) > 1 else layers[-1] if attends else "encoded"


def _grad_cam(model: nn.Module, x: Tensor, value: Tensor, gradient: Tensor | None) -> Tensor:
    """Return (B, rows, columns): positive part of the tokens weighted by the mean gradient of each channel."""
    tokens, gradient = as_tokens(value), as_tokens(torch.zeros_like(value) if gradient is None else gradient)
    prefix, grid = place(model, x.shape[2:], tokens.shape[1])
    weights = gradient[:, prefix:].mean(dim=1, keepdim=True)
    return (tokens[:, prefix:] * weights).sum(dim=2).clamp_min(0).unflatten(1, grid)


def _rollout(model: nn.Module, x: Tensor, record: dict[str, Any], gradients: dict[str, Tensor | None]) -> Tensor:
    """Return (B, rows, columns): R = I, then R = R + mean over heads of max(0, gradient * A) R, layer by layer.

    It is read where the answer is: at the class token, as the mean over the patches, or through the pooling's own
    attention. What each token keeps of itself through the skip connections (I) is left out: it is the same for all.
    """
    prefix, relevance = model.num_prefix_tokens, None
    for name, weights in record.items():
        if not name.endswith("/attn/weights"):
            continue
        cam = _positive(weights, gradients[name])
        own = torch.eye(cam.shape[-1], dtype=cam.dtype, device=cam.device).expand_as(cam)
        relevance = own + cam if relevance is None else relevance + cam @ relevance
    if relevance is None:
        raise ConfigError("no attention between the tokens", where="methods")
    own = torch.eye(relevance.shape[-1], dtype=relevance.dtype, device=relevance.device)
    gained = relevance - own
    pool, answers = getattr(model.config, "pool", "mean"), 1 + getattr(model.config, "distillation_token", False)
    if pool == "map":
        read = (_positive(record["pool/weights"], gradients["pool/weights"]) @ relevance[:, prefix:])[:, 0]
    else:
        first, patches = gained[:, :answers].mean(dim=1), gained[:, prefix:].mean(dim=1)
        read = first if pool == "cls" else patches if pool == "mean" else first + patches
    _, grid = place(model, x.shape[2:], relevance.shape[-1])
    return read[:, prefix:].unflatten(1, grid)


def _positive(weights: Tensor, gradient: Tensor | None) -> Tensor:
    """Return the mean over heads of the positive part of gradient * attention; 0 where nothing depends on it."""
    product = torch.zeros_like(weights) if gradient is None else weights * gradient
    return product.clamp_min(0).mean(dim=1)
