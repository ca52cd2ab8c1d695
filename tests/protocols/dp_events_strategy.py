"""Cost events for property tests."""

from fractions import Fraction

from hypothesis import strategies as st

from protocols.dp_events import Composed, CostEvent, NoisedBlock, NoisedVector, PoissonSampled, Repeated

variances = st.fractions(min_value=Fraction(1, 4), max_value=10**6, max_denominator=60)
blocks = st.builds(
    NoisedBlock,
    changed=st.integers(1, 1000),
    share_variance=variances,
    squared_sensitivity=st.fractions(min_value=Fraction(1, 50), max_value=10**6, max_denominator=50),
)
vectors = st.builds(
    NoisedVector,
    honest_shares=st.integers(1, 8),
    blocks=st.lists(blocks, min_size=1, max_size=3).map(tuple),
    distance=st.sampled_from([Fraction(0), Fraction(1, 1 << 90)]),
)


def unsampled(inner: st.SearchStrategy[CostEvent]) -> st.SearchStrategy[CostEvent]:
    return st.one_of(
        st.builds(Composed, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Repeated, inner, st.integers(1, 1000)),
    )


plain_events: st.SearchStrategy[CostEvent] = st.one_of(vectors, unsampled(vectors))
events: st.SearchStrategy[CostEvent] = st.one_of(
    plain_events,
    st.builds(
        PoissonSampled,
        plain_events,
        st.fractions(min_value=Fraction(1, 1000), max_value=Fraction(999, 1000), max_denominator=1000),
    ),
)
