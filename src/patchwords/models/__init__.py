"""Models by name. Importing this loads no torch; building one does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .zoo import list_models, model_config

if TYPE_CHECKING:
    from ..config import Size
    from .contract import Classifier
    from .kinds import build, build_empty
    from .vit import ViT

__all__ = ["ViT", "build", "build_empty", "create_model", "list_models", "model_config"]


def create_model(
    name: str,
    *,
    image_size: int | Size | None = None,
    in_channels: int | None = None,
    num_classes: int | None = None,
    **options: Any,
) -> Classifier:
    """Return a new model of the zoo, its initial values drawn from torch's global generator.

    Args:
        name: one of `list_models()`.
        image_size: pixels, one number for a square or (rows, columns); None: the preset's.
        in_channels: channels of a picture; None: the preset's.
        num_classes: 0 for a model without head; None: the preset's.
        options: fields of the kind of model, such as `ViTConfig`.

    Raises:
        ConfigError: unknown name or option (names the nearest), or an impossible combination.

    Example:
        >>> model = create_model("vit_tiny_patch4_32", num_classes=10, pool="mean")
    """
    from .kinds import build

    return build(model_config(name, image_size=image_size, in_channels=in_channels, num_classes=num_classes, **options))


def __getattr__(name: str) -> Any:
    if name in ("build", "build_empty"):
        from . import kinds

        return getattr(kinds, name)
    if name == "ViT":
        from .vit import ViT

        return ViT
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
