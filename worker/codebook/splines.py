"""The distribution of a score among benign documents: monotone spline, generalised-Pareto tail.

The spline is the piecewise cubic Hermite interpolation of Fritsch and Carlson (SIAM J. Numer. Anal. 17,
1980), the one of ``scipy.interpolate.PchipInterpolator``, through the log of the conformal survival
``(1 + #{benign >= s}) / (n + 1)`` (Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World",
2005). With more sample scores than knots it follows the step function to within a few percent. Beyond the
largest sample score no count says anything: there a generalised Pareto tail, fitted to the exceedances of
the 98th percentile by probability-weighted moments (Hosking and Wallis, Technometrics 29, 1987), carries
on from ``2 / (n + 1)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

KNOTS = 96
"""Points of one spline; the upper tail's sample scores are all among them as far as they fit."""

MIN_SAMPLE = 50
"""Scores below which a distribution says too little."""

MIN_GROUP = 150
"""Benign documents of a source group below which its own tail would be guesswork."""

TAIL_QUANTILE = 0.98
MIN_SHAPE, MAX_SHAPE = 0.0, 0.9
"""Bounds of the Pareto shape: 0 is an exponential tail. A negative one would end, and call p = 0 possible."""


@dataclass(frozen=True)
class SurvivalSpline:
    """How likely a benign document scores at least ``s``.

    Attributes:
        x: Scores at the knots, strictly ascending, float64 ``(n_knots,)``.
        y: Log survival at the knots, strictly descending, float64 ``(n_knots,)``.
        shape: Pareto shape of the tail beyond ``x[-1]``.
        scale: Pareto scale of the tail at ``x[-1]``.
        sampled_to: Score beyond which a p-value rests on a tail's form; by default ``x[-1]``.
    """

    x: FloatArray
    y: FloatArray
    shape: float
    scale: float
    sampled_to: float | None = None

    def log_survival(self, scores: FloatArray) -> FloatArray:
        """Return the natural logarithm of the p-values; vectorised, monotone, finite for finite scores."""
        log_p: FloatArray = self._table.log_survival(np.asarray(scores, dtype=np.float64)[..., None])[..., 0]
        return log_p

    def extrapolates(self, scores: FloatArray) -> npt.NDArray[np.bool_]:
        """Return where a score lies beyond the sample, so that its p-value rests on the tail's form alone."""
        limit = self.x[-1] if self.sampled_to is None else self.sampled_to
        beyond: npt.NDArray[np.bool_] = np.asarray(scores, dtype=np.float64) > limit
        return beyond

    @cached_property
    def derivative(self) -> FloatArray:
        """The cubic's derivative at the knots, float64 ``(n_knots,)``."""
        width = np.diff(self.x)
        return _derivatives(width, np.diff(self.y) / width)

    @cached_property
    def _table(self) -> "SplineTable":
        return SplineTable([self])


class SplineTable:
    """Splines side by side, evaluated together: one column of scores each."""

    def __init__(self, splines: Sequence[SurvivalSpline]):
        self._knots = [spline.x for spline in splines]
        self._start = np.cumsum([0, *(len(spline.x) for spline in splines[:-1])])
        self._x = np.concatenate([spline.x for spline in splines])
        self._y = np.concatenate([spline.y for spline in splines])
        self._derivative = np.concatenate([spline.derivative for spline in splines])
        self._first = np.array([spline.x[0] for spline in splines])
        self._last = np.array([spline.x[-1] for spline in splines])
        self._shape = np.array([spline.shape for spline in splines])
        self._scale = np.array([spline.scale for spline in splines])
        self._limit = np.array([s.x[-1] if s.sampled_to is None else s.sampled_to for s in splines])

    def log_survival(self, scores: FloatArray) -> FloatArray:
        """Return the natural logarithm of the p-values of ``(..., n_splines)`` scores, of the same shape."""
        at = np.clip(scores, self._first, self._last)
        cell = np.empty(at.shape, dtype=np.int64)
        for column, knots in enumerate(self._knots):
            found = np.searchsorted(knots, at[..., column], side="right") - 1
            cell[..., column] = np.clip(found, 0, len(knots) - 2) + self._start[column]
        inside = self._cubic(at, cell)
        excess = np.maximum(scores - self._last, 0.0) / self._scale
        shape = np.maximum(self._shape, 1e-9)  # at 0 the tail is an exponential one
        log_p: FloatArray = inside - np.where(self._shape > 1e-9, np.log1p(shape * excess) / shape, excess)
        return log_p

    def extrapolates(self, scores: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Return where a score lies beyond its sample; see ``SurvivalSpline.extrapolates``."""
        beyond: npt.NDArray[np.bool_] = scores > self._limit
        return beyond

    def _cubic(self, at: FloatArray, cell: npt.NDArray[np.int64]) -> FloatArray:
        """Evaluate the monotone cubics at points inside their cells."""
        left, low, high = self._x[cell], self._y[cell + 1], self._y[cell]
        h = self._x[cell + 1] - left
        # In double precision the terms' rounding can order two neighbouring scores the wrong way round by an ulp;
        # in extended precision it lies under the ulp of what is returned.
        t = (at.astype(np.longdouble) - left) / h
        result = (
            high * (1 + 2 * t) * (1 - t) ** 2
            + h * self._derivative[cell] * t * (1 - t) ** 2
            + low * t**2 * (3 - 2 * t)
            - h * self._derivative[cell + 1] * t**2 * (1 - t)
        )
        # Rounding in narrow cells may leave the cell's range by an ulp; p-values must not.
        within: FloatArray = np.clip(result.astype(np.float64), low, high)
        return within


def fit_survival(sample: FloatArray, knots: int = KNOTS) -> SurvivalSpline:
    """Fit the distribution of benign scores.

    Args:
        sample: Scores of benign documents, ``(n,)`` with n of at least 50.
        knots: Largest number of knots.

    Raises:
        ValueError: The sample is too small or not finite.
    """
    ordered = np.sort(np.asarray(sample, dtype=np.float64))
    count = len(ordered)
    if count < MIN_SAMPLE or not np.isfinite(ordered).all():
        raise ValueError(f"a benign distribution needs at least {MIN_SAMPLE} finite scores, got {count}")
    # (1 + #{sample >= x}) / (n + 1) at the sample scores; of equal scores the first counts them all.
    values, first = np.unique(ordered, return_index=True)
    survival = (1.0 + count - first) / (count + 1.0)
    keep = _knot_positions(len(values), knots)
    x, y = values[keep], np.log(survival[keep])
    if len(x) == 1:  # a constant score: one step
        x, y = np.array([x[0], x[0] + 1.0]), np.array([y[0], -np.log(count + 1.0)])
    # The last knot is the largest sample score, whose conformal p-value is 2 / (n + 1); beyond it no
    # benign score was seen, and the tail starts from there.
    shape, scale, threshold = _pareto_tail(ordered)
    # A Pareto tail over a higher threshold is Pareto again, its scale grown by shape * distance.
    return SurvivalSpline(x, y, shape, scale + shape * float(x[-1] - threshold))


def fit_worst_group(sample: FloatArray, groups: npt.NDArray[np.int32]) -> SurvivalSpline:
    """Fit a distribution that holds for every source group, not only for their mixture.

    Where attacks are rare in one kind of traffic and look-alikes common in another, a threshold that is right
    on average is wrong for the second. The result lies above the distribution of every group with at least
    ``MIN_GROUP`` documents, and above that of all documents.

    Args:
        sample: Scores of benign documents, ``(n,)``.
        groups: Group of every document, ``(n,)``.
    """
    numbers, counts = np.unique(groups, return_counts=True)
    pooled = fit_survival(sample)
    members = [pooled, *(fit_survival(sample[groups == g]) for g in numbers[counts >= MIN_GROUP])]
    x = np.unique(np.concatenate([spline.x for spline in members]))
    each = np.array([spline.log_survival(x) for spline in members])
    y = each.max(axis=0)
    # Where a small group decides, its sample may end before that of all documents.
    ends = np.array([spline.x[-1] for spline in members])
    unsampled = x > ends[each.argmax(axis=0)]
    sampled_to = float(x[unsampled][0]) if unsampled.any() else float(x[-1])
    # Groups agree on p = 1 at the low end; a spline wants strict descent.
    falls = np.concatenate([[True], np.diff(np.minimum.accumulate(y)) < -1e-9])
    x, y = x[falls], y[falls]
    slowest = [spline.scale + spline.shape * float(x[-1] - spline.x[-1]) for spline in members]
    return SurvivalSpline(x, y, max(spline.shape for spline in members), max(slowest), sampled_to)


def _knot_positions(count: int, knots: int) -> npt.NDArray[np.int64]:
    """Choose positions of sorted values: evenly for the bulk, ever denser towards the largest."""
    if count <= knots:
        return np.arange(count)
    even = np.linspace(0, count - 1, knots // 3)
    from_top = count - np.geomspace(1, count, knots - knots // 3)
    return np.unique(np.concatenate([even, from_top]).round().astype(np.int64).clip(0, count - 1))


def _pareto_tail(ordered: FloatArray) -> tuple[float, float, float]:
    """Return shape and scale of the exceedances over the 98th percentile (at least 10), and that threshold."""
    count = len(ordered)
    threshold = float(np.quantile(ordered, TAIL_QUANTILE))
    if (ordered > threshold).sum() < 10:
        threshold = float(ordered[-min(10, count - 1) - 1])
    exceedances = ordered[ordered > threshold] - threshold
    mean = float(exceedances.mean()) if len(exceedances) else 0.0
    if mean <= 0:
        return 0.0, 1e-6, threshold
    ranks = (np.arange(len(exceedances)) + 0.35) / len(exceedances)
    weighted = float(((1.0 - ranks) * np.sort(exceedances)).mean())
    shape = 2.0 - mean / (mean - 2.0 * weighted) if mean > 2.0 * weighted else MAX_SHAPE
    shape = float(np.clip(shape, MIN_SHAPE, MAX_SHAPE))
    return shape, mean * (1.0 - shape), threshold


def _derivatives(width: FloatArray, slope: FloatArray) -> FloatArray:
    """Weighted harmonic means of neighbouring slopes; all slopes are negative here."""
    if len(slope) == 1:
        return np.array([slope[0], slope[0]])
    left, right = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    inner = (left + right) / (left / slope[:-1] + right / slope[1:])
    return np.concatenate([[_end(width, slope)], inner, [_end(width[::-1], slope[::-1])]])


def _end(width: FloatArray, slope: FloatArray) -> float:
    """Three-point derivative at an end, kept from turning round (Moler, "Numerical Computing", 3.4)."""
    value = ((2 * width[0] + width[1]) * slope[0] - width[0] * slope[1]) / (width[0] + width[1])
    return float(np.clip(value, 3 * slope[0], 0.0))
