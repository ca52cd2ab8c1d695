import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import MalformedError
from audit.names import KeyName, KeyPurpose, Role, check_domain, check_party_name, dns_name, parse_key_name, spiffe_id


def test_a_party_has_the_documented_names() -> None:
    assert dns_name("east", Role.PROVIDER, "stats.example") == "east.provider.stats.example"
    assert spiffe_id("east", Role.PROVIDER, "stats.example") == "spiffe://stats.example/provider/east"
    name = KeyName("east", Role.PROVIDER, "stats.example", KeyPurpose.LOG)
    assert str(name) == "east.provider.stats.example/log"
    assert parse_key_name(str(name)) == name


@pytest.mark.parametrize("name", ["", "A", "1a", "-a", "a" * 32, "a_b", "a.b", "a\n", "é"])
def test_other_party_names_are_refused(name: str) -> None:
    with pytest.raises(MalformedError):
        check_party_name(name)


@pytest.mark.parametrize("domain", ["", ".", "a..b", "-a", "a-", "A.b", "a/b", "a.b\n", "a" * 64, "a." * 70 + "a"])
def test_other_domains_are_refused(domain: str) -> None:
    with pytest.raises(MalformedError):
        check_domain(domain)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "east",
        "east.provider.stats.example",
        "east.provider.stats.example/",
        "east.provider.stats.example/tls",
        "east.king.stats.example/log",
        "East.provider.stats.example/log",
        "east.provider.Stats.example/log",
        "east.provider./log",
        "east.provider.stats.example/x/log",
        ".provider.stats.example/log",
    ],
)
def test_other_key_names_are_refused(name: str) -> None:
    with pytest.raises(MalformedError):
        parse_key_name(name)


@given(
    st.text(max_size=60) | st.from_regex(r"[a-z]+\.(provider|merchant|king)\.[a-z.]+/(log|message|x)", fullmatch=True)
)
def test_any_text_is_a_key_name_or_malformed(text: str) -> None:
    try:
        name = parse_key_name(text)
    except MalformedError:
        return
    assert str(name) == text
