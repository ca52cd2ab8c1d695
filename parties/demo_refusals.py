"""What the demo tries and must not succeed with. Each attempt is the real thing, from where an attacker would stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from audit.clock import Clock
from audit.commitment import encode_openings
from audit.keys import KeyPurpose
from parties.channel import Dialler
from parties.client.catalogues import CatalogueClient
from parties.client.merchant import Merchant
from parties.client.peers import ComputeClient
from parties.client.query import read_query
from parties.client.result import AggregateResult
from parties.demo_data import BUREAUS, DATASET, ApplicationTerms, application_toml
from parties.demo_federation import MERCHANT, DemoFederation, found_intruder
from parties.entropy import SystemEntropy
from parties.errors import CertificateRefusedError, WorkerError
from protocols.paillier_key import PublicKey, generate_key
from sandbox.errors import DeniedError
from sandbox.invocation_merchant import REQUEST
from sandbox.ports import PublicKeyBytes, SignedBytes
from sandbox.request import RequestTerms, build_request, sign_request
from sandbox.vault import Vault, VaultKind

LIFETIME_MS: Final = 60_000


class Refusals:
    """The attempts, against a federation that serves and a contract in force. `seen` maps each to reason and clause."""

    def __init__(self, federation: DemoFederation, merchant: Merchant, contract: str, clock: Clock) -> None:
        self._federation = federation
        self._merchant = merchant
        self._contract = contract
        self._clock = clock
        self.seen: dict[str, str] = {}

    def column(self) -> None:
        """Group by a column that the contract lets be filtered only."""
        self._expect("column", lambda: self._merchant.aggregate(self._contract, statistics=["count"], by=["smsa"]))

    def group_size(self) -> None:
        """Apply for smaller groups than the bureaus release."""
        self._apply("group_size", ApplicationTerms(min_group_size=3))

    def identifying(self) -> None:
        """Apply to group by region, which tells the bureaus apart."""
        self._apply("identifying", ApplicationTerms(group_by_region=True))

    def replay(self, answered: AggregateResult) -> None:
        """Send a request again that was answered before, byte for byte."""
        with Vault.open(self._federation.home(MERCHANT).vault_path) as vault:
            envelope = vault.get(VaultKind.MESSAGE, f"{REQUEST}/{answered.call}")
            openings = vault.get(VaultKind.OPENINGS, f"{answered.call}/{REQUEST}")
        if envelope is None or openings is None:
            raise WorkerError("the merchant's vault lacks the request that it sent")
        key = self._merchant.paillier_key.public_key
        computing_party = self._merchant.contract(self._contract).contract.computing_party

        def send() -> None:
            with self._federation.dialling_as(MERCHANT, self._clock) as dialler:
                client = ComputeClient(dialler, self._clock)
                client.aggregate(computing_party, SignedBytes(envelope, openings), _bytes(key), self._deadline())

        self._expect("replay", send)

    def swapped_key(self) -> None:
        """As the computing party, hand a peer the merchant's request with a Paillier key of one's own."""
        contract = self._merchant.contract(self._contract).contract
        now_ms = self._clock.now_ms()
        terms = RequestTerms(
            contract=self._merchant.contract(self._contract).contract_id,
            merchant=MERCHANT,
            participants=contract.providers,
            computing_party=contract.computing_party,
            attempt=1,
            issued_at_ms=now_ms,
            deadline_ms=self._deadline(),
        )
        query = read_query(contract.frame, ["mean(wage)"], [], ())
        key = self._merchant.paillier_key.public_key
        request, openings = build_request(terms, query, contract.purpose, key, SystemEntropy())
        signed = sign_request(request, self._federation.home(MERCHANT).signing_key(KeyPurpose.MESSAGE))
        other = generate_key().public_key
        peer = next(name for name in contract.providers if name != contract.computing_party)

        def forward() -> None:
            with self._federation.dialling_as(contract.computing_party, self._clock) as dialler:
                message = SignedBytes(signed.encode(), encode_openings(openings))
                ComputeClient(dialler, self._clock).offer(peer, message, _bytes(other), self._deadline())

        self._expect("swapped_key", forward)

    def quota(self) -> None:
        """Ask once more than the contract allows."""
        self._expect("quota", lambda: self._merchant.aggregate(self._contract, statistics=["count"]))

    def certificate(self) -> None:
        """Come with a certificate that another authority issued, under this federation's names."""
        intruder = found_intruder(self._federation.folder / "intruder-ca", self._clock)
        merchant = self._federation.home(MERCHANT)
        # The intruder accepts the bureau's certificate; the bureau must not accept the intruder's.
        intruder.anchors_path.write_bytes(merchant.anchors_path.read_bytes())
        dialler = Dialler(intruder, lambda: merchant.directory(now_ms=self._clock.now_ms()))
        try:
            CatalogueClient(dialler, lambda: merchant.directory(now_ms=self._clock.now_ms())).get(
                f"{BUREAUS[0].name}/{DATASET}"
            )
        except CertificateRefusedError as error:
            self.seen["certificate"] = f"CERTIFICATE_REFUSED tls.{error.culprit.value}"
            return
        finally:
            dialler.close()
        raise WorkerError("a certificate of another authority was accepted")

    def _apply(self, name: str, terms: ApplicationTerms) -> None:
        path: Path = self._federation.folder / f"application-{name}.toml"
        path.write_text(application_toml(terms), encoding="utf-8")
        self._expect(name, lambda: self._merchant.apply(path))

    def _deadline(self) -> int:
        return self._clock.now_ms() + LIFETIME_MS

    def _expect(self, name: str, attempt: Callable[[], object]) -> None:
        try:
            attempt()
        except DeniedError as error:
            self.seen[name] = f"{error.reason.value} {error.clause}"
            return
        raise WorkerError(f"what the demo calls {name!r} was let through; it must be refused")


def _bytes(key: PublicKey) -> PublicKeyBytes:
    return PublicKeyBytes(key.modulus_bytes, key.scheme.value)
