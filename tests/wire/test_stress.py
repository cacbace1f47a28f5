# SPDX-License-Identifier: BSD-3-Clause
"""
Clients that come and go, and clients that are killed, by the hundred: at the end the server holds
what it held at the start. UMDEV_STRESS=1 makes it thousands.
"""

import contextlib
import os
import random
import signal
import time

import testdev as td
import vfiouser as vu
from server import Counts
from vfiouser import PAGE

STRESS = os.environ.get("UMDEV_STRESS") == "1"
ROUNDS = 10000 if STRESS else 300
KILLS = 1000 if STRESS else 30
FD_TRIGGER = vu.DATA_EVENTFD | vu.ACTION_TRIGGER


def one_life(client, rng, memory, events):
    """Something of everything, without cleaning up."""
    td.enable_bus_master(client)
    for n in range(rng.randrange(8)):
        client.dma_map(n * 2 * PAGE, PAGE, memory)
    if rng.random() < 0.5:
        client.dma_unmap(0, 0, vu.UNMAP_ALL)
    index = rng.choice([vu.MSIX, vu.MSI])
    client.set_irqs(FD_TRIGGER, index, 0, len(events), fds=events)
    td.trigger(client, index, 0)
    client.read(vu.BAR2, rng.randrange(1000), rng.randrange(5000))
    client.post_write(vu.BAR0, 0, rng.randbytes(rng.randrange(5000)))
    client.region_info(vu.BAR0)
    td.dma(client, td.DMA_TO_BAR0, src=0, length=64)


def test_clients_come_and_go(server):
    rng = random.Random(1)
    with vu.memory_file() as memory, vu.eventfds(4) as events:
        for n in range(ROUNDS):
            with server.negotiated() as client:
                if n % 10 == 0:
                    one_life(client, rng, memory, events)
    server.check()


def traffic(path, seed):
    """A client process: lives until it is killed."""
    rng = random.Random(seed)
    with vu.memory_file(4 * PAGE) as memory, vu.eventfds(4) as events:
        while True:
            with vu.Client(path) as client, contextlib.suppress(vu.Disconnected, vu.VfioError):
                client.negotiate()
                for _ in range(rng.randrange(1, 20)):
                    one_life(client, rng, memory, events)
                    client.dma_unmap(0, 0, vu.UNMAP_ALL)
                    for index in (vu.MSI, vu.MSIX):
                        with contextlib.suppress(vu.VfioError):
                            client.set_irqs(vu.DATA_NONE | vu.ACTION_TRIGGER, index, 0, 0)


def start_traffic(path, seed):
    pid = os.fork()
    if pid:
        return pid
    try:
        traffic(path, seed)
    finally:
        os._exit(1)


def test_killed_clients(server):
    """SIGKILL in mid-traffic, at a random moment of it."""
    rng = random.Random(2)
    for n in range(KILLS):
        # Two at a time, so that the device is also fought for.
        pids = [start_traffic(server.path, 2 * n), start_traffic(server.path, 2 * n + 1)]
        time.sleep(rng.uniform(0.005, 0.05))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            _, status = os.waitpid(pid, 0)
            assert os.WIFSIGNALED(status), "a client process ended by itself"
        assert server.alive()
    server.check()
    with server.negotiated() as client:
        client.check_in_step()


def test_counts_do_not_creep(server):
    """The same work twice: the second time needs nothing that the first has not left."""
    rng = random.Random(3)
    mappings = []
    with vu.memory_file() as memory, vu.eventfds(4) as events:
        for _ in range(2):
            for _ in range(ROUNDS // 5):
                with server.negotiated() as client:
                    one_life(client, rng, memory, events)
            server.check()
            mappings.append(Counts(server.pid).maps)
    assert mappings[1] <= mappings[0] + 8
