"""Peers: other libraries in a virtual environment of their own, which computes with the project's torch.

It lies in the cache folder, `peers/` with a folder for each set of versions and each environment that it stands on. The
packages of that environment are found from it through a .pth file, so that both sides compute with the same torch and
numpy; nothing is installed into it or changed. timm imports torchvision, whose compiled half is for another build of
torch and may not load; its Python half only needs the declarations of two operators, which are made here. No code of a
peer is changed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import venv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..data.cifar10 import cache_folder
from ..errors import ReadError
from ..files import alone, faults_named
from ..formats.timm_config import model_arguments
from ..progress import say

if TYPE_CHECKING:
    from torch import nn

PEERS = ("transformers==5.23.0", "webdataset==1.0.2", "huggingface_hub==2.4.0")
"""with what they depend on; what the project has already stays as it is"""
WITHOUT_DEPENDENCIES = ("timm==1.0.31", "torchvision==0.28.0")
"""torchvision would bring another torch"""


def folder() -> Path:
    """Return where the environment of the peers lies, or will lie."""
    stands_on = "\n".join((*PEERS, *WITHOUT_DEPENDENCIES, _packages(), sys.version))
    return cache_folder() / "peers" / hashlib.sha256(stands_on.encode()).hexdigest()[:12]


def python() -> Path:
    """Return the interpreter in which the peers are, whether it is there or not yet."""
    return folder() / "bin" / "python"


def inside() -> bool:
    """Whether this process runs among the peers."""
    return Path(sys.prefix).parent == (cache_folder() / "peers").resolve()


def enter(arguments: list[str]) -> None:
    """Go on among the peers: the command starts again there with `arguments`, and then this does nothing more.

    Raises:
        ReadError: they cannot be installed. WriteError, PermissionFault: the cache folder cannot be written.
    """
    if inside():
        declare_torchvision_operators()
        return
    make()
    _start_again(arguments)


def make() -> None:
    """Make the environment of the peers where it is not there yet."""
    made = folder()
    with faults_named(made.parent, "write"):
        made.parent.mkdir(parents=True, exist_ok=True)
        with alone(made.parent / f"{made.name}.lock"):
            if (made / "installed").exists():
                return
            say(f"making {made} with {', '.join((*WITHOUT_DEPENDENCIES, *PEERS))}")
            venv.create(made, with_pip=False, clear=True, symlinks=True)
            (site,) = made.glob("lib/python*/site-packages")
            (site / "project.pth").write_text(f"import site; site.addsitedir({_packages()!r})\n")
            _install(*PEERS, f"torch=={_torch()}")
            _install("--no-deps", *WITHOUT_DEPENDENCIES)
            (made / "installed").touch()


def _packages() -> str:
    return sysconfig.get_path("purelib")


def _torch() -> str:
    from importlib.metadata import version

    return version("torch")


def _install(*wanted: str) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(python()), "install", "--quiet", *wanted]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        why = next((line for line in said if line.startswith("ERROR")), said[-1]).removeprefix("ERROR: ")
        fix = "Check the network or pip's settings, then run the same command again; without --peers none is needed"
        raise ReadError(f"the peers cannot be installed: {why}", where="--peers", fix=fix)


def _start_again(arguments: list[str]) -> NoReturn:
    source = str(Path(__file__).resolve().parents[2])
    if source != _packages():  # a checkout: the same code there as here
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    sys.stdout.flush()
    os.execv(python(), [str(python()), "-m", "patchwords", *arguments])


@cache
def declare_torchvision_operators() -> object:
    """Declare the operators that torchvision's Python half registers shapes for when it is imported."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library  # kept by the cache: declarations go when their library goes


def timm_twin(model: nn.Module, fused_attention: bool = True) -> nn.Module:
    """Return timm's model of the same architecture with the same weights, among the peers only.

    Args:
        model: a Vision Transformer of ours whose weights have timm's names: any plain one of the zoo.
        fused_attention: timm's default; without it timm writes the attention weights out.
    """
    declare_torchvision_operators()
    import timm

    name, arguments = model_arguments(model.config)
    timm.layers.set_fused_attn(fused_attention)
    twin = timm.create_model(name, **arguments)
    twin.load_state_dict(model.state_dict(), strict=True)
    return twin.train(model.training)
