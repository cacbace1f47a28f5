/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest's memory slot over a fault-mapped region: the guest's touches are like our own. */
#include "fault_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define RAM_SIZE   0x10000
#define SLOT_START 0x40000 /* of the region's pages, where real mode reaches them */
#define SLOT_PAGES 16
#define CODE       0x1000
#define PORT       0x10

struct vm {
    int kvm, fd, vcpu;
    uint8_t *ram;
    struct kvm_run *run;
    size_t run_size;
};

static struct vm vm;

static void add_slot(unsigned slot, uint64_t address, void *memory, size_t size)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .guest_phys_addr = address,
        .memory_size = size,
        .userspace_addr = (uintptr_t)memory,
    };

    assert_int_equal(ioctl(vm.fd, KVM_SET_USER_MEMORY_REGION, &region), 0);
}

/* A guest with 64 KiB and a processor in real mode; or the test is skipped. */
static void vm_open(uint8_t *view)
{
    vm.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm.kvm < 0) {
        print_message("no /dev/kvm here: %s\n", strerror(errno));
        close_all();
        skip();
    }
    vm.fd = ioctl(vm.kvm, KVM_CREATE_VM, 0);
    assert_true(vm.fd >= 0);
    vm.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(vm.ram, MAP_FAILED);
    add_slot(0, 0, vm.ram, RAM_SIZE);
    add_slot(1, SLOT_START, view, SLOT_PAGES * FAULT_PAGE);
    vm.vcpu = ioctl(vm.fd, KVM_CREATE_VCPU, 0);
    assert_true(vm.vcpu >= 0);
    vm.run_size = (size_t)ioctl(vm.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    vm.run = mmap(NULL, vm.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm.vcpu, 0);
    assert_ptr_not_equal(vm.run, MAP_FAILED);
}

static void vm_close(void)
{
    munmap(vm.run, vm.run_size);
    munmap(vm.ram, RAM_SIZE);
    close(vm.vcpu);
    close(vm.fd);
    close(vm.kvm);
}

/* Where KVM emulates an instruction it takes what it can't read for a device's: be done with it. */
static int finish_mmio(void)
{
    vm.run->immediate_exit = 1;
    assert_int_equal(ioctl(vm.vcpu, KVM_RUN, 0), -1);
    assert_int_equal(errno, EINTR);
    vm.run->immediate_exit = 0;
    return EFAULT;
}

/* Run `code` with the data segment at a page of the slot, until it writes ax to the port. 0 or the
 * errno of KVM_RUN. */
static int vm_run(const uint8_t *code, size_t size, uint64_t page, uint16_t *ax)
{
    struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rsp = 0x8000, .rax = *ax};
    struct kvm_sregs sregs;

    memcpy(vm.ram + CODE, code, size);
    assert_int_equal(ioctl(vm.vcpu, KVM_GET_SREGS, &sregs), 0);
    sregs.cs.base = sregs.cs.selector = 0;
    sregs.ds.base = SLOT_START + page * FAULT_PAGE;
    sregs.ds.selector = (uint16_t)(sregs.ds.base >> 4);
    assert_int_equal(ioctl(vm.vcpu, KVM_SET_SREGS, &sregs), 0);
    assert_int_equal(ioctl(vm.vcpu, KVM_SET_REGS, &regs), 0);
    if (ioctl(vm.vcpu, KVM_RUN, 0))
        return errno;
    if (vm.run->exit_reason == KVM_EXIT_MMIO)
        return finish_mmio();
    assert_int_equal(vm.run->exit_reason, KVM_EXIT_IO);
    assert_int_equal(vm.run->io.port, PORT);
    memcpy(ax, (uint8_t *)vm.run + vm.run->io.data_offset, sizeof(*ax));
    return 0;
}

/* The low 16 bits of a page's number and of its object. */
static int guest_read(uint64_t page, uint16_t *number, uint16_t *object)
{
    static const uint8_t at_0[] = {0xa1, 0, 0, 0xe7, PORT}, at_4[] = {0xa1, 4, 0, 0xe7, PORT};
    int ret = vm_run(at_0, sizeof(at_0), page, number);

    return ret ? ret : vm_run(at_4, sizeof(at_4), page, object);
}

static int guest_write(uint64_t page, uint16_t value)
{
    static const uint8_t at_8[] = {0xa3, 8, 0, 0xe7, PORT};

    return vm_run(at_8, sizeof(at_8), page, &value);
}

static void assert_guest_reads(uint64_t page, uint16_t object, uint16_t number)
{
    uint16_t got_number = 0, got_object = 0;

    assert_int_equal(guest_read(page, &got_number, &got_object), 0);
    assert_int_equal(got_object, object);
    assert_int_equal(got_number, number);
}

static void test_guest_touches(void **state)
{
    (void)state;
    open_with(NULL, PAGES);
    vm_open(map_pages(8, SLOT_PAGES));
    for (uint16_t i = 0; i < SLOT_PAGES; i++)
        assert_guest_reads(i, 0, 8 + i);
    assert_int_equal(fake.nfaults, SLOT_PAGES);
    assert_int_equal(guest_write(3, 77), 0);
    assert_int_equal(*(uint16_t *)(fake.memory[0] + 11 * FAULT_PAGE + 8), 77);
    vm_close();
    close_all();
}

static void test_guest_loses_pages(void **state)
{
    (void)state;
    open_with(NULL, PAGES);
    vm_open(map_pages(0, SLOT_PAGES));
    for (unsigned round = 0; round < 200; round++) {
        uint16_t object = round % FAULT_OBJECTS;

        for (uint64_t i = 0; i < SLOT_PAGES; i++)
            fault_fake_set(
                &fake, i,
                (struct fault_entry){object, SLOT_PAGES - i, i % 2 ? UMDEV_RW : UMDEV_READ, 0});
        assert_true(fault_fake_invalidate(&fake, 0, SLOT_PAGES - 1));
        for (uint16_t i = 0; i < SLOT_PAGES; i++)
            assert_guest_reads(i, object, SLOT_PAGES - i);
        assert_int_equal(guest_write(1, (uint16_t)round), 0);
        assert_int_equal(*(uint16_t *)(fake.memory[object] + (SLOT_PAGES - 1) * FAULT_PAGE + 8),
                         round);
    }
    vm_close();
    close_all();
}

static volatile sig_atomic_t signalled;

static void on_vcpu_sigbus(int signal)
{
    (void)signal;
    signalled = 1;
}

/* KVM_RUN fails, ends with MMIO or the thread gets SIGBUS; when the page is there it runs on. */
static void test_guest_is_refused(void **state)
{
    uint16_t number = 0, object = 0;
    int ret;

    (void)state;
    open_with(NULL, PAGES);
    vm_open(map_pages(0, SLOT_PAGES));
    signal(SIGBUS, on_vcpu_sigbus);
    fault_fake_set(&fake, 2, (struct fault_entry){.error = EPERM});
    ret = guest_read(2, &number, &object);
    print_message("KVM_RUN: %s%s\n", ret ? strerror(ret) : "0", signalled ? ", SIGBUS" : "");
    assert_true(ret == EFAULT || ret == EHWPOISON || (ret == EINTR && signalled));
    assert_guest_reads(1, 0, 1);
    fault_fake_set(&fake, 2, (struct fault_entry){3, 9, UMDEV_RW, 0});
    assert_true(fault_fake_invalidate(&fake, 2, 2));
    assert_guest_reads(2, 3, 9);
    vm_close();
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guest_touches),
        cmocka_unit_test(test_guest_loses_pages),
        cmocka_unit_test(test_guest_is_refused),
    };

    if (!fault_fake_possible())
        return FAULT_SKIPPED;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
