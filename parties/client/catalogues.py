"""Reading providers' catalogues: descriptions verified under the provider's own key before anyone uses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from unseen.v1 import catalogue_pb2, catalogue_pb2_grpc

from audit.directory import KeyPurpose
from audit.envelope import Envelope, PayloadType
from audit.errors import AuditError
from parties.channel import Dialler
from sandbox.catalogue import DatasetDescription
from sandbox.errors import ContractError, DenialReason, PeerMisbehavedError
from sandbox.ports import CurrentDirectory

MAX_PAGES: Final = 1_000


class CatalogueClient:
    """Threads may share one. Every method raises what `PeerChannel.call` raises, and PeerMisbehavedError."""

    def __init__(self, dialler: Dialler, directory: CurrentDirectory) -> None:
        self._dialler = dialler
        self._directory = directory

    def list(self, provider: str) -> Iterator[DatasetDescription]:
        """Yield every data set that a provider offers, page by page."""
        channel = self._dialler.dial(provider)
        stub = catalogue_pb2_grpc.CatalogueServiceStub(channel.channel)
        token = ""
        for _ in range(MAX_PAGES):
            page = channel.call(stub.ListDatasets, catalogue_pb2.ListDatasetsRequest(page_token=token))
            yield from (self._verified(provider, envelope) for envelope in page.envelopes)
            token = page.next_page_token
            if not token:
                return
        raise PeerMisbehavedError(provider, DenialReason.TOO_LARGE, f"its catalogue has over {MAX_PAGES} pages")

    def get(self, reference: str) -> DatasetDescription:
        """Fetch one data set `<party>/<dataset>` or `<party>/<dataset>@<version>`."""
        provider = reference.partition("/")[0]
        channel = self._dialler.dial(provider)
        stub = catalogue_pb2_grpc.CatalogueServiceStub(channel.channel)
        response = channel.call(stub.GetDataset, catalogue_pb2.GetDatasetRequest(dataset=reference))
        description = self._verified(provider, response.envelope)
        if reference not in {description.reference, description.reference.partition("@")[0]}:
            raise PeerMisbehavedError(
                provider, DenialReason.MALFORMED, f"asked for {reference}, it sent {description.reference}"
            )
        return description

    def _verified(self, provider: str, data: bytes) -> DatasetDescription:
        try:
            envelope = Envelope.decode(data)
            envelope.verify(self._directory().party(provider).key(KeyPurpose.MESSAGE))
            description = DatasetDescription.from_body(envelope.body(PayloadType.DATASET))
        except (AuditError, ContractError) as error:
            raise PeerMisbehavedError(
                provider, DenialReason.MALFORMED, f"a description of its catalogue: {error}"
            ) from error
        if description.party != provider:
            raise PeerMisbehavedError(
                provider, DenialReason.MALFORMED, f"it describes a data set of {description.party}"
            )
        return description
