# SPDX-License-Identifier: BSD-3-Clause
"""
A vfio-user client that knows the protocol from its specification alone.

Every message is built byte by byte here, nothing is taken from umdev's headers, so that a mistake
there cannot hide in the tests. The functions that build bodies take their fields in the order of
the wire and check nothing: tests send nonsense with them.
"""

import array
import contextlib
import errno
import fcntl
import json
import os
import select
import socket
import struct
import termios
import time

# Commands
VERSION = 1
DMA_MAP = 2
DMA_UNMAP = 3
DEVICE_GET_INFO = 4
DEVICE_GET_REGION_INFO = 5
DEVICE_GET_REGION_IO_FDS = 6
DEVICE_GET_IRQ_INFO = 7
DEVICE_SET_IRQS = 8
REGION_READ = 9
REGION_WRITE = 10
DMA_READ = 11
DMA_WRITE = 12
DEVICE_RESET = 13
REGION_WRITE_MULTI = 15
DEVICE_FEATURE = 16
MIG_DATA_READ = 17
MIG_DATA_WRITE = 18

# Header flags
COMMAND = 0x0
REPLY = 0x1
TYPE_MASK = 0xF
NO_REPLY = 0x10
ERROR = 0x20

# DMA_MAP and DMA_UNMAP flags
READABLE = 1
WRITEABLE = 2
UNMAP_GET_DIRTY_BITMAP = 1
UNMAP_ALL = 2

# Device, region and interrupt information
DEVICE_FLAG_RESET = 1
DEVICE_FLAG_PCI = 2
REGION_FLAG_READ = 1
REGION_FLAG_WRITE = 2
REGION_FLAG_MMAP = 4
REGION_FLAG_CAPS = 8
CAP_SPARSE_MMAP = 1
CAP_TYPE = 2
CAP_MSIX_MAPPABLE = 3
BAR0, BAR1, BAR2, BAR3, BAR4, BAR5, ROM, CONFIG, VGA = range(9)
INTX, MSI, MSIX, ERR, REQ = range(5)
IRQ_EVENTFD = 1
IRQ_MASKABLE = 2
IRQ_AUTOMASKED = 4
IRQ_NORESIZE = 8

# SET_IRQS flags
DATA_NONE = 1
DATA_BOOL = 2
DATA_EVENTFD = 4
ACTION_MASK = 8
ACTION_UNMASK = 16
ACTION_TRIGGER = 32

# GET_REGION_IO_FDS: types, flags
IOEVENTFD = 0
IOEVENTFD_DATAMATCH = 1
IOEVENTFD_PIO = 2

# DEVICE_FEATURE flags and indices
FEATURE_GET = 1 << 16
FEATURE_SET = 1 << 17
FEATURE_PROBE = 1 << 18
FEATURE_MIGRATION = 1
FEATURE_MIG_DEVICE_STATE = 2
FEATURE_DMA_LOGGING_START = 6
FEATURE_DMA_LOGGING_STOP = 7
FEATURE_DMA_LOGGING_REPORT = 8

PAGE = 4096
HEADER_SIZE = 16
MAX_DATA = 1 << 20  # the specification's default for max_data_xfer_size

# What stock QEMU 11 says first, to the byte: 214 of them with the header.
QEMU_CAPABILITIES = (
    '{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, '
    '"max_data_xfer_size": 1048576, '
    '"migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "write_multiple": true}}'
)

# Long enough for a loaded machine and a server under a sanitizer; reached only by a failing test.
TIMEOUT = 30


# ------------------------------------------------------------------ messages


def header(msg_id, command, size, flags=COMMAND, error=0):
    return struct.pack("=HHIII", msg_id, command, size, flags, error)


def message(command, body=b"", msg_id=1, flags=COMMAND):
    return header(msg_id, command, HEADER_SIZE + len(body), flags) + body


def version_body(major=0, minor=0, text=QEMU_CAPABILITIES):
    """text None: no version data at all."""
    data = b"" if text is None else text.encode() + b"\0"
    return struct.pack("=HH", major, minor) + data


def dma_map_body(address, size, flags=READABLE | WRITEABLE, offset=0, argsz=32):
    return struct.pack("=IIQQQ", argsz, flags, offset, address, size)


def dma_unmap_body(address, size, flags=0, argsz=24):
    return struct.pack("=IIQQ", argsz, flags, address, size)


def info_body(argsz=16):
    return struct.pack("=IIII", argsz, 0, 0, 0)


def region_info_body(index, argsz=32):
    return struct.pack("=IIIIQQ", argsz, 0, index, 0, 0, 0)


def irq_info_body(index, argsz=16):
    return struct.pack("=IIII", argsz, 0, index, 0)


def io_fds_body(index, argsz=4096, flags=0, count=0):
    return struct.pack("=IIII", argsz, flags, index, count)


def set_irqs_body(flags, index, start, count, data=b"", argsz=None):
    argsz = 20 + len(data) if argsz is None else argsz
    return struct.pack("=IIIII", argsz, flags, index, start, count) + data


def region_body(region, offset, count, data=b""):
    return struct.pack("=QII", offset, region, count) + data


def feature_body(flags, data=b"", argsz=None):
    return struct.pack("=II", 8 + len(data) if argsz is None else argsz, flags) + data


def log_start_data(ranges=(), page_size=PAGE, count=None, reserved=0):
    """ranges: (iova, length)."""
    data = struct.pack("=QII", page_size, len(ranges) if count is None else count, reserved)
    return data + b"".join(struct.pack("=QQ", *r) for r in ranges)


def bitmap_size(length, page_size=PAGE):
    """Bytes of 64-bit words with a bit for each page, begun ones included."""
    return (-(-length // page_size) + 63) // 64 * 8


def bitmap_bits(bitmap):
    """The numbers of the bits that are set."""
    value = int.from_bytes(bitmap, "little")
    return [n for n in range(len(bitmap) * 8) if value >> n & 1]


def write_multi_body(writes, count=None):
    """writes: (region, offset, up to 8 bytes)."""
    body = struct.pack("=Q", len(writes) if count is None else count)
    for region, offset, data in writes:
        body += struct.pack("=QII", offset, region, len(data)) + data.ljust(8, b"\0")
    return body


# ------------------------------------------------------------------ replies


class VfioError(Exception):
    """An error reply. Compare .errno."""

    def __init__(self, command, number):
        super().__init__(f"command {command}: {errno.errorcode.get(number, number)}")
        self.errno = number


class Disconnected(Exception):
    """The server closed the connection."""


class Reply:
    def __init__(self, raw, body, fds):
        self.id, self.command, self.size, self.flags, self.error = struct.unpack("=HHIII", raw)
        self.body = body
        self.fds = fds

    @property
    def errno(self):
        """0, or the errno of an error reply."""
        return self.error if self.flags & ERROR else 0

    def close_fds(self):
        while self.fds:
            os.close(self.fds.pop())


class RegionInfo:
    def __init__(self, reply):
        fixed = struct.unpack("=IIIIQQ", reply.body[:32])
        self.argsz, self.flags, self.index, self.cap_offset, self.size, self.offset = fixed
        self.raw = reply.body
        self.fds = reply.fds
        self.caps = {}  # id: (version, bytes after the capability's header)
        at = self.cap_offset if self.flags & REGION_FLAG_CAPS else 0
        seen = set()
        while at:
            assert 32 <= at <= len(self.raw) - 8 and at not in seen, "broken capability chain"
            seen.add(at)
            cap_id, version, following = struct.unpack_from("=HHI", self.raw, at)
            self.caps[cap_id] = (version, self.raw[at + 8 : following or len(self.raw)])
            at = following

    def sparse_areas(self):
        version, data = self.caps[CAP_SPARSE_MMAP]
        count, reserved = struct.unpack_from("=II", data)
        assert version == 1 and reserved == 0 and len(data) == 8 + 16 * count
        return [struct.unpack_from("=QQ", data, 8 + 16 * i) for i in range(count)]


# ------------------------------------------------------------------ the client


class Client:
    """
    One connection. Nothing is sent but what a test asks for; negotiate() says VERSION.
    Closing it closes every fd it received and still holds.
    """

    def __init__(self, path, timeout=TIMEOUT):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A blocking connect() waits for room in the queue; one with a Python timeout would fail.
        limit = struct.pack("=qq", timeout, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self.sock.connect(path)
        self.sock.settimeout(timeout)
        self.next_id = 1
        self.received_fds = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()
        for fd in self.received_fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.received_fds = []

    # ---- bytes

    def send(self, data, fds=()):
        """All of `data`, the fds with its first byte. A gone server raises Disconnected."""
        control = []
        if fds:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        view = memoryview(data)
        try:
            while view:
                sent = self.sock.sendmsg([view], control)
                view = view[sent:]
                control = []
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Disconnected from e

    def send_pieces(self, pieces, fds=(), fds_with=0):
        """Each piece is taken by the server before the next is sent; the fds go with one."""
        for i, piece in enumerate(pieces):
            self.send(piece, fds if i == fds_with else ())
            self.wait_taken()

    def wait_taken(self, limit=0.5):
        """Until the server has received everything; a server that peeks or is gone: `limit`."""
        deadline = time.monotonic() + limit
        unread = array.array("i", [1])
        while time.monotonic() < deadline:
            fcntl.ioctl(self.sock, termios.TIOCOUTQ, unread)
            if unread[0] == 0:
                return
            time.sleep(0.0002)

    def recv_exact(self, size, fds):
        """`size` bytes; fds that come along are appended to `fds`."""
        data = bytearray()
        while len(data) < size:
            try:
                piece, control, flags, _ = self.sock.recvmsg(
                    size - len(data), socket.CMSG_SPACE(64 * 4), socket.MSG_CMSG_CLOEXEC
                )
            except ConnectionResetError as e:
                raise Disconnected from e
            assert not flags & socket.MSG_CTRUNC
            for level, kind, payload in control:
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                got = array.array("i")
                got.frombytes(payload)
                fds.extend(got)
                self.received_fds.extend(got)
            if not piece:
                raise Disconnected
            data += piece
        return bytes(data)

    def recv(self):
        """The next message, which must be a well-formed reply."""
        fds = []
        raw = self.recv_exact(HEADER_SIZE, fds)
        size = struct.unpack_from("=I", raw, 4)[0]
        assert HEADER_SIZE <= size <= HEADER_SIZE + MAX_DATA + 4096, f"reply of {size} bytes"
        reply = Reply(raw, self.recv_exact(size - HEADER_SIZE, fds), fds)
        assert reply.flags in (REPLY, REPLY | ERROR), f"reply flags {reply.flags:#x}"
        if reply.flags & ERROR:
            assert reply.body == b"" and not reply.fds, "an error reply is its header alone"
            assert reply.error, "an error reply says which"
        else:
            assert reply.error == 0
        return reply

    def expect_closed(self):
        """The server closes the connection, having sent nothing more."""
        try:
            data = self.sock.recv(HEADER_SIZE)
        except ConnectionResetError:
            data = b""
        assert data == b"", f"expected the end of the connection, got {data!r}"

    def expect_silence(self):
        """Nothing has come. A request that is answered must have been waited for before."""
        assert not select.select([self.sock], [], [], 0)[0]

    # ---- requests

    def new_id(self):
        msg_id = self.next_id
        self.next_id = (self.next_id + 1) & 0xFFFF
        return msg_id

    def request(self, command, body=b"", fds=(), flags=COMMAND):
        """Send one message; returns its id."""
        msg_id = self.new_id()
        self.send(message(command, body, msg_id, flags), fds)
        return msg_id

    def expect_reply(self, msg_id, command):
        """The reply to that request, which may be an error."""
        reply = self.recv()
        assert (reply.id, reply.command) == (msg_id, command)
        return reply

    def try_call(self, command, body=b"", fds=()):
        """The reply, which may be an error."""
        return self.expect_reply(self.request(command, body, fds), command)

    def call(self, command, body=b"", fds=()):
        """The reply; an error reply raises VfioError."""
        reply = self.try_call(command, body, fds)
        if reply.errno:
            raise VfioError(command, reply.errno)
        return reply

    def fails(self, number, command, body=b"", fds=()):
        """The request is answered with this error, and the connection goes on in step."""
        reply = self.try_call(command, body, fds)
        assert reply.errno == number, (
            f"expected {errno.errorcode[number]}, got "
            f"{errno.errorcode.get(reply.errno, reply.errno) if reply.errno else 'success'}"
        )
        self.check_in_step()

    def check_in_step(self):
        """The next request gets its own, right answer."""
        info = struct.unpack("=IIII", self.call(DEVICE_GET_INFO, info_body()).body)
        assert info[0] == 16 and info[2] >= 8 and info[3] >= 3

    def negotiate(self, major=0, minor=0, text=QEMU_CAPABILITIES):
        """VERSION; returns (major, minor, capabilities)."""
        reply = self.call(VERSION, version_body(major, minor, text))
        numbers = struct.unpack_from("=HH", reply.body)
        data = reply.body[4:]
        if not data:
            return (*numbers, {})
        assert data[-1:] == b"\0" and b"\0" not in data[:-1], "one NUL, at the end"
        return (*numbers, json.loads(data[:-1].decode()).get("capabilities", {}))

    def dma_map(self, address, size, fd=None, flags=READABLE | WRITEABLE, offset=0):
        fds = () if fd is None else (fd,)
        assert self.call(DMA_MAP, dma_map_body(address, size, flags, offset), fds).body == b""

    def dma_unmap(self, address, size, flags=0):
        """Returns the bytes unmapped."""
        reply = self.call(DMA_UNMAP, dma_unmap_body(address, size, flags))
        argsz, got_flags, got_address, unmapped = struct.unpack("=IIQQ", reply.body)
        assert (argsz, got_flags, got_address) == (24, flags, address)
        return unmapped

    def get_info(self):
        """(flags, num_regions, num_irqs)"""
        info = struct.unpack("=IIII", self.call(DEVICE_GET_INFO, info_body()).body)
        assert info[0] == 16
        return info[1:]

    def region_info(self, index, argsz=4096):
        return RegionInfo(self.call(DEVICE_GET_REGION_INFO, region_info_body(index, argsz)))

    def irq_info(self, index):
        """(flags, count)"""
        reply = self.call(DEVICE_GET_IRQ_INFO, irq_info_body(index))
        argsz, flags, got_index, count = struct.unpack("=IIII", reply.body)
        assert (argsz, got_index) == (16, index)
        return flags, count

    def set_irqs(self, flags, index, start, count, data=b"", fds=()):
        body = set_irqs_body(flags, index, start, count, data)
        assert self.call(DEVICE_SET_IRQS, body, fds).body == b""

    def read(self, region, offset, count):
        reply = self.call(REGION_READ, region_body(region, offset, count))
        assert reply.body[:16] == region_body(region, offset, count)
        assert len(reply.body) == 16 + count and not reply.fds
        return reply.body[16:]

    def write(self, region, offset, data):
        reply = self.call(REGION_WRITE, region_body(region, offset, len(data), data))
        assert reply.body == region_body(region, offset, len(data))

    def post_write(self, region, offset, data):
        self.request(REGION_WRITE, region_body(region, offset, len(data), data), flags=NO_REPLY)

    def read32(self, region, offset):
        return struct.unpack("=I", self.read(region, offset, 4))[0]

    def write32(self, region, offset, value):
        self.write(region, offset, struct.pack("=I", value))

    def read64(self, region, offset):
        return struct.unpack("=Q", self.read(region, offset, 8))[0]

    def write64(self, region, offset, value):
        self.write(region, offset, struct.pack("=Q", value))

    def log_start(self, ranges=(), page_size=PAGE):
        """Returns the page size that the device chose."""
        flags = FEATURE_SET | FEATURE_DMA_LOGGING_START
        body = feature_body(flags, log_start_data(ranges, page_size))
        reply = self.call(DEVICE_FEATURE, body)
        assert reply.body[:8] == body[:8] and reply.body[16:] == body[16:] and not reply.fds
        return struct.unpack_from("=Q", reply.body, 8)[0]

    def log_stop(self):
        body = feature_body(FEATURE_SET | FEATURE_DMA_LOGGING_STOP)
        assert self.call(DEVICE_FEATURE, body).body == body

    def log_report(self, iova, length, page_size=PAGE):
        """The pages written since the last report, counted from iova on."""
        data = struct.pack("=QQQ", iova, length, page_size)
        flags = FEATURE_GET | FEATURE_DMA_LOGGING_REPORT
        size = 32 + bitmap_size(length, page_size)
        reply = self.call(DEVICE_FEATURE, feature_body(flags, data, size))
        assert reply.body[:32] == feature_body(flags, data, size)
        assert len(reply.body) == size and not reply.fds
        return bitmap_bits(reply.body[32:])

    def reset(self):
        assert self.call(DEVICE_RESET).body == b""


# ------------------------------------------------------------------ fds to give away


@contextlib.contextmanager
def memory_file(size=PAGE, content=b"", name="wire-test"):
    """A memfd of `size` bytes that begins with `content`."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, size)
        os.pwrite(fd, content, 0)
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def eventfds(count):
    """Non-blocking, so that a test can ask whether one was signalled."""
    fds = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(count)]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def signalled(fd):
    """How often an eventfd was signalled since it was last asked. The reply to the request that
    made the device signal must have been waited for."""
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def wait_signalled(fd):
    """As signalled(), for what happens in its own time."""
    assert select.select([fd], [], [], TIMEOUT)[0], "never signalled"
    return os.eventfd_read(fd)
