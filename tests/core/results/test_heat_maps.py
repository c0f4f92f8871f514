"""Maps at each layer's own grid, listed as entries in the order of layers, images and targets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fervis.core.results import HeatMaps, LayerMaps, join_results, take_from_result
from fervis.runs.chunked.serialization import pack_result, unpack_result


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def maps_of(images: int, seed: int = 0) -> LayerMaps:
    """Maps of two layers and three targets, with a score of each map and one of each map and layer."""
    return LayerMaps(
        {"conv1": noise(images, 3, 4, 4, seed=seed), "input": noise(images, 3, 8, 6, seed=seed + 1)},
        "|∂ logit / ∂ {layer}|",
        signed=True,
        scores={"r2": noise(images, 3, seed=seed + 2), "gap": noise(2, images, 3, seed=seed + 3)},
    )


def test_entries_stand_layer_by_layer_image_by_image_target_by_target():
    maps = maps_of(2)
    listed = maps.heat_maps(["conv1", "input"], (8, 6))
    assert listed.maps.shape == (12, 8, 6)
    assert listed.pixel_maps is not None
    assert listed.scores is not None
    entries = iter(range(12))
    for number, name in enumerate(("conv1", "input")):
        for image in range(2):
            for target in range(3):
                entry = next(entries)
                own = maps.maps[name][image, target]
                resized = F.interpolate(own[None, None], (8, 6), mode="bilinear", align_corners=False)[0, 0]
                torch.testing.assert_close(listed.maps[entry], resized, rtol=0, atol=1e-6)
                assert torch.equal(listed.pixel_maps[entry], maps.maps["input"][image, target])
                assert maps.scores is not None
                assert listed.scores["r2"][entry] == maps.scores["r2"][image, target]
                assert listed.scores["gap"][entry] == maps.scores["gap"][number, image, target]
    assert listed.signed


def test_the_unit_names_the_layer_or_holds_for_all():
    maps = maps_of(1)
    pixels = maps.heat_maps(["input"], (8, 6))
    assert (pixels.unit, pixels.pixel_maps, pixels.pixel_unit) == ("|∂ logit / ∂ pixel|", None, "")
    layer = maps.heat_maps(["conv1"], (8, 6))
    assert (layer.unit, layer.pixel_unit) == ("|∂ logit / ∂ conv1|", "|∂ logit / ∂ pixel|")
    both = maps.heat_maps(["input", "conv1"], (8, 6))
    assert (both.unit, both.pixel_unit) == ("|∂ logit / ∂ layer|", "|∂ logit / ∂ pixel|")
    plain = LayerMaps({"conv1": noise(1, 1, 2, 2), "conv2": noise(1, 1, 2, 2)}, "fall of the logit")
    found = plain.heat_maps(["conv2", "conv1"], (2, 2))
    assert (found.unit, found.pixel_maps, found.signed, found.scores) == ("fall of the logit", None, False, None)
    assert torch.equal(found.maps, torch.cat([plain.maps["conv2"][0], plain.maps["conv1"][0]]))


def test_batches_are_joined_image_after_image():
    parts = [maps_of(2), maps_of(1, seed=9)]
    joined = LayerMaps.join(parts)
    assert joined.scores is not None
    for name in ("conv1", "input"):
        assert torch.equal(joined.maps[name], torch.cat([part.maps[name] for part in parts]))
    assert joined.scores["r2"].shape == (3, 3)
    assert joined.scores["gap"].shape == (2, 3, 3)
    assert torch.equal(joined.scores["gap"][:, 2:], parts[1].scores["gap"])  # pyright: ignore[reportOptionalSubscript]
    assert (joined.unit, joined.signed) == (parts[0].unit, True)
    whole = joined.heat_maps(["conv1", "input"], (8, 6)).maps.unflatten(0, (2, 3, 3))
    for images, part in ((slice(0, 2), parts[0]), (slice(2, 3), parts[1])):
        alone = part.heat_maps(["conv1", "input"], (8, 6)).maps.unflatten(0, (2, -1, 3))
        assert torch.equal(whole[:, images], alone)


def test_maps_of_the_pixels_and_of_a_layer_are_joined_with_the_pixels_beside_both():
    inner = HeatMaps(noise(2, 4, 4), "at conv1", True, noise(2, 4, 4, seed=1), "at pixel", "at layer")
    pixels = HeatMaps(noise(1, 4, 4, seed=2), "at pixel", True, layer_unit="at layer")
    joined = join_results([inner, pixels])
    assert (joined.unit, joined.pixel_unit) == ("at layer", "at pixel")
    assert torch.equal(joined.maps, torch.cat([inner.maps, pixels.maps]))
    assert joined.pixel_maps is not None
    assert inner.pixel_maps is not None
    assert torch.equal(joined.pixel_maps, torch.cat([inner.pixel_maps, pixels.maps]))


def with_errors(images: int, seed: int = 0) -> LayerMaps:
    """The same, with a standard error of each value and a table of each map."""
    maps = maps_of(images, seed)
    errors = {name: noise(*values.shape, seed=seed + 4) for name, values in maps.maps.items()}
    return replace(maps, errors=errors, extras={"interactions": noise(images, 3, 2, 2, seed=seed + 5)})


def test_errors_and_extras_are_listed_entry_by_entry():
    maps = with_errors(2)
    listed = maps.heat_maps(["conv1", "input"], (8, 6))
    assert listed.errors is not None
    assert listed.extras is not None
    assert maps.errors is not None
    assert maps.extras is not None
    resized = F.interpolate(maps.errors["conv1"].flatten(0, 1)[:, None], (8, 6), mode="bilinear")[:, 0]
    torch.testing.assert_close(listed.errors[:6], resized, rtol=0, atol=1e-6)
    assert torch.equal(listed.errors[6:], maps.errors["input"].flatten(0, 1))
    for layer in range(2):
        assert torch.equal(listed.extras["interactions"][6 * layer :][:6], maps.extras["interactions"].flatten(0, 1))
    arrays = listed.arrays()
    assert (arrays["errors"].shape, arrays["errors"].dtype) == ((12, 8, 6), np.float32)
    assert arrays["interactions"].shape == (12, 2, 2)
    assert "errors" not in maps_of(2).heat_maps(["input"], (8, 6)).arrays()
    assert set(listed.summary_row(0)) == {"r2", "gap"}


def test_errors_and_extras_are_joined_and_taken_like_the_maps():
    parts = [with_errors(2), with_errors(1, seed=9)]
    whole = LayerMaps.join(parts).heat_maps(["input"], (8, 6))
    alone = [part.heat_maps(["input"], (8, 6)) for part in parts]
    for joined in (whole, join_results(alone)):
        assert joined.errors is not None
        assert joined.extras is not None
        for number, part in enumerate(alone):
            assert part.errors is not None
            assert part.extras is not None
            index = torch.arange(6) if number == 0 else torch.arange(6, 9)
            taken = take_from_result(joined, index)
            assert torch.equal(taken.errors, part.errors)  # pyright: ignore[reportArgumentType]
            assert torch.equal(taken.extras["interactions"], part.extras["interactions"])  # pyright: ignore[reportOptionalSubscript]
    assert join_results([replace(part, errors=None) for part in alone]).errors is None


def test_errors_and_extras_come_back_from_a_chunk():
    listed = with_errors(2).heat_maps(["conv1", "input"], (8, 6))
    tensors, metadata = pack_result(listed)
    found = unpack_result(tensors, metadata, HeatMaps)
    assert torch.equal(found.errors, listed.errors)
    assert torch.equal(found.extras["interactions"], listed.extras["interactions"])  # pyright: ignore[reportOptionalSubscript]
    assert unpack_result(*pack_result(replace(listed, errors=None)), HeatMaps).errors is None
