"""Packed streams that are small on the disk and huge when they are unpacked."""

from __future__ import annotations

import zlib


def zlib_bomb(megabytes: int, unit: bytes = b" ") -> bytes:
    """``unit`` over and over, packed; one megabyte is compressed, its blocks are repeated."""
    block, body = _bomb_blocks(megabytes, unit)
    checksum = 1
    for _ in range(megabytes):
        checksum = zlib.adler32(block, checksum)
    return b"\x78\xda" + body + checksum.to_bytes(4, "big")


def gzip_bomb(megabytes: int, unit: bytes = b"\x00") -> bytes:
    """As :func:`zlib_bomb`, in gzip's frame."""
    block, body = _bomb_blocks(megabytes, unit)
    checksum = 0
    for _ in range(megabytes):
        checksum = zlib.crc32(block, checksum)
    size = len(block) * megabytes & 0xFFFFFFFF
    head = b"\x1f\x8b\x08" + b"\x00" * 6 + b"\x03"
    return head + body + checksum.to_bytes(4, "little") + size.to_bytes(4, "little")


def _bomb_blocks(megabytes: int, unit: bytes) -> tuple[bytes, bytes]:
    block = unit * ((1 << 20) // len(unit))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return block, body * megabytes + packer.flush(zlib.Z_FINISH)
