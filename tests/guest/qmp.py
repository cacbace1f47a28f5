# SPDX-License-Identifier: BSD-3-Clause
"""QEMU's machine protocol, as far as the tests need it."""

import json


class QmpError(Exception):
    """QEMU refused a command."""


class Qmp:
    """A client over a connected socket. One command at a time; events are kept in order."""

    def __init__(self, socket, timeout):
        socket.settimeout(timeout)
        self.stream = socket.makefile("rw")
        self.events = []
        self._receive()  # the greeting
        self.execute("qmp_capabilities")

    def _receive(self):
        line = self.stream.readline()
        if not line:
            raise QmpError("QEMU closed its QMP socket")
        return json.loads(line)

    def execute(self, command, **arguments):
        """The command's result. Arguments are QMP's, with _ for -."""
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        while True:
            message = self._receive()
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise QmpError(f"{command}: {message['error']['desc']}")
            else:
                return message["return"]

    def wait_event(self, name):
        """The first event of this name that was not waited for, dropping those before it."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if event["event"] == name:
                    return event
            message = self._receive()
            if "event" in message:
                self.events.append(message)
