"""Scenes: their solids, pictures and masks against geometry, what captions ask for, and how they are read."""

from dataclasses import replace

import numpy as np
import pytest

from crossviz.errors import CaptionError
from crossviz.scenes import vocabulary
from crossviz.scenes.camera import draw_camera
from crossviz.scenes.captions import UNSEEN, draw_request, write
from crossviz.scenes.layout import NoRoomError, draw_scene
from crossviz.scenes.light import draw_light
from crossviz.scenes.reading import EXAMPLE, MAX_THINGS, MAX_WORDS, read
from crossviz.scenes.render import RADII, SIDE, render
from crossviz.scenes.solids import REACH, SOLIDS
from crossviz.scenes.things import CLEAR, Group, Request, Scene, Thing, groups_of
from crossviz.words import split_words


def bare(request: Request) -> Request:
    groups = tuple(replace(group, words=()) for group in request.groups)
    return replace(request, groups=groups, relation_word=None, floor_word=None, mood_word=None)


def grown(mask: np.ndarray) -> np.ndarray:
    """A mask and the pixels around it."""
    wide = np.pad(mask, 1)
    return np.any([np.roll(wide, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)], 0)[1:-1, 1:-1]


def drawn(rng: np.random.Generator, total: int, relation: str | None = None):
    """A request for so many things, with its scene and picture; those that there is no room for are passed over."""
    while True:
        request = draw_request(rng, total)
        if relation is not None:
            request = replace(request, relation=relation)
        try:
            if relation is None or len(request.groups) > 1:
                return request, *draw_scene(request, rng)
        except NoRoomError:
            continue


def camera_of(scene: Scene):
    rng = np.random.default_rng(scene.seed)
    draw_light(scene.mood, rng)
    return draw_camera(rng)


@pytest.mark.parametrize("shape", SOLIDS)
def test_a_solid_stands_on_the_floor_within_reach_and_rays_never_step_through_it(shape):
    rng = np.random.default_rng(0)
    p = rng.uniform(-2.2, 2.2, (3, 20_000)).astype(np.float32)
    q = p + rng.normal(0, 0.3, p.shape).astype(np.float32)
    at_p, at_q = SOLIDS[shape](p), SOLIDS[shape](q)
    assert (np.abs(at_p - at_q) <= np.linalg.norm(p - q, axis=0) + 1e-5).all()
    inside = p[:, at_p < 0]
    assert inside.shape[1] > 100
    assert inside[2].min() > -1e-5
    assert inside[2].min() < 0.15
    assert np.linalg.norm(inside - np.array([[0], [0], [1]]), axis=0).max() <= REACH


def test_the_cameras_box_holds_the_ball():
    rng = np.random.default_rng(1)
    for _ in range(50):
        camera, radius = draw_camera(rng), rng.uniform(0.5, 1.05)
        centre = np.array([rng.uniform(-2.3, 2.3), rng.uniform(-2.6, 2.2), radius])
        ways = rng.normal(size=(3, 400))
        points = centre[:, None] + radius * ways / np.linalg.norm(ways, axis=0)
        right, down, ahead = camera.axes @ (points - camera.place[:, None])
        x, y = camera.focal * right / ahead + 0.5, camera.focal * down / ahead + 0.5
        x0, y0, x1, y1 = camera.box(centre, radius)
        assert (x0 <= x.min()) & (x.max() <= x1) & (y0 <= y.min()) & (y.max() <= y1)


def test_masks_of_spheres_are_those_of_exact_geometry():
    things = (
        Thing("sphere", "red", "large", "matte", -0.3, 0.6),
        Thing("sphere", "blue", "small", "metal", 0.4, -1.4),
        Thing("sphere", "green", "large", "metal", 1.5, 0.2),
    )
    scene = Scene(things, "grey", "day", 4)
    picture, camera = render(scene), camera_of(scene)
    rays = camera.rays(2 * SIDE).astype(np.float64)
    depths = [np.where(rays[2] < 0, -camera.place[2] / np.minimum(rays[2], -1e-9), 1e6)]  # the floor, or the sky
    for thing in things:
        radius = RADII[thing.size]
        to = np.array([thing.x, thing.y, radius]) - camera.place
        middle = to @ rays
        root = radius**2 - (to @ to - middle**2)
        depths.append(np.where(root > 0, middle - np.sqrt(np.maximum(root, 0)), np.inf))
    owner = np.argmin(depths, 0).reshape(SIDE, 2, SIDE, 2)
    for number, mask in enumerate(picture.masks, 1):
        rays_of = (owner == number).sum((1, 3))  # of the four rays of each pixel
        assert mask[rays_of >= 3].all()
        assert not mask[rays_of == 0].any()
        assert mask[rays_of == 1].sum() <= 0.01 * mask.sum()  # marching stops a little before the surface
        whole = np.isfinite(depths[number]).sum()
        assert picture.seen[number - 1] == pytest.approx((owner == number).sum() / whole, abs=0.02)


def test_masks_are_what_each_thing_alone_shows_less_what_stands_before_it():
    rng, overlaps = np.random.default_rng(2), 0
    for _ in range(12):
        _, scene, picture = drawn(rng, 3)
        alone = np.stack([render(replace(scene, things=(thing,))).masks[0] for thing in scene.things])
        assert picture.masks.sum(0).max() == 1
        for number, mask in enumerate(picture.masks):
            others = np.any([grown(other) for k, other in enumerate(alone) if k != number], 0)
            assert (mask[~others] == alone[number][~others]).all()
            assert not mask[~grown(alone[number])].any()
            assert picture.seen[number] == pytest.approx(mask.sum() / alone[number].sum(), abs=0.12)
        for a in range(len(alone)):
            for b in range(a):
                both = alone[a] & alone[b]
                overlaps += int(both.any())
                clear = both & ~np.any([grown(alone[k]) for k in range(len(alone)) if k not in (a, b)], axis=0)
                assert (picture.masks[a] | picture.masks[b])[clear].all()
    assert overlaps >= 3


def test_what_stands_nearer_covers_what_is_behind():
    near, far = Thing("cube", "red", "large", "matte", 0, -1.0), Thing("cylinder", "blue", "small", "matte", 0.8, 1)
    for things in ((near, far), (far, near)):
        picture = render(Scene(things, "white", "sunset", 0))
        alone = render(Scene((near,), "white", "sunset", 0)).masks[0]
        assert picture.seen[things.index(near)] == 1
        assert picture.seen[things.index(far)] < 0.9
        differ = picture.masks[things.index(near)] ^ alone
        assert differ.sum() <= 0.05 * alone.sum()  # pixels on its edge


@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
@pytest.mark.parametrize("shape", vocabulary.SHAPES)
def test_a_thing_has_its_colour(colour, channel, shape):
    picture = render(Scene((Thing(shape, colour, "large", "matte"),), "grey", "day", 7))
    mean = picture.pixels[picture.masks[0]].mean(0)
    assert mean.argmax() == channel
    assert mean[channel] > 1.3 * np.delete(mean, channel).max()


def test_a_scene_is_drawn_the_same_each_time_and_otherwise_by_another_seed():
    rng = np.random.default_rng(3)
    scene, picture = draw_scene(read("a small red metal cube and a large blue ring"), rng)
    again = render(scene)
    assert (again.pixels == picture.pixels).all() and (again.masks == picture.masks).all()
    assert (render(replace(scene, seed=scene.seed + 1)).pixels != picture.pixels).any()


@pytest.mark.parametrize("relation", ["left", "right", "front", "behind"])
def test_scenes_are_as_asked_for(relation):
    rng = np.random.default_rng(5)
    for total in (2, 3, 4):
        request, scene, picture = drawn(rng, total, relation)
        of = groups_of(request)
        assert len(scene.things) == total == len(of)
        for thing, group in zip(scene.things, (request.groups[number] for number in of), strict=True):
            for name in ("shape", "colour", "size", "material"):
                assert getattr(group, name) in (None, getattr(thing, name))
        assert request.floor in (None, scene.floor) and request.mood in (None, scene.mood)
        for a in (thing for thing, group in zip(scene.things, of, strict=True) if group == 0):
            for b in (thing for thing, group in zip(scene.things, of, strict=True) if group == 1):
                gaps = {"left": b.x - a.x, "right": a.x - b.x, "front": b.y - a.y, "behind": a.y - b.y}
                assert gaps[relation] >= CLEAR
        assert (picture.seen >= 0.5).all()
        assert (picture.masks.sum((1, 2)) >= 40).all()
        assert not picture.masks[:, [0, -1]].any() and not picture.masks[:, :, [0, -1]].any()  # none is cut off


def test_what_is_written_is_read_back():
    rng = np.random.default_rng(6)
    seen = set()
    for number in range(1500):
        request = draw_request(rng, unseen=number % 3 == 0)
        caption = write(request, rng)
        got = read(caption)
        assert bare(got) == request, caption
        assert len(split_words(caption)) <= MAX_WORDS
        seen.add((sum(group.count for group in request.groups), request.relation, request.floor, request.mood))
        for group in got.groups:
            said = [caption[slice(*split_words(caption)[word])] for word in group.words]
            assert vocabulary.meanings()[said[-1]] == group.shape
            assert vocabulary.COUNTS[vocabulary.meanings()[said[0]]] == group.count
            asked = {word for word in (group.size, group.colour, group.material) if word is not None}
            assert {vocabulary.meanings()[word] for word in said[1:-1]} == asked
    assert {total for total, *_ in seen} == {1, 2, 3, 4}
    assert {relation for _, relation, *_ in seen} == {None, "left", "right", "front", "behind"}


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (EXAMPLE, Request((Group(2, "sphere", "green", "small"), Group(1, "cube", "red", "large")), "left", "blue")),
        ("A Shiny violet ball.", Request((Group(1, "sphere", "purple", None, "metal"),))),
        ("the big box right of one torus", Request((Group(1, "cube", None, "large"), Group(1, "ring")), "right")),
        ("two toruses", Request((Group(2, "ring"),))),
        ("3 tiny drums in front of a rubber donut at dusk on the gray ground",
         Request((Group(3, "cylinder", None, "small"), Group(1, "ring", material="matte")), "front", "grey", "sunset")),
        ("a cone on the left of a cube and a ball by day",
         Request((Group(1, "cone"), Group(1, "cube"), Group(1, "sphere")), "left", None, "day")),
    ],
)  # fmt: skip
def test_other_words_for_the_same_are_read(caption, expected):
    assert bare(read(caption)) == expected


def test_a_request_knows_which_words_say_it():
    caption = "3 tiny drums to the right of an orange box at dusk on the gray ground"
    request, words = read(caption), caption.split()
    said = (request.relation_word, request.floor_word, request.mood_word)
    assert [words[at] for at in said] == ["right", "gray", "dusk"]
    assert (request.relation, request.floor, request.mood) == ("right", "grey", "sunset")
    told = [words[at] for at in request.telling()]
    assert told == ["3", "tiny", "drums", "right", "an", "orange", "box", "dusk", "gray"]
    bare_of_all = read("a blue ring and a cone")
    assert (bare_of_all.relation_word, bare_of_all.floor_word, bare_of_all.mood_word) == (None,) * 3
    assert bare_of_all.telling() == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("", "empty"),
        (" ... ", "no word"),
        ("a giraffe", "does not know “giraffe”"),
        ("a red giraffe and a wombat beside a cube", "does not know “giraffe”, “wombat” and “beside”"),
        ("a red cubee", "Did you mean “cube”?"),
        ("two red cube", "“cube” does not agree"),
        ("a red cubes", "“cubes” does not agree"),
        ("red cube", "“red” stands where"),
        ("a red blue cube", "“blue” is a second colour"),
        ("a red", "ends before it names a thing"),
        ("a cube left of", "ends before it says"),
        ("three cubes and two spheres", "5 things"),
        ("a cube behind a ring in front of a cone", "“in” says where things lie"),
        ("a cube and a ring behind", "“behind” says where things lie"),
        ("a cube and a ring and a cone and a sphere", "a group too many"),
        ("a cube on a red floor", "must be followed by"),
        ("a cube at night by day", "can't follow there"),
        ("a cube on a blue floor on a green floor", "can't follow there"),
        ("a " * (MAX_WORDS + 1), f"{MAX_WORDS + 1} words"),
    ],
)
def test_a_caption_that_cannot_be_drawn_says_why(caption, said):
    with pytest.raises(CaptionError) as caught:
        read(caption)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unseen_pairs_are_drawn_only_when_asked_for():
    rng = np.random.default_rng(8)
    for _ in range(3000):
        assert not {(group.colour, group.shape) for group in draw_request(rng).groups} & UNSEEN
    drawn = set()
    for _ in range(400):
        asked = {(group.colour, group.shape) for group in draw_request(rng, unseen=True).groups}
        assert asked & UNSEEN
        drawn |= asked & UNSEEN
    assert drawn == UNSEEN
    for _ in range(25):  # nor where the caption leaves the colour open
        shape = ("cone", "ring", "cylinder", "cube")[int(rng.integers(4))]
        scene, _ = draw_scene(Request((Group(2, shape, None, "small"),)), rng)
        assert not {(thing.colour, thing.shape) for thing in scene.things} & UNSEEN


def test_a_request_asks_for_as_many_as_told():
    rng = np.random.default_rng(9)
    for total in range(1, MAX_THINGS + 1):
        assert {sum(group.count for group in draw_request(rng, total).groups) for _ in range(50)} == {total}
