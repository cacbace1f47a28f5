# SPDX-License-Identifier: BSD-3-Clause
"""The config space, read and written as a guest's firmware and operating system do."""

import errno
import struct

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import eventfds, signalled

FD_TRIGGER = vu.DATA_EVENTFD | vu.ACTION_TRIGGER

COMMAND, STATUS, REVISION, HEADER_TYPE, BARS = 0x04, 0x06, 0x08, 0x0E, 0x10
SUBSYSTEM, ROM_BASE, CAPABILITIES, INTERRUPT_LINE, INTERRUPT_PIN = 0x2C, 0x30, 0x34, 0x3C, 0x3D
CAP_PM, CAP_MSI, CAP_VENDOR, CAP_PCIE, CAP_MSIX = 0x01, 0x05, 0x09, 0x10, 0x11
STATUS_INTERRUPT, STATUS_CAPABILITIES = 1 << 3, 1 << 4
INTX_DISABLE = 1 << 10


def get(client, offset, size):
    return int.from_bytes(client.read(vu.CONFIG, offset, size), "little")


def put(client, offset, size, value):
    client.write(vu.CONFIG, offset, value.to_bytes(size, "little"))


def capabilities(client):
    """{id: offset}, walked as a guest walks them."""
    found = {}
    at = get(client, CAPABILITIES, 1)
    while at:
        assert at >= 0x40 and at % 4 == 0 and at not in found.values()
        found[get(client, at, 1)] = at
        at = get(client, at + 1, 1)
    return found


# ------------------------------------------------------------------ the header


def test_identity(client):
    assert get(client, 0, 4) == 0x00C01B36
    assert get(client, REVISION, 4) == 0x08800003
    assert get(client, HEADER_TYPE, 1) & 0x7F == 0
    assert get(client, SUBSYSTEM, 4) == 0x00C01B36
    assert get(client, INTERRUPT_PIN, 1) == 1


def test_plain_identity(plain_client):
    assert get(plain_client, 0, 4) == 0x00C11B36
    assert get(plain_client, REVISION, 4) >> 8 == 0x050000
    assert get(plain_client, INTERRUPT_PIN, 1) == 0


def test_identity_cannot_be_written(client):
    before = client.read(vu.CONFIG, 0, 4) + client.read(vu.CONFIG, 8, 4)
    for offset in (0, 2, REVISION, SUBSYSTEM, CAPABILITIES, INTERRUPT_PIN, HEADER_TYPE):
        put(client, offset, 1, 0xFF)
        put(client, offset, 1, 0x00)
    assert client.read(vu.CONFIG, 0, 4) + client.read(vu.CONFIG, 8, 4) == before
    assert get(client, INTERRUPT_PIN, 1) == 1


def test_interrupt_line_is_the_guests_notepad(client):
    put(client, INTERRUPT_LINE, 1, 0x5A)
    assert get(client, INTERRUPT_LINE, 1) == 0x5A


@pytest.mark.parametrize("bar, size", list(enumerate(td.BAR_SIZES)))
def test_bar_sizing(client, bar, size):
    """All ones written, the size read back, and then the address kept."""
    offset = BARS + 4 * bar
    kind = get(client, offset, 4)
    flag_bits = 3 if kind & 1 else 15
    assert kind & 1 == (bar == vu.BAR5), "I/O or memory"
    assert kind & flag_bits & ~9 == 0, "32 bits"
    put(client, offset, 4, 0xFFFFFFFF)
    mask = get(client, offset, 4)
    assert mask == (0x100000000 - size) | (kind & flag_bits)
    address = 0xFEBC0000 & ~(size - 1) if bar != vu.BAR5 else 0xC040
    put(client, offset, 4, address)
    assert get(client, offset, 4) == address | (kind & flag_bits)


def test_bar_address_is_aligned_to_its_size(client):
    put(client, BARS, 4, 0xFEBC1234)
    assert get(client, BARS, 4) & ~15 == 0xFEBC0000


def test_bars_that_are_not_there(plain_client):
    for bar in range(1, 6):
        put(plain_client, BARS + 4 * bar, 4, 0xFFFFFFFF)
        assert get(plain_client, BARS + 4 * bar, 4) == 0


def test_no_rom(client):
    put(client, ROM_BASE, 4, 0xFFFFFFFE)
    assert get(client, ROM_BASE, 4) == 0


def test_bar_written_byte_by_byte(client):
    for i in range(4):
        put(client, BARS + i, 1, 0xFF)
    assert get(client, BARS, 4) & ~15 == 0x100000000 - td.BAR_SIZES[0]


def test_command_register(client):
    put(client, COMMAND, 2, 0xFFFF)
    command = get(client, COMMAND, 2)
    assert command & 0x0407 == 0x0407
    put(client, COMMAND, 2, 0)
    assert get(client, COMMAND, 2) == 0
    put(client, COMMAND, 1, 6)
    assert get(client, COMMAND, 2) == 6


def test_status_is_not_written(client):
    before = get(client, STATUS, 2)
    assert before & STATUS_CAPABILITIES
    put(client, STATUS, 2, 0)
    assert get(client, STATUS, 2) == before
    put(client, STATUS, 2, 0xFFFF)
    assert get(client, STATUS, 2) & STATUS_CAPABILITIES


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 64, 256])
def test_any_size_and_alignment(client, size):
    whole = client.read(vu.CONFIG, 0, 512)
    for offset in (0, 1, 2, 3, 0x0F, 0x3D, 0xFE, 0xFF):
        assert client.read(vu.CONFIG, offset, size) == whole[offset : offset + size]


def test_write_across_fields(client):
    """Command, status, revision in one go: what may change does."""
    client.write(vu.CONFIG, COMMAND, struct.pack("=HHI", 6, 0, 0xFFFFFFFF))
    assert get(client, COMMAND, 2) == 6 and get(client, REVISION, 4) == 0x08800003


def test_write_over_everything(client):
    """Firmware that has lost its way: the list of capabilities survives, and the identity."""
    before = capabilities(client)
    client.write(vu.CONFIG, 0, b"\xff" * 256)
    client.write(vu.CONFIG, 256, b"\xff" * (4096 - 256))
    client.write(vu.CONFIG, 0, bytes(4096))
    assert capabilities(client) == before and get(client, 0, 4) == 0x00C01B36


# ------------------------------------------------------------------ capabilities


def test_capability_list(client):
    assert set(capabilities(client)) >= {CAP_PM, CAP_MSI, CAP_MSIX, CAP_PCIE}


def test_plain_capability_list(plain_client):
    found = capabilities(plain_client)
    assert not {CAP_MSI, CAP_MSIX, CAP_PCIE} & set(found)


def test_msix_capability(client):
    at = capabilities(client)[CAP_MSIX]
    assert get(client, at + 2, 2) == td.NUM_MSIX - 1
    assert get(client, at + 4, 4) == td.MSIX_TABLE | vu.BAR1
    assert get(client, at + 8, 4) == td.MSIX_PBA | vu.BAR1
    put(client, at + 2, 2, 0xFFFF)
    assert get(client, at + 2, 2) == 0xC000 | (td.NUM_MSIX - 1)


def test_msi_capability(client):
    at = capabilities(client)[CAP_MSI]
    assert get(client, at + 2, 2) >> 1 & 7 == 3, "8 vectors"
    put(client, at + 2, 2, 0x0071)
    assert get(client, at + 2, 2) & 0x71 == 0x31, "enabled, no more vectors than there are"


def test_power_state(client):
    at = capabilities(client)[CAP_PM]
    assert get(client, at + 2, 2) & 7 in (2, 3)
    put(client, at + 4, 2, 3)
    assert get(client, at + 4, 2) & 3 == 3
    put(client, at + 4, 2, 0)
    assert get(client, at + 4, 2) & 3 == 0
    client.check_in_step()


def test_pcie_endpoint_with_flr(client):
    at = capabilities(client)[CAP_PCIE]
    assert get(client, at + 2, 2) >> 4 & 15 in (0, 9), "an endpoint, integrated or not"
    assert get(client, at + 4, 4) >> 28 & 1, "function-level reset"


def test_serial_number(client):
    """The first extended capability."""
    header = get(client, 0x100, 4)
    assert header & 0xFFFF == 3
    assert get(client, 0x104, 8) == 0x0123456789ABCDEF


def test_function_level_reset(client):
    client.write32(vu.BAR1, td.REG_SCRATCH, 1)
    put(client, COMMAND, 2, 6)
    put(client, BARS, 4, 0xFEBC0000)
    resets = td.count(client, td.COUNT_RESET)
    at = capabilities(client)[CAP_PCIE]
    put(client, at + 8, 2, get(client, at + 8, 2) | 0x8000)
    assert td.count(client, td.COUNT_RESET) == resets + 1
    assert client.read32(vu.BAR1, td.REG_SCRATCH) == 0
    assert get(client, COMMAND, 2) == 0 and get(client, BARS, 4) & ~15 == 0
    assert not get(client, at + 8, 2) & 0x8000, "reads as zero"


# ------------------------------------------------------------------ INTx


def test_intx_disable(client):
    with eventfds(1) as (fd,):
        client.set_irqs(FD_TRIGGER, vu.INTX, 0, 1, fds=[fd])
        put(client, COMMAND, 2, INTX_DISABLE)
        td.set_level(client, True)
        assert signalled(fd) == 0
        put(client, COMMAND, 2, 0)
        assert signalled(fd) == 1


def test_interrupt_status(client):
    """The line itself, masked or not."""
    assert not get(client, STATUS, 2) & STATUS_INTERRUPT
    td.set_level(client, True)
    assert get(client, STATUS, 2) & STATUS_INTERRUPT
    put(client, COMMAND, 2, INTX_DISABLE)
    assert get(client, STATUS, 2) & STATUS_INTERRUPT
    td.set_level(client, False)
    assert not get(client, STATUS, 2) & STATUS_INTERRUPT


# ------------------------------------------------------------------ the MSI-X table


def entry(vector):
    return td.MSIX_TABLE + 16 * vector


def mask_vector(client, vector, masked):
    client.write32(vu.BAR1, entry(vector) + 12, int(masked))


def pending(client, vector):
    return client.read64(vu.BAR1, td.MSIX_PBA) >> vector & 1


@pytest.fixture
def msix(client):
    """A guest that set MSI-X up: the client, and an eventfd a vector."""
    with eventfds(td.NUM_MSIX) as fds:
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, td.NUM_MSIX, fds=fds)
        put(client, capabilities(client)[CAP_MSIX] + 2, 2, 0x8000)
        for vector in range(td.NUM_MSIX):
            client.write(vu.BAR1, entry(vector), struct.pack("=IIII", 0xFEE00000, 0, vector, 0))
        yield client, fds


def test_table_keeps_address_and_data(client):
    for vector in range(td.NUM_MSIX):
        data = struct.pack("=III", 0xFEE00000 + 16 * vector, vector, 0x4000 + vector)
        client.write(vu.BAR1, entry(vector), data)
    for vector in range(td.NUM_MSIX):
        data = struct.pack("=III", 0xFEE00000 + 16 * vector, vector, 0x4000 + vector)
        assert client.read(vu.BAR1, entry(vector), 12) == data
    assert client.read32(vu.BAR1, td.REG_MAGIC) == td.MAGIC, "the registers are not the table"


def test_vector_mask(msix):
    """Masked: pending. Unmasked: signalled once, however often it was triggered."""
    client, fds = msix
    mask_vector(client, 2, True)
    td.trigger(client, vu.MSIX, 2)
    td.trigger(client, vu.MSIX, 2)
    td.trigger(client, vu.MSIX, 3)
    assert (signalled(fds[2]), signalled(fds[3])) == (0, 1)
    assert (pending(client, 2), pending(client, 3)) == (1, 0)
    mask_vector(client, 2, False)
    assert signalled(fds[2]) == 1 and not pending(client, 2)


def test_function_mask(msix):
    client, fds = msix
    control = capabilities(client)[CAP_MSIX] + 2
    put(client, control, 2, 0xC000)
    td.trigger(client, vu.MSIX, 0)
    td.trigger(client, vu.MSIX, 5)
    assert not any(signalled(fd) for fd in fds)
    assert pending(client, 0) and pending(client, 5)
    put(client, control, 2, 0x8000)
    assert [signalled(fd) for fd in fds] == [1, 0, 0, 0, 0, 1, 0, 0]
    assert client.read64(vu.BAR1, td.MSIX_PBA) == 0


def test_both_masks(msix):
    client, fds = msix
    control = capabilities(client)[CAP_MSIX] + 2
    put(client, control, 2, 0xC000)
    mask_vector(client, 1, True)
    td.trigger(client, vu.MSIX, 1)
    put(client, control, 2, 0x8000)
    assert signalled(fds[1]) == 0 and pending(client, 1)
    mask_vector(client, 1, False)
    assert signalled(fds[1]) == 1


def test_pending_bits_are_read_only(msix):
    client, fds = msix
    client.write64(vu.BAR1, td.MSIX_PBA, 0xFFFFFFFFFFFFFFFF)
    assert client.read64(vu.BAR1, td.MSIX_PBA) == 0
    mask_vector(client, 0, True)
    td.trigger(client, vu.MSIX, 0)
    client.write64(vu.BAR1, td.MSIX_PBA, 0)
    assert pending(client, 0)


def test_table_accessed_in_other_sizes(msix):
    """A byte write of the mask bit; a read across an entry's border."""
    client, fds = msix
    client.write(vu.BAR1, entry(4) + 12, b"\1")
    td.trigger(client, vu.MSIX, 4)
    assert signalled(fds[4]) == 0
    assert client.read(vu.BAR1, entry(4) + 8, 16)[:8] == struct.pack("=II", 4, 1)
    client.write(vu.BAR1, entry(4) + 12, b"\0")
    assert signalled(fds[4]) == 1


def test_write_over_the_whole_table(msix):
    """One message over all entries masks and unmasks as single ones would."""
    client, fds = msix
    client.write(vu.BAR1, td.MSIX_TABLE, struct.pack("=IIII", 0, 0, 0, 1) * td.NUM_MSIX)
    for vector in range(td.NUM_MSIX):
        td.trigger(client, vu.MSIX, vector)
    assert not any(signalled(fd) for fd in fds)
    assert client.read64(vu.BAR1, td.MSIX_PBA) == 0xFF
    client.write(vu.BAR1, td.MSIX_TABLE, struct.pack("=IIII", 0, 0, 0, 0) * td.NUM_MSIX)
    assert [signalled(fd) for fd in fds] == [1] * td.NUM_MSIX


def test_access_across_the_tables_border(client):
    """Registers before it, the table, and what follows: one read gives all."""
    client.write32(vu.BAR1, td.MSIX_TABLE - 4, 0x11223344)
    client.write32(vu.BAR1, td.MSIX_TABLE, 0xFEE00000)
    data = client.read(vu.BAR1, td.MSIX_TABLE - 4, 8)
    assert data == struct.pack("=II", 0x11223344, 0xFEE00000)
    client.write(vu.BAR1, td.MSIX_TABLE - 4, struct.pack("=II", 1, 0xFEE01000))
    assert client.read32(vu.BAR1, td.MSIX_TABLE - 4) == 1
    assert client.read32(vu.BAR1, td.MSIX_TABLE) == 0xFEE01000


def test_reset_clears_masks_and_pending(msix):
    client, fds = msix
    mask_vector(client, 0, True)
    td.trigger(client, vu.MSIX, 0)
    client.reset()
    assert signalled(fds[0]) == 0
    assert client.read64(vu.BAR1, td.MSIX_PBA) == 0


@pytest.mark.parametrize("offset, size", [(4096, 1), (4095, 2), (1 << 63, 4)])
def test_beyond_its_end(client, offset, size):
    body = vu.region_body(vu.CONFIG, offset, size)
    client.fails(errno.EINVAL, vu.REGION_READ, body)


def test_beyond_the_end_of_conventional_pci(plain_client):
    plain_client.fails(errno.EINVAL, vu.REGION_READ, vu.region_body(vu.CONFIG, 256, 4))


# ------------------------------------------------------------------ a vendor's capability


def test_vendor_capability(caps_client):
    """Behind PCI Express, its length with its header, its body as the driver gave it."""
    found = capabilities(caps_client)
    assert list(found) == [CAP_PM, CAP_MSIX, CAP_PCIE, CAP_VENDOR]
    at = found[CAP_VENDOR]
    assert get(caps_client, at + 2, 1) == 8
    assert caps_client.read(vu.CONFIG, at + 3, 5) == b"umdev"


def test_vendor_capability_is_read_only(caps_client):
    at = capabilities(caps_client)[CAP_VENDOR]
    before = caps_client.read(vu.CONFIG, at, 8)
    for value in (b"\xff", b"\0"):
        caps_client.write(vu.CONFIG, at, value * 8)
        assert caps_client.read(vu.CONFIG, at, 8) == before
    caps_client.reset()
    assert caps_client.read(vu.CONFIG, at, 8) == before


def test_no_vendor_capability(client):
    assert CAP_VENDOR not in capabilities(client)
