"""What a model costs: parameters, operations, tokens and memory from its settings alone; nothing is built or run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..architecture import Size
from ..errors import ConfigError
from .part import BYTES, Part, area, gathered
from .residual import cnn_parts
from .sequence import bag_parts, lstm_parts, mixer_parts, mlp_parts
from .vit import COMPARING, vit_parts

COUNTERS: dict[str, Callable[[Any, bool], Iterator[Part]]] = {
    "vit": vit_parts,
    "cnn": cnn_parts,
    "mlp": mlp_parts,
    "mixer": mixer_parts,
    "lstm": lstm_parts,
    "bag": bag_parts,
}
"""kind of a config -> its parts, of a forward pass for an answer (False) or for a training step (True)"""

TRAINING_FACTOR = 3
"""forward passes that a training step costs: one forwards, and one for each of the two gradients of a product"""


@dataclass(frozen=True)
class Cost:
    """What one picture costs in one model; multiply operations and activations by the batch."""

    config: Any
    """the model, with the size of its pictures"""
    parts: tuple[Part, ...]
    """of the forward pass"""
    training_parts: tuple[Part, ...]
    """of the forward pass of a training step, which leaves out what nobody reads"""

    @property
    def tokens(self) -> int:
        """T: cells of the grid and what stands before them."""
        return area(self.config.grid) + self.config.num_prefix_tokens

    @property
    def parameters(self) -> int:
        """Numbers that are learned."""
        return sum(part.parameters for part in self.parts)

    @property
    def macs(self) -> int:
        """Multiply-adds of one forward pass."""
        return sum(part.macs for part in self.parts)

    @property
    def flops(self) -> int:
        """Operations of one forward pass, two a multiply-add: what `FlopCounterMode` counts."""
        return 2 * self.macs

    @property
    def attention_flops(self) -> int:
        """Those of `flops` that compare tokens and add them up, 4 T^2 D a block: what grows with the square of T."""
        return sum(part.flops for part in self.parts if part.name in COMPARING)

    @property
    def training_flops(self) -> int:
        """Operations of a training step for one picture by the rule of the paper: three forward passes."""
        return TRAINING_FACTOR * self.flops

    @property
    def step_flops(self) -> int:
        """Operations that a training step here takes for one picture: `FlopCounterMode` around both passes.

        Less than the rule: no gradient of pixels is made, and the last block answers for tokens that are read.
        """
        return sum(part.step_flops for part in self.training_parts)

    def activation_bytes(self, precision: str = "fp32", written_out: bool = False) -> int:
        """Return the bytes that autograd keeps of one picture in a training step.

        Args:
            precision: "fp32" or "bf16".
            written_out: attention weights are in memory, not inside a fused kernel, as in bf16 on a CPU (up to 1024
                tokens).
        """
        return sum(part.held(written_out).bytes(precision) for part in self.training_parts)

    def inference_bytes(self, precision: str = "fp32", written_out: bool = False) -> int:
        """Return the bytes in memory at once while one picture is answered, beside the weights.

        Args:
            precision: "fp32" or "bf16".
            written_out: attention weights are in memory, as in bf16 on a CPU (up to 256 tokens).
        """
        most = max(part.peak(written_out) for part in self.parts)
        return BYTES[precision] * (most + self.config.in_channels * area(self.config.image_size))

    def weight_bytes(self, precision: str = "fp32") -> int:
        """Return the bytes of the parameters."""
        return self.parameters * BYTES[precision]

    def training_state_bytes(self, precision: str = "fp32") -> int:
        """Return the bytes of float32 weights, gradients and AdamW's two averages.

        In bf16 the rounded weights and their gradients come on top.
        """
        return self.parameters * (16 if precision == "fp32" else 20)

    def as_dict(self) -> dict[str, Any]:
        """Return the cost as JSON has it, of one picture."""
        parts = [
            {"name": part.name, "parameters": part.parameters, "macs": part.macs, "flops": part.flops}
            for part in self.parts
        ]
        memory = {
            precision: {
                "weight_bytes": self.weight_bytes(precision),
                "training_state_bytes": self.training_state_bytes(precision),
                "activation_bytes": self.activation_bytes(precision),
                "activation_bytes_written_out": self.activation_bytes(precision, True),
                "inference_bytes": self.inference_bytes(precision),
                "inference_bytes_written_out": self.inference_bytes(precision, True),
            }
            for precision in BYTES
        }
        sizes = {"kind": self.config.kind, "image_size": list(self.config.image_size), "tokens": self.tokens}
        counts = {"parameters": self.parameters, "macs": self.macs, "flops": self.flops}
        steps = {"training_flops": self.training_flops, "step_flops": self.step_flops}
        return sizes | counts | steps | {"parts": parts, "memory": memory}


def cost_of(config: Any, image_size: int | Size | None = None) -> Cost:
    """Return the cost of the model that `config` describes, built for pictures of `image_size`.

    Args:
        config: of any kind of `architecture.ARCHITECTURES`.
        image_size: pixels, one number for a square or (rows, columns); None: that of `config`. A learned table of
            positions has the size of its grid.

    Raises:
        ConfigError: such pictures cannot be cut into patches, or nobody counts this kind.
    """
    if image_size is not None:
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        config = replace(config, image_size=size)
    if config.kind not in COUNTERS:
        raise ConfigError(f"the cost of {config.kind!r} is not known", where="model.kind", fix=", ".join(COUNTERS))
    parts = COUNTERS[config.kind]
    return Cost(config, gathered(parts(config, False)), gathered(parts(config, True)))
