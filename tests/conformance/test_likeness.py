"""Everything that compares vectors, against what the port says."""

import math
import random
import struct
from collections.abc import Callable

import pytest

from polyforge.adapters.likeness import matrix, plain
from polyforge.ports.likeness import Likeness, Vector

Make = Callable[[], Likeness]


@pytest.fixture(params=["matrix", "plain"])
def make(request: pytest.FixtureRequest) -> Make:
    made: dict[str, Make] = {
        "matrix": lambda: matrix.Matrix(matrix.Settings()),
        "plain": lambda: plain.Plain(plain.Settings()),
    }
    return made[request.param]


def vector(*values: float) -> Vector:
    return struct.pack(f"<{len(values)}f", *values)


def test_the_most_alike_come_first_whatever_their_length(make: Make) -> None:
    likeness = make()
    for place, each in enumerate([(1, 0), (0, 5), (30, 30), (-1, 0)]):
        likeness.put(place, vector(*each))
    found = likeness.nearest(vector(2, 0.1), 3)
    assert [place for place, _ in found] == [0, 2, 1]
    assert [alike for _, alike in found] == pytest.approx([0.99875, 0.74153, 0.04994], abs=1e-4)


def test_of_two_that_are_equal_the_first_comes_first(make: Make) -> None:
    likeness = make()
    for place in range(3):
        likeness.put(place, vector(1, 1))
    assert [place for place, _ in likeness.nearest(vector(1, 1), 2)] == [0, 1]


def test_a_place_that_is_taken_is_taken_over(make: Make) -> None:
    likeness = make()
    likeness.put(0, vector(1, 0))
    likeness.put(1, vector(0, 1))
    likeness.put(0, vector(0, 1))
    assert [alike for _, alike in likeness.nearest(vector(1, 0), 9)] == pytest.approx([0, 0])
    assert likeness.nbytes == 2 * len(vector(0, 1))


@pytest.mark.parametrize("nowhere", [(0.0, 0.0), (math.nan, 1.0), (math.inf, 1.0)])
def test_what_has_no_direction_is_like_nothing(make: Make, nowhere: tuple[float, float]) -> None:
    likeness = make()
    likeness.put(0, vector(*nowhere))
    likeness.put(1, vector(1, 0))
    assert likeness.nearest(vector(1, 0), 2) == [(1, pytest.approx(1)), (0, pytest.approx(0))]
    assert [alike for _, alike in likeness.nearest(vector(*nowhere), 2)] == pytest.approx([0, 0])


def test_nothing_is_like_anything_where_there_is_nothing(make: Make) -> None:
    assert make().nearest(vector(1, 0), 5) == []
    assert make().nbytes == 0


def test_all_find_the_same() -> None:
    random.seed(7)
    one, other = matrix.Matrix(matrix.Settings()), plain.Plain(plain.Settings())
    for place in range(50):
        each = vector(*(random.gauss(0, 1) for _ in range(16)))
        one.put(place, each)
        other.put(place, each)
    asked = vector(*(random.gauss(0, 1) for _ in range(16)))
    found, expected = one.nearest(asked, 5), other.nearest(asked, 5)
    assert [place for place, _ in found] == [place for place, _ in expected]
    assert [alike for _, alike in found] == pytest.approx([alike for _, alike in expected], abs=1e-5)
