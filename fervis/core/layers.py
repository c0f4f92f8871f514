"""Names of a network's layers: ``conv7``, ``relu3``, ``stage2``, ``block5``, ``last_conv``, dotted paths, ``input``.

Names are found by running the network once on one image and watching which modules run, in which order and with what
shapes; so they hold for every ``nn.Module``, not only for networks that were written for fervis:

- ``conv1 .. convN``: the 2-D convolutions in the order in which they run.
- ``relu1 .. reluN``: the activations (ReLU, LeakyReLU, GELU, SiLU, ...) in the order in which they run.
- ``block1 .. blockN``: the transformer blocks, which are the modules around an attention.
- ``stage1 .. stageN``: at each resolution the last of the network's numbered parts (``layer1``, ``stages.0``, ...), or
  where it has no such parts, the last module at each resolution at which convolutions run.
- ``last_conv``: the last convolution whose output has more than one position, unless it runs before transformer
  blocks: the patch embedding has recognised nothing yet, and so is not taken for what CAMs call the last convolution.
- a dotted path such as ``layer1.0.conv1``, as ``get_submodule`` takes it; a real path wins over the names above.
- ``input``: the pixels.

Inside a ``Network`` all names are relative to its ``body``. Functional calls (``F.relu``) have no module
and so no name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervis.core.network import Network
from fervis.errors import ConfigError, unknown_name

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU)
ACTIVATIONS += (nn.Mish, nn.Hardswish, nn.Softplus)
# Networks bring classes of their own for these functions; their names tell.
ACTIVATION_NAMES = re.compile(r"(leaky|p|r|c|s|quick|hard)?(relu6?|elu|gelu|gelutanh|swish|silu|mish)(me|jit)?")
ATTENTION_NAMES = re.compile(r".*Attention(V2|Rope|2d)?")
CHANNELS_FIRST = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)
CHANNELS_FIRST += (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
CHANNELS_LAST = (nn.Linear, nn.LayerNorm)  # but not their subclasses, which may turn the dimensions around
ALIAS = re.compile(r"(conv|relu|block|stage)\d+")
MOST_PREFIX_TOKENS = 5  # a class token and four registers

LayerLayout = tuple[str, tuple[int, int]]


@dataclass(frozen=True)
class Layer:
    """A module that runs, and what comes out of it.

    Attributes:
        name: the name to show and to ask for: an alias such as ``conv7``, else the dotted path inside the network.
        path: dotted path from the model that was given, for ``model.get_submodule``; empty for ``input``.
        kind: class of the module, such as ``Conv2d``.
        shape: of the output, without the batch.
        parameters: how many numbers it learns, its children's included.
        calls: how often it runs in one forward pass.
        layout: ``NCHW``, ``NHWC``, ``tokens`` ([N,T,C]), or ``none``: no map can be made of it.
        grid: height and width of its map, (0, 0) for ``none``.
        aliases: all the names it answers to beside its path.
    """

    name: str
    path: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    calls: int
    layout: str
    grid: tuple[int, int]
    aliases: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """How many filters, or features of a token."""
        return self.shape[0] if self.layout == "NCHW" else self.shape[-1]

    @property
    def has_map(self) -> bool:
        """Whether its output has more than one position."""
        return self.grid[0] * self.grid[1] > 1


def list_layers(model: nn.Module, image: Tensor) -> list[Layer]:
    """Every module whose output is a map or tokens, in the order in which the modules finish.

    Runs the model once, on ``image`` [1,C,H,W] and a copy of it, in eval mode without gradients; its hooks and its
    train or eval state are afterwards as they were.
    """
    return [layer for layer in _probe(model, image) if layer.layout != "none"]


def find_layer(model: nn.Module, name: str, image: Tensor) -> Layer:
    """The layer of this name, fit for a map: it runs once and its output has more than one position.

    Raises:
        ConfigError: no layer has the name, it does not run, it runs more than once, or its output has no positions.
    """
    return _find(model, name, _probe(model, image), image)


def expand_layers(model: nn.Module, spec: str | Sequence[str], image: Tensor) -> list[str]:
    """The names that ``spec`` stands for, each once: a name, a list of names, or ``all``.

    ``all`` is every transformer block, or in a network without any, every convolution, that can give a map.
    """
    layers = _probe(model, image)
    names: list[str] = []
    for name in [spec] if isinstance(spec, str) else spec:
        if name != "all":
            names.append(_find(model, name, layers, image).name)
            continue
        blocks = [layer.name for layer in layers if _numbered(layer, "block") and _fit(layer)]
        names += blocks or [layer.name for layer in layers if _numbered(layer, "conv") and _fit(layer)]
    if not names:
        raise ConfigError(f"layer={spec}: the network has no convolution or block of which a map could be made.")
    return list(dict.fromkeys(names))


def spatial(activation: Tensor, layer: Layer) -> Tensor:
    """A layer's output as maps: [N,C,H,W], [N,H,W,C] or [N,T,C] -> [N,C,h,w], gradients included.

    Tokens in front of the patches' tokens (class token, registers) are left out.
    """
    if layer.layout == "NCHW":
        return activation
    if layer.layout == "NHWC":
        return activation.permute(0, 3, 1, 2)
    if layer.layout == "tokens":
        height, width = layer.grid
        return activation[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))
    raise ConfigError(f"layer={layer.name}: its output of shape {list(layer.shape)} cannot be laid out as a map.")


def layer_table(layers: Iterable[Layer]) -> str:
    """The layers as aligned lines: names, path, kind, output shape, parameters."""
    rows = [("name", "path", "kind", "output", "parameters")]
    for layer in layers:
        names = ", ".join(layer.aliases) or "-"
        runs = f" (runs {layer.calls} times)" if layer.calls > 1 else ""
        shape = " x ".join(map(str, layer.shape))
        rows.append((names, layer.path.removeprefix("body."), layer.kind + runs, shape, f"{layer.parameters:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    line = "{:<{}}  {:<{}}  {:<{}}  {:>{}}  {:>{}}"
    return "\n".join(line.format(*(v for pair in zip(row, widths, strict=True) for v in pair)) for row in rows)


def _fit(layer: Layer) -> bool:
    return layer.has_map and layer.calls == 1


def _numbered(layer: Layer, stem: str) -> bool:
    return any(re.fullmatch(rf"{stem}\d+", alias) for alias in layer.aliases)


def _by_stem(alias: str) -> tuple[str, int]:
    stem = alias.rstrip("0123456789")
    return stem, int(alias[len(stem) :] or 0)


def _inside(model: nn.Module) -> tuple[nn.Module, str]:
    """The module inside which names are meant, and its path with a dot."""
    return (model.body, "body.") if isinstance(model, Network) else (model, "")


def _find(model: nn.Module, name: str, layers: list[Layer], image: Tensor) -> Layer:
    if name == "input":
        grid = (int(image.shape[-2]), int(image.shape[-1]))
        return Layer("input", "", "pixels", tuple(image.shape[1:]), 0, 1, "NCHW", grid, ("input",))
    body, prefix = _inside(model)
    # Several paths can lead to one module, of which the layers know the first.
    paths = dict(body.named_modules(remove_duplicate=False))
    path = name if name in paths else name.removeprefix(prefix)
    if path and path in paths:
        first = {module: path for path, module in body.named_modules()}[paths[path]]
        found = next((layer for layer in layers if layer.path == prefix + first), None)
        if found is None:
            raise ConfigError(f"layer={name}: this module does not run in a forward pass, or returns no tensor.")
    else:
        found = next((layer for layer in layers if name in layer.aliases), None)
    if found is None:
        blocks = [layer.name for layer in layers if _numbered(layer, "block") and _fit(layer)]
        if name == "last_conv" and blocks:
            raise ConfigError(
                "layer=last_conv: no convolution runs after this network's transformer blocks; ask for a block, such "
                f"as {blocks[-2:][0]} (of the last block many networks read only the class token)."
            )
        aliases = sorted((alias for layer in layers for alias in layer.aliases), key=_by_stem)
        rest = [path for path in paths if path and path not in aliases]
        raise unknown_name("layer", name, aliases + rest, limit=min(len(aliases), 40) or 40)
    if found.calls > 1:
        raise ConfigError(
            f"layer={name}: this module runs {found.calls} times in one forward pass, so its output is not one map; "
            f"give the network a separate {found.kind} for each."
        )
    if not found.has_map:
        raise ConfigError(
            f"layer={name}: its output of shape {list(found.shape)} has no height and width of which a map could be "
            "made; ask for a layer before the pooling."
        )
    return found


def _probe(model: nn.Module, image: Tensor) -> list[Layer]:
    """Run the model once and give every module that returned a tensor, in the order in which they finished."""
    body, prefix = _inside(model)
    paths = {module: path for path, module in body.named_modules() if path}
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    calls: Counter[nn.Module] = Counter()

    def seen(module: nn.Module, _: object, output: object) -> None:
        calls[module] += 1
        if isinstance(output, Tensor):
            shapes[module] = tuple(output.shape)

    # Twice, so that what has no face in it (a table of positions) is told from what has by its first dimension.
    pair = torch.cat([image[:1]] * 2)
    training = {module: module.training for module in model.modules()}
    hooks = [module.register_forward_hook(seen) for module in paths]
    try:
        model.eval()
        with torch.no_grad():
            model(pair)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode

    attentions = [module for module in calls if _is_attention(module)]
    mapped = {module: shape for module, shape in shapes.items() if shape[:1] == (2,)}
    square = image.shape[-2] == image.shape[-1]
    layouts = _layouts(mapped, paths, square, tuple(f"{paths[module]}." for module in attentions))
    aliases = _aliases(layouts, paths, attentions)
    layers = []
    for module, shape in shapes.items():
        # A real path wins over an alias.
        names = tuple(n for n in aliases.get(module, ()) if n not in paths.values() or paths[module] == n)
        layout, grid = layouts.get(module, ("none", (0, 0)))
        path = paths[module]
        parameters = sum(p.numel() for p in module.parameters())
        kind = type(module).__name__
        name = names[0] if names and not ALIAS.fullmatch(path) else path
        layers.append(Layer(name, prefix + path, kind, shape[1:], parameters, calls[module], layout, grid, names))
    return layers


def _layouts(
    shapes: dict[nn.Module, tuple[int, ...]], paths: dict[nn.Module, str], square: bool, attentions: tuple[str, ...]
) -> dict[nn.Module, LayerLayout]:
    """Where the channels and the positions are in each module's output."""
    orders = {module: _order(module, shape, square) for module, shape in shapes.items() if len(shape) == 4}
    kinds: dict[type, set[str]] = {}  # of a map as deep as wide, another module of the same class may tell
    for module, order in orders.items():
        kinds.setdefault(type(module), set()).update([order] if order else [])
    layouts: dict[nn.Module, LayerLayout] = {}
    grid = (0, 0)  # of the last map seen, which is the grid of the tokens that follow it
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


def _is_attention(module: nn.Module) -> bool:
    # Some convolutional networks call their gates attention; those have no linear layer over tokens.
    linear = any(isinstance(child, nn.Linear) for child in module.children())
    return linear and bool(ATTENTION_NAMES.fullmatch(type(module).__name__))


def _is_activation(module: nn.Module) -> bool:
    return isinstance(module, ACTIVATIONS) or bool(ACTIVATION_NAMES.fullmatch(type(module).__name__.lower()))


def _aliases(
    layouts: dict[nn.Module, LayerLayout], paths: dict[nn.Module, str], attentions: list[nn.Module]
) -> dict[nn.Module, list[str]]:
    """The names that modules answer to beside their paths, the most telling first."""
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
        aliases[late[-1]].append("last_conv")
    return aliases


def _stages(layouts: dict[nn.Module, LayerLayout], paths: dict[nn.Module, str]) -> list[nn.Module]:
    """The last part at each resolution: of the outermost numbered parts that have several, else of all leaves."""
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


def layer_or_input(model: nn.Module, name: str, images: Tensor) -> Layer | None:
    """The layer of this name, or None for ``input``."""
    return None if name == INPUT else find_layer(model, name, images[:1])


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring [N,h,w] maps to ``size`` (height, width) by bilinear interpolation, pixel centres kept in place."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


INPUT = "input"
