"""Which row is which, over restarts and versions of a dataset.

A row is known by a fingerprint over its declared columns and its person's. Rows with the same fingerprint are numbered
by occurrence: their values are equal, so that it does not matter which is which. A new version's rows that were there
before keep their ids, and ids are never given twice. A row of which one value has changed is another row: were it the
same, the difference of two totals over the same ids would tell the change. Where declared columns have gone, rows are
known again by the dataset's `row_key` alone.

What the vault keeps gives the same ids after a restart; nothing is computed again while the content is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from audit.canonical import Fields, canonicalise
from audit.errors import MalformedError
from sandbox.declaration_model import DatasetDeclaration
from sandbox.errors import DeclarationError, SourceError, SourceUnavailableError, VaultError
from sandbox.frame import MAX_COLUMNS
from sandbox.vault import Vault, VaultKind
from sandbox.vault_arrays import Unsigned, get_array, put_array

Hashes = npt.NDArray[np.uint64]
Ids = npt.NDArray[np.uint32]

MAX_IDS: Final = 2**32 - 1

_MAX_STATE_BYTES: Final = 512 * 1024
_UNKNOWN: Final = np.uint64(0)
"""No row's fingerprint: stands for that of a row which went before the columns changed, and for its person."""
_GOLDEN: Final = np.uint64(0x9E37_79B9_7F4A_7C15)


class RowSource(Protocol):
    """What is needed of a dataset's source."""

    def fingerprints(self, columns: tuple[str, ...]) -> Hashes:
        """For each row, in the order of its position, 64 bits that stand for its values in `columns`."""
        ...


@dataclass(frozen=True, slots=True)
class RowIdentity:
    """The stable ids of a dataset's rows: below `count`, each once.

    `ids` are those of the `rows` positions of the version served, in order; None: a row's position is its id. `persons`
    has for every id ever given a number that stands for the row's person, all versions alike; None where
    `person_column` is None and persons are not told apart. 0 is a person unknown; so are null ids one person, not many.
    """

    rows: int
    count: int
    ids: Ids | None
    persons: Ids | None
    person_column: str | None


@dataclass(frozen=True, slots=True)
class _Scheme:
    """By which columns rows are known, in the source's own names, sorted."""

    columns: tuple[str, ...]
    person: str
    key: tuple[str, ...]

    @classmethod
    def of(cls, declaration: DatasetDeclaration) -> _Scheme:
        physical = {column.name: column.physical for column in declaration.columns}
        person = "" if declaration.person_id is None else physical.get(declaration.person_id, declaration.person_id)
        columns = {*physical.values(), person} - {""}
        key = {physical.get(name, name) for name in declaration.row_key}
        return cls(tuple(sorted(columns)), person, tuple(sorted(key)))


@dataclass(frozen=True, slots=True)
class _State:
    """What is known of a dataset's rows: fingerprints by id over the scheme's columns and over its key, persons."""

    scheme: _Scheme
    rows: Hashes
    keys: Hashes
    persons: Ids
    person_hashes: Hashes


def settle_rows(vault: Vault, declaration: DatasetDeclaration, source: RowSource, content: str) -> RowIdentity:
    """Give every row of the version served its stable id, durably.

    Args:
        vault: where ids are kept, by the dataset's name.
        declaration: the dataset's.
        source: its rows, held to `content`.
        content: the hex SHA-256 of the rows.

    Raises:
        DeclarationError: the rows cannot be known again, since columns have gone; or 2^32 ids would not do.
        SourceError: the rows cannot be read.
        VaultError: nothing could be kept.
    """
    with vault.transaction():
        return _Settling(vault, declaration, source).settle(content)


class _Settling:
    def __init__(self, vault: Vault, declaration: DatasetDeclaration, source: RowSource) -> None:
        self._vault = vault
        self._declaration = declaration
        self._source = source
        self._name = declaration.name
        self._scheme = _Scheme.of(declaration)

    def settle(self, content: str) -> RowIdentity:
        scheme = self._read_scheme()
        ids = self._get(f"content/{content}", np.uint32)
        if scheme == self._scheme and ids is not None:
            return self._identity(ids, self._need("persons", np.uint32))
        rows = numbered(self._source.fingerprints(self._scheme.columns))
        if scheme is None:
            ids = np.arange(len(rows), dtype=np.uint32)
            nothing = np.zeros(0, np.uint64)
            state = _State(self._scheme, nothing, nothing, np.zeros(0, np.uint32), np.zeros(1, np.uint64))
        else:
            state = self._read(scheme)
            if ids is None:
                ids = self._match(state, rows)
        grown = self._grow(state, ids, rows)
        self._write(content, ids, grown)
        return self._identity(ids, grown.persons)

    def _identity(self, ids: Ids, persons: Ids) -> RowIdentity:
        in_order = bool(np.array_equal(ids, np.arange(len(ids), dtype=np.uint32)))
        person = self._scheme.person
        return RowIdentity(
            len(ids), len(persons), None if in_order else ids, persons if person else None, person or None
        )

    def _match(self, state: _State, rows: Hashes) -> Ids:
        """The ids of rows that were there before, and new ones for the rest."""
        known, found = state.rows, rows
        if state.scheme.columns != self._scheme.columns:
            try:
                found = numbered(self._source.fingerprints(state.scheme.columns))
            except SourceUnavailableError:
                raise
            except SourceError as error:
                known, found = state.keys, self._by_key(state.scheme, error)
        order = np.argsort(found)
        at = np.empty(len(found), dtype=np.int64)
        at[order] = _places(known, found[order])
        fresh = np.flatnonzero(at < 0)
        if len(known) + len(fresh) > MAX_IDS:
            detail = "more than 2^32 rows over all versions cannot be told apart; offer the data under another name"
            raise DeclarationError(self._declaration.file, None, "dataset.name", detail)
        at[fresh] = np.arange(len(known), len(known) + len(fresh))
        return at.astype(np.uint32)

    def _by_key(self, old: _Scheme, gone: SourceError) -> Hashes:
        key = ", ".join(old.columns)
        detail = (
            f"rows of earlier versions are known by {key[:300]}, of which something has gone, so that it cannot be "
            "told which rows were answered for already. Put the column back; declare row_key = the columns that tell "
            "rows apart and stay, start once, and only then take the column out. Or offer the data under another name, "
            "for which no earlier answer counts: that is for the officials to decide"
        )
        if not old.key:
            raise DeclarationError(self._declaration.file, None, "dataset.row_key", detail) from gone
        try:
            return numbered(self._source.fingerprints(old.key))
        except SourceUnavailableError:
            raise
        except SourceError as error:
            raise DeclarationError(self._declaration.file, None, "dataset.row_key", detail) from error

    def _grow(self, state: _State, ids: Ids, rows: Hashes) -> _State:
        """The state with this version's rows in it, under the scheme of now."""
        count = max(len(state.rows), int(ids.max()) + 1 if len(ids) else 0)

        def by_id(old: Hashes, same: bool, new: Callable[[], Hashes]) -> Hashes:
            grown = np.full(count, _UNKNOWN, dtype=np.uint64)
            if same:
                grown[: len(old)] = old
            grown[ids] = new()
            return grown

        scheme, before = self._scheme, state.scheme
        all_rows = by_id(state.rows, scheme.columns == before.columns, lambda: rows)
        keys = np.zeros(count, np.uint64)
        if scheme.key:
            keys = by_id(state.keys, scheme.key == before.key, lambda: numbered(self._source.fingerprints(scheme.key)))
        persons, hashes = self._persons(state, ids, count)
        return _State(scheme, all_rows, keys, persons, hashes)

    def _persons(self, state: _State, ids: Ids, count: int) -> tuple[Ids, Hashes]:
        """Person by id, and the fingerprint of each person; a row that has its person keeps it."""
        persons = np.zeros(count, np.uint32)
        if not self._scheme.person:
            return persons, np.zeros(1, np.uint64)
        hashes = np.zeros(1, np.uint64)
        if self._scheme.person == state.scheme.person:
            persons[: len(state.persons)] = state.persons
            hashes = state.person_hashes
        found, person = np.unique(_not_unknown(self._source.fingerprints((self._scheme.person,))), return_inverse=True)
        codes = _places(hashes, found)
        fresh = np.flatnonzero(codes < 0)
        codes[fresh] = np.arange(len(hashes), len(hashes) + len(fresh))
        persons[ids] = np.where(persons[ids] == 0, codes[person], persons[ids])
        return persons, np.concatenate([hashes, found[fresh]])

    # -- the vault ------------------------------------------------------------------------------------------------

    def _read_scheme(self) -> _Scheme | None:
        data = self._vault.get(VaultKind.ROW_IDENTITY, f"{self._name}/scheme")
        if data is None:
            return None
        try:
            fields = Fields.parse(data, limit=_MAX_STATE_BYTES, where="row scheme")
            scheme = _Scheme(
                columns=fields.texts("columns", max_items=MAX_COLUMNS + 1, max_length=255),
                person=fields.text_or_empty("person", max_length=255),
                key=fields.texts("key", max_items=MAX_COLUMNS, max_length=255),
            )
            fields.finish()
        except MalformedError as error:
            raise VaultError(f"the row ids of {self._name} cannot be read: {error}; restore the backup") from error
        return scheme

    def _read(self, scheme: _Scheme) -> _State:
        return _State(
            scheme,
            self._need("rows", np.uint64),
            self._need("keys", np.uint64),
            self._need("persons", np.uint32),
            self._need("person_hashes", np.uint64),
        )

    def _write(self, content: str, ids: Ids, state: _State) -> None:
        scheme = canonicalise(
            {"columns": list(state.scheme.columns), "person": state.scheme.person, "key": list(state.scheme.key)}
        )
        self._vault.put(VaultKind.ROW_IDENTITY, f"{self._name}/scheme", scheme)
        self._put("rows", state.rows)
        self._put("keys", state.keys)
        self._put("persons", state.persons)
        self._put("person_hashes", state.person_hashes)
        self._put(f"content/{content}", ids)

    def _put(self, name: str, values: npt.NDArray[Unsigned]) -> None:
        put_array(self._vault, VaultKind.ROW_IDENTITY, f"{self._name}/{name}", values)

    def _get(self, name: str, kind: type[Unsigned]) -> npt.NDArray[Unsigned] | None:
        return get_array(self._vault, VaultKind.ROW_IDENTITY, f"{self._name}/{name}", kind)

    def _need(self, name: str, kind: type[Unsigned]) -> npt.NDArray[Unsigned]:
        found = self._get(name, kind)
        if found is None:
            raise VaultError(f"the row ids of {self._name} are incomplete; restore the backup")
        return found


def numbered(hashes: Hashes) -> Hashes:
    """Tell rows of equal fingerprints apart by occurrence, in the order of positions; 0 does not occur."""
    order = np.argsort(hashes, kind="stable")
    in_order = hashes[order]
    first = np.diff(in_order, prepend=np.uint64(0)) != 0
    if len(first):
        first[0] = True
    start = np.maximum.accumulate(np.where(first, np.arange(len(hashes)), 0))
    occurrence = (np.arange(len(hashes)) - start).astype(np.uint64)
    found = np.empty_like(hashes)
    found[order] = np.where(occurrence == 0, in_order, _mixed(in_order + occurrence * _GOLDEN))
    return _not_unknown(found)


def _places(known: Hashes, wanted: Hashes) -> npt.NDArray[np.int64]:
    """Where each of `wanted`, which is sorted, is in `known`; -1 where it is not."""
    if not len(known):
        return np.full(len(wanted), -1)
    order = np.argsort(known)
    in_order = known[order]
    at = np.minimum(np.searchsorted(in_order, wanted), len(known) - 1)
    return np.where(in_order[at] == wanted, order[at], -1)


def _mixed(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return values ^ (values >> np.uint64(31))


def _not_unknown(hashes: Hashes) -> Hashes:
    return np.where(hashes == _UNKNOWN, _GOLDEN, hashes)
