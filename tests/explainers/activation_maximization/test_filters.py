"""Filter and class images: what they are held against, which filters are meant, and that company changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.results import ExplainerOutput, FilterImages
from fervis.errors import ConfigError
from fervis.explainers.activation_maximization.baselines import brightness, mean_spectrum
from fervis.metrics.representation.image_symmetry import symmetric_pairs_of
from fervis.models.batch import Batch
from fervis.system.device import computes_bf16

QUICK = {"steps": 6, "precision": "fp32"}
STILL: dict[str, Any] = {"jitter": 0, "scale": 0, "rotation": 0, "total_variation": 0}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_plugin("model", "vgg8", width=4).build(channels=1, size=16, classes=("a", "b", "c")).eval()


def batch_of(network: nn.Module, *layers: str, target: Any = "auto", count: int = 70) -> Batch:
    pool = torch.randint(0, 256, (count, 1, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    images = pool[:2].float() / 255
    return Batch(
        model=network,
        images=images,
        pool=pool,
        rows=torch.arange(count) * 3 + 1,
        labels=torch.full((count,), -1),
        classes=("a", "b", "c"),
        layers=resolve_layers(network, layers, images[:1]),
        target=target,
    )


def explained(batch: Batch, name: str = "filters", **knobs: Any) -> tuple[ExplainerOutput, FilterImages]:
    found = build_plugin("explainer", name, **QUICK | knobs).explain(batch)
    assert isinstance(found.result, FilterImages)
    return found, found.result


def outputs(network: nn.Module, images: Tensor, path: str) -> Tensor:
    kept: list[Tensor] = []
    handle = network.get_submodule(path).register_forward_hook(lambda _m, _i, output: kept.append(output))
    with torch.no_grad():
        network(images)
    handle.remove()
    return kept[0].mean((2, 3))


def test_what_is_reached_and_the_strongest_face_are_the_networks_own_outputs(network: nn.Module):
    batch = batch_of(network, "conv3", "conv5")
    found, result = explained(batch, filters=[5, 0, 2])
    assert found.layers == ("conv3",) * 3 + ("conv5",) * 3
    assert found.targets == ("conv3/5", "conv3/0", "conv3/2", "conv5/5", "conv5/0", "conv5/2")
    assert result.images.shape == (6, 1, 16, 16)
    assert result.trace.shape == (6, 6)
    for part, layer in enumerate(("conv3", "conv5")):
        here = slice(3 * part, 3 * part + 3)
        reached = outputs(network, result.images[here], f"body.{layer}")[range(3), [5, 0, 2]]
        torch.testing.assert_close(result.reached[here], reached)
        faces = outputs(network, batch.pool.float() / 255, f"body.{layer}")[:, [5, 0, 2]]
        values, places = faces.max(0)
        torch.testing.assert_close(result.strongest[here], values)
        assert result.strongest_rows[here].tolist() == (places * 3 + 1).tolist()
    beyond = (result.reached[:3] >= result.strongest[:3]).float().mean()
    assert found.numbers is not None
    assert found.numbers["conv3/beyond_faces"] == pytest.approx(float(beyond))


@pytest.mark.parametrize("parameterisation", ["pixels", "fourier", "maco"])
@pytest.mark.parametrize("objective", ["mean", "centre", [1, 2]])
def test_a_climb_rises(network: nn.Module, parameterisation: str, objective: Any):
    knobs: dict[str, Any] = {"filters": 8, "parameterisation": parameterisation, **STILL}
    _, few = explained(batch_of(network, "conv5"), steps=1, objective=objective, **knobs)
    _, many = explained(batch_of(network, "conv5"), steps=60, objective=objective, **knobs)
    assert (many.reached > few.reached).all()
    # A network that has learnt nothing is excited most by noise, which the other two are too smooth for.
    if parameterisation == "pixels":
        assert (many.reached > many.noise).all()
        assert (many.reached > many.strongest).all()


def test_what_noise_reaches_is_the_mean_over_images_of_the_faces_brightness(network: nn.Module):
    batch = batch_of(network, "conv5")
    pixels = batch.pool.double() / 255
    white = torch.randn(64, 1, 16, 16, generator=batch.generator("climb/noise"))
    noise = (float(pixels.mean()) + float(pixels.std(correction=0)) * white).clamp(0, 1)
    _, result = explained(batch, filters=[3, 1], steps=1)
    torch.testing.assert_close(result.noise, outputs(network, noise, "body.conv5")[:, [3, 1]].mean(0))


@pytest.mark.parametrize("start", ["noise", "face"])
def test_l2_ties_to_grey_or_to_the_face_it_started_at(network: nn.Module, start: str):
    batch = batch_of(network, "conv5")
    knobs: dict[str, Any] = {"filters": [2], "start": start, "steps": 120, "parameterisation": "pixels", **STILL}
    _, tied = explained(batch, l2=1e6, **knobs)
    _, free = explained(batch, **knobs)
    expected = batch.images[0] if start == "face" else torch.full((1, 16, 16), 0.5)
    torch.testing.assert_close(tied.images[0], expected, atol=0.01, rtol=0)
    assert (free.images[0] - expected).abs().max() > 0.3


@pytest.mark.parametrize("parameterisation", ["pixels", "fourier", "maco"])
def test_a_colour_network_gets_colour_images(parameterisation: str):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        colour = build_plugin("model", "vgg8", width=4).build(channels=3, size=16, classes=("a", "b")).eval()
    pool = torch.randint(0, 256, (9, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    batch = replace(batch_of(colour, "conv1", count=9), images=pool[:1].float() / 255, pool=pool)
    knobs: dict[str, Any] = {"filters": 2, "objective": "centre", "parameterisation": parameterisation, **STILL}
    _, few = explained(batch, steps=1, **knobs)
    _, many = explained(batch, steps=90, **knobs)
    assert many.images.shape == (2, 3, 16, 16)
    assert (many.reached > few.reached).all()
    # A filter of 3 x 3 is highest where each colour is as its weights say.
    if parameterisation == "pixels":
        weights = colour.get_submodule("body.conv1").weight[:2]
        torch.testing.assert_close(many.images[:, :, 7:10, 7:10], (weights > 0).float())


def test_bf16_is_chosen_where_the_processor_has_it(network: nn.Module):
    batch = batch_of(network, "conv5")
    images = {name: explained(batch, filters=[1], precision=name)[1].images for name in ("auto", "bf16", "fp32")}
    assert not torch.equal(images["bf16"], images["fp32"])
    assert torch.equal(images["auto"], images["bf16" if computes_bf16(batch.images.device) else "fp32"])


@pytest.mark.parametrize("start", ["noise", "face"])
def test_a_filters_image_does_not_depend_on_the_others(network: nn.Module, start: str):
    batch = batch_of(network, "conv5")
    knobs: dict[str, Any] = {"start": start, "steps": 10}
    _, pair = explained(batch, filters=[4, 6], **knobs)
    _, alone = explained(batch, filters=[6], **knobs)
    _, split = explained(batch, filters=[1, 4, 6], batch_size=1, **knobs)
    torch.testing.assert_close(pair.images[1:], alone.images, atol=1e-4, rtol=0)
    torch.testing.assert_close(pair.images, split.images[1:], atol=1e-4, rtol=0)
    assert not torch.allclose(pair.images[0], pair.images[1], atol=1e-3)


def test_a_target_asks_for_one_filter_of_its_own_layer(network: nn.Module):
    found, result = explained(batch_of(network, "conv3", target="conv5/6"), filters="all")
    assert (found.targets, found.layers) == (("conv5/6",), ("conv5",))
    _, listed = explained(batch_of(network, "conv5"), filters=[6])
    assert torch.equal(result.images, listed.images)


def test_the_most_active_filters_are_those_of_the_highest_mean_over_the_faces(network: nn.Module):
    batch = batch_of(network, "conv5")
    means = outputs(network, batch.pool.float() / 255, "body.conv5").mean(0)
    expected = tuple(f"conv5/{one}" for one in means.argsort(descending=True)[:3].tolist())
    for spec in ("top:3", {"top": 3}):
        assert explained(batch, filters=spec)[0].targets == expected
    assert len(explained(batch, filters="all", steps=1)[0].targets) == len(means)


def test_a_position_is_climbed_where_it_is_asked_for(network: nn.Module):
    batch = batch_of(network, "conv1")
    knobs: dict[str, Any] = {"start": "face", "parameterisation": "pixels", "steps": 60, "lr": 0.05, **STILL}
    _, result = explained(batch, filters=[0], objective=[3, 4], **knobs)
    assert result.unit == "output of the filter at row 3, column 4"
    # A filter of 3 x 3 sees nothing else, and is highest where its weights say black and white.
    expected = batch.images[0, 0].clone()
    expected[2:5, 3:6] = (network.get_submodule("body.conv1").weight[0, 0] > 0).float()
    torch.testing.assert_close(result.images[0, 0], expected)


def test_a_face_on_pixels_that_takes_no_step_is_the_face(network: nn.Module):
    batch = batch_of(network, "conv5")
    _, result = explained(
        batch, filters=[2], start="face", parameterisation="pixels", steps=1, lr=1e-9, total_variation=0
    )
    torch.testing.assert_close(result.images[0], batch.images[0])
    torch.testing.assert_close(result.reached, outputs(network, batch.images[:1], "body.conv5")[0, [2]])


def test_what_the_faces_are_like(network: nn.Module):
    batch = batch_of(network, "conv1")
    pixels = batch.pool.double() / 255
    assert brightness(batch) == pytest.approx((float(pixels.mean()), float(pixels.std(correction=0))))
    torch.testing.assert_close(mean_spectrum(batch), torch.fft.rfft2(pixels).abs().mean(0).float())


def test_maco_images_have_the_faces_mean_spectrum(network: nn.Module):
    # Faces so grey that nothing is cut off.
    batch = batch_of(network, "conv5")
    batch = replace(batch, pool=(batch.pool.float() / 255 - 0.5) / 8 + 0.5)
    _, result = explained(batch, filters=3, parameterisation="maco", steps=15)
    for image in result.images:
        torch.testing.assert_close(torch.fft.rfft2(image).abs(), mean_spectrum(batch), atol=1e-4, rtol=0)


def test_symmetry_adds_each_images_twin(network: nn.Module):
    found, result = explained(batch_of(network, "conv3"), filters=[7, 1, 3], symmetry=True)
    expected = symmetric_pairs_of(result.images)
    assert result.numbers["twin"].tolist() == [[7, 1, 3][one] for one in expected.twin.tolist()]
    torch.testing.assert_close(result.numbers["twin_correlation"], expected.best.float())
    assert found.numbers is not None
    assert found.numbers["conv3/twins"] == expected.numbers()["twins"]


def test_class_images_are_of_logits(network: nn.Module):
    batch = batch_of(network, "input")
    knobs: dict[str, Any] = {"steps": 40, "parameterisation": "pixels", "total_variation": 0}
    found, result = explained(batch, "class_image", **knobs)
    assert (found.targets, found.layers) == (("a", "b", "c"), ("network",) * 3)
    with torch.no_grad():
        torch.testing.assert_close(result.reached, network(result.images).diagonal())
        faces = network(batch.pool.float() / 255)
    torch.testing.assert_close(result.strongest, faces.amax(0))
    assert (result.reached > result.noise).all()
    for spec in ("b", 1, "1", ["b"]):
        found, one = explained(batch_of(network, "input", target=spec), "class_image", **knobs)
        assert found.targets == ("b",)
        torch.testing.assert_close(one.images, result.images[1:2], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "knobs", "target", "sentence"),
    [
        ("filters", {"filters": [99]}, "auto", "conv5 has 16 filters, numbered from 0"),
        ("filters", {"filters": "top"}, "auto", "explainer.filters=top: expected"),
        ("filters", {"objective": [9, 9]}, "auto", "the map of conv5 has 4 rows and 4 columns"),
        ("filters", {"jitter": 16}, "auto", "explainer.jitter=16: expected less than the images' 16 pixels"),
        ("filters", {"steps": 0}, "auto", "explainer.steps=0: expected a whole number from 1"),
        ("filters", {"lr": 0.0}, "auto", "explainer.lr=0.0: expected a number above 0"),
        ("filters", {"parameterisation": "fourrier"}, "auto", "Did you mean fourier?"),
        ("filters", {"start": "nose"}, "auto", "Did you mean noise?"),
        ("filters", {}, "happy", "target=happy: expected auto, or <layer>/<filter> such as conv7/4"),
        ("filters", {}, "conv5/16", "target=conv5/16: conv5 has 16 filters"),
        ("class_image", {}, "d", "target=d: there is no such target"),
        ("class_image", {}, [0, 3], "target=3: there is no such target"),
    ],
)
def test_wrong_questions(network: nn.Module, name: str, knobs: dict[str, Any], target: Any, sentence: str):
    with pytest.raises(ConfigError) as error:
        explained(batch_of(network, "conv5", target=target, count=3), name, **knobs)
    assert sentence in str(error.value)


def test_pixels_have_no_filters(network: nn.Module):
    with pytest.raises(ConfigError, match="layer=input: pixels have no filters"):
        explained(batch_of(network, "input"))
