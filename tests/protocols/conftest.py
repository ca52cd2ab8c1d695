"""Keys for the protocols' tests: short where length is not the point, one of full length."""

import pytest

from protocols.paillier_key import PrivateKey, Scheme, generate_key

SMALL_BITS = 512


@pytest.fixture(scope="session")
def small_key() -> PrivateKey:
    return generate_key(SMALL_BITS, minimum_bits=SMALL_BITS)


@pytest.fixture(scope="session")
def small_textbook_key() -> PrivateKey:
    return generate_key(SMALL_BITS, scheme=Scheme.TEXTBOOK, minimum_bits=SMALL_BITS)


@pytest.fixture(scope="session")
def full_key() -> PrivateKey:
    return generate_key()
