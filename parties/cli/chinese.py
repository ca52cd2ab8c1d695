"""What people read in Chinese where the code has a word of its own: states, uses, grades, statistics, denials.

A word stands beside its code, `生效 (active)`, so that a person and the documentation speak of the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from audit.discrepancy import DiscrepancyKind, Standing
from audit.entry_logs import Misbehaviour
from audit.errors import Damage
from audit.names import KeyPurpose
from audit.party_record import KeyStatus
from parties.cli.output import in_chinese
from parties.violation_words import violation_words
from sandbox.contract_states import ContractAction, ContractState
from sandbox.errors import DenialReason
from sandbox.frame import ColumnType, Use
from sandbox.grades import Grade
from sandbox.statistic import StatisticKind
from sandbox.violations import Severity, Violation

WORDS: Final[Mapping[Enum, str]] = {
    ContractState.DRAFT: "草稿",
    ContractState.SIGNED: "数据商已签署",
    ContractState.APPROVED: "已批准",
    ContractState.COUNTERSIGNED: "监管方已会签",
    ContractState.ACTIVE: "生效",
    ContractState.SUSPENDED: "已暂停",
    ContractState.REVOKED: "已撤销",
    ContractState.EXPIRED: "已到期",
    ContractState.TERMINATED: "已终止",
    ContractState.REJECTED: "已拒绝",
    ContractAction.REJECT: "拒绝",
    ContractAction.SUSPEND: "暂停",
    ContractAction.RESUME: "恢复",
    ContractAction.REVOKE: "撤销",
    ContractAction.TERMINATE: "终止",
    Use.AGGREGATE: "汇总",
    Use.GROUP_BY: "分组",
    Use.FILTER: "筛选",
    Use.JOIN: "关联",
    Use.FEATURE: "特征",
    Use.LABEL: "标签",
    Grade.GENERAL: "一般",
    Grade.IMPORTANT: "重要",
    Grade.CORE: "核心",
    ColumnType.INTEGER: "整数",
    ColumnType.DECIMAL: "小数",
    ColumnType.CATEGORY: "类别",
    Severity.REFUSES: "拒绝启动",
    Severity.WARNS: "警告",
    KeyPurpose.LOG: "账本",
    KeyPurpose.MESSAGE: "消息",
    KeyPurpose.WITNESS: "见证",
    KeyStatus.ACTIVE: "在用",
    KeyStatus.RETIRED: "已退役",
    KeyStatus.REVOKED: "已吊销",
    DiscrepancyKind.MISSING: "缺失",
    DiscrepancyKind.ALTERED: "内容不一致",
    DiscrepancyKind.DUPLICATED: "重复",
    DiscrepancyKind.DIFFERENTLY_PRICED: "价格不一致",
    Standing.OPEN: "尚未会签",
    Standing.ACKNOWLEDGED: "已会签",
    Standing.ABORTED: "已中止",
    StatisticKind.COUNT: "计数",
    StatisticKind.SUM: "合计",
    StatisticKind.MEAN: "均值",
    StatisticKind.VARIANCE: "方差",
    StatisticKind.STD: "标准差",
    StatisticKind.COVARIANCE: "协方差",
    StatisticKind.CORRELATION: "相关系数",
    StatisticKind.WEIGHTED_MEAN: "加权均值",
    StatisticKind.REGRESSION: "线性回归",
    StatisticKind.HISTOGRAM: "直方图",
    StatisticKind.QUANTILE: "分位数",
    StatisticKind.ANOVA: "方差分析",
    Misbehaviour.FORKED: "分叉",
    Misbehaviour.SHRUNK: "回退",
}

DENIALS: Final[Mapping[DenialReason, str]] = {
    DenialReason.UNKNOWN_PARTY: "名录中没有这个参与方",
    DenialReason.WRONG_ROLE: "该参与方的角色无权这样做",
    DenialReason.IDENTITY_MISMATCH: "证书身份与签名人不符",
    DenialReason.BAD_SIGNATURE: "签名缺失、无效或密钥已吊销",
    DenialReason.MALFORMED: "消息格式不合规定",
    DenialReason.STALE: "请求已过时，或双方时钟相差过大",
    DenialReason.WRONG_AUDIENCE: "请求不是发给这个参与方的",
    DenialReason.DEADLINE_MISSING: "调用没有给出期限",
    DenialReason.CONTRACT_UNKNOWN: "没有这份合约",
    DenialReason.CONTRACT_NOT_ACTIVE: "合约不在生效状态",
    DenialReason.LEASE_EXPIRED: "合约租期已过，提供方尚未得到监管方的确认",
    DenialReason.OPERATION_NOT_PERMITTED: "合约不允许这种操作",
    DenialReason.COLUMN_NOT_PERMITTED: "合约或提供方不允许这样使用该列",
    DenialReason.FILTER_NOT_DECLARED: "筛选值不在申报的取值或分箱边界之内",
    DenialReason.IDENTIFYING_COLUMN: "该列会暴露提供方身份，不得用于分组或筛选",
    DenialReason.PURPOSE_MISMATCH: "目的与合约不符",
    DenialReason.PARTICIPANT_SET_MISMATCH: "参与方与合约不符",
    DenialReason.COMPUTING_PARTY_MISMATCH: "计算方与合约不符",
    DenialReason.GRADE_REFUSED: "数据分级不允许",
    DenialReason.REPLAYED: "请求重复，已经受理过",
    DenialReason.QUOTA_EXHAUSTED: "配额已用完",
    DenialReason.FEE_CAP_REACHED: "已到费用上限",
    DenialReason.ACKNOWLEDGEMENTS_OUTSTANDING: "有太多回执尚未确认",
    DenialReason.KEY_MISMATCH: "加密密钥与请求不符",
    DenialReason.COMMITMENT_MISMATCH: "打开的内容与承诺不符",
    DenialReason.GROUP_SIZE_TOO_SMALL: "最小分组人数低于提供方的要求",
    DenialReason.DECLARATION_MISMATCH: "合约与提供方的申报不符",
    DenialReason.DATASET_VERSION_MISMATCH: "数据集版本不是现在提供的版本",
    DenialReason.PART_ALREADY_GIVEN: "该部分已经给出，不再给另一组参与方",
    DenialReason.ROSTER_MISMATCH: "参与名单与请求不符",
    DenialReason.RATE_LIMITED: "请求过于频繁，请稍后再试",
    DenialReason.LEDGER_UNAVAILABLE: "账本无法写入，因此什么都没有给出",
    DenialReason.WITNESSES_UNHEARD: "该参与方的账本目前没有得到见证方的确认，因此不受理调用",
    DenialReason.LEGAL_ENTITY_CLASH: "两个参与方属于同一法人",
    DenialReason.BAD_MODULUS: "加密公钥未通过检查",
    DenialReason.BAD_CIPHERTEXT: "密文未通过检查",
    DenialReason.TOO_LARGE: "消息或请求过大",
    DenialReason.EPSILON_REFUSED: "请求的 epsilon 不在合约允许的范围内",
    DenialReason.BUDGET_EXHAUSTED: "隐私预算已不足以支付这次调用",
}

DAMAGES: Final[Mapping[Damage, str]] = {
    Damage.ALTERED: "条目被改动",
    Damage.DELETED: "条目被删除",
    Damage.INSERTED: "被插入条目",
    Damage.REORDERED: "条目顺序被改变",
    Damage.TRUNCATED: "账本被截短",
    Damage.REWRITTEN: "账本被改写",
    Damage.FORKED: "账本有分叉",
    Damage.BAD_SIGNATURE: "签名无效",
    Damage.UNREADABLE: "账本无法读取",
}


def word(code: Enum) -> str:
    """Return the code's value; under a Chinese locale its word, the value in brackets."""
    return f"{WORDS[code]} ({code.value})" if in_chinese() and code in WORDS else str(code.value)


def table_title(name: str) -> str:
    """Return the title of a result's table; under a Chinese locale led by the statistic's word."""
    kind = StatisticKind(name.partition("(")[0])
    return f"{WORDS[kind]} {name}" if in_chinese() else name


def violation_text(violation: Violation) -> str:
    """Return what a check found, under a Chinese locale led by a Chinese sentence; the details follow as they are."""
    if not in_chinese():
        return violation.message
    return f"{violation_words(violation).chinese}。{violation.message}"


def denial_text(reason: DenialReason) -> str:
    """Return the Chinese sentence of a denial's reason."""
    return f"被拒绝：{DENIALS[reason]}。"
