"""What every model offers, whatever is inside it, and the names under which it shows its intermediates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..config import Size
from ..errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

Record = dict[str, Any]
"""name -> intermediate tensor, filled by the model; the names are those of `Classifier`"""


@runtime_checkable
class Classifier(Protocol):
    """A model from pictures to logits. B pictures, C channels, T tokens, D width, K classes.

    Every method takes `record`. With None (the default) the model takes its fastest path and can be
    exported and compiled whole. With a dict it computes the same answer (to rounding) and writes into it,
    still attached to the graph, so that gradients can be asked of them:

    | name                   | shape              | what (for a ViT, 2010.11929, sec. 3.1)                   |
    |------------------------|--------------------|----------------------------------------------------------|
    | `embed`                | (B, T, D)          | tokens before the first block, z_0                       |
    | `blockNN/attn/weights` | (B, heads, T, T)   | attention after the softmax: query, key                  |
    | `blockNN/attn`         | (B, T, D)          | what attention adds to the tokens                        |
    | `blockNN/+attn`        | (B, T, D)          | tokens after that addition, z'_l                         |
    | `blockNN/mlp`          | (B, T, D)          | what the MLP adds                                        |
    | `blockNN/+mlp`         | (B, T, D)          | tokens after the block, z_l                              |
    | `blockNN/conv`, `mix`  | (B, T, D)          | in place of `attn`: convolutions, a Mixer's mixing       |
    | `blockNN/+conv`, `+mix`| (B, T, D)          | tokens after that addition; maps count rows first        |
    | `encoded`              | (B, T, D)          | tokens after the last LayerNorm                          |
    | `pool/weights`         | (B, heads, 1, T)   | of attention pooling only                                |
    | `features`             | (B, num_features)  | one vector a picture, y; what linear probes read         |
    | `logits`               | (B, K)             | answer of the head                                       |

    NN counts blocks from 00. A model without attention leaves those names out.
    """

    config: Any
    """frozen dataclass that `build` makes this model from"""
    grid: tuple[int, int]
    """cells (rows, columns) of the picture size in `config`; stored, never guessed from a square root"""
    num_features: int
    """width of `features`"""
    num_prefix_tokens: int
    """tokens before the first cell of the grid"""
    head: nn.Module
    """from features to logits; a fresh one is all zeros"""

    def forward(self, images: Tensor, record: Record | None = None) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W), in the type of the parameters."""
        ...

    def forward_features(self, images: Tensor, record: Record | None = None) -> Tensor:
        """Return encoded tokens (B, num_prefix_tokens + rows * columns, D)."""
        ...

    def forward_head(self, tokens: Tensor, record: Record | None = None) -> Tensor:
        """Return logits (B, K) of encoded tokens."""
        ...

    def reset_classifier(self, num_classes: int) -> None:
        """Put a head of zeros for `num_classes` in place of the old one; 0: none, features are returned."""
        ...

    def no_weight_decay(self) -> set[str]:
        """Return names of parameters that are tables or tokens, not matrices."""
        ...

    def layer_of(self, name: str) -> int:
        """Return the depth of the parameter `name`: 0 embedding, 1..L blocks, L+1 what follows."""
        ...

    def named_parameters(self) -> Any:
        """Of torch.nn.Module, as are the rest of its methods."""
        ...


def grid_of(images: Tensor, config: Any) -> Size:
    """Return the grid (rows, columns) that a model of `config` cuts `images` into.

    Raises:
        ConfigError: it cannot read them.
    """
    if images.ndim != 4:
        raise ConfigError(f"pictures of shape {tuple(images.shape)}", fix="Give (batch, channels, rows, columns)")
    _, channels, rows, columns = images.shape
    if channels != config.in_channels:
        what = f"pictures of {channels} channels, the model reads {config.in_channels}"
        raise ConfigError(what, where="model.in_channels")
    (down, across), own = config.cell_size, config.image_size
    if not config.any_size and (rows, columns) != own:
        what = f"pictures of {rows}x{columns}, the model reads {own[0]}x{own[1]} only"
        raise ConfigError(what, where="model.image_size", fix=f"Give pictures of {own[0]}x{own[1]}")
    if rows % down or columns % across or not (rows and columns):
        what = f"pictures of {rows}x{columns} cannot be cut into patches of {down}x{across}"
        raise ConfigError(what, where="model.image_size", fix="Give multiples of the patch")
    return rows // down, columns // across


def note(record: Record | None, name: str, value: Any) -> Any:
    """Return `value`, written into `record` under `name` when there is a record."""
    if record is not None:
        record[name] = value
    return value
