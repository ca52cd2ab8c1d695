"""What events cost: Renyi differential privacy at fixed orders, in integers, and epsilon at a delta.

A cost is a vector of divergences, one an order, in units of 2^-40, each rounded up once an event; composition is their
sum, which is exact and hence the same in every order. A cost bounds the Renyi divergences, in both directions, of what
the event releases from data sets that differ by adding or removing one unit (Mironov 2017; Zhu and Wang 2019 for
samples). It adds up over adaptively chosen events of a run that was fixed beforehand; where the costs themselves depend
on earlier results, `dp_filter` decides.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from operator import add

from protocols.dp_divergence import conversion_constant, poisson_sampled, sum_defect
from protocols.dp_events import Composed, CostEvent, NoisedVector, PoissonSampled, Repeated, require_event
from protocols.errors import PrivacyCostError

UNIT_BITS = 40
DISTANCE_BITS = 200
ORDERS = (
    *(Fraction(128 + (steps << octave), 128) for octave in range(12) for steps in range(32, 64)),
    Fraction(1025),
)
"""385 orders a: a - 1 takes 32 steps an octave from 1/4 to 1024, every integer from 2 to 65 among them.

Against all real orders that loses at most 1.3e-4 of epsilon (a relative step of 1/32 about the optimum of r a + L / a).
"""

DELTA_FOR_DISTANCES = Fraction(1, 1 << 20)
"""The part of every delta that is kept for the samplers' distances from their exact laws."""

_MICRO = 1_000_000
_UNIT = 1 << UNIT_BITS
_NEGLIGIBLE = Fraction(1, 1 << 60)


@dataclass(frozen=True, slots=True)
class Cost:
    """Renyi divergences at `ORDERS`, and total variation distance of the samplers; immutable, added by `plus`.

    Args:
        units: one non-negative integer an order, in units of 2^-40.
        distance: in units of 2^-200.

    Raises:
        PrivacyCostError: another number of orders, or a negative figure.

    """

    units: tuple[int, ...]
    distance: int = 0

    def __post_init__(self) -> None:
        if len(self.units) != len(ORDERS) or min(self.units) < 0 or self.distance < 0:
            raise PrivacyCostError(f"a cost is {len(ORDERS)} divergences and a distance, none of them negative")

    def plus(self, other: "Cost") -> "Cost":
        """Return the cost of both together."""
        return Cost(tuple(map(add, self.units, other.units)), self.distance + other.distance)

    def times(self, number: int) -> "Cost":
        """Return the cost of `number` (at least 0) such events."""
        return Cost(tuple(units * number for units in self.units), self.distance * number)


NOTHING = Cost((0,) * len(ORDERS))


def cost_of(event: CostEvent) -> Cost:
    """Return what the event costs; up to milliseconds of work, a fraction of a second where it samples.

    Raises:
        PrivacyCostError: an event of a kind that is not known.

    """
    require_event(event)
    match event:
        case NoisedVector():
            return Cost(_vector_units(event, ORDERS), _distance(event))
        case Composed(events):
            return reduce(Cost.plus, map(cost_of, events))
        case Repeated(part, times):
            return cost_of(part).times(times)
        case PoissonSampled(part, rate):
            return _sampled_cost(part, rate)


def micro_epsilon(cost: Cost, delta: Fraction) -> int:
    """Return epsilon at `delta` in millionths, rounded up: the least over all orders. For runs fixed beforehand.

    Nothing spent is epsilon 0. Source of the conversion: Canonne, Kamath and Steinke 2020, proposition 12, at the part
    of delta that is not kept for distances.

    Raises:
        PrivacyCostError: delta is not strictly between 0 and 1, or the distances exceed the part of it kept for them.

    """
    if cost == NOTHING:
        require_delta(delta)
        return 0
    best = min(map(add, cost.units, conversion_units(ORDERS, delta)))
    epsilon = max(0, to_micro(best))
    if cost.distance > distance_limit(epsilon, delta):
        raise PrivacyCostError("the samplers' distances from their exact laws exceed what delta keeps for them")
    return epsilon


def conversion_units(orders: tuple[Fraction, ...], delta: Fraction) -> tuple[int, ...]:
    """Return, an order, the integer that added to a divergence gives epsilon at `delta`, both in units of 2^-40.

    Raises:
        PrivacyCostError: delta is not strictly between 0 and 1, or has more than 512 bits.

    """
    require_delta(delta)
    usable = delta * (1 - DELTA_FOR_DISTANCES)
    return tuple(_ceil(conversion_constant(order, usable) * _UNIT) for order in orders)


def distance_limit(epsilon: int, delta: Fraction) -> int:
    """Return the largest total distance, in units of 2^-200, that (1 + e^epsilon) times fits into what delta keeps.

    With kappa a bound on the distance of the whole interaction from the ideal one, a guarantee (epsilon, d) of the
    ideal becomes (epsilon, d + (1 + e^epsilon) kappa). `epsilon` in millionths; e is taken as 3, rounding down. Above
    epsilon 1000 nothing fits.
    """
    if epsilon > 1000 * _MICRO:
        return 0
    growth = 1 + 3 ** -(-epsilon // _MICRO)
    return int(delta * DELTA_FOR_DISTANCES * (1 << DISTANCE_BITS) / growth)


def require_delta(delta: Fraction) -> None:
    """Raise PrivacyCostError unless delta is a fraction strictly between 0 and 1 of at most 512 bits."""
    if not isinstance(delta, Fraction) or not 0 < delta < 1 or delta.denominator.bit_length() > 512:
        raise PrivacyCostError("delta: a fraction strictly between 0 and 1 is wanted")


def to_micro(units: int) -> int:
    """Return units of 2^-40 in millionths, rounded up."""
    return -(-units * _MICRO >> UNIT_BITS)


def from_micro(micro: int) -> int:
    """Return millionths in units of 2^-40, rounded down; `to_micro(u) <= m` exactly where `u <= from_micro(m)`."""
    return (micro << UNIT_BITS) // _MICRO


def _vector_units(event: NoisedVector, orders: tuple[Fraction, ...]) -> tuple[int, ...]:
    """Return a bound on the divergence at each of the orders, in units: a d^2 / 2v and the defects of the sums."""
    shares = event.honest_shares
    squared = sum((block.squared_sensitivity / (shares * block.share_variance) for block in event.blocks), Fraction(0))
    changed: dict[Fraction, int] = {}
    for block in event.blocks:
        changed[block.share_variance] = changed.get(block.share_variance, 0) + block.changed
    defects = [(number, sum_defect(shares, variance)) for variance, number in changed.items()]
    most = sum((number * defect.log_range for number, defect in defects), Fraction(0))
    if most < _NEGLIGIBLE:  # as for all but the least noise: one bound for all orders, and integers alone
        slope, constant = squared * _UNIT / 256, most * _UNIT
        rise, start = slope.numerator * constant.denominator, constant.numerator * slope.denominator
        whole = slope.denominator * constant.denominator
        return tuple(-(-(_in_128ths(order) * rise + start) // whole) for order in orders)
    return tuple(
        _ceil((order * squared / 2 + sum(number * defect.excess(order) for number, defect in defects)) * _UNIT)
        for order in orders
    )


def _in_128ths(order: Fraction) -> int:
    return order.numerator * (128 // order.denominator)


def _sampled_cost(event: CostEvent, rate: Fraction) -> Cost:
    whole = tuple(int(order) for order in ORDERS if order.denominator == 1)
    own = [Fraction(units, _UNIT) for units in _integer_order_units(event, whole[-1])]
    symmetric = isinstance(event, NoisedVector)
    sampled = poisson_sampled(lambda order: own[order - 2], rate, whole, symmetric=symmetric)
    bounds = dict(zip(whole, sampled, strict=True))
    # (a-1) D_a is convex in a and 0 at a = 1, so a chord between integer orders bounds it between them.
    moments = {1: Fraction(0), **{order: (order - 1) * bound for order, bound in bounds.items()}}
    units = []
    for order in ORDERS:
        below = order.numerator // order.denominator
        share = order - below
        moment = moments[below] if not share else moments[below] * (1 - share) + moments[below + 1] * share
        units.append(_ceil(moment / (order - 1) * _UNIT))
    return Cost(tuple(units), _distance(event))


def _integer_order_units(event: CostEvent, last: int) -> list[int]:
    """Return the event's cost at the integer orders 2 to `last`, in units of 2^-40."""
    match event:
        case NoisedVector():
            return list(_vector_units(event, tuple(map(Fraction, range(2, last + 1)))))
        case Composed(events):
            return [sum(units) for units in zip(*(_integer_order_units(part, last) for part in events), strict=True)]
        case Repeated(part, times):
            return [units * times for units in _integer_order_units(part, last)]
        case PoissonSampled():
            raise PrivacyCostError("sampling within sampling has no bound here; multiply the rates")


def _distance(event: CostEvent) -> int:
    match event:
        case NoisedVector():
            return _ceil(event.distance * (1 << DISTANCE_BITS))
        case Composed(events):
            return sum(map(_distance, events))
        case Repeated(part, times):
            return times * _distance(part)
        case PoissonSampled(part, _):
            return _distance(part)


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
