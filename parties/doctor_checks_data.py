"""The check of a provider's data against its declarations: what `unseen catalog check` says, and `serve` insists on."""

from __future__ import annotations

from collections.abc import Iterator

from audit.names import Role
from parties.doctor_details import Detail
from parties.doctor_examination import Examination
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.doctor_mends import Mend
from parties.provider_datasets import check_declared
from parties.violation_words import violation_words
from sandbox.errors import DeclarationError, SourceError, SourceUnavailableError
from sandbox.violations import Severity


def check_data(examined: Examination) -> Iterator[Finding]:
    """Every declaration can be read, every source reached, and every row fits; database roles can only read."""
    home = examined.home
    if home.role is not Role.PROVIDER:
        return
    mend_it = Mend.MEND_DATA.of(at_home=examined.at_home)
    try:
        checked = check_declared(home.catalog, examined.environ)
    except (DeclarationError, SourceError, SourceUnavailableError) as error:
        yield failure(CheckName.DATA, Trouble.DATA_REFUSED, Detail.DATA_REFUSED.of(error=error), mend_it)
        return
    if not checked:
        yield warning(CheckName.DATA, Trouble.NO_DATA, Detail.NO_DATA.of(), Mend.DECLARE.of(folder=home.catalog))
        return
    found = []
    for declaration, violations in checked:
        for violation in violations:
            said = Detail.DATA_VIOLATES.of(dataset=declaration.name, violation=violation_words(violation))
            if violation.severity is Severity.REFUSES:
                found.append(failure(CheckName.DATA, Trouble.DATA_REFUSED, said, mend_it))
            else:
                again = Mend.CHECK_DATA.of(at_home=examined.at_home)
                found.append(warning(CheckName.DATA, Trouble.DATA_IMPERFECT, said, again))
    names = ", ".join(declaration.name for declaration, _ in checked)
    yield from found or [well(CheckName.DATA, Detail.DATA_WELL.of(datasets=names))]
