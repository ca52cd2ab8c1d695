"""The catalogue service: signed descriptions out, and nothing that depends on a row."""

# ruff: noqa: N802  (gRPC calls the methods by their names on the wire)

from __future__ import annotations

from typing import Final

import grpc
from unseen.v1 import catalogue_pb2, catalogue_pb2_grpc

from parties.provider_datasets import ServedDatasets
from parties.service.edge import Edge

MAX_REFERENCE: Final = 300


class CatalogueService(catalogue_pb2_grpc.CatalogueServiceServicer):
    """Serves every enrolled party."""

    def __init__(self, datasets: ServedDatasets, edge: Edge) -> None:
        self._datasets = datasets
        self._edge = edge

    def ListDatasets(
        self, request: catalogue_pb2.ListDatasetsRequest, context: grpc.ServicerContext
    ) -> catalogue_pb2.ListDatasetsResponse:
        """Page through the data sets, by name; a page's token is its last name."""
        with self._edge.serving(context):
            served = {dataset.declaration.name: dataset.envelope for dataset in self._datasets.all()}
            sizes = {name: len(envelope) for name, envelope in served.items()}
            page, token = self._edge.page(sizes, request.page_size, request.page_token)
            return catalogue_pb2.ListDatasetsResponse(envelopes=[served[name] for name in page], next_page_token=token)

    def GetDataset(
        self, request: catalogue_pb2.GetDatasetRequest, context: grpc.ServicerContext
    ) -> catalogue_pb2.GetDatasetResponse:
        """Return one data set's signed description."""
        with self._edge.serving(context):
            reference = self._edge.text("dataset", request.dataset, MAX_REFERENCE)
            return catalogue_pb2.GetDatasetResponse(envelope=self._datasets.find(reference).envelope)
