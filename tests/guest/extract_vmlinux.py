#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""
The kernel out of a bzImage: an ELF file that QEMU starts by its PVH entry, with nothing to decompress
inside the guest.

    extract_vmlinux.py VMLINUZ OUT
"""

import ctypes
import gzip
import lzma
import struct
import sys
from pathlib import Path

SETUP_SECTORS, MAGIC, PAYLOAD = 0x1F1, 0x202, 0x248  # offsets in the boot protocol's header


def payload_of(image):
    """The compressed kernel, without the length that the kernel's build appends to it."""
    if image[MAGIC : MAGIC + 4] != b"HdrS":
        raise SystemExit("extract_vmlinux: this is no bzImage")
    setup_size = ((image[SETUP_SECTORS] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", image, PAYLOAD)
    return image[setup_size + offset : setup_size + offset + length - 4]


def decompress_lz4(data):
    """The "legacy" LZ4 frame: after a magic number, blocks with their sizes, of up to 8 MiB each.
    By the library that apt is built on: Python has none."""
    library = ctypes.CDLL("liblz4.so.1")
    block = ctypes.create_string_buffer(8 << 20)
    out, offset = [], 4
    while offset < len(data):
        (size,) = struct.unpack_from("<I", data, offset)
        got = library.LZ4_decompress_safe(data[offset + 4 :][:size], block, size, len(block))
        if got < 0:
            raise SystemExit("extract_vmlinux: broken LZ4 data")
        out.append(block.raw[:got])
        offset += 4 + size
    return b"".join(out)


def decompress(payload):
    kinds = {
        b"\x7fELF": bytes,
        b"\x1f\x8b": gzip.decompress,
        b"\xfd7zXZ\0": lzma.decompress,
        b"\x02\x21\x4c\x18": decompress_lz4,
    }
    for magic, function in kinds.items():
        if payload.startswith(magic):
            return function(payload)
    raise SystemExit(f"extract_vmlinux: a payload that starts with {payload[:6]!r} is unknown")


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__.strip())
    kernel = decompress(payload_of(Path(sys.argv[1]).read_bytes()))
    if kernel[:4] != b"\x7fELF":
        raise SystemExit("extract_vmlinux: what came out is no ELF file")
    Path(sys.argv[2]).write_bytes(kernel)


if __name__ == "__main__":
    main()
