"""Kernels: the training step's three heavy pieces, with their gradients written by hand, for bfloat16 on a CPU.

autograd makes the same gradients from the same formulas; these differ in how. Each line was measured alone on one
thread of a Zen 4 (torch 2.13, `vit_tiny_patch4_32`, 65 tokens, width 192); `benchmarks/training_step.py` measures all.

| what is done otherwise                                          | where                  | gain          |
|-----------------------------------------------------------------|------------------------|---------------|
| q k^T, softmax, product by v as batched matrix products, where  | `attention`            | the step 1.7x |
| torch's fused kernel has a slow backward pass; scores, softmax  |                        |               |
| and their gradients share one buffer, the scale rides in the    |                        |               |
| product; q, k, v and their gradients are moved in one copy each |                        |               |
| the weight's gradient is computed as the wide one of x^T g and  | `dense`, `mlp`         | 1.1x of that  |
| (g^T x): oneDNN is faster the longer the rows                   |                        | product       |
| the bias is added inside the product: addmm copies it out first | `dense`, `mlp`         | 0.04 of step  |
| the gradient of GELU overwrites the gradient it came from       | `mlp`                  | memory        |
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten


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


def mlp(x: Tensor, weight1: Tensor, bias1: Tensor | None, weight2: Tensor, bias2: Tensor | None) -> Tensor:
    """Return GELU(x W_1^T + b_1) W_2^T + b_2 with the exact GELU: (..., D) of x (..., D), W_1 (M, D), W_2 (D, M)."""
    return _Mlp.apply(x, weight1, bias1, weight2, bias2)


def attention(qkv: Tensor, num_heads: int) -> Tensor:
    """Return the heads' softmax(q k^T / sqrt(D_h)) v side by side (2010.11929, eq. 6-8).

    Args:
        qkv: (B, T, 3 D), the q of all heads, then k, then v.

    Returns:
        (B, T, D).
    """
    return _Attention.apply(qkv, num_heads)


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows, needs = _rows(grad), ctx.needs_input_grad
        return (
            rows.mm(weight).view(x.shape) if needs[0] else None,
            _weight_gradient(rows, _rows(x)) if needs[1] else None,
            rows.sum(0) if needs[2] else None,
        )


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Tensor:
        hidden = F.linear(x, w1, b1)
        active = F.gelu(hidden)
        ctx.save_for_backward(x, hidden, active, w1, w2)
        return F.linear(active, w2, b2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, active, w1, w2 = ctx.saved_tensors
        rows, needs = _rows(grad), ctx.needs_input_grad
        grad_w2 = _weight_gradient(rows, _rows(active)) if needs[3] else None
        grad_b2 = rows.sum(0) if needs[4] else None
        inner = rows.mm(w2)
        aten.gelu_backward.grad_input(inner, _rows(hidden), grad_input=inner)
        return (
            inner.mm(w1).view(x.shape) if needs[0] else None,
            _weight_gradient(inner, _rows(x)) if needs[1] else None,
            inner.sum(0) if needs[2] else None,
            grad_w2,
            grad_b2,
        )


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, num_heads: int) -> Tensor:
        batch, count, width = qkv.shape
        ctx.sizes = batch, num_heads, count, width // (3 * num_heads)
        ctx.scale = ctx.sizes[-1] ** -0.5
        q, k, v = _split_heads(qkv, 3, ctx.sizes)
        weights = q.new_empty(*q.shape[:2], count).baddbmm_(q, k.transpose(1, 2), beta=0, alpha=ctx.scale)
        torch.softmax(weights, -1, out=weights)
        ctx.save_for_backward(q, k, v, weights)
        return _join_heads(weights.bmm(v)[None], ctx.sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        (grad,) = _split_heads(grad, 1, ctx.sizes)
        scores = grad.bmm(v.transpose(1, 2))
        aten._softmax_backward_data.out(scores, weights, -1, weights.dtype, grad_input=scores)
        grads = grad.new_empty(3, *q.shape)
        grads[0].baddbmm_(scores, k, beta=0, alpha=ctx.scale)
        grads[1].baddbmm_(scores.transpose(1, 2), q, beta=0, alpha=ctx.scale)
        torch.bmm(weights.transpose(1, 2), grad, out=grads[2])
        return _join_heads(grads, ctx.sizes), None


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Return g^T x (M, K) of g (N, M) and x (N, K), computed as the product with the longer rows."""
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
