"""Peers: a virtual environment of their own, on the project's torch.

`.venv-peers` stands beside `.venv`. torch and numpy are the project's, found through a .pth file, so that both sides
compute with the same library. timm imports torchvision, whose compiled half is for another build of torch and does not
load; its Python half only needs the declarations of two operators, which are made here. No code of timm is changed.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-peers"
PEER_PACKAGES = ("timm==1.0.31", "torchvision==0.28.0")
"""installed without their dependencies: torch is there already"""
PEER_DEPENDENCIES = ("huggingface_hub==2.4.0",)


def enter() -> None:
    """Go on in the virtual environment of the peers, made first if it is not there, with our package and timm ready."""
    if Path(sys.prefix).resolve() != PEERS.resolve():
        _start_again()
    declare_torchvision_operators()
    sys.path.insert(0, str(ROOT / "src"))


def _start_again() -> None:
    python = PEERS / "bin" / "python"
    wanted = "\n".join((*PEER_PACKAGES, *PEER_DEPENDENCIES, sysconfig.get_path("purelib")))
    stamp = PEERS / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making {PEERS.name} with {' '.join(PEER_PACKAGES)}", file=sys.stderr)
        venv.create(PEERS, with_pip=False, clear=True)
        (site,) = PEERS.glob("lib/python*/site-packages")
        (site / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), *PEER_DEPENDENCIES], check=True)
        subprocess.run([*pip, "--no-deps", *PEER_PACKAGES], check=True)
        stamp.write_text(wanted)
    os.execv(python, [str(python), *sys.argv])


def declare_torchvision_operators() -> None:
    """Declare the operators that torchvision's Python half registers shapes for when it is imported."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    declare_torchvision_operators.keep = library  # declarations go when their library goes


def machine(threads: int) -> dict:
    """Return what the figures were made on and with."""
    import timm
    import torch

    cpu = next((line.split(":")[1].strip() for line in cpuinfo() if line.startswith("model name")), "")
    flags = next((line.split(":")[1].split() for line in cpuinfo() if line.startswith("flags")), [])
    return {
        "processor": cpu or platform.processor(),
        "bf16": sorted({"avx512_bf16", "amx_bf16"} & set(flags)),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def cpuinfo() -> list[str]:
    """Return the lines of /proc/cpuinfo, where there is one."""
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
