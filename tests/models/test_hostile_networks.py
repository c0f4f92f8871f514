"""Networks that hooks commonly get wrong: explained as plain autograd says, or refused with a sentence.

Each network stands beside a plain reference, a chain of functions that computes the same logits: its gradient at the
pixels by ``torch.autograd`` is the expected saliency, and its gradient at the first convolution the expected map there.
After every call, also a failing one, the network is as it was.
"""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.models.batch import Batch
from fervis.models.checks.snapshots import same, snapshot

Pair = namedtuple("Pair", ["features", "logits"])


@dataclass
class Output:
    """What a network of a well-known library returns."""

    logits: Tensor
    hidden: Tensor
    loss: Any = None


class Plain(nn.Module):
    """Two convolutions and a linear head; subclasses change how it is written, not what it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu1, self.relu2, self.head = nn.ReLU(), nn.ReLU(), nn.Linear(4, 3)

    def features(self, x: Tensor) -> Tensor:
        return self.relu2(self.conv2(self.relu1(self.conv1(x)))).mean((2, 3))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.features(x))


def made(cls: type[nn.Module] = Plain, *arguments: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return cls(*arguments).eval()


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 1, 10, 10, generator=torch.Generator().manual_seed(1))


def plain(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits, and the output of the first convolution on which they depend."""
    first = model.conv1(x)
    return model.head(F.relu(model.conv2(F.relu(first))).mean((2, 3))), first


@dataclass
class Case:
    """A network and what is expected of it: a reference of the same logits, or a sentence."""

    build: Callable[[], Any]
    reference: Callable[[Tensor], tuple[Tensor, Tensor]] = field(default_factory=lambda: partial(plain, made()))
    refused: str = ""
    layer: str | None = "conv1"
    output: str | int | None = None
    given: Callable[[Tensor], Any] = Tensor.clone


def computing(forward: Callable[[Any, Tensor], Any], base: type[nn.Module] = Plain) -> Callable[[], Any]:
    """Return a function that builds the plain network with another forward pass."""
    return lambda: made(type("Changed", (base,), {"forward": forward}))


def after(change: Callable[[Any], Any]) -> Callable[[], Any]:
    """Return a function that builds the plain network and changes it; what it returns is the network, or None."""

    def build() -> Any:
        model = made()
        changed = change(model)
        return model if changed is None else changed

    return build


def refused(build: Callable[[], Any], sentence: str, **more: Any) -> Case:
    return Case(build, refused=sentence, **more)


def spaced(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return a reference whose logits are a function of the plain ones."""

    def reference(x: Tensor) -> tuple[Tensor, Tensor]:
        logits, first = plain(made(), x)
        return function(logits), first

    return reference


def returning(container: Callable[[Any, Tensor, Tensor], Any]) -> Callable[[], Any]:
    """Return a function that builds the plain network, which returns a container of (maps, features, logits)."""

    def forward(model: Any, x: Tensor) -> Any:
        maps = model.relu2(model.conv2(model.relu1(model.conv1(x))))
        features = maps.mean((2, 3))
        return container(maps, features, model.head(features))

    return computing(forward)


def in_place_after(model: Any, x: Tensor) -> Tensor:
    return model.head(F.relu(model.conv2(F.relu_(model.conv1(x))), inplace=True).mean((2, 3)))


def doubled_in_place(model: Any, x: Tensor) -> Tensor:
    first = model.conv1(x)
    first.mul_(2)
    return model.head(F.relu(model.conv2(F.relu(first * 0.5))).mean((2, 3)))


def normalizing_in_place(model: Any, x: Tensor) -> Tensor:
    x.sub_(0.5).div_(0.25)
    return Plain.forward(model, x)


def normalized(x: Tensor) -> tuple[Tensor, Tensor]:
    return plain(made(), (x - 0.5) / 0.25)


class Counting(Plain):
    """Counts its passes in a buffer that it replaces, in one that it writes to, and in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("replaced", torch.zeros(()))
        self.register_buffer("written", torch.zeros(()))
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.replaced = self.replaced + 1
        self.written += 1
        self.passes += 1
        self.last_seen = x
        return super().forward(x)


class Normed(Plain):
    """BatchNorm behind the first convolution."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, **settings)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu2(self.conv2(self.relu1(self.norm(self.conv1(x))))).mean((2, 3)))


def normed(x: Tensor) -> tuple[Tensor, Tensor]:
    model = made(Normed)
    first = model.conv1(x)
    scaled = (first - model.norm.running_mean[:, None, None]) / (model.norm.running_var[:, None, None] + 1e-5).sqrt()
    return model.head(F.relu(model.conv2(F.relu(scaled))).mean((2, 3))), first


def reused(model: Any, x: Tensor) -> Tensor:
    return model.head(model.relu1(model.conv2(model.relu1(model.conv2(model.relu1(model.conv1(x)))))).mean((2, 3)))


def rectified_thrice(model: Any, x: Tensor) -> Tensor:
    return model.head(model.relu1(model.relu1(model.conv2(model.relu1(model.conv1(x))))).mean((2, 3)))


def twice_for_bright_images(model: Any, x: Tensor) -> Tensor:
    if x.mean() < 0.55:
        return Plain.forward(model, x)
    return model.head(model.relu1(model.conv1(x) + model.conv1(x)).mean((2, 3)))


def without_gradient(model: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return Plain.forward(model, x)


def in_inference_mode(model: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return Plain.forward(model, x)


def weighted(name: str) -> Callable[[Any], None]:
    """Parametrize the convolutions' weights; the reference reads the weights that follow."""

    def change(model: Any) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            parametrize(model)

    def parametrize(model: Any) -> None:
        for conv in (model.conv1, model.conv2):
            if name == "weight_norm":
                nn.utils.parametrizations.weight_norm(conv)
            elif name == "spectral_norm":
                nn.utils.parametrizations.spectral_norm(conv)
            elif name == "old weight_norm":
                nn.utils.weight_norm(conv)
            elif name == "old spectral_norm":
                nn.utils.spectral_norm(conv)
            else:
                nn.utils.parametrize.register_parametrization(conv, "weight", nn.Tanh())

    return change


def weighted_by_hand(name: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def reference(x: Tensor) -> tuple[Tensor, Tensor]:
        model = made()
        weighted(name)(model)
        return plain(model.eval(), x)

    return reference


def with_hook(hook: Callable[..., Any]) -> Callable[[Any], None]:
    return lambda model: model.conv2.register_forward_hook(hook) and None


def hooked_by_hand(x: Tensor) -> tuple[Tensor, Tensor]:
    model = made()
    first = model.conv1(x)
    return model.head(F.relu(2 * model.conv2(F.relu(first))).mean((2, 3))), first


def compiled_inside(model: Any) -> None:
    model.conv2 = torch.compile(model.conv2, backend="eager")


def compiled_in_place(model: Any) -> None:
    model.compile(backend="eager")
    with torch.no_grad():
        model(images(2))


def compiled_before(model: Any) -> Any:
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(images(2))
    return compiled


def frozen_and_training(model: Any) -> None:
    model.train()
    model.conv2.eval()
    model.conv1.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)


def with_own_forward(model: Any) -> None:
    model.relu1.forward = lambda x: x.clamp(min=0)


def scripted_part(model: Any) -> None:
    model.conv2 = torch.jit.script(model.conv2)


class OneLogit(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 1)


class Branches(nn.Module):
    """Holds two networks and returns the outputs of both, nested."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2, self.head, self.other = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        features = F.relu(self.conv2(F.relu(self.conv1(x)))).mean((2, 3))
        return {"heads": {"emotion": self.head(features), "sex": self.other(features)}, "size": x.shape[2:]}


def branches(key: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def reference(x: Tensor) -> tuple[Tensor, Tensor]:
        model = made(Branches)
        first = model.conv1(x)
        features = F.relu(model.conv2(F.relu(first))).mean((2, 3))
        return (model.head if key == "emotion" else model.other)(features), first

    return reference


GIVEN = {
    "plain": Case(made),
    "tuple with the logits alone": Case(returning(lambda maps, features, logits: (logits,))),
    "tuple with maps": Case(returning(lambda maps, features, logits: (logits, maps))),
    "list": Case(returning(lambda maps, features, logits: [None, "text", logits])),
    "named tuple": Case(returning(lambda maps, features, logits: Pair(features[:, :, None], logits))),
    "named tuple by field": Case(returning(lambda maps, features, logits: Pair(features, logits)), output="logits"),
    "tuple by position": Case(returning(lambda maps, features, logits: (features, logits)), output=1),
    "tuple by position as text": Case(returning(lambda maps, features, logits: (features, logits)), output="1"),
    "dict": Case(returning(lambda maps, features, logits: {"logits": logits, "maps": maps})),
    "dict by key": Case(returning(lambda maps, features, logits: {"x": features, "y": logits}), output="y"),
    "dict by position": Case(returning(lambda maps, features, logits: OrderedDict(x=features, y=logits)), output=1),
    "dataclass": Case(returning(lambda maps, features, logits: Output(logits, maps))),
    "dataclass by field": Case(returning(lambda maps, features, logits: Output(logits, features)), output="logits"),
    "object": Case(returning(lambda maps, features, logits: SimpleNamespace(logits=logits, loss=None))),
    "the same logits under two names": Case(returning(lambda maps, features, logits: {"a": logits, "b": logits})),
    "nested dict": Case(partial(made, Branches), branches("emotion"), output="heads.emotion"),
    "nested dict, another head": Case(partial(made, Branches), branches("sex"), output="heads.sex"),
    "DataParallel": Case(after(nn.DataParallel)),
    "DataParallel of DataParallel": Case(after(lambda m: nn.DataParallel(nn.DataParallel(m)))),
    "AveragedModel": Case(after(torch.optim.swa_utils.AveragedModel)),
    "DataParallel that returns a dict": Case(
        lambda: nn.DataParallel(returning(lambda maps, features, logits: {"logits": logits})())
    ),
    "torch.compile": Case(after(partial(torch.compile, backend="eager"))),
    "torch.compile after a pass": Case(after(compiled_before)),
    "torch.compile of DataParallel": Case(after(lambda m: torch.compile(nn.DataParallel(m), backend="eager"))),
    "a part compiled": Case(after(compiled_inside)),
    "compiled in place": Case(after(compiled_in_place)),
    "traced by torch.fx": Case(after(torch.fx.symbolic_trace)),
    "functional activations": Case(
        computing(lambda m, x: m.head(F.relu(m.conv2(F.relu(m.conv1(x)))).mean((2, 3))))
    ),
    "in-place activations": Case(computing(in_place_after)),
    "in-place ReLU modules": Case(after(lambda m: [setattr(r, "inplace", True) for r in (m.relu1, m.relu2)] and None)),
    "doubled in place": Case(computing(doubled_in_place), layer="conv1"),
    "normalizing its images in place": Case(computing(normalizing_in_place), normalized),
    "counting": Case(partial(made, Counting), lambda x: plain(made(Counting), x)),
    "BatchNorm": Case(partial(made, Normed), normed),
    "BatchNorm in train mode": Case(lambda: made(Normed).train(), normed),
    "partly frozen, partly training": Case(after(frozen_and_training)),
    "all frozen": Case(after(lambda m: m.requires_grad_(False))),
    "an activation used thrice": Case(computing(rectified_thrice)),
    "an own forward on a module": Case(after(with_own_forward)),
    "a hook that looks": Case(after(with_hook(lambda *_: None))),
    "a hook that doubles": Case(after(with_hook(lambda _m, _i, output: output * 2)), hooked_by_hand),
    "a hook before": Case(after(lambda m: m.conv2.register_forward_pre_hook(lambda *_: None) and None)),
    "a hook on the whole": Case(
        after(lambda m: m.register_forward_hook(lambda _m, _i, y: y * 3) and None), spaced(lambda y: 3 * y)
    ),
    "dropout": Case(computing(lambda m, x: F.dropout(Plain.forward(m, x), 0.5, m.training))),
    **{
        name: Case(lambda name=name: after(weighted(name))().eval(), weighted_by_hand(name))
        for name in ("weight_norm", "spectral_norm", "old weight_norm", "old spectral_norm", "tanh of weights")
    },
    "float64": Case(after(nn.Module.double), lambda x: plain(made().double(), x.double()), given=Tensor.double),
    "numpy images": Case(made, given=lambda x: x.numpy()),
    "numpy images of float64": Case(
        after(nn.Module.double), lambda x: plain(made().double(), x.double()), given=lambda x: x.double().numpy()
    ),
    "numpy images that are read-only": Case(made, given=lambda x: _read_only(x.numpy())),
    "numpy images of another byte order": Case(made, given=lambda x: x.numpy().astype(">f4")),
    "images that take gradients": Case(made, given=lambda x: x.clone().requires_grad_()),
    "channels last": Case(made, given=lambda x: x.contiguous(memory_format=torch.channels_last)),
    "images that lie apart": Case(made, given=lambda x: torch.stack([x, x], -1)[..., 0]),
    "images transposed in memory": Case(made, given=lambda x: x.transpose(2, 3).contiguous().transpose(2, 3)),
    "one logit": Case(partial(made, OneLogit), lambda x: plain(made(OneLogit), x)),
}  # fmt: skip


def _read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array = array.copy()
    array.setflags(write=False)
    return array


def meta(model: Any) -> Any:
    return model.to("meta")


REFUSED = {
    "two tensors that could be logits": refused(
        returning(lambda maps, features, logits: {"features": features, "logits": logits}),
        r"its output holds features \[1, 4\], logits \[1, 3\]; say which .* output=features or output=logits\.",
    ),
    "no tensor that could be logits": refused(
        returning(lambda maps, features, logits: {"maps": maps}), r"its output holds maps \[1, 4, 10, 10\], expected"
    ),
    "no tensor at all": refused(computing(lambda m, x: "three"), "its output is a str without tensors"),
    "nothing": refused(computing(lambda m, x: None), "its output is a NoneType without tensors"),
    "a wrong name": refused(
        returning(lambda maps, features, logits: {"features": features, "logits": logits}),
        r"output=logit: .* Did you mean logits\? It holds features",
        output="logit",
    ),
    "a wrong position": refused(computing(lambda m, x: [Plain.forward(m, x)]), "output=1: there is no such", output=1),
    "a name where none is needed": refused(made, "output=logits: the network returns one tensor", output="logits"),
    "ScriptModule": refused(after(torch.jit.script), "it is a ScriptModule .* explain the torch.nn.Module"),
    "traced by torch.jit": refused(after(lambda m: torch.jit.trace(m, images(1))), "it is a ScriptModule"),
    "a part scripted": refused(after(scripted_part), "its module conv2 is a ScriptModule"),
    "built in inference_mode": refused(
        torch.inference_mode()(made), "conv1.weight was made inside torch.inference_mode"
    ),
    "no_grad": refused(computing(without_gradient), "computes under torch.no_grad or detaches"),
    "no_grad as a decorator": refused(
        computing(torch.no_grad()(Plain.forward)), "the target has no gradient there"
    ),
    "inference_mode": refused(computing(in_inference_mode), "inference|no gradient"),
    "detached": refused(computing(lambda m, x: Plain.forward(m, x).detach()), "detaches what it computes"),
    "argmax": refused(computing(lambda m, x: Plain.forward(m, x).argmax(1)), r"its output is \[1\], expected \[N,K\]"),
    "rounded": refused(computing(lambda m, x: Plain.forward(m, x).long()), "its output is int64"),
    "NaN": refused(computing(lambda m, x: Plain.forward(m, x) / 0 * 0), "its logits are not finite"),
    "a logit map": refused(computing(lambda m, x: m.conv1(x)), r"its output is \[1, 4, 10, 10\], expected \[N,K\]"),
    "float16": refused(after(nn.Module.half), "float16 has too few digits .* images.float", given=Tensor.half),
    "bfloat16": refused(after(nn.Module.bfloat16), "bfloat16 has too few digits", given=Tensor.bfloat16),
    "float16 network, float32 images": refused(after(nn.Module.half), "float16 has too few digits"),
    "float32 network, float16 images": refused(made, "float16 has too few digits", given=Tensor.half),
    "float64 network, float32 images": refused(after(nn.Module.double), "float32 and .* float64; .*torch.float64"),
    "float32 network, float64 images": refused(made, "float64 and .* float32; .*torch.float32", given=Tensor.double),
    "meta device": refused(after(meta), "conv1.weight is on the meta device"),
    "lazy": refused(lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "1.weight has no shape yet", layer="input"),
    "batch statistics": refused(
        lambda: made(type("Batch", (Normed,), {"__init__": lambda m: Normed.__init__(m, track_running_stats=False)})),
        "depend on the other images of the batch",
    ),
    "functional batch statistics": refused(
        computing(lambda m, x: m.head(F.batch_norm(m.conv1(x), None, None, training=True).relu().mean((2, 3)))),
        "depend on the other images of the batch",
    ),
    "less the mean of the batch": refused(
        computing(lambda m, x: Plain.forward(m, x - x.mean(0))), "depend on the other images of the batch"
    ),
    "dropout that is always on": refused(
        computing(lambda m, x: Plain.forward(m, F.dropout(x, 0.5, True))), "differ from pass to pass"
    ),
    "noise": refused(computing(lambda m, x: Plain.forward(m, x + torch.rand_like(x))), "differ from pass to pass"),
    "a layer that runs twice": refused(computing(reused), "runs 2 times|runs more than once", layer="conv2"),
    "a layer that runs twice for bright images": refused(
        computing(twice_for_bright_images), "runs more than once", given=lambda x: torch.cat([0 * x[:1], 0 * x + 1])
    ),
    "a layer without effect": refused(
        computing(lambda m, x: (m.conv2(m.conv1(x)), m.head(F.relu(m.conv1(x)).mean((2, 3))))[1]),
        "conv2",
        layer="conv2",
    ),
    "a name instead of a network": refused(lambda: "vgg8", r'not a str; fervis.load_model\("vgg8"\)'),
    "a function": refused(lambda: lambda x: x, "expected a torch.nn.Module, not a function"),
    "a state dict": refused(lambda: made().state_dict(), "expected a torch.nn.Module, not a OrderedDict"),
    "integer images": refused(made, "not a ndarray of uint8", given=lambda x: (x * 255).byte().numpy()),
    "a list of images": refused(made, "images: expected a float tensor .* not a list", given=list),
    "images with NaN": refused(
        made, "image 0 holds values", given=lambda x: x.masked_fill(x == x[0, 0, 0, 0], torch.nan)
    ),
    "no images": refused(made, "at least one image", given=lambda x: x[:0]),
}  # fmt: skip


def state(model: Any, faces: Any) -> Any:
    if not isinstance(model, nn.Module):
        return None
    empty = any(nn.parameter.is_lazy(parameter) or parameter.is_meta for parameter in model.parameters())
    return None if empty else snapshot(model, faces if isinstance(faces, Tensor) else torch.zeros(1))


def unchanged(before: Any, model: Any, faces: Any) -> list[str]:
    now = state(model, faces)
    return [aspect for aspect in before or {} if not same(before[aspect], now[aspect])]


@pytest.mark.filterwarnings("ignore")  # of torch, that older ways of writing a network will go
@pytest.mark.parametrize("name", list(GIVEN))
def test_it_is_explained_as_autograd_says(name: str):
    case = GIVEN[name]
    model, faces = case.build(), case.given(images())
    before = state(model, faces)
    x = images().requires_grad_()
    logits, first = case.reference(x)
    classes = torch.arange(len(x)) % logits.shape[1]
    pixels, at_first = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), [x, first])
    expected = {"input": pixels.abs().amax(1).float(), "conv1": at_first.abs().amax(1).float()}
    layers = ["input"] if case.layer is None else ["input", "conv1"]
    result = fervis.explain(model, faces, "saliency", layers, classes, output=case.output)
    for layer, maps in zip(layers, result.maps.split(len(x)), strict=True):
        torch.testing.assert_close(maps, expected[layer], rtol=0, atol=1e-6 * float(expected[layer].abs().max()) + 1e-9)
    if logits.shape[1] > 1:
        for explainer in ("gradcam", "occlusion"):
            fervis.explain(model, faces, explainer, target=classes, output=case.output)
    assert unchanged(before, model, faces) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(REFUSED))
def test_it_is_refused_with_a_sentence(name: str):
    case = REFUSED[name]
    model, faces = case.build(), case.given(images())
    before = state(model, faces)
    with pytest.raises(ConfigError, match=case.refused) as caught:
        fervis.explain(model, faces, "saliency", case.layer, 0, output=case.output)
    assert "\n" not in str(caught.value)
    assert unchanged(before, model, faces) == []


@pytest.mark.filterwarnings("ignore")
def test_distributed_data_parallel_is_taken_off(tmp_path: Path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(made())
        before = state(wrapped, images())
        found = fervis.explain(wrapped, images(), "saliency", "conv1", 1).maps
        assert unchanged(before, wrapped, images()) == []
    finally:
        torch.distributed.destroy_process_group()
    assert torch.equal(found, fervis.explain(made(), images(), "saliency", "conv1", 1).maps)


def test_the_choice_of_the_only_plausible_tensor_is_stated(caplog: pytest.LogCaptureFixture):
    model = returning(lambda maps, features, logits: {"maps": maps, "scores": logits})()
    with caplog.at_level("INFO", "fervis"):
        fervis.explain(model, images(), target=0)
    assert caplog.messages == ["the logits are output=scores of the network's output; it also holds maps"]


def test_backward_hooks_of_others_run_and_are_named(caplog: pytest.LogCaptureFixture):
    model = made()
    expected = 3 * fervis.explain(model, images(), target=0).maps
    model.relu2.register_full_backward_hook(lambda module, inputs, outputs: (3 * inputs[0],))
    with caplog.at_level("WARNING", "fervis"):
        found = fervis.explain(model, images(), target=0).maps
    torch.testing.assert_close(found, expected)
    assert caplog.messages[0].startswith("model: relu2 has backward hooks of another tool, which run and may change")
    assert len(model.relu2._backward_hooks) == 1


def test_a_network_is_resumed_once_past_the_hooks_of_others():
    model, faces = made(), images()
    model.conv1.register_forward_hook(lambda module, inputs, output: output * 2)
    model.conv2.register_forward_hook(lambda module, inputs, output: output * 2)
    with torch.no_grad():
        expected = model(faces)
    for name in ("conv1", "conv2", "relu2"):
        (layer,) = resolve_layers(model, name, faces[:1])
        recorded = Batch(model, faces, (layer,)).recorded(layer)
        torch.testing.assert_close(recorded.logits(recorded.at_layer, torch.arange(4)), expected)
    assert len(model.conv1._forward_hooks) == len(model.conv2._forward_hooks) == 1


@pytest.mark.parametrize("explainer", ["saliency", "gradcam", "occlusion"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("at", range(4))
def test_a_network_that_fails_half_way_is_as_it_was(explainer: str, error: type[BaseException], at: int):
    model = made(Counting)
    frozen_and_training(model)
    passes = 0

    def fail(*_: Any) -> None:
        nonlocal passes
        passes += 1
        if passes > at:
            raise error("midway")

    model.relu2.register_forward_hook(fail)
    faces, random_state = images(), torch.get_rng_state()
    before = state(model, faces)
    with pytest.raises(error, match="midway"):
        fervis.explain(model, faces, explainer)
    assert unchanged(before, model, faces) == []
    assert torch.equal(random_state, torch.get_rng_state())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_is_explained_alike_in_any_context(around: Callable[[], Any]):
    expected = fervis.explain(made(), images(), "saliency", ["input", "conv1"], 0).maps
    model = made()
    with around():
        faces = images()
        found = fervis.explain(model, faces, "saliency", ["input", "conv1"], 0).maps
    assert torch.equal(found, expected)


def test_a_plugin_that_is_built_is_taken_without_settings():
    method = build_plugin("explainer", "occlusion", window=4)
    expected = fervis.explain(made(), images(), "occlusion", target=0, window=4).maps
    assert torch.equal(fervis.explain(made(), images(), method, target=0).maps, expected)
    with pytest.raises(ConfigError, match=r"explainer\.window: this explainer is built"):
        fervis.explain(made(), images(), method, window=4)
    with pytest.raises(ConfigError, match="explainer=Occlusion: expected the name"):
        fervis.explain(made(), images(), type(method))


@pytest.mark.parametrize("explainer", ["lime", "lime_reference"])
def test_the_probability_of_a_single_logit_is_refused(explainer: str):
    with pytest.raises(ConfigError, match="the network has one output, whose softmax is 1 for every image"):
        fervis.explain(made(OneLogit), images(1), explainer, target=0)
