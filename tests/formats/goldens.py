"""Checkpoints written by other libraries, with what these libraries answered; see tests/golden/README.md."""

import os
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parents[1] / "golden"
SHARED = Path(os.environ.get("PATCHWORDS_GOLDEN", Path(__file__).parents[3] / "shared" / "golden"))
"""holds google/hybrid_resnet too, 8 MB, not kept here"""

PATHS = {
    "google/vit_token": "weights.npz",
    "google/vit_gap": "weights.npz",
    "google/vit_token_representation": "weights.npz",
    "google/hybrid_resnet": "weights.npz",
    "timm/deit_distilled": "",
    "timm/vit_gap_fcnorm": "",
    "timm/vit_map_pool": "",
    "timm/vit_prenorm_clip": "",
    "timm/vit_qknorm_layerscale": "",
    "timm/vit_registers": "",
    "timm/vit_token": "",
    "torchvision/vit": "model.pth",
    "torchvision/vit_representation": "model.pth",
    "transformers/deit_distilled": "",
    "transformers/dinov2": "",
    "transformers/dinov2_registers": "",
    "transformers/dinov3_rope": "",
    "transformers/siglip_map": "",
    "transformers/vit": "",
}
"""case -> file in its folder, "" for the folder itself"""
SAID = {name: {"num_heads": 3} for name in PATHS if name.startswith("torchvision")}
"""what a file does not say"""


def folder(case: str) -> Path:
    """Return the folder of a case, here or shared."""
    return HERE / case if (HERE / case).exists() else SHARED / case


def path(case: str) -> Path:
    """Return what `patchwords.load` takes."""
    return folder(case) / PATHS[case]


def there(case: str) -> bool:
    """Return whether a case is at hand."""
    return folder(case).exists()


def seen(case: str) -> dict[str, np.ndarray]:
    """Return inputs and outputs of the other library; pictures also as `images`, channels first."""
    arrays = dict(np.load(folder(case) / "io.npz"))
    for name in ("images_nhwc", "resized_images_nhwc"):
        if name in arrays:
            arrays[name.removesuffix("_nhwc")] = np.ascontiguousarray(arrays[name].transpose(0, 3, 1, 2))
    return arrays


def close(ours: torch.Tensor, theirs: np.ndarray, scale: float = 1.0) -> None:
    """Fail unless both have one shape and differ by 1e-5 at most, times `scale` where numbers are large."""
    ours = ours.detach().numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5 * max(1.0, scale)
