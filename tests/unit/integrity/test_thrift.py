"""Decoder of Thrift's compact protocol: values of every type, and an exception for bytes that are no structure."""

from __future__ import annotations

import random
import struct

import pytest

from ohlcv.integrity.thrift import ThriftError, decode_struct


def test_fields_of_every_type_are_decoded() -> None:
    data = bytes(
        [
            *(0x15, 0x03),  # 1: a number, -2
            *(0x16, 0xAC, 0x02),  # 2: a long, 150
            0x11,  # 3: true
            0x12,  # 4: false
            *(0x18, 0x02, 0x61, 0x62),  # 5: text
            *(0x19, 0x25, 0x02, 0x04),  # 6: a list of two numbers
            *(0x1C, 0x15, 0x02, 0x00),  # 7: a structure
            *(0x1B, 0x01, 0x58, 0x02, 0x01, 0x63),  # 8: a map of one number to a text
            *(0x13, 0x07),  # 9: a byte
            0x17,  # 10: a double
            *struct.pack("<d", 0.5),
            *(0x05, 0x80, 0x02, 0x02),  # 128 in its own number: a number, 1
            0x00,
        ]
    )
    expected = {1: -2, 2: 150, 3: True, 4: False, 5: b"ab", 6: [1, 2], 7: {1: 1}, 8: [(1, b"c")], 9: 7, 10: 0.5, 128: 1}
    assert decode_struct(b"xx" + data + b"rest", 2) == (expected, 2 + len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x15",
        b"\x18\x05ab",
        b"\x1d\x00",
        b"\x15" + b"\xff" * 20,
        b"\x19\xf5\xff\xff\xff\xff\x7f",
        b"\x1c" * 100,
    ],
)
def test_bytes_that_are_no_structure_are_an_error(data: bytes) -> None:
    with pytest.raises(ThriftError):
        decode_struct(data)


def test_random_bytes_are_a_structure_or_an_error() -> None:
    source = random.Random(4)
    for _ in range(2_000):
        data = source.randbytes(60)
        try:
            fields, end = decode_struct(data)
        except ThriftError:
            continue
        assert end <= len(data)
        assert all(isinstance(number, int) for number in fields)
