from audit.hashes import HashAlgorithm, hex_sha256, sha256


def test_sha256_gives_the_published_digest() -> None:
    # FIPS 180-4 example: SHA-256("abc").
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hex_sha256(b"abc") == digest
    assert sha256(b"abc").hex() == digest
    assert HashAlgorithm("sha256") is HashAlgorithm.SHA256
