# SPDX-License-Identifier: BSD-3-Clause
"""A client of the control socket that knows only docs/control.md, and sends what it is told to."""

import array
import json
import os
import socket

from vfiouser import TIMEOUT


class Control:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(path)
        self.pending = b""
        self.fds = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """The next line; fds that come are appended to self.fds. None at the end."""
        while b"\n" not in self.pending:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
            except (ConnectionResetError, BrokenPipeError):
                return None
            for level, kind, body in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds = array.array("i")
                    fds.frombytes(body)
                    self.fds.extend(fds)
            if not data:
                return None
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def ask(self, command, device=None):
        return self.request({"command": command} if device is None else {"command": command, "device": device})

    def request(self, members):
        self.send(json.dumps(members).encode() + b"\n")
        return self.answer()

    def error(self, data):
        """Send, and expect an error: (errno's name, message)."""
        self.send(data)
        answer = self.answer()
        assert list(answer) == ["error"] and sorted(answer["error"]) == ["errno", "message"], answer
        return answer["error"]["errno"], answer["error"]["message"]
