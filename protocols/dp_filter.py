"""The privacy filter: who may spend how much more, when costs themselves depend on earlier results.

A filter at one order a admits a spend while the sum of the divergences of order a stays within a bound fixed in
advance. What it lets through, however adaptively chosen, has a divergence of order a within that bound (Feldman and
Zrnic 2021, "Individual Privacy Accounting via a Renyi Filter", theorem 3.1; Lecuyer 2021, theorem 1), also where the
releases run concurrently (Haney et al. 2023, "Concurrent Composition for Interactive Differential Privacy with Adaptive
Privacy-Loss Parameters"), hence costs (epsilon, delta) at most by the conversion of `dp_accountant`.

**Several orders.** "Admitted while some order stays within" is not sound with the full delta at each order: which
order stays within depends on the results, and an analyst who chooses by them reaches nearly the sum of the deltas (a
test does it). So delta is divided. Proof: let A_a be the runs at whose end a is the first order within its bound.
Spends only add up, so up to the end of such a run the filter at a alone, which halts where a is exceeded, admits the
same. For every event S and neighbours P, Q then P(S and A_a) <= e^epsilon Q(S and A_a) + delta_a; the sum over a is
the claim. One order costs nothing where all spends are sums of Gaussians: their divergences are all but proportional to
a, and the order at which the most of them fit is known in advance. It is the default.
"""

from dataclasses import dataclass
from fractions import Fraction

from protocols.dp_accountant import (
    NOTHING,
    ORDERS,
    Cost,
    conversion_units,
    distance_limit,
    from_micro,
    require_delta,
    to_micro,
)
from protocols.errors import BudgetExhaustedError, PrivacyCostError

MAX_MICRO_EPSILON = 100_000_000
MAX_FILTER_ORDERS = 16


@dataclass(frozen=True, slots=True)
class Budget:
    """The privacy that may be spent about any one unit, once and for all, and the orders at which it is watched.

    Args:
        micro_epsilon: epsilon in millionths, 1 to 100,000,000.
        delta: strictly between 0 and 1, at most 512 bits.
        orders: 1 to 16 of `ORDERS`, rising, among which delta is divided evenly; chosen before the first spend and
            never from results. None chooses the one at which the most Gaussian noise fits.

    Raises:
        PrivacyCostError: a field out of its limits (a float, NaN among them, is no integer).

    """

    micro_epsilon: int
    delta: Fraction
    orders: tuple[Fraction, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.micro_epsilon, int) or isinstance(self.micro_epsilon, bool):
            raise PrivacyCostError("epsilon: an integer number of millionths is wanted")
        if not 1 <= self.micro_epsilon <= MAX_MICRO_EPSILON:
            raise PrivacyCostError(f"epsilon: 1 to {MAX_MICRO_EPSILON} millionths are wanted, not {self.micro_epsilon}")
        require_delta(self.delta)
        if self.orders is None:
            return
        rising = tuple(sorted(set(self.orders)))
        if self.orders != rising or not 1 <= len(rising) <= MAX_FILTER_ORDERS or not set(rising) <= set(ORDERS):
            raise PrivacyCostError(f"the orders of a budget: 1 to {MAX_FILTER_ORDERS} of the accountant's, rising")


@dataclass(frozen=True, slots=True)
class PrivacyFilter:
    """A budget's bounds, ready for checks in microseconds; made by `for_budget`.

    What was spent is a `Cost`, `NOTHING` at first, kept by the caller; the filter itself has no state.
    """

    budget: Budget
    positions: tuple[int, ...]
    conversions: tuple[int, ...]
    distance: int

    @classmethod
    def for_budget(cls, budget: Budget) -> "PrivacyFilter":
        """Return the filter of the budget; milliseconds of work, so keep it.

        Raises:
            PrivacyCostError: the budget admits nothing at its orders, its epsilon being too small for its delta.

        """
        orders = budget.orders or (_best_order(budget),)
        conversions = conversion_units(orders, budget.delta / len(orders))
        if min(conversions) >= from_micro(budget.micro_epsilon):
            raise PrivacyCostError("this epsilon is too small for this delta to admit any release; raise one of them")
        positions = tuple(ORDERS.index(order) for order in orders)
        return cls(budget, positions, conversions, distance_limit(budget.micro_epsilon, budget.delta))

    def micro_epsilon(self, spent: Cost) -> int:
        """Return the epsilon that was spent, in millionths, rounded up; the budget admits it where it is no larger."""
        if spent == NOTHING:
            return 0
        return max(0, to_micro(self._least(spent, NOTHING)))

    def remaining(self, spent: Cost) -> int:
        """Return what is left of epsilon, in millionths, rounded down; 0 when it is gone."""
        return max(0, self.budget.micro_epsilon - self.micro_epsilon(spent))

    def marginal(self, spent: Cost, cost: Cost) -> int:
        """Return by how much `cost` raises the epsilon spent, in millionths; what a call is charged. Never negative.

        The marginals of a series of spends add up to the epsilon that all of them spent.
        """
        if cost == NOTHING:
            return 0
        return max(0, to_micro(self._least(spent, cost))) - self.micro_epsilon(spent)

    def check(self, spent: Cost, cost: Cost) -> None:
        """Raise BudgetExhaustedError if spending `cost` as well would leave no order within its bound."""
        if self._least(spent, cost) > from_micro(self.budget.micro_epsilon):
            raise BudgetExhaustedError(
                f"privacy budget: {self.remaining(spent)} of {self.budget.micro_epsilon} millionths of epsilon left, "
                "and this call needs more; ask for less, or with more noise"
            )
        if spent.distance + cost.distance > self.distance:
            raise BudgetExhaustedError(
                "privacy budget: the samplers' distances leave nothing of delta; use exact noise"
            )

    def take(self, spent: Cost, cost: Cost) -> Cost:
        """Return what is spent once `cost` is spent as well.

        Raises:
            BudgetExhaustedError: the budget does not admit it; nothing is spent.

        """
        self.check(spent, cost)
        return spent.plus(cost)

    def _least(self, spent: Cost, cost: Cost) -> int:
        watched = zip(self.positions, self.conversions, strict=True)
        return min(spent.units[place] + cost.units[place] + constant for place, constant in watched)


def _best_order(budget: Budget) -> Fraction:
    """Return the order at which the largest sum of squared sensitivities over variances fits the budget."""
    limit = from_micro(budget.micro_epsilon)
    rooms = zip(ORDERS, conversion_units(ORDERS, budget.delta), strict=True)
    return max(rooms, key=lambda room: ((limit - room[1]) / room[0], -room[0]))[0]
