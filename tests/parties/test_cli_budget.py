"""`unseen budget` on homes of a provider, a merchant and the regulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from audit.entry import Entry, Side
from audit.names import Role
from parties.cli.app import run
from parties.cli.budget import BAR, bar, in_words
from parties.home import Home
from protocols.dp_events import Composed, NoisedBlock, NoisedVector, PoissonSampled, Repeated
from sandbox.budget import Spend
from sandbox.privacy_terms import PrivacyTerms
from tests.audit.samples import UNITS, aborted, intent, outcome, private_intent
from tests.parties.homes import join, new_home, opened
from tests.parties.test_cli_ledger import write
from tests.sandbox.datasets import AGE, DATASET, SEX, WAGE

DECLARED = (
    DATASET.replace('"people"', '"wages"')
    + '[dataset.release]\nmode = "dp"\n[dataset.privacy]\nepsilon = 5\nepsilon_total = 20\ndelta = 1e-6\n'
    + f'[source]\ncsv = "wages.csv"\n{WAGE}{AGE}{SEX}'
)
TERMS = PrivacyTerms(micro_epsilon=5_000_000, micro_epsilon_total=20_000_000, delta=Fraction(1, 10**6))
VECTOR = NoisedVector(2, (NoisedBlock(1, Fraction(50), Fraction(1)),))

Unseen = Callable[..., tuple[int, str, str]]


def taken(number: int, entity: str) -> Entry:
    made = Spend.of(entity, "east/wages@00", VECTOR, TERMS)
    return replace(private_intent(number), privacy=made.taken)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Home]:
    folder = tmp_path_factory.mktemp("budgets")
    watch = new_home(folder, "watch", Role.REGULATOR)
    with opened(watch) as regulator:
        east = join(regulator, new_home(folder, "east", Role.PROVIDER))
        shop = join(regulator, new_home(folder, "shop", Role.MERCHANT))
    (east.catalog / "wages.toml").write_text(DECLARED)
    back = aborted("east", Side.PROVIDER, 2)
    lost = aborted("east", Side.PROVIDER, 3, released=True)
    calls = [taken(0, "LEGAL-A"), taken(1, "legal.b"), taken(2, "LEGAL-A"), back, taken(3, "LEGAL-A"), lost]
    write(east, [*calls, replace(intent(Side.PROVIDER, 4))])
    units = replace(UNITS, calls=2, declared_rows=14_000, micro_epsilon=1_000_000)
    asked = replace(intent(Side.MERCHANT, 1), operation="dp_aggregate", units=units)
    write(shop, [intent(Side.MERCHANT), asked, outcome(Side.MERCHANT, "east", 1)])
    return {home.name: home for home in (watch, east, shop)}


@pytest.fixture
def unseen(capsys: pytest.CaptureFixture[str]) -> Unseen:
    def command(home: Home, *arguments: str) -> tuple[int, str, str]:
        code = run(["budget", "--home", str(home.path), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def test_a_provider_sees_what_is_left_and_what_each_call_took(homes: dict[str, Home], unseen: Unseen) -> None:
    code, out, _ = unseen(homes["east"], "--json")
    (found,) = json.loads(out)["datasets"]
    assert code == 0
    assert (found["dataset"], found["delta"]) == ("wages", "1/1000000")
    accounts = {each["entity"]: each for each in found["entities"]}
    assert sorted(accounts) == ["legala", "legalb"]
    for account in (*accounts.values(), found["total"]):
        assert float(account["spent"]) + float(account["left"]) == pytest.approx(float(account["epsilon"]))
    calls = found["calls"]
    assert [each["given_back"] for each in calls] == [False, False, True, False]
    assert [each["epsilon"] for each in calls] == ["0.500000"] * 4
    of_a = [each for each in calls if each["entity"] == "legala"]
    assert sum(float(each["took"]) for each in of_a) == pytest.approx(float(accounts["legala"]["spent"]))
    assert float(of_a[1]["took"]) == 0 < float(of_a[2]["took"])
    assert float(accounts["legalb"]["spent"]) < float(accounts["legala"]["spent"]) < 5


def test_people_read_a_bar_over_time(homes: dict[str, Home], unseen: Unseen) -> None:
    code, out, talk = unseen(homes["east"], "--dataset", "wages")
    assert code == 0
    assert "delta 1e-06" in talk
    assert "all together" in out
    assert "given back" in out
    assert "noise 10 times what one row or person changes, of 2 unknown shares" in out
    bars = [line for line in out.splitlines() if "█" in line]
    assert len(bars) == 3 + 4


def test_a_merchant_sees_what_its_calls_asked_of_each_provider(homes: dict[str, Home], unseen: Unseen) -> None:
    code, out, _ = unseen(homes["shop"], "--json")
    (asked,) = json.loads(out)["calls"]
    assert code == 0
    assert (asked["epsilon"], asked["providers"], asked["answered"]) == ("0.500000", ["east", "north"], True)
    assert unseen(homes["shop"])[1].count("0.500000") == 1


def test_others_are_told_whom_to_ask(homes: dict[str, Home], unseen: Unseen) -> None:
    assert unseen(homes["watch"])[0] == 2
    assert unseen(homes["shop"], "--dataset", "wages")[0] == 2
    assert unseen(homes["east"], "--dataset", "nothing")[0] == 3


def test_a_bar_is_full_when_nothing_is_left_and_shows_the_least_spend() -> None:
    assert bar(0, 100) == "░" * BAR
    assert bar(1, 100).count("█") == 1
    assert bar(100, 100) == bar(500, 100) == "█" * BAR


def test_releases_of_every_kind_have_words(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = in_words(VECTOR)
    assert in_words(Repeated(VECTOR, 3)) == f"3 x ({alone})"
    assert in_words(Composed((VECTOR, VECTOR))) == f"{alone} + {alone}"
    assert in_words(PoissonSampled(VECTOR, Fraction(1, 100))).endswith("secret sample of 0.01")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert "噪声" in in_words(VECTOR)
