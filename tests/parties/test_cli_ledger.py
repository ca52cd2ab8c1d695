"""`unseen ledger prove`, `check-proof`, `reconcile` and `receipts`, on homes of a regulator, a provider, a merchant."""

import json
import shutil
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint, Note
from audit.cosignature import cosign
from audit.discrepancy import Discrepancy, DiscrepancyKind, Finding, LedgerHead, SignatureState, read_discrepancy
from audit.entry import Ack, DiscrepancyFound, Entry, Outcome, Side, decode_entry
from audit.envelope import PayloadType, seal
from audit.keys import KeyPurpose
from audit.ledger import Draft, Ledger, LedgerIdentity, open_reader
from audit.names import Role
from audit.receipt import countersign, issue
from audit.replica import Replica
from audit.witness import WitnessedLog
from audit.witness_store import WitnessStore
from parties.channel import Dialler
from parties.cli.app import run
from parties.client.findings import record_discrepancy
from parties.home import Home
from parties.server import PartyServer
from parties.telemetry import make_logger
from sandbox.admission import OUTSTANDING_LIMIT
from sandbox.errors import DenialReason, DeniedError
from tests.audit.samples import AT_MS, receipt_payload
from tests.parties.homes import CLOCK, join, new_home, opened

Unseen = Callable[..., tuple[int, str, str]]


def calls(east: Home, shop: Home, numbers: range) -> tuple[list[Entry], list[Entry], list[str]]:
    """The entries of some acknowledged calls in either ledger, and their receipts' identifiers."""
    provider_key, merchant_key = (home.signing_key(KeyPurpose.MESSAGE) for home in (east, shop))
    at_east: list[Entry] = []
    at_shop: list[Entry] = []
    receipts: list[str] = []
    for number in numbers:
        body = {**PayloadType.AGGREGATE_REQUEST.header(), "number": number}
        request = seal(body, PayloadType.AGGREGATE_REQUEST, merchant_key)
        payload = receipt_payload(number=number, call=request.digest)
        issued = issue(payload, provider_key)
        signed = countersign(issued, merchant_key)
        signature = next(line for line in signed.signatures if line.keyid == merchant_key.verifying_key.keyid)
        for entries, party, side, receipt in (
            (at_east, "east", Side.PROVIDER, issued),
            (at_shop, "shop", Side.MERCHANT, signed),
        ):
            entries.append(
                Outcome(
                    party=party,
                    at_ms=AT_MS + number,
                    side=side,
                    call=payload.call,
                    contract=payload.contract,
                    receipt_id=receipt.digest,
                    request=request,
                    receipt=receipt,
                    units=payload.units,
                    price_micro=payload.price_micro,
                    currency=payload.currency,
                )
            )
            entries.append(
                Ack(
                    party=party,
                    at_ms=AT_MS + number,
                    side=side,
                    call=payload.call,
                    contract=payload.contract,
                    receipt_id=receipt.digest,
                    signature=signature,
                )
            )
        receipts.append(issued.digest)
    return at_east, at_shop, receipts


def ledger(home: Home) -> Ledger:
    identity = LedgerIdentity(home.name, home.role, home.config.party.legal_entity, home.origin)
    key = home.signing_key(KeyPurpose.LOG)
    return Ledger.open(home.ledger_path, identity=identity, key=key, clock=CLOCK)


def write(home: Home, entries: list[Entry]) -> None:
    with ledger(home) as writing:
        for entry in entries:
            writing.append(Draft(entry))


class Trade:
    """The homes, and three receipts of which the provider's ledger lacks the last."""

    def __init__(self, folder: Path) -> None:
        self.watch = new_home(folder, "watch", Role.REGULATOR)
        with opened(self.watch) as regulator:
            self.east = join(regulator, new_home(folder, "east", Role.PROVIDER))
            self.shop = join(regulator, new_home(folder, "shop", Role.MERCHANT))
            # Everybody holds the directory that lists everybody.
            for home in (self.east, self.watch):
                home.directory_path.write_bytes(self.shop.directory_bytes())
        at_east, at_shop, self.receipts = calls(self.east, self.shop, range(3))
        write(self.east, at_east[:4])
        write(self.shop, at_shop)
        self.vkey = self.east.regulator_key().vkey()


@pytest.fixture(scope="module")
def trade(tmp_path_factory: pytest.TempPathFactory) -> Trade:
    return Trade(tmp_path_factory.mktemp("trade"))


@pytest.fixture
def unseen(capsys: pytest.CaptureFixture[str]) -> Unseen:
    def command(*arguments: str | Path) -> tuple[int, str, str]:
        code = run(["ledger", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def test_a_receipt_is_proved_to_a_stranger_by_either_side(trade: Trade, unseen: Unseen, tmp_path: Path) -> None:
    for home in (trade.east, trade.shop):
        file = tmp_path / f"{home.name}.tlog-proof"
        code, out, err = unseen("prove", trade.receipts[1][:8], "--home", home.path, "--out", file)
        assert (code, out) == (0, f"{file}\n")
        assert trade.vkey in err
        code, out, _ = unseen("check-proof", file, "--regulator-vkey", trade.vkey, "--json")
        told = json.loads(out)
        assert (code, told["receipt_id"], told["party"]) == (0, trade.receipts[1], home.name)
        assert unseen("check-proof", file)[0] == 6
        assert (
            unseen(
                "check-proof", file, "--regulator-vkey", trade.shop.signing_key(KeyPurpose.LOG).verifying_key.vkey()
            )[0]
            == 5
        )
        file.write_bytes(file.read_bytes().replace(b"index ", b"index 1", 1))
        assert unseen("check-proof", file, "--regulator-vkey", trade.vkey)[0] == 5


def test_a_running_party_proves_too(trade: Trade, unseen: Unseen, tmp_path: Path) -> None:
    with ledger(trade.east):
        code, out, _ = unseen(
            "prove", trade.receipts[0], "--home", trade.east.path, "--out", tmp_path / "proof", "--json"
        )
    assert code == 0
    assert json.loads(out)["file"] == str(tmp_path / "proof")


def test_what_cannot_be_proved_says_why(trade: Trade, unseen: Unseen, tmp_path: Path) -> None:
    assert unseen("prove", trade.receipts[2], "--home", trade.east.path)[0] == 3
    assert unseen("prove", "abc", "--home", trade.east.path)[0] == 2
    assert unseen("prove", trade.receipts[0])[0] == 2
    missing = tmp_path / "no" / "folder"
    assert unseen("prove", trade.receipts[0], "--home", trade.east.path, "--out", missing)[0] == 2


def test_an_entry_left_out_is_found_by_reconciliation_and_recorded_once(trade: Trade, unseen: Unseen) -> None:
    code, out, _ = unseen("reconcile", trade.east.path, trade.shop.path / "ledger.db", trade.watch.path, "--json")
    told = json.loads(out)
    assert (code, told["reconciled"]) == (5, False)
    ((found,),) = [pair["discrepancies"] for pair in told["pairs"]]
    assert (found["kind"], found["ledger"]) == ("missing", "east")
    assert found["at_merchant"]["receipt_id"] == trade.receipts[2]
    assert found["at_merchant"]["signatures"] == "verified"
    assert "missing\teast" in unseen("reconcile", trade.east.path, trade.shop.path)[1]

    arguments = ("reconcile", trade.east.path, trade.shop.path, "--record", "--home", trade.watch.path, "--json")
    assert json.loads(unseen(*arguments)[1])["recorded"] == 1
    code, out, _ = unseen(*arguments)
    assert (code, json.loads(out)["recorded"]) == (5, 0)
    reader = open_reader(trade.watch.ledger_path)
    entries = [decode_entry(data) for data in reader.read(0, reader.size)]
    reader.close()
    (entry,) = [each for each in entries if isinstance(each, DiscrepancyFound)]
    statement = read_discrepancy(entry.discrepancy)
    entry.discrepancy.verify(trade.watch.signing_key(KeyPurpose.MESSAGE).verifying_key)
    assert statement.finding.kind is DiscrepancyKind.MISSING
    assert statement.finding.at_merchant is not None
    assert statement.finding.at_merchant.signatures is SignatureState.VERIFIED
    assert statement.provider_head.origin == trade.east.origin
    reader = open_reader(trade.east.ledger_path)
    note = reader.latest_checkpoint()
    reader.close()
    assert note is not None
    assert Checkpoint.from_body(Note.decode(note).text).root.hex() == statement.provider_head.root
    assert (statement.provider_head.size, statement.merchant_head.size) == (5, 7)
    assert unseen("verify", trade.watch.path)[0] == 0
    shown = unseen("show", "--home", trade.watch.path)[1]
    assert f"missing in the ledger of east: east - shop, {statement.finding.call[:12]}" in shown


def test_a_ledger_in_use_by_a_party_that_does_not_answer_is_not_written(trade: Trade, unseen: Unseen) -> None:
    with ledger(trade.watch) as held:
        before = held.size
        code, _, err = unseen("reconcile", trade.east.path, trade.shop.path, "--record", "--home", trade.watch.path)
        assert held.size == before
    assert (code, "watch is unavailable" in err) == (1, True)


def test_a_restored_party_that_has_not_caught_up_records_nothing(trade: Trade, unseen: Unseen) -> None:
    trade.watch.restored_path.write_text("{}")
    try:
        code, _, err = unseen("reconcile", trade.east.path, trade.shop.path, "--record", "--home", trade.watch.path)
    finally:
        trade.watch.restored_path.unlink()
    assert (code, "restored" in err) == (2, True)


def test_ledgers_that_agree_exit_0_and_those_that_cannot_be_compared_do_not(
    trade: Trade, unseen: Unseen, tmp_path: Path
) -> None:
    at_east, at_shop, _ = calls(trade.east, trade.shop, range(3))
    for home, entries, name in ((trade.east, at_east, "east"), (trade.shop, at_shop, "shop")):
        identity = LedgerIdentity(name, home.role, home.config.party.legal_entity, home.origin)
        key = home.signing_key(KeyPurpose.LOG)
        with Ledger.open(tmp_path / f"{name}.db", identity=identity, key=key, clock=CLOCK) as writing:
            for entry in entries:
                writing.append(Draft(entry))
    code, out, _ = unseen("reconcile", tmp_path / "east.db", tmp_path / "shop.db")
    assert code == 0
    assert out.splitlines()[1].split("\t")[:3] == ["east", "shop", "3"]
    for alone, lacking in (("east.db", "merchant"), ("shop.db", "provider")):
        code, out, err = unseen("reconcile", tmp_path / alone)
        assert (code, out, f"is a {lacking}'s" in err) == (2, "", True)
    assert unseen("reconcile", tmp_path / "east.db", tmp_path / "none.db")[0] == 1
    assert unseen("reconcile", tmp_path / "east.db", tmp_path / "shop.db", tmp_path / "east.db")[0] == 1


def test_a_copy_is_verified_by_the_directory_of_the_home_that_it_lies_in(trade: Trade, unseen: Unseen) -> None:
    copy = trade.watch.path / "replicas" / "shop" / "ledger.db"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(trade.shop.ledger_path.read_bytes())
    for named in ((copy,), (copy.parent,), (trade.shop.ledger_path,), (copy, "--home", trade.east.path)):
        _, out, _ = unseen("verify", *named)
        assert "receipts     signatures checked" in out, named
    shutil.rmtree(copy.parent)


def test_a_copy_that_lies_in_no_home_is_verified_by_the_home_that_is_named(
    trade: Trade, unseen: Unseen, tmp_path: Path
) -> None:
    copy = tmp_path / "ledger.db"
    copy.write_bytes(trade.shop.ledger_path.read_bytes())
    assert "no directory given" in unseen("verify", copy)[1]
    assert "receipts     signatures checked" in unseen("verify", copy, "--home", trade.watch.path)[1]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Trade, PartyServer]]:
    """A trade whose regulator is served, at the endpoint that the directory gives."""
    trade = Trade(tmp_path)
    with opened(trade.watch) as regulator:
        logger = make_logger(trade.watch.config.telemetry, "watch", StringIO())
        server = PartyServer(trade.watch, directory=regulator.directory, logger=logger)
        regulator.register(server)
        server.start()
        try:
            yield trade, server
        finally:
            server.stop(0)


def test_a_running_regulator_records_what_its_command_line_has_found(
    running: tuple[Trade, PartyServer], unseen: Unseen
) -> None:
    trade, _ = running
    arguments = ("reconcile", trade.east.path, trade.shop.path, "--record", "--home", trade.watch.path, "--json")
    assert [json.loads(unseen(*arguments)[1])["recorded"] for _ in range(2)] == [1, 0]
    reader = open_reader(trade.watch.ledger_path)
    found = [decode_entry(data) for data in reader.read(0, reader.size) if b'"kind":"discrepancy"' in data]
    reader.close()
    (entry,) = found
    assert isinstance(entry, DiscrepancyFound)
    assert read_discrepancy(entry.discrepancy).found_by == "watch"


def test_only_the_party_itself_and_only_what_it_has_signed_is_recorded(running: tuple[Trade, PartyServer]) -> None:
    trade, _ = running
    finding = Finding(
        kind=DiscrepancyKind.MISSING,
        provider="east",
        merchant="shop",
        ledger="east",
        call=trade.receipts[2],
        contract=trade.receipts[1],
        at_provider=None,
        at_merchant=None,
    )
    head = LedgerHead("east.provider.test.example/log", 1, "00" * 32)

    def signed(by: str, home: Home) -> bytes:
        return Discrepancy(finding, by, AT_MS, head, head).sign(home.signing_key(KeyPurpose.MESSAGE)).encode()

    def record(caller: Home, envelope: bytes) -> bool:
        dialler = Dialler(caller, lambda: caller.directory(now_ms=CLOCK.now_ms()))
        try:
            return record_discrepancy(dialler.dial("watch"), envelope)
        finally:
            dialler.close()

    good = signed("watch", trade.watch)
    refused = {
        (trade.east, good): DenialReason.WRONG_ROLE,
        (trade.watch, signed("east", trade.watch)): DenialReason.IDENTITY_MISMATCH,
        (trade.watch, signed("watch", trade.east)): DenialReason.BAD_SIGNATURE,
        (trade.watch, b"x" * 8193): DenialReason.TOO_LARGE,
        (trade.watch, trade.east.directory_bytes()): DenialReason.MALFORMED,
        (trade.watch, b""): DenialReason.MALFORMED,
    }
    for (caller, envelope), reason in refused.items():
        with pytest.raises(DeniedError) as raised:
            record(caller, envelope)
        assert raised.value.reason is reason
    assert [record(trade.watch, good) for _ in range(2)] == [True, False]


def cosigned_later(trade: Trade) -> None:
    """The provider shows the regulator the same ledger an hour later, as one does that has nothing new."""
    reader = open_reader(trade.east.ledger_path)
    size, note = reader.size, reader.latest_checkpoint()
    assert note is not None
    log = WitnessedLog(trade.east.origin, size, reader.root(size), note, AT_MS // 1000 + 3600)
    reader.close()
    records = WitnessStore.open(trade.watch.witness_path)
    with records.transaction():
        records.put(log)
    records.close()


def test_the_regulator_reconciles_every_ledger_that_it_keeps(trade: Trade, unseen: Unseen) -> None:
    code, _, err = unseen("reconcile", "--home", trade.watch.path)
    assert (code, "no entries yet" in err) == (3, True)
    assert unseen("reconcile", "--home", trade.east.path)[0] == 2
    assert unseen("reconcile")[0] == 2
    for home in (trade.east, trade.shop):
        reader = open_reader(home.ledger_path)
        note = reader.latest_checkpoint()
        assert note is not None
        replica = Replica.open(trade.watch.replicas / home.name / "ledger.db")
        replica.extend([*reader.read(0, reader.size)], [], note)
        replica.close()
        reader.close()
    Replica.open(trade.watch.replicas / "north" / "ledger.db").close()  # has sent nothing yet
    try:
        early, told, _ = unseen("reconcile", "--home", trade.watch.path, "--json")
        cosigned_later(trade)
        code, out, _ = unseen("reconcile", "--home", trade.watch.path, "--json")
    finally:
        shutil.rmtree(trade.watch.replicas)
    # The provider's copy is older than the last receipt, which may still come; an hour later it has not.
    assert (early, [pair["unsettled"] for pair in json.loads(told)["pairs"]]) == (0, [[trade.receipts[2]]])
    ((found,),) = [pair["discrepancies"] for pair in json.loads(out)["pairs"]]
    assert (code, found["kind"], found["ledger"], found["at_merchant"]["signatures"]) == (
        5,
        "missing",
        "east",
        "verified",
    )


def test_receipts_are_listed_with_their_standing_and_what_is_cosigned(tmp_path: Path, unseen: Unseen) -> None:
    trade = Trade(tmp_path)
    at_east, _, receipts = calls(trade.east, trade.shop, range(3, 8))
    write(trade.east, at_east[:2])  # one more that is acknowledged
    cosign_newest(trade)
    write(trade.east, [entry for entry in at_east[2:] if isinstance(entry, Outcome)])  # and four that are not
    code, out, _ = unseen("receipts", "--home", trade.east.path, "--json")
    told = json.loads(out)
    assert (code, told["cosigned_size"]) == (0, 7)
    assert told["outstanding"] == {"shop": {"open": 4, "left": 12}}
    listed = [(each["receipt_id"], each["standing"], each["cosigned"]) for each in told["receipts"]]
    assert listed == [
        *((receipt, "acknowledged", True) for receipt in [*trade.receipts[:2], receipts[0]]),
        *((receipt, "open", False) for receipt in receipts[1:]),
    ]
    assert {each["counterparty"] for each in told["receipts"]} == {"shop"}
    code, out, err = unseen("receipts", "--outstanding", "--home", trade.east.path)
    assert [line.split("\t")[0] for line in out.splitlines()[1:]] == [receipt[:12] for receipt in receipts[1:]]
    assert "shop has 4 receipts to countersign; 12 more, and east refuses its calls" in err
    out = unseen("receipts", "--home", trade.shop.path)[1]
    assert [line.split("\t")[1] for line in out.splitlines()[1:]] == ["east"] * 3
    assert unseen("receipts", "--home", trade.watch.path)[0] == 2
    assert unseen("receipts", "--home", trade.east.path, "--contract", "abcdef")[0] == 3


def cosign_newest(trade: Trade) -> None:
    """The regulator's line on the newest checkpoint of the provider's ledger."""
    with ledger(trade.east) as writing:
        text = Note.decode(writing.checkpoint()).text
        line = cosign(text, trade.watch.signing_key(KeyPurpose.WITNESS), CLOCK.now_ms() // 1000)
        writing.add_cosignatures(Checkpoint.from_body(text).size, [line])


def test_at_the_limit_receipts_say_that_calls_are_refused(tmp_path: Path, unseen: Unseen) -> None:
    trade = Trade(tmp_path)
    at_east, _, _ = calls(trade.east, trade.shop, range(3, 3 + OUTSTANDING_LIMIT))
    write(trade.east, [entry for entry in at_east if isinstance(entry, Outcome)])
    _, out, err = unseen("receipts", "--outstanding", "--home", trade.east.path, "--json")
    assert json.loads(out)["outstanding"] == {"shop": {"open": 16, "left": 0}}
    err = unseen("receipts", "--outstanding", "--home", trade.east.path)[2]
    assert "east refuses its calls until it does" in err
