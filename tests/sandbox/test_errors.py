from __future__ import annotations

import pytest

from sandbox.errors import DeclarationError, DenialReason, DeniedError


def test_a_denial_tells_reason_clause_and_what_is_left() -> None:
    left = {"calls": 0}
    error = DeniedError(DenialReason.QUOTA_EXHAUSTED, "quotas.calls", "none is left", left=left)
    left["calls"] = 7
    assert str(error) == "QUOTA_EXHAUSTED (quotas.calls): none is left"
    assert error.left == {"calls": 0}
    with pytest.raises(TypeError):
        error.left["calls"] = 1  # type: ignore[index]


def test_reasons_are_their_own_names_on_the_wire() -> None:
    assert all(reason.name == reason.value for reason in DenialReason)


def test_a_wrong_declaration_names_file_line_and_column() -> None:
    assert str(DeclarationError("workers.toml", 7, "wage", "lo is above hi")) == "workers.toml:7: wage: lo is above hi"
    assert str(DeclarationError("workers.toml", None, "", "is empty")) == "workers.toml: is empty"
