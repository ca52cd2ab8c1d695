"""Checks of who answers: the party's own server, the regulator, and whoever its contracts need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from audit.directory import verify_directory
from audit.errors import AuditError, UnknownPartyError
from audit.names import Role
from parties.doctor_examination import Examination, Network
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.errors import HomeError, PartyError
from parties.held_contracts import held_contracts
from sandbox.contract_states import ContractState
from sandbox.errors import SandboxError

THREADS: Final = 16
_NEEDED: Final = frozenset({ContractState.ACTIVE, ContractState.SUSPENDED})


def check_server(examined: Examination) -> Iterator[Finding]:
    """The party runs, is reached at the address that others dial, and says that it serves."""
    home, network = examined.home, examined.network
    if home.role is Role.MERCHANT or network is None:
        return
    if not home.is_served():
        detail = "no process of this party runs: others cannot reach it"
        yield warning(CheckName.SERVER, Trouble.NOT_RUNNING, detail, f"unseen serve {examined.at_home}")
        return
    trouble = _ask(network, home.name)
    endpoint = home.config.network.endpoint
    if trouble is None:
        yield well(CheckName.SERVER, f"serves at {endpoint}")
    elif trouble is Trouble.NOT_SERVING:
        detail = f"it answers at {endpoint}, and says that it does not serve: a probe of its own fails"
        mend = "read the other findings here, and its log"
        yield failure(CheckName.SERVER, Trouble.NOT_SERVING, detail, mend)
    else:
        detail = f"it runs, and nobody answers at {endpoint}, which others dial: {trouble}"
        mend = "look at [network] endpoint and listen, at firewalls, and whether this machine may dial itself"
        yield failure(CheckName.SERVER, Trouble.UNREACHABLE, detail, mend)


def check_regulator(examined: Examination) -> Iterator[Finding]:
    """The regulator answers, and has no newer directory than is installed here."""
    home, directory, network = examined.home, examined.directory, examined.network
    if home.role is Role.REGULATOR or directory is None or network is None:
        return
    name = directory.regulator
    trouble = _ask(network, name)
    if isinstance(trouble, str):
        mend = f"ask {name}; calls end with their contracts' leases, minutes after it was last heard"
        yield failure(CheckName.REGULATOR, Trouble.UNREACHABLE, trouble, mend)
        return
    if trouble is Trouble.NOT_SERVING:
        detail = f"{name} answers, and says that it does not serve"
        yield warning(CheckName.REGULATOR, Trouble.NOT_SERVING, detail, f"ask {name}: unseen doctor tells it why")
    try:
        data = network.newer_directory(directory.version)
        newer = verify_directory(data, home.regulator_key(), now_ms=0).version if data else directory.version
    except (AuditError, SandboxError, PartyError) as error:
        mend = f"ask {name}"
        yield warning(CheckName.REGULATOR, Trouble.UNCHECKED, f"it gave no directory: {error}", mend)
        return
    if newer > directory.version:
        detail = f"{name} has version {newer} of the directory, version {directory.version} is installed here"
        mend = "start the party: it fetches the newest within a minute"
        yield warning(CheckName.REGULATOR, Trouble.DIRECTORY_OLD, detail, mend)
    elif trouble is None:
        yield well(CheckName.REGULATOR, f"{name} serves, and its directory is the one installed here")


def check_peers(examined: Examination) -> Iterator[Finding]:
    """Whoever the contracts in force need answers; at the regulator, every provider."""
    network = examined.network
    if network is None:
        return
    names = _needed(examined)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="peer") as threads:
        answers = dict(zip(names, threads.map(lambda name: _ask(network, name), names), strict=True))
    silent = False
    for name, trouble in answers.items():
        if trouble is None:
            continue
        silent = True
        kind = Trouble.NOT_SERVING if trouble is Trouble.NOT_SERVING else Trouble.UNREACHABLE
        detail = f"{name} says that it does not serve" if kind is Trouble.NOT_SERVING else str(trouble)
        yield warning(CheckName.PEERS, kind, detail, f"ask {name}: calls that need it end without an answer")
    if not silent:
        yield well(
            CheckName.PEERS, f"these serve: {', '.join(names)}" if names else "no contract in force needs others"
        )


def _needed(examined: Examination) -> Sequence[str]:
    home, directory = examined.home, examined.directory
    if directory is None:
        return ()
    if home.role is Role.REGULATOR:
        return [record.name for record in directory.providers()]
    now_ms = examined.clock.now_ms()
    records = [record for record in held_contracts(home) if record.state_at(now_ms) in _NEEDED]
    return sorted({name for record in records for name in record.contract.providers} - {home.name})


def _ask(network: Network, party: str) -> Trouble | str | None:
    """None if the party serves, NOT_SERVING if it says otherwise, else why it was not reached."""
    try:
        return None if network.is_serving(party) else Trouble.NOT_SERVING
    except (SandboxError, PartyError, UnknownPartyError, HomeError) as error:
        return str(error)
