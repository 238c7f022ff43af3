"""The peak: the best rate of matrix products on this machine, in the process of what is compared with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CheckError
from .timing import alternate

SHAPES = ((4096, 1024, 4096), (8320, 192, 768), (8320, 768, 192))
"""(rows, inner, columns); on a GPU GPU_SHAPES"""
GPU_SHAPES = ((8192, 8192, 8192), (16384, 4096, 4096))
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.int8: "int8"}
BOUNDS = {"fp32": 1e-5, "bf16": 0.01, "fp16": 0.001, "int8": 1e-5, "tf32": 0.002, "fp8": 0.01}
"""of the difference from float64, as a share of the norm; int8 and fp8 are compared as they are rounded already"""
ROUNDS = 12

Work = Callable[[], Tensor]


@dataclass(frozen=True)
class Peak:
    """The best rate of products of one type."""

    rate: float
    """operations a second, two for each multiplication with its addition"""
    by: str
    """library and (rows x inner x columns)"""
    error: float
    """of the product, against float64"""


def measure_peak(dtype: torch.dtype, device: str = "cpu") -> float:
    """Return operations a second of the best product, measured once in a process.

    To be asked before what is held against it runs, whose idle threads may be about for a while.

    Args:
        dtype: float32 (on a CPU by torch's own library or by oneDNN, whichever is faster), bfloat16, float16 or int8
            (products of uint8 and int8 to float32).
    """
    return peak(NAMES[dtype], device).rate


def measured_peaks() -> dict[str, dict[str, Any]]:
    """Return the peaks of this machine by type, for JSON."""
    device, kinds = "cpu", ["bf16", "fp32", "int8"]
    if torch.cuda.is_available():
        device, kinds = "cuda", [*kinds, "fp16", "tf32"]
        kinds += ["fp8"] if torch.cuda.get_device_capability() >= (8, 9) else []
    return {kind: asdict(peak(kind, device)) for kind in kinds}


@cache
def peak(kind: str, device: str = "cpu") -> Peak:
    """Return the best rate of `kind`, one of BOUNDS.

    Raises:
        CheckError: a product is wrong.
    """
    works, errors = {}, {}
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for shape in SHAPES if device == "cpu" else GPU_SHAPES:
            x, weight = (_drawn(size, kind).to(device) for size in (shape[:2], (shape[2], shape[1])))
            for library, work in _ways(kind, x, weight).items():
                name = f"{library} {'x'.join(map(str, shape))}"
                works[name], errors[name] = work, _error(work, x, weight)
                if not errors[name] <= BOUNDS[kind]:
                    raise CheckError(f"a {kind} product is off by {errors[name]:.2g} of {BOUNDS[kind]:g}", where=name)
        seconds = alternate(works, ROUNDS)
    rates = {name: 2 * _volume(name) / min(times) for name, times in seconds.items()}
    best = max(rates, key=rates.__getitem__)
    return Peak(rates[best], best, errors[best])


def _volume(name: str) -> int:
    rows, inner, columns = map(int, name.split()[-1].split("x"))
    return rows * inner * columns


def _drawn(size: tuple[int, ...], kind: str) -> Tensor:
    if kind == "int8":
        return torch.randint(-128, 128, size).to(torch.int8)
    types = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn}
    return torch.randn(size).to(types.get(kind, torch.float32))


def _error(work: Work, x: Tensor, weight: Tensor) -> float:
    """Return how far the first rows of a product are from float64, as a share of their norm; warms up as well."""
    wanted = x[:64].double() @ weight.double().T
    return ((work()[:64].double() - wanted).norm() / wanted.norm()).item()


def _ways(kind: str, x: Tensor, weight: Tensor) -> dict[str, Work]:
    """Return the products x weight^T that there are, by library."""
    if kind == "int8":
        return {"cuBLAS": partial(torch._int_mm, x, weight.T)} if x.is_cuda else _int8_ways(x, weight)
    if kind == "fp8":
        one = torch.ones((), device=x.device)
        work = partial(torch._scaled_mm, x, weight.T, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
        return {"cuBLAS": work}
    if x.is_cuda:
        return {"cuBLAS": partial(_at_precision, "tf32" if kind == "tf32" else "ieee", x, weight)}
    own = "MKL" if kind == "fp32" and torch.backends.mkl.is_available() else "torch"
    found: dict[str, Work] = {own: partial(F.linear, x, weight)}
    if kind == "fp32" and torch.backends.mkldnn.is_available():
        found["oneDNN"] = partial(torch.ops.mkldnn._linear_pointwise, x, weight, None, "none", [], "")
    return found


def _at_precision(precision: str, x: Tensor, weight: Tensor) -> Tensor:
    settings = torch.backends.cuda.matmul
    before, settings.fp32_precision = settings.fp32_precision, precision
    try:
        return F.linear(x, weight)
    finally:
        settings.fp32_precision = before


def _int8_ways(x: Tensor, weight: Tensor) -> dict[str, Work]:
    found: dict[str, Work] = {"torch": partial(torch._int_mm, x, weight.T)}
    if torch.backends.mkldnn.is_available():
        packed = torch.ops.onednn.qlinear_prepack(weight, list(x.shape))
        scales, zeros = torch.ones(len(weight)), torch.zeros(len(weight), dtype=torch.int)
        shifted = (x.int() + 128).to(torch.uint8)  # with 128 as its zero: unsigned is what the instructions multiply
        quantized = (shifted, 1.0, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")
        found["oneDNN"] = partial(torch.ops.onednn.qlinear_pointwise, *quantized)
    return found
