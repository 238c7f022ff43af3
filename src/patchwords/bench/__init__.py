"""Speed: fractions of what this machine can do, each figure after a check that the work is right."""

from .infer import measure_inference
from .load import measure_load
from .step import measure_step

__all__ = ["measure_inference", "measure_load", "measure_step"]
