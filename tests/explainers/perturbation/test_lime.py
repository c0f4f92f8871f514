"""LIME against the lime package with the same superpixels and samples, and against networks whose weights are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lime import lime_image
from torch import nn

import fervis
from fervis.core.registry import build_plugin
from fervis.core.seeding import generator_for
from fervis.core.targets import class_targets
from fervis.errors import ConfigError
from fervis.explainers.perturbation.lime_reference import no_progress_bar
from fervis.explainers.perturbation.superpixels import Features, grid_cells, segment_means, slic_segments
from fervis.explainers.perturbation.surrogate import Surrogate, bernoulli_samples, fit_ridge, kernel_weights
from fervis.models.masking import masked_scores

CLASSES = tuple("abcdefg")


def network(channels: int = 1) -> nn.Module:
    """A network of seven classes whose probabilities move when parts are hidden."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = build_plugin("model", "vgg8", width=4).build(channels=channels, size=16, classes=CLASSES).eval()
    head = made.get_submodule("body.head")
    assert isinstance(head, nn.Linear)
    head.weight.data *= 20
    return made


def faces(count: int = 1, channels: int = 1) -> torch.Tensor:
    return torch.rand(count, channels, 16, 16, generator=torch.Generator().manual_seed(1))


def explain_with_lime(
    model: nn.Module, image: torch.Tensor, segments: torch.Tensor, samples: torch.Tensor, fill: float | None = None
) -> Surrogate:
    """The linear model of all labels near an image, from given samples."""
    features = Features(segments, segment_means(image, segments) if fill is None else torch.full_like(image, fill))
    values = masked_scores(model, image, features.masks(samples), features.fill, class_targets([0]))
    return fit_ridge(samples, values, kernel_weights(samples, 0.25), 1.0)


class Pixels(nn.Module):
    """Logits that are linear in the pixels."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.weights = torch.randn(classes, 1, 16, 16, generator=torch.Generator().manual_seed(2))
        self.passes = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        return torch.einsum("nchw,kchw->nk", images.double(), self.weights.double())


@pytest.mark.parametrize(("channels", "fill"), [(1, None), (3, None), (1, 0.3)])
def test_coefficients_are_those_of_the_lime_package_for_every_label(channels: int, fill: float | None):
    model, image = network(channels), faces(channels=channels)[0]
    segments = slic_segments(image, 20, 10.0)
    pieces, seed = int(segments.max()) + 1, 11

    def answer(pictures: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(pictures).float().permute(0, 3, 1, 2)[:, :channels]
        with torch.no_grad():
            return model(pixels.contiguous()).softmax(1).double().numpy()

    package: Any = lime_image.LimeImageExplainer(feature_selection="none", random_state=seed)
    with no_progress_bar():
        theirs = package.explain_instance(
            image.double().expand(3, -1, -1).permute(1, 2, 0).numpy().copy(),
            answer,
            labels=tuple(range(7)),
            top_labels=None,
            hide_color=fill,
            num_samples=300,
            segmentation_fn=lambda _: segments.numpy(),
            random_seed=0,
        )
    # The matrix that the package draws as the first thing from its random state.
    samples = np.random.RandomState(seed).randint(0, 2, 300 * pieces).reshape(300, pieces)
    samples[0] = 1
    ours = explain_with_lime(model, image, segments, torch.from_numpy(samples).float(), fill)
    for label in range(7):
        coefficients = [weight for _, weight in sorted(theirs.local_exp[label])]
        np.testing.assert_allclose(ours.coefficients[:, label], coefficients, rtol=0, atol=1e-6)
        np.testing.assert_allclose(ours.intercepts[label], theirs.intercept[label], rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.r2[6], theirs.score, rtol=0, atol=1e-4)
    assert ours.coefficients.abs().max() > 0.005


@pytest.mark.parametrize("superpixels", ["slic", "grid", "parts"])
def test_a_network_linear_in_the_superpixels_gives_back_its_weights(superpixels: str):
    model, images = Pixels(), faces(3)
    knobs: dict[str, Any] = {"fill": 0.0, "output": "logit", "alpha": 1e-12, "samples": 400, "repeats": 2}
    result = fervis.explain(model, images, "lime", target=[2, 0, 1], superpixels=superpixels, segments=20, **knobs)
    for image, label, found in zip(images, [2, 0, 1], result.maps, strict=True):
        # On a superpixel the map is the sum of weight times pixel over it; summed over the image, the logit.
        share = model.weights[label, 0] * image[0]
        for value in found.unique():
            piece = found == value
            torch.testing.assert_close(value, share[piece].sum(), rtol=1e-4, atol=1e-4)
        assert len(found.unique()) > 10
    assert result.scores is not None
    torch.testing.assert_close(result.scores["r2"], torch.ones(3))
    torch.testing.assert_close(result.scores["stability"], torch.ones(3))


def test_the_map_is_of_the_first_samples_and_the_stability_of_the_others():
    model, image = network(), faces()
    plain = fervis.explain(model, image, "lime", target=3, samples=100, repeats=0)
    twice = fervis.explain(model, image, "lime", target=3, samples=100, repeats=2)
    assert torch.equal(plain.maps, twice.maps)
    assert plain.scores is not None
    assert twice.scores is not None
    assert set(plain.scores) == {"r2", "stability", "error", "superpixels"}
    assert -1 <= float(twice.scores["stability"]) < 1
    assert not torch.equal(plain.maps, fervis.explain(model, image, "lime", target=3, samples=100, seed=1).maps)
    segments = slic_segments(image[0], 40, 10.0)
    assert float(plain.scores["superpixels"]) == int(segments.max()) + 1
    coefficients = plain.maps[0].flatten()[[int((segments == p).flatten().int().argmax()) for p in segments.unique()]]
    assert torch.equal(plain.maps[0], coefficients[segments])


def test_the_stability_is_scipys_rank_correlation_over_the_further_seeds():
    from scipy.stats import spearmanr

    model, image = network(), faces()
    found = fervis.explain(model, image, "lime", target=3, samples=60, repeats=2, superpixels="grid", segments=16)
    segments, drawn = grid_cells(16, 16, 16), generator_for(0, "explainer/lime")
    fits = []
    for _ in range(3):
        seed = int(torch.randint(2**62, (), generator=drawn))
        samples = bernoulli_samples(60, 16, torch.Generator().manual_seed(seed))
        fits.append(explain_with_lime(model, image[0], segments, samples).coefficients[:, 3].numpy())
    expected = np.mean([spearmanr(fits[0], other).statistic for other in fits[1:]])
    assert found.scores is not None
    np.testing.assert_allclose(found.scores["stability"][0], expected, atol=1e-6)
    np.testing.assert_allclose(found.maps[0], fits[0][segments], atol=1e-7)


def test_any_class_can_be_explained_with_fewer_superpixels_than_classes():
    found = fervis.explain(network(), faces(), "lime", target=6, superpixels="grid", segments=4, repeats=0, samples=50)
    assert float(found.scores["superpixels"]) == 4
    assert found.maps.unique().numel() == 4


def test_only_the_strongest_superpixels_stay():
    model, image = network(), faces()
    knobs: dict[str, Any] = {"samples": 100, "repeats": 0, "superpixels": "parts"}
    whole = fervis.explain(model, image, "lime", target=3, **knobs).maps
    some = fervis.explain(model, image, "lime", target=3, top=4, **knobs).maps
    least = whole.abs().unique()[-4]
    assert torch.equal(some, torch.where(whole.abs() >= least, whole, 0))


def test_a_face_asked_about_for_all_classes_is_scored_once():
    images = faces(2)
    alone = Pixels()
    maps = [fervis.explain(alone, images[:1], "lime", target=label, output="logit").maps[0] for label in range(3)]
    single = alone.passes / 3
    model = Pixels()
    together = fervis.explain(model, images, "lime", target="all", output="logit", batch_size=1).maps
    assert torch.equal(together[:3], torch.stack(maps))
    assert not torch.allclose(together[3:], together[:3])
    assert model.passes <= 2 * single + 2, "the passes of two images, and those that predict"


def test_a_filters_mean_output_can_be_explained(residual: nn.Module):
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    found = fervis.explain(residual, image, "lime", target="conv1/2", alpha=1e-9, fill=0.0)
    assert "filter" in found.unit
    # A convolution is linear but for its bias: a superpixel's weight is the output where it alone is shown, less that
    # of nothing shown, and the fit is exact.
    with torch.no_grad():
        nothing = residual.conv1(torch.zeros(1, 1, 16, 16))[0, 2].mean()
        for value in found.maps.unique():
            alone = residual.conv1(torch.where(found.maps[:, None] == value, image, 0))[0, 2].mean()
            torch.testing.assert_close(value, alone - nothing, rtol=0, atol=1e-6)
    assert found.scores is not None
    torch.testing.assert_close(found.scores["r2"], torch.ones(1))


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        (
            {"superpixels": "slick"},
            "explainer.superpixels=slick: expected slic, grid, parts or areas. Did you mean slic?",
        ),
        ({"precision": "bf61"}, "explainer.precision=bf61: expected fp32 or bf16. Did you mean bf16?"),
        ({"fill": "grey"}, "explainer.fill=grey: expected mean or a number."),
        ({"samples": 1}, "explainer.samples=1: expected a whole number from 2 to 1e+07."),
        ({"segments": 1}, "explainer.segments=1: expected a whole number from 2."),
        ({"alpha": 0.0}, "explainer.alpha=0.0: expected a number above 0."),
        ({"repeats": -1}, "explainer.repeats=-1: expected a whole number from 0."),
        ({"layer": "conv5"}, "layer=conv5: explainer=lime takes no inner layer; expected layer=input."),
        ({"target": 7}, "target=7: the network has 7 classes"),
    ],
)
def test_wrong_questions(knobs: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError) as error:
        fervis.explain(network(), faces(), "lime", **{"target": 0, "samples": 20, **knobs})
    assert sentence in str(error.value)


@pytest.mark.parametrize("superpixels", ["grid", "slic"])
def test_the_error_bars_are_the_spread_over_other_samples(superpixels: str):
    """Thirty seeds: their spread, superpixel by superpixel, is the reported standard error to within a fifth."""
    model, image = network(), faces()
    knobs: dict[str, Any] = {"samples": 200, "superpixels": superpixels, "segments": 16}
    runs = [fervis.explain(model, image, "lime", target="all", seed=seed, **knobs) for seed in range(30)]
    maps, errors = (torch.stack([getattr(run, name) for run in runs]) for name in ("maps", "errors"))
    assert errors.shape == (30, 7, 16, 16)
    spread, reported = maps.std(0), errors.square().mean(0).sqrt()
    ratios = reported / spread
    assert 0.8 < float(ratios.mean()) < 1.2
    # The spread of thirty has itself a relative error of 1/sqrt(58), 13 %.
    assert float(ratios.min()) > 0.55
    assert float(ratios.max()) < 1.9
    # 95 % intervals around each run's weight hold the mean of all runs.
    covered = ((maps - maps.mean(0)).abs() < 1.96 * errors).float().mean()
    assert 0.9 < float(covered) < 0.99
    assert runs[0].scores is not None
    expected = errors[0].square().mean((1, 2)).sqrt() / (maps[0].amax((1, 2)) - maps[0].amin((1, 2)))
    if superpixels == "grid":  # whose cells are of one size, so that a mean over pixels is one over superpixels
        torch.testing.assert_close(runs[0].scores["error"], expected, rtol=1e-4, atol=0)


def test_the_stability_is_the_rank_correlation_with_other_samples():
    model, image = network(), faces()
    knobs: dict[str, Any] = {"target": 3, "samples": 120, "superpixels": "grid", "segments": 16}
    estimated, measured = [], []
    for seed in range(6):
        estimated.append(fervis.explain(model, image, "lime", seed=seed, **knobs).scores["stability"])  # pyright: ignore[reportOptionalSubscript]
        measured.append(fervis.explain(model, image, "lime", seed=seed, repeats=8, **knobs).scores["stability"])  # pyright: ignore[reportOptionalSubscript]
    assert 0.3 < float(torch.stack(measured).mean()) < 0.98
    assert abs(float(torch.stack(estimated).mean() - torch.stack(measured).mean())) < 0.06


def test_a_superpixel_that_is_left_out_has_no_error():
    found = fervis.explain(network(), faces(), "lime", target=3, samples=100, superpixels="parts", top=4)
    assert found.errors is not None
    assert torch.equal(found.errors > 0, found.maps != 0)


def test_bf16_says_how_far_it_is_from_fp32():
    model, images = network(), faces(2)
    knobs: dict[str, Any] = {"target": "all", "samples": 60, "superpixels": "grid", "segments": 9}
    exact = fervis.explain(model, images, "lime", **knobs)
    fast = fervis.explain(model, images, "lime", precision="bf16", **knobs)
    assert exact.scores is not None
    assert fast.scores is not None
    assert set(fast.scores) - set(exact.scores) == {"bf16_difference"}
    assert ((fast.scores["bf16_difference"] > 0) & (fast.scores["bf16_difference"] < 0.05)).all()
    assert 0 < float((fast.maps - exact.maps).abs().max()) < 0.2 * float(exact.maps.abs().max())
