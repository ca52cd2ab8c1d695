"""The verifier and the contracts' documents: terms, prices and limits, at every index."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from audit.__main__ import main
from audit.canonical import JsonObject
from audit.contract_terms import ContractTerms
from audit.entry import Entry, Intent, Outcome, Side
from audit.envelope import Envelope, PayloadType, seal
from audit.errors import MalformedError, Rule
from audit.ledger import Draft, Ledger
from audit.tariff import price
from audit.verify import Report, verify_database
from audit.verify_contracts import LATE_MS, TRIES_A_CALL
from tests.audit.ledgers import QUIET, SteppingClock, in_force
from tests.audit.samples import AT_MS, TARIFF, UNITS, aborted, ack, directory, intent, outcome, signing_key
from tests.audit.test_verify_semantics import OWNERS, breaks

PRICE = price(UNITS, TARIFF).total_micro
BODY: JsonObject = {
    **PayloadType.CONTRACT.header(),
    "merchant": "shop",
    "providers": ["east", "north"],
    "computing_party": "east",
    "datasets": {
        party: {"dataset": f"{party}/wages@0011223344556677", "declared_rows": 7_000, "columns": {"wage": "wage"}}
        for party in ("east", "north")
    },
    "operations": ["aggregate"],
    "quotas": {"calls": 3, "ciphertexts": "36", "micro_epsilon": "0"},
    "validity": {"not_before_ms": AT_MS, "not_after_ms": AT_MS + 1_000_000},
    "tariff": TARIFF.to_json(),
    "fee_cap_micro": str(3 * PRICE),
    "purpose": {"code": "statistics"},
}


def contract(**changes: object) -> Envelope:
    return seal({**BODY, **changes}, PayloadType.CONTRACT, signing_key("shop"))  # type: ignore[dict-item]


def call(signed: Envelope, number: int = 0, side: Side = Side.PROVIDER, **changes: object) -> list[Entry]:
    """A whole call under a contract."""
    ident = signed.digest
    taken = replace(intent(side, number), contract=ident, **changes)  # type: ignore[arg-type]
    if side is Side.MERCHANT:
        taken = replace(taken, units=taken.units + taken.units, price_micro=2 * taken.price_micro)
    written: list[Entry] = [taken]
    for provider in ("east",) if side is Side.PROVIDER else ("east", "north"):
        answer = outcome(side, provider, number, contract=ident)
        written += [answer, replace(ack(side, provider, number, contract=ident), contract=ident)]
    return written


Told = Callable[..., Report]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """What the verifier says of a ledger of these entries, with the contract in force first, given its document."""

    def tell(signed: Envelope, *entries: Entry, side: Side = Side.PROVIDER) -> Report:
        path = tmp_path / "ledger.db"
        path.unlink(missing_ok=True)
        identity, key = OWNERS[side]
        with Ledger.open(path, identity=identity, key=key, clock=SteppingClock(), config=QUIET) as ledger:
            for entry in (*in_force(identity.party, signed.digest), *entries):
                ledger.append(Draft(entry))
        assert verify_database(path, directory=directory()).verified, "nothing is wrong that needs no contract"
        return verify_database(path, directory=directory(), contracts=[ContractTerms.of(signed)])

    return tell


def test_calls_within_their_contract_pass_and_are_counted_as_checked(told: Told) -> None:
    for side in (Side.PROVIDER, Side.MERCHANT):
        three = [entry for number in range(3) for entry in call(contract(), number, side)]
        report = told(contract(), *three, side=side)
        assert (report.verified, report.contracts_unchecked) == (True, 0)


def test_contracts_whose_document_is_not_given_are_counted(tmp_path: Path) -> None:
    one, other = contract(), contract(operations=["aggregate", "train"])
    identity, key = OWNERS[Side.PROVIDER]
    with Ledger.open(tmp_path / "ledger.db", identity=identity, key=key, clock=SteppingClock(), config=QUIET) as ledger:
        for signed, number in ((one, 0), (other, 1)):
            for entry in (*in_force("east", signed.digest), *call(signed, number)):
                ledger.append(Draft(entry))
    for given, unchecked in (([], 2), ([one], 1), ([one, other], 0)):
        report = verify_database(tmp_path / "ledger.db", contracts=[ContractTerms.of(each) for each in given])
        assert (report.verified, report.contracts_unchecked) == (True, unchecked)


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({"merchant": "other"}, Rule.TERMS),
        ({"computing_party": "north"}, Rule.TERMS),
        ({"operations": ["train"]}, Rule.TERMS),
        ({"validity": {"not_before_ms": AT_MS + 2, "not_after_ms": AT_MS + 9}}, Rule.TERMS),
        ({"validity": {"not_before_ms": 0, "not_after_ms": AT_MS - LATE_MS}}, Rule.TERMS),
        ({"tariff": {**TARIFF.to_json(), "currency": "EUR"}}, Rule.TERMS),
        ({"tariff": {**TARIFF.to_json(), "per_call_micro": "1"}}, Rule.PRICE),
        ({"quotas": {"calls": 1, "ciphertexts": "11", "micro_epsilon": "0"}}, Rule.QUOTA),
        ({"fee_cap_micro": str(PRICE - 1)}, Rule.FEE_CAP),
    ],
)
def test_a_call_that_its_contract_does_not_permit_is_found(told: Told, terms: dict[str, object], rule: Rule) -> None:
    signed = contract(**terms)
    assert breaks(told(signed, *call(signed))) == (rule, 4)


def test_other_data_than_was_agreed_on_is_found(told: Told) -> None:
    datasets = BODY["datasets"]
    assert isinstance(datasets, dict)
    for change in ({"dataset": "east/wages@8899aabbccddeeff"}, {"declared_rows": 8_000}):
        changed = {**datasets, "east": {**datasets["east"], **change}}  # type: ignore[dict-item]
        signed = contract(datasets=changed)
        assert breaks(told(signed, *call(signed))) == (Rule.TERMS, 4)


@pytest.mark.parametrize("side", [Side.PROVIDER, Side.MERCHANT])
def test_an_overdrawn_quota_is_found_where_it_is_overdrawn(told: Told, side: Side) -> None:
    four = [entry for number in range(4) for entry in call(contract(), number, side)]
    kind = Intent if side is Side.PROVIDER else Outcome
    index = [number for number, entry in enumerate(four, start=4) if isinstance(entry, kind)]
    place = index[3] if side is Side.PROVIDER else index[6]
    assert breaks(told(contract(), *four, side=side)) == (Rule.QUOTA, place)


def test_what_ended_without_an_answer_is_given_back_and_its_fee_in_any_case(told: Told) -> None:
    signed = contract()
    ident = signed.digest

    def ended(number: int, *, released: bool) -> list[Entry]:
        kept = call(signed, number)[: 2 if released else 1]
        return [*kept, replace(aborted("east", Side.PROVIDER, number, released=released), contract=ident)]

    given_back = [entry for number in range(5) for entry in ended(number, released=False)]
    assert told(signed, *given_back, *(e for number in (5, 6, 7) for e in call(signed, number))).verified
    spent = [entry for number in range(2) for entry in ended(number, released=True)]
    assert told(signed, *spent, *call(signed, 2)).verified
    assert breaks(told(signed, *spent, *call(signed, 2), *call(signed, 3)))[0] is Rule.QUOTA
    tight = contract(fee_cap_micro=str(PRICE), quotas={"calls": 3, "ciphertexts": "99", "micro_epsilon": "0"})
    signed, ident = tight, tight.digest
    spent = [entry for number in range(2) for entry in ended(number, released=True)]
    assert told(tight, *spent, *call(tight, 2)).verified, "an aborted call costs nothing"
    assert breaks(told(tight, *call(tight, 0), *call(tight, 1)))[0] is Rule.FEE_CAP


def test_tries_without_end_are_found(told: Told) -> None:
    signed = contract(quotas={"calls": 1, "ciphertexts": "12", "micro_epsilon": "0"})
    tries = [
        entry
        for number in range(TRIES_A_CALL + 1)
        for entry in (call(signed, number)[0], replace(aborted("east", Side.PROVIDER, number), contract=signed.digest))
    ]
    assert told(signed, *tries[:-2]).verified
    assert breaks(told(signed, *tries)) == (Rule.QUOTA, 4 + 2 * TRIES_A_CALL)


def test_a_merchants_sum_that_is_not_its_providers_is_found(told: Told) -> None:
    signed = contract(tariff={**TARIFF.to_json(), "per_call_micro": "1"})
    assert breaks(told(signed, *call(signed, side=Side.MERCHANT), side=Side.MERCHANT)) == (Rule.PRICE, 4)


def test_a_document_that_is_no_contract_is_refused() -> None:
    for changes in ({"providers": []}, {"datasets": {}}, {"quotas": {"calls": 0}}, {"tariff": 7}):
        with pytest.raises(MalformedError):
            ContractTerms.of(contract(**changes))
    with pytest.raises(MalformedError):
        ContractTerms.of(seal(PayloadType.OFFER.header(), PayloadType.OFFER, signing_key("shop")))


def test_the_command_takes_contracts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signed = contract(fee_cap_micro="1")
    identity, key = OWNERS[Side.PROVIDER]
    with Ledger.open(tmp_path / "ledger.db", identity=identity, key=key, clock=SteppingClock(), config=QUIET) as ledger:
        for entry in (*in_force("east", signed.digest), *call(signed)):
            ledger.append(Draft(entry))
    (tmp_path / "contract.json").write_bytes(signed.encode())
    assert main(["verify", str(tmp_path / "ledger.db")]) == 0
    assert "not checked of 1 contracts" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "ledger.db"), "--contract", str(tmp_path / "contract.json")]) == 5
    assert "(rule fee-cap)" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "ledger.db"), "--contract", str(tmp_path / "ledger.db")]) == 6
