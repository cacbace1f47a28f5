# SPDX-License-Identifier: BSD-3-Clause
"""What stock QEMU 11 does, message by message, where the specification leaves room."""

import json
import struct

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import PAGE, eventfds, signalled

FD_TRIGGER = vu.DATA_EVENTFD | vu.ACTION_TRIGGER
NONE_TRIGGER = vu.DATA_NONE | vu.ACTION_TRIGGER


def test_version_to_the_byte(server):
    """0.0, 214 bytes; the reply has minor 0, is no longer, and every value is one QEMU takes."""
    request = vu.message(vu.VERSION, vu.version_body(), 0)
    assert len(request) == 214
    with server.negotiated():
        pass
    with server.client() as client:
        client.send(request)
        reply = client.recv()
        assert reply.flags == vu.REPLY and reply.size <= 214
        assert struct.unpack_from("=HH", reply.body) == (0, 0)
        capabilities = json.loads(reply.body[4:-1]).get("capabilities", {})
        assert capabilities.get("max_msg_fds", 1) <= 16
        assert capabilities.get("pgsizes", 4096) % 4096 == 0
        assert capabilities.get("max_data_xfer_size", 1 << 20) > 0
        client.check_in_step()


def test_region_counts_that_qemu_takes(client):
    _, regions, irqs = client.get_info()
    assert 8 <= regions <= 100 and 3 <= irqs <= 50


@pytest.mark.parametrize("index", range(9))
def test_region_info_and_its_retry(client, index):
    """Message size 48 both times; a retry raises only argsz."""
    first = client.region_info(index, argsz=32)
    assert len(first.raw) <= 32
    assert not first.flags & vu.REGION_FLAG_CAPS or first.cap_offset
    if first.argsz > 32:
        second = client.region_info(index, argsz=first.argsz)
        assert len(second.raw) == first.argsz == second.argsz
        assert second.size == first.size and second.caps


def test_region_with_mmap_has_one_fd(client):
    for index in range(9):
        info = client.region_info(index)
        assert len(info.fds) == bool(info.flags & vu.REGION_FLAG_MMAP)


def test_config_space_is_read_whole_and_by_dwords(client):
    whole = client.read(vu.CONFIG, 0, 4096)
    dwords = b"".join(client.read(vu.CONFIG, n, 4) for n in range(0, 256, 4))
    assert dwords == whole[:256]


def test_rom_is_asked_for_late(client):
    client.write32(vu.BAR1, td.REG_SCRATCH, 1)
    assert client.region_info(vu.ROM).size == 0


def test_msix_is_enabled_without_an_fd(client):
    """EVENTFD, one vector, no fd; then single vectors, some without. The table is QEMU's own: its
    unmasking never reaches the server, so a vector must fire without any."""
    client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1)
    with eventfds(3) as (zero, two, five):
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=[zero])
        client.set_irqs(FD_TRIGGER, vu.MSIX, 1, 1)
        client.set_irqs(FD_TRIGGER, vu.MSIX, 2, 1, fds=[two])
        client.set_irqs(FD_TRIGGER, vu.MSIX, 5, 1, fds=[five])
        for vector in range(td.NUM_MSIX):
            assert td.trigger(client, vu.MSIX, vector) == 0
        assert [signalled(fd) for fd in (zero, two, five)] == [1, 1, 1]
        client.set_irqs(NONE_TRIGGER, vu.MSIX, 0, 0)


def test_intx_as_qemu_does(client):
    """Flags 0x24 with an fd, UNMASK 0x11 on the next access after an interrupt, and disable."""
    with eventfds(1) as (fd,):
        client.set_irqs(0x24, vu.INTX, 0, 1, fds=[fd])
        for _ in range(5):
            td.set_level(client, True)
            assert signalled(fd) == 1
            td.set_level(client, False)
            client.set_irqs(0x11, vu.INTX, 0, 1)
            assert signalled(fd) == 0
        client.set_irqs(0x21, vu.INTX, 0, 0)
        with eventfds(1) as fds:
            client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=fds)


def test_pending_bits_reach_the_server(client):
    assert len(client.read(vu.BAR1, td.MSIX_PBA, 8)) == 8


def test_mappable_bars_are_still_trapped(client):
    """After one INTx, QEMU sends their accesses as messages until INTx is disabled."""
    client.region_info(vu.BAR0)
    client.write(vu.BAR0, 0x40, b"trapped")
    assert client.read(vu.BAR0, 0x40, 7) == b"trapped"


def test_posted_writes_then_a_read(client):
    for n in range(1000):
        client.post_write(vu.BAR0, 4 * n, struct.pack("=I", n))
    assert client.read(vu.BAR0, 0, 4000) == b"".join(struct.pack("=I", n) for n in range(1000))


def test_queued_writes_as_write_multi(client):
    """200 entries at once, no reply, when its queue is long."""
    body = vu.write_multi_body([(vu.BAR0, 4 * n, struct.pack("=I", n)) for n in range(200)])
    client.request(vu.REGION_WRITE_MULTI, body, flags=vu.NO_REPLY)
    assert client.read(vu.BAR0, 0, 800) == b"".join(struct.pack("=I", n) for n in range(200))


def test_huge_unmaps(client):
    """A vIOMMU's domain switch: ranges over several mappings or none, up to the last byte."""
    assert client.dma_unmap(0, 0xFEE00000) == 0
    assert client.dma_unmap(0xFEF00000, 0xFFFFFFFF01100000) == 0
    client.dma_map(0, 0xA0000)
    client.dma_map(0x100000, 0x1FF00000)
    client.dma_map(0x100000000, 1 << 30)
    client.dma_map(0xFFFFFFFFFFFFF000, PAGE)
    assert client.dma_unmap(0, 0xFEE00000) == 0xA0000 + 0x1FF00000
    assert client.dma_unmap(0xFEF00000, 0xFFFFFFFF01100000) == (1 << 30) + PAGE


def test_firmware_remaps_without_waiting(dma_client):
    """Unmap and map of the same pages, pipelined, files and none alternating."""
    with vu.memory_file(16 * PAGE, b"RAM") as ram:
        sent = []
        for n in range(100):
            body = vu.dma_map_body(0xC0000, 16 * PAGE)
            sent.append(dma_client.request(vu.DMA_MAP, body, [] if n % 3 == 1 else [ram]))
            sent.append(dma_client.request(vu.DMA_UNMAP, vu.dma_unmap_body(0xC0000, 16 * PAGE)))
        for msg_id in sent:
            reply = dma_client.recv()
            assert reply.id == msg_id and not reply.errno
        dma_client.dma_map(0xC0000, 16 * PAGE, ram)
        assert td.dma_read(dma_client, 0xC0000, 3) == b"RAM"


def test_reset_twice_at_start(client):
    client.reset()
    client.reset()
    client.check_in_step()


def test_device_feature_is_answered(client):
    """QEMU never sent one; whoever does gets an answer."""
    body = struct.pack("=II", 16, vu.FEATURE_GET | vu.FEATURE_MIGRATION)
    client.try_call(vu.DEVICE_FEATURE, body)
    client.check_in_step()


def test_whole_boot(server):
    """The order of a start: negotiate, ask, size, map, reset, run, and gone without a word."""
    with server.negotiated() as client, vu.memory_file(1 << 21) as ram, eventfds(2) as fds:
        client.get_info()
        client.reset()
        for index in range(9):
            client.region_info(index)
        for index in range(5):
            client.irq_info(index)
        client.dma_map(0, 1 << 20, ram)
        client.dma_map(0x100000, 1 << 20, ram, offset=1 << 20)
        client.dma_map(0xFFFC0000, 0x40000)
        client.set_irqs(FD_TRIGGER, vu.ERR, 0, 1, fds=fds[:1])
        client.reset()
        td.enable_bus_master(client)
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1)
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=fds[1:])
        assert td.dma(client, td.DMA_COPY, src=0, dst=0x100000, length=4096) == 0
        td.trigger(client, vu.MSIX, 0)
        assert signalled(fds[1]) == 1
