"""Our training step beside timm's: the same model, data and optimizer, in alternation in one process.

    python benchmarks/training_step.py [--json FILE] [--rounds N] [--quick]

`vit_tiny_patch4_32`, batch 128, bfloat16, the whole step with fused AdamW. timm comes in two ways: as its own train
script does it (float32 weights, autocast, fused attention; eager and compiled) and tuned by hand with all that it
allows (plain attention, bfloat16 weights with float32 masters, micro-batches; eager and compiled). Of each kind the
best in a first heat goes to the final, where rounds A B C A B C ... are timed.

Before anything is timed, every contestant takes a step from the same weights on the same pictures. Its loss and its
gradient are compared with those of timm's model in plain float32.

The script runs itself in `.venv-peers`, made by peers.py; timm's code runs as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import peers

MODEL, BATCH, CLASSES, LR = "vit_tiny_patch4_32", 128, 10, 1e-4
CURVE_STEPS = 3
GEMM_SHAPES = ((4096, 1024, 4096), (8320, 192, 768), (8320, 768, 192))
"""(rows, inner, columns) of the products whose best rate is called the peak"""
FASTER_THAN_TIMM, FASTER_THAN_TUNED = 1.9, 1.1

Step = Callable[[], float]


@dataclass(frozen=True)
class Contestant:
    """One way to take a training step."""

    name: str
    kind: str
    """ours, timm (as its script does it) or tuned"""
    step: Step
    """takes one step and returns the loss before it"""
    gradients: Callable[[], list]
    """float32 gradients of the last step, in the order of timm's parameters"""


@dataclass(frozen=True)
class Check:
    """How far a contestant's first steps are from timm's model in float32."""

    name: str
    loss: float
    loss_error: float
    gradient_error: float
    """norm of the difference of the whole gradient, as a share of its norm"""
    curve_error: float
    """largest difference of the loss over the first steps"""


@dataclass(frozen=True)
class Timing:
    """Seconds of the rounds of one contestant."""

    name: str
    kind: str
    seconds: list[float]
    images_per_second: float
    """of the fastest round"""
    images_per_second_median: float
    of_peak: float
    """fraction of the measured bfloat16 GEMM peak, fastest round"""


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=10, help="timed rounds of the final (default 10)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of every contestant")
    parser.add_argument("--quick", action="store_true", help="leave out the compiled contestants")
    options = parser.parse_args()
    peers.enter()
    import torch

    torch.set_num_threads(options.threads)
    images, labels = pictures()
    reference = Reference(images, labels)
    contestants, checks, left_out = [], [], {}
    for name, make in entrants(images, labels, options.quick).items():
        try:
            contestant = make()
            checks.append(check(contestant, reference))
            contestants.append(contestant)
        except Exception as error:  # a machine without a C++ compiler cannot compile
            if "compiled" not in name:
                raise
            left_out[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    print_checks(checks, left_out)
    finalists = choose(contestants)
    seconds, peaks = alternate(finalists, options.rounds)
    peak = max(rate for rates in peaks.values() for rate in rates)
    timings = [timing(c, seconds[c.name], peak) for c in finalists]
    ratios = compare(timings)
    print_timings(timings, ratios, peaks)
    if options.json:
        report = {
            "machine": peers.machine(options.threads),
            "gflop_per_picture": picture_flop() / 1e9,
            "gemm_gflops": {"x".join(map(str, shape)): max(rates) / 1e9 for shape, rates in peaks.items()},
            "checks": [asdict(c) for c in checks],
            "left_out": left_out,
            "timings": [asdict(t) for t in timings],
            "ratios": ratios,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(0 if all(r["reached"] for r in ratios) else 3)


def pictures():
    """Return one batch: pictures (B, 3, 32, 32) float32 and labels (B,)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, 32, 32, generator=generator)
    return images, torch.randint(0, CLASSES, (BATCH,), generator=generator)


def timm_model(fused_attention: bool):
    """Return timm's model, the same weights each time."""
    import timm
    import torch

    timm.layers.set_fused_attn(fused_attention)
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, num_classes=CLASSES).train()


class Reference:
    """timm's model in plain float32: its loss, gradient and loss curve."""

    def __init__(self, images, labels) -> None:
        import torch
        import torch.nn.functional as F

        model = timm_model(fused_attention=False)
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
        self.curve, self.gradients = [], None
        for _ in range(CURVE_STEPS):
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            self.curve.append(loss.item())
            self.gradients = self.gradients or [p.grad.clone() for p in model.parameters()]
            optimizer.step()


def entrants(images, labels, quick: bool) -> dict[str, Callable[[], Contestant]]:
    """Return the makers of all contestants by name."""
    found: dict[str, Callable[[], Contestant]] = {}
    for compiled in (False,) if quick else (False, True):
        way = "compiled" if compiled else "eager"
        name = f"timm as it runs, {way}"
        found[name] = lambda name=name, compiled=compiled: timm_as_it_runs(name, images, labels, compiled)
        for micro in (128, 32) if compiled else (128, 64, 32):
            name = f"timm tuned, {way}, micro-batches of {micro}"
            found[name] = lambda name=name, c=compiled, m=micro: timm_tuned(name, images, labels, m, c)
    for shards in (1, 2, 4):
        name = f"patchwords, shards={shards}"
        found[name] = lambda name=name, shards=shards: ours(name, images, labels, shards)
    return found


def timm_as_it_runs(name: str, images, labels, compiled: bool) -> Contestant:
    """Return the step of timm's train.py with --amp --amp-dtype bfloat16 --opt adamw --fused, and --torchcompile."""
    import torch
    import torch.nn.functional as F

    model = timm_model(fused_attention=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0, fused=True)
    forward = torch.compile(model) if compiled else model

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(forward(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Contestant(name, "timm", step, lambda: [p.grad for p in model.parameters()])


def timm_tuned(name: str, images, labels, micro: int, compiled: bool) -> Contestant:
    """Return timm's model made as fast as its options and torch's allow, gradients added in float32."""
    import torch
    import torch.nn.functional as F

    model = timm_model(fused_attention=False)
    masters = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(masters, lr=LR, weight_decay=0.0, fused=True)
    parameters = list(model.to(torch.bfloat16).parameters())
    forward = torch.compile(model) if compiled else model
    portions = list(zip(images.to(torch.bfloat16).split(micro), labels.split(micro), strict=True))

    def step() -> float:
        total = 0.0
        for number, (part, part_labels) in enumerate(portions):
            loss = F.cross_entropy(forward(part).float(), part_labels) / len(portions)
            gradients = torch.autograd.grad(loss, parameters)
            if number == 0:
                for master, gradient in zip(masters, gradients, strict=True):
                    master.grad = gradient.float()
            else:
                torch._foreach_add_([m.grad for m in masters], list(gradients))
            total += loss.item()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(parameters, masters)
        return total

    return Contestant(name, "tuned", step, lambda: [m.grad for m in masters])


def ours(name: str, images, labels, shards: int) -> Contestant:
    """Return the step of `patchwords train`: the function that training calls, with its checks and its clipping."""
    import torch
    import torch.nn.functional as F

    import patchwords
    from patchwords.config import OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig
    from patchwords.training.lanes import Lanes
    from patchwords.training.step import Shard, TrainState, train_step

    model = patchwords.create_model(MODEL, num_classes=CLASSES)
    theirs = timm_model(fused_attention=False)
    model.load_state_dict(theirs.state_dict())
    run = replace(
        RunConfig(),
        optimizer=OptimizerConfig(lr=LR, weight_decay=0.0, clip_norm=0.0),
        schedule=ScheduleConfig(name="constant", warmup_epochs=0.0),
        train=TrainConfig(batch_size=BATCH, shards=shards),
    )
    state = TrainState(model.train(), run, steps=10**6, warmup_steps=0, dtype=torch.bfloat16)
    state.lanes = Lanes(min(shards, torch.get_num_threads()))
    targets = F.one_hot(labels, CLASSES).float()
    parts = zip(images.to(torch.bfloat16).chunk(shards), targets.chunk(shards), strict=True)
    batch = [Shard(part, wanted, torch.ones(len(part))) for part, wanted in parts]
    names = [n for n, _ in theirs.named_parameters()]
    return Contestant(
        name,
        "ours",
        lambda: train_step(state, batch, names=list).loss,
        lambda: [state.weights[n].grad for n in names],
    )


def check(contestant: Contestant, reference: Reference) -> Check:
    """Compare a contestant's first steps with the reference.

    Raises:
        SystemExit: they are not the same computation, to the rounding of bfloat16.
    """
    import torch

    curve = [contestant.step()]
    ours = torch.cat([g.detach().float().flatten() for g in contestant.gradients()])
    theirs = torch.cat([g.flatten() for g in reference.gradients])
    gradient_error = ((ours - theirs).norm() / theirs.norm()).item()
    curve += [contestant.step() for _ in range(CURVE_STEPS - 1)]
    errors = [abs(a - b) for a, b in zip(curve, reference.curve, strict=True)]
    result = Check(contestant.name, curve[0], errors[0], gradient_error, max(errors))
    if not (errors[0] < 0.01 and gradient_error < 0.05 and max(errors) < 0.05):
        sys.exit(f"not the same computation, nothing is timed: {result}")
    return result


def choose(contestants: list[Contestant]) -> list[Contestant]:
    """Return the fastest of each kind, in a heat of three rounds."""
    seconds, _ = alternate(contestants, 3)
    for contestant in contestants:
        print(f"  heat: {contestant.name:45} {BATCH / min(seconds[contestant.name]):7.1f} img/s")
    best = {}
    for contestant in sorted(contestants, key=lambda c: -min(seconds[c.name])):
        best[contestant.kind] = contestant
    return [best[kind] for kind in ("ours", "tuned", "timm")]


def alternate(contestants: list[Contestant], rounds: int) -> tuple[dict[str, list[float]], dict[tuple, list[float]]]:
    """Return seconds by contestant and operations per second by GEMM shape, all measured once a round, in turn."""
    import torch

    seconds = {c.name: [] for c in contestants}
    peaks = {shape: [] for shape in GEMM_SHAPES}
    factors = {(m, k, n): (torch.randn(m, k).bfloat16(), torch.randn(n, k).bfloat16()) for m, k, n in GEMM_SHAPES}
    for _ in range(rounds):
        for contestant in contestants:
            seconds[contestant.name].append(timed(contestant.step))
        for (m, k, n), (a, b) in factors.items():
            fastest = min(timed(lambda a=a, b=b: a @ b.t()) for _ in range(5))
            peaks[m, k, n].append(2 * m * k * n / fastest)
    return seconds, peaks


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def picture_flop(tokens: int = 65, dim: int = 192, depth: int = 12, mlp_dim: int = 768) -> float:
    """Return the operations of training on one picture: 6 for each product of forward (2) and backward (4)."""
    patches = (tokens - 1) * (4 * 4 * 3) * dim
    return 6.0 * (patches + depth * (tokens * (4 * dim**2 + 2 * dim * mlp_dim) + 2 * tokens**2 * dim))


def timing(contestant: Contestant, seconds: list[float], peak: float) -> Timing:
    """Return the figures of one contestant."""
    fastest, usual = BATCH / min(seconds), BATCH / statistics.median(seconds)
    return Timing(contestant.name, contestant.kind, seconds, fastest, usual, fastest * picture_flop() / peak)


def compare(timings: list[Timing]) -> list[dict]:
    """Return ours against each peer: the ratio of the fastest rounds, and of each round the median and the least."""
    first, *others = timings
    found = []
    for peer in others:
        by_round = [theirs / mine for theirs, mine in zip(peer.seconds, first.seconds, strict=True)]
        needed = FASTER_THAN_TIMM if peer.kind == "timm" else FASTER_THAN_TUNED
        median = statistics.median(by_round)
        row = {"peer": peer.name, "fastest": min(peer.seconds) / min(first.seconds), "median": median}
        found.append(row | {"least": min(by_round), "needed": needed, "reached": median >= needed})
    return found


def print_checks(checks: list[Check], left_out: dict[str, str]) -> None:
    """Print how far each contestant is from float32."""
    print(f"same computation, against timm in float32 (loss curve over {CURVE_STEPS} steps):")
    for c in checks:
        print(
            f"  {c.name:45} loss {c.loss:.4f}, off by {c.loss_error:.5f}; gradient by {100 * c.gradient_error:.2f} %;"
            f" curve by {c.curve_error:.5f}"
        )
    for name, reason in left_out.items():
        print(f"  left out: {name}: {reason}")


def print_timings(timings: list[Timing], ratios: list[dict], peaks: dict[tuple, list[float]]) -> None:
    """Print the table."""
    shapes = ", ".join(f"{m}x{k}x{n} {max(rates) / 1e9:.0f}" for (m, k, n), rates in peaks.items())
    print(f"\nbf16 GEMM, GFLOP/s: {shapes}; {picture_flop() / 1e9:.2f} GFLOP a picture")
    print(f"{'':45} {'img/s':>8} {'median':>8} {'of peak':>8}")
    for t in timings:
        print(f"{t.name:45} {t.images_per_second:8.1f} {t.images_per_second_median:8.1f} {t.of_peak:8.3f}")
    for r in ratios:
        verdict = "reached" if r["reached"] else "NOT reached"
        print(
            f"ours / {r['peer']}: {r['fastest']:.2f} fastest, {r['median']:.2f} median of rounds,"
            f" {r['least']:.2f} least; needed {r['needed']}: {verdict}"
        )


if __name__ == "__main__":
    main()
