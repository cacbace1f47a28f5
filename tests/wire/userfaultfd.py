# SPDX-License-Identifier: BSD-3-Clause
"""userfaultfd(2) and memory for it, by the system calls themselves."""

import ctypes
import errno
import fcntl
import os
import platform
import struct

import pytest

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

SYS_USERFAULTFD = {"x86_64": 323, "aarch64": 282}.get(platform.machine(), -1)
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_UNREGISTER = 0xC018AA3F, 0xC020AA00, 0x8010AA01
UFFDIO_WRITEPROTECT = 0xC018AA06
UFFD_API = 0xAA
MISSING, WRITE_PROTECT, MINOR = 1, 2, 4  # modes


def open_uffd(features, nonblock=True, api=True):
    """An fd. Where there is none, or one that lacks a feature, the test is skipped."""
    fd = LIBC.syscall(SYS_USERFAULTFD, os.O_CLOEXEC | (os.O_NONBLOCK if nonblock else 0))
    if fd < 0:
        pytest.skip("no userfaultfd here")
    if api:
        try:
            fcntl.ioctl(fd, UFFDIO_API, struct.pack("=QQQ", UFFD_API, features, 0))
        except OSError as e:
            os.close(fd)
            if e.errno == errno.EPERM:
                pytest.skip("events of forks are for the privileged")
            if e.errno == errno.EINVAL:
                pytest.skip("this kernel's userfaultfd lacks something")
            raise
    return fd


def register(uffd, address, size, mode):
    fcntl.ioctl(uffd, UFFDIO_REGISTER, struct.pack("=QQQQ", address, size, mode, 0))


def unregister(uffd, address, size):
    fcntl.ioctl(uffd, UFFDIO_UNREGISTER, struct.pack("=QQ", address, size))


def write_protect(uffd, address, size):
    fcntl.ioctl(uffd, UFFDIO_WRITEPROTECT, struct.pack("=QQQ", address, size, 1))
