"""Parties of a secure sum with fixed pair secrets, and vectors for them."""

from hashlib import sha256
from itertools import combinations

import numpy as np

from protocols.secure_sum import SumParty, SumTerms

BOUND = 10_000
NAMES = ("a", "b", "c")


def terms_of(parameters=100, names=NAMES, *, bound=BOUND, attempt=1):
    return SumTerms(sha256(b"request").digest(), attempt, tuple(names), parameters, bound)


def secrets_of(names=NAMES):
    shared = {name: {} for name in names}
    for left, right in combinations(names, 2):
        shared[left][right] = shared[right][left] = sha256(f"{left}|{right}".encode()).digest()
    return shared


def parties_of(terms):
    shared = secrets_of(terms.roster)
    return {name: SumParty(terms, name, shared[name]) for name in terms.roster}


def vectors_of(terms, seed=1):
    generator = np.random.default_rng(seed)
    return {
        name: generator.integers(-terms.bound, terms.bound, terms.parameters, endpoint=True) for name in terms.roster
    }


def masked_of(terms, vectors, step=0):
    return {name: party.mask(step, vectors[name]) for name, party in parties_of(terms).items()}
