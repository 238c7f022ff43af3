"""An LSTM that reads patches as words, row after row (Hochreiter and Schmidhuber, 1997)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..architecture import LSTMConfig
from .base import Base
from .contract import Record
from .layers import PatchEmbed, layer_norm


class LSTMLayer(nn.Module):
    """One layer, in one direction or in both; the states of both lie side by side.

    Initial values: the four matrices that lie one above the other in W (input, forget, cell, output), each Xavier
    uniform by itself, those from the input and those from the state; biases zero, but one for the forget gate, so
    that a new layer remembers (Gers, Schmidhuber and Cummins, 2000; Jozefowicz et al., 2015).
    """

    def __init__(self, inputs: int, config: LSTMConfig) -> None:
        super().__init__()
        self.hidden_dim, self.directions = config.hidden_dim, ("", "_reverse")[: 1 + config.bidirectional]
        gates = 4 * config.hidden_dim
        shapes = {"weight_ih": (gates, inputs), "weight_hh": (gates, config.hidden_dim)}
        shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
        for direction in self.directions:
            for name, shape in shapes.items():
                self.register_parameter(name + direction, nn.Parameter(torch.empty(shape)))
        self.drop = nn.Dropout(config.dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        for name, parameter in self.named_parameters():
            if name.startswith("weight"):
                for matrix in parameter.chunk(4):
                    nn.init.xavier_uniform_(matrix)
            else:
                nn.init.zeros_(parameter)
                if name.startswith("bias_ih"):
                    nn.init.ones_(parameter.chunk(4)[1])

    def forward(self, z: Tensor, record: Record | None = None, name: str = "block00") -> Tensor:
        """Return the states (B, N, directions * hidden_dim) after each of the tokens (B, N, inputs)."""
        start = z.new_zeros(len(self.directions), z.shape[0], self.hidden_dim)
        weights, both = list(self.parameters()), len(self.directions) == 2
        # what nn.LSTM calls; the module itself cannot be compiled as part of one graph
        return self.drop(torch.lstm(z, (start, start), weights, True, 1, 0.0, self.training, both, True)[0])


class PatchLSTM(Base):
    """Patches are embedded by one matrix and read in raster order; what was read is kept in a state of fixed size.

    No positions are added: the order is in the reading. `features` are the last state of each direction (of the one
    that reads backwards: at the first patch), or the mean of all, after a LayerNorm. Other values than those of
    `LSTMLayer` are those of layers.py.
    """

    def __init__(self, config: LSTMConfig) -> None:
        width = config.hidden_dim * (2 if config.bidirectional else 1)
        super().__init__(config, width)
        self.patch_embed = PatchEmbed(config.in_channels, config.patch_size, config.dim, bias=True, backbone=None)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(LSTMLayer(width if layer else config.dim, config) for layer in range(config.depth))
        self.norm = layer_norm(config, width)
        self.add_head()

    def embed(self, images: Tensor) -> Tensor:
        """Return patch tokens (B, N, D)."""
        return self.drop(self.patch_embed(images))

    def pool(self, tokens: Tensor) -> Tensor:
        """Return features (B, directions * hidden_dim): what each direction ends with, or the mean."""
        if self.config.pool == "mean":
            return tokens.mean(dim=1)
        if not self.config.bidirectional:
            return tokens[:, -1]
        ahead, back = tokens.chunk(2, dim=-1)
        return torch.cat([ahead[:, -1], back[:, 0]], dim=-1)
