"""timm's side of a comparison, run among the peers: what its MLP-Mixer makes of weights and pictures of ours."""

import sys
from pathlib import Path

from patchwords.bench.peers import declare_torchvision_operators

declare_torchvision_operators()

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from timm.models.mlp_mixer import MlpMixer  # noqa: E402


def main(folder: Path) -> None:
    """Write FOLDER/answers.st for FOLDER/pictures.st by a model of FOLDER/weights.st, with its own names."""
    sizes = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "mlp_ratio": (0.5, 4.0)}
    model = MlpMixer(**sizes, num_blocks=2, num_classes=5).eval()
    model.load_state_dict(load_file(folder / "weights.st"), strict=True)
    images = load_file(folder / "pictures.st")["images"]
    with torch.no_grad():
        answers = {"logits": model(images), "encoded": model.forward_features(images)}
        answers["block"] = model.blocks[0](model.stem(images))
    save_file({name: value.contiguous() for name, value in answers.items()}, folder / "answers.st")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
