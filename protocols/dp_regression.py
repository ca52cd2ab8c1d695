"""Linear regression with a public ridge, from noised moments; standard errors allow for the noise.

**Moments.** Every column enters as a = u / w, within -1 and 1 (`dp_sensitivity`). With n rows, sums s_j and sums of
products p_jk (a square's is (q_j / w_j^2 + n) / 2, q_j its total), S_jk = p_jk - s_j s_k / n is their scatter, less
what known noise adds to s_j^2 / n on average. It is computed in fractions, and the rest in floating point.

**Ridge.** With A the predictors' scatter, c theirs with the outcome and L the ridge, M = A + L, the coefficients are
b = B c, B = M^-1 + L M^-2: a ridge whose bias is corrected once (Riley 1955); L^2 M^-2 of b is left of it, not L M^-1.
L is public: by default the standard deviation of the noise in the scatter's diagonal. No figure is told where an
eigenvalue of A is below 5 sqrt(p) times that deviation, p being the number of predictors.

**Errors.** With e = y - sum_j b_j x_j, to the first order in the noise, the error of b is B (noise in S_je)_j, where
S_je is linear in the noised totals, whose noise is independent and known:

    noise in S_jk = noise in p_jk - m_j noise in s_k - m_k noise in s_j + m_j m_k noise in n,   m = s / n.

That gives `noise_error`, against the exact fit of the same rows. `standard_error` adds the ordinary sampling variance,
residual variance times B A B, at noised moments. Both leave out terms of second order: they hold where noise is
small against the scatter, which the rule on eigenvalues sees to within some per cent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.dp_estimates import Figure, NoisedCell, NoisedTotal, Note, count, enough_rows
from protocols.dp_sensitivity import BoundedColumn
from protocols.errors import StatisticError
from protocols.regression import MAXIMUM_PREDICTORS

_CONDITION: Final = 5.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NoisedCoefficient:
    """A coefficient in the outcome's unit per unit of the predictor (the intercept: the outcome's unit).

    Args:
        value: None where nothing is told.
        noise_error: standard deviation about the exact fit of the same rows.
        standard_error: about what the rows are a sample of; None also where the noised residuals' squares are negative.

    """

    value: float | None
    noise_error: float | None
    standard_error: float | None


@dataclass(frozen=True, slots=True)
class NoisedRegression:
    """A fit of an outcome on an intercept and predictors.

    Args:
        rows: complete rows.
        intercept: where all predictors are 0.
        coefficients: in the order of the predictors asked for.
        residual_deviation: root of the residual mean square, in the outcome's unit.
        r_squared: the share of the outcome's scatter that the fit explains; noise may take it beyond 0 or 1.
        note: why no coefficient is told.

    """

    rows: Figure
    intercept: NoisedCoefficient
    coefficients: tuple[NoisedCoefficient, ...]
    residual_deviation: Figure
    r_squared: Figure
    note: Note | None


def regression(
    cell: NoisedCell,
    outcome: BoundedColumn,
    predictors: Sequence[BoundedColumn],
    present: tuple[str, ...] = (),
    *,
    ridge: float | None = None,
) -> NoisedRegression:
    """Fit a column on an intercept and other columns.

    Args:
        cell: with all first and second moments of these columns over `present`.
        outcome: the outcome.
        predictors: 1 to 16 others, each once.
        present: columns that are not null in the rows that count.
        ridge: added to the scatter of predictors scaled to -1 to 1, 0 or more; a constant of the declarations.

    Raises:
        StatisticError: predictors repeated or too many, a negative ridge, or moments that were not released.

    """
    columns = (*predictors, outcome)
    if not 1 <= len(predictors) <= MAXIMUM_PREDICTORS or len(set(columns)) < len(columns):
        raise StatisticError(f"a regression takes 1 to {MAXIMUM_PREDICTORS} predictors, each once, none the outcome")
    if ridge is not None and not 0 <= ridge < inf:
        raise StatisticError("a ridge is a number of 0 or more")
    rows = count(cell, present)
    if not enough_rows(cell.total(present=present)):
        return _untold(rows, len(predictors), Note.FEW_ROWS)
    moments = _Moments.of(cell, columns, present)
    noise = float(np.sqrt(moments.diagonal_noise[:-1].max()))
    own = moments.scatter[:-1, :-1]
    if np.linalg.eigvalsh(own)[0] < _CONDITION * np.sqrt(len(predictors)) * noise:
        return _untold(rows, len(predictors), Note.ILL_CONDITIONED)
    penalty = noise if ridge is None else ridge
    ridged: Floats = np.asarray(np.linalg.inv(own + np.eye(len(predictors)) * penalty), np.float64)
    solver = ridged + penalty * ridged @ ridged
    return _Fit(moments, columns, solver, solver @ moments.scatter[:-1, -1]).figures(rows)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Moments of k columns scaled to -1 to 1, the outcome last, and the noise of the totals that they are made of.

    The totals: n, then k sums, then k (k + 1) / 2 products in the order of `pairs`. `noise` has their variances.
    """

    n: float
    means: Floats
    scatter: Floats
    noise: Floats
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, cell: NoisedCell, columns: Sequence[BoundedColumn], present: tuple[str, ...]) -> "_Moments":
        rows = cell.total(present=present)
        sums = [_scaled(cell.total(column, present=present), column.width) for column in columns]
        pairs = tuple(combinations_with_replacement(range(len(columns)), 2))
        n = Fraction(rows.value)
        scatter = np.zeros((len(columns), len(columns)))
        variances = [rows.variance, *(each[1] for each in sums)]
        for first, second in pairs:
            x, y = columns[first], columns[second]
            product, variance = _scaled(cell.total(x, y, present=present), x.width * y.width)
            by_noise = Fraction(0)
            if first == second:
                product, by_noise = (product + n) / 2, sums[first][1]
            exact = product - (sums[first][0] * sums[second][0] - by_noise) / n
            scatter[first, second] = scatter[second, first] = float(exact)
            variances.append(variance)
        means = np.array([float(value / n) for value, _ in sums])
        return cls(float(n), means, scatter, np.array([float(each) for each in variances]), pairs)

    @property
    def diagonal_noise(self) -> Floats:
        """Per column, the variance of the noise in its sum of squares."""
        squares = [place for place, (first, second) in enumerate(self.pairs) if first == second]
        return np.asarray((self.noise[1 + len(self.means) :][squares] + self.noise[0]) / 4)

    def gradient(self, left: Floats, right: Floats) -> Floats:
        """How the scatter of two combinations of the columns, left' S right, moves with each of the totals."""
        first, second = float(left @ self.means), float(right @ self.means)
        own = float((left * right).sum()) / 2  # a square's product has half of n in it
        products = [
            left[j] * right[j] / 2 if j == k else left[j] * right[k] + left[k] * right[j] for j, k in self.pairs
        ]
        return np.array([first * second + own, *(-(first * right + second * left)), *products])


@dataclass(frozen=True, slots=True)
class _Fit:
    """Scaled slopes and the matrix that they were found with, B of the module's text."""

    moments: _Moments
    columns: tuple[BoundedColumn, ...]
    solver: Floats
    slopes: Floats

    def figures(self, rows: Figure) -> NoisedRegression:
        moments, predictors = self.moments, len(self.slopes)
        residual = np.array([*-self.slopes, 1.0])
        freedom = moments.n - predictors - 1
        squares = float(residual @ moments.scatter @ residual)
        spread = squares / freedom if squares > 0 and freedom > 0 else None
        back, shift = self._to_units()
        noise = self._noise(residual)
        values = back @ np.array([residual @ moments.means, *self.slopes]) + shift
        by_noise = _diagonal(back @ noise * moments.noise @ (back @ noise).T)
        by_sampling = None if spread is None else spread * _diagonal(back @ self._sampling() @ back.T)
        told = [
            NoisedCoefficient(
                float(value),
                float(np.sqrt(by_noise[place])),
                None if by_sampling is None else float(np.sqrt(by_noise[place] + by_sampling[place])),
            )
            for place, value in enumerate(values)
        ]
        return NoisedRegression(
            rows, told[0], tuple(told[1:]), self._deviation(residual, spread, freedom), self._explained(residual), None
        )

    def _noise(self, residual: Floats) -> Floats:
        """How (mean residual, slopes) move with each of the totals, to the first order."""
        moments, units = self.moments, np.eye(len(residual))
        slopes = self.solver @ np.array([moments.gradient(unit, residual) for unit in units[:-1]])
        mean = np.zeros(len(moments.noise))
        mean[0] = -float(residual @ moments.means) / moments.n
        mean[1 : 1 + len(residual)] = residual / moments.n
        return np.vstack([mean - moments.means[:-1] @ slopes, slopes])

    def _sampling(self) -> Floats:
        """Covariance of (mean residual, slopes) over the residual variance, were the rows drawn anew."""
        slopes = self.solver @ self.moments.scatter[:-1, :-1] @ self.solver
        means = self.moments.means[:-1]
        corner = 1 / self.moments.n + means @ slopes @ means
        return np.block([[np.array([[corner]]), -(means @ slopes)[None, :]], [-(slopes @ means)[:, None], slopes]])

    def _to_units(self) -> tuple[Floats, Floats]:
        """The matrix and the shift that take (mean residual, slopes) to (intercept, slopes) in the columns' units.

        From (2y - m_y) / w_y = c + sum_j b_j (2 x_j - m_j) / w_j.
        """
        *predictors, outcome = self.columns
        unit = 0.5 * 10.0**-outcome.decimals
        back = np.diag(
            [unit * outcome.width]
            + [10.0 ** (x.decimals - outcome.decimals) * outcome.width / x.width for x in predictors]
        )
        back[0, 1:] = [-unit * outcome.width * x.twice_centre / x.width for x in predictors]
        return back, np.array([unit * outcome.twice_centre, *(0.0 for _ in predictors)])

    def _deviation(self, residual: Floats, spread: float | None, freedom: float) -> Figure:
        if spread is None:
            return Figure(None, None, Note.NEGATIVE_SQUARES)
        unit = 0.5 * self.columns[-1].width * 10.0 ** -self.columns[-1].decimals
        gradient = self.moments.gradient(residual, residual) / freedom
        gradient[0] -= spread / freedom
        error = float(np.sqrt(gradient**2 @ self.moments.noise / spread)) / 2
        return Figure(float(np.sqrt(spread)) * unit, error * unit)

    def _explained(self, residual: Floats) -> Figure:
        moments = self.moments
        whole = float(moments.scatter[-1, -1])
        if whole <= 0:
            return Figure(None, None, Note.NEGATIVE_SQUARES)
        outcome = np.eye(len(residual))[-1]
        share = float(residual @ moments.scatter @ residual) / whole
        gradient = (moments.gradient(residual, residual) - share * moments.gradient(outcome, outcome)) / whole
        return Figure(1 - share, float(np.sqrt(gradient**2 @ moments.noise)))


def _scaled(total: NoisedTotal, width: int) -> tuple[Fraction, Fraction]:
    return Fraction(total.value, width), total.variance / width**2


def _diagonal(matrix: Floats) -> Floats:
    return np.maximum(np.diagonal(matrix), 0.0)


def _untold(rows: Figure, predictors: int, note: Note) -> NoisedRegression:
    missing, nothing = NoisedCoefficient(None, None, None), Figure(None, None, note)
    return NoisedRegression(rows, missing, (missing,) * predictors, nothing, nothing, note)
