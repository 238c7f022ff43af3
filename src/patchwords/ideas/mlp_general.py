"""S-14: attention generalises the mixing of an MLP."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..architecture import ViTConfig
from ..figures.plot import Plot, Series
from ..models.attention import Attention, attend
from ..models.position import locate
from .draws import drawn_model, largest, normal
from .idea import Check, Effort, Idea, Result

TOKENS, CHANNELS = 12, 3


@torch.no_grad()
def run(effort: Effort) -> Result:
    """Write fixed mixings of tokens as attention, read them back, and see what an MLP on the whole picture takes."""
    stochastic, signed, back = mixings(effort.seed)
    frozen, content = variances(effort.seed)
    left = left_over(effort.seed)
    holds = (
        Check("a row-stochastic mixing W, by logits log W: largest error", stochastic, "<", 1e-6),
        Check("a signed mixing, by two heads of a ViT's attention and a token of zeros", signed, "<", 1e-6),
        Check("the mixing read back from the attention layer", back, "<", 1e-6),
        Check("variance of the weights over inputs, content-free heads", frozen, "==", 0.0),
        Check("variance of the weights over inputs, with content", content, ">", 1e-6),
        Check(f"a dense layer on the whole picture by {CHANNELS**2} signed mixings", left[-1], "<", 1e-12),
    )
    whole = Check("a dense layer on the whole picture by one signed mixing: share left over", left[0], "<", 1e-6)
    verdict = "refuted" if not all(check.met for check in holds) else "confirmed" if whole.met else "qualified"
    reason = (
        "Heads that do not look at content mix tokens by any fixed matrix: rows that sum to 1 by one head, signed rows "
        "by two heads and a token of zeros, a zero weight only in the limit; with content the matrix changes with the "
        f"input. A dense layer on the flattened picture is more than such a mixing ({100 * left[0]:.2g} % is left "
        f"over) and takes one pair of heads for each of its {CHANNELS**2} channel pairs."
    )
    figures = {"tokens": TOKENS, "channels": CHANNELS, "variance of weights with content": content}
    line = Series("", tuple(float(n + 1) for n in range(len(left))), tuple(left))
    plot = Plot("A dense layer on the whole picture as mixings of tokens", "signed mixings", "share left over", (line,))
    return Result(verdict, reason, (*holds, whole), figures, (plot,))


def mixings(seed: int) -> tuple[float, float, float]:
    """Return the errors of a row-stochastic mixing, of a signed one, and of the signed one read back; largest."""
    x = normal(seed, "mlp-general x", 1, 1, TOKENS, CHANNELS)
    positive = normal(seed, "mlp-general positive", TOKENS, TOKENS).softmax(dim=-1)
    nothing = torch.zeros_like(x)
    mixed, _ = attend(nothing, nothing, x, bias=positive.log())
    signed = normal(seed, "mlp-general signed", TOKENS, TOKENS)
    layer = written(seed, signed)
    unit = torch.eye(TOKENS, dtype=torch.float64)[:, :, None].expand(-1, -1, CHANNELS)  # picture i: token i is all ones
    back = layer(unit)[..., 0].T
    return largest(mixed[0, 0] - positive @ x[0, 0]), largest(layer(x[:, 0]) - signed @ x[0, 0]), largest(back - signed)


class Mixing:
    """A ViT's own attention whose two heads do not look at content: it mixes tokens by one signed matrix.

    A token is [content, its place as one-hot]; token 0 has no content and takes up what a row leaves of 1. With s at
    least the largest row sum of W+ and of W-, W = s (A+ - A-), A+ = W+ / s and A- = W- / s off token 0.
    """

    def __init__(self, attention: Attention, signed: Tensor) -> None:
        self.attention, count = attention, TOKENS + 1
        dim, width = attention.qkv.weight.shape[1], attention.qkv.weight.shape[1] // 2
        for parameter in (attention.qkv.weight, attention.qkv.bias, attention.proj.weight, attention.proj.bias):
            parameter.zero_()
        scale = max(float(signed.clamp(min=0).sum(dim=1).max()), float(signed.clamp(max=0).sum(dim=1).abs().max()))
        for head, part in enumerate((signed.clamp(min=0), (-signed).clamp(min=0))):
            shares = torch.zeros(count, count, dtype=torch.float64)
            shares[1:, 1:] = part / scale
            shares[:, 0] = 1 - shares[:, 1:].sum(dim=1)
            logits = shares.clamp(min=1e-30).log() * width**0.5  # attend divides by sqrt(D_h)
            q, k, v = (attention.qkv.weight[i * dim + head * width :][:width] for i in range(3))
            q[:count, CHANNELS : CHANNELS + count] = logits.T
            k[:count, CHANNELS : CHANNELS + count] = torch.eye(count, dtype=torch.float64)
            v[:CHANNELS, :CHANNELS] = torch.eye(CHANNELS, dtype=torch.float64)
            attention.proj.weight[:CHANNELS, head * width : head * width + CHANNELS] = (
                (-1) ** head * scale * torch.eye(CHANNELS, dtype=torch.float64)
            )

    def __call__(self, x: Tensor) -> Tensor:
        """Return W x (B, T, C) of x (B, T, C)."""
        dim = self.attention.qkv.weight.shape[1]
        tokens = x.new_zeros(len(x), TOKENS + 1, dim)
        tokens[:, 1:, :CHANNELS] = x
        tokens[:, :, CHANNELS : CHANNELS + TOKENS + 1] = torch.eye(TOKENS + 1, dtype=torch.float64)
        return self.attention(tokens, locate(_config(), (1, TOKENS), tokens))[:, 1:, :CHANNELS]


def _config() -> ViTConfig:
    width = TOKENS + 1 + CHANNELS
    return ViTConfig(
        image_size=(1, TOKENS), patch_size=(1, 1), dim=2 * width, depth=1, num_heads=2, mlp_dim=1, position="none",
        num_classes=0,
    )  # fmt: skip


def written(seed: int, signed: Tensor) -> Mixing:
    """Return the attention of a ViT that mixes tokens by the matrix `signed` (T, T)."""
    return Mixing(drawn_model(_config(), seed).blocks[0].attn, signed)


def variances(seed: int, inputs: int = 8) -> tuple[float, float]:
    """Return the variance of attention weights over inputs: of content-free heads, and of a drawn ViT's; means."""
    x = normal(seed, "mlp-general inputs", inputs, 1, TOKENS, CHANNELS)
    bias = normal(seed, "mlp-general logits", TOKENS, TOKENS)
    _, frozen = attend(torch.zeros_like(x), torch.zeros_like(x), x, bias=bias, explicit=True)
    record: dict[str, Tensor] = {}
    model = drawn_model(_config(), seed)
    model(normal(seed, "mlp-general pictures", inputs, 3, 1, TOKENS), record)
    return float((frozen - frozen[:1]).square().mean()), float(record["block00/attn/weights"].var(dim=0).mean())


def left_over(seed: int) -> list[float]:
    """Return what the best 1, 2, ... C^2 mixings leave of a random dense layer on all T C numbers; share of its norm.

    The layer is a sum of (mixing of tokens) x (matrix of channels); rearranged as (T T, C C) each is a term of rank
    one, so that singular values say what the best few leave (Van Loan and Pitsianis, 1993).
    """
    dense = normal(seed, "mlp-general dense", TOKENS, CHANNELS, TOKENS, CHANNELS)
    values = np.linalg.svd(dense.permute(0, 2, 1, 3).reshape(TOKENS**2, CHANNELS**2).numpy(), compute_uv=False)
    return [float(np.sqrt((values[n + 1 :] ** 2).sum() / (values**2).sum())) for n in range(len(values))]


IDEA = Idea(
    name="mlp-general",
    number="S-14",
    claim="Attention generalises an MLP: it can mix tokens by any fixed weights, and by weights that follow the input.",
    experiment="Write row-stochastic and signed mixings as attention and read them back; let the weights see content; "
    "split a dense layer into mixings.",
    paper="2010.11929, app. A; 2105.01601 for the mixing",
    trained=False,
    run=run,
)
