"""Every architecture is one graph: torch.export and torch.compile(fullgraph=True), at a small size."""

import pytest
import torch

from .families import EVERY, FAMILIES, alive, pictures

QUICK = ("vit_digits", "everything", "cnn", "mixer")
every = pytest.mark.parametrize(
    "config",
    [pytest.param(c, id=name, marks=[] if name in QUICK else pytest.mark.slow) for name, c in EVERY.items()],
)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@every
def test_export_for_any_number_of_pictures(config):
    model, images = alive(config), pictures(config, 4)
    with torch.no_grad():
        batch = torch.export.Dim("batch", min=2, max=64)
        program = torch.export.export(model, (images,), dynamic_shapes={"images": {0: batch}}, strict=False)
        for count in (2, 3, 7):
            images = pictures(config, count)
            torch.testing.assert_close(program.module()(images), model(images), rtol=0, atol=2e-6)


@every
def test_compile(config):
    model, images = alive(config).train(), pictures(config)
    wanted = model(images)
    answer = torch.compile(model, fullgraph=True, backend="eager")(images)
    torch.testing.assert_close(answer, wanted, rtol=0, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("config", EVERY.values(), ids=EVERY.keys())
def test_compile_with_its_backward(config):
    model, images = alive(config).train(), pictures(config)
    compiled, grads = torch.compile(model, fullgraph=True, backend="aot_eager"), []
    for call in (model, compiled):
        model.zero_grad()
        logits = call(images)
        (torch.stack(logits) if isinstance(logits, tuple) else logits).square().sum().backward()
        grads.append([parameter.grad.clone() for parameter in model.parameters()])
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_digits", "vit_base_patch16_dinov3_qkvb", "beit_base_patch16_224"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compile_to_machine_code(name, dtype):
    config = FAMILIES[name]
    model, images = alive(config, dtype), pictures(config, dtype=dtype)
    with torch.no_grad():
        wanted, answer = model(images), torch.compile(model, fullgraph=True)(images)
    torch.testing.assert_close(answer, wanted, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.05)
