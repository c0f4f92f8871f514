import numpy as np
import pytest

from fervis.core.faces import FER2013_CLASSES
from fervis.datasets.portraits import render
from fervis.datasets.portraits.action_units import ACTION_UNIT_NAMES, CODEBOOK, draw_units
from fervis.datasets.portraits.anatomy import Person, brow, eye, jaw_drop, mouth
from fervis.datasets.portraits.identity import draw_identity
from fervis.datasets.portraits.paint_layers import REGIONS
from fervis.errors import ConfigError

# what EMFACS, FACS table 11-1 and Belharbi's codebook agree on (disgust: nose and upper lip)
CORE = {
    "angry": {"AU4", "AU7", "AU23"},
    "disgust": {"AU9", "AU10"},
    "fear": {"AU1", "AU2", "AU4", "AU5", "AU20", "AU25"},
    "happy": {"AU6", "AU12"},
    "sad": {"AU1", "AU4", "AU15"},
    "surprise": {"AU1", "AU2", "AU5", "AU26"},
    "neutral": set(),
}
# seen from the front, sharp and without noise
STUDIO = {"yaw": 0, "pitch": 0, "roll": 0, "scale": 1, "shift_x": 0, "shift_y": 0, "blur": 0, "noise": 0}


def generator(number):
    return np.random.default_rng((99, number))


def drawn(expression, number):
    units = draw_units(expression, generator(number))
    return {name: value for name, value in zip(ACTION_UNIT_NAMES, units, strict=True) if value > 0}


def test_the_codebook_has_the_seven_classes_in_their_order():
    assert set(CODEBOOK) == set(FER2013_CLASSES) == set(CORE)


@pytest.mark.parametrize("expression", FER2013_CLASSES)
def test_every_showing_has_the_units_all_sources_name_and_no_other_than_its_table(expression):
    for number in range(60):
        shown = drawn(expression, number)
        assert CORE[expression] <= set(shown)
        fits = [
            all(name in table and table[name].low <= value <= table[name].high for name, value in shown.items())
            for table in CODEBOOK[expression]
        ]
        assert any(fits), shown


def test_optional_units_come_with_their_chance():
    chance = CODEBOOK["disgust"][0]["AU16"].chance
    on = sum("AU16" in drawn("disgust", number) for number in range(600))
    assert abs(on - 600 * chance) < 4 * (600 * chance * (1 - chance)) ** 0.5


def test_every_expression_takes_as_much_chance_as_any_other():
    after = set()
    for expression in FER2013_CLASSES:
        source = generator(5)
        draw_units(expression, source)
        after.add(source.random())
    assert len(after) == 1


def moved(part, sign, **units):
    """How the numbers of a part change from rest to full intensity."""
    identity = draw_identity(0, 0, range(6))
    rest = np.zeros((6, len(ACTION_UNIT_NAMES)), np.float32)
    before, after = part(Person(identity, rest), sign), part(Person(identity, rest + render.units(**units)), sign)
    return {name: (getattr(after, name) - getattr(before, name)).ravel() for name in vars(before)}


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(
    ("part", "units", "name", "direction"),
    [
        (brow, {"AU1": 1}, "inner_lift", 1),
        (brow, {"AU2": 1}, "outer_lift", 1),
        (brow, {"AU4": 1}, "inner_lift", -1),
        (brow, {"AU4": 1}, "inner", -1),
        (eye, {"AU5": 1}, "upper", 1),
        (eye, {"AU7": 1}, "lower", -1),
        (eye, {"AU6": 1}, "lower", -1),
        (mouth, {"AU12": 1}, "corner", -1),
        (mouth, {"AU12": 1}, "half", 1),
        (mouth, {"AU15": 1}, "corner", 1),
        (mouth, {"AU20": 1}, "half", 1),
        (mouth, {"AU23": 1}, "half", -1),
        (mouth, {"AU24": 1}, "lip_upper", -1),
        (mouth, {"AU10": 1}, "gap_upper", 1),
        (mouth, {"AU16": 1}, "gap_lower", 1),
        (mouth, {"AU17": 1}, "middle", -1),
        (mouth, {"AU25": 1, "AU26": 1}, "gap_lower", 1),
    ],
)
def test_units_move_what_facs_says_they_move(part, units, name, direction, sign):
    assert (moved(part, sign, **units)[name] * direction > 0).all()


def test_the_jaw_drops_with_26_and_more_with_27():
    identity = draw_identity(0, 0, range(6))
    at = [
        jaw_drop(Person(identity, np.tile(render.units(**units), (6, 1))))
        for units in ({}, {"AU26": 1.0}, {"AU27": 1.0})
    ]
    assert (at[0] < at[1]).all()
    assert (at[1] < at[2]).all()


def test_a_person_depends_on_seed_split_and_number_alone():
    alone, among = draw_identity(3, 1, [5]), draw_identity(3, 1, range(9)).take([5])
    assert all(np.array_equal(alone.traits[name], among.traits[name]) for name in alone.traits)
    assert np.array_equal(alone.resting, among.resting)
    others = [draw_identity(*where) for where in ((4, 1, [5]), (3, 2, [5]), (3, 1, [6]))]
    assert all(other.traits["skin"] != alone.traits["skin"] for other in others)


def test_a_picture_does_not_depend_on_the_pictures_drawn_with_it():
    identity = draw_identity(0, 0, range(70))
    units = np.stack([draw_units(FER2013_CLASSES[k % 7], generator(k)) for k in range(70)])
    together = render.render(identity, units)
    for number in (0, 31, 32, 69):
        alone = render.render(identity.take([number]), units[number])
        assert np.array_equal(alone[0], together[number])


def test_the_evidence_is_the_difference_of_two_renders():
    identity = draw_identity(1, 0, range(35))
    units = np.stack([draw_units(FER2013_CLASSES[k % 7], generator(k)) for k in range(35)])
    pictures, _, evidence = render.render_with_truth(identity, units)
    at_rest = render.render(identity, render.units())
    assert np.array_equal(evidence, pictures != at_rest)
    shown = units.any(1)
    assert evidence[shown].any((1, 2)).all()
    assert not evidence[~shown].any()


@pytest.mark.parametrize(
    ("units", "rows"),
    [
        ({"AU1": 1.0}, slice(34, 48)),  # below the nose
        ({"AU2": 1.0}, slice(34, 48)),
        ({"AU5": 1.0}, slice(34, 48)),
        ({"AU4": 1.0}, slice(34, 48)),
        ({"AU15": 1.0}, slice(0, 20)),  # above the cheeks
        ({"AU16": 1.0}, slice(0, 20)),
        ({"AU17": 1.0}, slice(0, 20)),
        ({"AU20": 1.0}, slice(0, 20)),
        ({"AU24": 1.0}, slice(0, 20)),
        ({"AU25": 1.0, "AU26": 1.0}, slice(0, 20)),
    ],
)
def test_evidence_stays_in_its_half_of_the_face(units, rows):
    identity = draw_identity(2, 0, range(24)).but(**STUDIO)
    evidence = render.render_with_truth(identity, render.units(**units))[2]
    assert evidence.any((1, 2)).all()
    assert not evidence[:, rows].any()


def test_every_face_has_eyes_above_nose_above_mouth():
    identity = draw_identity(0, 2, range(140))
    units = np.stack([draw_units(FER2013_CLASSES[k % 7], generator(k)) for k in range(140)])
    regions = render.render_with_truth(identity, units, evidence=False)[1]
    rows = np.arange(48)[None, :, None]
    middle = []
    for name in ("eyes", "nose", "mouth"):
        there = regions == REGIONS.index(name)
        assert (there.sum((1, 2)) >= 10).all()
        middle.append((there * rows).sum((1, 2)) / there.sum((1, 2)))
    assert (middle[0] + 5 < middle[1]).all()
    assert (middle[1] + 5 < middle[2]).all()
    assert set(np.unique(regions)) == set(range(len(REGIONS)))
    assert abs(middle[0].mean() - 17) < 1.5
    assert abs(middle[2].mean() - 38) < 1.5


def test_open_mouths_are_dark_and_frowns_darken_the_glabella():
    identity = draw_identity(4, 0, range(16)).but(**STUDIO, beard=0, watermark=1, hat=1, glasses=1, skin=0.8)
    rest = render.render(identity, render.units()).astype(int)
    gaping = render.render(identity, render.units(AU25=1.0, AU26=1.0, AU27=1.0))
    frowning = render.render(identity, render.units(AU4=1.0))
    assert (gaping[:, 36:44, 20:28].min((1, 2)) < rest[:, 36:44, 20:28].min((1, 2)) - 20).mean() > 0.8
    assert (frowning[:, 10:15, 21:27].mean((1, 2)) < rest[:, 10:15, 21:27].mean((1, 2))).all()


@pytest.mark.parametrize("size", [24, 96])
def test_other_sizes_show_the_same_face(size):
    identity = draw_identity(0, 0, range(8)).but(**STUDIO)
    large = render.render(identity, render.units(AU12=1.0), size).astype(float)
    small = render.render(identity, render.units(AU12=1.0), 48).astype(float)

    def coarse(pictures):
        block = pictures.shape[1] // 12
        return pictures.reshape(len(pictures), 12, block, 12, block).mean((2, 4))

    assert large.shape == (8, size, size)
    for one, other in zip(coarse(large), coarse(small), strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9


def test_one_person_may_be_drawn_with_other_traits():
    person = draw_identity(0, 0, [3]).but(glasses=1.0)
    bare, wearing = (
        render.render(person, render.units()),
        render.render(person.but(glasses=0.01), render.units()),
    )
    changed = (bare != wearing)[0]
    assert changed.any()
    assert not changed[36:].any()


def test_unknown_names_and_impossible_values_are_refused():
    with pytest.raises(ConfigError, match=r"^action unit=AU3: .* Did you mean AU"):
        render.units(AU3=1.0)
    with pytest.raises(ConfigError, match=r"^trait=glases: .* Did you mean glasses"):
        draw_identity(0, 0, [0]).but(glases=1.0)
    with pytest.raises(ConfigError, match=r"^size=50: expected a multiple of 8"):
        render.render(draw_identity(0, 0, [0]), render.units(), 50)
    with pytest.raises(ConfigError, match=r"^action_units=0 to 1.5: expected 0 to 1"):
        render.render(draw_identity(0, 0, [0]), render.units(AU12=1.5))
