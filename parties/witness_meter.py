"""What monitoring sees of witnesses: how much is cosigned, how long they have been silent, what was refused."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from parties.witness_desk import WitnessDesk
from parties.witnessing import Witnessing


class WitnessMeter(Collector):
    """Reads both when it is asked."""

    def __init__(self, witnessing: Witnessing, desk: WitnessDesk) -> None:
        self._witnessing = witnessing
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        status = self._witnessing.status()
        size = GaugeMetricFamily("unseen_witnessed_size", "Entries under the newest cosignature.", labels=["witness"])
        for each in status.witnesses:
            size.add_metric([each.name], each.size or 0)
        yield size
        if status.silence_ms is not None:
            seconds = status.silence_ms / 1000
            yield GaugeMetricFamily(
                "unseen_witness_silence_seconds", "Since enough witnesses have cosigned.", value=seconds
            )
        held = int(status.held or bool(status.forked))
        yield GaugeMetricFamily("unseen_ledger_held", "1 while the ledger signs nothing new, else 0.", value=held)
        yield CounterMetricFamily(
            "unseen_logs_refused", "Contradictions of other parties' logs, recorded.", value=self._desk.refused
        )
