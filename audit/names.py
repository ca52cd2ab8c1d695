"""Names of parties and keys, and the forms they take in certificates, DNS and logs.

A party `tj-bureau`, a provider in the domain `stats.example`, is `tj-bureau.provider.stats.example` in DNS,
`spiffe://stats.example/provider/tj-bureau` in its certificate, and signs with keys named
`tj-bureau.provider.stats.example/message`.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from audit.errors import MalformedError

PARTY_PATTERN: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
DOMAIN_PATTERN: Final = re.compile(
    r"(?=.{1,120}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
LEGAL_ENTITY_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,63}")
"""A code of a public register, such as a unified social credit code (18 characters) or an LEI (20)."""
DATASET_PATTERN: Final = re.compile(r"[a-z][a-z0-9-]{0,30}/[a-z][a-z0-9_-]{0,62}@[0-9a-f]{16}")
"""A dataset reference `<party>/<dataset>@<version>`, the version 8 random bytes in hexadecimal."""


class Role(Enum):
    """What a party is in the federation."""

    PROVIDER = "provider"
    MERCHANT = "merchant"
    REGULATOR = "regulator"


class KeyPurpose(Enum):
    """What a signing key may sign: its ledger's checkpoints, messages, or other parties' checkpoints."""

    LOG = "log"
    MESSAGE = "message"
    WITNESS = "witness"


@dataclass(frozen=True, slots=True)
class KeyName:
    """The parts of a key's name `<party>.<role>.<domain>/<purpose>`."""

    party: str
    role: Role
    domain: str
    purpose: KeyPurpose

    def __str__(self) -> str:
        return key_name(self.party, self.role, self.domain, self.purpose)


def check_party_name(name: str) -> None:
    """Raise `MalformedError` unless `name` is a lowercase letter and up to 30 letters, digits or hyphens."""
    if PARTY_PATTERN.fullmatch(name) is None:
        raise MalformedError(f"{name!r:.60} is not a party name: a lowercase letter, then up to 30 of a-z, 0-9 and -")


def check_domain(domain: str) -> None:
    """Raise `MalformedError` unless `domain` is a lowercase DNS name of at most 120 characters."""
    if DOMAIN_PATTERN.fullmatch(domain) is None:
        raise MalformedError(f"{domain!r:.140} is not a lowercase DNS domain name")


def dns_name(party: str, role: Role, domain: str) -> str:
    """`<party>.<role>.<domain>`, the certificate's DNS name."""
    return f"{party}.{role.value}.{domain}"


def spiffe_id(party: str, role: Role, domain: str) -> str:
    """`spiffe://<domain>/<role>/<party>`, the certificate's URI name."""
    return f"spiffe://{domain}/{role.value}/{party}"


def key_name(party: str, role: Role, domain: str, purpose: KeyPurpose) -> str:
    """`<party>.<role>.<domain>/<purpose>`; with purpose log it is also the origin of the party's ledger."""
    return f"{dns_name(party, role, domain)}/{purpose.value}"


def parse_key_name(name: str) -> KeyName:
    """The parts of a key's name.

    Raises:
        MalformedError: not of the form `<party>.<role>.<domain>/<purpose>`.
    """
    host, _, purpose = name.rpartition("/")
    party, _, rest = host.partition(".")
    role, _, domain = rest.partition(".")
    try:
        parts = KeyName(party, Role(role), domain, KeyPurpose(purpose))
    except ValueError as error:
        raise MalformedError(f"{name!r:.200} is not a key name <party>.<role>.<domain>/<purpose>") from error
    check_party_name(party)
    check_domain(domain)
    return parts
