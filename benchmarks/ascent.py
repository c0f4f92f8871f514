"""Seconds per filter of gradient ascent in fervis and torch-lucent, on the same network, size and steps, in one run.

torch-lucent 0.1.8 is called as its documentation shows: one filter after the other, its own Adam and transformations,
grey, at the network's size. The values reached are measured alike: on the image as it is, in fp32. It needs
kornia 0.4.1 and IPython, so keep it apart from fervis's environment:

    pip install --target elsewhere --no-deps torch-lucent==0.1.8 kornia==0.4.1 decorator future
    pip install --target elsewhere ipython
    PYTHONPATH=elsewhere python benchmarks/ascent.py [--filters 16] [--rounds 2]

Without torch-lucent its recipe is reimplemented here literally, and the output states it.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from copy import deepcopy
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import fervis
from fervis.core.layers import find_layer
from fervis.core.network import Network
from fervis.core.registry import build_plugin
from fervis.explainers.activation_maximization.ascent import maximize, measure_objective
from fervis.explainers.activation_maximization.objectives import filter_values
from fervis.explainers.activation_maximization.parameterizations import build_parameterization
from fervis.models.architectures.timm import import_timm
from fervis.models.batch import Batch

FILTERS = [4, 6, 18, 20, 21, 22, 24, 25, 41, 42, 43, 44, 47, 53, 57, 59]
SIZE = 48
STEPS = 128
TURN = 4  # filters of torch-lucent between two runs of fervis over all filters


def lucent(network: Network, number: int) -> Tensor:
    """Return the image [1,1,48,48] of torch-lucent itself."""
    from lucent.optvis import param, render  # pyright: ignore[reportMissingImports]

    torch.manual_seed(number)
    np.random.seed(number)  # what torch-lucent draws from
    image = render.render_vis(
        network,
        f"body_conv7:{number}",
        lambda: param.image(SIZE, channels=1),
        thresholds=(STEPS,),
        preprocess=False,
        progress=False,
        show_image=False,
        fixed_image_size=SIZE,
    )[-1]
    return torch.from_numpy(image).permute(0, 3, 1, 2)


def recipe(network: Network, number: int) -> Tensor:
    """Return the image [1,1,48,48] of its recipe: Adam 0.05, Fourier, padding, jitter, scale, rotation, jitter."""
    generator = torch.Generator().manual_seed(number)
    captured: list[Tensor] = []
    handle = network.body.get_submodule("conv7").register_forward_hook(lambda _m, _i, output: captured.append(output))
    radius = torch.hypot(torch.fft.fftfreq(SIZE)[:, None], torch.fft.rfftfreq(SIZE)[None]).clamp(min=1 / SIZE)
    numbers = (0.01 * torch.randn(1, 1, SIZE, SIZE // 2 + 1, 2, generator=generator)).requires_grad_()
    optimizer = torch.optim.Adam([numbers], lr=0.05)

    def image() -> Tensor:
        spectrum = torch.view_as_complex(numbers / radius[..., None])
        return (torch.fft.irfft2(spectrum, s=(SIZE, SIZE), norm="ortho") / 4).sigmoid()

    def draw(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    def warped(images: Tensor, turn: float, down: int, right: int) -> Tensor:
        height, width = images.shape[2:]
        angle = torch.deg2rad(torch.tensor(float(turn)))
        cos, sin = angle.cos(), angle.sin()
        shift = torch.tensor([-2 * right / width, -2 * down / height])
        matrix = torch.cat([torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])]), shift[:, None]], 1)
        grid = F.affine_grid(matrix[None], list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)

    turns = [*range(-10, 11), *[0] * 5]
    for _ in range(STEPS):
        seen = F.pad(image(), [12] * 4, value=0.5)
        seen = warped(seen, 0, draw(8), draw(8))
        scale = 1 + (draw(11) - 5) / 50
        sides = [int(np.ceil(scale * side)) for side in seen.shape[2:]]
        margin = max(0, int(np.ceil((seen.shape[2] - sides[0]) / 2)))
        seen = F.pad(F.interpolate(seen, sides, mode="bilinear", align_corners=True), [margin] * 4)
        seen = warped(warped(seen, turns[draw(len(turns))], 0, 0), 0, draw(4), draw(4))
        network(F.interpolate(seen, (SIZE, SIZE), mode="bilinear", align_corners=True))
        optimizer.zero_grad()
        (-captured.pop()[:, number].mean()).backward()
        optimizer.step()
    handle.remove()
    return image().detach()


def ours(network: Network, filters: list[int]) -> Tensor:
    """Return the images [N,1,48,48] of fervis with its defaults, drawing of the starts included."""
    layer = find_layer(network, "conv7", torch.zeros(1, 1, SIZE, SIZE))
    blank = torch.zeros(1, 1, SIZE, SIZE)
    row = torch.zeros(1, dtype=torch.int64)
    batch = Batch(network, blank, (layer,), classes=network.classes, pool=blank, rows=row, labels=row)
    explainer = build_plugin("explainer", "filters", steps=STEPS)
    parameterization = build_parameterization("fourier", (1, SIZE, SIZE))
    start = torch.stack([parameterization.noise(batch.generator(f"filters/conv7/{number}")) for number in filters])
    config, generator = explainer.ascent_config(blank, parameterization.lr), batch.generator("climb/transformations")
    unit = torch.full((len(filters),), 0.03)
    with filter_values(network, layer, filters, "mean", torch.bfloat16 if config.bf16 else torch.float32) as values:
        return maximize(values, parameterization, start, config, generator, unit=unit)[0]


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    """Return the result of the work, and its seconds by the clock and on the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Print the values reached and the times: the median by the clock, and the least processor seconds.

    The two take turns, so that other load on the machine affects both.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    import_timm()  # and torchvision with it, whose compiled part may be missing
    network = fervis.load_model("vgg8", weights="fer2013")
    layer = find_layer(network, "conv7", torch.zeros(1, 1, SIZE, SIZE))
    installed = importlib.util.find_spec("lucent") is not None
    other, name = (lucent, "torch-lucent 0.1.8") if installed else (recipe, "torch-lucent's recipe, reimplemented here")
    filters = FILTERS[: arguments.filters]
    ours(network, filters[:1])  # warm up both
    other(deepcopy(network), filters[0])
    own, theirs = torch.empty(0), [torch.empty(0)] * len(filters)
    clocks, processors = ([], []), ([], [])
    for index, number in [pair for _ in range(arguments.rounds) for pair in enumerate(filters)]:
        if index % TURN == 0:
            own, clock, processor = timed(lambda: ours(network, filters))
            clocks[0].append(clock / len(filters))
            processors[0].append(processor / len(filters))
        copy = deepcopy(network)  # torch-lucent leaves hooks on every layer, which would slow both of them down
        theirs[index], clock, processor = timed(lambda copy=copy, number=number: other(copy, number))
        clocks[1].append(clock)
        processors[1].append(processor)
    with filter_values(network, layer, filters, "mean") as values:
        ours_reached, theirs_reached = measure_objective(values, own), measure_objective(values, torch.cat(theirs))
    for number, first, second in zip(filters, ours_reached.tolist(), theirs_reached.tolist(), strict=True):
        print(f"conv7/{number}: fervis {first:.3f}, {name} {second:.3f}")
    print(f"fervis reaches at least as much for {int((ours_reached >= theirs_reached).sum())} of {len(filters)}")
    for what, (first, second) in (
        ("median seconds by the clock", [median(seconds) for seconds in clocks]),
        ("least processor seconds", [min(seconds) for seconds in processors]),
    ):
        print(f"{STEPS} steps per filter, {what}: fervis {first:.3f}, {name} {second:.3f}: ratio {second / first:.1f}")


if __name__ == "__main__":
    main()
