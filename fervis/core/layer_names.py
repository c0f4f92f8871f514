"""Names and layouts of modules: which run as a convolution, an activation or a block, and where their channels are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

from torch import nn

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU)
ACTIVATIONS += (nn.Mish, nn.Hardswish, nn.Softplus)
# Networks define classes of their own for these functions, recognised by name.
ACTIVATION_NAMES = re.compile(r"(leaky|p|r|c|s|quick|hard)?(relu6?|elu|gelu|gelutanh|swish|silu|mish)(me|jit)?")
ATTENTION_NAMES = re.compile(r".*Attention(V2|Rope|2d)?")
CHANNELS_FIRST = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)
CHANNELS_FIRST += (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
CHANNELS_LAST = (nn.Linear, nn.LayerNorm)  # but not their subclasses, which may turn the dimensions around
MOST_PREFIX_TOKENS = 5  # a class token and four registers

LayerLayout = tuple[str, tuple[int, int]]


def module_layouts(
    shapes: dict[nn.Module, tuple[int, ...]], paths: dict[nn.Module, str], square: bool, attentions: tuple[str, ...]
) -> dict[nn.Module, LayerLayout]:
    """Where the channels and the positions are in each module's output."""
    orders = {module: _order(module, shape, square) for module, shape in shapes.items() if len(shape) == 4}
    kinds: dict[type, set[str]] = {}  # where a map is as deep as wide, the order of others of the same class is used
    for module, order in orders.items():
        kinds.setdefault(type(module), set()).update([order] if order else [])
    layouts: dict[nn.Module, LayerLayout] = {}
    grid = (0, 0)  # of the last map, which is the grid of the tokens that follow it
    last: dict[tuple[int, ...], str] = {}
    for module, shape in shapes.items():
        layout: LayerLayout = ("none", (0, 0))
        # Inside an attention, four dimensions are heads and tokens.
        if len(shape) == 4 and (isinstance(module, CHANNELS_FIRST) or not paths[module].startswith(attentions)):
            kind = kinds[type(module)]
            order = orders[module] or (min(kind) if len(kind) == 1 else last.get(shape, "NCHW"))
            grid = shape[2:] if order == "NCHW" else shape[1:3]
            layout, last[shape] = (order, (grid[0], grid[1])), order
        elif len(shape) == 3 and (tokens := _token_grid(shape[1], (grid[0], grid[1]))):
            layout = ("tokens", tokens)
        layouts[module] = layout
    return layouts


def _order(module: nn.Module, shape: tuple[int, ...], square: bool) -> str | None:
    """``NCHW`` or ``NHWC`` by the module's class, or by which two dimensions of a square image agree; None: neither."""
    if isinstance(module, CHANNELS_FIRST):
        return "NCHW"
    if type(module) in CHANNELS_LAST:
        return "NHWC"
    _, a, b, c = shape
    if square and (a == b) != (b == c):
        return "NHWC" if a == b else "NCHW"
    return None


def _token_grid(tokens: int, grid: tuple[int, int]) -> tuple[int, int] | None:
    """Height and width that the tokens cover: that of the map before them, else the largest square in them."""
    if grid[0] * grid[1] > 1 and 0 <= tokens - grid[0] * grid[1] <= MOST_PREFIX_TOKENS:
        return grid
    side = isqrt(tokens)
    return (side, side) if side > 1 and tokens - side**2 <= MOST_PREFIX_TOKENS else None


def is_attention(module: nn.Module) -> bool:
    """Whether a module is an attention over tokens, by its class's name and its linear children."""
    # Some convolutional networks call their gates attention; those have no linear layer over tokens.
    linear = any(isinstance(child, nn.Linear) for child in module.children())
    return linear and bool(ATTENTION_NAMES.fullmatch(type(module).__name__))


def _is_activation(module: nn.Module) -> bool:
    return isinstance(module, ACTIVATIONS) or bool(ACTIVATION_NAMES.fullmatch(type(module).__name__.lower()))


def module_aliases(
    layouts: dict[nn.Module, LayerLayout],
    paths: dict[nn.Module, str],
    attentions: list[nn.Module],
    calls: Mapping[nn.Module, int],
) -> dict[nn.Module, list[str]]:
    """Return the names of modules other than their paths, the preferred name first."""
    modules = {path: module for module, path in paths.items()}
    around = {modules.get(paths[module].rpartition(".")[0]) for module in attentions} - set(attentions)
    blocks = [module for module in layouts if module in around]
    convs = [module for module in layouts if isinstance(module, nn.Conv2d)]
    activations = [module for module in layouts if _is_activation(module)]
    named = {"conv": convs, "relu": activations, "block": blocks, "stage": _stages(layouts, paths)}
    aliases: dict[nn.Module, list[str]] = {}
    for stem, members in named.items():
        for k, module in enumerate(members, 1):
            aliases.setdefault(module, []).append(f"{stem}{k}")
    order = list(layouts)
    after = order.index(blocks[-1]) if blocks else -1
    late = [module for module in convs if layouts[module][1] > (1, 1) and order.index(module) > after]
    if late:
        last = late[-1]
        aliases[last].append("last_conv")
        following = [module for module in order[order.index(last) :] if layouts[module] == layouts[last]]
        complete = [module for module in following if calls[module] == 1]
        aliases.setdefault([last, *complete][-1], []).append("last_map")
    return aliases


def _stages(layouts: dict[nn.Module, LayerLayout], paths: dict[nn.Module, str]) -> list[nn.Module]:
    """Return the last part at each resolution: of the outermost numbered parts with several, else of all leaves."""
    families: dict[str, dict[tuple[int, int], nn.Module]] = {}
    leaves: dict[tuple[int, int], nn.Module] = {}
    convolved = {layouts[module][1] for module in layouts if isinstance(module, nn.Conv2d)}
    for module, (layout, grid) in layouts.items():
        number = re.search(r"\d+$", paths[module])
        if layout == "none" or grid == (1, 1):
            continue
        if not list(module.children()):
            if grid in convolved:
                leaves[grid] = module
        elif number:
            stem = paths[module][: number.start()]
            families[stem] = families.pop(stem, {}) | {grid: module}  # so that the last to finish stands last
    several = [(stem, members) for stem, members in reversed(families.items()) if len(members) > 1]
    parts = min(several, key=lambda family: family[0].count("."), default=("", leaves))[1]
    return list(parts.values()) if len(parts) > 1 else []
