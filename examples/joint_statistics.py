"""Regression, histogram, quantiles and analysis of variance over several bureaus: `python joint_statistics.py HOME`.

HOME is a merchant's home with a contract in force over CPS1988 that permits `wage` and `education` to be aggregated,
`education` and `parttime` to be grouped by. No row leaves a bureau: what arrives are sums, exact to the last digit, and
everything below is computed from those.
"""

import sys

from parties import Merchant

REGRESSION = "regression(wage~education)"
STATISTICS = [REGRESSION, "histogram(education)", "quantile(education,0.25,0.5,0.75)", "anova(wage~parttime)"]


def main(home: str) -> None:
    """Print each table, and what it says in words."""
    with Merchant.open(home) as merchant:
        contracts = merchant.contracts()
        contract = contracts.loc[contracts["state"] == "active", "contract"].iloc[0]

        # 0. What it will cost follows from the contract and the query alone; nothing is sent yet.
        quote = merchant.quote(contract, statistics=STATISTICS)
        print(f"{quote.price} {quote.currency} for {quote.cells} cells, {quote.ciphertexts} ciphertexts a bureau\n")

        # 1. One call answers all of them. What is one number a group stands in the frame, here the quartiles.
        result = merchant.aggregate(contract, statistics=STATISTICS)
        print(result.frame.to_string(index=False), "\n")
        for name, table in result.tables.items():
            print(name)
            print(table.to_string(index=False), "\n")
        for note in result.notes:
            print(f"note: {note}")
        assert result.price == quote.price

        # 2. What a year of schooling goes with, and how much of all differences in wages that explains.
        slope = result.tables[REGRESSION].set_index("term").loc["education"]
        fit = result.tables[f"{REGRESSION} fit"].iloc[0]
        print(
            f"A year of schooling goes with {slope['coefficient']:+.2f} {slope['unit']} "
            f"(standard error {slope['std error']:.2f}); R2 is {fit['R2']:.3f} over {int(fit['n'])} persons."
        )

        # 3. The same within groups: a table begins with the grouping columns.
        grouped = merchant.aggregate(contract, statistics=[REGRESSION, "mean(wage)", "std(wage)"], by=["parttime"])
        print(grouped.frame.to_string(index=False), "\n")
        print(grouped.tables[REGRESSION].to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1])
