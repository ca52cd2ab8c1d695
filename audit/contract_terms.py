"""What a verifier needs of a contract: its parties, prices and limits, read from the document that was signed.

The document's identifier is the hash of its bytes, and a ledger names contracts by it. A ledger's calls are therefore
held against the very terms that were signed, whoever hands the document over; no signature on it is looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from audit.envelope import Envelope, PayloadType
from audit.errors import MalformedError
from audit.names import DATASET_PATTERN, PARTY_PATTERN
from audit.tariff import Tariff

MAX_CONTRACT_BYTES: Final = 1024 * 1024
MAX_PROVIDERS: Final = 20
_MAX_OPERATIONS: Final = 16


@dataclass(frozen=True, slots=True)
class DatasetTerms:
    """One provider's dataset `<party>/<dataset>@<version>` and its declared number of rows."""

    dataset: str
    declared_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractTerms:
    """The terms of one contract.

    Args:
        contract: its identifier, SHA-256 of its payload in hexadecimal.
        datasets: by provider.
        calls, ciphertexts, micro_epsilon: what may be used up at each provider.
        fee_cap_micro: what each provider may earn, in micro-units of the tariff's currency.
        not_before_ms, not_after_ms: its validity, milliseconds since the Unix epoch, the end excluded.

    Raises:
        MalformedError: no provider, or another one than the datasets are of.
    """

    contract: str
    merchant: str
    providers: tuple[str, ...]
    computing_party: str
    datasets: Mapping[str, DatasetTerms]
    operations: tuple[str, ...]
    calls: int
    ciphertexts: int
    micro_epsilon: int
    fee_cap_micro: int
    tariff: Tariff
    not_before_ms: int
    not_after_ms: int

    def __post_init__(self) -> None:
        if not self.providers or set(self.providers) != set(self.datasets):
            raise MalformedError("a contract's datasets are those of its providers, one of each")

    @classmethod
    def of(cls, envelope: Envelope) -> "ContractTerms":
        """The terms in a contract's envelope; further fields of the document are none of the verifier's business.

        Raises:
            MalformedError: no contract, or one of these fields is missing or outside its form.
        """
        fields = envelope.body(PayloadType.CONTRACT, limit=MAX_CONTRACT_BYTES)
        quotas, validity = fields.object("quotas"), fields.object("validity")
        terms = cls(
            contract=envelope.digest,
            merchant=fields.text("merchant", pattern=PARTY_PATTERN),
            providers=fields.texts("providers", max_items=MAX_PROVIDERS, pattern=PARTY_PATTERN),
            computing_party=fields.text("computing_party", pattern=PARTY_PATTERN),
            datasets={
                party: DatasetTerms(
                    binding.text("dataset", max_length=128, pattern=DATASET_PATTERN),
                    binding.integer("declared_rows", 1),
                )
                for party, binding in fields.object_map("datasets", max_items=MAX_PROVIDERS).items()
            },
            operations=fields.texts("operations", max_items=_MAX_OPERATIONS),
            calls=quotas.integer("calls", 1),
            ciphertexts=quotas.big("ciphertexts", lo=1),
            micro_epsilon=quotas.big("micro_epsilon"),
            fee_cap_micro=fields.big("fee_cap_micro"),
            tariff=Tariff.from_json(fields.object("tariff")),
            not_before_ms=validity.integer("not_before_ms"),
            not_after_ms=validity.integer("not_after_ms"),
        )
        quotas.finish()
        validity.finish()
        return terms

    @classmethod
    def decode(cls, data: bytes) -> "ContractTerms":
        """As `of`, from an envelope's bytes, canonical JSON of at most 1 MiB."""
        return cls.of(Envelope.decode(data, limit=MAX_CONTRACT_BYTES))
