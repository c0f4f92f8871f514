import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fervis.core.faces import FER2013_CLASSES
from fervis.core.registry import build_plugin
from fervis.core.targets import class_index, resolve_targets
from fervis.datasets.image_folder import ImageFolder
from fervis.errors import ConfigError


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)


def names(root):
    return sorted(str(file.relative_to(root)) for file in root.rglob("*.png"))


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.mark.parametrize(("channels", "side"), [(1, 48), (3, 48), (1, 20)])
def test_pictures_of_the_asked_size_keep_every_pixel(channels, side, data, cache):
    shape = (side, side) if channels == 1 else (side, side, 3)
    pixels = {f"{name}/{n}.png": noise(n, *shape) for name in "ba" for n in range(3)}
    for name, image in pixels.items():
        save(data / name, image)
    (data / "a" / "notes.txt").write_text("no picture")
    (data / ".hidden").mkdir()
    for _ in ("decoded", "cached"):
        faces = ImageFolder(str(data), size=side, channels=channels).load(cache)
        expected = np.stack([pixels[name].reshape(side, side, channels) for name in sorted(pixels)])
        assert faces.images.dtype == torch.uint8
        assert np.array_equal(faces.images.numpy(), expected.transpose(0, 3, 1, 2))
        assert faces.classes == ("a", "b")
        assert faces.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert faces.rows.tolist() == list(range(6))


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "gif", "tif", "tiff", "pgm", "PNG"])
def test_lossless_kinds_of_files(ending, data, cache):
    image = noise(0, 48, 48)
    save(data / "a" / f"x.{ending}", image, **({"lossless": True} if ending == "webp" else {}))
    assert np.array_equal(ImageFolder(str(data)).load(cache).images[0, 0].numpy(), image)


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "JPG"])
def test_jpeg(ending, data, cache):
    save(data / "a" / f"x.{ending}", np.full((48, 48, 3), 77, np.uint8))
    assert ImageFolder(str(data)).load(cache).images.eq(77).all()


def one(image, data, cache, ending="png", **options):
    """The only face of a folder with this picture: [H,W] or [H,W,3]."""
    saved = {key: options.pop(key) for key in ("exif", "transparency") if key in options}
    save(data / "a" / f"x.{ending}", image, **saved)
    face = ImageFolder(str(data), **options).load(cache).images[0].numpy()
    return face[0] if len(face) == 1 else face.transpose(1, 2, 0)


def test_colour_becomes_grey_by_itu_r_601(data, cache):
    colour = noise(1, 48, 48, 3)
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(one(colour, data, cache).astype(float) - luma).max() <= 0.51


def test_grey_becomes_three_equal_channels(data, cache):
    grey = noise(2, 48, 48)
    assert np.array_equal(one(grey, data, cache, channels=3), np.repeat(grey[:, :, None], 3, 2))


def test_sixteen_bits_become_eight(data, cache):
    eight = noise(3, 48, 48)
    assert np.array_equal(one(eight.astype(np.uint16) * 257, data, cache), eight)


def test_palettes_are_resolved(data, cache):
    index = noise(4, 48, 48)
    image = Image.frombytes("P", (48, 48), index.tobytes())
    palette = noise(5, 256, 3)
    image.putpalette(palette.tobytes())
    assert np.array_equal(one(image, data, cache, channels=3), palette[index])


def test_what_is_transparent_becomes_white(data, cache):
    colour = noise(6, 48, 48, 4)
    colour[..., 3] = 255
    colour[:10, :, 3] = 0
    expected = colour[..., :3].copy()
    expected[:10] = 255
    assert np.array_equal(one(colour, data, cache, channels=3), expected)


def test_a_transparent_palette_entry_becomes_white(data, cache):
    index = noise(7, 48, 48) % 4
    image = Image.frombytes("P", (48, 48), index.tobytes())
    palette = noise(8, 256, 3)
    image.putpalette(palette.tobytes())
    palette[2] = 255
    assert np.array_equal(one(image, data, cache, channels=3, transparency=2), palette[index])


def test_the_exif_orientation_is_applied(data, cache):
    image = noise(9, 48, 48)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    assert np.array_equal(one(image, data, cache, exif=exif), np.rot90(image, -1))


@pytest.mark.parametrize("turned", [False, True])
def test_the_middle_of_the_longer_side_is_kept(turned, data, cache):
    wide = noise(10, 48, 80)
    image = wide.T.copy() if turned else wide
    middle = wide[:, 16:64]
    assert np.array_equal(one(image, data, cache), middle.T if turned else middle)


def test_resizing_keeps_the_aspect_and_does_not_alias(data, cache):
    stripes = np.zeros((96, 240), np.uint8)
    stripes[:, ::2] = 255  # the finest pattern there is: shrinking by two must give its mean
    face = one(stripes, data, cache).astype(int)
    assert abs(face[:, 1:-1] - 127.5).max() < 1.5
    shutil.rmtree(data)
    circle = (np.hypot(*(np.mgrid[:96, :144] - np.array([47.5, 71.5])[:, None, None])) < 40).astype(np.uint8) * 255
    face = one(circle, data, cache) > 127
    heights, widths = face.sum(0).max(), face.sum(1).max()
    assert (heights, widths) == (40, 40)


FER_WORDS = ["Anger", "disgusted", "fear", "Happiness", "sadness", "surprised", "neutral"]


def test_fer2013s_seven_keep_their_order_and_names(data, cache):
    for place, word in enumerate(FER_WORDS):
        save(data / word / "x.png", np.full((48, 48), place, np.uint8))
    faces = ImageFolder(str(data)).load(cache)
    assert faces.classes == FER2013_CLASSES
    assert faces.images[:, 0, 0, 0].tolist() == faces.labels.tolist()
    save(data / "contempt" / "x.png", np.full((48, 48), 7, np.uint8))
    faces = ImageFolder(str(data)).load(cache)
    assert faces.classes == (*FER2013_CLASSES, "contempt")
    assert faces.images[:, 0, 0, 0].tolist() == faces.labels.tolist()


def test_fewer_than_seven_stay_alphabetical_under_their_own_names(data, cache):
    for word in FER_WORDS[1:]:
        save(data / word / "x.png", noise(0, 48, 48))
    assert ImageFolder(str(data)).load(cache).classes == tuple(sorted(FER_WORDS[1:]))


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "validation", "testing"), ("train_set", "PublicTest", "PrivateTest")],
)
def test_split_folders_are_kept(train, val, test, data, cache):
    for split, (name, count) in enumerate(((train, 5), (val, 3), (test, 2))):
        for n in range(count):
            save(data / name / f"class{n % 2}" / f"{n}.png", np.full((48, 48), split * 100 + n, np.uint8))
    faces = ImageFolder(str(data), val_fraction=0.5, test_fraction=0.4).load(cache)
    assert faces.classes == ("class0", "class1")
    assert faces.splits.tolist() == (faces.images[:, 0, 0, 0] // 100).tolist()
    assert faces.labels.tolist() == (faces.images[:, 0, 0, 0] % 100 % 2).tolist()
    assert Counter(faces.splits.tolist()) == {0: 5, 1: 3, 2: 2}


def many(data, count=400):
    for n in range(count):
        save(data / f"c{n % 2}" / f"{n:03}.png", noise(n, 8, 8))


def test_drawn_splits_have_about_their_share_and_follow_the_seed(data, cache):
    many(data)
    faces = ImageFolder(str(data), size=8, val_fraction=0.2, test_fraction=0.3).load(cache)
    shares = np.bincount(faces.splits.numpy(), minlength=3) / 400
    # four standard deviations of a binomial share
    assert np.abs(shares - [0.5, 0.2, 0.3]).max() < 4 * np.sqrt(0.25 / 400)
    again = ImageFolder(str(data), size=8, val_fraction=0.2, test_fraction=0.3).load(cache)
    assert torch.equal(faces.splits, again.splits)
    other = ImageFolder(str(data), size=8, val_fraction=0.2, test_fraction=0.3, seed=1).load(cache)
    assert not torch.equal(faces.splits, other.splits)
    none = ImageFolder(str(data), size=8, val_fraction=0.0, test_fraction=0.0).load(cache)
    assert none.splits.eq(0).all()


def test_a_draw_depends_on_the_file_alone_and_never_parts_copies(data, cache):
    many(data, 60)
    before = dict(zip(names(data), ImageFolder(str(data), size=8).load(cache).splits.tolist(), strict=True))
    for name in list(before)[::2]:
        shutil.copy(data / name, data / "c1" / f"copy-{name.replace('/', '-')}")
        (data / name).rename(data / f"{name[:-4]}-renamed.png")
    for name in list(before)[1::4]:
        (data / name).unlink()
    after = dict(zip(names(data), ImageFolder(str(data), size=8).load(cache).splits.tolist(), strict=True))
    assert len(set(before.values())) == 3
    for name in list(before)[::2]:
        copy = f"c1/copy-{name.replace('/', '-')}"
        assert before[name] == after[f"{name[:-4]}-renamed.png"] == after[copy]
    assert all(after[name] == before[name] for name in list(before)[3::4])


def test_only_missing_splits_are_drawn_and_from_train_alone(data, cache):
    many(data / "train", 100)
    save(data / "test" / "c0" / "x.png", noise(1000, 8, 8))
    faces = ImageFolder(str(data), size=8, val_fraction=0.3, test_fraction=0.3).load(cache)
    counts = Counter(faces.splits.tolist())
    assert counts[2] == 1
    assert faces.splits[0] == 2  # test/ sorts before train/
    assert 10 < counts[1] < 50
    shutil.rmtree(data / "test")
    counts = Counter(ImageFolder(str(data), size=8, val_fraction=0.3, test_fraction=0.3).load(cache).splits.tolist())
    assert min(counts.values()) > 10
    assert len(counts) == 3


def test_another_size_or_channels_is_another_copy(data, cache):
    save(data / "a" / "x.png", noise(0, 48, 48, 3))
    shapes = [
        tuple(ImageFolder(str(data), size=size, channels=channels).load(cache).images.shape)
        for size, channels in ((48, 1), (24, 1), (48, 3))
    ]
    assert shapes == [(1, 1, 48, 48), (1, 1, 24, 24), (1, 3, 48, 48)]
    assert len(list(cache.glob("*.safetensors"))) == 3


DAMAGED = {
    "cut png": (".png", lambda held: held[:700], "the picture cannot be read"),
    "cut jpeg": (".jpg", lambda held: held[:700], "the picture cannot be read"),
    "empty": (".png", lambda held: b"", "the picture file is empty"),
    "text": (".png", lambda held: b"no picture", "no picture that Pillow can read"),
    "LFS pointer": (".jpg", lambda held: b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_picture_is_refused_by_name_and_reason(case, data, cache):
    ending, spoil, reason = DAMAGED[case]
    cache.mkdir()
    save(data / "a" / "good.png", noise(0, 48, 48))
    file = data / "b" / f"bad{ending}"
    save(file, noise(1, 48, 48))
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(ConfigError, match=rf"b/bad\{ending}: .*{reason}") as error:
        ImageFolder(str(data)).load(cache)
    assert "\n" not in str(error.value)
    assert list(cache.iterdir()) == []


def test_floating_point_pictures_have_no_range(data, cache):
    with pytest.raises(ConfigError, match=r"x\.tif: .*floating-point grey values have no known range"):
        one(np.zeros((48, 48), np.float32), data, cache, ending="tif")


def test_folders_that_are_no_class_folders_are_refused(data, cache):
    with pytest.raises(ConfigError, match=r"dataset\.path is empty"):
        ImageFolder().load(cache)
    with pytest.raises(ConfigError, match=r"data: there is no such file or folder"):
        ImageFolder(str(data)).load(cache)
    (data / "a").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"dataset\.path=.*data: no class folder holds a picture \(png, jpg, "):
        ImageFolder(str(data)).load(cache)
    save(data / "x.png", noise(0, 8, 8))
    with pytest.raises(ConfigError, match=r"the picture x\.png is in no folder named by its class\."):
        ImageFolder(str(data)).load(cache)
    with pytest.raises(ConfigError, match=r"x\.png: expected a folder of class folders, not a file"):
        ImageFolder(str(data / "x.png")).files()
    (data / "x.png").unlink()
    save(data / "train" / "x.png", noise(0, 8, 8))
    with pytest.raises(ConfigError, match=r"the picture train/x\.png is in no folder named by its class\."):
        ImageFolder(str(data)).load(cache)
    (data / "train" / "x.png").unlink()
    save(data / "train" / "a" / "x.png", noise(0, 8, 8))
    save(data / "more" / "a" / "x.png", noise(0, 8, 8))
    with pytest.raises(ConfigError, match=r"the folder more is next to folders named by splits"):
        ImageFolder(str(data)).load(cache)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"size": 0}, r"dataset\.size=0: "),
        ({"channels": 2}, r"dataset\.channels=2: expected 1 or 3\."),
        ({"val_fraction": 1.0}, r"dataset\.val_fraction=1\.0: "),
        ({"test_fraction": -0.1}, r"dataset\.test_fraction=-0\.1: "),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, r"expected a sum below 1"),
    ],
)
def test_wrong_knobs_are_refused(knobs, message):
    with pytest.raises(ConfigError, match=message):
        build_plugin("dataset", "image_folder", path="x", **knobs)


def test_faces_have_the_names_of_their_files(data, cache):
    for name in ("a/x.png", "a/deep/y.png", "b/x.png"):
        save(data / name, noise(0, 8, 8))
    faces = ImageFolder(str(data), size=8).load(cache)
    assert faces.names == ("a/deep/y.png", "a/x.png", "b/x.png")
    assert faces.take(torch.tensor([2, 0])).names == ("b/x.png", "a/deep/y.png")
    assert faces.take(faces.labels == 0).names == ("a/deep/y.png", "a/x.png")
    assert faces.joined([faces.take(torch.tensor([1]))]).names == (*faces.names, "a/x.png")
    assert replace(faces, names=None).fingerprint() == faces.fingerprint()


def test_every_broken_picture_is_named_at_once(data, cache):
    for n in range(15):
        save(data / "a" / f"{n:02}.png", noise(n, 8, 8))
    for n in (3, 5):
        (data / "a" / f"{n:02}.png").write_bytes(b"broken")
    with pytest.raises(
        ConfigError, match=r"^2 pictures cannot be used: .*03\.png: .*Pillow can read\); .*05\.png: "
    ) as error:
        ImageFolder(str(data), size=8).load(cache)
    assert "\n" not in str(error.value)
    for n in range(12):
        (data / "a" / f"{n:02}.png").write_bytes(b"")
    with pytest.raises(
        ConfigError, match=r"^12 pictures cannot be used: .*09\.png: the picture file is empty; and 2 more\."
    ):
        ImageFolder(str(data), size=8).load(cache)


@pytest.mark.parametrize("word", ["all", "auto", "predicted", "label"])
def test_a_class_with_a_name_that_target_keeps_for_something_else_is_refused(word, data, cache):
    save(data / "train" / "happy" / "x.png", noise(0, 8, 8))
    save(data / "train" / word / "x.png", noise(1, 8, 8))
    with pytest.raises(ConfigError, match=rf"the class folder {word} has a name that target= reserves"):
        ImageFolder(str(data)).load(cache)


def test_a_class_named_by_a_number_is_meant_by_that_number(data, cache):
    for number in range(1, 8):
        save(data / str(number) / "x.png", noise(number, 8, 8))
    faces = ImageFolder(str(data), size=8).load(cache)
    assert faces.classes == tuple("1234567")
    for spec in (1, "1", 7, "7"):
        targets = resolve_targets(spec, faces, faces.classes, torch.zeros(7, dtype=torch.int64))
        assert targets.shape == (7, 1)
        assert [faces.classes[target] for target in targets.flatten().tolist()] == [str(spec)] * 7
    assert class_index(0, faces.classes) == 0  # no class has this name
    assert class_index(2, ("a", "b", "c")) == 2
    with pytest.raises(ConfigError, match="target=8"):
        class_index(8, faces.classes)
