from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

import fervis
from fervis.core.network import Network
from fervis.errors import ConfigError
from fervis.models.predict import are_probabilities, check_logits, predict, predict_tta, predict_views, tta_views


def network(size=6, classes=3, channels=1):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inputs = channels * size * size
        body = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, classes)
        )
    names = tuple("abcdefg"[:classes])
    return Network(body, classes=names, channels=channels, size=size, mean=(0.5,) * channels, std=(0.2,) * channels)


def faces(count=5, size=6):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)


def test_none_and_flip():
    images = faces()
    assert [view.tolist() for view in tta_views(images, "none")] == [images.tolist()]
    plain, mirrored = tta_views(images, "flip")
    assert torch.equal(plain, images)
    assert mirrored[2, 0, 3].tolist() == images[2, 0, 3].tolist()[::-1]


def test_ten_crops_by_hand():
    image = torch.arange(20).view(1, 1, 4, 5)  # row r, column c holds 5 r + c
    crops = list(tta_views(image, "tencrop", crop=2))
    assert len(crops) == 10
    assert [crop[0, 0].tolist() for crop in crops[::2]] == [
        [[0, 1], [5, 6]],
        [[3, 4], [8, 9]],
        [[10, 11], [15, 16]],
        [[13, 14], [18, 19]],
        [[6, 7], [11, 12]],
    ]
    for crop, mirrored in zip(crops[::2], crops[1::2], strict=True):
        assert mirrored[0, 0].tolist() == [row[::-1] for row in crop[0, 0].tolist()]


def test_crops_of_48_are_44():
    assert {tuple(view.shape) for view in tta_views(torch.zeros(2, 1, 48, 48), "tencrop")} == {(2, 1, 44, 44)}


@pytest.mark.parametrize("crop", [0, 7])
def test_a_crop_that_does_not_fit_is_refused(crop):
    with pytest.raises(ConfigError, match=rf"^crop={crop}: expected a side from 1 to the images' 6 pixels\.$"):
        list(tta_views(faces(), "tencrop", crop=crop))


def test_an_unknown_kind_gets_the_nearest():
    with pytest.raises(ConfigError, match=r"^views=tencorp: .* Did you mean tencrop\?"):
        predict_views(network(), faces(), "tencorp")


def test_softmax_is_averaged_over_the_views():
    net, images = network().eval(), faces()
    pixels = images.float() / 255
    with torch.no_grad():
        expected = (net(pixels).softmax(1) + net(pixels.flip(-1)).softmax(1)) / 2
        of_logits = ((net(pixels) + net(pixels.flip(-1))) / 2).softmax(1)
        crops = sum(net(view).softmax(1) for view in tta_views(pixels, "tencrop", crop=5)) / 10
    found = predict_views(net, images, "flip")
    torch.testing.assert_close(found, expected)
    assert (found - of_logits).abs().max() > 1e-4
    torch.testing.assert_close(predict_views(net, images, "tencrop", crop=5), crops)
    torch.testing.assert_close(predict_views(net, images, "none"), net(pixels).softmax(1).detach())
    torch.testing.assert_close(found.sum(1), torch.ones(5))


def test_identities():
    net, images = network(), faces()
    torch.testing.assert_close(predict_views(net, images, "flip"), predict_views(net, images.flip(-1), "flip"))
    # Crops of the whole face are the face and its mirror image, five times each.
    torch.testing.assert_close(predict_views(net, images, "tencrop", crop=6), predict_views(net, images, "flip"))
    torch.testing.assert_close(predict_views(net, images, "tencrop", batch=2), predict_views(net, images, "tencrop"))


def test_the_network_is_left_as_it_was():
    net = network().train()
    _, _, norm, dropout, _ = net.body.children()
    norm.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = predict_views(net, faces(), "flip")
    assert net.training
    assert dropout.training
    assert not norm.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not found.requires_grad
    assert found.dtype == torch.float32
    assert torch.equal(found, predict_views(net, faces(), "flip"))  # no dropout


def test_grey_faces_for_a_network_of_colours():
    assert predict_views(network(channels=3), faces(), "tencrop").shape == (5, 3)


def test_a_quickened_network_predicts_what_the_network_does():
    net = fervis.load_model("vgg8", weights="fer2013")
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(40, 1, 6, 6, generator=generator)
    images = (255 * nn.functional.interpolate(coarse, (48, 48), mode="bicubic").clamp(0, 1)).round().byte()
    found = predict_tta(net, images, ["none", "tencrop"], batch=16)
    pixels = images.float() / 255
    with torch.no_grad():
        plain = net(pixels).softmax(1)
        crops = torch.stack([net(view).softmax(1) for view in tta_views(pixels, "tencrop")]).mean(0)
    for kind, expected in (("none", plain), ("tencrop", crops)):
        torch.testing.assert_close(found[kind], expected, atol=1e-5, rtol=0)
        assert torch.equal(found[kind].argmax(1), expected.argmax(1))
    assert len(plain.argmax(1).unique()) > 1


def test_several_kinds_look_once_at_the_face_itself(monkeypatch: pytest.MonkeyPatch):
    net, images = network(), faces(64)
    expected = {kind: predict_views(net, images, kind) for kind in ("none", "flip", "tencrop")}
    looked: list[int] = []
    forward = net.forward
    monkeypatch.setattr(net, "forward", lambda pixels: looked.append(len(pixels)) or forward(pixels))
    found = predict_tta(net, images, ("none", "flip", "tencrop"))
    assert looked.count(64) == 12
    for kind, answers in expected.items():
        assert torch.equal(found[kind], answers)


class InPlace(nn.Module):
    """Normalises its input in place, as many published networks do."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, images):
        images.sub_(0.5).div_(0.1)
        return self.head(images.flatten(1))


def test_the_callers_images_are_never_written_to():
    model, images = InPlace(), torch.rand(5, 1, 2, 2)
    before = images.clone()
    found = predict(model, images)
    assert torch.equal(images, before)
    with torch.no_grad():
        expected = model.head(((before - 0.5) / 0.1).flatten(1)).softmax(1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused(value):
    images = torch.rand(3, 1, 6, 6)
    images[1, 0, 2, 2] = value
    with pytest.raises(ConfigError, match=r"^images: image 1 holds values that are not finite"):
        predict(network(), images)
    with pytest.raises(ConfigError, match=r"^model: its logits are not finite .* for 1 of 2 images"):
        check_logits(torch.tensor([[0.0, value], [0.0, 1.0]]))
    broken = network()
    broken.body[1].weight.data[0, 0] = float("nan")
    with pytest.raises(ConfigError, match=r"^model: its logits are not finite .* for 5 of 5 images"):
        predict_views(broken, faces(), "none")


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ({"logits": torch.ones(2, 2)}, r"^model: its output is a dict, expected one tensor"),
        (torch.ones(2, 3, 4), r"^model: its output is \[2, 3, 4\], expected \[N,K\] logits"),
    ],
)
def test_an_output_that_is_no_logits_is_refused(output, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_logits(output)


def test_networks_that_end_in_a_softmax_are_named(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logging.getLogger("fervis"), "propagate", True)  # the command turns it off
    monkeypatch.setattr(logging.getLogger("fervis"), "level", logging.INFO)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, images = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), torch.rand(4, 1, 6, 6)
    predict(model, images)
    assert not caplog.records
    softmax = nn.Sequential(*model, nn.Softmax(1))
    found = predict(softmax, images)
    assert "its outputs sum to one in every row, so it ends in a softmax" in caplog.text
    predict(softmax, images)
    assert len(caplog.records) == 1, "each network is named once"
    assert not torch.allclose(found, predict(model, images))  # the second softmax flattens
    many = torch.rand(900, 7, generator=torch.Generator().manual_seed(0)).softmax(1)
    assert are_probabilities(many.bfloat16())
    assert are_probabilities(many.half())
    for logits in (torch.ones(3, 1), torch.tensor([[1.5, -0.5]]), torch.tensor([[0.2, 0.8], [0.3, 0.3]])):
        assert not are_probabilities(logits)
