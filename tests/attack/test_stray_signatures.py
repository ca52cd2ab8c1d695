"""A signature line costs its author nothing and is covered by no signature: whoever forwards an envelope can add some.

The attack: the computing party adds a line in the merchant's name to a genuine request, or in a provider's name to a
genuine receipt. The victim accepts the envelope, since the true signature is there, and logs it; its honest ledger then
fails verification, for the verifier took the first line in the signer's name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from audit.entry import Side
from audit.envelope import Envelope, Signature
from audit.keys import SignatureAlgorithm
from audit.ledger import Draft
from audit.names import KeyPurpose, Role
from audit.verify import verify_database
from sandbox.errors import DenialReason, DeniedError, PeerMisbehavedError
from sandbox.ports import AnswerMessage, SignedBytes
from tests.audit.ledgers import in_force, open_ledger
from tests.audit.samples import ack, directory, intent, outcome
from tests.sandbox.conftest import MakeFederation
from tests.sandbox.federation import Federation
from tests.sandbox.survey import MERCHANT, signing_key


def with_a_stray_line(data: bytes, party: str, role: Role) -> bytes:
    """The envelope with one more line in the party's name, which sorts before its true one."""
    envelope = Envelope.decode(data)
    name = signing_key(party, role, KeyPurpose.LOG).name
    stray = Signature(f"{name}+00000000", SignatureAlgorithm.ED25519, b"\x00" * 64)
    lines = sorted([*envelope.signatures, stray], key=lambda line: line.keyid)
    return replace(envelope, signatures=tuple(lines)).encode()


def forwarded_with_a_stray_line(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    signed, *rest = arguments
    return SignedBytes(with_a_stray_line(signed.envelope, MERCHANT, Role.MERCHANT), signed.openings), *rest


def answered_with_a_stray_line(answer: AnswerMessage) -> AnswerMessage:
    first, *others = answer.receipts
    return replace(answer, receipts=(with_a_stray_line(first, "east", Role.PROVIDER), *others))


def every_ledger_verifies(federation: Federation) -> bool:
    homes = [*(provider.home for provider in federation.providers.values()), federation.merchant.home]
    reports = [verify_database(home / "ledger.sqlite", directory=federation.directory) for home in homes]
    return all(report.verified for report in reports)


def test_a_request_forwarded_with_a_stray_signature_is_denied_and_poisons_no_ledger(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.faults.requests["offer", "north"] = forwarded_with_a_stray_line
    with pytest.raises(DeniedError) as denied:
        federation.run()
    assert (denied.value.reason, denied.value.check) == (DenialReason.BAD_SIGNATURE, 2)
    assert every_ledger_verifies(federation)


def test_a_receipt_with_a_stray_signature_is_refused_and_poisons_no_ledger(federate: MakeFederation) -> None:
    federation = federate(3)
    federation.faults.replies["aggregate", "east"] = answered_with_a_stray_line
    with pytest.raises(PeerMisbehavedError) as misbehaved:
        federation.run()
    assert misbehaved.value.reason is DenialReason.BAD_SIGNATURE
    assert every_ledger_verifies(federation)


def test_an_entry_that_holds_a_stray_line_beside_the_true_signature_verifies(tmp_path: Any) -> None:
    """A ledger from before the two checks above: what is signed by the right key is signed."""
    good = outcome(Side.PROVIDER)
    stray = Signature("shop.merchant.stats.example/log+00000000", SignatureAlgorithm.ED25519, b"\x00" * 64)
    request = replace(good.request, signatures=(stray, *good.request.signatures))
    with open_ledger(tmp_path / "ledger.db") as ledger:
        for each in (*in_force(), intent(Side.PROVIDER), replace(good, request=request), ack(Side.PROVIDER)):
            ledger.append(Draft(each))
    assert verify_database(tmp_path / "ledger.db", directory=directory()).verified
