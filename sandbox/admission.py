"""Admission: the one place where a call is taken, and the only source of a `Grant`.

What a merchant has used up is a fold over the party's own ledger. `Admission.take` hands the ledger a guard; the
ledger's sequencer runs it inside the transaction that appends INTENT, with every earlier draft of the batch already
folded in. Hence no two calls, however concurrent, take the last place of a quota, and no crash forgets who took it.

Numbered as they are checked:
 1 nonce             blocks a replayed request
 2 deadline          blocks a request that grew stale while it waited
 3 acknowledgements  blocks a merchant that takes parts and never countersigns
 4 quota             blocks overspending of calls, ciphertexts and privacy, and offers asked for without end
 5 fee cap           blocks costs beyond what was signed
 6 privacy budget    blocks knowing more of one row or person than the provider ever gives, whoever asks
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, replace
from typing import Final, NoReturn, SupportsIndex, final

from audit.clock import Clock
from audit.entry import NO_UNITS, Aborted, Ack, Entry, Intent, Outcome, Side, Units
from audit.entry_keys import call_key, nonce_key
from audit.errors import DuplicateKeyError
from audit.ledger import Draft, Ledger
from audit.tariff import format_micro
from sandbox.authorise import Authorised
from sandbox.budget import PrivacyBudgets, Spend
from sandbox.contract import Contract
from sandbox.errors import DenialReason, DeniedError

OUTSTANDING_LIMIT: Final = 16
"""Outcomes that a merchant may leave unacknowledged at one provider; at that many its calls are suspended."""

TRIES_A_CALL: Final = 16
"""How often each call of the quota may be taken and given back: every offer tells which cells are withheld."""

_SEAL: Final = object()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Grant:
    """The right to run one call: its INTENT is in the ledger. Only `Admission.take` makes one.

    `intent_index` is the entry's index, `at_ms` its time, `provider_nonce` 16 random bytes in hex. It cannot be copied,
    pickled or altered; a constructor call without this module's seal raises `TypeError`.
    """

    authorised: Authorised
    provider_nonce: str
    intent_index: int
    at_ms: int
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a Grant comes from Admission.take alone")

    @property
    def call(self) -> str:
        """The request's id."""
        return self.authorised.call

    def __copy__(self) -> NoReturn:
        raise TypeError("a Grant cannot be copied: one call, one Grant")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("a Grant cannot be copied: one call, one Grant")

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a Grant cannot be pickled: it is bound to this process and its ledger")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one contract has used up at this provider. `fee_micro` in micro-units of the contract's currency.

    `tries` counts the calls taken, those given back included.
    """

    calls: int = 0
    ciphertexts: int = 0
    micro_epsilon: int = 0
    fee_micro: int = 0
    tries: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class CallState:
    """A call that is neither acknowledged nor aborted. `receipt_id` is empty until its OUTCOME is in the ledger."""

    call: str
    contract: str
    merchant: str
    computing_party: str
    participants: tuple[str, ...]
    units: Units
    price_micro: int
    deadline_ms: int
    receipt_id: str = ""

    @property
    def released(self) -> bool:
        """Whether the part may have left: its OUTCOME is recorded."""
        return bool(self.receipt_id)


class Admission:
    """The fold over a provider's calls (an `audit.ledger.Fold`: hand it to `Ledger.open`).

    Its state changes in the ledger's sequencer alone; what it hands out is frozen, so that other threads may read.
    Finished calls leave nothing behind but their contract's usage, so that memory is bounded by contracts and by
    open and unacknowledged calls.
    """

    def __init__(self) -> None:
        self._usage: dict[str, Usage] = {}
        self._calls: dict[str, CallState] = {}
        self._outstanding: dict[str, int] = {}
        self._budgets = PrivacyBudgets()

    def reset(self) -> None:
        """Forget everything, before the ledger is folded from its first entry."""
        self._usage = {}
        self._calls = {}
        self._outstanding = {}
        self._budgets.reset()

    def apply(self, index: int, entry: Entry) -> None:
        """Fold one entry in. Only a provider's own calls count."""
        self._budgets.apply(index, entry)
        match entry:
            case Intent(side=Side.PROVIDER):
                self._take(entry)
            case Outcome(side=Side.PROVIDER) if entry.call in self._calls:
                state = replace(self._calls[entry.call], receipt_id=entry.receipt_id)
                self._calls[entry.call] = state
                self._outstanding[state.merchant] = self.outstanding(state.merchant) + 1
            case Ack(side=Side.PROVIDER) if entry.call in self._calls:
                self._finish(self._calls.pop(entry.call))
            case Aborted(side=Side.PROVIDER) if entry.call in self._calls:
                state = self._calls.pop(entry.call)
                self._finish(state)
                self._refund(state, released=entry.released or state.released)
            case _:
                pass

    def usage(self, contract: str) -> Usage:
        """What `contract` (hex id) has used up."""
        return self._usage.get(contract, Usage())

    @property
    def budgets(self) -> PrivacyBudgets:
        """What was spent of privacy budgets."""
        return self._budgets

    def outstanding(self, merchant: str) -> int:
        """How many outcomes the merchant has not acknowledged."""
        return self._outstanding.get(merchant, 0)

    def state(self, call: str) -> CallState | None:
        """The call's state while it is open or unacknowledged."""
        return self._calls.get(call)

    def open_calls(self) -> tuple[CallState, ...]:
        """All calls that are neither acknowledged nor aborted."""
        return tuple(self._calls.values())

    def take(self, ledger: Ledger, authorised: Authorised, provider_nonce: str, clock: Clock) -> Grant:
        """Check and take in one step: append INTENT under the guard, and hand out the Grant once it is durable.

        Raises:
            DeniedError: REPLAYED, STALE, ACKNOWLEDGEMENTS_OUTSTANDING, QUOTA_EXHAUSTED, FEE_CAP_REACHED or
                BUDGET_EXHAUSTED, with what is left; nothing is taken.
            LedgerError: the ledger did not record; nothing is taken.
        """
        request = authorised.request
        once = nonce_key(request.merchant, request.nonce)
        at_ms = clock.now_ms()
        spend = _spend(authorised)  # its cost is computed here, outside the transaction

        def guard() -> Draft:
            _verify_deadline(authorised, clock.now_ms())
            _verify_acknowledged(self.outstanding(request.merchant), request.merchant)
            used = self.usage(request.contract)
            _verify_tries(used, authorised.contract)
            _verify_quota(used, authorised.units, authorised.contract)
            _verify_fee(used, authorised.price_micro, authorised.contract)
            if spend is not None:
                self._budgets.verify(spend)
            return Draft(
                _intent(authorised, provider_nonce, at_ms, spend), keys=(once, call_key(Side.PROVIDER, authorised.call))
            )

        # The key in the ledger is what holds; looking first only lets a replay be called so when a quota is spent too.
        if ledger.find(once) is not None:
            raise _replayed(request.nonce)
        try:
            appended = ledger.append(guard)
        except DuplicateKeyError as error:
            raise _replayed(request.nonce) from error
        return Grant(authorised, provider_nonce, appended.index, at_ms, _SEAL)

    def _take(self, intent: Intent) -> None:
        used = self.usage(intent.contract)
        self._usage[intent.contract] = Usage(
            used.calls + intent.units.calls,
            used.ciphertexts + intent.units.ciphertexts,
            used.micro_epsilon + intent.units.micro_epsilon,
            used.fee_micro + intent.price_micro,
            used.tries + 1,
        )
        self._calls[intent.call] = CallState(
            call=intent.call,
            contract=intent.contract,
            merchant=intent.merchant,
            computing_party=intent.computing_party,
            participants=intent.participants,
            units=intent.units,
            price_micro=intent.price_micro,
            deadline_ms=intent.deadline_ms,
        )

    def _finish(self, state: CallState) -> None:
        if state.released:
            left = self.outstanding(state.merchant) - 1
            if left:
                self._outstanding[state.merchant] = left
            else:
                self._outstanding.pop(state.merchant, None)

    def _refund(self, state: CallState, *, released: bool) -> None:
        used = self.usage(state.contract)
        back = NO_UNITS if released else state.units
        self._usage[state.contract] = Usage(
            used.calls - back.calls,
            used.ciphertexts - back.ciphertexts,
            used.micro_epsilon - back.micro_epsilon,
            used.fee_micro - state.price_micro,
            used.tries,
        )


def _spend(authorised: Authorised) -> Spend | None:
    private = authorised.private
    if private is None:
        return None
    return Spend.of(private.entity, authorised.dataset, private.cost, private.terms)


def _verify_deadline(authorised: Authorised, now_ms: int) -> None:
    if now_ms >= authorised.request.deadline_ms:
        raise DeniedError(
            DenialReason.STALE, "deadline_ms", "the request's deadline has passed; sign a new one with a later deadline"
        )


def _verify_acknowledged(outstanding: int, merchant: str) -> None:
    if outstanding >= OUTSTANDING_LIMIT:
        raise DeniedError(
            DenialReason.ACKNOWLEDGEMENTS_OUTSTANDING,
            "acknowledgements",
            f"{merchant} has {outstanding} receipts to countersign and may have {OUTSTANDING_LIMIT - 1}; "
            "send its acknowledgements, then ask again",
            left={"outstanding": outstanding},
        )


def _verify_tries(used: Usage, contract: Contract) -> None:
    if used.tries >= TRIES_A_CALL * contract.quotas.calls:
        raise DeniedError(
            DenialReason.QUOTA_EXHAUSTED,
            "quotas.calls",
            f"{used.tries} calls were taken and most of them given back, {TRIES_A_CALL} times the quota; "
            "find out why they end without an answer; a further contract gives more",
            left={"calls": 0},
        )


def _verify_quota(used: Usage, units: Units, contract: Contract) -> None:
    left = {
        "calls": max(0, contract.quotas.calls - used.calls),
        "ciphertexts": max(0, contract.quotas.ciphertexts - used.ciphertexts),
        "micro_epsilon": max(0, contract.quotas.micro_epsilon - used.micro_epsilon),
    }
    wanted = {"calls": units.calls, "ciphertexts": units.ciphertexts, "micro_epsilon": units.micro_epsilon}
    for unit, amount in wanted.items():
        if amount > left[unit]:
            raise DeniedError(
                DenialReason.QUOTA_EXHAUSTED,
                f"quotas.{unit}",
                f"the call takes {amount} {unit} and {left[unit]} are left; a further contract gives more",
                left=left,
            )


def _verify_fee(used: Usage, price_micro: int, contract: Contract) -> None:
    left = max(0, contract.fee_cap_micro - used.fee_micro)
    if price_micro > left:
        raise DeniedError(
            DenialReason.FEE_CAP_REACHED,
            "fee_cap",
            f"the call costs {format_micro(price_micro)} {contract.tariff.currency} and {format_micro(left)} are left "
            "under the cap; a further contract gives more",
            left={"fee_micro": str(left)},
        )


def _replayed(nonce: str) -> DeniedError:
    return DeniedError(
        DenialReason.REPLAYED,
        "nonce",
        f"a request with nonce {nonce} was taken before; sign a new one, or fetch its answer",
    )


def _intent(authorised: Authorised, provider_nonce: str, at_ms: int, spend: Spend | None) -> Intent:
    request = authorised.request
    commitments: Mapping[str, str] = request.commitments
    return Intent(
        at_ms=at_ms,
        party=authorised.provider,
        side=Side.PROVIDER,
        call=authorised.call,
        contract=request.contract,
        operation=request.operation,
        merchant=request.merchant,
        provider=authorised.provider,
        computing_party=request.computing_party,
        participants=request.participants,
        attempt=request.attempt,
        nonce=request.nonce,
        provider_nonce=provider_nonce,
        dataset=authorised.dataset,
        units=authorised.units,
        price_micro=authorised.price_micro,
        currency=authorised.contract.tariff.currency,
        deadline_ms=request.deadline_ms,
        commitments=commitments,
        privacy=None if spend is None else spend.taken,
    )
