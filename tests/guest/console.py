# SPDX-License-Identifier: BSD-3-Clause
"""A guest's serial console, and the shell that init runs on it."""

import re
import select
import time


class ConsoleError(Exception):
    """The guest did not say what was waited for."""


class CommandFailed(ConsoleError):
    """A command in the guest had another exit code than 0."""


class Console:
    """One end of a stream socket whose other end is the guest's first serial port."""

    def __init__(self, socket):
        self.socket = socket
        self.pending = ""  # read, and not yet waited for
        self.history = ""  # all that was read
        self.closed = False

    def _receive(self, deadline):
        """Read something. False at the deadline or the end."""
        ready, _, _ = select.select([self.socket], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            return False
        text = data.decode(errors="replace").replace("\r", "")
        self.pending += text
        self.history += text
        return True

    def wait_for(self, pattern, timeout):
        """Read until the pattern (a regular expression, lines by themselves) has come. Its match, and the
        text in front of it."""
        deadline = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.pending, re.M)
            if match:
                before = self.pending[: match.start()]
                self.pending = self.pending[match.end() :]
                return match, before
            if not self._receive(deadline):
                reason = "the console was closed" if self.closed else f"not within {timeout} s"
                raise ConsoleError(f"no {pattern!r} ({reason}); last lines:\n{self.tail()}")

    def drain(self):
        """Read what is there, without waiting."""
        while not self.closed and self._receive(0):
            pass

    def tail(self, lines=25):
        return "\n".join(self.history.splitlines()[-lines:])

    def send(self, line):
        assert "\n" not in line and len(line) < 4000, "a line of a terminal"
        self.socket.sendall(line.encode() + b"\n")

    def run(self, command, timeout):
        """Run a shell command, one line. (exit code, output)."""
        self.drain()
        self.pending = ""
        self.send(command)
        match, output = self.wait_for(r"^@end (\d+)\n", timeout)
        return int(match[1]), output.strip("\n")
