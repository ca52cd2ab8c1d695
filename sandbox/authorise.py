"""authorise: may this request, from this peer, at this time, under this contract, be admitted?

A pure function of what it is given; it touches no row, no ledger and no clock. Nine numbered checks, each blocking an
attack of its own, in an order in which a stranger makes us do as little as possible. A check raises `DeniedError` with
the reason, the contract's clause or the request's field, and its number; whoever passes all nine gets `Authorised`,
from which admission takes and reserves.

 1 identity      the TLS peer is the signer or, forwarded, the computing party that the signed request names
 2 signature     over the received bytes by the contract's merchant, covering query and key
 3 freshness     deadline, clock skew, audience
 4 contract      known, signed by all, active, within its lease, over the dataset served
 5 operation     permitted
 6 columns       each in a permitted use, filters in declared domains
 7 purpose       the contract's
 8 participants  the contract's providers, all of them, combined by its computing party
 9 grade         never core; important only with the regulator's countersignature
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from audit.commitment import Openings, decode_openings, verify_openings
from audit.directory import KeyPurpose, KeyStatus, Role
from audit.errors import CommitmentMismatchError, LimitExceededError, MalformedError, UnknownPartyError
from audit.tariff import price
from protocols.aggregate import AggregateLayout
from protocols.errors import BadModulusError
from protocols.paillier_checks import check_public_key
from protocols.paillier_key import PublicKey
from sandbox.authorise_columns import read_permitted_query
from sandbox.authorise_privacy import private_call, verify_epsilon
from sandbox.authorised import AuthoriseContext, Authorised, AuthoriseLimits, Leg, PeerIdentity, PrivateCall
from sandbox.contract import Contract
from sandbox.contract_checks import check_contract, known_party, verify_by_key, verify_signatures, verify_signed_by
from sandbox.contract_record import ContractRecord
from sandbox.contract_states import ContractState
from sandbox.declaration_model import DatasetDescription
from sandbox.errors import ContractError, DenialReason, DeniedError
from sandbox.grades import Grade
from sandbox.layout import plan_aggregate
from sandbox.metering import units_of
from sandbox.privacy_cost import private_layout
from sandbox.request import MAX_OPENINGS_BYTES, AggregateQuery, AggregateRequest, ParsedRequest, parse_purpose

__all__ = [
    "AuthoriseContext",
    "AuthoriseLimits",
    "Authorised",
    "Leg",
    "PeerIdentity",
    "authorise",
]

_T = TypeVar("_T")


def authorise(
    parsed: ParsedRequest,
    openings_bytes: bytes,
    key: PublicKey,
    *,
    peer: PeerIdentity,
    context: AuthoriseContext,
    now_ms: int,
    grpc_deadline_ms: int | None,
) -> Authorised:
    """Run the nine checks.

    Args:
        parsed: the request as received.
        openings_bytes: the openings of its commitments as received.
        key: the Paillier key that came with it, unchecked.
        peer: the TLS identity of the caller.
        context: what this party knows.
        now_ms: milliseconds since the epoch.
        grpc_deadline_ms: the call's own deadline, None where it has none.

    Raises:
        DeniedError: the first check that fails.
    """
    request = parsed.request
    _verify_identity(request, peer, context)
    openings = _verify_signature(parsed, openings_bytes, key, context)
    _verify_freshness(request, context, now_ms, grpc_deadline_ms)
    record, description = _verify_contract(request, context, now_ms)
    contract = record.contract
    _verify_operation(request, contract, description)
    query = _verify_columns(openings, contract, context, description)
    _verify_purpose(openings, contract)
    _verify_participants(request, contract, context)
    grade = _verify_grade(query, record, context)
    _verify_key(key, context.limits)
    private = private_call(request, contract, query, description, context.directory)
    layout = _usable_layout(contract, query, key, private, context.limits)
    units = units_of(contract, context.self_party, layout.ciphertexts, request.micro_epsilon or 0)
    return Authorised(
        request=request,
        envelope=parsed.envelope,
        openings=openings,
        query=query,
        contract=contract,
        provider=context.self_party,
        dataset=description.reference,
        call=parsed.call,
        key=key,
        layout=layout,
        units=units,
        price=price(units, contract.tariff),
        grade=grade,
        private=private,
    )


def _verify_identity(request: AggregateRequest, peer: PeerIdentity, context: AuthoriseContext) -> None:
    """Check 1. Blocks a party that sends another's signed request, to learn its answer or to spend its quota."""
    try:
        listed = context.directory.by_spiffe(peer.spiffe_id)
    except UnknownPartyError as error:
        raise DeniedError(DenialReason.UNKNOWN_PARTY, "authorise.identity", str(error), 1) from error
    if (listed.name, listed.role, listed.legal_entity) != (peer.party, peer.role, peer.legal_entity):
        detail = f"the directory lists {peer.spiffe_id} as {listed.name}, a {listed.role.value}; enrol again"
        raise DeniedError(DenialReason.IDENTITY_MISMATCH, "authorise.identity", detail, 1)
    forwarded = context.leg is Leg.FORWARDED
    wanted = request.computing_party if forwarded else request.merchant
    role = Role.PROVIDER if forwarded else Role.MERCHANT
    if peer.party != wanted:
        way = "forwarded by the computing party" if forwarded else "sent by the merchant"
        detail = f"the request is to be {way}, {wanted}; it came from {peer.party}"
        raise DeniedError(DenialReason.IDENTITY_MISMATCH, "authorise.identity", detail, 1)
    if peer.role is not role:
        detail = f"{peer.party} is a {peer.role.value}; a {role.value} is wanted here"
        raise DeniedError(DenialReason.WRONG_ROLE, "authorise.identity", detail, 1)
    if forwarded and peer.party == context.self_party:
        detail = "the computing party forwards to its peers, not to itself"
        raise DeniedError(DenialReason.IDENTITY_MISMATCH, "authorise.identity", detail, 1)


def _verify_signature(
    parsed: ParsedRequest, openings_bytes: bytes, key: PublicKey, context: AuthoriseContext
) -> Openings:
    """Check 2. Blocks forged or altered requests, a swapped query, and a swapped Paillier key.

    The signature covers query and purpose through their commitments and the key through its fingerprint. A key that is
    retired, revoked or made for another purpose signs no request. Lines beside it are refused, since whoever forwards
    an envelope can add them and it is logged as received.
    """
    request = parsed.request
    if context.record is not None and context.record.contract.merchant != request.merchant:
        detail = f"the contract's merchant is {context.record.contract.merchant}, the request's {request.merchant}"
        raise DeniedError(DenialReason.IDENTITY_MISMATCH, "merchant", detail, 2)
    record = _numbered(2, lambda: known_party(context.directory, request.merchant, "authorise.merchant"))
    live = [item.key for item in record.keys if item.purpose is KeyPurpose.MESSAGE and item.status is KeyStatus.ACTIVE]
    if not live:
        detail = f"{record.name} has no active message key in the directory; rotate it in"
        raise DeniedError(DenialReason.BAD_SIGNATURE, "authorise.signature", detail, 2)
    _numbered(2, lambda: verify_by_key(parsed.envelope, live[0], "authorise.signature"))
    if len(parsed.envelope.signatures) != 1:
        detail = "it carries further signature lines, which nothing vouches for; send it with its merchant's alone"
        raise DeniedError(DenialReason.BAD_SIGNATURE, "authorise.signature", detail, 2)
    if (request.key_fingerprint, request.key_scheme, request.key_bits) != (key.fingerprint, key.scheme.value, key.bits):
        detail = "the Paillier key that came with the request is not the one that the merchant signed"
        raise DeniedError(DenialReason.KEY_MISMATCH, "authorise.key", detail, 2)
    try:
        openings = decode_openings(openings_bytes, MAX_OPENINGS_BYTES)
        verify_openings(request.commitments, openings)
    except CommitmentMismatchError as error:
        raise DeniedError(DenialReason.COMMITMENT_MISMATCH, "authorise.openings", str(error), 2) from error
    except LimitExceededError as error:
        raise DeniedError(DenialReason.TOO_LARGE, "authorise.openings", str(error), 2) from error
    except MalformedError as error:
        raise DeniedError(DenialReason.MALFORMED, "authorise.openings", str(error), 2) from error
    return openings


def _verify_freshness(
    request: AggregateRequest, context: AuthoriseContext, now_ms: int, grpc_deadline_ms: int | None
) -> None:
    """Check 3. Blocks old, post-dated and redirected requests, and calls that would hold a thread for ever.

    Together with the nonce, which admission remembers for good, this leaves no time at which a replay is taken.
    """
    limits = context.limits
    if grpc_deadline_ms is None:
        detail = "the call has no deadline; set one (every client of this system does)"
        raise DeniedError(DenialReason.DEADLINE_MISSING, "authorise.grpc_deadline", detail, 3)
    if grpc_deadline_ms <= now_ms or request.deadline_ms <= now_ms:
        detail = "the deadline has passed; sign a new request with a later one"
        raise DeniedError(DenialReason.STALE, "authorise.deadline_ms", detail, 3)
    if request.deadline_ms > now_ms + limits.horizon_ms:
        detail = f"the deadline is more than {limits.horizon_ms // 1000} s ahead; sign a nearer one"
        raise DeniedError(DenialReason.STALE, "authorise.deadline_ms", detail, 3)
    if abs(now_ms - request.issued_at_ms) > limits.skew_ms:
        detail = (
            f"it was issued {now_ms - request.issued_at_ms} ms ago by this party's clock, at most "
            f"{limits.skew_ms} ms either way are allowed; set the clocks (NTP) and sign a new request"
        )
        raise DeniedError(DenialReason.STALE, "authorise.issued_at_ms", detail, 3)
    if context.self_party not in request.audience:
        detail = f"the request is for {', '.join(request.audience)}, not for {context.self_party}"
        raise DeniedError(DenialReason.WRONG_AUDIENCE, "authorise.audience", detail, 3)


def _verify_contract(
    request: AggregateRequest, context: AuthoriseContext, now_ms: int
) -> tuple[ContractRecord, DatasetDescription]:
    """Check 4. Blocks use without, before, after or beside a contract, or beyond the regulator's reach (the lease).

    Parties, legal entities and signatures are held against the directory of today, so that a revocation counts at once.
    """
    record = context.record
    if record is None or record.contract_id != request.contract:
        detail = f"{context.self_party} holds no contract {request.contract}; bring it with `unseen contract refresh`"
        raise DeniedError(DenialReason.CONTRACT_UNKNOWN, "authorise.contract", detail, 4)
    contract = record.contract
    state = record.state_at(now_ms)
    if state is not ContractState.ACTIVE:
        detail = f"the contract is {state.value} and only an active one may be used; `unseen contract show` tells more"
        raise DeniedError(DenialReason.CONTRACT_NOT_ACTIVE, "state", detail, 4)
    if now_ms < contract.validity.not_before_ms:
        detail = f"the contract is in force from {contract.validity.not_before_ms} ms on; wait until then"
        raise DeniedError(DenialReason.CONTRACT_NOT_ACTIVE, "validity.not_before_ms", detail, 4)
    if now_ms >= record.lease_end_ms:
        detail = (
            "the regulator has not confirmed the contract within its lease; restore the connection to the regulator"
        )
        raise DeniedError(DenialReason.LEASE_EXPIRED, "lease_ms", detail, 4)
    _numbered(4, lambda: check_contract(contract, context.directory))
    _numbered(4, lambda: verify_signatures(record.envelope, contract, context.directory))
    binding = contract.datasets.get(context.self_party)
    if binding is None:
        detail = f"{context.self_party} is none of the contract's providers"
        raise DeniedError(DenialReason.PARTICIPANT_SET_MISMATCH, "providers", detail, 4)
    description = context.description
    if description is None or description.reference != binding.dataset:
        detail = f"{binding.dataset} is not the version served now; sign a contract over the current one"
        raise DeniedError(DenialReason.DATASET_VERSION_MISMATCH, f"datasets.{context.self_party}", detail, 4)
    return record, description


def _verify_operation(request: AggregateRequest, contract: Contract, description: DatasetDescription) -> None:
    """Check 5. Blocks an operation that was not agreed upon, and epsilon that is none or too much for one call."""
    permitted = [operation.value for operation in contract.operations]
    if request.operation not in permitted:
        detail = f"{request.operation!r} is not among the contract's operations {', '.join(permitted)}"
        raise DeniedError(DenialReason.OPERATION_NOT_PERMITTED, "operations", detail, 5)
    _numbered(5, lambda: verify_epsilon(request.micro_epsilon, contract, description))


def _verify_columns(
    openings: Openings, contract: Contract, context: AuthoriseContext, description: DatasetDescription
) -> AggregateQuery:
    """Check 6. Blocks columns and uses not agreed upon, filters that single out rows, cells that tell a provider."""
    return _numbered(6, lambda: read_permitted_query(openings, contract, context.self_party, description))


def _verify_purpose(openings: Openings, contract: Contract) -> None:
    """Check 7. Blocks use for another purpose: the merchant has signed this one for this very call."""
    try:
        purpose = parse_purpose(openings)
    except (MalformedError, ContractError) as error:
        raise DeniedError(DenialReason.MALFORMED, "authorise.purpose", str(error), 7) from error
    if purpose != contract.purpose:
        detail = f"the request's purpose is {purpose.code!r} with its text, the contract's {contract.purpose.code!r}"
        raise DeniedError(DenialReason.PURPOSE_MISMATCH, "purpose", detail, 7)


def _verify_participants(request: AggregateRequest, contract: Contract, context: AuthoriseContext) -> None:
    """Check 8. Blocks differencing over participants, and a combiner of the merchant's choosing."""
    if request.participants != contract.providers or request.audience != contract.providers:
        detail = f"participants and audience must be all of {', '.join(contract.providers)}"
        raise DeniedError(DenialReason.PARTICIPANT_SET_MISMATCH, "providers", detail, 8)
    if request.computing_party != contract.computing_party:
        detail = f"the contract's computing party is {contract.computing_party}, not {request.computing_party}"
        raise DeniedError(DenialReason.COMPUTING_PARTY_MISMATCH, "computing_party", detail, 8)
    if context.leg is Leg.DIRECT and context.self_party != contract.computing_party:
        detail = f"the merchant sends its requests to {contract.computing_party} alone"
        raise DeniedError(DenialReason.COMPUTING_PARTY_MISMATCH, "computing_party", detail, 8)


def _verify_grade(query: AggregateQuery, record: ContractRecord, context: AuthoriseContext) -> Grade:
    """Check 9. Blocks core data always, and important data that the regulator has not countersigned."""
    contract = record.contract
    grade = contract.grade_of(query.columns)
    if grade is Grade.CORE:
        detail = "core data (核心数据, GB/T 43697-2024) are never used; leave the column out"
        raise DeniedError(DenialReason.GRADE_REFUSED, "grades", detail, 9)
    if grade is Grade.IMPORTANT:
        try:
            verify_signed_by(record.envelope, context.directory.party(contract.regulator))
        except DeniedError as error:
            detail = f"important data need the regulator's countersignature: {error.detail}"
            raise DeniedError(DenialReason.GRADE_REFUSED, "grades", detail, 9) from error
    return grade


def _verify_key(key: PublicKey, limits: AuthoriseLimits) -> None:
    """The key is fit for use; part of check 2, but late, since it costs much."""
    try:
        check_public_key(key, minimum_bits=limits.minimum_modulus_bits)
    except BadModulusError as error:
        raise DeniedError(DenialReason.BAD_MODULUS, "authorise.key", str(error), 2) from error


def _usable_layout(
    contract: Contract, query: AggregateQuery, key: PublicKey, private: PrivateCall | None, limits: AuthoriseLimits
) -> AggregateLayout:
    """The part fits into a message; part of check 6.

    The widest slot that a frame allows has 99 bits, so that every permitted modulus is wide enough.
    """
    bits = key.bits
    layout = plan_aggregate(contract, query, bits) if private is None else private_layout(private.release, bits)
    size = layout.ciphertexts * key.ciphertext_width
    if size > limits.part_bytes:
        detail = f"the encrypted part has {size} bytes, {limits.part_bytes} fit a message; ask for fewer cells or sums"
        raise DeniedError(DenialReason.TOO_LARGE, "authorise.group_by", detail, 6)
    return layout


def _numbered(check: int, verify: Callable[[], _T]) -> _T:
    """Run a check that is also made elsewhere, under its number here."""
    try:
        return verify()
    except DeniedError as error:
        raise DeniedError(error.reason, error.clause, error.detail, check, error.left) from error
