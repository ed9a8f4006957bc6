"""The scene checker: its verdicts on hand-made things, its decoding on planted maps, and the shipped one on scenes."""

import subprocess
import sys
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from small_scenes import scene_set

from crossviz.errors import GeometryError, ModelUnavailableError
from crossviz.models.dalle_load import CHECKER, FOLDER
from crossviz.scenes.checker import SceneChecker, load_checker
from crossviz.scenes.checker_network import KINDS, OFFSET, STRIDE, CheckerNetwork, Maps, pool, to_input
from crossviz.scenes.found import Found, FoundScene
from crossviz.scenes.reading import read
from crossviz.scenes.render import SIDE
from crossviz.scenes.things import CLEAR
from crossviz.scenes.verdict import verdict
from crossviz.scenes.vocabulary import FLOORS, MOODS


def thing(said: str, x: float = 0.0, y: float = 0.0) -> Found:
    size, colour, material, shape = said.split()
    return Found(shape, colour, size, material, x, y, np.zeros((2, 2), bool))


def scene(*things: Found, floor: str = "grey", mood: str = "day") -> FoundScene:
    return FoundScene(things, floor, mood)


def judged(caption: str, *things: Found, **about: str):
    return verdict(read(caption), scene(*things, **about))


RED, BLUE = thing("small red matte cube", -1, 0), thing("large blue metal sphere", 1, 0)


def test_what_is_as_asked_has_no_fault():
    said = judged("a small red cube left of a metal sphere on a grey floor by day", RED, BLUE)
    assert said.asked and not said.faults and not said.scene_faults
    assert said.found == ("a small red matte cube", "a large blue metal sphere", "a grey floor by day")
    assert said.groups == (0, 1)
    assert said.as_mapping() == {"asked": True, "found": list(said.found), "faults": []}


@pytest.mark.parametrize(
    ("caption", "fault"),
    [
        ("a small red cube", "There is a large blue metal sphere too many."),
        ("a red cube and a blue sphere and a ring", "A ring is missing."),
        ("two red cubes and a blue sphere", "A red cube is missing."),
        ("a green cube and a sphere", "There is a small red matte cube where a green cube is asked for."),
        ("an orange cube and a sphere", "There is a small red matte cube where an orange cube is asked for."),
        ("a large cube and a sphere", "There is a small red matte cube where a large cube is asked for."),
        ("a metal cube and a sphere", "There is a small red matte cube where a metal cube is asked for."),
        ("a cone and a sphere", "There is a small red matte cube where a cone is asked for."),
        ("a cube right of a sphere", "The small red matte cube does not lie right of the large blue metal sphere."),
        (
            "a cube in front of a sphere",
            "The small red matte cube does not lie in front of the large blue metal sphere.",
        ),
    ],
)
def test_each_thing_that_is_otherwise_is_said(caption, fault):
    said = judged(caption, RED, BLUE)
    assert not said.asked
    assert said.faults == (fault,)


def test_floor_and_mood_count_where_they_are_stated():
    said = judged("a cube and a sphere on a pink floor at night", RED, BLUE, floor="blue", mood="sunset")
    assert said.faults == () and not said.asked
    assert said.scene_faults == ("The floor is blue, not pink.", "It is sunset, not night.")
    assert said.as_mapping()["faults"] == list(said.scene_faults)
    assert judged("a cube and a sphere", RED, BLUE, floor="blue", mood="sunset").asked


@pytest.mark.parametrize(
    ("relation", "dx", "dy"), [("left of", -1, 0), ("right of", 1, 0), ("in front of", 0, -1), ("behind", 0, 1)]
)
def test_a_relation_holds_beyond_half_of_what_the_renderer_keeps_between_things(relation, dx, dy):
    caption = f"a cube {relation} a sphere"
    for far, right in ((CLEAR / 2 + 0.01, True), (CLEAR / 2 - 0.01, False), (-CLEAR, False)):
        assert judged(caption, thing("small red matte cube", dx * far, dy * far), replace(BLUE, x=0.0)).asked is right


def test_every_thing_of_the_first_group_is_held_against_every_one_of_the_second():
    caption = "two cubes left of two spheres"
    cubes = [thing("small red matte cube", x) for x in (-2, -1)]
    balls = [thing("small red matte sphere", x) for x in (0, 1)]
    assert judged(caption, *cubes, *balls).asked
    assert not judged(caption, cubes[0], replace(cubes[1], x=-0.2), *balls).asked
    assert not judged(caption, *cubes, replace(balls[0], x=-1.1), balls[1]).asked


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_order_of_what_was_found_does_not_matter(order):
    things = [
        thing("small red matte cube", -2),
        thing("large red metal cube", -1),
        thing("small red metal cube", 1.5),
        thing("small green matte ring", 0),
    ]
    said = judged("two red cubes left of a small metal cube and a ring", *(things[k] for k in order))
    assert said.asked, said.faults
    assert tuple(said.groups) == tuple((0, 0, 1, 2)[k] for k in order)


def test_open_attributes_go_to_whom_they_suit():
    # Only one of the cubes is blue, so the other must be "a cube", though it was found first.
    said = judged("a cube behind a blue cube", thing("small blue matte cube"), thing("small red matte cube", 0, 2))
    assert said.asked and said.groups == (1, 0)


def test_a_verdict_needs_no_renderer():
    code = "import sys, crossviz.scenes.verdict; print('crossviz.scenes.render' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"


def test_nothing_found_and_too_many_found_are_judged():
    assert judged("two cubes", *()).faults == ("A cube is missing.",) * 2
    many = [thing("small red matte cube", k) for k in range(8)]
    said = judged("three red cubes and a ring", *many)
    assert len(said.faults) == 5 and sum(group is None for group in said.groups) == 4


def planted(masks: np.ndarray, kinds: np.ndarray, places: np.ndarray) -> Maps:
    """Maps that say exactly this of one picture, written pixel by pixel: masks `thing side side`, kinds `thing 4`."""
    small = SIDE // STRIDE
    centres = torch.full((1, small, small), -6.0)
    logits = torch.zeros(1, sum(map(len, KINDS.values())), small, small)
    where, offsets = torch.zeros(1, 2, small, small), torch.zeros(1, 2, SIDE, SIDE)
    front = torch.full((1, SIDE, SIDE), -4.0)
    for mask, kind, place in zip(masks, kinds, places, strict=True):
        rows, columns = np.nonzero(mask)
        y, x = rows.mean() + 0.5, columns.mean() + 0.5
        centres[0, int(y // STRIDE), int(x // STRIDE)] = 3.0
        for row, column in zip(rows, columns, strict=True):
            front[0, row, column] = 4.0
            offsets[0, :, row, column] = torch.tensor([x - column - 0.5, y - row - 0.5]) / OFFSET
            start = 0
            for words, number in zip(KINDS.values(), kind, strict=True):
                logits[0, start + int(number), row // STRIDE, column // STRIDE] += 1.0
                start += len(words)
            where[0, :, row // STRIDE, column // STRIDE] = torch.from_numpy(place)
    floors, moods = torch.eye(len(FLOORS))[2:3], torch.eye(len(MOODS))[1:2]
    return Maps(centres, logits, where, front, offsets, floors, moods)


class Planted(CheckerNetwork):
    """Says it of a picture that is bright on the left, and its mirror image of one that is bright on the right."""

    def __init__(self, masks: np.ndarray, kinds: np.ndarray, places: np.ndarray) -> None:
        super().__init__()
        self.plain = planted(masks, kinds, places)
        self.mirrored = planted(masks[:, :, ::-1], kinds, places * np.array([-1, 1], np.float32))

    def forward(self, pictures):
        return self.plain if pictures[..., 0].mean() > pictures[..., -1].mean() else self.mirrored


def read_from(masks: np.ndarray, kinds: np.ndarray, places: np.ndarray) -> FoundScene:
    picture = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    picture[:, :, : SIDE // 2] = 200
    (found,) = SceneChecker(Planted(masks, kinds, places)).find(picture)
    return found


def test_maps_are_read_as_what_they_say():
    squares = [(10, 8, 20, 20), (50, 40, 30, 25), (70, 71, 12, 12)]
    masks = np.zeros((3, SIDE, SIDE), bool)
    for mask, (y, x, high, wide) in zip(masks, squares, strict=True):
        mask[y : y + high, x : x + wide] = True
    masks[1][masks[2]] = False
    kinds = np.array([[0, 3, 1, 0], [4, 0, 0, 1], [2, 7, 1, 1]])
    places = np.array([[-1.5, 0.5], [0.25, -1.0], [1.0, -2.0]], np.float32)
    found = read_from(masks, kinds, places)
    assert (found.floor, found.mood) == (FLOORS[2], MOODS[1])
    assert len(found) == 3
    for number, one in enumerate(found):  # planted from far to near
        assert (one.mask == masks[number]).all()
        assert [words.index(getattr(one, name)) for name, words in KINDS.items()] == kinds[number].tolist()
        assert (one.x, one.y) == pytest.approx(places[number], abs=0.05)
        assert one.certainty == pytest.approx(torch.tensor(3.0).sigmoid().item())


def test_a_centre_that_hardly_a_pixel_points_to_is_none():
    masks = np.zeros((2, SIDE, SIDE), bool)
    masks[0, 20:50, 20:50] = True
    masks[1, 80:83, 80:83] = True  # 9 pixels
    found = read_from(masks, np.zeros((2, 4), int), np.zeros((2, 2), np.float32))
    assert len(found) == 1
    assert (found[0].mask[:60] == masks[0, :60]).all()


def test_an_empty_picture_has_no_things():
    found = read_from(np.zeros((0, SIDE, SIDE), bool), np.zeros((0, 4), int), np.zeros((0, 2), np.float32))
    assert len(found) == 0


def test_pooling_is_the_mean_over_the_mask():
    torch.manual_seed(0)
    values = torch.rand(2, 3, SIDE // STRIDE, SIDE // STRIDE)
    masks = torch.rand(2, 4, SIDE, SIDE) < 0.1
    got = pool(values, masks)
    for b in range(2):
        for t in range(4):
            rows, columns = masks[b, t].nonzero(as_tuple=True)
            expected = values[b, :, rows // STRIDE, columns // STRIDE].mean(1)
            assert torch.allclose(got[b, t], expected, atol=1e-5)


@pytest.fixture(scope="module")
def checker():
    return load_checker(FOLDER / CHECKER)


@pytest.fixture(scope="module")
def scenes():
    return scene_set(60, seed=77, totals=(1, 2, 2, 3, 4))


def test_the_shipped_checker_reads_new_scenes(checker, scenes):
    right = asked = 0
    overlaps = []
    for row, found in enumerate(checker.find(scenes.pixels)):
        rows = scenes.things[row][scenes.things[row, :, 0] >= 0]
        expected = sorted(tuple(int(n) for n in one[:4]) for one in rows)
        got = sorted(tuple(words.index(getattr(one, name)) for name, words in KINDS.items()) for one in found)
        right += got == expected
        asked += verdict(read(scenes.captions[row]), found).asked
        for number in range(1, len(rows) + 1):
            mask = scenes.owner[row] == number
            overlaps.append(max(((one.mask & mask).sum() / (one.mask | mask).sum() for one in found), default=0.0))
    assert right >= 57
    assert asked >= 57
    assert np.mean(overlaps) > 0.85


def test_it_says_where_things_stand(checker, scenes):
    errors = []
    for row, found in enumerate(checker.find(scenes.pixels)):
        true = scenes.things[row][scenes.things[row, :, 0] >= 0]
        if len(found) == len(true):
            errors += [min(abs(one.x - t[4]) + abs(one.y - t[5]) for one in found) for t in true]
    assert np.median(errors) < CLEAR / 2


def test_a_picture_is_read_alike_in_any_batch(checker, scenes):
    together = checker.find(scenes.pixels[:5])
    for row in range(5):
        (alone,) = checker.find(torch.from_numpy(scenes.pixels[row : row + 1]))
        assert (alone.floor, alone.mood) == (together[row].floor, together[row].mood)
        for a, b in zip(alone, together[row], strict=True):
            assert (a.shape, a.colour, a.size, a.material) == (b.shape, b.colour, b.size, b.material)
            assert (a.mask != b.mask).mean() < 1e-3
    assert checker.find(scenes.pixels[:0]) == []


def test_the_network_sees_pixels_from_minus_one_to_one():
    pictures = torch.tensor([0, 255, 51], dtype=torch.uint8).repeat(1, 16, 16, 1)
    assert to_input(pictures)[0, :, 3, 5].tolist() == pytest.approx([-1, 1, -0.6])


@pytest.mark.parametrize(
    "pictures",
    [
        torch.zeros(1, SIDE, SIDE, 3),
        torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8),
        torch.zeros(SIDE, SIDE, 3, dtype=torch.uint8),
        torch.zeros(2, 64, 64, 3, dtype=torch.uint8),
    ],
)
def test_other_pictures_are_refused(checker, pictures):
    with pytest.raises(GeometryError, match="batch 96 96 3"):
        checker.find(pictures)


def test_a_missing_or_damaged_file_is_said(tmp_path):
    with pytest.raises(ModelUnavailableError, match="missing"):
        load_checker(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ModelUnavailableError, match="damaged"):
        load_checker(tmp_path / "broken.safetensors")
