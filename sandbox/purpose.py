"""Why a contract's merchant may compute: a code for machines and a text for officials."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from audit.canonical import Fields, Json
from sandbox.errors import ContractError
from sandbox.frame import is_printable

MAX_PURPOSE_TEXT: Final = 1_000  # characters
_CODE: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Purpose:
    """A purpose of use.

    Raises:
        ContractError: the code is not `[a-z0-9][a-z0-9.-]{0,63}`, or the text is empty, unprintable or too long.
    """

    code: str
    text: str

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise ContractError(f"purpose code {self.code[:80]!r} must be lowercase letters, digits, dots and hyphens")
        if not 1 <= len(self.text) <= MAX_PURPOSE_TEXT or not is_printable(self.text):
            raise ContractError(f"the purpose's text must be 1 to {MAX_PURPOSE_TEXT} printable characters")

    def to_json(self) -> dict[str, Json]:
        """The purpose as signed."""
        return {"code": self.code, "text": self.text}

    @classmethod
    def from_json(cls, fields: Fields) -> Purpose:
        """Read a purpose.

        Raises:
            MalformedError: a field is missing, unknown or too long.
            ContractError: as for the class.
        """
        purpose = cls(fields.text("code", max_length=64), fields.text("text", max_length=MAX_PURPOSE_TEXT))
        fields.finish()
        return purpose
