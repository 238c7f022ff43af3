"""Cost of a model from its settings: parameters, operations by part, tokens, memory; no torch is imported here."""

from .count import COUNTERS, Cost, cost_of
from .part import Kept, Part

__all__ = ["COUNTERS", "Cost", "Kept", "Part", "cost_of"]
