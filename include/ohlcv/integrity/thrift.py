"""Decoder of Thrift's compact protocol, in which Parquet stores footers and headers of pages.

pyarrow ends the process when it decodes some damaged footers; an error of this decoder is an exception.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_LONG_SIZE = 15
_MAX_DEPTH = 32


class ThriftError(Exception):
    """Bytes that are no structure of the compact protocol."""


def decode_struct(data: bytes, position: int = 0) -> tuple[dict[int, Any], int]:
    """Return the fields of a structure by their ids, and the position after it. Raise ThriftError if it is invalid."""
    decoder = _Decoder(data, position)
    try:
        return decoder.structure(0), decoder.position
    except (IndexError, struct.error, OverflowError):
        raise ThriftError("it ends too early") from None


class _Decoder:
    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self.position = position

    def structure(self, depth: int) -> dict[int, Any]:
        if depth > _MAX_DEPTH:
            raise ThriftError("it is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            distance, kind = header >> 4, header & 15
            number = number + distance if distance else self._zigzag()
            # The value of a boolean field is its type.
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == _MAP:
            return self._map(depth)
        if kind == _STRUCT:
            return self.structure(depth + 1)
        readers: dict[int, Callable[[], Any]] = {
            **dict.fromkeys((_TRUE, _FALSE, _BYTE), self._byte),
            **dict.fromkeys((_I16, _I32, _I64), self._zigzag),
            _DOUBLE: lambda: struct.unpack("<d", self._bytes(8))[0],
            _BINARY: lambda: self._bytes(self._varint()),
        }
        if kind not in readers:
            raise ThriftError(f"it has the unknown type {kind}")
        return readers[kind]()

    def _list(self, depth: int) -> list[Any]:
        header = self._byte()
        size = header >> 4 if header >> 4 < _LONG_SIZE else self._varint()
        return [self._value(header & 15, depth + 1) for _ in range(size)]

    def _map(self, depth: int) -> list[tuple[Any, Any]]:
        size = self._varint()
        kinds = self._byte() if size else 0
        return [(self._value(kinds >> 4, depth + 1), self._value(kinds & 15, depth + 1)) for _ in range(size)]

    def _byte(self) -> int:
        value = self._data[self.position]
        self.position += 1
        return value

    def _bytes(self, length: int) -> bytes:
        value = self._data[self.position : self.position + length]
        if len(value) != length:
            raise ThriftError("it ends too early")
        self.position += length
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7
            if shift > 70:
                raise ThriftError("it has a number that is too long")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
