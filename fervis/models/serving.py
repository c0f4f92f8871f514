"""Serve any network to explainers: take wrappers off, select its logits, refuse what hooks cannot serve.

A network whose maps would be wrong without an error is refused here, before any pass. A ScriptModule takes no hooks;
half precision moves a gradient by up to half of its largest value; a network whose output for an image depends on the
other images, or on chance, has no well-defined map for any image.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fervis.core.network_outputs import candidate_logits, named_tensors, select_logits
from fervis.errors import ConfigError
from fervis.models.hooks import frozen
from fervis.models.predict import check_logits
from fervis.system.console import log

_HALF = (torch.float16, torch.bfloat16)
_DIFFERS = 1e-4  # relative to the largest logit, of what the size of a batch may change by rounding
_DIFFERS_ON_DEVICES = 1e-2  # on an accelerator, whose matrix products may round to ten bits


@contextmanager
def served(model: Any, images: Tensor, output: str | int | None = None) -> Iterator[tuple[nn.Module, Tensor]]:
    """Yield the network inside its wrappers, returning one tensor of logits, and its logits [1,K] of the first image.

    Inside, it is in eval mode without gradients of parameters. Afterwards its flags, buffers, attributes and hooks are
    as they were, also after an error.

    Args:
        model: any network.
        images: [N,C,H,W] float; one of them is tried.
        output: which tensor of the network's output the logits are; None where that is plain.

    Raises:
        ConfigError: hooks cannot serve the network, it does not fit the images, or its output is no logits.
    """
    network = unwrapped(model)
    refuse_script_modules(network)
    _refuse_missing_values(network)
    _refuse_half_precision(network, images)
    _warn_of_backward_hooks(network)
    with ExitStack() as changes:
        changes.enter_context(attributes_restored(network))
        changes.enter_context(uncompiled())
        changes.enter_context(frozen(network))
        returned = tried(network, images)
        if output is not None and isinstance(returned[0], Tensor):
            raise ConfigError(f"output={output}: the network returns one tensor, which is taken; leave output= away.")
        if not isinstance(returned[0], Tensor):
            _state_choice(returned[1], output)
            hook = network.register_forward_hook(lambda _module, _inputs, given: select_logits(given, output))
            changes.callback(hook.remove)
        alone = check_logits(select_logits(returned[1], output))
        among = check_logits(select_logits(returned[0], output), finite=False)
        _refuse_company(network, images, among, alone)
        yield network, alone


def unwrapped(model: Any) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel, AveragedModel and torch.compile's module.

    Raises:
        ConfigError: it is no module.
    """
    if not isinstance(model, nn.Module):
        hint = f'; fervis.load_model("{model}") returns one' if isinstance(model, str) else ""
        raise ConfigError(f"model: expected a torch.nn.Module, not a {type(model).__name__}{hint}.")
    inner: Any = getattr(model, "_orig_mod", None) if type(model).__name__ == "OptimizedModule" else None
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel | torch.optim.swa_utils.AveragedModel):
        inner = model.module
    return model if inner is None else unwrapped(inner)


def refuse_script_modules(network: nn.Module) -> None:
    """Raise ConfigError for a network that takes no hooks."""
    for path, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"its module {path}" if path else "it"
            raise ConfigError(
                f"model: {where} is a ScriptModule (torch.jit), whose layers take no hooks; explain the "
                "torch.nn.Module that it was made from."
            )


def _refuse_missing_values(network: nn.Module) -> None:
    """Refuse weights that have no values yet, which a pass would give them, or could not compute with."""
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if is_lazy(value):
            raise ConfigError(f"model: {name} has no shape yet (a lazy module); run the network once on an image.")
        if value.is_meta:
            raise ConfigError(f"model: {name} is on the meta device, without values; load weights first.")
        if value.is_inference():
            raise ConfigError(
                f"model: {name} was made inside torch.inference_mode, so that it can take part in no gradient; build "
                "the network outside of it."
            )


def _refuse_half_precision(network: nn.Module, images: Tensor) -> None:
    """Refuse half precision, in which a gradient has two or three digits."""
    kinds = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    half = next((kind for kind in (images.dtype, *kinds) if kind in _HALF), None)
    if images.dtype in _HALF or (kinds and kinds <= set(_HALF)):
        raise ConfigError(
            f"model: {str(half).removeprefix('torch.')} has too few digits for an explanation; expected float32: "
            "write fervis.explain(copy.deepcopy(model).float(), images.float(), ...)."
        )


def _warn_of_backward_hooks(network: nn.Module) -> None:
    hooked = [path or "the network" for path, module in network.named_modules() if _has_backward_hooks(module)]
    if hooked:
        log.warning(
            f"model: {hooked[0]}{f' and {len(hooked) - 1} more modules' if hooked[1:] else ''} has backward hooks of "
            "another tool, which run and may change the gradients of a map; remove them if they are not meant to."
        )


def _has_backward_hooks(module: nn.Module) -> bool:
    return bool(module._backward_hooks or module._backward_pre_hooks)


@contextmanager
def attributes_restored(network: nn.Module) -> Iterator[None]:
    """Restore what a forward pass may set on modules, such as a saved output or a count; not what is inside of it."""
    saved = [(module, dict(vars(module))) for module in network.modules()]
    try:
        yield
    finally:
        for module, attributes in saved:
            own = vars(module)
            for name in own.keys() - attributes.keys():
                del own[name]
            own.update(attributes)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Compute modules that torch.compile changed as they were written, since compiled code skips hooks."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and to import it takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def tried(network: nn.Module, images: Tensor) -> list[Any]:
    """Return what the network gives for the first image among others and alone.

    Raises:
        ConfigError: images and weights are of different types or devices.
    """
    pair = torch.cat([images[:1], company_of(images)])
    try:
        with torch.no_grad():
            return [network(pair.clone()), network(pair[:1].clone())]
    except RuntimeError as error:
        raise _misfit(network, images) or error from error


def company_of(images: Tensor) -> Tensor:
    """Return an image [1,C,H,W] other than the first: the next that differs, else the first one's negative."""
    first = images[:1]
    for other in images[1:].split(1):
        if not torch.equal(other, first):
            return other
    return first.amax() + first.amin() - first


def _misfit(network: nn.Module, images: Tensor) -> ConfigError | None:
    """Return a sentence if images and weights are of different types or devices."""
    weights = [parameter for parameter in network.parameters() if parameter.is_floating_point()]
    for what in ("device", "dtype"):
        kinds = {getattr(weight, what) for weight in weights}
        if len(kinds) == 1 and getattr(images, what) not in kinds:
            of_images, of_weights = (str(kind).removeprefix("torch.") for kind in (getattr(images, what), *kinds))
            verb = "on" if what == "device" else "of"
            example = f'"{of_weights}"' if what == "device" else f"torch.{of_weights}"
            return ConfigError(
                f"images: they are {verb} {of_images} and the network's weights {verb} {of_weights}; expected both "
                f"alike: write images.to({example})."
            )
    return None


def _state_choice(returned: Any, output: str | int | None) -> None:
    """Log which tensor of a network's output is taken for the logits if ``output=`` is not given."""
    tensors = dict(named_tensors(returned))
    candidates = candidate_logits(tensors)
    if output is None and len(candidates) == 1:
        others = [name for name in tensors if name != candidates[0]]
        beside = f"; it also holds {', '.join(others)}" if others else ""
        log.info("the logits are output=%s of the network's output%s", candidates[0], beside)


def refuse_company(network: nn.Module, images: Tensor) -> None:
    """Raise ConfigError for a network, which returns one tensor, whose logits depend on chance or on other images."""
    with frozen(network):
        _refuse_company(network, images, *tried(network, images))


def _refuse_company(network: nn.Module, images: Tensor, among: Tensor, alone: Tensor) -> None:
    """Refuse a network whose logits of an image depend on chance or on the other images."""
    if _agree(among[:1], alone):
        return
    with torch.no_grad():
        again = select_logits(network(torch.cat([images[:1], company_of(images)])))
    if not _agree(again[:1], among[:1]):
        raise ConfigError(
            "model: its logits of the same images differ from pass to pass, in eval mode (a dropout that is "
            "always on?); expected a network without randomness."
        )
    raise ConfigError(
        "model: its logits of an image depend on the other images of the batch, in eval mode (batch statistics without "
        "running ones?); expected a network that computes each image separately."
    )


def _agree(one: Tensor, two: Tensor) -> bool:
    tolerance = _DIFFERS if one.device.type == "cpu" else _DIFFERS_ON_DEVICES
    return one.shape == two.shape and bool((one - two).abs().max() <= tolerance * two.abs().max())
