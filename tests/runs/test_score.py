"""Scores of any maps from Python: forms of maps and of measures, what is needed, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from support.scored_networks import linear_batch
from torch import Tensor, nn

import fervis
from fervis.core.faces import Truth
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.evidence.baselines import edge_map
from fervis.models.checks.networks import CheckNetwork
from fervis.models.checks.snapshots import awkward, same, snapshot


def images(count: int = 3, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, 16, 16, generator=torch.Generator().manual_seed(0))


def maps(*shape: int) -> Tensor:
    return torch.rand(*shape, 16, 16, generator=torch.Generator().manual_seed(1))


def test_scores_are_those_of_the_measure_on_the_batch():
    batch, contributions = linear_batch(size=16, count=4)
    found = fervis.score(batch.model, batch.images, contributions, "deletion", batch.targets.classes)
    again: Any = None
    expected = build_plugin("evidence", "deletion").measure(batch, contributions, again)[""]
    torch.testing.assert_close(found["deletion"], expected)
    assert found["deletion"].shape == (4, 2)


def test_maps_of_three_axes_have_one_score_per_image_and_the_default_is_three_measures():
    found = fervis.score(CheckNetwork(), images(), maps(3))
    assert set(found) == {"deletion", "insertion", "sparseness"}
    assert {tuple(values.shape) for values in found.values()} == {(3,)}
    as_numpy = fervis.score(CheckNetwork(), images().numpy(), maps(3).double().numpy())
    four_axes = fervis.score(CheckNetwork(), images(), maps(3)[:, None])
    for name, values in found.items():
        assert torch.equal(values, as_numpy[name])
        assert torch.equal(values[:, None], four_axes[name])


def test_maps_of_fervis_and_of_captum_are_scored_alike():
    network = CheckNetwork()
    own = fervis.explain(network, images(), "saliency", target=[0, 2, 1])
    others = Saliency(network).attribute(images().requires_grad_(), target=torch.tensor([0, 2, 1]))
    by_result, by_maps = (
        fervis.score(network, images(), some, "road", [0, 2, 1])["road"] for some in (own, others[:, 0])
    )
    assert by_result.shape == (3,)
    torch.testing.assert_close(by_result, by_maps, rtol=0, atol=1e-4)
    several = fervis.explain(network, images(), "saliency", target="all")
    assert fervis.score(network, images(), several, "sparseness", "all")["sparseness"].shape == (3, 3)


def test_measures_are_given_by_name_in_lists_with_settings_or_built():
    network, some = CheckNetwork(), maps(3)
    with_settings = fervis.score(network, images(), some, {"deletion": {"steps": 5}, "sparseness": {}})
    built = fervis.score(network, images(), some, build_plugin("evidence", "deletion", steps=5))
    assert torch.equal(with_settings["deletion"], built["Deletion"])
    listed = fervis.score(network, images(), some, ["average_drop", "default"])
    assert set(listed) == {"average_drop", "average_drop/increase", "deletion", "insertion", "sparseness"}


def test_baselines_are_scored_on_demand():
    network = CheckNetwork()
    found = fervis.score(network, images(), maps(3), "deletion", [1, 1, 1], baselines=True)
    assert set(found) == {"deletion", "deletion/random_map", "deletion/edge_map"}
    batch, _ = linear_batch(size=16)
    edges = fervis.score(batch.model, batch.images, edge_map(batch), "deletion", batch.targets.classes)
    beside = fervis.score(batch.model, batch.images, maps(2, 2), "deletion", batch.targets.classes, baselines=True)
    assert torch.equal(edges["deletion"], beside["deletion/edge_map"])


def test_the_truth_is_a_mask_or_a_truth():
    marked = torch.zeros(3, 16, 16, dtype=torch.bool)
    marked[:2, 4, 5] = True
    some = torch.zeros(3, 16, 16)
    some[0, 4, 5] = some[1, 0, 0] = some[2, 0, 0] = 1
    truth = Truth(marked, torch.zeros(3, 16, 16, dtype=torch.uint8), ("",), torch.zeros(3, 1), ("AU1",))
    for given in (marked, marked.numpy(), truth):
        found = fervis.score(CheckNetwork(), images(), some, "pointing_game", truth=given)["pointing_game"]
        assert found[:2].tolist() == [1.0, 0.0]
        assert found[2].isnan()


def test_an_explainer_of_any_library_explains_again():
    network = CheckNetwork()

    def explain(model: nn.Module, pixels: Tensor) -> np.ndarray:
        return Saliency(model).attribute(pixels.requires_grad_(), target=1)[:, 0].detach().numpy()

    some = explain(network, images())
    with torch.no_grad():
        found = fervis.score(network, images(), some, "model_parameters", 1, explainer=explain, baselines=True)
    assert set(found) == {"model_parameters", "model_parameters/signed", "model_parameters/ssim"}
    assert (found["model_parameters"] < 0.9).all()
    constant = fervis.score(
        network, images(), some, "model_parameters", 1, explainer=lambda model, pixels: maps(len(pixels))
    )
    always = fervis.score(network, images(), maps(3), "model_parameters", 1, explainer=lambda *_: maps(3))
    assert (constant["model_parameters"] < 0.5).all()
    torch.testing.assert_close(always["model_parameters"], torch.ones(3))


def test_the_network_and_the_arrays_are_left_as_they_were_and_outputs_are_chosen():
    network, pixels, some = awkward(CheckNetwork()), images(), maps(3)
    before, saved = snapshot(network, pixels), some.clone()
    fervis.score(network, pixels, some, ["deletion", "road", "faithfulness_correlation"])
    after = snapshot(network, pixels)
    assert [aspect for aspect in before if not same(before[aspect], after[aspect])] == []
    assert torch.equal(some, saved)

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = CheckNetwork()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"features": x.flatten(1), "logits": self.inner(x)}

    one = fervis.score(Pair(), images(), maps(3), "deletion", output="logits")
    torch.testing.assert_close(one["deletion"], fervis.score(CheckNetwork(), images(), maps(3), "deletion")["deletion"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"evidence": "deletoin"}, "evidence=deletoin: there is no such evidence. Did you mean deletion?"),
        ({"evidence": {"deletion": {"steps": 0}}}, "evidence.deletion.steps=0: expected a whole number from 1"),
        ({"evidence": []}, "evidence=[]: expected at least one measure."),
        ({"evidence": 3}, "evidence=3: expected the name of a measure, or a measure that is built."),
        ({"evidence": "pointing_game"}, "evidence=pointing_game: it needs to know which pixels matter; give truth="),
        ({"evidence": "model_parameters"}, "evidence=model_parameters: it explains again; give explainer="),
        ({"maps": maps(2)}, "maps: expected [N,H,W] or [N,T,H,W] for 3 images, not [2, 16, 16]."),
        ({"maps": maps(3)[..., :8]}, "of the images' size [16, 16], not [3, 16, 8]; resize them."),
        ({"maps": maps(3, 2)}, "with T=1, as target= states, not [3, 2, 16, 16]."),
        ({"maps": maps(3) / 0}, "maps: some values are not finite."),
        ({"target": 7, "evidence": "deletion"}, "target=7: the network has 3 classes"),
        ({"truth": torch.ones(3, 16, 16)}, "truth: expected a bool mask [3, 16, 16], not float32 [3, 16, 16]."),
    ],
)
def test_what_is_wrong_is_refused_in_a_sentence(arguments: dict[str, Any], sentence: str):
    given = {"maps": maps(3), **arguments}
    with pytest.raises(ConfigError) as caught:
        fervis.score(CheckNetwork(), images(), **given)
    assert sentence in str(caught.value)


def test_attributions_of_channels_are_to_be_summed_and_maps_of_several_layers_told_apart():
    with pytest.raises(ConfigError, match="sum attributions over channels"):
        fervis.score(CheckNetwork(3), images(3, 3), maps(3, 3))
    several = fervis.explain(CheckNetwork(), images(), "gradcam", layer=["conv1", "conv2"])
    with pytest.raises(ConfigError, match="expected those of one layer"):
        fervis.score(CheckNetwork(), images(), several)
