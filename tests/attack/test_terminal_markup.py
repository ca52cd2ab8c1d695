"""What a merchant writes into a contract is read by officials on a terminal: it must not draw, hide or break anything.

The attack: a purpose that holds Rich's markup. It is shown as a link or in invisible colours; a closing tag that
nothing opens made the whole list of contracts fail.
"""

from __future__ import annotations

import io
import sys

import pytest

from parties.cli.output import emit_table, talk


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("text", ["labour [link=https://evil.example]statistics[/link]", "wages [/bold]", "[black]x"])
def test_markup_in_a_contract_is_shown_as_it_is_written(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    emit_table(["purpose"], [[text]])
    assert text in terminal.getvalue()


def test_markup_in_an_error_is_shown_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    talk("refused: [/bold] [link=x]y[/link]")
    assert "refused: [/bold] [link=x]y[/link]" in capsys.readouterr().err


def test_a_peers_words_drive_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The detail of a refusal is the other party's text; an escape sequence in it would be obeyed."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    emit_table(["reason"], [["\x1b[2Japproved \u202eetad"]])
    talk("denied \x1b]0;title\x07 \x9b2J")
    for shown in (terminal.getvalue(), capsys.readouterr().err):
        for sequence in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e"):
            assert sequence not in shown
