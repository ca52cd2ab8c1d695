"""Every joint statistic is its plaintext counterpart over the pooled rows, under the same release rules.

The rows are CPS1988, among two to twenty bureaus; the counterparts are numpy's, scipy's and statsmodels'.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.api as sm

from parties.client.presentation import Presentation
from parties.client.query import read_query
from sandbox.query import CellTable
from sandbox.statistic import Measure
from tests.sandbox.bureaus import FRAME, WAGE_EDGES, Bureaus, pooled, shares

SCALARS = (
    "count",
    "count(experience)",
    "sum(wage)",
    "mean(wage)",
    "mean(experience)",
    "variance(wage)",
    "std(experience)",
    "covariance(wage,experience)",
    "correlation(education,wage)",
    "weighted_mean(wage,education)",
)
MATRIX = "correlation(wage,education,experience)"
REGRESSION = "regression(wage~education+experience)"
HISTOGRAM = "histogram(wage)"
QUANTILES = "quantile(wage,0.05,0.25,0.5,0.75,0.9)"
ANOVA = "anova(wage~education)"
EVERYTHING = (*SCALARS, MATRIX, REGRESSION, HISTOGRAM, QUANTILES, ANOVA)
WAGES = Measure(("wage",), ())
CASES = {
    "all rows": ((), {}, lambda frame: frame),
    "by groups": (("ethnicity", "parttime"), {}, lambda frame: frame),
    "by groups and filters": (
        ("ethnicity",),
        {"parttime": "no", "experience": (0, 40)},
        lambda frame: frame[(frame["parttime"] == "no") & frame["experience"].between(0, 39)],
    ),
}


@pytest.fixture(scope="module", params=[(2, True), (3, True), (4, False), (20, True)], ids=str)
def bureaus(request, tmp_path_factory) -> Iterator[Bureaus]:
    providers, nulls = request.param
    made = Bureaus(tmp_path_factory.mktemp("bureaus"), shares(providers, nulls=nulls))
    yield made
    made.close()


@pytest.mark.parametrize("case", CASES)
def test_every_statistic_is_that_of_the_pooled_rows(bureaus, case):
    by, where, keep = CASES[case]
    answer = bureaus.ask(EVERYTHING, by, where)
    own, wages, educations = read_query(FRAME, EVERYTHING, by, where).tables(FRAME)
    rows = pooled(bureaus.frames, own, keep)
    assert rows.rows
    assert_sums_are_exact(answer, own, rows, "")
    for _, row in answer.frame.iterrows():
        key = tuple(str(row[name]) for name in by)
        assert row["contributors"] == rows.contributors.get(key, 0)
        if key in rows.rows:
            assert_scalars(row, rows.rows[key])
            assert_matrix(group_of(answer.tables[MATRIX], by, key), rows.rows[key])
            assert_regression(answer, by, key, rows.rows[key])
        else:
            assert row[list(SCALARS)].isna().all()
    binned = pooled(bureaus.frames, wages, keep)
    assert_sums_are_exact(answer, wages, binned, " by wage")
    assert_histogram(answer.tables[HISTOGRAM], by, binned)
    assert_quantiles(answer, by, binned)
    levelled = pooled(bureaus.frames, educations, keep)
    assert_sums_are_exact(answer, educations, levelled, " by education")
    assert_anova(answer.tables[ANOVA], by, levelled)


def group_of(table: pd.DataFrame, by, key) -> pd.DataFrame:
    chosen = table
    for name, label in zip(by, key, strict=True):
        chosen = chosen[chosen[name].astype(str) == label]
    return chosen


def scaled(values: pd.Series, name: str) -> np.ndarray:
    return np.rint(values.to_numpy(dtype=float) * 10 ** FRAME.column(name).decimals).astype(np.int64)


def exactly(measure: Measure, rows: pd.DataFrame) -> int:
    """The measure over the rows in integers; 28,155 products of wages and wages are below 2^63."""
    there = rows.dropna(subset=list(measure.present))
    product = np.ones(len(there), dtype=np.int64)
    for name in measure.terms:
        product *= scaled(there[name], name)
    return int(product.sum())


def assert_sums_are_exact(answer: Presentation, table: CellTable, rows, suffix: str) -> None:
    assert len(rows.rows) > 1 or not table.grid.columns
    for measure in table.measures:
        found = answer.exact[measure.name + suffix]
        for cell in range(table.grid.size):
            key = table.grid.labels(cell)
            assert found[cell] == (exactly(measure, rows.rows[key]) if key in rows.rows else None)


def floats(rows: pd.DataFrame, *names: str) -> list[np.ndarray]:
    there = rows.dropna(subset=list(names))
    return [there[name].to_numpy(dtype=float) for name in names]


def assert_scalars(row: pd.Series, rows: pd.DataFrame) -> None:
    (wage,) = floats(rows, "wage")
    (experience,) = floats(rows, "experience")
    assert row["count"] == len(rows)
    assert row["count(experience)"] == len(experience)
    assert row["sum(wage)"] == float(Fraction(exactly(WAGES, rows), 100))
    assert row["mean(wage)"] == float(Fraction(exactly(WAGES, rows), 100 * len(rows)))
    assert row["mean(experience)"] == pytest.approx(experience.mean(), rel=1e-13)
    assert row["variance(wage)"] == pytest.approx(np.var(wage, ddof=1), rel=1e-12)
    assert row["std(experience)"] == pytest.approx(np.std(experience, ddof=1), rel=1e-12)
    joint = floats(rows, "wage", "experience")
    assert row["covariance(wage,experience)"] == pytest.approx(np.cov(*joint)[0, 1], rel=1e-10)
    pair = floats(rows, "education", "wage")
    assert row["correlation(education,wage)"] == pytest.approx(scipy.stats.pearsonr(*pair).statistic, rel=1e-11)
    weighted = np.average(wage, weights=floats(rows, "education")[0])
    assert row["weighted_mean(wage,education)"] == pytest.approx(weighted, rel=1e-13)


def assert_matrix(table: pd.DataFrame, rows: pd.DataFrame) -> None:
    names = ["wage", "education", "experience"]
    expected = np.corrcoef(floats(rows, *names))
    assert list(table["column"]) == names
    np.testing.assert_allclose(table[[f"r({name})" for name in names]].to_numpy(), expected, rtol=1e-10, atol=1e-13)


def assert_regression(answer: Presentation, by, key, rows: pd.DataFrame) -> None:
    wage, education, experience = floats(rows, "wage", "education", "experience")
    model = sm.OLS(wage, sm.add_constant(np.column_stack([education, experience]))).fit()
    table = group_of(answer.tables[REGRESSION], by, key)
    assert list(table["term"]) == ["(intercept)", "education", "experience"]
    np.testing.assert_allclose(table["coefficient"], model.params, rtol=1e-9)
    np.testing.assert_allclose(table["std error"], model.bse, rtol=1e-9)
    np.testing.assert_allclose(table["t"], model.tvalues, rtol=1e-9)
    np.testing.assert_allclose(table["p"], model.pvalues, rtol=1e-6, atol=1e-300)
    fit = group_of(answer.tables[f"{REGRESSION} fit"], by, key).iloc[0]
    assert (fit["n"], fit["df model"], fit["df residual"]) == (len(wage), model.df_model, model.df_resid)
    assert fit["R2"] == pytest.approx(model.rsquared, rel=1e-9)
    assert fit["adjusted R2"] == pytest.approx(model.rsquared_adj, rel=1e-9)
    assert fit["residual std error"] == pytest.approx(np.sqrt(model.mse_resid), rel=1e-11)
    assert fit["F"] == pytest.approx(model.fvalue, rel=1e-9)
    assert fit["p"] == pytest.approx(model.f_pvalue, rel=1e-6, abs=1e-300)


def assert_histogram(table: pd.DataFrame, by, binned) -> None:
    for row in table.itertuples(index=False):
        key = tuple(str(value) for value in row[: len(by) + 1])
        count = len(binned.rows[key]) if key in binned.rows else None
        assert (None if pd.isna(row.count) else row.count) == count
        assert row.contributors == binned.contributors.get(key, 0)


def assert_quantiles(answer: Presentation, by, binned) -> None:
    groups = {key[:-1] for key in binned.rows}
    table = answer.tables[QUANTILES]
    for group in groups:
        wages = np.concatenate([floats(rows, "wage")[0] for key, rows in binned.rows.items() if key[:-1] == group])
        counts, _ = np.histogram(wages, WAGE_EDGES)
        for row in group_of(table, by, group).to_dict("records"):
            true = np.quantile(wages, row["probability"], method="inverted_cdf")
            assert row["lo"] <= true <= row["hi"]
            assert (row["lo"], row["hi"]) in pairwise(WAGE_EDGES)  # one bin: the stated error
            assert row["lo"] <= row["estimate"] <= row["hi"]
            assert row["lo of all rows"] <= row["lo"]
            assert row["hi of all rows"] >= row["hi"]
        assert counts.sum() == len(wages)
    shown = answer.frame[[name for name in answer.frame if name.startswith("quantile(wage,0.5)")]]
    median = table[table["probability"] == 0.5]
    assert list(shown.iloc[:, 0].dropna()) == list(median["estimate"].dropna())
    assert list(shown.iloc[:, 1].dropna()) == list((median["hi"] - median["lo"]).dropna())


def assert_anova(table: pd.DataFrame, by, levelled) -> None:
    for group in {key[:-1] for key in levelled.rows}:
        wages = [floats(rows, "wage")[0] for key, rows in levelled.rows.items() if key[:-1] == group]
        if len(wages) < 2:
            assert group_of(table, by, group)["F"].isna().all()
            continue
        expected = scipy.stats.f_oneway(*wages)
        between, within, total = group_of(table, by, group).to_dict("records")
        everyone = np.concatenate(wages)
        assert between["F"] == pytest.approx(expected.statistic, rel=1e-9)
        assert between["p"] == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-300)
        assert (between["df"], within["df"]) == (len(wages) - 1, len(everyone) - len(wages))
        assert total["sum of squares"] == pytest.approx(((everyone - everyone.mean()) ** 2).sum(), rel=1e-11)
        assert within["sum of squares"] == pytest.approx(sum(((w - w.mean()) ** 2).sum() for w in wages), rel=1e-11)
