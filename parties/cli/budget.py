"""`unseen budget`: what is left of privacy budgets, and what each call took of them."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from math import sqrt
from typing import Annotated, Final

import typer

from audit.canonical import JsonObject
from audit.names import Role
from audit.tariff import format_micro
from parties.budget_report import Account, DatasetBudget, SpentCall, read_asked, read_budgets
from parties.cli.output import HomeOption, JsonOption, emit_json, emit_table, open_home, say, talk
from parties.errors import NotFoundError, UsageError
from parties.home import Home
from protocols.dp_events import Composed, CostEvent, NoisedVector, PoissonSampled, Repeated

SHOWN: Final = 12
"""Characters of an identifier that a table shows."""

BAR: Final = 20
_ZERO: Final = Fraction(0)


def budget(
    dataset: Annotated[str, typer.Option("--dataset", help="At a provider: only this dataset.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show what is left of privacy budgets and what each call took, from the party's own ledger, running or not.

    At a provider: by dataset, for each legal entity and for all together. At a merchant: what its calls asked for.
    """
    own = open_home(home)
    if own.role is Role.REGULATOR:
        raise UsageError(f"{own.name} is the regulator and has no budgets: name a provider's or merchant's --home")
    if own.role is Role.MERCHANT:
        if dataset:
            raise UsageError("--dataset is for a provider, which keeps its datasets' budgets; leave it out")
        _show_asked(own, json=json)
        return
    budgets = [each for each in read_budgets(own) if dataset in ("", each.dataset)]
    if dataset and not budgets:
        raise NotFoundError(f"{own.name} declares no dataset {dataset!r:.80} in release mode dp; see `catalog list`")
    if json:
        emit_json({"datasets": [_as_object(each) for each in budgets]})
        return
    if not budgets:
        talk(say("no dataset here is released under differential privacy", "这里没有以差分隐私方式发布的数据集"))
    for each in budgets:
        _show(each)


def in_words(event: CostEvent) -> str:
    """Return what a release was: its noise as a multiple of what one row or person can change, and who keeps it.

    All totals of a vector are taken together: the multiple is 1 / sqrt(sum of sensitivity^2 / variance).
    """
    match event:
        case NoisedVector(honest_shares, blocks):
            squared = sum((each.squared_sensitivity / (honest_shares * each.share_variance) for each in blocks), _ZERO)
            times = f"{1 / sqrt(squared):.3g}"
            english = f"noise {times} times what one row or person changes, of {honest_shares} unknown shares"
            return say(english, f"噪声为一行或一个人所能造成变化的 {times} 倍，其中未知份额 {honest_shares} 份")
        case Composed(events):
            return " + ".join(map(in_words, events))
        case Repeated(part, times_):
            return f"{times_} x ({in_words(part)})"
        case PoissonSampled(part, rate):
            return f"{in_words(part)}{say(', on a secret sample of', '，秘密抽样比例')} {float(rate):g}"


def bar(spent: int, whole: int) -> str:
    """Return a bar of 20 characters, filled as far as the budget is spent; a started step counts."""
    filled = min(BAR, -(-spent * BAR // whole))
    return "█" * filled + "░" * (BAR - filled)


def _show(each: DatasetBudget) -> None:
    delta = f"delta {float(each.terms.delta):g}"
    talk(f"{say('dataset', '数据集')} {each.dataset}, {delta}")
    headers = [say("legal entity", "法人"), say("left", "剩余"), say("budget", "预算"), ""]
    accounts = (*each.entities, each.total)
    emit_table(headers, [_account_row(account) for account in accounts])
    if not each.calls:
        return
    headers = [
        say("call", "调用"),
        say("time (UTC)", "时间（UTC）"),
        say("contract", "合约"),
        say("merchant", "数据商"),
    ]
    headers += [say("asked", "请求"), say("took", "占用"), say("spent by then", "当时累计"), say("release", "发布")]
    emit_table(headers, [_call_row(call, each.terms.micro_epsilon) for call in each.calls])


def _account_row(account: Account) -> list[str]:
    name = account.entity or say("all together", "合计")
    return [name, format_micro(account.left), format_micro(account.budget), bar(account.spent, account.budget)]


def _call_row(call: SpentCall, whole: int) -> list[str]:
    took = say("given back", "已退回") if call.given_back else format_micro(call.took)
    return [
        call.call[:SHOWN],
        _time(call.at_ms),
        call.contract[:SHOWN],
        call.merchant,
        format_micro(call.asked),
        took,
        f"{bar(call.spent, whole)} {format_micro(call.spent)}",
        in_words(call.event),
    ]


def _show_asked(home: Home, *, json: bool) -> None:
    asked = read_asked(home)
    if json:
        calls = [
            {
                "call": each.call,
                "contract": each.contract,
                "at_ms": each.at_ms,
                "epsilon": format_micro(each.micro_epsilon),
                "providers": list(each.providers),
                "answered": each.answered,
            }
            for each in asked
        ]
        emit_json({"calls": calls})
        return
    headers = [say("call", "调用"), say("time (UTC)", "时间（UTC）"), say("contract", "合约")]
    headers += [
        say("epsilon at each provider", "每个提供方的 epsilon"),
        say("providers", "提供方"),
        say("answered", "已答复"),
    ]
    yes, no = say("yes", "是"), say("no", "否")
    emit_table(
        headers,
        [
            [
                each.call[:SHOWN],
                _time(each.at_ms),
                each.contract[:SHOWN],
                format_micro(each.micro_epsilon),
                ", ".join(each.providers),
                yes if each.answered else no,
            ]
            for each in asked
        ],
    )


def _as_object(each: DatasetBudget) -> JsonObject:
    return {
        "dataset": each.dataset,
        "delta": str(each.terms.delta),
        "total": _account_object(each.total),
        "entities": [{"entity": account.entity, **_account_object(account)} for account in each.entities],
        "calls": [
            {
                "call": call.call,
                "contract": call.contract,
                "merchant": call.merchant,
                "entity": call.entity,
                "at_ms": call.at_ms,
                "epsilon": format_micro(call.asked),
                "took": format_micro(call.took),
                "spent": format_micro(call.spent),
                "given_back": call.given_back,
                "release": in_words(call.event),
            }
            for call in each.calls
        ],
    }


def _account_object(account: Account) -> JsonObject:
    return {
        "epsilon": format_micro(account.budget),
        "spent": format_micro(account.spent),
        "left": format_micro(account.left),
    }


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC):%Y-%m-%d %H:%M:%S}"
