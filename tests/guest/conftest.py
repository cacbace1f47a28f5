# SPDX-License-Identifier: BSD-3-Clause
"""
Fixtures. Each test starts the devices and machines it needs by itself; when it fails, their logs are
printed; whatever happens, no process and no folder of it is left.
"""

import pytest
import umdev
from vm import Vm


def pytest_configure(config):
    if not umdev.UMDEV.exists():
        pytest.exit(f"no {umdev.UMDEV}: build it, or set UMDEV_BUILD_DIR", returncode=2)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed:
        item.test_failed = True


@pytest.fixture
def start_device(request):
    """start_device(driver, *words): an umdev.Device. Those still alive at the end must end well."""
    devices = []

    def start(*words):
        devices.append(umdev.Device(*words))
        return devices[-1]

    yield start
    failed = getattr(request.node, "test_failed", False)
    try:
        for device in devices:
            if failed:
                print(f"--- umdev's log\n{device.log()[-20000:]}")
            elif device.alive():
                device.stop()
    finally:
        for device in devices:
            device.clean()


@pytest.fixture
def start_vm(request):
    """start_vm(…): a vm.Vm of these arguments, not yet booted."""
    machines = []

    def start(*args, **options):
        machines.append(Vm(*args, **options))
        return machines[-1]

    yield start
    for machine in machines:
        machine.kill()
        if getattr(request.node, "test_failed", False):
            print(f"--- the console\n{machine.console.tail(100)}\n--- QEMU's log\n{machine.log()}")
        machine.folder.cleanup()
