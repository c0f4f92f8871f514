"""Verdicts on statements: hand-made maps and numbers whose effects are known, and the rules of judgement."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import scipy.stats
import torch

from fervis.core.intervals import Interval
from fervis.datasets.landmarks.regions import FACE_REGIONS, read_codebook
from fervis.metrics.hypotheses import Draws
from fervis.runs.study.claims.cases import MEAN_MAP, MapCase, NumberCase, strong_edges, with_mean_map
from fervis.runs.study.claims.effects import Effect, row_correlations
from fervis.runs.study.claims.map_tests import MAP_KINDS, map_effects
from fervis.runs.study.claims.number_tests import NUMBER_KINDS, number_effects
from fervis.runs.study.claims.statements import Statement, read_claims
from fervis.runs.study.claims.verdicts import judge, verdict_of

CLASSES = ("angry", "happy")


def draws() -> Draws:
    return Draws(torch.Generator().manual_seed(0))


def case(density: dict[str, float], gain: float = 0.2, **changes: Any) -> MapCase:
    """Twenty images of each class; the mouth is a fifth of each, and holds ``density`` times its part of the map."""
    labels = torch.arange(2).repeat_interleave(20)
    noise = 0.01 * torch.randn(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    share = 0.2 * torch.tensor([density[name] for name in CLASSES], dtype=torch.float64)[labels] + noise
    area = torch.full((40,), 0.2, dtype=torch.float64)
    made = MapCase(
        method="gradcam",
        network="net",
        control="",
        classes=CLASSES,
        labels=labels,
        correct=torch.ones(40, dtype=torch.bool),
        maps=torch.rand(40, 4, 5, generator=torch.Generator().manual_seed(2)),
        shares={"mouth": share},
        areas={"mouth": area},
        gains={"mouth": gain + noise},
        edges=torch.zeros(40, 4, 5, dtype=torch.bool),
    )
    return replace(made, **changes)


def region(**settings: Any) -> Statement:
    return Statement(1, "happy: the mouth", "region", {"class": "happy", "regions": ["mouth"], **settings})


def test_effects_of_a_region_are_means_over_the_class():
    some = case({"angry": 1.0, "happy": 2.0})
    density, lead, gain = map_effects(region(), some, draws())
    own = (some.shares["mouth"] / 0.2)[20:]
    assert density.value.value == pytest.approx(float(own.mean()) - 1)
    assert lead.value.value == pytest.approx(float(own.mean() - (some.shares["mouth"] / 0.2)[:20].mean()))
    assert gain.value.value == pytest.approx(float(some.gains["mouth"][20:].mean()))
    assert all(effect.p == pytest.approx(1e-4) for effect in (density, lead, gain))  # the least that 9,999 draws give


def test_images_that_are_taken_for_another_class_do_not_count():
    some = case({"angry": 1.0, "happy": 2.0})
    wrong = torch.arange(40) == 25
    changed = replace(some, correct=~wrong, shares={"mouth": some.shares["mouth"].where(~wrong, 100.0)})
    known = (some.shares["mouth"] / 0.2)[20:][~wrong[20:]]
    assert map_effects(region(), changed, draws())[0].value.value == pytest.approx(float(known.mean()) - 1)


def verdict(some: MapCase, statement: Statement, *controls: MapCase) -> tuple[str, str]:
    found = judge([statement], [some, *controls], [], seed=0)[0]
    return found.verdict, found.why


def test_a_statement_needs_density_lead_and_effect():
    assert verdict(case({"angry": 1.0, "happy": 2.0}), region())[0] == "supported"
    assert verdict(case({"angry": 1.0, "happy": 0.5}), region())[0] == "contrary"
    assert verdict(case({"angry": 3.0, "happy": 2.0}), region())[0] == "contrary"
    assert verdict(case({"angry": 1.0, "happy": 2.0}, gain=-0.2), region())[0] == "contrary"
    assert verdict(case({"angry": 1.0, "happy": 2.0}, gain=0.0), region())[0] == "not shown"
    assert verdict(case({"angry": 1.0, "happy": 0.5}), region(weak=True))[0] == "supported"
    assert verdict(case({"angry": 1.0, "happy": 2.0}), region(explainers=["lime"])) == (
        "not tested",
        "no run of the study has what it is about",
    )


def test_what_holds_for_a_control_too_is_not_specific():
    some = case({"angry": 1.0, "happy": 2.0})
    control = replace(some, method="edge_map", control="edge_map")
    assert verdict(some, region(), control) == ("not specific", "holds for edge_map too")
    assert verdict(some, region(), replace(case({"angry": 2.0, "happy": 2.0}), control="edge_map"))[0] == "supported"


def test_verdicts_that_differ_are_named_by_what_they_depend_on():
    yes, no = case({"angry": 1.0, "happy": 2.0}), case({"angry": 1.0, "happy": 1.0})
    found = judge([region()], [yes, replace(no, method="lrp")], [], seed=0)[0]
    assert (found.verdict, found.why) == ("depends on the method", "supported: gradcam; not shown: lrp")
    found = judge([region()], [yes, replace(no, network="other")], [], seed=0)[0]
    assert found.verdict == "depends on the network"
    assert found.why == "supported: gradcam net; not shown: gradcam other"


@pytest.mark.parametrize(
    ("effects", "expected"),
    [
        ([(1.0, 0.01), (1.0, 0.01)], "supported"),
        ([(1.0, 0.01), (1.0, 0.2)], "not shown"),
        ([(1.0, 0.01), (-1.0, 0.2)], "not shown"),
        ([(1.0, 0.01), (-1.0, 0.01)], "contrary"),
        ([(1.0, 0.01), (1.0, math.nan)], "supported"),
        ([(1.0, math.nan)], "not shown"),
    ],
)
def test_the_rule(effects: list[tuple[float, float]], expected: str):
    assert verdict_of([Effect("", Interval(value), p) for value, p in effects]) == expected


def test_every_image_of_the_control_has_the_mean_map_of_all_classes():
    some = case({"angry": 1.0, "happy": 2.0})
    regions = torch.zeros(40, len(FACE_REGIONS), 4, 5, dtype=torch.bool)
    regions[:20, FACE_REGIONS.index("mouth"), :2] = True
    regions[20:, FACE_REGIONS.index("mouth"), 2:] = True
    control = with_mean_map(some, regions)
    shares = some.maps.double() / some.maps.double().sum((1, 2), keepdim=True)
    mean = (shares[:20].mean(0) + shares[20:].mean(0)) / 2
    assert control.control == MEAN_MAP
    torch.testing.assert_close(control.shares["mouth"][:20], mean[:2].sum().expand(20), rtol=1e-6, atol=0)
    torch.testing.assert_close(control.shares["mouth"][20:], mean[2:].sum().expand(20), rtol=1e-6, atol=0)


def test_the_strongest_fifth_of_the_edges():
    image = torch.zeros(1, 1, 10, 10, dtype=torch.uint8)
    image[..., 5:] = 200  # the step is seen from columns 4 and 5: a fifth of the image
    expected = torch.zeros(1, 10, 10, dtype=torch.bool)
    expected[:, :, 4:6] = True
    assert torch.equal(strong_edges(image), expected)


def test_maps_on_edges_and_spread_maps():
    some = case({"angry": 1.0, "happy": 1.0})
    maps = torch.zeros(40, 4, 5)
    maps[:20, 0, 0] = 1
    maps[20:, 0] = 1
    edges = torch.zeros(40, 4, 5, dtype=torch.bool)
    edges[:, 0] = True
    some = replace(some, maps=maps, edges=edges)
    density = map_effects(Statement(1, "", "edges", {}), some, draws())[0]
    assert density.value.value == pytest.approx(4 - 1)  # all of the map on a quarter of the image
    entropy = map_effects(Statement(1, "", "spread", {"class": "happy"}), some, draws())[0]
    assert entropy.value.value == pytest.approx(math.log(5))


def entries(values: dict[str, list[float]], **also: Any) -> NumberCase:
    """One row per image and layer."""
    listed = [
        {"layer": layer, "row": row, "number": value, **also}
        for layer, of_layer in values.items()
        for row, value in enumerate(of_layer)
    ]
    return NumberCase("feature_maps", "net", listed)


def number_statement(kind: str, **settings: Any) -> Statement:
    return Statement(1, "", kind, {"run": "feature_maps", "number": "number", **settings})


def test_a_trend_is_the_mean_correlation_with_depth_of_each_image():
    values = torch.rand(4, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    some = entries({f"conv{layer}": values[layer].tolist() for layer in range(4)})
    effect = number_effects(number_statement("trend"), some, draws())[0]
    expected = [spearman(range(4), values[:, image]) for image in range(6)]
    assert effect.value.value == pytest.approx(sum(expected) / 6)
    falls = number_effects(number_statement("trend", falls=True), some, draws())[0]
    assert falls.value.value == pytest.approx(-effect.value.value)


def test_a_trend_of_filters_is_a_correlation_over_all_of_them():
    some = entries({"conv1": [1.0, 2.0], "conv2": [2.0, 3.0], "conv3": [9.0, 2.5]})
    unpaired = replace(some, entries=[{**entry, "row": None} for entry in some.entries])
    effect = number_effects(number_statement("trend"), unpaired, draws())[0]
    assert effect.value.value == pytest.approx(spearman([0, 0, 1, 1, 2, 2], [1, 2, 2, 3, 9, 2.5]))


def test_differences_shares_and_ranges():
    first = entries({"relu8": [0.9, 0.8, 0.7, 0.9]}, checkpoint="best")
    second = entries({"relu8": [0.4, 0.5, 0.6, 0.5]}, checkpoint="1")
    both = NumberCase("feature_maps", "net", [*first.entries, *second.entries])
    difference = number_effects(number_statement("difference", falls=True), both, draws())[0]
    assert difference.value.value == pytest.approx(0.5 - 0.825)
    within = number_effects(number_statement("within", checkpoint="1", between=[0.4, 0.7]), both, draws())[0]
    assert within.value.value == pytest.approx(0.1)  # 0.5 is nearer to 0.4
    share = number_effects(number_statement("share", above=0.75, chance=0.5), first, draws())[0]
    assert share.value.value == pytest.approx(0.75 - 0.5)
    assert share.p == pytest.approx(10 / 16)  # of four coins, 0, 1, 3 or 4 heads are as unlikely as three


def spearman(first: Any, second: Any) -> float:
    result: Any = scipy.stats.spearmanr(first, second)
    return float(result.statistic)


def test_correlations_of_rows_are_spearmans():
    table = torch.tensor([[3.0, 1.0, 1.0, 5.0], [1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0]], dtype=torch.float64)
    found = row_correlations(table)
    assert found[0] == pytest.approx(spearman(range(4), table[0]))
    assert found[1] == pytest.approx(1)
    assert found[2].isnan()


def test_the_statements_name_what_there_is():
    claims, statements = read_claims()
    assert len(claims) == 7
    assert {statement.claim for statement in statements} == set(range(1, 8))
    expressions: set[str] = {"neutral", *read_codebook()["expressions"]["emfacs"]}
    for statement in statements:
        assert statement.kind in MAP_KINDS | NUMBER_KINDS | {"untested"}
        stated = statement.settings
        assert set(stated.get("regions", ())) <= set(FACE_REGIONS)
        assert {stated.get("class", "neutral"), *stated.get("others", ()), *stated.get("against", ())} <= expressions
