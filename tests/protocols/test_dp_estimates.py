"""Figures from noised totals: exact without noise, covered by their stated errors with it, never an exception."""

from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import quantiles
from protocols.dp_estimates import (
    NORMAL_95,
    NoisedCell,
    NoisedTotal,
    Note,
    count,
    deviation,
    histogram,
    mean,
    open_totals,
    total,
    variance,
)
from protocols.dp_noise_sampler import TableSampler
from protocols.dp_quantiles import quantile
from protocols.dp_regression import regression
from protocols.dp_release import ReleaseShape, plan_noise
from protocols.dp_sensitivity import BoundedColumn, CentredMeasure, ReleaseTable
from protocols.errors import StatisticError
from protocols.moments import Moments
from protocols.regression import linear_regression
from tests.protocols.noise_laws import seeded

A = BoundedColumn("a", 0, 100)
B = BoundedColumn("b", -50, 30, 1)
Y = BoundedColumn("y", 0, 5000, 1)
COLUMNS = (A, B, Y)
PAIRS = tuple(combinations_with_replacement(COLUMNS, 2))
MEASURES = (CentredMeasure(()), *(CentredMeasure((x,)) for x in COLUMNS), *(CentredMeasure(pair) for pair in PAIRS))
TRUE = (130.0, 15 / 10, 8.0)
RELEASES = 2000


def draw_rows(chance, *shape):
    """Rows of a linear model, well within the bounds; scaled integers of each column."""
    a = chance.integers(0, 61, shape)  # the means lie off the middle of the bounds
    b = np.clip(chance.normal(-22, 12, shape).round(), B.lo, B.hi).astype(np.int64)
    noise = chance.normal(0, 400, shape)
    y = np.clip((1300 + 15 * a + 8 * b + noise).round(), Y.lo, Y.hi).astype(np.int64)
    return {"a": a, "b": b, "y": y}


def plain_totals(rows):
    """Plain totals over the last axis, by the names of columns."""
    size = np.asarray(rows["a"]).shape
    totals = {(): np.full(size[:-1], size[-1])}
    for x in COLUMNS:
        totals[(x.name,)] = rows[x.name].sum(axis=-1)
    for x, y in PAIRS:
        totals[(x.name, y.name)] = (rows[x.name] * rows[y.name]).sum(axis=-1)
    return totals


def released(rows, rho, name, providers=4):
    """Cells with these rows each, shape (cells, rows), all at the first provider; noise of all of them."""
    plain = plain_totals(rows)
    cells = len(plain[()])
    shape = ReleaseShape((ReleaseTable(cells, MEASURES),), providers=providers, tolerated=1)
    plan = plan_noise(shape, rho)
    joint = []
    for place, block in enumerate(plan.blocks[0]):
        sampler = TableSampler(block.share.variance, stream=seeded(f"{name} {place}"))
        exact = [block.measure.centred({key: int(each[i]) for key, each in plain.items()}) for i in range(cells)]
        parts = [block.noised(exact if p == 0 else [0] * cells, 1 << 32, sampler) for p in range(providers)]
        joint.append([sum(part) for part in zip(*parts, strict=True)])
    return open_totals(plan, 0, list(zip(*joint, strict=True)), providers)


def exact_cell(rows, noise=0):
    plain = {key: int(each[0]) for key, each in plain_totals({k: v[None, :] for k, v in rows.items()}).items()}
    return NoisedCell(MEASURES, tuple(NoisedTotal(measure.centred(plain), Fraction(noise)) for measure in MEASURES))


def moments(rows):
    plain = plain_totals(rows)
    return Moments(
        int(plain[()]),
        tuple(int(plain[(x.name,)]) for x in COLUMNS),
        tuple(int(plain[(x.name, y.name)]) for x, y in PAIRS),
        tuple(x.decimals for x in COLUMNS),
    )


def covered(figures, exact):
    return np.mean([figure.interval[0] <= exact <= figure.interval[1] for figure in figures])


def test_without_noise_every_figure_is_the_plain_one():
    rows = draw_rows(np.random.default_rng(1), 500)
    cell = exact_cell(rows)
    y = rows["y"] / 10
    assert count(cell).value == 500
    assert total(cell, Y).value == pytest.approx(y.sum(), rel=1e-12)
    assert mean(cell, Y).value == pytest.approx(y.mean(), rel=1e-12)
    assert variance(cell, Y).value == pytest.approx(y.var(ddof=1), rel=1e-12)
    assert deviation(cell, Y).value == pytest.approx(y.std(ddof=1), rel=1e-12)
    assert {f.error for f in (count(cell), total(cell, Y), mean(cell, Y), variance(cell, Y), deviation(cell, Y))} == {0}


def test_without_noise_and_ridge_a_regression_is_ordinary_least_squares_with_its_standard_errors():
    rows = draw_rows(np.random.default_rng(2), 400)
    fit = regression(exact_cell(rows), Y, [A, B], ridge=0.0)
    exact = linear_regression(moments(rows), 2, [0, 1])
    for ours, theirs in zip((fit.intercept, *fit.coefficients), (exact.intercept, *exact.coefficients), strict=True):
        assert ours.value == pytest.approx(theirs.value, rel=1e-9)
        assert ours.standard_error == pytest.approx(theirs.standard_error, rel=1e-9)
        assert ours.noise_error == 0
    assert fit.residual_deviation.value == pytest.approx(exact.residual_standard_error, rel=1e-9)
    assert fit.r_squared.value == pytest.approx(exact.r_squared, rel=1e-9)


def figures_of(cell):
    fit = regression(cell, Y, [A, B], ridge=0.0)
    return {
        "sum": (total(cell, Y).value, total(cell, Y).error),
        "mean": (mean(cell, Y).value, mean(cell, Y).error),
        "variance": (variance(cell, Y).value, variance(cell, Y).error),
        "deviation": (deviation(cell, Y).value, deviation(cell, Y).error),
        "intercept": (fit.intercept.value, fit.intercept.noise_error),
        "a": (fit.coefficients[0].value, fit.coefficients[0].noise_error),
        "b": (fit.coefficients[1].value, fit.coefficients[1].noise_error),
        "residuals": (fit.residual_deviation.value, fit.residual_deviation.error),
        "explained": (fit.r_squared.value, fit.r_squared.error),
    }


def test_stated_errors_are_what_small_changes_of_every_total_do_to_the_figures():
    exact = exact_cell(draw_rows(np.random.default_rng(8), 100_000))
    relative = Fraction(1, 10**4)
    totals = [
        NoisedTotal(each.value, relative * measure.row_change**2)
        for each, measure in zip(exact.totals, MEASURES, strict=True)
    ]
    squared = dict.fromkeys(figures_of(exact), 0.0)
    for place, measure in enumerate(MEASURES):
        moved = []
        for sign in (-1, 1):
            changed = [*totals]
            changed[place] = NoisedTotal(totals[place].value + sign * measure.row_change, totals[place].variance)
            moved.append(figures_of(NoisedCell(MEASURES, tuple(changed))))
        for name in squared:
            squared[name] += ((moved[1][name][0] - moved[0][name][0]) / 2) ** 2 * float(relative)
    stated = figures_of(NoisedCell(MEASURES, tuple(totals)))
    for name, sum_of_squares in squared.items():
        assert stated[name][1] == pytest.approx(sum_of_squares**0.5, rel=1e-4), name


@pytest.mark.parametrize("rows_per_cell", [300, 3000])
def test_95_percent_intervals_of_noise_hold_the_exact_figure_in_93_to_97_percent(rows_per_cell):
    rows = draw_rows(np.random.default_rng(3), rows_per_cell)
    cells = released({k: np.tile(v, (RELEASES, 1)) for k, v in rows.items()}, Fraction(1, 20), "fixed")
    y = rows["y"] / 10
    exact = {count: rows_per_cell, total: y.sum(), mean: y.mean(), variance: y.var(ddof=1), deviation: y.std(ddof=1)}
    for figure, value in exact.items():
        told = [figure(cell) if figure is count else figure(cell, Y) for cell in cells]
        assert 0.93 <= covered([each for each in told if each.value is not None], value) <= 0.97, figure
        assert sum(each.value is None for each in told) < RELEASES / 4


def test_95_percent_intervals_of_a_regression_hold_its_truth_in_93_to_97_percent():
    releases = 1200
    rows = draw_rows(np.random.default_rng(4), 2500)
    exact = linear_regression(moments(rows), 2, [0, 1])
    cells = released({k: np.tile(v, (releases, 1)) for k, v in rows.items()}, Fraction(1, 20), "regression")
    fits = [regression(cell, Y, [A, B]) for cell in cells]
    assert all(fit.note is None for fit in fits)
    for place, true in enumerate((exact.intercept, *exact.coefficients)):
        told = [(fit.intercept, *fit.coefficients)[place] for fit in fits]
        hits = np.mean([abs(each.value - true.value) <= NORMAL_95 * each.noise_error for each in told])
        assert 0.93 <= hits <= 0.97
    assert 0.93 <= covered([fit.residual_deviation for fit in fits], exact.residual_standard_error) <= 0.97
    assert 0.93 <= covered([fit.r_squared for fit in fits], exact.r_squared) <= 0.97


def test_standard_errors_of_a_regression_cover_sampling_and_noise_together():
    releases = 1200
    cells = released(draw_rows(np.random.default_rng(5), releases, 2500), Fraction(1), "sampled")
    fits = [regression(cell, Y, [A, B]) for cell in cells]
    for place, true in enumerate(TRUE):
        told = [(fit.intercept, *fit.coefficients)[place] for fit in fits]
        hits = np.mean([abs(each.value - true) <= NORMAL_95 * each.standard_error for each in told])
        assert 0.93 <= hits <= 0.97
        # either part alone is too short
        assert np.mean([abs(each.value - true) <= NORMAL_95 * each.noise_error for each in told]) < 0.93


def test_a_ridge_that_is_public_leaves_next_to_no_bias():
    rows = draw_rows(np.random.default_rng(6), 2000)
    noisy = exact_cell(rows)
    scatter = rows["a"].var() * 4 / A.width**2 * 2000
    plain, ridged = (regression(noisy, Y, [A], ridge=ridge).coefficients[0].value for ridge in (0.0, scatter / 20))
    assert ridged == pytest.approx(plain * (1 - 1 / 21**2), rel=1e-9)


def test_noise_that_leaves_nothing_is_a_note_and_not_a_figure():
    few = NoisedCell(MEASURES, tuple(NoisedTotal(3, Fraction(4)) for _ in MEASURES))
    assert mean(few, Y).note is variance(few, Y).note is regression(few, Y, [A]).note is Note.FEW_ROWS
    flat = NoisedCell(MEASURES, tuple(NoisedTotal(1000 if not m.terms else -(10**9), Fraction(4)) for m in MEASURES))
    assert variance(flat, Y).note is deviation(flat, Y).note is Note.NEGATIVE_SQUARES
    assert regression(flat, Y, [A, B]).note is Note.ILL_CONDITIONED
    assert quantile([NoisedTotal(1, Fraction(9))] * 3, [0, 1, 2, 3], Fraction(1, 2), 0).note is Note.FEW_ROWS


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_totals_whatever_raise_anything(data):
    values = data.draw(st.lists(st.integers(-(2**80), 2**80), min_size=len(MEASURES), max_size=len(MEASURES)))
    values[0] = data.draw(st.integers(-10, 10**6))
    noise = Fraction(data.draw(st.integers(1, 2**60)), 7)
    cell = NoisedCell(MEASURES, tuple(NoisedTotal(value, noise) for value in values))
    for figure in (count(cell), total(cell, Y), mean(cell, Y), variance(cell, Y), deviation(cell, Y)):
        assert (figure.value is None) == (figure.note is not None)
    fit = regression(cell, Y, [A, B])
    assert (fit.intercept.value is None) == (fit.note is not None)
    quantile([cell.total()] * 3, [0, 1, 2, 3], Fraction(1, 3), 0)


def test_clipping_moves_negative_counts_to_zero_and_is_off_unless_asked_for():
    cells = [NoisedCell((CentredMeasure(()),), (NoisedTotal(value, Fraction(9)),)) for value in (-4, 7)]
    assert [figure.value for figure in histogram(cells)] == [-4, 7]
    assert [figure.value for figure in histogram(cells, clipped=True)] == [0, 7]
    assert {figure.error for figure in histogram(cells)} == {3.0}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.fractions("1/20", "19/20", max_denominator=20))
def test_without_noise_a_quantile_is_where_its_bin_says(counts, probability):
    edges = [7 * place for place in range(len(counts) + 1)]
    told = quantile([NoisedTotal(each, Fraction(0)) for each in counts], edges, probability, 0)
    exact = quantiles.quantile(counts, edges, probability, 0)
    if sum(counts) < 2:
        assert told.note is Note.FEW_ROWS
        return
    assert told.lo <= float(exact.lo) <= float(exact.hi) <= told.hi
    assert told.lo <= told.estimate <= told.hi
    balance = [sum(counts[:place]) - probability * sum(counts) for place in range(len(edges))]
    if 0 not in balance:  # a quantile at an edge may lie on either side
        assert (told.lo, told.hi) == (float(exact.lo), float(exact.hi))
        assert told.estimate == pytest.approx(float(exact.estimate))


@pytest.mark.parametrize("probability", [Fraction(37, 642), Fraction(1, 2), Fraction(595, 642)], ids=str)
def test_a_quantile_s_interval_holds_it_in_95_of_100_releases_at_least_and_is_not_idle(probability):
    counts = [2, 5, 11, 30, 60, 80, 70, 40, 14, 6, 2, 1]
    edges = list(range(len(counts) + 1))
    exact = quantiles.quantile(counts, edges, probability, 0)  # the first and last lie half a row from an edge
    sampler = TableSampler(Fraction(64), stream=seeded("quantile"))
    noise = sampler.draw(RELEASES * len(counts)).reshape(RELEASES, -1)
    noised = [[NoisedTotal(c + int(z), Fraction(64)) for c, z in zip(counts, row, strict=True)] for row in noise]
    told = [quantile(each, edges, probability, 0) for each in noised]
    assert np.mean([each.lo <= exact.lo and exact.hi <= each.hi for each in told]) >= 0.95
    assert np.mean([each.hi - each.lo for each in told]) <= 4


def test_noise_draws_a_quantile_to_neither_side_for_a_mirrored_histogram_has_it_mirrored():
    noise = TableSampler(Fraction(64), stream=seeded("mirror")).draw(200 * 64).reshape(200, 64)
    edges = list(range(65))
    for row in noise:
        counts = [NoisedTotal(10 + int(z), Fraction(64)) for z in row]
        there, back = quantile(counts, edges, Fraction(10, 21), 0), quantile(counts[::-1], edges, Fraction(11, 21), 0)
        assert back.estimate == pytest.approx(64 - there.estimate)
        assert (back.lo, back.hi) == (64 - there.hi, 64 - there.lo)


@pytest.mark.parametrize(
    "ask",
    [
        lambda cell: mean(cell, BoundedColumn("z", 0, 1)),
        lambda cell: mean(cell, Y, ("y",)),
        lambda cell: regression(cell, Y, []),
        lambda cell: regression(cell, Y, [Y]),
        lambda cell: regression(cell, Y, [A], ridge=-1.0),
        lambda cell: regression(cell, Y, [A], ridge=float("nan")),
        lambda cell: quantile([cell.total()], [0, 1, 2], Fraction(1, 2), 0),
        lambda cell: quantile([cell.total()], [0, 1], Fraction(1), 0),
        lambda cell: NoisedCell(MEASURES, cell.totals[1:]),
    ],
)
def test_what_was_not_released_cannot_be_asked(ask):
    with pytest.raises(StatisticError):
        ask(exact_cell(draw_rows(np.random.default_rng(7), 20)))
