"""Checks of who answers: the party's own server, the regulator, and whoever its contracts need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from audit.directory import verify_directory
from audit.errors import AuditError, UnknownPartyError
from audit.names import Role
from parties.doctor_details import Detail
from parties.doctor_examination import Examination, Network, why
from parties.doctor_findings import CheckName, Finding, Trouble, failure, warning, well
from parties.doctor_mends import Mend
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
        mend = Mend.SERVE.of(at_home=examined.at_home)
        yield warning(CheckName.SERVER, Trouble.NOT_RUNNING, Detail.NOT_RUNNING.of(), mend)
        return
    trouble = _ask(network, home.name)
    endpoint = home.config.network.endpoint
    if trouble is None:
        yield well(CheckName.SERVER, Detail.SERVER_WELL.of(endpoint=endpoint))
    elif trouble is Trouble.NOT_SERVING:
        said = Detail.NOT_SERVING.of(endpoint=endpoint)
        yield failure(CheckName.SERVER, Trouble.NOT_SERVING, said, Mend.READ_LOG.of())
    else:
        said = Detail.SERVER_UNREACHABLE.of(endpoint=endpoint, error=trouble)
        yield failure(CheckName.SERVER, Trouble.UNREACHABLE, said, Mend.LOOK_AT_NETWORK.of())


def check_regulator(examined: Examination) -> Iterator[Finding]:
    """The regulator answers, and has no newer directory than is installed here."""
    home, directory, network = examined.home, examined.directory, examined.network
    if home.role is Role.REGULATOR or directory is None or network is None:
        return
    name = directory.regulator
    trouble = _ask(network, name)
    if isinstance(trouble, str):
        said, mend = Detail.PEER_UNREACHABLE.of(party=name, error=trouble), Mend.ASK_REGULATOR.of(regulator=name)
        yield failure(CheckName.REGULATOR, Trouble.UNREACHABLE, said, mend)
        return
    if trouble is Trouble.NOT_SERVING:
        said, mend = Detail.REGULATOR_NOT_SERVING.of(party=name), Mend.ASK_FOR_DOCTOR.of(party=name)
        yield warning(CheckName.REGULATOR, Trouble.NOT_SERVING, said, mend)
    try:
        data = network.newer_directory(directory.version)
        newer = verify_directory(data, home.regulator_key(), now_ms=0).version if data else directory.version
    except (AuditError, SandboxError, PartyError) as error:
        said, mend = Detail.DIRECTORY_NOT_GIVEN.of(error=error), Mend.ASK.of(party=name)
        yield warning(CheckName.REGULATOR, Trouble.UNCHECKED, said, mend)
        return
    if newer > directory.version:
        said = Detail.DIRECTORY_OLD.of(regulator=name, newer=newer, installed=directory.version)
        yield warning(CheckName.REGULATOR, Trouble.DIRECTORY_OLD, said, Mend.FETCH_DIRECTORY.of())
    elif trouble is None:
        yield well(CheckName.REGULATOR, Detail.REGULATOR_WELL.of(regulator=name))


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
        mend = Mend.ASK_PEER.of(party=name)
        if trouble is Trouble.NOT_SERVING:
            yield warning(CheckName.PEERS, Trouble.NOT_SERVING, Detail.PEER_NOT_SERVING.of(party=name), mend)
        else:
            said = Detail.PEER_UNREACHABLE.of(party=name, error=trouble)
            yield warning(CheckName.PEERS, Trouble.UNREACHABLE, said, mend)
    if not silent:
        said = Detail.PEERS_WELL.of(peers=", ".join(names)) if names else Detail.PEERS_NONE.of()
        yield well(CheckName.PEERS, said)


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
        return why(error)
