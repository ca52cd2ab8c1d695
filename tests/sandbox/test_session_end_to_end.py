"""The first proof: four providers in one process, masked parts, and exactly what pooling would have given."""

from pathlib import Path

from tests.sandbox.federation import Federation
from tests.sandbox.survey import paillier_key, survey


def test_four_masked_providers_give_exactly_what_pooling_would_have(tmp_path: Path) -> None:
    data = {name: survey(seed, 60) for seed, name in enumerate(("east", "north", "south", "west"))}
    federation = Federation(tmp_path, data)
    result = federation.merchant.session.run(federation.merchant.call(), paillier_key())
    totals, contributors = federation.pooled()
    assert [tuple(row) for row in result.totals] == totals
    assert list(result.contributors) == contributors
    federation.close()
