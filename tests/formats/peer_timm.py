"""timm's side of a comparison, run among the peers: writes models with their answers, and answers for written ones."""

import json
import sys
from pathlib import Path

from patchwords.bench.peers import declare_torchvision_operators

declare_torchvision_operators()

import timm  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


def answers(model, rows, columns, channels):
    """Return pictures of noise and the logits of a model for them."""
    images = torch.randn(2, channels, rows, columns, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return {"images": images, "logits": model.eval()(images).contiguous()}


def main(folder: Path) -> None:
    """Fill FOLDER/theirs/N from FOLDER/wanted.json, and FOLDER/answers/NAME.safetensors from FOLDER/ours/NAME."""
    for number, (name, arguments) in enumerate(json.loads((folder / "wanted.json").read_text())):
        torch.manual_seed(number)
        model = timm.create_model(name, **arguments)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.1)
        out = folder / "theirs" / str(number)
        timm.models.save_for_hf(model, str(out), safe_serialization=True)
        rows, columns = arguments["img_size"]
        save_file(answers(model, rows, columns, arguments.get("in_chans", 3)), out / "answers.st")
    (folder / "answers").mkdir()
    for written in sorted((folder / "ours").iterdir()):
        model = timm.create_model(f"local-dir:{written}", pretrained=True)  # loads with strict=True
        size = json.loads((written / "config.json").read_text())["model_args"]
        found = answers(model, *size["img_size"], size["in_chans"])
        save_file(found, folder / "answers" / f"{written.name}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
