"""A provider's own data sets: declarations held against the data, a version for each, and a signed description.

A version is declared, or a random id that the vault keeps per content hash: the same data keep their version over
restarts, other data get another, and the content hash itself never leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from audit.envelope import PayloadType, seal
from audit.keys import SigningKey
from parties.errors import NotFoundError
from parties.home import Home
from sandbox.catalogue import Catalogue, DatasetDescription
from sandbox.declaration import DatasetDeclaration
from sandbox.description import VERSION_BYTES
from sandbox.errors import DenialReason, DeniedError
from sandbox.overlap import OverlapGuard
from sandbox.overlap_store import count_answered
from sandbox.ports import Entropy, OpenedDataset
from sandbox.release import ReleaseMode
from sandbox.row_identity import settle_rows
from sandbox.source import Source, Violation, open_source, refusals
from sandbox.vault import Vault, VaultKind


@dataclass(frozen=True, slots=True)
class ServedDataset:
    """One data set as served: declaration, open source, and the description that others see, signed.

    `guard` has what the data set was answered for; None where it is released under differential privacy.
    """

    declaration: DatasetDeclaration
    source: Source
    content: str
    description: DatasetDescription
    envelope: bytes
    guard: OverlapGuard | None


class ServedDatasets:
    """All data sets of one provider; implements the sandbox's `Datasets` port."""

    def __init__(self, party: str, served: Iterable[ServedDataset], resources: ExitStack) -> None:
        self._party = party
        self._served = {dataset.declaration.name: dataset for dataset in served}
        self._resources = resources

    @classmethod
    def load(
        cls, folder: Path, *, party: str, key: SigningKey, vault: Vault, entropy: Entropy, environ: Mapping[str, str]
    ) -> ServedDatasets:
        """Read the declarations in `folder`, open their sources and hold the data against them.

        Raises:
            DeclarationError: a declaration is wrong, or the data contradict it in a column declared `refuse`; names the
                file, and the line or the column.
                Also where it cannot be told which rows of a new version were there before.
            SourceError: a source cannot be read.
        """
        catalogue = Catalogue.load(folder)
        with ExitStack() as resources:
            served = []
            for declaration in catalogue.datasets:
                source = open_source(declaration, folder, environ)
                resources.callback(source.close)
                refuse(declaration, source.check(declaration))
                content = source.content_hash()  # the source is held to it from now on
                description = declaration.describe(party, _version(declaration, content, vault, entropy))
                envelope = seal(description.to_body(), PayloadType.DATASET, key)
                guard = _guard(declaration, source, content, vault)
                served.append(ServedDataset(declaration, source, content, description, envelope.encode(), guard))
            return cls(party, served, resources.pop_all())

    def open(self, reference: str) -> OpenedDataset:
        """Return what is served as `<party>/<dataset>@<version>`; see the port."""
        dataset = self.served(reference)
        return OpenedDataset(dataset.declaration, dataset.source, dataset.content, dataset.guard)

    def served(self, reference: str) -> ServedDataset:
        """Return the data set of exactly this version.

        Raises:
            DeniedError: DATASET_VERSION_MISMATCH, the version is not the one served.
        """
        name = reference.partition("/")[2].partition("@")[0]
        dataset = self._served.get(name)
        if dataset is None or dataset.description.reference != reference:
            raise DeniedError(
                DenialReason.DATASET_VERSION_MISMATCH,
                "datasets",
                f"{reference} is not the version that {self._party} serves now; apply for a contract over the new one",
            )
        return dataset

    def describe(self, reference: str) -> DatasetDescription:
        """Return what others see of exactly this version; errors as `served`."""
        return self.served(reference).description

    def find(self, reference: str) -> ServedDataset:
        """Return the data set of `<party>/<dataset>` or `<party>/<dataset>@<version>`.

        Raises:
            NotFoundError: there is none.
        """
        party, _, rest = reference.partition("/")
        name, _, version = rest.partition("@")
        dataset = self._served.get(name)
        if party != self._party or dataset is None or version not in {"", dataset.description.version}:
            raise NotFoundError(f"{self._party} serves no data set {reference[:200]}; `unseen catalog list` shows them")
        return dataset

    def all(self) -> tuple[ServedDataset, ...]:
        """Return every data set, by name."""
        return tuple(self._served[name] for name in sorted(self._served))

    def close(self) -> None:
        """Close every source."""
        self._resources.close()


def check_declared(folder: Path, environ: Mapping[str, str]) -> list[tuple[DatasetDeclaration, tuple[Violation, ...]]]:
    """Hold each declaration of a folder against its data; errors as `Catalogue.load` and `Source.check`."""
    checked = []
    for declaration in Catalogue.load(folder).datasets:
        source = open_source(declaration, folder, environ)
        try:
            checked.append((declaration, source.check(declaration)))
        finally:
            source.close()
    return checked


def answered_sets(home: Home) -> dict[str, int]:
    """How many different sets of rows each data set that is released exactly was answered over, by name.

    Raises `VaultError` when the vault cannot be read; errors as `Catalogue.load`.
    """
    declared = Catalogue.load(home.catalog).datasets
    names = sorted(each.name for each in declared if each.release.mode is ReleaseMode.EXACT)
    if not home.vault_path.exists():
        return dict.fromkeys(names, 0)
    with Vault.open(home.vault_path) as vault:
        return {name: count_answered(vault, name) for name in names}


def refuse(declaration: DatasetDeclaration, violations: Iterable[Violation]) -> None:
    """Raise DeclarationError for the first violation because of which a provider must not start."""
    for violation in refusals(violations):
        raise violation.as_error(declaration)


def _guard(declaration: DatasetDeclaration, source: Source, content: str, vault: Vault) -> OverlapGuard | None:
    """The guard over the rows served; every exact data set has one, for a contract may be stricter than it is."""
    if declaration.release.mode is not ReleaseMode.EXACT:
        return None
    return OverlapGuard(vault, declaration.name, settle_rows(vault, declaration, source, content))


def _version(declaration: DatasetDeclaration, content: str, vault: Vault, entropy: Entropy) -> str:
    """The declared version, or the one that the vault keeps for this content."""
    if declaration.version is not None:
        return declaration.version
    key = f"{declaration.name}/{content}"
    with vault.transaction():
        known = vault.get(VaultKind.DATASET_VERSION, key)
        if known is None:
            known = entropy.token(VERSION_BYTES).hex().encode()
            vault.put(VaultKind.DATASET_VERSION, key, known)
    return known.decode()
