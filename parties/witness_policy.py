"""Which witnesses must cosign this party's log: those of its policy file, or else the regulator.

Whatever the policy asks for, the regulator is asked too, since it keeps the entries; its cosignature counts where the
policy names it.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.cosignature import CosignerKey
from audit.directory import Directory
from audit.errors import AuditError, MalformedError, QuorumMissingError
from audit.keys import VerifyingKey
from audit.names import KeyPurpose
from audit.party_record import KeyStatus, PartyRecord
from audit.policy import MAX_POLICY_BYTES, MAX_WITNESSES, Policy, PolicyWitness
from parties.errors import ConfigError
from parties.home import Home


@dataclass(frozen=True, slots=True)
class NamedWitness:
    """One witness to ask: an enrolled party, or any other at its submission prefix.

    Attributes:
        key: its cosignatures'.
        party: its name in the directory, empty where it is none or the policy gives a URL.
        url: the submission prefix, empty for a party.
    """

    key: CosignerKey
    party: str
    url: str


def read_policy(home: Home) -> Policy | None:
    """The policy file's content; None where there is no file and none is configured.

    Raises:
        ConfigError: the configured file is missing, or it is no policy.
        HomeError: it cannot be read.
    """
    path = home.policy_path
    if not path.exists():
        if home.config.witness.policy:
            raise ConfigError("[witness] policy names this file, and it is missing", file=str(path))
        return None
    try:
        return Policy.parse(home.read(path, limit=MAX_POLICY_BYTES))
    except MalformedError as error:
        raise ConfigError(f"is no witness policy of c2sp.org/tlog-policy: {error}", file=str(path)) from error


def default_policy(own: str, directory: Directory) -> Policy:
    """The policy of a party without a file: the regulator cosigns; at the regulator, providers may and nobody must."""
    if own != directory.regulator:
        return Policy.of_one(directory.regulator, CosignerKey(_witness_key(directory.party(directory.regulator))))
    witnesses: dict[str, PolicyWitness] = {}
    for record in directory.providers()[:MAX_WITNESSES]:
        try:
            witnesses[record.name] = PolicyWitness(CosignerKey(_witness_key(record)))
        except AuditError:
            continue  # revoked and not replaced yet
    return Policy.none(witnesses)


def needs_nobody(policy: Policy) -> bool:
    """Whether the policy asks for no cosignature at all."""
    try:
        policy.verify_quorum(())
    except QuorumMissingError:
        return False
    return True


def named_witnesses(policy: Policy, own: str, directory: Directory) -> tuple[NamedWitness, ...]:
    """Everyone to ask: the policy's witnesses and the regulator, less this party itself."""
    parties = {
        each.key: record
        for record in directory.parties
        for each in record.keys
        if each.purpose is KeyPurpose.WITNESS and each.status is KeyStatus.ACTIVE
    }
    named: dict[CosignerKey, NamedWitness] = {}
    for each in policy.witnesses.values():
        record = None if each.url else parties.get(each.key.key)
        named[each.key] = NamedWitness(each.key, "" if record is None else record.name, each.url)
    regulator = directory.party(directory.regulator)
    try:
        key = CosignerKey(_witness_key(regulator))
    except AuditError:
        pass
    else:
        named.setdefault(key, NamedWitness(key, regulator.name, ""))
    return tuple(each for each in named.values() if each.party != own)


def log_keys(own: str, directory: Directory, current: VerifyingKey) -> tuple[VerifyingKey, ...]:
    """Every key that may have signed this party's log, the current one first."""
    record = directory.party(own)
    listed = [each.key for each in record.keys if each.purpose is KeyPurpose.LOG and each.key != current]
    return (current, *listed)


def _witness_key(record: PartyRecord) -> VerifyingKey:
    return record.key(KeyPurpose.WITNESS)
