"""The benign distribution: monotone, finite, and valid as p-values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.interpolate import PchipInterpolator

from worker.codebook.splines import KNOTS, MIN_GROUP, SplineTable, SurvivalSpline, fit_survival, fit_worst_group

SAMPLES = hnp.arrays(
    np.float64, st.integers(50, 300), elements=st.floats(-(2.0**40), 2.0**40, width=32, allow_subnormal=False)
)
TIED = hnp.arrays(np.float64, st.integers(50, 200), elements=st.integers(-3, 3).map(float))
SCORES = hnp.arrays(np.float64, 20, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


def normal_spline(count: int = 2000, seed: int = 1) -> SurvivalSpline:
    return fit_survival(np.random.default_rng(seed).normal(size=count))


@settings(max_examples=150, deadline=None)
@given(SAMPLES | TIED, SCORES)
def test_higher_scores_are_never_more_likely(sample: np.ndarray, scores: np.ndarray) -> None:
    log_p = fit_survival(sample).log_survival(np.sort(np.concatenate([sample, scores])))
    assert (np.diff(log_p) <= 0).all()


@settings(max_examples=150, deadline=None)
@given(SAMPLES | TIED, SCORES)
def test_log_p_is_finite_and_at_most_zero(sample: np.ndarray, scores: np.ndarray) -> None:
    log_p = fit_survival(sample).log_survival(scores)
    assert np.isfinite(log_p).all()
    assert (log_p <= 0).all()


def test_interpolation_is_scipys_pchip() -> None:
    spline = normal_spline()
    at = np.linspace(spline.x[0], spline.x[-1], 5000)
    np.testing.assert_allclose(
        spline.log_survival(at), PchipInterpolator(spline.x, spline.y)(at), rtol=1e-9, atol=1e-12
    )


def test_two_knots_are_joined_by_a_line_as_in_scipy() -> None:
    spline = fit_survival(np.repeat([0.0, 1.0], 40))
    at = np.linspace(0, 1, 50)
    np.testing.assert_allclose(spline.log_survival(at), PchipInterpolator(spline.x, spline.y)(at), atol=1e-12)


def test_p_values_at_sample_scores_are_conformal() -> None:
    sample = np.arange(60.0)
    spline = fit_survival(sample)
    expected = (1 + np.arange(60, 0, -1)) / 61
    np.testing.assert_allclose(np.exp(spline.log_survival(sample)), expected, rtol=1e-12)


def test_ties_count_fully() -> None:
    spline = fit_survival(np.repeat([0.0, 5.0], [90, 10]))
    assert np.exp(spline.log_survival(np.array([5.0])))[0] == pytest.approx(11 / 101)


def test_far_below_the_sample_p_is_one() -> None:
    assert np.exp(normal_spline().log_survival(np.array([-1e9])))[0] == pytest.approx(1.0)


@pytest.mark.parametrize("draw", ["normal", "standard_cauchy", "exponential", "uniform"])
@pytest.mark.parametrize("alpha", [0.1, 0.01])
def test_p_values_of_fresh_benign_scores_are_super_uniform(draw: str, alpha: float) -> None:
    random = np.random.default_rng(11)
    repeats, fresh = 300, 200
    hits = 0
    for _ in range(repeats):
        spline = fit_survival(getattr(random, draw)(size=300))
        hits += int((np.exp(spline.log_survival(getattr(random, draw)(size=fresh))) <= alpha).sum())
    # Fresh draws of one repeat share a calibration sample: the spread of a rate is that of the sample's.
    spread = np.sqrt(alpha * (1 - alpha) * (1 / 300 + 1 / fresh) / repeats)
    assert hits / (repeats * fresh) <= alpha + 3 * spread


def test_beyond_the_sample_is_marked() -> None:
    spline = normal_spline()
    top = spline.x[-1]
    assert spline.extrapolates(np.array([top - 1, top, np.nextafter(top, np.inf), top + 1])).tolist() == [
        False,
        False,
        True,
        True,
    ]


def test_tail_goes_on_from_the_largest_sample_score() -> None:
    spline = normal_spline(999)
    just_above = np.exp(spline.log_survival(np.array([spline.x[-1] + 1e-9])))[0]
    assert just_above == pytest.approx(2 / 1000, rel=1e-4)


def test_tail_keeps_falling() -> None:
    spline = normal_spline()
    assert (np.diff(spline.log_survival(spline.x[-1] + np.arange(0.0, 50.0))) < 0).all()


def test_pareto_tail_is_recovered() -> None:
    spline = fit_survival(np.random.default_rng(2).pareto(4.0, size=50_000))  # shape 1/4
    assert spline.shape == pytest.approx(0.25, abs=0.12)


def test_constant_scores_make_one_step() -> None:
    spline = fit_survival(np.full(80, 3.0))
    p = np.exp(spline.log_survival(np.array([2.0, 3.0, 4.0])))
    assert p.tolist() == pytest.approx([1.0, 1.0, 1 / 81])


def test_knots_are_limited_and_keep_both_ends() -> None:
    sample = np.random.default_rng(3).normal(size=5000)
    spline = fit_survival(sample)
    assert len(spline.x) <= KNOTS
    assert (spline.x[0], spline.x[-1]) == (sample.min(), sample.max())


def test_the_ten_largest_scores_are_knots() -> None:
    sample = np.random.default_rng(3).normal(size=5000)
    assert set(np.sort(sample)[-10:]) <= set(fit_survival(sample).x)


@pytest.mark.parametrize("sample", [np.arange(49.0), np.array([np.nan] * 60), np.array([np.inf] * 60)])
def test_unusable_sample_is_refused(sample: np.ndarray) -> None:
    with pytest.raises(ValueError, match="50 finite scores"):
        fit_survival(sample)


def grouped(*sizes: int, shift: float = 1.5, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Scores of groups; each is shifted against the one before."""
    groups = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    random = np.random.default_rng(seed)
    return random.normal(size=len(groups)) + shift * groups, groups


@pytest.mark.parametrize("sizes", [(2000, 300), (300, 2000), (500, 500, 500), (150, 150)])
@pytest.mark.parametrize("shift", [-1.5, 0.0, 1.5])
def test_worst_group_lies_above_every_group_and_the_mixture(sizes: tuple[int, ...], shift: float) -> None:
    sample, groups = grouped(*sizes, shift=shift)
    worst = fit_worst_group(sample, groups)
    at = np.linspace(sample.min() - 1, sample.max() + 20, 4000)
    members = [fit_survival(sample), *(fit_survival(sample[groups == g]) for g in np.unique(groups))]
    for member in members:
        # Between knots two interpolations differ by a few percent.
        assert (worst.log_survival(at) >= member.log_survival(at) - 0.05).all()
        assert (worst.log_survival(member.x) >= member.log_survival(member.x) - 0.05).all()
    highest = np.max([member.log_survival(at) for member in members], axis=0)
    inside = at <= min(member.x[-1] for member in members)
    np.testing.assert_allclose(worst.log_survival(at[inside]), highest[inside], atol=0.3)


def test_worst_group_is_monotone_and_a_probability() -> None:
    sample, groups = grouped(800, 200, 160)
    log_p = fit_worst_group(sample, groups).log_survival(np.linspace(-20, 60, 5000))
    assert (np.diff(log_p) <= 0).all()
    assert (log_p <= 0).all()
    assert np.isfinite(log_p).all()


def test_worst_group_of_one_group_is_the_plain_distribution() -> None:
    sample, groups = grouped(1000)
    at = np.linspace(-6, 20, 500)
    np.testing.assert_allclose(fit_worst_group(sample, groups).log_survival(at), fit_survival(sample).log_survival(at))


@pytest.mark.parametrize(("size", "counts"), [(MIN_GROUP - 1, False), (MIN_GROUP, True)])
def test_groups_below_the_least_size_count_with_all_only(size: int, counts: bool) -> None:
    sample, groups = grouped(4000, size, shift=4.0)
    worst, pooled = fit_worst_group(sample, groups), fit_survival(sample)
    at = np.array([4.0])  # usual in the second group, almost unseen in the first
    assert (worst.log_survival(at) > pooled.log_survival(at) + 1.0)[0] == counts


def test_extrapolation_begins_where_the_deciding_sample_ends() -> None:
    sample, groups = grouped(2000, 200, shift=-2.0)
    assert fit_worst_group(sample, groups).sampled_to == sample.max()  # the low group decides nowhere up there
    # A wide small group decides beyond its own largest score as well: there the tail speaks.
    wide = np.concatenate([np.random.default_rng(3).normal(size=4000), np.linspace(0.0, 3.0, MIN_GROUP)])
    of = np.repeat(np.array([0, 1], dtype=np.int32), [4000, MIN_GROUP])
    worst = fit_worst_group(wide, of)
    assert worst.sampled_to is not None
    assert 3.0 <= worst.sampled_to < wide.max()
    assert worst.extrapolates(np.array([3.0, wide.max()])).tolist() == [False, True]


def test_a_table_gives_what_its_splines_give_alone() -> None:
    splines = [normal_spline(2000), fit_survival(np.repeat([0.0, 5.0], [90, 10])), normal_spline(70, seed=9)]
    splines.append(SurvivalSpline(splines[0].x, splines[0].y, 0.4, 2.0, sampled_to=1.5))
    scores = np.random.default_rng(3).normal(scale=4, size=(500, len(splines)))
    table = SplineTable(splines)
    for column, spline in enumerate(splines):
        np.testing.assert_array_equal(table.log_survival(scores)[:, column], spline.log_survival(scores[:, column]))
        np.testing.assert_array_equal(table.extrapolates(scores)[:, column], spline.extrapolates(scores[:, column]))
    assert table.extrapolates(scores).any(axis=0).all()
