"""Expected errors from declarations alone, and what an epsilon means in words."""

import math
from fractions import Fraction
from itertools import combinations_with_replacement, pairwise

import numpy as np
import pytest
from scipy.stats import norm

from protocols.dp_estimates import deviation, mean, open_totals, total, variance
from protocols.dp_forecast import AskedFigure, FigureKind, compare_epsilons, error_before
from protocols.dp_gaussian import gaussian_micro_epsilon, run_micro_epsilon
from protocols.dp_noise_sampler import TableSampler
from protocols.dp_release import ReleaseShape, plan_noise
from protocols.dp_sensitivity import BoundedColumn, CentredMeasure, ReleaseTable
from protocols.dp_words import FALSE_ALARMS, Hidden, explain
from protocols.errors import PrivacyCostError, StatisticError
from tests.protocols.noise_laws import seeded

X = BoundedColumn("x", 10, 110)
Y = BoundedColumn("y", 0, 10_000, 2)
COUNT = CentredMeasure(())
DELTA = Fraction(1, 10**6)
CELLS = 2000
MEASURES = (
    COUNT,
    *(CentredMeasure((x,)) for x in (X, Y)),
    *(CentredMeasure(pair) for pair in combinations_with_replacement((X, Y), 2)),
)
SHAPE = ReleaseShape((ReleaseTable(CELLS, MEASURES), ReleaseTable(20, (COUNT,))), providers=4, tolerated=1)
ASKED = (
    AskedFigure(FigureKind.COUNT, 0),
    AskedFigure(FigureKind.SUM, 0, (X,)),
    AskedFigure(FigureKind.MEAN, 0, (X,)),
    AskedFigure(FigureKind.VARIANCE, 0, (X,)),
    AskedFigure(FigureKind.DEVIATION, 0, (X,)),
    AskedFigure(FigureKind.REGRESSION, 0, (Y, X)),
    AskedFigure(FigureKind.QUANTILE, 1, edges=(0, 10, 20, 30, 40), decimals=1),
)


def test_the_error_told_before_is_the_error_that_releases_of_such_rows_have():
    rows = 2000
    plan = plan_noise(SHAPE, Fraction(1, 20))
    told = {each.asked.kind: each.errors[0] for each in error_before(plan, ASKED, rows * CELLS)}
    x = np.linspace(X.lo, X.hi, rows).round().astype(int)
    plain = {(): rows, ("x",): int(x.sum()), ("x", "x"): int((x * x).sum())}
    blocks = [block for block in plan.blocks[0] if {term.name for term in block.measure.terms} <= {"x"}]
    columns = []
    for block in plan.blocks[0]:
        if block not in blocks:
            columns.append([0] * CELLS)
            continue
        sampler = TableSampler(block.share.variance, stream=seeded(f"forecast {block.measure.terms}"))
        exact = [block.measure.centred(plain)] * CELLS
        parts = [block.noised(exact if p == 0 else [0] * CELLS, 1 << 32, sampler) for p in range(4)]
        columns.append([sum(part) for part in zip(*parts, strict=True)])
    cells = open_totals(plan, 0, list(zip(*columns, strict=True)), 4)
    for kind, figure in (
        (FigureKind.SUM, total),
        (FigureKind.MEAN, mean),
        (FigureKind.VARIANCE, variance),
        (FigureKind.DEVIATION, deviation),
    ):
        spread = np.std([figure(cell, X).value for cell in cells])
        assert told[kind] == pytest.approx(spread, rel=0.06), kind


def test_more_epsilon_means_less_error_in_every_figure():
    forecasts = compare_epsilons(SHAPE, ASKED, 3_000_000, (300_000, 1_000_000, 3_000_000), DELTA, run_micro_epsilon)
    assert [each.micro_epsilon for each in forecasts] == [300_000, 1_000_000, 3_000_000]
    for less, more in pairwise(forecasts):
        assert run_micro_epsilon(more.plan.event(), DELTA) <= more.micro_epsilon
        for one, other in zip(less.errors[:-1], more.errors[:-1], strict=True):
            assert all(a > b for a, b in zip(one.errors, other.errors, strict=True)), one.asked.kind
        assert less.errors[-1].errors[0] >= more.errors[-1].errors[0] >= 0.5  # no shorter than half a bin


def test_too_few_declared_rows_are_said_to_leave_nothing_to_tell():
    plan = plan_noise(SHAPE, Fraction(1, 1000))
    told = {each.asked.kind: each.errors for each in error_before(plan, ASKED, 5 * CELLS)}
    assert told[FigureKind.MEAN] == (None,)
    assert told[FigureKind.REGRESSION] == (None, None)
    assert told[FigureKind.COUNT][0] > 5


@pytest.mark.parametrize(
    "build",
    [
        lambda: AskedFigure(FigureKind.MEAN, 0),
        lambda: AskedFigure(FigureKind.COUNT, 0, (X,)),
        lambda: AskedFigure(FigureKind.REGRESSION, 0, (X,)),
        lambda: AskedFigure(FigureKind.QUANTILE, 0),
        lambda: AskedFigure(FigureKind.MEAN, 0, (X,), edges=(0, 1)),
        lambda: error_before(plan_noise(SHAPE, Fraction(1)), ASKED, 0),
        lambda: error_before(plan_noise(SHAPE, Fraction(1)), [AskedFigure(FigureKind.MEAN, 1, (X,))], 10),
    ],
)
def test_figures_that_are_not_planned_are_refused(build):
    with pytest.raises(StatisticError):
        build()


@pytest.mark.parametrize("hidden", Hidden)
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 10.0])
def test_the_words_state_the_bound_of_the_likelihood_ratio(epsilon, hidden):
    words = explain(round(epsilon * 1_000_000), DELTA, hidden)
    found, factor = min(1.0, math.exp(epsilon) * FALSE_ALARMS), math.exp(epsilon)
    for text, ends in ((words.english, ". "), (words.chinese, "。")):
        numbers = [float(each.replace(",", "")) for each in _numbers(text)]
        assert any(100 * found <= each <= 100 * found * 1.01 + 0.01 for each in numbers)
        assert any(factor <= each <= factor * 1.01 for each in numbers)
        assert len([part for part in text.split(ends) if part]) == 2
    assert ("person" in words.english) == (hidden is Hidden.PERSON)


def test_the_best_test_against_a_gaussian_release_finds_no_more_than_the_words_say():
    for squared_mu in (Fraction(1, 100), Fraction(1, 4), Fraction(1)):
        micro = gaussian_micro_epsilon(squared_mu, DELTA)
        found = 100 * norm.sf(norm.isf(FALSE_ALARMS) - float(squared_mu) ** 0.5)
        said = _numbers(explain(micro, DELTA).english.split("at most ")[2])[0]
        assert found <= float(said)


def test_words_for_no_epsilon_are_refused():
    for micro, delta in ((-1, DELTA), (10**9, DELTA), (1, Fraction(1)), (1, Fraction(0))):
        with pytest.raises(PrivacyCostError):
            explain(micro, delta)


def _numbers(text):
    words = "".join(each if each.isascii() and (each.isalnum() or each in ".,-+") else " " for each in text).split()
    numbers = [each.strip(".,") for each in words]
    return [each for each in numbers if each.replace(",", "").replace(".", "").replace("e+", "").isdigit()]
