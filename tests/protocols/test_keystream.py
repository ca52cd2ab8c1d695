import pickle

import pytest

from protocols.keystream import Keystream, fresh_keystream


def test_the_stream_is_aes_256_in_counter_mode_from_zero():
    # NIST, AESAVS KAT (CAVP KAT_AES, ECBVarTxt256 has the key of zeros): AES-256 of the zero block under the zero key.
    assert Keystream(bytes(32))(16).hex() == "dc95c078a2408989ad48a21492842087"


def test_a_stream_goes_on_where_it_stopped():
    whole, parts = Keystream(b"k" * 32), Keystream(b"k" * 32)
    assert whole(1000) == b"".join(parts(count) for count in (1, 0, 15, 16, 17, 951))


def test_two_fresh_streams_differ():
    assert fresh_keystream()(16) != fresh_keystream()(16)


def test_a_stream_is_not_pickled():
    with pytest.raises(TypeError, match="twice"):
        pickle.dumps(fresh_keystream())


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match="32 bytes"):
        Keystream(bytes(length))
