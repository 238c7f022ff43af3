"""Kernels: pieces of the model with gradients written by hand, for CPUs: bfloat16 in training, float32 on AMD.

autograd makes the same gradients by the same formulas; what differs is the work around them. Measured alone, one
thread of a Zen 4, torch 2.13, `vit_tiny_patch4_32`:

- `attention`: q k^T, the softmax and the product by v as batched products; the backward pass of torch's fused kernel
  alone takes up to 40 % of a step (Zen 5). The scale rides in the product, scores and softmax share one buffer, so do
  their gradients, and q, k, v and their gradients are moved in one copy each. timm's step with fused attention and
  float32 weights runs at 0.43 of the GEMM peak here, with plain attention and bfloat16 weights at 0.67.
- `dense`: the gradient of the weight is x^T g or its transpose g^T x; on a Zen 4 oneDNN makes the one with the longer
  rows 1.05 to 1.13 times as fast (autograd always asks for g^T x). On a Zen 5 it does not, and a step through torch's
  own gradients, which call no Python, is 1.01 to 1.05 times as fast: there they are used.
- `dense` in float32: torch asks MKL, which takes a slower path on processors of AMD; oneDNN does not. One thread of a
  Zen 5, GFLOP/s of MKL and oneDNN for 1576 x 384 by 384 x 1536: forward 110 and 241, gradient of the input 109 and 254,
  of the weight 107 and 199; for 50 x 192 by 192 x 192 101 and 119.

Tried and left out, because it changed nothing: one function for the whole MLP with the gradient of GELU in place, bias
and residual as epilogues of oneDNN's product, the gradient of the bias by a product with ones.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

aten = torch.ops.aten

ONEDNN_PRODUCT = 5_000_000
"""multiplications of a float32 product from which oneDNN is worth asking"""


def pay(tokens: Tensor) -> bool:
    """Return whether these kernels are the faster way to train on `tokens`: bfloat16 on a CPU, eager, not autocast."""
    return (
        tokens.dtype == torch.bfloat16
        and tokens.device.type == "cpu"
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


def dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x W^T + b: (..., M) of x (..., K), W (M, K) and b (M,) or None."""
    return _Dense.apply(x, weight, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what `dense` does, by it or by torch, whichever is faster."""
    return (dense if (pay(x) and long_rows_pay()) or _pays_in_float32(x, weight) else F.linear)(x, weight, bias)


def _pays_in_float32(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and mkl_is_slow()
        and x.numel() * len(weight) >= ONEDNN_PRODUCT  # last: a size that is not known is not compared
    )


@cache
def _amd_family() -> int:
    """Return the family of a processor of AMD: 25 Zen 3 and 4, 26 Zen 5; 0 of others, and where it is not said.

    Asked of the processor and not of a clock: the same machine must give the same bits every time.
    """
    cpuinfo = Path("/proc/cpuinfo")
    said = cpuinfo.read_text() if cpuinfo.exists() else ""
    family = re.search(r"^cpu family\s*: (\d+)", said, re.MULTILINE)
    return int(family[1]) if family and "AuthenticAMD" in said else 0


def long_rows_pay() -> bool:
    """Return whether bfloat16 products with longer rows are so much faster that `dense` is: on a Zen 4."""
    return _amd_family() == 25


def mkl_is_slow() -> bool:
    """Return whether the processor is of AMD, whose AVX-512 MKL does not use, and oneDNN is there instead."""
    return _amd_family() > 0 and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b, in float32 by oneDNN where that is the faster one."""
    if _pays_in_float32(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


if torch.backends.mkldnn.is_available():

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _flops(x: torch.Size, weight: torch.Size, *_: Any, **__: Any) -> int:
        """Return what torch counts for the same product of its own."""
        return 2 * x.numel() * weight[0]


def attention(qkv: Tensor, num_heads: int, bias: Tensor | None = None) -> Tensor:
    """Return the heads' softmax(q k^T / sqrt(D_h) + bias) v side by side (2010.11929, eq. 6-8).

    Args:
        qkv: (B, T, 3 D), the q of all heads, then k, then v.
        bias: (1, heads, T, T) or None.

    Returns:
        (B, T, D).
    """
    return _Attention.apply(qkv, num_heads, bias)


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.shape, rows = x.shape, _rows(x)
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight, bias).view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows, needs = _rows(grad), ctx.needs_input_grad
        return (
            _product(rows, weight.t()).view(ctx.shape) if needs[0] else None,
            _weight_gradient(rows, x) if needs[1] else None,
            rows.sum(0) if needs[2] else None,
        )


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, num_heads: int, bias: Tensor | None) -> Tensor:
        batch, count, width = qkv.shape
        ctx.sizes = batch, num_heads, count, width // (3 * num_heads)
        ctx.scale = ctx.sizes[-1] ** -0.5
        q, k, v = _split_heads(qkv, 3, ctx.sizes)
        weights = q.new_empty(*q.shape[:2], count).baddbmm_(q, k.transpose(1, 2), beta=0, alpha=ctx.scale)
        if bias is not None:
            weights.view(batch, num_heads, count, count).add_(bias)
        torch.softmax(weights, -1, out=weights)
        ctx.save_for_backward(q, k, v, weights)
        return _join_heads(weights.bmm(v)[None], ctx.sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor | None]:
        q, k, v, weights = ctx.saved_tensors
        (grad,) = _split_heads(grad, 1, ctx.sizes)
        scores = grad.bmm(v.transpose(1, 2))
        aten._softmax_backward_data.out(scores, weights, -1, weights.dtype, grad_input=scores)
        count = weights.shape[-1]
        grad_bias = scores.view(*ctx.sizes[:2], count, count).sum(0, keepdim=True) if ctx.needs_input_grad[2] else None
        grads = grad.new_empty(3, *q.shape)
        grads[0].baddbmm_(scores, k, beta=0, alpha=ctx.scale)
        grads[1].baddbmm_(scores.transpose(1, 2), q, beta=0, alpha=ctx.scale)
        torch.bmm(weights.transpose(1, 2), grad, out=grads[2])
        return _join_heads(grads, ctx.sizes), None, grad_bias


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Return g^T x (M, K) of g (N, M) and x (N, K), computed as the product with the longer rows."""
    if _pays_in_float32(grad, x.t()):
        return _product(grad.t(), x.t())
    return x.t().mm(grad).t() if grad.shape[1] >= x.shape[1] else grad.t().mm(x)


def _split_heads(x: Tensor, parts: int, sizes: tuple[int, int, int, int]) -> tuple[Tensor, ...]:
    """Return `parts` tensors (B heads, T, D_h) of x (B, T, parts D)."""
    batch, heads, count, width = sizes
    split = x.view(batch, count, parts, heads, width).permute(2, 0, 3, 1, 4)
    return split.reshape(parts, batch * heads, count, width).unbind(0)


def _join_heads(x: Tensor, sizes: tuple[int, int, int, int]) -> Tensor:
    """Return (B, T, parts D) of x (parts, B heads, T, D_h)."""
    batch, heads, count, width = sizes
    joined = x.view(-1, batch, heads, count, width).permute(1, 3, 0, 2, 4)
    return joined.reshape(batch, count, -1)
