"""The catalogue 数据目录: every declaration in a provider's folder, and what others see of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from audit.canonical import Json, canonicalise
from sandbox.declaration import load_declaration
from sandbox.declaration_model import ColumnDescription, DatasetDeclaration, DatasetDescription
from sandbox.description import MAX_BODY_BYTES, VERSION_BYTES
from sandbox.errors import ContractError, DeclarationError

__all__ = ["Catalogue", "ColumnDescription", "DatasetDescription"]

MAX_DATASETS: Final = 1_000
_WIDEST_PARTY: Final = "p" * 31


class Catalogue:
    """The datasets that one provider declares, by name."""

    def __init__(self, datasets: Iterable[DatasetDeclaration]) -> None:
        self._datasets: dict[str, DatasetDeclaration] = {}
        for declaration in datasets:
            known = self._datasets.setdefault(declaration.name, declaration)
            if known is not declaration:
                raise DeclarationError(
                    declaration.file, None, "", f"name {declaration.name!r} is taken by {known.file}; give each its own"
                )
            body = declaration.describe(_WIDEST_PARTY, "00" * VERSION_BYTES).to_body()
            if len(canonicalise(body)) > MAX_BODY_BYTES:
                detail = f"its description takes over {MAX_BODY_BYTES} bytes; shorten texts and domains"
                raise DeclarationError(declaration.file, None, "", detail)

    @classmethod
    def load(cls, folder: Path) -> Catalogue:
        """Read every `*.toml` of a folder; a folder that is not there holds none.

        Raises:
            DeclarationError: a declaration is wrong, too large to be described, or shares its name with another.
        """
        files = sorted(folder.glob("*.toml"))
        if len(files) > MAX_DATASETS:
            raise DeclarationError(str(folder), None, "", f"{len(files)} declarations, {MAX_DATASETS} are allowed")
        return cls(load_declaration(file) for file in files)

    @property
    def datasets(self) -> tuple[DatasetDeclaration, ...]:
        """All declarations, by name."""
        return tuple(self._datasets[name] for name in sorted(self._datasets))

    def dataset(self, name: str) -> DatasetDeclaration:
        """The declaration of that name.

        Raises:
            ContractError: there is none.
        """
        try:
            return self._datasets[name]
        except KeyError:
            known = ", ".join(sorted(self._datasets)) or "none"
            raise ContractError(f"no dataset {name[:80]!r} is declared; there are {known}") from None

    def describe(self, dataset: DatasetDeclaration, version: str, party: str) -> dict[str, Json]:
        """The body of the signed description; see `DatasetDescription`."""
        return dataset.describe(party, version).to_body()
