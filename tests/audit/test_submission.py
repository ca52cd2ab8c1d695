"""The body of add-checkpoint: read exactly as it is written, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audit.checkpoint import MAX_NOTE_BYTES
from audit.errors import LimitExceededError, MalformedError
from audit.submission import MAX_PROOF_LINES, MAX_SUBMISSION_BYTES, Submission
from tests.audit.witnessed import SmallLog

# The example of c2sp.org/tlog-witness.
EXAMPLE = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u2014 example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
""".encode()  # noqa: E501
HASH = b"PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"


def test_the_specifications_example_is_read_and_written_again() -> None:
    submission = Submission.decode(EXAMPLE)
    assert (submission.old_size, len(submission.proof)) == (20852014, 4)
    assert submission.note.startswith(b"example.com/behind-the-sofa\n20852163\n")
    assert submission.encode() == EXAMPLE


def test_a_first_checkpoint_has_no_proof() -> None:
    submission = SmallLog().submission(0, 7)
    assert submission.encode().startswith(b"old 0\n\n")
    assert Submission.decode(submission.encode()) == submission


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n",
        b"old\n",
        b"old \n",
        b"old 00\n",
        b"old 07\n",
        b"old -1\n",
        b"old +1\n",
        b"old 1 \n",
        b" old 1\n",
        b"Old 1\n",
        b"old  1\n",
        b"old 1\r\n",
        b"old 9223372036854775808\n",
        b"old 99999999999999999999\n",
        b"old \xd9\xa1\n",
        b"old 1\n" + HASH[:-2] + b"\n",
        b"old 1\n" + HASH[:-1] + b" \n",
        b"old 1\n" + HASH.replace(b"kaw=", b"kax="),
        b"old 1\nAAAA\n",
        b"old 1\n\xff\n",
        b"old 1\n" + HASH + b"old 2\n",
        HASH + b"old 1\n",
    ],
)
def test_another_form_is_refused(head: bytes) -> None:
    with pytest.raises(MalformedError):
        Submission.decode(head + b"\n" + SmallLog().note(7))


def test_the_largest_old_size_is_read() -> None:
    assert Submission.decode(b"old 9223372036854775807\n\nnote").old_size == 2**63 - 1


def test_63_lines_of_proof_are_read_and_64_are_not() -> None:
    note = SmallLog().note(7)
    assert len(Submission.decode(b"old 1\n" + HASH * MAX_PROOF_LINES + b"\n" + note).proof) == 63
    with pytest.raises(LimitExceededError):
        Submission.decode(b"old 1\n" + HASH * (MAX_PROOF_LINES + 1) + b"\n" + note)


def test_the_longest_body_is_read_and_one_byte_more_is_not() -> None:
    longest = b"old 9223372036854775807\n" + HASH * MAX_PROOF_LINES + b"\n" + b"n" * MAX_NOTE_BYTES
    assert len(longest) == MAX_SUBMISSION_BYTES
    assert Submission.decode(longest).encode() == longest
    with pytest.raises(LimitExceededError):
        Submission.decode(longest + b"n")


@pytest.mark.parametrize(
    ("old_size", "proof", "note"),
    [(-1, (), b""), (2**63, (), b""), (1, (b"short",), b""), (1, (bytes(32),) * 64, b""), (1, (), b"n" * 16385)],
)
def test_no_submission_outside_the_limits_is_made(old_size: int, proof: tuple[bytes, ...], note: bytes) -> None:
    with pytest.raises(MalformedError):
        Submission(old_size, proof, note)


@given(st.one_of(st.binary(max_size=300), st.tuples(st.integers(0, len(EXAMPLE)), st.binary(max_size=3))))
@example(b"old 0\n\n")
def test_any_bytes_are_a_submission_or_our_error(data: bytes | tuple[int, bytes]) -> None:
    body = data if isinstance(data, bytes) else EXAMPLE[: data[0]] + data[1] + EXAMPLE[data[0] + 1 :]
    try:
        submission = Submission.decode(body)
    except MalformedError:
        return
    assert submission.encode() == body
