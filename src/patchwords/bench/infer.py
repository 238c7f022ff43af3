"""Inference: the same pictures through every engine and through peers, checked against float32, then timed in turn."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import LoadedModel
from ..cost import cost_of
from ..device import DTYPES
from ..errors import PatchwordsError
from ..export.check import made_up
from ..export.description import describe
from ..export.engine import Engine, TorchEngine, installed
from ..export.graph import graph_of
from ..export.read import read
from ..export.write import SUFFIXES, program_of, require_possible, write
from ..models import build, create_model
from ..preprocess import Preprocess
from .infer_peers import peers_of
from .peak import measure_peak
from .timing import Check, Row, alternate

BOUNDS = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.1}
"""precision -> of the difference of the logits, as a share of their norm"""
FLIPPED = {"fp32": 0.02, "bf16": 0.1, "int8": 0.15}
"""precision -> share of other first labels; the logits of a model that learnt nothing are close to each other"""
ENGINES = ("torch", "onnx", "openvino")
CLASSES, CALIBRATED = 10, 32

Answer = Callable[[Tensor], Tensor]


@torch.inference_mode()
def measure_inference(
    name: str,
    batch_size: int,
    rounds: int,
    peers: bool = False,
    engines: tuple[str, ...] = ENGINES,
    merge: int = 0,
    device: str = "",
    **options: Any,
) -> list[Row]:
    """Return a row for each engine and precision; the reference answers picture by picture: batching is checked too.

    What is compared does the same work: int8 has a case of its own, and so has merging; peers stand in each.

    Args:
        peers: the sides of others too, those that are installed.
        engines: of ours; one that is not installed is left out.
        merge: also merge so many tokens a block, see docs/merging.md.
        device: of torch, with the pictures already there; "": the GPU where there is one. Away from the processor only
            what computes there is measured.
        options: of the model.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    engines = engines if device == "cpu" else ("torch",)
    torch.manual_seed(0)
    model = create_model(name, num_classes=CLASSES, **options).eval()
    torch.nn.init.normal_(model.head.weight, std=0.02)  # a head of zeros would answer zero for everything
    values = (0.5,) * model.config.in_channels
    preprocess = Preprocess(image_size=model.config.image_size, channels=len(values), mean=values, std=values)
    loaded = LoadedModel(model, tuple(map(str, range(CLASSES))), preprocess, {})
    peaks = {precision: measure_peak(dtype, torch.device(device).type) for precision, dtype in DTYPES.items()}
    cases = {"": loaded, f", merging {merge}": _merging(loaded, merge)} if merge else {"": loaded}
    pixels, rows = made_up(preprocess, batch_size), []
    others = peers_of(loaded, pixels, device) if peers else {}
    sides = {(case, *key): side for case, model in cases.items() for key, side in _ours(model, engines, device).items()}
    there = pixels.to(device)
    answers = {key: (lambda side=side: side(there)) for key, side in sides.items()}
    answers |= {("", precision, side): answer for (side, precision), answer in others.items()}
    wanted = {case: _one_by_one(model, pixels) for case, model in cases.items()}
    checks = {key: _checks(answer().cpu(), wanted[key[0]], key[1]) for key, answer in answers.items()}
    right = {key: answer for key, answer in answers.items() if all(check.passed for check in checks[key])}
    seconds = alternate(right, rounds, warmed=True)
    for case, loaded in cases.items():
        flops = batch_size * cost_of(loaded.model.config).flops
        for kind in ("", ", int8"):
            title = f"infer {name}{case}{kind}, batch {batch_size}"
            for key, found in checks.items():
                own = key[0] == case and (key[1] == "int8") == bool(kind) and key[2].startswith("patchwords")
                if own or (key[2], key[1]) in others:
                    taken = seconds.get(key, ())
                    known = taken and key[1] in peaks and (own or not case)
                    share = flops / min(taken) / peaks[key[1]] if known else None
                    rows.append(Row(title, f"{key[2]} {key[1]}", found, taken, share))
    return rows


def _merging(loaded: LoadedModel, merge: int) -> LoadedModel:
    model = build(dataclasses.replace(loaded.model.config, merge=merge)).eval()
    model.load_state_dict(loaded.model.state_dict())
    return dataclasses.replace(loaded, model=model)


def _ours(loaded: LoadedModel, engines: tuple[str, ...], device: str) -> dict[tuple[str, str], Engine]:
    """Return (precision, side) -> engine, exported where it is not torch."""
    made: dict[tuple[str, str], Engine] = {}
    pictures = list(made_up(loaded.preprocess, 2 * CALIBRATED)[CALIBRATED:].split(8))
    with tempfile.TemporaryDirectory() as folder:
        for engine in filter(installed, engines):
            for precision in BOUNDS:
                if engine == "torch":
                    if precision in DTYPES:
                        made[precision, "patchwords torch"] = TorchEngine(loaded, describe(loaded, precision), device)
                    continue
                try:
                    require_possible(engine, precision)
                except PatchwordsError:
                    continue
                path = Path(folder) / f"{engine}-{precision}{SUFFIXES[engine]}"
                program = program_of(loaded, engine, precision)
                write(program, describe(loaded, precision), engine, path, pictures)
                made[precision, f"patchwords {engine}"] = read(path)
    return made


def _one_by_one(loaded: LoadedModel, pixels: Tensor) -> Tensor:
    graph = graph_of(loaded)
    return torch.cat([graph(picture[None]) for picture in pixels])


def _checks(found: Tensor, wanted: Tensor, precision: str) -> tuple[Check, Check]:
    error = ((found.float() - wanted).norm() / wanted.norm()).item()
    flipped = (found.argmax(-1) != wanted.argmax(-1)).double().mean().item()
    return (
        Check("logits as in float32, one by one", error, BOUNDS[precision]),
        Check("other first labels", flipped, FLIPPED[precision]),
    )
