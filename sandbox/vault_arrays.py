"""Arrays of unsigned integers in the vault, in chunks: a long one is never one value, and what compresses is small."""

from __future__ import annotations

import struct
import zlib
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from sandbox.errors import VaultError
from sandbox.vault import Vault, VaultKind

CHUNK_BYTES: Final = 2**20

_HEADER: Final = struct.Struct("<QB")  # values, bytes a value
_LEVEL: Final = 1
_TRIED: Final = 4_096

Unsigned = TypeVar("Unsigned", np.uint32, np.uint64)


def put_array(vault: Vault, kind: VaultKind, key: str, values: npt.NDArray[Unsigned]) -> None:
    """Keep `values` under `key`, in place of an array that is there; durable at the end of the transaction.

    Differences are kept, for runs of ids are long; chunks that do not shrink are kept as they are.
    """
    width = values.dtype.itemsize
    step = CHUNK_BYTES // width
    with vault.transaction():
        vault.put(kind, key, _HEADER.pack(len(values), width))
        for number, start in enumerate(range(0, len(values), step)):
            vault.put(kind, _chunk(key, number), _packed(values[start : start + step]))


def get_array(vault: Vault, kind: VaultKind, key: str, dtype: type[Unsigned]) -> npt.NDArray[Unsigned] | None:
    """The array under `key`, None if there is none.

    Raises:
        VaultError: it is damaged.
    """
    header = vault.get(kind, key)
    if header is None:
        return None
    try:
        count, width = _HEADER.unpack(header)
        if width != np.dtype(dtype).itemsize:
            raise VaultError(f"{key} has values of {width} bytes; restore the backup")
        values = np.empty(count, dtype=dtype)
        step = CHUNK_BYTES // width
        for number, start in enumerate(range(0, count, step)):
            chunk = vault.get(kind, _chunk(key, number))
            if chunk is None:
                raise VaultError(f"{key} lacks a chunk; restore the backup")
            values[start : start + step] = _unpacked(chunk, dtype)
    except (struct.error, zlib.error, ValueError) as error:
        raise VaultError(f"{key} is damaged: {error}; restore the backup") from error
    return values


def _chunk(key: str, number: int) -> str:
    return f"{key}#{number:06d}"


def _packed(values: npt.NDArray[Unsigned]) -> bytes:
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    steps = np.diff(values, prepend=values.dtype.type(0)).astype(values.dtype.newbyteorder("<")).tobytes()
    if len(zlib.compress(steps[:_TRIED], _LEVEL)) > len(steps[:_TRIED]) * 3 // 4:
        return b"\x00" + data
    return b"\x01" + zlib.compress(steps, _LEVEL)


def _unpacked(chunk: bytes, dtype: type[Unsigned]) -> npt.NDArray[Unsigned]:
    stored = np.dtype(dtype).newbyteorder("<")
    if chunk[:1] == b"\x00":
        return np.frombuffer(chunk, dtype=stored, offset=1).astype(dtype)
    return np.cumsum(np.frombuffer(zlib.decompress(chunk[1:]), dtype=stored), dtype=dtype)
