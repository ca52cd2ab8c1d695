"""The headings of `unseen doctor` in Chinese; what it finds has its words in `parties.doctor_details` and `_mends`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from parties.doctor_findings import CheckName, Severity

SEVERITIES: Final[Mapping[Severity, str]] = {
    Severity.OK: "正常 (ok)",
    Severity.WARNING: "警告 (warning)",
    Severity.FAILURE: "故障 (failure)",
}

CHECKS: Final[Mapping[CheckName, str]] = {
    CheckName.SETTINGS: "设置",
    CheckName.FILES: "文件",
    CheckName.DISK: "磁盘",
    CheckName.DIRECTORY: "名录",
    CheckName.KEYS: "密钥",
    CheckName.KEY_STRENGTH: "密钥强度",
    CheckName.CERTIFICATE: "证书",
    CheckName.LEDGER: "账本",
    CheckName.VAULT: "保密库",
    CheckName.CLOCK: "时钟",
    CheckName.WITNESSES: "见证方",
    CheckName.MISBEHAVIOUR: "他方违规",
    CheckName.SERVER: "本方服务",
    CheckName.REGULATOR: "监管方",
    CheckName.PEERS: "其他参与方",
    CheckName.DATA: "数据",
    CheckName.CONTRACTS: "合约",
    CheckName.CALLS: "调用",
    CheckName.OUTBOX: "待发消息",
    CheckName.REPLICAS: "账本副本",
    CheckName.PARTIES: "各参与方",
}
