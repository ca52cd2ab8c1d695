"""Proofs that whoever announces keys holds each of them: every key signs the announcement, for its own purpose.

Blocks announcing another party's key as one's own.
"""

from collections.abc import Mapping

from audit.canonical import Fields, Json, canonicalise, to_base64
from audit.hashes import sha256
from audit.keys import SIGNATURE_BYTES, SigningKey, VerifyingKey
from audit.names import KeyPurpose


def challenge(tag: str, purpose: KeyPurpose, announcement: Mapping[str, Json]) -> bytes:
    """What the key of `purpose` signs: `<tag><purpose>:` and the SHA-256 of the announcement's canonical JSON."""
    return f"{tag}{purpose.value}:".encode("ascii") + sha256(canonicalise(dict(announcement)))


def prove(tag: str, announcement: Mapping[str, Json], keys: Mapping[KeyPurpose, SigningKey]) -> dict[str, Json]:
    """Return the proofs by `keys`, as they stand in a body beside the announcement."""
    return {
        purpose.value: to_base64(keys[purpose].sign(challenge(tag, purpose, announcement)))
        for purpose in KeyPurpose
        if purpose in keys
    }


def verify_proofs(
    tag: str, announcement: Mapping[str, Json], keys: Mapping[KeyPurpose, VerifyingKey], proofs: Fields
) -> None:
    """Take the proof by each of `keys` out of `proofs`, and verify it.

    Raises:
        MalformedError: a proof is missing, or there is one too many.
        BadSignatureError: a key has not signed this announcement.
    """
    for purpose, key in keys.items():
        proof = proofs.base64(purpose.value, max_bytes=SIGNATURE_BYTES, nbytes=SIGNATURE_BYTES)
        key.verify(challenge(tag, purpose, announcement), proof)
    proofs.finish()
