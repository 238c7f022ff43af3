"""Initial weights that depend on the data: the patch matrix as a whitening of real patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WHITENED_FROM = 2048
"""pictures"""
_FLOOR = 0.01
"""added to the variances, so that directions without any are not blown up"""


@torch.no_grad()
def whiten_patches(model: nn.Module, images: Tensor) -> None:
    """Set the patch matrix E (eq. 1) so that patches of `images` come out with unit variance in every direction.

    In a conv stem it is the first convolution, a matrix on patches of 3 by 3 pixels.

    E becomes R (C + 0.01)^(-1/2), with C the second moments of the patches and R a random matrix with orthogonal
    rows or columns, drawn from torch's global generator. E stays one learned matrix.

    Args:
        model: a ViT with the patch stem or a conv stem.
        images: (B, C, H, W) normalised pictures.
    """
    backbone = model.patch_embed.backbone
    weight = model.patch_embed.proj.weight if backbone is None else backbone[0][0].weight
    rows, columns = weight.shape[-2:]
    patches = images.double().unfold(2, rows, rows).unfold(3, columns, columns)
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, weight[0].numel())
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    whitening = (directions / (variances.clamp_min(0) + _FLOOR).sqrt()) @ directions.T
    rotation = nn.init.orthogonal_(torch.empty(len(weight), len(whitening)))
    weight.copy_((rotation.double() @ whitening).view_as(weight))
