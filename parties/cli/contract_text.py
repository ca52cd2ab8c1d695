"""A contract as an official reads it before signing: everything that it permits, costs and demands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from audit.tariff import format_micro
from parties.cli.chinese import word
from parties.cli.output import say
from parties.held_contracts import levels_of, missing_signers, signers
from sandbox.contract import Contract
from sandbox.contract_actions import parse_action
from sandbox.contract_record import ContractRecord
from sandbox.frame import FrameColumn, format_scaled
from sandbox.privacy_terms import AgreedPrivacy

Lines = Iterator[tuple[str, str]]

MINUTE_MS = 60_000


def contract_lines(record: ContractRecord, now_ms: int) -> list[tuple[str, str]]:
    """Return the contract as (field, value) lines in the language of the locale."""
    return [
        (say("contract", "合约"), record.contract_id),
        (say("state", "状态"), word(record.state_at(now_ms))),
        *_parties(record),
        *_terms(record.contract),
        *_fees(record.contract),
        *(_column(record.contract, column) for column in record.contract.frame.columns),
        *((say("obligation", "义务"), text) for text in record.contract.obligations),
        *_decisions(record),
    ]


def time_text(at_ms: int) -> str:
    """Return a time in UTC, to the minute."""
    return f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC):%Y-%m-%d %H:%M} UTC"


def _parties(record: ContractRecord) -> Lines:
    contract = record.contract
    yield say("merchant", "数据商"), contract.merchant
    yield say("computing party", "计算方"), contract.computing_party
    yield say("regulator", "监管方"), contract.regulator
    for provider in contract.providers:
        binding = contract.datasets[provider]
        renamed = [f"{logical} = {own}" for logical, own in sorted(binding.columns.items()) if logical != own]
        columns = f" ({', '.join(renamed)})" if renamed else ""
        rows = say(f"{binding.declared_rows} declared rows", f"申报 {binding.declared_rows} 行")
        yield say(f"provider {provider}", f"提供方 {provider}"), f"{binding.dataset}, {rows}{columns}"
    yield say("signed by", "已签署"), ", ".join(signers(record))
    yield say("waits for", "待签署"), ", ".join(missing_signers(record)) or say("nobody", "无")
    if contract.supersedes:
        yield say("supersedes", "取代的合约"), contract.supersedes


def _terms(contract: Contract) -> Lines:
    yield say("purpose", "用途"), f"{contract.purpose.code}: {contract.purpose.text}"
    yield say("operations", "操作"), ", ".join(operation.value for operation in contract.operations)
    yield say("onward sharing", "转让他人"), say("not allowed", "不允许")
    yield say("grade", "数据级别"), word(contract.grade)
    validity = contract.validity
    yield say("valid", "有效期"), f"{time_text(validity.not_before_ms)} - {time_text(validity.not_after_ms)}"
    yield (
        say("lease", "租期"),
        say(
            f"{contract.lease_ms // MINUTE_MS} minutes without word from the regulator",
            f"{contract.lease_ms // MINUTE_MS} 分钟（没有监管方确认时最多继续这么久）",
        ),
    )
    release = contract.release
    if contract.privacy is not None:
        yield say("release", "发布方式"), release.mode.value
        yield from _privacy(contract.privacy, contract.quotas.micro_epsilon)
    else:
        yield say("release", "发布方式"), f"{release.mode.value}, own_totals = {release.own_totals.value}"
        yield say("smallest cell", "单元格最少行数"), str(release.min_group_size)
        yield say("fewest providers in a cell", "单元格最少提供方数"), str(release.min_contributors)
        if release.dominance_percent is not None:
            yield say("largest share of one contributor", "单个贡献者最大占比"), f"{release.dominance_percent} %"
        yield say("overlap guard", "重叠保护"), str(release.overlap_k)
    yield say("calls at each provider", "每个提供方的调用次数"), str(contract.quotas.calls)
    yield say("ciphertexts at each provider", "每个提供方的密文数"), str(contract.quotas.ciphertexts)


def _privacy(privacy: AgreedPrivacy, quota: int) -> Lines:
    persons = privacy.persons
    if persons is None:
        yield say("protected", "保护对象"), say("one row", "一行")
    else:
        limits = (persons.max_rows, persons.max_rows_per_cell, persons.max_cells, persons.max_providers)
        english = "one person: at most {} rows at a provider, {} in a cell, in {} cells, at {} providers"
        chinese = "一个人：在一个提供方最多 {} 行，一个单元格最多 {} 行，最多 {} 个单元格，最多在 {} 个提供方"
        yield say("protected", "保护对象"), say(english, chinese).format(*limits)
    yield say("providers that may be missing or collude", "可缺席或合谋的提供方数"), str(privacy.tolerated)
    yield "delta", f"{float(privacy.delta):g}"
    if privacy.max_micro_epsilon_per_call is not None:
        yield say("most epsilon of a call", "每次调用的 epsilon 上限"), format_micro(privacy.max_micro_epsilon_per_call)
    yield say("epsilon of all calls", "全部调用的 epsilon 合计上限"), format_micro(quota)


def _fees(contract: Contract) -> Lines:
    tariff = contract.tariff
    for name, micro in (
        (say("fee per call", "每次调用收费"), tariff.per_call_micro),
        (say("fee per 1000 declared rows", "每千行（申报）收费"), tariff.per_1000_rows_micro),
        (say("fee per 1000 ciphertexts", "每千个密文收费"), tariff.per_1000_ciphertexts_micro),
        (say("fee per epsilon", "每单位 epsilon 收费"), tariff.per_epsilon_micro),
    ):
        if micro:
            yield name, f"{format_micro(micro)} {tariff.currency}"
    cap = f"{format_micro(contract.fee_cap_micro)} {tariff.currency}"
    yield say("fee cap at each provider", "每个提供方的费用上限"), cap


def _column(contract: Contract, column: FrameColumn) -> tuple[str, str]:
    parts = [f"{word(column.type)}{f' [{column.unit}]' if column.unit else ''}"]
    if column.lo is not None and column.hi is not None:
        lo, hi = format_scaled(column.lo, column.decimals), format_scaled(column.hi, column.decimals)
        parts.append(say(f"{lo} to {hi}", f"{lo} 至 {hi}"))
    parts += [say("may be null", "可为空")] if column.nullable else []
    parts.append(", ".join(word(use) for use in sorted(contract.uses[column.name], key=lambda use: use.value)))
    parts.append(word(contract.grades[column.name]))
    levels = levels_of(contract.frame, column.name)
    parts += [levels] if levels else []
    return f"{say('column', '列')} {column.name}", "; ".join(parts)


def _decisions(record: ContractRecord) -> Lines:
    for action in map(parse_action, record.actions):
        reason = f": {action.reason}" if action.reason else ""
        yield say("decision", "决定"), f"{word(action.action)}, {action.actor}, {time_text(action.at_ms)}{reason}"
