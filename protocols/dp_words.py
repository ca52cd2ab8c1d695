"""What an epsilon means, in two plain sentences: nothing but the bound that differential privacy is defined by.

For neighbours P, Q and every set S of outcomes, P(S) <= e^epsilon Q(S) + delta. Read as a test of whether one unit's
data were used: with false alarms in a share `a` of the cases without them, it finds them in at most e^epsilon a + delta
of those with them, and by the converse bound misses at least e^-epsilon (1 - a - delta). With delta left aside,
nobody's odds move by more than a factor of e^epsilon.
"""

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from math import exp
from typing import Final

from protocols.dp_accountant import require_delta
from protocols.errors import PrivacyCostError

FALSE_ALARMS: Final = 0.01
"""The test of the explanation accuses one in a hundred whose data were not used."""

_LARGEST: Final = 100_000_000


class Hidden(Enum):
    """The unit whose presence a release hides, in words."""

    ROW = "row"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The same two sentences in English and in Chinese."""

    english: str
    chinese: str


def explain(micro_epsilon: int, delta: Fraction, hidden: Hidden = Hidden.ROW) -> Explanation:
    """Return what a release, or all releases together, of this epsilon may tell of one row or person.

    Args:
        micro_epsilon: in millionths, 0 to 100,000,000.
        delta: strictly between 0 and 1.
        hidden: what is protected.

    Raises:
        PrivacyCostError: out of these ranges.

    """
    require_delta(delta)
    if not 0 <= micro_epsilon <= _LARGEST:
        raise PrivacyCostError(f"epsilon: 0 to {_LARGEST} millionths are wanted")
    epsilon = micro_epsilon / 1_000_000
    found = _percent(_most_found(epsilon, float(delta)))
    factor = _rounded_up(exp(epsilon))
    slip = f"{float(delta):.2g}"
    who, chinese = ("one person's rows", "某个人的数据") if hidden is Hidden.PERSON else ("one given row", "某一行数据")
    return Explanation(
        f"With epsilon {epsilon:g}, whoever tries to tell from the figures whether {who} went into them, and is wrong "
        f"for at most 1 in 100 that did not, is right for at most {found} in 100 that did. "
        f"Whatever the odds were thought to be before, the figures change them by a factor of {factor} at most "
        f"(leaving delta = {slip} aside).",
        f"epsilon 为 {epsilon:g} 时：若有人想凭这些数字判断{chinese}是否参与了计算，对未参与者每 100 个至多误判 1 个，"
        f"则对确实参与者每 100 个至多能认出 {found} 个。"
        f"无论事先认为胜算（可能与不可能之比）是多少，这些数字最多使其改变 {factor} 倍（不计 delta = {slip}）。",
    )


def _most_found(epsilon: float, delta: float) -> float:
    growth = exp(epsilon)
    return min(1.0, growth * FALSE_ALARMS + delta, 1 - max(0.0, 1 - FALSE_ALARMS - delta) / growth)


def _percent(share: float) -> str:
    return _rounded_up(100 * share) if share < 1 else "100"


def _rounded_up(value: float) -> str:
    """Three significant digits at least, never below the value."""
    text = f"{value:.3g}"
    digits = value * (1 if float(text) >= value else 1.005)
    return f"{float(f'{digits:.3g}'):,.12g}"
