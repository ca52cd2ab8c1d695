"""The check of a provider's data against its declarations: what `unseen catalog check` says, and `serve` insists on."""

from __future__ import annotations

from collections.abc import Iterator

from audit.names import Role
from parties.doctor_examination import Examination
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.provider_datasets import check_declared
from sandbox.errors import DeclarationError, SourceError, SourceUnavailableError
from sandbox.violations import Severity


def check_data(examined: Examination) -> Iterator[Finding]:
    """Every declaration can be read, every source reached, and every row fits; database roles can only read."""
    home = examined.home
    if home.role is not Role.PROVIDER:
        return
    again = f"unseen catalog check {examined.at_home}"
    try:
        checked = check_declared(home.catalog, examined.environ)
    except (DeclarationError, SourceError, SourceUnavailableError) as error:
        yield failure(CheckName.DATA, Trouble.DATA_REFUSED, str(error), f"mend it, then: {again}")
        return
    if not checked:
        detail = "no data set is declared"
        mend = f"write {home.catalog}/NAME.toml after examples/catalog.toml"
        yield warning(CheckName.DATA, Trouble.NO_DATA, detail, mend)
        return
    found = []
    for declaration, violations in checked:
        for violation in violations:
            detail = f"{declaration.name}: {violation.message}"
            if violation.severity is Severity.REFUSES:
                found.append(failure(CheckName.DATA, Trouble.DATA_REFUSED, detail, f"mend it, then: {again}"))
            else:
                found.append(warning(CheckName.DATA, Trouble.DATA_IMPERFECT, detail, again))
    names = ", ".join(declaration.name for declaration, _ in checked)
    yield from found or [well(CheckName.DATA, f"fit their declarations: {names}")]
