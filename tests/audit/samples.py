"""One deterministic federation and one sample of every format, from seeds in plain sight."""

import hashlib
from dataclasses import replace

from audit.canonical import JsonObject
from audit.directory import Directory, KeyRecord, KeyStatus, PartyRecord
from audit.discrepancy import (
    Discrepancy,
    DiscrepancyKind,
    Finding,
    LedgerHead,
    Sighting,
    SignatureState,
    Standing,
)
from audit.entry import (
    Aborted,
    Ack,
    ContractTransition,
    Denied,
    DirectoryAccepted,
    DiscrepancyFound,
    Enrolled,
    Entry,
    Genesis,
    Intent,
    LogKeyChanged,
    LogRefused,
    Misbehaviour,
    Outcome,
    Seal,
    Side,
    Units,
    WitnessOverride,
)
from audit.entry_privacy import PrivacyTaken
from audit.envelope import Envelope, PayloadType, Signature, seal
from audit.keys import SigningKey
from audit.names import KeyPurpose, Role, dns_name, key_name, spiffe_id
from audit.receipt import ReceiptPayload, countersign, issue, participants_digest
from audit.tariff import Tariff, price

DOMAIN = "stats.example"
AT_MS = 1_760_000_000_000
ROLES = {
    "east": Role.PROVIDER,
    "north": Role.PROVIDER,
    "shop": Role.MERCHANT,
    "watch": Role.REGULATOR,
}
TARIFF = Tariff("CNY", 1_000_000, 250_000, 3_333_333, 0)
UNITS = Units(1, 7_000, 12, 0)

# A self-signed certificate would change with every run; the directory checks the PEM form only.
ANCHOR = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


CONTRACT = digest("contract")


def signing_key(party: str, purpose: KeyPurpose = KeyPurpose.MESSAGE, generation: int = 0) -> SigningKey:
    seed = hashlib.sha256(f"unseen test key {party} {purpose.value} {generation}".encode()).digest()
    return SigningKey.from_seed(key_name(party, ROLES[party], DOMAIN, purpose), seed)


def party_record(name: str, keys: tuple[KeyRecord, ...] | None = None) -> PartyRecord:
    role = ROLES[name]
    endpoint = f"{dns_name(name, role, DOMAIN)}:8443" if role is not Role.MERCHANT else None
    records = keys or tuple(
        KeyRecord(purpose, signing_key(name, purpose).verifying_key, KeyStatus.ACTIVE, AT_MS, None)
        for purpose in (KeyPurpose.LOG, KeyPurpose.MESSAGE)
    )
    return PartyRecord(
        name,
        role,
        f"LEGAL-{name.upper()}",
        spiffe_id(name, role, DOMAIN),
        dns_name(name, role, DOMAIN),
        endpoint,
        records,
    )


def rotated_keys() -> tuple[KeyRecord, ...]:
    """A log key, a message key revoked, one retired and the active one."""
    message = [signing_key("north", KeyPurpose.MESSAGE, generation).verifying_key for generation in range(3)]
    return (
        KeyRecord(KeyPurpose.LOG, signing_key("north", KeyPurpose.LOG).verifying_key, KeyStatus.ACTIVE, AT_MS, None),
        KeyRecord(KeyPurpose.MESSAGE, message[1], KeyStatus.REVOKED, AT_MS - 20, AT_MS - 10),
        KeyRecord(KeyPurpose.MESSAGE, message[2], KeyStatus.RETIRED, AT_MS - 10, AT_MS),
        KeyRecord(KeyPurpose.MESSAGE, message[0], KeyStatus.ACTIVE, AT_MS, None),
    )


def directory(version: int = 3) -> Directory:
    parties = [party_record(name, rotated_keys() if name == "north" else None) for name in sorted(ROLES)]
    return Directory(
        domain=DOMAIN,
        version=version,
        issued_at_ms=AT_MS,
        expires_at_ms=AT_MS + 86_400_000,
        regulator="watch",
        parties=tuple(parties),
        trust_anchors=(ANCHOR,),
        revoked_certificates=(digest("revoked certificate"),),
    )


def request(number: int = 0) -> Envelope:
    """A stand-in for a merchant's request: the ledger looks at its payload's hash only."""
    body = {**PayloadType.AGGREGATE_REQUEST.header(), "number": number}
    return seal(body, PayloadType.AGGREGATE_REQUEST, signing_key("shop"))


def receipt_payload(provider: str = "east", number: int = 0, **changes: object) -> ReceiptPayload:
    units = changes.pop("units", UNITS)
    assert isinstance(units, Units)
    fields: dict[str, object] = {
        "call": request(number).digest,
        "contract": digest("contract"),
        "provider": provider,
        "merchant": "shop",
        "computing_party": "east",
        "participants_digest": participants_digest(("east", "north")),
        "dataset": f"{provider}/wages@0011223344556677",
        "scheme": "paillier-djn/v1",
        "key_fingerprint": digest("key"),
        "response": digest(f"response {provider} {number}"),
        "units": units,
        "price_micro": price(units, TARIFF).total_micro,
        "currency": "CNY",
        "merchant_nonce": digest(f"nonce {number}")[:32],
        "provider_nonce": digest(f"nonce {provider} {number}")[:32],
        "merchant_clock_ms": AT_MS + number,
        "provider_clock_ms": AT_MS + number + 5,
        "released_statistic": digest(f"statistic {number}"),
        "dataset_content": digest(f"content {number}"),
        **changes,
    }
    return ReceiptPayload(**fields)  # type: ignore[arg-type]


def receipt(provider: str = "east", number: int = 0, **changes: object) -> Envelope:
    """With the provider's signature alone."""
    return issue(receipt_payload(provider, number, **changes), signing_key(provider))


def outcome(side: Side, provider: str = "east", number: int = 0, **changes: object) -> Outcome:
    signed = receipt(provider, number, **changes)
    payload = receipt_payload(provider, number, **changes)
    if side is Side.MERCHANT:
        signed = countersign(signed, signing_key("shop"))
    return Outcome(
        party=provider if side is Side.PROVIDER else "shop",
        at_ms=AT_MS + number + 6,
        side=side,
        call=request(number).digest,
        contract=payload.contract,
        receipt_id=signed.digest,
        request=request(number),
        receipt=signed,
        units=payload.units,
        price_micro=payload.price_micro,
        currency=payload.currency,
    )


def ack(side: Side, provider: str = "east", number: int = 0, **changes: object) -> Ack:
    signed = countersign(receipt(provider, number, **changes), signing_key("shop"))
    return Ack(
        party=provider if side is Side.PROVIDER else "shop",
        at_ms=AT_MS + number + 9,
        side=side,
        call=request(number).digest,
        contract=digest("contract"),
        receipt_id=signed.digest,
        signature=merchant_signature(signed),
    )


def merchant_signature(signed: Envelope) -> Signature:
    keyid = signing_key("shop").verifying_key.keyid
    return next(line for line in signed.signatures if line.keyid == keyid)


def aborted(party: str, side: Side, number: int = 0, *, released: bool = False) -> Aborted:
    return Aborted(
        party=party,
        at_ms=AT_MS + number + 9,
        side=side,
        call=request(number).digest,
        contract=digest("contract"),
        reason="deadline",
        released=released,
    )


def intent(side: Side, number: int = 0) -> Intent:
    own = side is Side.PROVIDER
    return Intent(
        party="east" if own else "shop",
        at_ms=AT_MS + number + 1,
        side=side,
        call=request(number).digest,
        contract=digest("contract"),
        operation="aggregate",
        merchant="shop",
        provider="east" if own else "",
        computing_party="east",
        participants=("east", "north"),
        attempt=1,
        nonce=digest(f"nonce {number}")[:32],
        provider_nonce=digest(f"nonce east {number}")[:32] if own else "",
        dataset="east/wages@0011223344556677" if own else "",
        units=UNITS,
        price_micro=price(UNITS, TARIFF).total_micro,
        currency="CNY",
        deadline_ms=AT_MS + 60_000,
        commitments={field: digest(field) for field in ("statistics", "group_by", "filters", "purpose")},
    )


def private_intent(number: int = 0) -> Intent:
    """Of a call that takes half a unit of epsilon."""
    units = replace(UNITS, micro_epsilon=500_000)
    event: JsonObject = {
        "blocks": [
            {"changed": 1, "share_variance": "49/2", "squared_sensitivity": "1/1"},
            {"changed": 1, "share_variance": "64/1", "squared_sensitivity": "1234567890123456789/1152921504606846976"},
        ],
        "distance": "1/5192296858534827628530496329220096",
        "honest_shares": 1,
        "kind": "noised_vector",
    }
    return replace(
        intent(Side.PROVIDER, number),
        operation="dp_aggregate",
        units=units,
        price_micro=price(units, TARIFF).total_micro,
        privacy=PrivacyTaken("LEGAL-SHOP", event),
    )


def discrepancy() -> Discrepancy:
    """The regulator's, with every optional field."""
    shown = [
        Sighting(digest(f"receipt {index}"), index, standing, UNITS, 1_000_000 + index, "CNY", state)
        for index, standing, state in (
            (7, Standing.ACKNOWLEDGED, SignatureState.VERIFIED),
            (8, Standing.OPEN, SignatureState.BAD),
            (9, Standing.ABORTED, SignatureState.UNCHECKED),
        )
    ]
    finding = Finding(
        kind=DiscrepancyKind.DUPLICATED,
        provider="east",
        merchant="shop",
        ledger="shop",
        call=request().digest,
        contract=digest("contract"),
        at_provider=shown[0],
        at_merchant=shown[1],
        again=shown[2],
    )
    heads = [
        LedgerHead(signing_key(party, KeyPurpose.LOG).name, size, digest(f"root {party}"))
        for party, size in (("east", 100), ("shop", 90))
    ]
    return Discrepancy(finding, "watch", AT_MS + 50, *heads)


def discrepancy_found() -> DiscrepancyFound:
    signed = discrepancy().sign(signing_key("watch"))
    return DiscrepancyFound(party="watch", at_ms=AT_MS + 51, discrepancy_id=signed.digest, discrepancy=signed)


def entries() -> dict[str, Entry]:
    """One entry of every kind (two where the sides differ), by the name of its golden file."""
    log_key = signing_key("east", KeyPurpose.LOG).verifying_key
    return {
        "entry_genesis": Genesis(
            party="east",
            at_ms=AT_MS,
            origin=log_key.name,
            role=Role.PROVIDER,
            legal_entity="LEGAL-EAST",
            log_key=log_key.vkey(),
        ),
        "entry_seal": Seal(party="east", at_ms=AT_MS, size=1024, chain=digest("chain")),
        "entry_directory": DirectoryAccepted(party="east", at_ms=AT_MS, version=3, digest=digest("directory")),
        "entry_enrolled": Enrolled(
            party="watch",
            at_ms=AT_MS,
            subject="east",
            role=Role.PROVIDER,
            legal_entity="LEGAL-EAST",
            certificate=digest("certificate"),
            version=2,
        ),
        "entry_contract": ContractTransition(
            party="east",
            at_ms=AT_MS,
            contract=digest("contract"),
            state="suspended",
            actor="watch",
            digest=digest("action"),
            reason=digest("reason"),
        ),
        "entry_intent_provider": intent(Side.PROVIDER),
        "entry_intent_merchant": intent(Side.MERCHANT),
        "entry_intent_privacy": private_intent(),
        "entry_outcome_provider": outcome(Side.PROVIDER),
        "entry_outcome_merchant": outcome(Side.MERCHANT),
        "entry_ack": ack(Side.PROVIDER),
        "entry_denied": Denied(
            party="east",
            at_ms=AT_MS,
            side=Side.PROVIDER,
            identity=spiffe_id("shop", Role.MERCHANT, DOMAIN),
            merchant="shop",
            call=request().digest,
            contract=digest("contract"),
            reason="QUOTA_EXHAUSTED",
            clause="quotas.calls",
            check=0,
            count=1,
        ),
        "entry_aborted": aborted("east", Side.PROVIDER),
        "entry_discrepancy": discrepancy_found(),
        "entry_log_key": LogKeyChanged(
            party="east",
            at_ms=AT_MS,
            old=log_key.vkey(),
            new=signing_key("east", KeyPurpose.LOG, 1).verifying_key.vkey(),
            version=4,
        ),
        "entry_log_refused": LogRefused(
            party="watch",
            at_ms=AT_MS,
            subject="east",
            origin=log_key.name,
            misbehaviour=Misbehaviour.FORKED,
            held_size=100,
            held_root=digest("held root"),
            offered_size=120,
            offered_root=digest("offered root"),
            evidence=digest("evidence"),
        ),
        "entry_witness_override": WitnessOverride(party="east", at_ms=AT_MS, size=100, reason=digest("reason")),
    }
