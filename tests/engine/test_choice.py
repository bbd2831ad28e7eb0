"""The mirror of the paper's rule, against a search of the whole grid; the rule has its own tests."""

from hypothesis import given
from hypothesis import strategies as st

from benchmark.engine.choice import most_robust
from benchmark.records.records import Count

N, REFERENCE = 1000, 500
NEAR = st.integers(-4, 4).map(lambda away: REFERENCE + away)


@given(st.lists(st.tuples(NEAR, NEAR), min_size=1, max_size=8))
def test_the_mirror_equals_the_whole_grid(curve):
    """The best robust accuracy of the points that lose at most one clean answer of a thousand, the
    first on a tie; no other point is attacked, and where none is left there is none."""
    asked = []

    def robust(place):
        asked.append(place)
        return Count(k=curve[place][1], n=N)

    grid, reference = range(len(curve)), Count(k=REFERENCE, n=N)
    best, (cleans, robusts) = most_robust(
        grid, lambda place: Count(k=curve[place][0], n=N), robust, reference, 0.001
    )
    left = [place for place in grid if curve[place][0] >= REFERENCE - 1]
    assert asked == left == list(robusts)
    assert [cleans[place].k for place in grid] == [clean for clean, _ in curve]
    if not left:
        assert best is None
        return
    top = max(curve[place][1] for place in left)
    assert best == next(place for place in left if curve[place][1] == top)
