"""The policy file of tlog-policy: its grammar, its groups, and who makes a quorum."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, Note
from audit.cosignature import CosignerKey, add_lines, cosign
from audit.errors import BadSignatureError, LimitExceededError, MalformedError, QuorumMissingError
from audit.keys import SigningKey
from audit.names import KeyPurpose
from audit.policy import (
    MAX_GROUPS,
    MAX_LOGS,
    MAX_POLICY_BYTES,
    MAX_WITNESSES,
    NONE,
    Policy,
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
)
from tests.audit.samples import signing_key


def signer(name: str) -> SigningKey:
    return SigningKey.from_seed(f"{name}.example/w", name.encode().rjust(32, b"."))


def key(name: str) -> CosignerKey:
    return CosignerKey(signer(name).verifying_key)


LOG = signing_key("east", KeyPurpose.LOG)
LOG_VKEY = LOG.verifying_key.vkey()
X1, X2, X3, Y1, Y2, Y3 = names = ("X1", "X2", "X3", "Y1", "Y2", "Y3")
EXAMPLE = "".join(
    [
        f"log {LOG_VKEY}\n\n",
        *(f"witness {name} {key(name).vkey()}\n" for name in (X1, X2, X3)),
        "group X-witnesses 2 X1 X2 X3\n\n",
        *(f"witness {name} {key(name).vkey()}\n" for name in (Y1, Y2, Y3)),
        "group Y-witnesses any Y1 Y2 Y3\n\n",
        "group X-and-Y all X-witnesses Y-witnesses\n",
        "quorum X-and-Y\n",
    ]
).encode()
W = f"witness w {key('w').vkey()}\n"


def reaches(policy: Policy, *cosigners: str) -> bool:
    try:
        policy.verify_quorum(key(name) for name in cosigners)
    except QuorumMissingError:
        return False
    return True


def test_the_specifications_example_reads_as_it_says() -> None:
    policy = Policy.parse(EXAMPLE)
    assert policy.logs == (PolicyLog(LOG.verifying_key),)
    assert policy.witnesses == {name: PolicyWitness(key(name)) for name in names}
    assert policy.groups["X-witnesses"] == PolicyGroup(2, (X1, X2, X3))
    assert policy.groups["Y-witnesses"].threshold == 1
    assert policy.groups["X-and-Y"] == PolicyGroup(2, ("X-witnesses", "Y-witnesses"))


@pytest.mark.parametrize(
    ("cosigners", "enough"),
    [
        ((), False),
        ((X1, X2), False),
        ((X1, Y1), False),
        ((Y1, Y2, Y3), False),
        ((X1, X2, X3), False),
        ((X1, X2, Y3), True),
        ((X2, X3, Y1), True),
        (names, True),
    ],
)
def test_the_examples_quorum_is_two_of_x_and_one_of_y(cosigners: tuple[str, ...], enough: bool) -> None:
    assert reaches(Policy.parse(EXAMPLE), *cosigners) is enough


def test_quorum_none_asks_for_nobody() -> None:
    assert reaches(Policy.parse(b"quorum none\n"))
    assert reaches(Policy.none({"a": PolicyWitness(key("a"))}))


def test_a_quorum_of_one_witness_is_that_witness() -> None:
    policy = Policy.of_one("watch", key("watch"), "https://watch.example/")
    assert policy.witnesses["watch"].url == "https://watch.example/"
    assert reaches(policy, "watch", "other")
    assert not reaches(policy, "other")


def test_the_same_public_key_under_another_name_is_no_cosigner() -> None:
    policy = Policy.of_one("watch", key("watch"))
    elsewhere = CosignerKey(SigningKey.from_seed("else.example/w", b"watch".rjust(32, b".")).verifying_key)
    with pytest.raises(QuorumMissingError):
        policy.verify_quorum([elsewhere])


def test_who_is_missing_is_named() -> None:
    with pytest.raises(QuorumMissingError, match="X2, X3, Y1, Y2, Y3"):
        Policy.parse(EXAMPLE).verify_quorum([key(X1)])


def test_blanks_comments_and_order_mean_nothing() -> None:
    data = f"  # a comment\n\n \t \n\t witness\t w  {key('w').vkey()}  \t\n quorum  w \n#quorum none\nlog {LOG_VKEY}\n"
    policy = Policy.parse(data.encode())
    assert (policy.quorum, len(policy.logs), list(policy.witnesses)) == ("w", 1, ["w"])


def test_names_are_octets() -> None:
    kelvin = "witness \N{KELVIN SIGN} " + key("a").vkey() + "\nwitness K " + key("b").vkey() + "\nquorum K\n"
    assert len(Policy.parse(kelvin.encode()).witnesses) == 2
    for octets in (b"\xff\xfe", b"\xed\xa0\x80", b"\xc3\xa9", b"\xc2\x85", b"\xe3\x80\x80"):
        data = b"witness " + octets + f" {key('a').vkey()} https://".encode() + octets + b"/\nquorum " + octets + b"\n"
        policy = Policy.parse(data)
        assert policy.encode() == data
        assert not reaches(policy)


def test_keywords_may_be_names_but_none_may_not() -> None:
    data = f"witness any {key('a').vkey()}\nwitness 2 {key('b').vkey()}\ngroup all 2 2 any\nquorum all\n"
    policy = Policy.parse(data.encode())
    assert policy.groups == {"all": PolicyGroup(2, ("2", "any"))}
    with pytest.raises(MalformedError, match="line 1"):
        Policy.parse(f"witness none {key('a').vkey()}\nquorum none\n".encode())


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", 1),
        (b"# nothing\n", 2),
        (b"quorum none", 1),
        (b"quorum none\n# cut o", 2),
        (b"quorum none\nquorum none\n", 2),
        (b"quorum none # for now\n", 1),
        (b"quorum w\n" + W.encode(), 1),
        (b"quorum nobody\n", 1),
        (b"Quorum none\n", 1),
        (b"quorum none\r\n", 1),
        (b"\n\x00quorum none\n", 2),
        (b"\x7f\n", 1),
        (f"{W}group none any w\nquorum none\n".encode(), 2),
        (f"{W}group g any none\nquorum g\n".encode(), 2),
        (f"{W}group w any w\nquorum w\n".encode(), 2),
        (f"{W}group g any g\nquorum g\n".encode(), 2),
        (f"{W}group g any later\nquorum g\n".encode(), 2),
        (f"{W}group g any\nquorum g\n".encode(), 2),
        (f"{W}group g any w w\nquorum g\n".encode(), 2),
        (f"{W}group g any w\ngroup h any w\nquorum h\n".encode(), 3),
        *((f"{W}group g {k} w\nquorum g\n".encode(), 2) for k in ("0", "2", "01", "+1", "1.0", "-1", "Any", "\u0661")),
        (f"{W}{W}quorum w\n".encode(), 2),
        (f"{W}{W.replace(' w ', ' v ')}quorum w\n".encode(), 2),
        (f"{W}witness w {key('v').vkey()}\nquorum w\n".encode(), 2),
        (f"{W[:-1]} https://a https://b\nquorum w\n".encode(), 1),
        (f"log {LOG_VKEY}\nlog {LOG_VKEY} https://other\nquorum none\n".encode(), 2),
        (f"log {key('w').vkey()}\nquorum none\n".encode(), 1),
        (f"witness w {LOG_VKEY}\nquorum none\n".encode(), 1),
        (b"log \xff+00000000+AAAA\nquorum none\n", 1),
        (b"witness w w.example+0000000g+\xff\nquorum w\n", 1),
        (b"log\nquorum none\n", 1),
    ],
)
def test_what_is_no_policy_is_refused_with_its_line(data: bytes, line: int) -> None:
    with pytest.raises(MalformedError, match=rf"line {line}\b"):
        Policy.parse(data)


def test_the_same_key_under_another_name_is_a_duplicate() -> None:
    twin = SigningKey.from_seed("twin.example/w", b"w".rjust(32, b"."))
    with pytest.raises(MalformedError, match="twice"):
        Policy.parse(f"{W}witness v {CosignerKey(twin.verifying_key).vkey()}\nquorum w\n".encode())


def full(logs: int, witnesses: int, groups: int) -> bytes:
    lines = [f"log {SigningKey.from_seed(f'log{i}', i.to_bytes(32, 'big')).verifying_key.vkey()}" for i in range(logs)]
    lines += [f"witness {i} {key(f'w{i}').vkey()}" for i in range(witnesses)]
    lines += [f"group g{i} any {i if i < witnesses else f'g{i - witnesses}'}" for i in range(groups)]
    return "".join(f"{line}\n" for line in [*lines, "quorum none"]).encode()


@pytest.mark.parametrize("counts", [(32, 32, 32), (MAX_LOGS, MAX_WITNESSES, MAX_GROUPS)])
def test_policies_up_to_the_limits_are_read(counts: tuple[int, int, int]) -> None:
    policy = Policy.parse(full(*counts))
    assert (len(policy.logs), len(policy.witnesses), len(policy.groups)) == counts


@pytest.mark.parametrize("counts", [(MAX_LOGS + 1, 1, 1), (1, MAX_WITNESSES + 1, 1), (1, 1, MAX_GROUPS + 1)])
def test_one_more_than_the_limit_is_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(LimitExceededError, match="line "):
        Policy.parse(full(*counts))


def test_a_file_beyond_the_limit_is_refused() -> None:
    comment = b"#" * (MAX_POLICY_BYTES - len(b"\nquorum none\n")) + b"\nquorum none\n"
    assert Policy.parse(comment).quorum == NONE
    with pytest.raises(LimitExceededError):
        Policy.parse(b"#" + comment)


def test_groups_as_deep_as_they_may_be_are_counted() -> None:
    lines = [W, "group g0 all w\n", *(f"group g{i} all g{i - 1}\n" for i in range(1, MAX_GROUPS))]
    policy = Policy.parse("".join([*lines, f"quorum g{MAX_GROUPS - 1}\n"]).encode())
    assert reaches(policy, "w")
    assert not reaches(policy)


def test_a_note_is_held_against_the_policy() -> None:
    policy = Policy.of_one("watch", key("watch"))
    text = Checkpoint(LOG.name, 3, bytes(32)).body()
    signed = Note(text, ()).sign(LOG)
    cosigned = add_lines(signed, [cosign(text, signer("watch"), 7), cosign(text, signer("stranger"), 8)])
    (found,) = policy.verify_cosigned(cosigned)
    assert (found.key, found.timestamp_s) == (key("watch"), 7)
    with pytest.raises(QuorumMissingError):
        policy.verify_cosigned(signed)
    other = Note(Checkpoint(LOG.name, 4, bytes(32)).body(), cosigned.signatures)
    with pytest.raises(BadSignatureError):
        policy.verify_cosigned(other)


@pytest.mark.parametrize("name", ["", "two words", "a\nquorum none", "none", "a\tb"])
def test_a_name_that_a_file_cannot_hold_makes_no_policy(name: str) -> None:
    with pytest.raises(MalformedError):
        Policy.of_one(name, key("w"))


WORDS = st.sampled_from(
    [
        b"log", b"witness", b"group", b"quorum", b"none", b"any", b"all", b"1", b"2", b"w", b"v", b"g", b"#", b"\n",
        b"\n", b"\t", b"\xff", b"\x00", key("w").vkey().encode(), key("v").vkey().encode(), LOG_VKEY.encode(),
    ]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=200), st.lists(WORDS, max_size=40).map(b" ".join)))
@example(EXAMPLE)
def test_any_bytes_are_a_policy_or_our_error(data: bytes) -> None:
    try:
        policy = Policy.parse(data)
    except MalformedError:
        return
    assert Policy.parse(policy.encode()) == policy
