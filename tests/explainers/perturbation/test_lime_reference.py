"""The plug-in around the lime package against the package called by hand."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from lime import lime_image
from torch import nn

import fervis
from fervis.core.registry import build_plugin
from fervis.core.seeding import generator_for
from fervis.errors import ConfigError
from fervis.explainers.perturbation.lime_reference import no_progress_bar

SMALL: dict[str, Any] = {"kernel_size": 1, "max_dist": 3, "num_samples": 60}


def network(channels: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_plugin("model", "vgg8", width=4).build(channels=channels, size=16, classes=("a", "b", "c")).eval()


def faces(count: int = 1, channels: int = 1) -> torch.Tensor:
    return torch.rand(count, channels, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("more", [{}, {"num_features": 7, "hide_color": 0.5}])
def test_it_is_the_packages_own_answer(channels: int, more: dict[str, Any]):
    from skimage.segmentation import quickshift

    model, images = network(channels), faces(2, channels)
    result = fervis.explain(model, images, "lime_reference", target=[1, 2], seed=3, **SMALL, **more)
    seed = int(torch.randint(2**31, (), generator=generator_for(3, "explainer/lime_reference")))
    for image, label, found in zip(images, [1, 2], result.maps, strict=True):
        package: Any = lime_image.LimeImageExplainer(random_state=seed)
        with no_progress_bar():
            theirs = package.explain_instance(
                image.double().permute(1, 2, 0).numpy().repeat(3 // channels, 2),
                lambda pictures: _answer(model, pictures, channels),
                labels=(label,),
                top_labels=None,
                num_samples=60,
                segmentation_fn=lambda rgb: quickshift(rgb, kernel_size=1, max_dist=3, ratio=0.2),
                random_seed=seed,
                **more,
            )
        expected = np.zeros((16, 16))
        for piece, weight in theirs.local_exp[label]:
            expected[theirs.segments == piece] = weight
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
        assert len(np.unique(expected)) == (8 if more else len(np.unique(theirs.segments)))


def _answer(model: nn.Module, pictures: np.ndarray, channels: int) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(pictures).float().permute(0, 3, 1, 2)[:, :channels]).softmax(1).double().numpy()


def test_no_bar_is_drawn_and_the_packages_own_bar_is_back(capfd: pytest.CaptureFixture[str]):
    bar = lime_image.tqdm
    fervis.explain(network(), faces(), "lime_reference", target=0, **SMALL)
    assert capfd.readouterr() == ("", "")
    assert lime_image.tqdm is bar


def test_a_single_superpixel_is_said(caplog: pytest.LogCaptureFixture):
    smooth = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    with caplog.at_level(logging.WARNING, logger="fervis"):
        result = fervis.explain(network(), smooth, "lime_reference", target=0, num_samples=20)
    assert "quickshift finds a single superpixel in 1 of 1 faces" in caplog.text
    assert result.scores is not None
    assert result.scores["superpixels"].tolist() == [1]
    assert result.maps.unique().numel() == 1


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"feature_selection": "lasso"}, "Did you mean lasso_path?"),
        ({"kernel_size": 0.5}, "explainer.kernel_size=0.5: expected a number from 1."),
        ({"ratio": 2.0}, "explainer.ratio=2.0: expected a number from 0 to 1."),
        ({"num_samples": 1}, "explainer.num_samples=1: expected a whole number from 2 to 1e+07."),
        (
            {"layer": "conv5"},
            "layer=conv5: explainer=lime_reference takes no inner layer; expected layer=input.",
        ),
        ({"target": 3}, "target=3: the network has 3 classes"),
    ],
)
def test_wrong_questions(knobs: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError) as error:
        fervis.explain(network(), faces(), "lime_reference", **{"target": 0, **knobs})
    assert sentence in str(error.value)


def test_other_channels_are_refused():
    with pytest.raises(ConfigError, match="1 or 3 channels, not 2"):
        fervis.explain(nn.Sequential(nn.Flatten(), nn.Linear(32, 3)), torch.rand(1, 2, 4, 4), "lime_reference")
