"""Names of a network's layers: ``conv7``, ``relu3``, ``stage2``, ``block5``, ``last_conv``, ``last_map``, dotted paths.

Names are determined by running the network once on an image and recording which modules run, in which order and with
what shapes, so they work for every ``nn.Module``, not only for networks that were written for fervis:

- ``conv1 .. convN``: the 2-D convolutions in the order in which they run.
- ``relu1 .. reluN``: the activations (ReLU, LeakyReLU, GELU, SiLU, ...) in the order in which they run.
- ``block1 .. blockN``: the transformer blocks, which are the modules around an attention.
- ``stage1 .. stageN``: at each resolution the last of the network's numbered parts (``layer1``, ``stages.0``, ...), or
  where it has no such parts, the last module at each resolution at which convolutions run.
- ``last_conv``: the last convolution whose output has more than one position, unless it runs before transformer
  blocks: a patch embedding has no features of parts yet, so it is not what CAMs mean by the last convolution.
- ``last_map``: the last output of the size of ``last_conv``'s, after its normalisation, activation and shortcut;
  ``last_conv`` itself where no module follows. Methods that expect rectified activations work here.
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

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervis.core.frozen import frozen
from fervis.core.layer_names import is_attention, module_aliases, module_layouts
from fervis.core.network import Network
from fervis.errors import ConfigError, unknown_name

INPUT = "input"
_ALIAS = re.compile(r"(conv|relu|block|stage)\d+")


@dataclass(frozen=True)
class Layer:
    """A module that runs in a forward pass, with the shape and layout of its output.

    Attributes:
        name: the name for users: an alias such as ``conv7``, else the dotted path inside the network.
        path: dotted path from the model that was given, for ``model.get_submodule``; empty for ``input``.
        kind: class of the module, such as ``Conv2d``.
        shape: of the output, without the batch.
        parameters: number of its parameters, with those of its children.
        calls: number of times it runs in a forward pass.
        layout: ``NCHW``, ``NHWC``, ``tokens`` ([N,T,C]), or ``none``: no map can be made of it.
        grid: height and width of its map, (0, 0) for ``none``.
        aliases: all its names other than its path.
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
        """Number of filters, or of features of a token."""
        return self.shape[0] if self.layout == "NCHW" else self.shape[-1]

    @property
    def is_input(self) -> bool:
        """Whether this layer is the pixels."""
        return not self.path

    @property
    def has_map(self) -> bool:
        """Whether its output has more than one position."""
        return self.grid[0] * self.grid[1] > 1


def list_layers(model: nn.Module, image: Tensor) -> list[Layer]:
    """Every module whose output is a map or tokens, in the order in which the modules finish.

    Runs the model once, on ``image`` [1,C,H,W] and a copy of it, in eval mode without gradients; it is afterwards as it
    was.
    """
    return [layer for layer in _probe(model, image) if layer.layout != "none"]


def find_layer(model: nn.Module, name: str, image: Tensor) -> Layer:
    """Return the layer of this name, fit for a map: it runs once and its output has more than one position.

    Raises:
        ConfigError: no layer has the name, it does not run, it runs more than once, or its output has no positions.
    """
    return _find(model, name, _probe(model, image), image)


def resolve_layers(model: nn.Module, spec: str | Sequence[str], image: Tensor) -> tuple[Layer, ...]:
    """Return the layers that ``spec`` selects, each once: a name, a list of names, or ``all``.

    ``all`` is every transformer block, or in a network without any, every convolution, that can give a map.
    """
    layers = _probe(model, image)
    chosen: list[Layer] = []
    for name in [spec] if isinstance(spec, str) else spec:
        if name != "all":
            chosen.append(_find(model, name, layers, image))
            continue
        blocks = [layer for layer in layers if _numbered(layer, "block") and _fit(layer)]
        chosen += blocks or [layer for layer in layers if _numbered(layer, "conv") and _fit(layer)]
    if not chosen:
        raise ConfigError(f"layer={spec}: the network has no convolution or block of which a map could be made.")
    return tuple({layer.name: layer for layer in chosen}.values())


def expand_layers(model: nn.Module, spec: str | Sequence[str], image: Tensor) -> list[str]:
    """Return the names of the layers that ``spec`` selects."""
    return [layer.name for layer in resolve_layers(model, spec, image)]


def spatial(activation: Tensor, layer: Layer) -> Tensor:
    """Return a layer's output as maps: [N,C,H,W], [N,H,W,C] or [N,T,C] -> [N,C,h,w], gradients included.

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
    """Return the layers as aligned lines: names, path, kind, output shape, parameters."""
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
    """Return the module inside which names are meant, and its path with a dot."""
    return (model.body, "body.") if isinstance(model, Network) else (model, "")


def _find(model: nn.Module, name: str, layers: list[Layer], image: Tensor) -> Layer:
    if name == INPUT:
        grid = (int(image.shape[-2]), int(image.shape[-1]))
        return Layer(INPUT, "", "pixels", tuple(image.shape[1:]), 0, 1, "NCHW", grid, (INPUT,))
    body, prefix = _inside(model)
    # Several paths can lead to one module; the layers have the first.
    paths = dict(body.named_modules(remove_duplicate=False))
    path = name if name in paths else name.removeprefix(prefix)
    if path and path in paths:
        first = {module: path for path, module in body.named_modules()}[paths[path]]
        layer = next((layer for layer in layers if layer.path == prefix + first), None)
        if layer is None:
            raise ConfigError(f"layer={name}: this module does not run in a forward pass, or returns no tensor.")
    else:
        layer = next((layer for layer in layers if name in layer.aliases), None)
    if layer is None:
        blocks = [layer.name for layer in layers if _numbered(layer, "block") and _fit(layer)]
        if name in ("last_conv", "last_map") and blocks:
            raise ConfigError(
                f"layer={name}: no convolution runs after this network's transformer blocks; ask for a block, such "
                f"as {blocks[-2:][0]} (of the last block many networks read only the class token)."
            )
        aliases = sorted((alias for layer in layers for alias in layer.aliases), key=_by_stem)
        others = [path for path in paths if path and path not in aliases]
        raise unknown_name("layer", name, aliases + others, limit=min(len(aliases), 40) or 40)
    if layer.calls > 1:
        raise ConfigError(
            f"layer={name}: this module runs {layer.calls} times in one forward pass, so its output is not one map; "
            f"give the network a separate {layer.kind} for each."
        )
    if not layer.has_map:
        raise ConfigError(
            f"layer={name}: its output of shape {list(layer.shape)} has no height and width of which a map could be "
            "made; ask for a layer before the pooling."
        )
    return layer


def _probe(model: nn.Module, image: Tensor) -> list[Layer]:
    """Run the model once and give every module that returned a tensor, in the order in which they finished."""
    body, prefix = _inside(model)
    paths = {module: path for path, module in body.named_modules() if path}
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    calls: Counter[nn.Module] = Counter()

    def record(module: nn.Module, _: object, output: object) -> None:
        calls[module] += 1
        if isinstance(output, Tensor):
            shapes[module] = tuple(output.shape)

    # Two images, so that outputs without a batch dimension (a table of positions) are recognised by their first one.
    pair = torch.cat([image[:1]] * 2)
    hooks = [module.register_forward_hook(record) for module in paths]
    try:
        with frozen(model), torch.no_grad():
            model(pair)
    finally:
        for hook in hooks:
            hook.remove()

    attentions = [module for module in calls if is_attention(module)]
    mapped = {module: shape for module, shape in shapes.items() if shape[:1] == (2,)}
    square = image.shape[-2] == image.shape[-1]
    layouts = module_layouts(mapped, paths, square, tuple(f"{paths[module]}." for module in attentions))
    aliases = module_aliases(layouts, paths, attentions, calls)
    layers = []
    for module, shape in shapes.items():
        # A real path wins over an alias.
        names = tuple(n for n in aliases.get(module, ()) if n not in paths.values() or paths[module] == n)
        layout, grid = layouts.get(module, ("none", (0, 0)))
        path = paths[module]
        parameters = sum(p.numel() for p in module.parameters())
        kind = type(module).__name__
        # A module without a number is named by its path, also where it is the last map.
        own = names[0] if names and names[0] != "last_map" else path
        name = path if _ALIAS.fullmatch(path) else own
        layers.append(Layer(name, prefix + path, kind, shape[1:], parameters, calls[module], layout, grid, names))
    return layers


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring [N,h,w] maps to ``size`` (height, width) by bilinear interpolation that preserves pixel centres."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
