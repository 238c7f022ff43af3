"""A part of a model in figures, and the rules by which its layers are counted; no torch is imported here.

Counted are the multiplications of matrix products and convolutions (a multiplication and its addition are one
multiply-add, two operations), as the paper and `torch.utils.flop_counter` do. Biases, norms, softmax, activations,
pooling, positions and additions are left out: they are below 1 % of a ViT's operations, though not of its time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import prod

BYTES = {"fp32": 4, "bf16": 2}
"""precision -> bytes of a number"""


@dataclass(frozen=True)
class Kept:
    """What autograd keeps of one picture from the forward to the backward pass."""

    numbers: int = 0
    """in the type the model computes in"""
    float32: int = 0
    """in float32, whatever the model computes in"""
    flags: int = 0
    """of one byte: masks"""

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.numbers + other.numbers, self.float32 + other.float32, self.flags + other.flags)

    def __mul__(self, times: int) -> Kept:
        return Kept(self.numbers * times, self.float32 * times, self.flags * times)

    def bytes(self, precision: str) -> int:
        """Return the bytes in "fp32" or "bf16"."""
        return self.numbers * BYTES[precision] + 4 * self.float32 + self.flags


@dataclass(frozen=True)
class Part:
    """One part of a model, for one picture."""

    name: str
    parameters: int = 0
    macs: int = 0
    """multiply-adds of one forward pass"""
    kept: Kept = field(default=Kept())
    """for the backward pass, with attention in one fused kernel"""
    kept_written_out: Kept | None = None
    """the same where attention weights are written to memory; None: no difference"""
    alive: int = 0
    """most numbers in memory at once while it answers (without gradients), beside the weights and the picture"""
    alive_written_out: int | None = None
    """the same where attention weights are written to memory; None: no difference"""
    constant_macs: int = 0
    """those of `macs` whose input needs no gradient, as pixels do not: one product backwards for each, not two"""

    @property
    def flops(self) -> int:
        """Operations of one forward pass: two a multiply-add."""
        return 2 * self.macs

    @property
    def step_flops(self) -> int:
        """Operations of a forward and a backward pass."""
        return 2 * (3 * self.macs - self.constant_macs)

    def of_pixels(self) -> Part:
        """Return the part as one that reads what needs no gradient."""
        return replace(self, constant_macs=self.macs)

    def __add__(self, other: Part) -> Part:
        kept, written = self.kept + other.kept, self.held(True) + other.held(True)
        most, most_written = (max(self.peak(each), other.peak(each)) for each in (False, True))
        return replace(
            self,
            parameters=self.parameters + other.parameters,
            macs=self.macs + other.macs,
            constant_macs=self.constant_macs + other.constant_macs,
            alive=most,
            alive_written_out=None if most_written == most else most_written,
            kept=kept,
            kept_written_out=None if written == kept else written,
        )

    def shared(self, times: int) -> Part:
        """Return the part used `times` times with the same parameters."""
        return replace(self, macs=self.macs * times, kept=self.kept * times)

    def held(self, written_out: bool) -> Kept:
        """Return what is kept for the backward pass, with a fused kernel or with attention weights written out."""
        return self.kept if self.kept_written_out is None or not written_out else self.kept_written_out

    def peak(self, written_out: bool) -> int:
        """Return the most numbers in memory at once, with a fused kernel or with attention weights written out."""
        return self.alive if self.alive_written_out is None or not written_out else self.alive_written_out


def gathered(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return parts with the parts of one name added up, in order of first appearance; empty ones are left out."""
    found: dict[str, Part] = {}
    for part in parts:
        found[part.name] = found[part.name] + part if part.name in found else part
    return tuple(part for part in found.values() if part != Part(part.name))


def alive(name: str, numbers: int, written_out: int | None = None) -> Part:
    """A moment at which so many numbers are in memory."""
    return Part(name, alive=numbers, alive_written_out=written_out)


def dense(name: str, inputs: int, outputs: int, rows: int, bias: bool = True) -> Part:
    """A dense layer on `rows` vectors; it keeps its input."""
    return Part(name, inputs * outputs + bias * outputs, rows * inputs * outputs, Kept(rows * inputs))


def norm(width: int, rows: int, name: str = "norms") -> Part:
    """A LayerNorm of `rows` vectors; it keeps its input, a mean and a deviation of each."""
    return Part(name, 2 * width, 0, Kept(rows * (width + 2)))


def conv(name: str, inputs: int, outputs: int, kernel: int, places: int) -> Part:
    """A convolution without bias, of `places` (rows * columns) of its output; what it keeps is up to its input."""
    weights = inputs * outputs * kernel * kernel
    return Part(name, weights, places * weights)


def group_norm(name: str, channels: int, places: int, groups: int) -> Part:
    """A GroupNorm; it keeps its input, a mean and a deviation of each group."""
    return Part(name, 2 * channels, 0, Kept(places * channels + 2 * groups))


def area(size: Iterable[int]) -> int:
    """Return rows * columns."""
    return prod(size)
