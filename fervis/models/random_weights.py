"""Networks whose layers have drawn their weights again: what a network, or a map of it, owes to its training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from fervis.core.frozen import frozen
from fervis.core.layers import list_layers
from fervis.errors import ConfigError


@dataclass(frozen=True)
class WeightedLayer:
    """A layer that computes with parameters.

    Attributes:
        name: its alias, such as ``conv7``, else its dotted path inside the network.
        owners: dotted paths of the modules that hold these parameters: the layer itself, and parts of it that do not
            run as modules of their own, such as the output projection of an attention.
    """

    name: str
    owners: tuple[str, ...]


def weighted_layers(model: nn.Module, image: Tensor) -> list[WeightedLayer]:
    """Return the layers on whose parameters the output for ``image`` [1,C,H,W] depends, from the last to the first.

    Their order is that in which they start in a forward pass, so that parameters of the network itself, such as a
    table of positions, come as the first. A head that is not used is left out.

    Raises:
        ConfigError: there is none; or the network's ``forward`` was replaced by a function that runs this very network,
            so that a copy has none of its own.
    """
    network = copy.deepcopy(model).eval().requires_grad_()
    started: dict[str, int] = {}
    paths = {module: path for path, module in network.named_modules()}

    def start(module: nn.Module, _: object) -> None:
        started.setdefault(paths[module], len(started))

    for module in paths:
        module.register_forward_pre_hook(start)
    with frozen(model), torch.random.fork_rng(devices=[]):
        output = network(image.clone())
        used = _parameters_of(output, list(network.parameters()))
    owners: dict[str, list[str]] = {}
    for path, module in network.named_modules():
        own = [parameter for parameter in module._parameters.values() if parameter is not None]
        # A BatchNorm without parameters has statistics, which it resets.
        statistics = not own and path in started and callable(getattr(module, "reset_parameters", None))
        if statistics or any(id(parameter) in used for parameter in own):
            owners.setdefault(_running(path, started), []).append(path)
    runs_another = len(started) == 1 < len(paths) and not output.requires_grad
    if runs_another or not owners:
        raise ConfigError("model: a copy of it has no layer that runs and whose weights could be drawn again.")
    names = {layer.path: layer.name for layer in list_layers(model, image)}
    ordered = sorted(owners, key=started.__getitem__, reverse=True)
    return [
        WeightedLayer(names.get(path) or path.removeprefix("body.") or "model", tuple(owners[path])) for path in ordered
    ]


def randomized_networks(
    model: nn.Module, image: Tensor, generator: Generator, *, cascading: bool, steps: int | None = None
) -> Iterator[tuple[str, nn.Module]]:
    """Yield networks in which layers have drawn their initial weights again, with the name of the last of them.

    The first has a new last layer. With ``cascading``, each has one layer more, down to a network that has nothing of
    the training; otherwise each has one layer that is new, and all others as they were (Adebayo et al. 2018,
    arXiv:1810.03292). A layer's draws are the same in both. All are one network, which changes when the next is
    requested.

    Args:
        model: any network; it is copied.
        image: [1,C,H,W], to determine in which order the layers run.
        generator: of the weights.
        cascading: layers stay random.
        steps: number of networks; layers are drawn in that many groups of almost equal size. None for one per layer.
    """
    network = copy.deepcopy(model)
    layers = weighted_layers(model, image)
    original = {name: value.clone() for name, value in network.state_dict().items()}
    seeds = torch.randint(2**31, (len(layers),), generator=generator).tolist()
    for positions in _layer_groups(len(layers), steps):
        if not cascading:
            network.load_state_dict(original)
        for position in positions:
            _draw_again([network.get_submodule(path) for path in layers[position].owners], seeds[position])
        yield layers[positions[-1]].name, network


def _parameters_of(output: Tensor, parameters: list[nn.Parameter]) -> set[int]:
    """Return the identities of the parameters that an output depends on; all, where it is part of no graph."""
    if not output.requires_grad:
        return set(map(id, parameters))
    slopes = torch.autograd.grad(output.sum(), parameters, allow_unused=True)
    return {id(parameter) for parameter, slope in zip(parameters, slopes, strict=True) if slope is not None}


def _running(path: str, started: dict[str, int]) -> str:
    """Return the module itself, or the nearest around it, that runs."""
    while path not in started:
        path = path.rpartition(".")[0]
    return path


def _layer_groups(count: int, steps: int | None) -> list[range]:
    """Return the positions of ``count`` layers in groups of almost equal size."""
    steps = min(steps or count, count)
    ends = [count * number // steps for number in range(steps + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


@torch.no_grad()
def _draw_again(modules: Sequence[nn.Module], seed: int) -> None:
    """Initialize modules again, with the same draws on every device.

    Parameters that a module does not initialize are shuffled, which preserves their distribution.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in modules:
            own = [parameter for parameter in module._parameters.values() if parameter is not None]
            devices = [value.device for value in (*own, *module.buffers())]
            module.cpu()
            before = [parameter.clone() for parameter in own]
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
            for parameter, old in zip(own, before, strict=True):
                if torch.equal(parameter, old):
                    parameter.copy_(old.flatten()[torch.randperm(old.numel())].view_as(old))
            module.to(devices[0])
