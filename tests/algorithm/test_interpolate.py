"""Interpolation between two state dicts, and alpha* against a search of the whole grid."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.algorithm.interpolate import best_alpha
from benchmark.algorithm.protocols import Interpolation
from benchmark.engine.choice import satisfies
from benchmark.engine.weights import interpolate
from benchmark.records.records import Count

GRID = Interpolation().grid
TOLERANCE = Interpolation().tolerance


def state(seed, batches):
    """A small state dict with a counter of batches."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "bn.running_var": torch.rand(4, generator=generator),
        "bn.num_batches_tracked": torch.tensor(batches),
    }


@pytest.fixture
def start():
    """Weights at alpha = 0."""
    return state(0, 10)


@pytest.fixture
def end():
    """Weights at alpha = 1."""
    return state(1, 21)


class TestInterpolate:
    """Equation 9."""

    @pytest.mark.parametrize("alpha", [0, 0.0, 1, 1.0])
    def test_ends_are_exact(self, start, end, alpha):
        """Both ends are copies of what went in, to the last bit."""
        result, origin = interpolate(start, end, alpha), (end if alpha else start)
        assert list(result) == list(origin)
        for name, tensor in origin.items():
            assert torch.equal(result[name], tensor)
            assert result[name].dtype == tensor.dtype
            assert result[name].data_ptr() != tensor.data_ptr()

    def test_complex_numbers_are_numbers(self):
        """Neither part is lost or rounded, as counters are."""
        ends = [{"fourier": torch.tensor([one + 0.5j])} for one in (1.0, 2.0)]
        assert torch.equal(interpolate(*ends, 0.5)["fourier"], torch.tensor([1.5 + 0.5j]))

    @pytest.mark.parametrize("alpha", GRID)
    def test_affine_in_alpha(self, start, end, alpha):
        """(1 - alpha) start + alpha end, computed in double precision."""
        result = interpolate(start, end, alpha)
        for name in ("conv.weight", "bn.running_var"):
            expected = (1 - alpha) * start[name].double() + alpha * end[name].double()
            torch.testing.assert_close(result[name].double(), expected, rtol=0, atol=5e-7)

    @pytest.mark.parametrize(("alpha", "batches"), [(0.05, 11), (0.35, 14), (0.5, 16), (0.9, 20)])
    def test_counters_are_rounded(self, start, end, alpha, batches):
        """Halves, as 15.5, go to the even neighbour."""
        counter = interpolate(start, end, alpha)["bn.num_batches_tracked"]
        assert counter.dtype == torch.int64
        assert counter == batches

    def test_other_networks_are_refused(self, start, end):
        del end["bn.running_var"]
        for alpha in (0.0, 0.5, 1.0):
            with pytest.raises(ValueError, match="different networks"):
                interpolate(start, end, alpha)

    def test_grid_of_the_paper(self):
        """alpha runs from 0 to 1 in steps of 0.05, both ends included (Algorithm 2, line 16)."""
        assert len(GRID) == 21
        assert pytest.approx([0.05 * step for step in range(21)]) == GRID
        assert (GRID[0], GRID[-1]) == (0.0, 1.0)


class TestSatisfies:
    """The robust accuracy that may be lost: 0.1 point, in counts."""

    @pytest.mark.parametrize(
        ("n", "lost", "holds"),
        [
            (10_000, 0, True), (10_000, 10, True), (10_000, 11, False), (500, 0, True), (500, 1, False),
            (2000, 2, True), (2000, 3, False), (1000, 1, True), (10_000, -100, True),
        ],
    )  # fmt: skip
    def test_boundary_is_exact(self, n, lost, holds):
        """10 of 10,000 images may be lost and 11 may not; of 500 none."""
        reference = Count(k=n // 2, n=n)
        assert satisfies(Count(k=n // 2 - lost, n=n), reference, TOLERANCE) is holds


@st.composite
def curves(draw):
    """Counts of correct images at every alpha; near the reference, so that all outcomes occur."""
    n = draw(st.sampled_from([500, 10_000]))
    spread = draw(st.sampled_from([2, 15, 40]))
    near = st.integers(-spread, spread).map(lambda away: n // 2 + away)
    clean = draw(st.lists(near, min_size=21, max_size=21))
    robust = draw(st.lists(near, min_size=20, max_size=20))
    return n, clean, [n // 2, *robust]


class TestBestAlpha:
    """alpha* of Algorithm 2."""

    def search(self, n, clean, robust):
        """Result of the lazy search, and the alphas at which robust accuracy was asked for."""
        asked = []

        def robust_at(alpha):
            asked.append(alpha)
            return Count(k=robust[GRID.index(alpha)], n=n)

        alpha, points = best_alpha(
            GRID,
            lambda alpha: Count(k=clean[GRID.index(alpha)], n=n),
            robust_at,
            Count(k=robust[0], n=n),
            TOLERANCE,
        )
        return alpha, points, asked

    @settings(max_examples=150, deadline=None)
    @given(curve=curves())
    def test_equals_the_whole_grid(self, curve):
        """The best clean accuracy among all robust enough points, the smallest alpha on a tie."""
        n, clean, robust = curve
        alpha, points, asked = self.search(n, clean, robust)
        allowed = [i for i in range(21) if 1000 * (robust[0] - robust[i]) <= n]
        top = max(clean[i] for i in allowed)
        assert alpha == GRID[next(i for i in allowed if clean[i] == top)]

        chosen = GRID.index(alpha)
        before = [
            i for i in range(1, 21) if (-clean[i], i) <= (-clean[chosen], chosen)
        ]  # those that could still have been better, and the chosen one
        assert sorted(asked) == [GRID[i] for i in before]
        assert [point.alpha for point in points] == GRID
        for i, point in enumerate(points):
            assert point.clean == Count(k=clean[i], n=n)
            looked_at = i == 0 or GRID[i] in asked
            assert point.robust == (Count(k=robust[i], n=n) if looked_at else None)

    @pytest.mark.parametrize(
        ("clean", "robust", "alpha", "asked"),
        [
            # Of equally good points the one nearest to the base model is taken.
            ([300] * 21, [200] * 21, 0.0, []),
            ([300, *[310] * 20], [200] * 21, 0.05, [0.05]),
            # Where every point loses too much, alpha* is 0, after one look at each.
            ([300, *[310] * 20], [200, *[199] * 20], 0.0, GRID[1:]),
            # The fully fine-tuned point is taken at once if it is best and robust.
            (list(range(300, 321)), [200] * 21, 1.0, [1.0]),
        ],
    )
    def test_robust_accuracy_is_looked_at_where_it_decides(self, clean, robust, alpha, asked):
        """alpha* and the alphas whose robust accuracy was measured, worked out by hand."""
        assert self.search(500, clean, robust)[::2] == (alpha, list(asked))
