"""Training: set-up, the step, and the run that joins them."""

from .request import Request
from .run import TrainResult, train

__all__ = ["Request", "TrainResult", "train"]
