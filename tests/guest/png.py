# SPDX-License-Identifier: BSD-3-Clause
"""Pictures out of PNG files: 8 bits a channel, RGB or RGBA, not interlaced."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _chunks(data):
    offset = len(SIGNATURE)
    while offset < len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        yield kind, data[offset + 8 : offset + 8 + length]
        offset += 12 + length


def _paeth(left, up, corner):
    estimate = left + up - corner
    distances = (abs(estimate - left), abs(estimate - up), abs(estimate - corner))
    return (left, up, corner)[distances.index(min(distances))]


def _unfilter(kind, row, above, step):
    """Take a row's filter off, in place."""
    for i in range(len(row)):
        left = row[i - step] if i >= step else 0
        corner = above[i - step] if i >= step else 0
        guess = (0, left, above[i], (left + above[i]) // 2, 0)[kind]
        if kind == 4:
            guess = _paeth(left, above[i], corner)
        row[i] = (row[i] + guess) & 0xFF


def _without_alpha(row):
    assert all(alpha == 0xFF for alpha in row[3::4]), "a screen is not transparent"
    return bytes(value for i, value in enumerate(row) if i % 4 != 3)


def read(path):
    """(width, height, pixels), the pixels as RGB bytes, rows packed."""
    with open(path, "rb") as file:
        data = file.read()
    assert data.startswith(SIGNATURE), f"{path} is no PNG"
    chunks = list(_chunks(data))
    width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, interlaced) == (8, 0) and colour in (2, 6), f"depth {depth}, colour type {colour}"
    step = 3 if colour == 2 else 4
    raw = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    above, pixels = bytes(width * step), bytearray()
    for start in range(0, len(raw), width * step + 1):
        row = bytearray(raw[start + 1 : start + 1 + width * step])
        if raw[start]:
            _unfilter(raw[start], row, above, step)
        above = row
        pixels += row if step == 3 else _without_alpha(row)
    assert len(pixels) == width * height * 3
    return width, height, bytes(pixels)
