"""What the settings of most kinds of model have in common: no tokens before the patches, and what sizes imply."""

from __future__ import annotations

from .checks import Size


class Plain:
    """A model without tokens before its cells."""

    dropout: float

    @property
    def num_prefix_tokens(self) -> int:
        """None."""
        return 0

    @property
    def draws(self) -> bool:
        """Whether a training pass uses random numbers."""
        return self.dropout > 0

    @property
    def any_size(self) -> bool:
        """Whether pictures of other sizes are read."""
        return False

    @property
    def patch_matrix(self) -> bool:
        """Whether patches of pixels are multiplied by one matrix, `patch_embed.proj`."""
        return False


class OfPatches(Plain):
    """A model whose tokens are patches of pixels."""

    image_size: Size
    patch_size: Size

    @property
    def cell_size(self) -> Size:
        """Pixels of the picture under one token: the patch."""
        return self.patch_size

    @property
    def grid(self) -> Size:
        """Patches (rows, columns)."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def any_size(self) -> bool:
        """Whether pictures of other sizes are read: of every multiple of the patch."""
        return True

    @property
    def patch_matrix(self) -> bool:
        """Whether patches of pixels are multiplied by one matrix, `patch_embed.proj`."""
        return True
