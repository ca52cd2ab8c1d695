"""What was spent: frozen privacy cost events, apart from how they are summed (`dp_accountant`).

Neighbours, throughout: data sets that differ by adding or removing one unit (a row, or a person where a person id is
declared). An event states what a release can tell of one unit, from public constants alone, in exact numbers. Its
plain form is for the ledger: dicts, lists, integers and strings, one form an event.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from protocols.errors import PrivacyCostError

MAX_HONEST_SHARES = 1024
MAX_BLOCKS = 4096
MAX_EVENTS = 4096
MAX_DEPTH = 4
MAX_COORDINATES = 1 << 40
MAX_TIMES = 1 << 40
MAX_FRACTION_BITS = 512
MIN_SHARE_VARIANCE = Fraction(1, 4)
"""Below it a sum of discrete Gaussians is too far from one for the bound of `dp_divergence` to say much."""

_FRACTION = re.compile(r"(0|[1-9][0-9]{0,159})/([1-9][0-9]{0,159})", re.ASCII)
_ZERO = Fraction(0)


@dataclass(frozen=True, slots=True)
class NoisedBlock:
    """Coordinates of one released vector that carry the same noise, and how far one unit moves them.

    Args:
        changed: the number of the block's coordinates that one unit can change at most (not the block's size): 1 for
            a histogram in which a row falls into one cell.
        share_variance: the parameter sigma^2 of one share of noise, N_Z(0, sigma^2); at least 1/4.
        squared_sensitivity: the block's part in the vector's squared L2 sensitivity, in squared units of the integers
            that are released (see `NoisedVector`); positive.

    Raises:
        PrivacyCostError: a field out of its limits.

    """

    changed: int
    share_variance: Fraction
    squared_sensitivity: Fraction

    def __post_init__(self) -> None:
        _require_integer("changed coordinates", self.changed, MAX_COORDINATES)
        _require_fraction("share variance", self.share_variance, MIN_SHARE_VARIANCE)
        _require_fraction("squared sensitivity", self.squared_sensitivity, _ZERO)
        if not self.squared_sensitivity:
            raise PrivacyCostError("squared sensitivity 0: a block that no unit changes costs nothing; leave it out")


@dataclass(frozen=True, slots=True)
class NoisedVector:
    """One release of an integer vector f(data) + noise; the whole vector is one event.

    Contract. For data sets x, x' that differ in one unit let d = f(x) - f(x'), in integers. In every block at most
    `changed` coordinates of d are not 0, and, with the sums over coordinates i and blocks b,

        sum_i d_i^2 / sigma_i^2  <=  sum_b squared_sensitivity_b / share_variance_b.

    The noise of every coordinate is the sum of at least `honest_shares` independent draws of N_Z(0, sigma_i^2), the
    discrete Gaussian with P(k) proportional to exp(-k^2 / (2 sigma_i^2)), that no observer knows; all coordinates are
    independent; noise that observers know, or beyond that number, counts for nothing.

    Args:
        honest_shares: m = K - D: shares that stay unknown to whoever looks; 1 to 1024 (1 where one provider alone
            adds the noise, and nobody who looks knows any of it).
        blocks: 1 to 4096 blocks.
        distance: a bound on the total variation distance, all coordinates and shares together, of the noise drawn from
            the law above; 0 for an exact sampler. It is charged to delta.

    Raises:
        PrivacyCostError: a field out of its limits.

    """

    honest_shares: int
    blocks: tuple[NoisedBlock, ...]
    distance: Fraction = _ZERO

    def __post_init__(self) -> None:
        _require_integer("honest shares", self.honest_shares, MAX_HONEST_SHARES)
        if not isinstance(self.blocks, tuple) or not all(isinstance(block, NoisedBlock) for block in self.blocks):
            raise PrivacyCostError("the blocks of a noised vector are a tuple of NoisedBlock")
        if not 1 <= len(self.blocks) <= MAX_BLOCKS:
            raise PrivacyCostError(f"a noised vector has 1 to {MAX_BLOCKS} blocks, this one {len(self.blocks)}")
        _require_fraction("distance", self.distance, _ZERO)
        if self.distance >= 1:
            raise PrivacyCostError("a total variation distance of 1 or more bounds nothing")


@dataclass(frozen=True, slots=True)
class Composed:
    """Several releases about the same units, each chosen with the earlier ones' results in sight.

    Args:
        events: 1 to 4096 events; their order does not change the cost.

    Raises:
        PrivacyCostError: another number, nesting deeper than 4, or an unknown event.

    """

    events: "tuple[CostEvent, ...]"

    def __post_init__(self) -> None:
        if not isinstance(self.events, tuple) or not 1 <= len(self.events) <= MAX_EVENTS:
            raise PrivacyCostError(f"a composition is a tuple of 1 to {MAX_EVENTS} events")
        for event in self.events:
            require_event(event)
        _require_depth(self)


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same release `times` times with fresh noise each, as `Composed` of so many.

    Args:
        event: what is repeated.
        times: 1 to 2^40.

    Raises:
        PrivacyCostError: another number, nesting deeper than 4, or an unknown event.

    """

    event: "CostEvent"
    times: int

    def __post_init__(self) -> None:
        require_event(self.event)
        _require_integer("times", self.times, MAX_TIMES)
        _require_depth(self)


@dataclass(frozen=True, slots=True)
class PoissonSampled:
    """A release computed on a secret sample that every unit enters independently with probability `rate`.

    Args:
        event: what is done with the sample, without sampling of its own.
        rate: 0 < q < 1, the same for every unit and public.

    Raises:
        PrivacyCostError: another rate, nested sampling, nesting deeper than 4, or an unknown event.

    """

    event: "CostEvent"
    rate: Fraction

    def __post_init__(self) -> None:
        require_event(self.event)
        _require_fraction("sampling rate", self.rate, _ZERO)
        if not 0 < self.rate < 1:
            raise PrivacyCostError(f"a sampling rate lies strictly between 0 and 1, not {self.rate}")
        if samples(self.event):
            raise PrivacyCostError("sampling within sampling has no bound here; multiply the rates")
        _require_depth(self)


CostEvent = NoisedVector | Composed | Repeated | PoissonSampled


def require_event(event: object) -> None:
    """Raise PrivacyCostError unless `event` is a cost event that the accountant knows."""
    if not isinstance(event, CostEvent):
        raise PrivacyCostError(f"{type(event).__name__} is no privacy cost that this version knows; nothing is charged")


def samples(event: CostEvent) -> bool:
    """Say whether any part of the event is computed on a secret sample."""
    return isinstance(event, PoissonSampled) or any(map(samples, _parts(event)))


def event_to_plain(event: CostEvent) -> dict[str, object]:
    """Return the event's plain form: dicts, lists, integers under 2^53, and fractions as strings in lowest terms."""
    match event:
        case NoisedVector(honest_shares, blocks, distance):
            plain_blocks = [
                {
                    "changed": block.changed,
                    "share_variance": _fraction_to_plain(block.share_variance),
                    "squared_sensitivity": _fraction_to_plain(block.squared_sensitivity),
                }
                for block in blocks
            ]
            return {
                "blocks": plain_blocks,
                "distance": _fraction_to_plain(distance),
                "honest_shares": honest_shares,
                "kind": "noised_vector",
            }
        case Composed(events):
            return {"events": [event_to_plain(part) for part in events], "kind": "composed"}
        case Repeated(part, times):
            return {"event": event_to_plain(part), "kind": "repeated", "times": times}
        case PoissonSampled(part, rate):
            return {"event": event_to_plain(part), "kind": "poisson_sampled", "rate": _fraction_to_plain(rate)}


def event_from_plain(plain: object) -> CostEvent:
    """Return the event of a plain form, which must be exactly what `event_to_plain` writes.

    Raises:
        PrivacyCostError: another form, an unknown kind, a fraction not in lowest terms, or a field out of its limits.

    """
    return _from_plain(plain, MAX_DEPTH)


def _from_plain(plain: object, depth: int) -> CostEvent:
    if depth == 0:
        raise PrivacyCostError(f"a privacy cost nests at most {MAX_DEPTH} deep")
    kind = plain.get("kind") if isinstance(plain, Mapping) else None
    match kind:
        case "noised_vector":
            fields = _fields(plain, "blocks", "distance", "honest_shares")
            blocks = tuple(_block_from_plain(block) for block in _list(fields["blocks"], MAX_BLOCKS))
            return NoisedVector(_integer(fields["honest_shares"]), blocks, _fraction(fields["distance"]))
        case "composed":
            fields = _fields(plain, "events")
            return Composed(tuple(_from_plain(part, depth - 1) for part in _list(fields["events"], MAX_EVENTS)))
        case "repeated":
            fields = _fields(plain, "event", "times")
            return Repeated(_from_plain(fields["event"], depth - 1), _integer(fields["times"]))
        case "poisson_sampled":
            fields = _fields(plain, "event", "rate")
            return PoissonSampled(_from_plain(fields["event"], depth - 1), _fraction(fields["rate"]))
        case _:
            raise PrivacyCostError("a privacy cost of a kind that this version does not know; nothing is charged")


def _block_from_plain(plain: object) -> NoisedBlock:
    fields = _fields(plain, "changed", "share_variance", "squared_sensitivity", kind=False)
    return NoisedBlock(
        _integer(fields["changed"]), _fraction(fields["share_variance"]), _fraction(fields["squared_sensitivity"])
    )


def _fields(plain: object, *names: str, kind: bool = True) -> Mapping[str, object]:
    wanted = {*names, "kind"} if kind else set(names)
    if not isinstance(plain, Mapping) or set(plain) != wanted:
        raise PrivacyCostError(f"a privacy cost with other fields than {sorted(wanted)}")
    return plain


def _list(value: object, limit: int) -> list[object]:
    if not isinstance(value, list) or not 1 <= len(value) <= limit:
        raise PrivacyCostError(f"a privacy cost lists 1 to {limit} parts")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise PrivacyCostError("a privacy cost has a field that should be an integer")
    return value


def _fraction(value: object) -> Fraction:
    written = _FRACTION.fullmatch(value) if isinstance(value, str) else None
    if written is None:
        raise PrivacyCostError('a privacy cost has a field that should be a fraction such as "25/3"')
    fraction = Fraction(int(written[1]), int(written[2]))
    if _fraction_to_plain(fraction) != value:
        raise PrivacyCostError("a privacy cost has a fraction that is not in lowest terms")
    return fraction


def _fraction_to_plain(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _require_integer(name: str, value: int, limit: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
        raise PrivacyCostError(f"{name} of a privacy cost: an integer from 1 to {limit} is wanted")


def _require_fraction(name: str, value: Fraction, least: Fraction) -> None:
    if not isinstance(value, Fraction) or value < least:
        raise PrivacyCostError(f"{name} of a privacy cost: a fraction of {least} or more is wanted")
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_FRACTION_BITS:
        raise PrivacyCostError(f"{name} of a privacy cost: at most {MAX_FRACTION_BITS} bits above and below the line")


def _parts(event: CostEvent) -> "tuple[CostEvent, ...]":
    match event:
        case Composed(events):
            return events
        case Repeated(part, _) | PoissonSampled(part, _):
            return (part,)
        case _:
            return ()


def _depth(event: CostEvent) -> int:
    return 1 + max(map(_depth, _parts(event)), default=0)


def _require_depth(event: CostEvent) -> None:
    if _depth(event) > MAX_DEPTH:
        raise PrivacyCostError(f"a privacy cost nests at most {MAX_DEPTH} deep")
