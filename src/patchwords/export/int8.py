"""Post-training quantization to int8, calibrated on real pictures: dense layers and convolutions, the rest higher."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.export import ExportedProgram

from .description import Description
from .engine import package
from .graph import INPUT
from .onnx_file import load_onnx, save_onnx, write_onnx
from .openvino_file import converted, save_openvino


def write_openvino_int8(
    program: ExportedProgram, description: Description, path: Path, pictures: list[Tensor], kept: int
) -> None:
    """Write `program` with int8 products to `path` (NNCF: activations by tensor, weights by channel).

    Without SmoothQuant: what it would even out, the factors of norms, is folded into the weights already. On a model
    trained on CIFAR-10 it doubled the error of the logits: 98.2 % of the first labels stayed, 99.5 % without it.
    Activations have a zero point of their own (what GELU gives is nearly all positive), and ranges that lose least on
    their histogram: on two models trained on CIFAR-10 logits are 1.4 to 1.6 times as near as by largest and smallest.

    Args:
        pictures: batches of uint8 pixels (B, C, H, W) on which ranges are measured.
        kept: how many of the first products stay in higher precision.
    """
    model = converted(program, description)
    with _silent():
        nncf = package("nncf")
        nncf.set_log_level(logging.ERROR)
        advanced = nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=nncf.quantization.advanced_parameters.AdvancedSmoothQuantParameters(matmul=-1),
            activations_range_estimator_params=nncf.quantization.range_estimator.RangeEstimatorParametersSet.HISTOGRAM,
        )
        single = [picture[None].numpy() for batch in pictures for picture in batch]
        quantized = nncf.quantize(
            model,
            nncf.Dataset(single),
            subset_size=len(single),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            advanced_parameters=advanced,
            ignored_scope=nncf.IgnoredScope(names=_sensitive(model, kept), validate=False),
        )
    save_openvino(quantized, description, path)


def _sensitive(model: Any, kept: int) -> list[str]:
    """Return the names of what stays in higher precision: normalisation, `kept` first and the last product, attention.

    Each by itself costs little time. With the first and the last quantized too, logits of a small model were
    ten times as far off.
    """
    kinds = [(each.get_friendly_name(), each.get_type_name()) for each in model.get_ordered_ops()]
    products = [name for name, kind in kinds if kind in ("MatMul", "Convolution", "GroupConvolution")]
    before = [name for name, kind in kinds[: [name for name, _ in kinds].index(products[0])] if kind != "Constant"]
    attention = [name for name, kind in kinds if kind == "ScaledDotProductAttention"]
    return [*before, *products[:kept], products[-1], *attention]


def write_onnx_int8(
    program: ExportedProgram, description: Description, path: Path, pictures: list[Tensor], kept: int
) -> None:
    """Write `program` with int8 products to `path` (ONNX Runtime: static QDQ, weights by channel).

    The products of attention, all but dense layers, and the head stay in float32.

    Args:
        pictures, kept: as for `write_openvino_int8`; convolutions, that of the patches too, are not counted.
    """
    package("onnxruntime")
    with tempfile.TemporaryDirectory() as folder, _silent():
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Reader(CalibrationDataReader):
            def __init__(self) -> None:
                self.rest = iter(pictures)

            def get_next(self) -> dict[str, Any] | None:
                batch = next(self.rest, None)
                return None if batch is None else {INPUT: batch.numpy()}

        plain, ready, small = (Path(folder) / name for name in ("plain.onnx", "ready.onnx", "small.onnx"))
        write_onnx(program, description, plain)
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        dense = _dense(load_onnx(ready))
        quantize_static(
            str(ready),
            str(small),
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_quantize=dense[kept - 1 : -1] or dense,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        save_onnx(load_onnx(small), description, path)


def _dense(model: Any) -> list[str]:
    """Return the names of the products with weights, in order."""
    weights = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    return [node.name for node in products if node.input[1] in weights]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep the quantizers' bars and hints off the terminal; faults are raised as ever."""
    level = logging.root.manager.disable
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
