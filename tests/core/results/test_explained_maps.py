"""What ``fervis.explain`` returns: its words, its figure, its table, and its file."""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

import fervis
from fervis.core.results import ExplainedMaps, HeatMaps, join_results, take_from_result
from fervis.core.results.explained_maps import MOST_SHOWN, as_pictures
from fervis.errors import ConfigError
from fervis.visualizers.figures.canvas import new_figure


class Linear(nn.Module):
    """Three logits that are sums of the pixels times known weights, so that a gradient is the weights."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.rand(3, 36, generator=torch.Generator().manual_seed(0)) - 0.5
        self.weights = nn.Parameter(weights)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weights.T


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def explained(count: int = 2, target: object = (0, 2)) -> ExplainedMaps:
    targets = target if isinstance(target, str) else [list(target)] * count  # type: ignore[call-overload]
    return fervis.explain(Linear(), images(count), "saliency", target=targets)


def test_entries_know_their_image_layer_and_target():
    result = explained()
    assert isinstance(result, HeatMaps)
    assert result.rows.tolist() == [0, 0, 1, 1]
    assert result.targets == ("0", "2") * 2
    assert result.layers == ("input",) * 4
    assert torch.equal(result.images[1], images()[1])
    weights = Linear().weights.detach().abs().view(3, 6, 6)
    torch.testing.assert_close(result.maps, weights[[0, 2, 0, 2]])
    taken = take_from_result(result, torch.tensor([3, 0]))
    assert (taken.targets, taken.rows.tolist(), set(taken.images)) == (("2", "0"), [1, 0], {0, 1})


def test_several_methods_return_such_maps_too():
    results = fervis.explain(Linear(), images(), ["saliency", "input_x_gradient"], target=0)
    assert [results[name].explainer for name in results] == ["saliency", "input_x_gradient"]
    assert all(result.rows.tolist() == [0, 1] for result in results.values())


def test_maps_are_float32_whatever_the_network_is():
    single, double = (
        fervis.explain(Linear().to(kind), images().to(kind), "saliency", target=0).maps
        for kind in (torch.float32, torch.float64)
    )
    assert single.dtype == double.dtype == torch.float32
    assert fervis.explain(Linear(), images().numpy(), "saliency", target=0).maps.equal(single)


def test_a_result_prints_in_one_line_without_values():
    result = explained()
    assert re.fullmatch(
        r"ExplainedMaps\(saliency: 1 layer × 2 images × 2 targets, maps of 6 × 6; \|∂ logit / ∂ pixel\|, \S+ to \S+\)",
        repr(result),
    )
    assert repr(HeatMaps(torch.zeros(2, 3, 3), "logit")).startswith(
        "HeatMaps(maps=[2,3,3] float32, unit=logit, signed="
    )
    assert "saliency: 1 layer × 3 images × 1 target," in repr(explained(3, (0,)))


def test_results_of_several_calls_are_not_joined():
    with pytest.raises(ConfigError, match="expected one call of"):
        join_results([explained(), explained()])


def test_a_figure_shows_the_explained_images_and_the_given_title():
    figure = explained(1, (1,)).plot(title="Mine", dpi=50)
    assert isinstance(figure, Figure)
    assert {"Mine", "explained: class 1"} <= {text.get_text() for text in figure.texts}
    faces = [artist.get_array() for artist in figure.artists if hasattr(artist, "get_array")]
    expected = (images(1)[0, 0] * 255).round().numpy().astype(np.uint8)
    assert any(np.array_equal(face[..., 0], expected) for face in faces if face is not None)
    given = np.full((1, 1, 6, 6), 7, np.uint8)
    faces = [artist.get_array() for artist in explained(1, (1,)).plot(given).artists if hasattr(artist, "get_array")]
    assert any((face == 7).all() for face in faces if face is not None)


def test_an_overview_names_images_and_targets():
    words = [text.get_text() for text in explained().plot(images(), "Both").texts]
    assert {"Both", "image 0", "image 1", "class 0", "class 2"} <= set(words)
    alone = [text.get_text() for text in explained(2, (1,)).plot().texts]
    assert {"image 0 · class 1", "image 1 · class 1"} <= set(alone)


@pytest.mark.parametrize("given", [torch.zeros(3, 1, 6, 6), torch.zeros(2, 1, 6, 5), torch.zeros(2, 6, 6)])
def test_pictures_of_another_number_or_size_are_refused(given: Tensor):
    with pytest.raises(ConfigError, match=re.escape("expected one per image, [2,C,6,6], not ")):
        explained().plot(given)


def test_an_unknown_setting_of_the_figure_is_refused():
    with pytest.raises(ConfigError, match="there is no such setting"):
        explained().plot(colourmap="gray")


def test_pictures_are_the_images_where_they_can_be_and_stretched_elsewhere():
    inside = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert as_pictures(inside).flatten().tolist() == [0, 128, 255]
    assert as_pictures(inside * 4 - 2).flatten().tolist() == [0, 128, 255]
    assert as_pictures(torch.tensor([9, 8]).to(torch.uint8).view(2, 1, 1, 1)).flatten().tolist() == [9, 8]
    two_channels = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)
    assert as_pictures(two_channels).flatten().tolist() == [128]
    assert as_pictures(torch.full((1, 1, 1, 1), -3.0)).flatten().tolist() == [0]


def picture_of(html: str) -> Image.Image:
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_notebook_shows_a_picture_and_a_line_and_loads_nothing():
    html = explained()._repr_html_()
    assert "saliency: 1 layer × 2 images × 2 targets" in html
    assert picture_of(html).size[0] > 100
    assert "http" not in html
    assert len(html) < 200_000
    many = explained(MOST_SHOWN + 1, (0,))._repr_html_()
    assert f"The first {MOST_SHOWN} are shown." in many
    assert "shown" not in explained(MOST_SHOWN, (0,))._repr_html_()
    assert picture_of(new_figure(1, 2, 50)._repr_html_()).size == (50, 100)


def test_a_notebook_shows_words_alone_where_nothing_can_be_drawn():
    result = explained()
    without = ExplainedMaps(result.maps, "a < b", layers=result.layers, targets=result.targets, rows=result.rows)
    assert without._repr_html_().count("<") == 2
    assert "a &lt; b" in without._repr_html_()
    with pytest.raises(ConfigError, match="image 0 is not in the result"):
        without.plot()


def test_a_table_has_a_row_per_map(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    result = explained()
    table = result.to_dataframe()
    assert table["image"] == [0, 0, 1, 1]
    assert table["target"] == ["0", "2", "0", "2"]
    weights = Linear().weights.detach().double().abs()[[0, 2, 0, 2]]
    np.testing.assert_allclose(table["sum"], weights.sum(1).numpy())
    np.testing.assert_allclose(table["lowest"], weights.amin(1).numpy())
    np.testing.assert_allclose(table["highest"], weights.amax(1).numpy())
    lime = fervis.explain(Linear(), images(), "lime", target=0, samples=20, superpixels="grid")
    assert set(lime.scores or {}) <= set(lime.to_dataframe())
    assert lime.scores


def test_pandas_reads_the_table():
    pytest.importorskip("pandas")
    assert explained().to_dataframe().groupby("image").size().tolist() == [2, 2]


def test_without_pandas_a_table_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="the package pandas is not installed; `pip install pandas` adds it"):
        explained().to_dataframe()


def test_a_saved_result_is_read_back_whole(tmp_path: Path):
    result = fervis.explain(Linear(), images(), "lime", target=0, samples=20, superpixels="grid")
    path = result.save(tmp_path / "some" / "maps")
    assert path == tmp_path / "some" / "maps.npz"
    again = fervis.load_result(path)
    assert repr(again) == repr(result)
    assert again.arrays().keys() == result.arrays().keys()
    for name, values in result.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], values, name)
    for name in ("unit", "signed", "layers", "targets", "explainer", "pixel_unit"):
        assert getattr(again, name) == getattr(result, name)
    assert torch.equal(again.rows, result.rows)
    assert all(torch.equal(again.images[number], image) for number, image in result.images.items())
    assert again._repr_html_() == result._repr_html_()
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


def test_another_file_is_no_result(tmp_path: Path):
    np.savez(tmp_path / "other.npz", maps=np.zeros((1, 2, 2)))
    np.save(tmp_path / "one.npy", np.zeros(2))
    (tmp_path / "words.npz").write_text("no")
    np.savez(tmp_path / "object.npz", metadata=np.array([{}], dtype=object))
    for name, words in {
        "other.npz": "expected a file that result.save wrote",
        "one.npy": "expected an .npz file",
        "words.npz": "cannot be read as .npz without pickles",
        "object.npz": "cannot be read as .npz without pickles",
        "none.npz": "there is no such file",
        ".": "holds no answer",
    }.items():
        with pytest.raises(ConfigError, match=words):
            fervis.load_result(tmp_path / name)
