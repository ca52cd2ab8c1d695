"""Linear regression by ordinary least squares, from moments: exact until each figure is rounded once to a float."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from protocols.errors import InconsistentTotalsError, StatisticError
from protocols.moments import Moments
from protocols.rounding import root_to_float, to_float
from protocols.sweep import Swept, sweep
from protocols.tails import two_sided_t, upper_f

MAXIMUM_PREDICTORS = 16


@dataclass(frozen=True, slots=True)
class Coefficient:
    """One estimated coefficient; None is what is not defined.

    Attributes:
        value: in the outcome's unit per unit of the predictor (the intercept: the outcome's unit). None: the predictor
            is, over these rows, a linear combination of the intercept and the predictors before it, and was left out
            of the fit (as R's lm does), or it never varies.
        standard_error: in the same unit; None also without degrees of freedom left for the residuals.
        t: value over standard error; None also where the fit leaves no residual at all.
        p_value: two-sided, of `t` at the residual degrees of freedom.

    """

    value: float | None
    standard_error: float | None
    t: float | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class LinearRegression:
    """A fit of an outcome on an intercept and predictors. Every float is the exact figure, rounded once to nearest.

    Only p-values are floats throughout (see `tails`).

    Attributes:
        rows: complete rows that were fitted, n.
        intercept: where all predictors are 0.
        coefficients: in the order of the predictors asked for.
        aliased: indices into `coefficients` of those that were left out of the fit.
        model_degrees_of_freedom: predictors in the fit, p.
        residual_degrees_of_freedom: n - p - 1.
        residual_standard_error: root of the residual sum of squares over its degrees of freedom, in the outcome's
            unit; None where they are 0.
        r_squared: share of the outcome's sum of squares about its mean that the fit explains, 0 to 1; None where the
            outcome never varies.
        adjusted_r_squared: 1 - (1 - r_squared) (n - 1) / (n - p - 1); None also without residual degrees of freedom.
        f: mean square of the fit over that of the residuals; None also where nothing was fitted or no residual is left.
        f_p_value: the probability of at least `f`, were all coefficients but the intercept 0.

    """

    rows: int
    intercept: Coefficient
    coefficients: tuple[Coefficient, ...]
    aliased: tuple[int, ...]
    model_degrees_of_freedom: int
    residual_degrees_of_freedom: int
    residual_standard_error: float | None
    r_squared: float | None
    adjusted_r_squared: float | None
    f: float | None
    f_p_value: float | None


@dataclass(frozen=True, slots=True)
class ExactCoefficient:
    """A coefficient in its unit and the square of its standard error, None without residual degrees of freedom."""

    value: Fraction
    squared_error: Fraction | None


@dataclass(frozen=True, slots=True)
class ExactFit:
    """What the normal equations give, as fractions; `LinearRegression` is this, rounded.

    Attributes:
        intercept: the constant term.
        coefficients: per predictor; None for a linear combination of those before it.
        residual_degrees_of_freedom: n - p - 1.
        residual_squares: the residual sum of squares, in the outcome's unit squared.
        total_squares: the outcome's sum of squares about its mean, likewise.

    """

    intercept: ExactCoefficient
    coefficients: tuple[ExactCoefficient | None, ...]
    residual_degrees_of_freedom: int
    residual_squares: Fraction
    total_squares: Fraction


def linear_regression(moments: Moments, outcome: int, predictors: Sequence[int]) -> LinearRegression | None:
    """Fit a column on an intercept and other columns; None over no rows.

    Args:
        moments: of all columns concerned, over the rows in which each of them has a value.
        outcome: the outcome's position in `moments`.
        predictors: positions of 1 to 16 others, each once.

    Raises:
        StatisticError: positions out of range, repeated, or too many.
        InconsistentTotalsError: no rows have these moments.

    """
    fit = exact_fit(moments, outcome, predictors)
    return None if fit is None else _rounded(fit, moments.rows)


def exact_fit(moments: Moments, outcome: int, predictors: Sequence[int]) -> ExactFit | None:
    """Solve the normal equations exactly; arguments and errors as of `linear_regression`."""
    columns = (*predictors, outcome)
    if not 1 <= len(predictors) <= MAXIMUM_PREDICTORS or len(set(columns)) < len(columns):
        raise StatisticError(
            f"a regression takes 1 to {MAXIMUM_PREDICTORS} predictors, each once, none the outcome; these are"
            f" {len(predictors)}"
        )
    swept = sweep([[moments.scatter(first, second) for second in columns] for first in columns])
    if not moments.rows:
        return None
    return _Fit(moments, columns, swept).exact()


@dataclass(frozen=True, slots=True)
class _Fit:
    """A scatter matrix of `columns`, the outcome last, after its predictors were swept."""

    moments: Moments
    columns: tuple[int, ...]
    swept: Swept

    @property
    def freedom(self) -> int:
        return self.moments.rows - len(self.swept.pivots) - 1

    @property
    def residual(self) -> int:
        """The residual sum of squares in scaled units, times rows and the sweep's denominator."""
        return self.swept.entries[-1][-1]

    def exact(self) -> ExactFit:
        if self.freedom < 0:
            raise InconsistentTotalsError("more columns vary independently than there are rows; no rows do that")
        outcome = self.columns[-1]
        unit = self.moments.rows * 10 ** (2 * self.moments.decimals[outcome])
        return ExactFit(
            intercept=self._intercept(),
            coefficients=tuple(
                self._coefficient(position) if position in self.swept.pivots else None
                for position in range(len(self.columns) - 1)
            ),
            residual_degrees_of_freedom=self.freedom,
            residual_squares=Fraction(self.residual, self.swept.denominator * unit),
            total_squares=Fraction(self.moments.scatter(outcome, outcome), unit),
        )

    def _coefficient(self, position: int) -> ExactCoefficient:
        """The scatter is rows times the centred cross-products, so that rows cancel out of both figures."""
        entries, denominator = self.swept.entries, self.swept.denominator
        unit = self._unit(self.columns[position])
        error = self._squared_error(Fraction(entries[position][position], denominator), unit)
        return ExactCoefficient(Fraction(entries[position][-1], denominator) * unit, error)

    def _intercept(self) -> ExactCoefficient:
        """Mean of the outcome less the fitted part of the predictors' means; 1/n + m' S^-1 m is its leverage."""
        entries, denominator, rows = self.swept.entries, self.swept.denominator, self.moments.rows
        sums = [self.moments.sums[column] for column in self.columns]
        pivots, unit = self.swept.pivots, self._unit(None)
        fitted = sum(entries[position][-1] * sums[position] for position in pivots)
        spread = sum(sums[first] * entries[first][second] * sums[second] for first in pivots for second in pivots)
        value = Fraction(sums[-1] * denominator - fitted, rows * denominator) * unit
        return ExactCoefficient(value, self._squared_error(Fraction(denominator + spread, rows**2 * denominator), unit))

    def _squared_error(self, inverse: Fraction, unit: Fraction) -> Fraction | None:
        """Variance of the residuals times an entry of the inverse of the scatter, in the coefficient's unit squared."""
        if not self.freedom:
            return None
        return Fraction(self.residual, self.swept.denominator * self.freedom) * inverse * unit**2

    def _unit(self, predictor: int | None) -> Fraction:
        decimals = self.moments.decimals
        own = 0 if predictor is None else decimals[predictor]
        return Fraction(10) ** (own - decimals[self.columns[-1]])


def _rounded(fit: ExactFit, rows: int) -> LinearRegression:
    freedom = fit.residual_degrees_of_freedom
    aliased = tuple(index for index, coefficient in enumerate(fit.coefficients) if coefficient is None)
    fitted = len(fit.coefficients) - len(aliased)
    explained, left = fit.total_squares - fit.residual_squares, fit.residual_squares
    f = to_float(explained * freedom / (left * fitted)) if fitted and freedom and left else None
    return LinearRegression(
        rows=rows,
        intercept=_rounded_coefficient(fit.intercept, freedom),
        coefficients=tuple(_rounded_coefficient(coefficient, freedom) for coefficient in fit.coefficients),
        aliased=aliased,
        model_degrees_of_freedom=fitted,
        residual_degrees_of_freedom=freedom,
        residual_standard_error=root_to_float(left / freedom) if freedom else None,
        r_squared=to_float(explained / fit.total_squares) if fit.total_squares else None,
        adjusted_r_squared=(
            to_float(1 - left * (rows - 1) / (fit.total_squares * freedom)) if fit.total_squares and freedom else None
        ),
        f=f,
        f_p_value=None if f is None else upper_f(f, fitted, freedom),
    )


def _rounded_coefficient(exact: ExactCoefficient | None, freedom: int) -> Coefficient:
    if exact is None:
        return Coefficient(None, None, None, None)
    value, squared = to_float(exact.value), exact.squared_error
    if not squared:
        return Coefficient(value, None if squared is None else 0.0, None, None)
    magnitude = root_to_float(exact.value**2 / squared)
    t = -magnitude if exact.value < 0 else magnitude
    return Coefficient(value, root_to_float(squared), t, two_sided_t(t, freedom))
