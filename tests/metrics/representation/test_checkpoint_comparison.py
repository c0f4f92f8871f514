"""The contrast of two checkpoints where it is known beforehand, and its figure."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from matplotlib.text import Text
from PIL import Image
from torch import nn

from fervis.core.intervals import Interval
from fervis.core.layers import Layer, find_layer
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.metrics.representation.checkpoint_comparison import (
    CheckpointComparison,
    compare_checkpoints,
    compare_maps,
    format_share,
    format_value,
)
from fervis.visualizers.figures.checkpoint_comparison import checkpoint_comparison_figure, draw_checkpoint_comparison
from fervis.visualizers.figures.style import plain_style

FACES = 40


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_plugin("model", "vgg8", width=4).build(channels=1, size=16, classes=("a", "b", "c")).eval()


def images() -> torch.Tensor:
    return torch.rand(FACES, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def layers(model: nn.Module, *names: str) -> list[Layer]:
    return [find_layer(model, name, images()[:1]) for name in names]


@pytest.fixture(scope="module")
def contrasted() -> CheckpointComparison:
    first, second = network(0), network(1)
    generator = torch.Generator().manual_seed(3)
    maps = {"input": (torch.rand(9, 16, 16, generator=generator), torch.rand(9, 16, 16, generator=generator))}
    maps["input"][1][4] = 0
    return compare_checkpoints(
        first, second, images(), layers(first, "conv1", "relu5"), names=("best", "1"), generator=seeded(), maps=maps
    )


def test_a_network_is_like_itself_in_everything():
    model = network()
    maps = {"input": (images()[:, 0], images()[:, 0])}
    found = compare_checkpoints(
        model, model, images(), layers(model, "conv3", "relu8"), names=("a", "b"), generator=seeded(), maps=maps
    )
    for one in found.layers:
        assert (one.cka.value, one.cka.low, one.cka.high) == pytest.approx((1, 1, 1), abs=1e-9)
        assert one.blacker == Interval(0, 0, 0)
        assert one.dead[0] == one.dead[1]
        assert one.black[0] == one.black[1]
    assert found.agreement == Interval(1, 1, 1)
    assert (found.maps[0].mean_ssim.value, found.maps[0].mean_spearman.low) == pytest.approx((1, 1), abs=1e-12)


def test_filters_in_another_order_and_scale_see_the_same():
    first = network()
    second = copy.deepcopy(first)
    weight = second.get_submodule("body.conv3").weight
    assert isinstance(weight, nn.Parameter)
    weight.data = 3 * weight.data.flip(0)
    (one,) = compare_checkpoints(
        first, second, images(), layers(first, "conv3"), names=("a", "b"), generator=seeded()
    ).layers
    assert one.cka.value == pytest.approx(1, abs=1e-6)
    assert one.blacker.value == pytest.approx(0, abs=1e-9)


def test_a_switched_off_layer_is_dead_and_black_and_has_no_cka():
    first = network()
    second = copy.deepcopy(first)
    weight = second.get_submodule("body.conv3").weight
    assert isinstance(weight, nn.Parameter)
    weight.data.zero_()
    found = compare_checkpoints(
        first, second, images(), layers(first, "conv3"), names=("best", "off"), generator=seeded()
    )
    (one,) = found.layers
    assert one.dead[1] == Interval(1, 1, 1)
    assert one.black[1] == Interval(1, 1, 1)
    outputs: list[torch.Tensor] = []
    handle = first.get_submodule("body.conv3").register_forward_hook(lambda _m, _i, output: outputs.append(output))
    first(images())
    handle.remove()
    assert one.black[0].value == pytest.approx(float((outputs[0] <= 0).double().mean()), abs=1e-12)
    assert one.blacker.value == pytest.approx(one.black[0].value - 1, abs=1e-12)
    assert math.isnan(one.cka.value)
    assert "best~off/conv3/cka" not in found.numbers()
    assert found.table()[0]["CKA"] == "\N{EN DASH}"


def test_numbers_have_their_names_and_intervals(contrasted: CheckpointComparison):
    numbers = contrasted.numbers()
    measured = ["best~1/agreement"]
    measured += [f"best~1/input/{what}{other}" for what in ("ssim", "spearman") for other in ("", "_other_face")]
    for layer in ("conv1", "relu5"):
        measured += [f"best~1/{layer}/cka", f"best~1/{layer}/blacker"]
        measured += [f"{name}/{layer}/{what}" for name in ("best", "1") for what in ("dead", "black")]
    assert set(numbers) == {f"{name}{ending}" for name in measured for ending in ("", "_low", "_high")}
    for name in measured:
        low, value, high = (numbers[f"{name}{ending}"] for ending in ("_low", "", "_high"))
        assert high >= low
        assert low <= value <= high or name.endswith("dead"), name
    assert numbers["best~1/relu5/cka"] < 0.9
    assert [row["layer"] for row in contrasted.table()] == ["conv1", "relu5"]
    assert contrasted.map_table()[0]["SSIM"] == format_value(contrasted.maps[0].mean_ssim)


def test_a_constant_map_has_no_order_and_is_left_out_of_the_mean(contrasted: CheckpointComparison):
    (maps,) = contrasted.maps
    assert maps.spearman.isnan().tolist() == [k == 4 for k in range(9)]
    assert maps.mean_spearman.value == pytest.approx(float(maps.spearman.nanmean()), abs=1e-12)
    assert maps.ssim.isfinite().all()


def test_signed_maps_are_compared_about_zero():
    first = torch.randn(3, 12, 12, generator=seeded())
    (opposite,) = compare_maps({"m": (first, -first)}, signed=True, generator=seeded())
    torch.testing.assert_close(opposite.spearman, -torch.ones(3, dtype=torch.float64))
    assert (opposite.ssim < -0.5).all()


def test_maps_are_held_against_those_of_another_face():
    generator = torch.Generator().manual_seed(5)
    first, second = (torch.rand(4, 12, 12, generator=generator) for _ in range(2))
    (found,) = compare_maps({"m": (first, second)}, signed=False, generator=seeded())
    (turned,) = compare_maps({"m": (first, second[[2, 3, 0, 1]])}, signed=False, generator=seeded())
    assert found.other_ssim == turned.mean_ssim
    assert found.other_spearman == turned.mean_spearman
    assert found.other_ssim != found.mean_ssim
    (alone,) = compare_maps({"m": (first[:1], second[:1])}, signed=False, generator=seeded())
    assert math.isnan(alone.other_ssim.value)
    assert alone.mean_ssim.value == float(alone.ssim)
    assert math.isnan(alone.mean_ssim.low)
    assert math.isnan(alone.mean_ssim.high)


def test_numbers_are_said_with_the_interval_they_have():
    assert format_value(Interval(0.4119, 0.398, 0.431)) == "0.412 [0.398, 0.431]"
    assert format_value(Interval(-0.25)) == "\N{MINUS SIGN}0.250"
    assert format_value(Interval(math.nan)) == format_share(Interval(math.nan)) == "\N{EN DASH}"
    assert format_share(Interval(0.25, 0.2, 1)) == "25.0 [20.0, 100.0] %"


def test_maps_smaller_than_the_window_have_an_order_only():
    first = torch.rand(3, 10, 12, generator=seeded())
    (found,) = compare_maps({"m": (first, first)}, signed=False, generator=seeded())
    assert found.ssim.isnan().all()
    assert found.mean_spearman.value == pytest.approx(1)


def test_the_same_state_of_the_generator_gives_the_same_numbers(contrasted: CheckpointComparison):
    again = compare_checkpoints(
        network(0), network(1), images(), layers(network(0), "conv1", "relu5"), names=("best", "1"), generator=seeded()
    )
    assert again.layers == contrasted.layers


def test_too_few_faces_are_refused():
    with pytest.raises(ConfigError, match="faces=7: at least 8"):
        compare_checkpoints(network(), network(), images()[:7], [], names=("a", "b"), generator=seeded())


def test_the_figure_is_as_wide_as_a_text_says_its_numbers_and_is_drawn_alike_twice(
    contrasted: CheckpointComparison, tmp_path: Path
):
    one, two = (
        draw_checkpoint_comparison(contrasted, tmp_path / f"{name}.png", title="vgg8 on noise", dpi=100)
        for name in ("one", "two")
    )
    assert one.path.read_bytes() == two.path.read_bytes()
    with Image.open(one.path) as picture:
        assert picture.width == 650
    for number in (contrasted.layers[0].cka, contrasted.maps[0].mean_ssim, contrasted.maps[0].mean_spearman):
        assert format_value(number) in one.caption
    assert "1 of them without" in one.caption
    assert "Checkpoints best and 1 compared on 40 faces" in one.caption


@pytest.mark.parametrize("part", ["layers", "maps", "both", "many"])
def test_no_text_leaves_the_sheet_or_covers_another(contrasted: CheckpointComparison, part: str):
    shown = CheckpointComparison(
        ("a checkpoint of a long name", "initial"),
        40,
        contrasted.agreement,
        () if part == "maps" else contrasted.layers * (12 if part == "many" else 1),
        () if part == "layers" else contrasted.maps * (3 if part == "many" else 1),
    )
    with plain_style():
        sheet = checkpoint_comparison_figure(
            shown, title="A network of a long name on a data set of a long name " * 2, dpi=100
        )
        sheet.canvas.draw()
        width, height = (100 * side for side in sheet.get_size_inches())
        texts = [text for text in sheet.findobj(Text) if text.get_visible() and text.get_text()]  # pyright: ignore
        boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 >= 0, text
        assert box.x1 <= width, text
        assert box.y0 >= 0, text
        assert box.y1 <= height, text
    for k, box in enumerate(boxes):
        for other in range(k):
            over = box.intersection(box, boxes[other])
            small = over is None or min(over.width, over.height) < 1.5
            assert small, (texts[k].get_text(), texts[other].get_text())
