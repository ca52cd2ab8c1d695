"""The keys derived from entries alone are those that the house's writers stored."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from audit.entry import ContractTransition, Entry, EntryKind, Side, decode_entry, encode_entry, kind_of
from audit.entry_keys import EntryKeys
from audit.envelope import PayloadType, seal
from audit.errors import MalformedError
from audit.names import KeyPurpose
from audit.store_sqlite import SqliteReader
from sandbox.errors import PeerUnavailableError
from tests.audit import samples
from tests.audit.samples import digest
from tests.parties.federation import federation as federation_of_homes
from tests.sandbox.federation import Federation
from tests.sandbox.survey import survey


def stored(path: Path) -> tuple[list[Entry], dict[str, int]]:
    """A ledger's entries, and its unique keys with the indices of their entries."""
    reader = SqliteReader(path)
    entries = [decode_entry(data) for _, data in reader.entries(0, reader.head().size)]
    keys = dict(reader.keys_under(""))
    reader.close()
    return entries, keys


def derived(entries: list[Entry]) -> dict[str, int]:
    keys = EntryKeys()
    return {key: index for index, entry in enumerate(entries) for key in keys.keys_of(entry)}


def test_the_keys_of_a_federations_ledgers_are_derived_from_their_entries(tmp_path: Path) -> None:
    """Calls answered, aborted, refused, acknowledged late; a contract put in force and ended."""
    federation = Federation(tmp_path, {name: survey(seed, 60) for seed, name in enumerate(("east", "north", "south"))})
    federation.run()
    federation.faults.drop.add(("offer", "south"))
    with pytest.raises(PeerUnavailableError):
        federation.run()
    federation.faults.drop.clear()
    federation.run()
    federation.computing.restart()
    federation.close()
    kinds: set[EntryKind] = set()
    for path in sorted(tmp_path.glob("*/ledger.sqlite")):
        entries, keys = stored(path)
        assert derived(entries) == keys
        kinds |= {kind_of(entry) for entry in entries}
    assert {EntryKind.INTENT, EntryKind.OUTCOME, EntryKind.ACK, EntryKind.ABORTED, EntryKind.CONTRACT} <= kinds


def test_the_keys_of_every_partys_home_are_derived_from_its_ledger(tmp_path: Path) -> None:
    """With enrolments and directories, over the network."""
    frames = {
        name: pd.DataFrame(
            {
                "wage": ["100.00"] * 60,
                "education": [row % 18 for row in range(60)],
                "parttime": ["no", "yes"] * 30,
                "region": name,
            }
        )
        for name in ("east", "west")
    }
    with federation_of_homes(tmp_path, frames) as federation:
        federation.merchant.aggregate(federation.contract(), statistics=["count"], by=["education"])
        paths = [home.ledger_path for home in federation.homes().values()]
    kinds: set[EntryKind] = set()
    for path in paths:
        entries, keys = stored(path)
        assert derived(entries) == keys
        kinds |= {kind_of(entry) for entry in entries}
    assert {EntryKind.DIRECTORY, EntryKind.ENROLLED, EntryKind.OUTCOME} <= kinds


def test_every_kind_has_its_keys_or_none() -> None:
    keys = EntryKeys()
    found = {name: keys.keys_of(entry) for name, entry in samples.entries().items()}
    call, receipt = samples.request().digest, samples.receipt().digest
    nonce = f"nonce:shop:{digest('nonce 0')[:32]}"
    log_key = samples.signing_key("east", KeyPurpose.LOG, 1).verifying_key
    discrepancy = samples.discrepancy().finding.unique_key
    assert found == {
        "entry_genesis": (),
        "entry_seal": (),
        "entry_directory": ("directory:3",),
        "entry_enrolled": ("enrolled:2",),
        "entry_contract": (f"contract:{digest('contract')}:1",),
        "entry_intent_provider": (nonce, f"call:provider:{call}"),
        "entry_intent_privacy": (nonce, f"call:provider:{call}"),
        "entry_intent_merchant": (nonce, f"call:merchant:{call}"),
        "entry_outcome_provider": (f"receipt:{receipt}", f"outcome:provider:{call}"),
        "entry_outcome_merchant": (f"receipt:{receipt}", f"outcome:merchant:{call}:east"),
        "entry_ack": (f"ack:{receipt}",),
        "entry_denied": (),
        "entry_aborted": (),
        "entry_discrepancy": (discrepancy,),
        "entry_log_key": (f"log_key:{log_key.keyid}",),
        "entry_log_refused": (f"log_refused:{digest('evidence')}",),
        "entry_witness_override": (),
    }


def test_a_contracts_transitions_are_counted_also_from_the_middle_on() -> None:
    transition = samples.entries()["entry_contract"]
    assert isinstance(transition, ContractTransition)
    data = encode_entry(transition)
    keys = EntryKeys.after([encode_entry(samples.entries()["entry_seal"]), data, data])
    assert keys.keys_of(transition) == (f"contract:{digest('contract')}:3",)
    other = replace(transition, contract=digest("other"))
    assert keys.keys_of(other) == (f"contract:{digest('other')}:1",)


def test_what_cannot_be_read_has_no_keys() -> None:
    receipt = seal(PayloadType.RECEIPT.header(), PayloadType.RECEIPT, samples.signing_key("east"))
    outcome = replace(samples.outcome(Side.MERCHANT), receipt=receipt, receipt_id=receipt.digest)
    with pytest.raises(MalformedError):
        EntryKeys().keys_of(outcome)
