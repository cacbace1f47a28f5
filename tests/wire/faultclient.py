# SPDX-License-Identifier: BSD-3-Clause
"""
The fault channel's client, written from docs/protocol.md alone. It maps nothing by itself: it sends
FAULTs, keeps the fds that come with MAPs, and acknowledges INVALIDATEs.
"""

import array
import errno
import mmap
import os
import select
import socket
import struct

import vfiouser as vu
from vfiouser import PAGE, TIMEOUT

FAULT_CHANNEL = 0x8001
CAP_FAULT = 0x554D
FAULT, MAP, INVALIDATE, ACK = 1, 2, 3, 4
READ, WRITE, RW = 1, 2, 3
MAP_FD = 1
MAX_OPEN = 64
CAPABILITIES = (
    '{"capabilities":{"pgsizes":4096,"max_msg_fds":16,"max_dma_maps":65535,'
    '"max_data_xfer_size":1048576,"write_multiple":true,"umdev":{"fault":1}}}'
)

PACKET = struct.Struct("=HHIIIQQQII16s")
assert PACKET.size == 64


def packet(kind, flags=0, tag=0, region=0, error=0, b=0, c=0, d=0, obj=0, prot=0, zero=bytes(16)):
    return PACKET.pack(kind, flags, tag, region, error, b, c, d, obj, prot, zero)


def channel_body(argsz=8, flags=0):
    return struct.pack("=II", argsz, flags)


class Packet:
    """MAP or INVALIDATE as it came."""

    def __init__(self, data, fds):
        fields = PACKET.unpack(data)
        self.kind, self.flags, self.tag, self.region, self.error = fields[:5]
        self.first, self.last, self.offset, self.object, self.prot = fields[5:10]
        self.fds = fds
        assert fields[10] == bytes(16)
        if self.kind == MAP and not self.error:
            assert self.first % PAGE == 0 and self.last % PAGE == PAGE - 1
            assert self.offset % PAGE == 0 and self.prot in (READ, RW)
            assert len(fds) == (1 if self.flags & MAP_FD else 0)
        elif self.kind == MAP:
            assert (self.flags, self.offset, self.object, self.prot, fds) == (0, 0, 0, 0, [])
            assert (self.last - self.first, self.first % PAGE) == (PAGE - 1, 0)
        else:
            assert self.kind == INVALIDATE and not fds
            assert (self.flags, self.error, self.offset, self.object, self.prot) == (0, 0, 0, 0, 0)
            assert self.first % PAGE == 0 and self.last % PAGE == PAGE - 1


class Channel:
    """The client's end; `client` has negotiated."""

    def __init__(self, client):
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(TIMEOUT)
        with theirs:
            reply = client.call(FAULT_CHANNEL, channel_body(), [theirs.fileno()])
        assert reply.body == channel_body()
        self.objects = {}  # id: fd
        self.next_tag = 100

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()
        for fd in self.objects.values():
            os.close(fd)
        self.objects = {}

    def send(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self.sock.sendmsg([data], control)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise vu.Disconnected from e

    def recv(self):
        """The next packet; the fd of an object is kept."""
        try:
            data, control, flags, _ = self.sock.recvmsg(
                128, socket.CMSG_SPACE(4 * 4), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError as e:
            raise vu.Disconnected from e
        if not data:
            raise vu.Disconnected
        assert len(data) == 64 and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        fds = array.array("i")
        for level, kind, payload in control:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(payload)
        got = Packet(data, list(fds))
        if got.fds:
            assert got.object not in self.objects, "the fd comes once"
            self.objects[got.object] = got.fds[0]
        if got.kind == MAP and not got.error:
            assert got.object in self.objects, "the fd comes first"
        return got

    def silent(self):
        return not select.select([self.sock], [], [], 0)[0]

    def post(self, region, offset, access=READ):
        """A FAULT; returns its tag."""
        self.next_tag += 1
        self.send(packet(FAULT, tag=self.next_tag, region=region, b=offset, prot=access))
        return self.next_tag

    def expect_map(self, tag, region):
        got = self.recv()
        assert (got.kind, got.tag, got.region) == (MAP, tag, region)
        return got

    def fault(self, region, offset, access=READ):
        """A FAULT and its MAP, which may be a refusal."""
        got = self.expect_map(self.post(region, offset, access), region)
        assert got.first <= offset <= got.last
        assert got.error or got.prot & access == access
        return got

    def refused(self, number, region, offset, access=READ):
        got = self.fault(region, offset, access)
        assert got.error == number, f"{errno.errorcode.get(got.error, got.error)}"

    def acknowledge(self, invalidate):
        self.send(packet(ACK, tag=invalidate.tag))

    def expect_invalidate(self, region, first, last):
        """… and acknowledge it."""
        got = self.recv()
        assert (got.kind, got.region, got.first, got.last) == (INVALIDATE, region, first, last)
        self.acknowledge(got)

    def open_map(self, got):
        """The bytes of a MAP."""
        prot = mmap.PROT_READ | (mmap.PROT_WRITE if got.prot & WRITE else 0)
        return mmap.mmap(self.objects[got.object], got.last - got.first + 1, mmap.MAP_SHARED, prot,
                         offset=got.offset)

    def expect_closed(self):
        try:
            while self.sock.recv(64):
                pass
        except ConnectionResetError:
            pass
