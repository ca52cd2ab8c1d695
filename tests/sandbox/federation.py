"""A whole federation in one process: real ledgers, vaults, contracts and CSV data behind DuckDB; the network alone is
replaced, by a dictionary with fault switches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit.commitment import encode_openings
from audit.directory import Directory
from audit.entry import Entry, decode_entry
from audit.envelope import Envelope
from audit.ledger import Ledger, LedgerIdentity
from audit.names import KeyPurpose, Role, key_name
from protocols.paillier_key import PublicKey, Scheme
from sandbox.admission import Admission
from sandbox.authorise import AuthoriseContext, Authorised, Leg, PeerIdentity, authorise
from sandbox.contract import Contract, DatasetBinding, FeeSplit, Operation, Quotas, Validity, sign_contract
from sandbox.contract_book import ContractBook
from sandbox.declaration import DatasetDeclaration, load_declaration
from sandbox.errors import DeniedError, PeerUnavailableError
from sandbox.frame import Use
from sandbox.grades import Grade
from sandbox.invocation import Denial, Invocation
from sandbox.invocation_merchant import MerchantCalls, MerchantInvocation
from sandbox.overlap import OverlapGuard
from sandbox.ports import (
    AckResult,
    AnswerMessage,
    OfferMessage,
    OpenedDataset,
    PartMessage,
    PartyContext,
    PublicKeyBytes,
    SignedBytes,
)
from sandbox.release import OwnTotals, ReleaseMode, ReleasePolicy
from sandbox.request import (
    AggregateQuery,
    ParsedRequest,
    RequestTerms,
    build_request,
    parse_request,
    sign_request,
)
from sandbox.row_identity import settle_rows
from sandbox.session_aggregate import AggregateSessions
from sandbox.session_computing import ComputingSessions
from sandbox.session_merchant import MerchantCall, MerchantResult, MerchantSession
from sandbox.source import Source, open_source
from sandbox.vault import Vault
from tests.sandbox.survey import (
    ANCHOR,
    AT_MS,
    DAY_MS,
    DECLARATION,
    DOMAIN,
    FRAME,
    LIMITS,
    MEAN_WAGE,
    MERCHANT,
    PURPOSE,
    QUICK,
    REGULATOR,
    TARIFF,
    VERSION,
    ManualClock,
    Row,
    SystemEntropy,
    cells_of,
    identity,
    paillier_key,
    party_record,
    signing_key,
    write_csv,
)

KEY_BYTES = PublicKeyBytes(paillier_key().public_key.modulus_bytes, paillier_key().public_key.scheme.value)


@dataclass
class Faults:
    """What the network does wrong, by (method, receiving party)."""

    drop: set[tuple[str, str]] = field(default_factory=set)
    requests: dict[tuple[str, str], Callable[[tuple[Any, ...]], tuple[Any, ...]]] = field(default_factory=dict)
    replies: dict[tuple[str, str], Callable[[Any], Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Terms:
    """The terms of the federation's one contract."""

    calls: int = 1_000
    ciphertexts: int = 1_000_000
    fee_cap_micro: int = 10**12
    min_group_size: int = 3
    min_contributors: int = 2
    overlap_k: int = 3
    own_totals: OwnTotals = OwnTotals.SECRET
    dominance_percent: int | None = None

    @property
    def release(self) -> ReleasePolicy:
        return ReleasePolicy(
            ReleaseMode.EXACT,
            self.min_group_size,
            self.min_contributors,
            self.own_totals,
            self.dominance_percent,
            self.overlap_k,
        )

    def declared(self, version: str) -> str:
        """The declaration of a provider under these terms."""
        text = DECLARATION.format(
            version=version, min_group_size=self.min_group_size, min_contributors=self.min_contributors
        )
        rules = f'overlap_k = {self.overlap_k}\nown_totals = "{self.own_totals.value}"\n'
        if self.dominance_percent is not None:
            rules += f"dominance_percent = {self.dominance_percent}\n"
        return text.replace("\n[source]", f"{rules}\n[source]")


class AlwaysHeard:
    """Witnesses that are never silent: what a call needs of them is tested in `tests.parties.test_witnessing`."""

    def verify_heard(self) -> None:
        return


class OneDataset:
    """The provider's only data set, behind the `Datasets` port, as it is when its process starts."""

    def __init__(self, declaration: DatasetDeclaration, source: Source, vault: Vault) -> None:
        self.declaration = declaration
        self.source = source
        self.content = source.content_hash()
        self.guard = OverlapGuard(vault, declaration.name, settle_rows(vault, declaration, source, self.content))

    def open(self, reference: str) -> OpenedDataset:
        return OpenedDataset(self.declaration, self.source, self.content, self.guard)


class Provider:
    """A provider's home and, around it, what its service layer does."""

    def __init__(self, federation: Federation, name: str, rows: Sequence[Row]) -> None:
        self.federation = federation
        self.name = name
        self.rows = rows
        self.record = federation.directory.party(name)
        self.home = federation.folder / name
        self.home.mkdir()
        write_csv(self.home / "wages.csv", rows)
        (self.home / "wages.toml").write_text(federation.terms.declared(VERSION))
        self.start()

    def start(self) -> None:
        """What a process does when it starts; `stop` and `start` are a restart."""
        declaration = load_declaration(self.home / "wages.toml")
        self.threads = ThreadPoolExecutor(8)
        self.vault = Vault.open(self.home / "vault.sqlite")
        self.admission = Admission()
        self.ledger = Ledger.open(
            self.home / "ledger.sqlite",
            identity=LedgerIdentity(
                self.name,
                Role.PROVIDER,
                self.record.legal_entity,
                key_name(self.name, Role.PROVIDER, DOMAIN, KeyPurpose.LOG),
            ),
            key=signing_key(self.name, Role.PROVIDER, KeyPurpose.LOG),
            clock=self.federation.clock,
            folds=[self.admission],
            config=QUICK,
        )
        self.context = PartyContext(
            self.name,
            signing_key(self.name, Role.PROVIDER),
            self.vault,
            lambda: self.federation.directory,
            self.federation.clock,
            SystemEntropy(),
        )
        self.book = ContractBook(
            self.vault, self.ledger, self.name, Role.PROVIDER, self.federation.clock, SystemEntropy()
        )
        self.description = declaration.describe(self.name, declaration.version or VERSION)
        self.datasets = OneDataset(declaration, open_source(declaration, self.home, {}, threads=1), self.vault)
        self.invocation = Invocation(self.context, self.ledger, self.admission, AlwaysHeard())
        self.sessions = AggregateSessions(self.context, self.invocation, self.datasets)
        self.computing = ComputingSessions(
            self.context, self.invocation, self.sessions, MemoryPeers(self.federation, self.name), self.threads
        )

    def stop(self) -> None:
        self.threads.shutdown()  # whatever is on its way arrives
        self.ledger.close()
        self.vault.close()

    def publish(self, version: str, rows: Sequence[Row]) -> None:
        """Stop, take other rows as a new version, and start again."""
        self.stop()
        self.rows = rows
        write_csv(self.home / "wages.csv", rows)
        (self.home / "wages.toml").write_text(self.federation.terms.declared(version))
        self.start()
        self.computing.recover()

    def restart(self) -> None:
        """Die without a word, come back, and recover."""
        self.stop()
        self.start()
        self.computing.recover()

    def sign(self, envelope: Envelope) -> Envelope:
        """What the official does: look at it, and sign."""
        self.book.receive(envelope, self.federation.directory)
        return self.book.approve(envelope.digest, self.context.key, self.federation.directory).envelope

    def activate(self, envelope: Envelope, status: Envelope) -> None:
        self.book.activate(envelope, self.federation.directory)
        self.book.hear_status(status, self.federation.directory)

    def authorise(
        self, signed: SignedBytes, key: PublicKeyBytes, peer: PeerIdentity, leg: Leg, deadline_ms: int
    ) -> Authorised:
        parsed = parse_request(signed.envelope)
        context = AuthoriseContext(
            self.name,
            self.federation.directory,
            self.book.get(parsed.request.contract),
            self.description,
            leg,
            LIMITS,
        )
        return authorise(
            parsed,
            signed.openings,
            PublicKey.from_modulus_bytes(key.modulus, Scheme(key.scheme)),
            peer=peer,
            context=context,
            now_ms=self.federation.clock.now_ms(),
            grpc_deadline_ms=deadline_ms,
        )

    def authorised(self, call: MerchantCall) -> Authorised:
        """The call as this provider authorises it, come the way it comes to it."""
        computing = call.parsed.request.computing_party
        leg, sender = (Leg.DIRECT, MERCHANT) if computing == self.name else (Leg.FORWARDED, computing)
        peer = identity(self.federation.directory.party(sender))
        return self.authorise(signed_bytes(call), KEY_BYTES, peer, leg, call.parsed.request.deadline_ms)

    def aggregate(
        self, peer: PeerIdentity, signed: SignedBytes, key: PublicKeyBytes, deadline_ms: int
    ) -> AnswerMessage:
        with self._recording_denials(peer):
            return self.computing.run(self.authorise(signed, key, peer, Leg.DIRECT, deadline_ms), signed, key)

    def offer(self, peer: PeerIdentity, signed: SignedBytes, key: PublicKeyBytes, deadline_ms: int) -> OfferMessage:
        with self._recording_denials(peer):
            return self.sessions.offer(self.authorise(signed, key, peer, Leg.FORWARDED, deadline_ms))

    def part(self, peer: PeerIdentity, call: str, offers: tuple[bytes, ...], roster: bytes, _: int) -> PartMessage:
        with self._recording_denials(peer):
            return self.sessions.part(call, offers, roster, peer=peer)

    def abort(self, peer: PeerIdentity, call: str, reason: str) -> None:
        with self._recording_denials(peer):
            self.sessions.abort(call, reason, peer=peer)

    def answer(self, peer: PeerIdentity, call: str, _: int) -> AnswerMessage:
        with self._recording_denials(peer):
            return self.computing.answer(call, peer=peer)

    def acknowledge(self, peer: PeerIdentity, receipts: tuple[bytes, ...], deadline_ms: int) -> AckResult:
        with self._recording_denials(peer):
            return self.computing.acknowledge(receipts, peer=peer, deadline_ms=deadline_ms)

    def _recording_denials(self, peer: PeerIdentity) -> _RecordingDenials:
        return _RecordingDenials(self.invocation, peer)

    def entries(self) -> list[Entry]:
        return entries(self.ledger)


class _RecordingDenials:
    def __init__(self, invocation: Invocation, peer: PeerIdentity) -> None:
        self.invocation = invocation
        self.peer = peer

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DeniedError):
            self.invocation.deny(error, Denial(self.peer.spiffe_id))


class _Wire:
    """A dictionary for a network: calls land at the receiver's service methods unless a fault says otherwise."""

    def __init__(self, federation: Federation, own: str) -> None:
        self.federation = federation
        self.own = own

    def _call(self, method: str, party: str, *arguments: Any) -> Any:
        faults = self.federation.faults
        if (method, party) in faults.drop:
            raise PeerUnavailableError(party, "the connection was refused")
        change = faults.requests.get((method, party), lambda same: same)
        peer = identity(self.federation.directory.party(self.own))
        reply = getattr(self.federation.providers[party], method)(peer, *change(arguments))
        self.federation.wire.append((method, party, reply))
        return faults.replies.get((method, party), lambda same: same)(reply)


class MemoryPeers(_Wire):
    """The `Peers` port."""

    def offer(self, party: str, signed: SignedBytes, key: PublicKeyBytes, deadline_ms: int) -> OfferMessage:
        return self._call("offer", party, signed, key, deadline_ms)  # type: ignore[no-any-return]

    def part(self, party: str, call: str, offers: tuple[bytes, ...], roster: bytes, deadline_ms: int) -> PartMessage:
        return self._call("part", party, call, offers, roster, deadline_ms)  # type: ignore[no-any-return]

    def abort(self, party: str, call: str, reason: str) -> None:
        self._call("abort", party, call, reason)

    def acknowledge(self, party: str, receipts: tuple[bytes, ...], deadline_ms: int) -> AckResult:
        return self._call("acknowledge", party, receipts, deadline_ms)  # type: ignore[no-any-return]


class MemoryGateway(_Wire):
    """The `Gateway` port."""

    def aggregate(self, party: str, signed: SignedBytes, key: PublicKeyBytes, deadline_ms: int) -> AnswerMessage:
        return self._call("aggregate", party, signed, key, deadline_ms)  # type: ignore[no-any-return]

    def answer(self, party: str, call: str, deadline_ms: int) -> AnswerMessage:
        return self._call("answer", party, call, deadline_ms)  # type: ignore[no-any-return]

    def acknowledge(self, party: str, receipts: tuple[bytes, ...], deadline_ms: int) -> AckResult:
        return self._call("acknowledge", party, receipts, deadline_ms)  # type: ignore[no-any-return]


class Merchant:
    """The merchant's home."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.home = federation.folder / MERCHANT
        self.home.mkdir()
        self.start()

    def start(self) -> None:
        self.vault = Vault.open(self.home / "vault.sqlite")
        self.calls = MerchantCalls()
        self.ledger = Ledger.open(
            self.home / "ledger.sqlite",
            identity=LedgerIdentity(
                MERCHANT, Role.MERCHANT, "LEGAL-SHOP", key_name(MERCHANT, Role.MERCHANT, DOMAIN, KeyPurpose.LOG)
            ),
            key=signing_key(MERCHANT, Role.MERCHANT, KeyPurpose.LOG),
            clock=self.federation.clock,
            folds=[self.calls],
            config=QUICK,
        )
        self.context = PartyContext(
            MERCHANT,
            signing_key(MERCHANT, Role.MERCHANT),
            self.vault,
            lambda: self.federation.directory,
            self.federation.clock,
            SystemEntropy(),
        )
        self.gateway = MemoryGateway(self.federation, MERCHANT)
        self.invocation = MerchantInvocation(self.context, self.ledger, self.calls, AlwaysHeard())
        self.session = MerchantSession(self.context, self.invocation, self.gateway)

    def stop(self) -> None:
        self.ledger.close()
        self.vault.close()

    def call(self, query: AggregateQuery = MEAN_WAGE, *, key: PublicKey | None = None, **changes: Any) -> MerchantCall:
        """A fresh signed request under the federation's contract."""
        contract_id = changes.get("contract", self.federation.contract_id)
        contract = self.federation.contracts[contract_id]
        terms: dict[str, Any] = {
            "contract": contract_id,
            "merchant": MERCHANT,
            "participants": contract.providers,
            "computing_party": contract.computing_party,
            "attempt": 1,
            "issued_at_ms": self.federation.clock.now_ms(),
            "deadline_ms": self.federation.clock.now_ms() + 60_000,
        } | changes
        public = key or paillier_key().public_key
        request, openings = build_request(RequestTerms(**terms), query, PURPOSE, public, SystemEntropy())
        envelope = sign_request(request, self.context.key)
        return MerchantCall.of(ParsedRequest(request, envelope, envelope.digest), openings, contract)

    def entries(self) -> list[Entry]:
        return entries(self.ledger)


class Federation:
    """Providers in order of their names; the first is the computing party."""

    def __init__(self, folder: Path, data: Mapping[str, Sequence[Row]], terms: Terms | None = None) -> None:
        self.folder = folder
        self.terms = terms or Terms()
        self.clock = ManualClock()
        self.faults = Faults()
        self.wire: list[tuple[str, str, Any]] = []
        names = sorted(data)
        roles = dict.fromkeys(names, Role.PROVIDER) | {MERCHANT: Role.MERCHANT, REGULATOR: Role.REGULATOR}
        self.directory = Directory(
            DOMAIN,
            1,
            AT_MS,
            AT_MS + 365 * DAY_MS,
            REGULATOR,
            tuple(party_record(name, roles[name]) for name in sorted(roles)),
            (ANCHOR,),
        )
        self.providers = {name: self.provider(name, data[name]) for name in names}
        self.merchant = Merchant(self)
        self.contracts: dict[str, Contract] = {}
        self.contract = self._contract(tuple(names))
        self.contract_id = self.agree(self.contract)

    def provider(self, name: str, rows: Sequence[Row]) -> Provider:
        """A provider over its rows; a subclass may hold other data."""
        return Provider(self, name, rows)

    def run(self, **changes: Any) -> MerchantResult:
        """One aggregate from end to end."""
        return self.merchant.session.run(self.merchant.call(**changes), paillier_key())

    @property
    def computing(self) -> Provider:
        return self.providers[self.contract.computing_party]

    def close(self) -> None:
        for provider in self.providers.values():
            provider.threads.shutdown()
        for provider in self.providers.values():
            provider.stop()
        self.merchant.stop()

    def pooled(self) -> tuple[list[tuple[int, int]], list[int]]:
        """What pooling the rows would give for `MEAN_WAGE` under the same withholding: totals and contributors."""
        totals, contributors = [], []
        for cell in zip(*(cells_of(provider.rows) for provider in self.providers.values()), strict=True):
            kept = [(rows, wages) for rows, wages in cell if rows >= self.terms.min_group_size]
            count = len(kept) if len(kept) >= self.terms.min_contributors else 0
            totals.append((sum(rows for rows, _ in kept), sum(wages for _, wages in kept)) if count else (0, 0))
            contributors.append(count)
        return totals, contributors

    def _contract(self, names: tuple[str, ...]) -> Contract:
        columns = {column.name: column.name for column in FRAME.columns}
        grouped = frozenset({Use.GROUP_BY, Use.FILTER})
        return Contract(
            merchant=MERCHANT,
            providers=names,
            computing_party=names[0],
            regulator=REGULATOR,
            frame=FRAME,
            datasets={name: DatasetBinding(f"{name}/wages@{VERSION}", 1_000, columns) for name in names},
            uses={"wage": frozenset({Use.AGGREGATE}), "education": grouped, "ethnicity": grouped},
            grades=dict.fromkeys(columns, Grade.GENERAL),
            operations=(Operation.AGGREGATE,),
            purpose=PURPOSE,
            onward_sharing=False,
            release=self.terms.release,
            quotas=Quotas(self.terms.calls, self.terms.ciphertexts),
            validity=Validity(AT_MS, AT_MS + 90 * DAY_MS),
            tariff=TARIFF,
            fee_cap_micro=self.terms.fee_cap_micro,
            fee_split=FeeSplit.BY_TARIFF,
            lease_ms=30 * DAY_MS,
            obligations=(),
            supersedes="",
            created_at_ms=AT_MS,
            nonce="00" * 16,
        )

    def agree(self, contract: Contract) -> str:
        """Have all parties of a contract sign it, and put it in force; returns its id."""
        providers = [self.providers[name] for name in contract.providers]
        envelope = sign_contract(contract, signing_key(MERCHANT, Role.MERCHANT))
        for provider in providers:
            envelope = provider.sign(envelope)
        folder = self.folder / REGULATOR
        folder.mkdir(exist_ok=True)
        key = signing_key(REGULATOR, Role.REGULATOR, KeyPurpose.LOG)
        record = self.directory.party(REGULATOR)
        who = LedgerIdentity(REGULATOR, Role.REGULATOR, record.legal_entity, key.name)
        with (
            Vault.open(folder / "vault.sqlite") as vault,
            Ledger.open(folder / "ledger.sqlite", identity=who, key=key, clock=self.clock, config=QUICK) as ledger,
        ):
            book = ContractBook(vault, ledger, REGULATOR, Role.REGULATOR, self.clock, SystemEntropy())
            book.activate(envelope, self.directory)
            status = book.status(envelope.digest, signing_key(REGULATOR, Role.REGULATOR))
        for provider in providers:
            provider.activate(envelope, status)
        merchant = self.merchant
        own = ContractBook(merchant.vault, merchant.ledger, MERCHANT, Role.MERCHANT, self.clock, SystemEntropy())
        own.activate(envelope, self.directory)
        self.contracts[envelope.digest] = contract
        return envelope.digest


def signed_bytes(call: MerchantCall) -> SignedBytes:
    return SignedBytes(call.parsed.envelope.encode(), encode_openings(call.openings))


def entries(ledger: Ledger) -> list[Entry]:
    return [decode_entry(data) for data in ledger.read(0, ledger.size)]


def only(kind: type[Any], found: Sequence[Entry]) -> list[Any]:
    return [entry for entry in found if isinstance(entry, kind)]
