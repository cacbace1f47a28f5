/* SPDX-License-Identifier: BSD-3-Clause */
#include "tinyvm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PCI_COMMAND 4

static int complain(const struct vm *vm, const char *what, int error)
{
    fprintf(stderr, "tinyvm: %s: %s: %s\n", vm->options.socket, what, strerrordesc_np(-error));
    return error;
}

static void server_lost(void *opaque, int cause)
{
    vm_fail(opaque, "the server is gone: %s", strerrordesc_np(-cause));
}

bool device_lost(const struct vm *vm)
{
    struct umdev_client_fault_stats stats = {.struct_size = sizeof(stats)};

    (void)umdev_client_get_fault_stats(vm->device.client, &stats);
    return stats.lost || !umdev_client_alive(vm->device.client);
}

/* ------------------------------------------------------------------ what the device is */

static int get_region(const struct vm *vm, int index, struct umdev_region_info *region)
{
    int ret = umdev_client_get_region(vm->device.client, (unsigned)index, region);
    char what[32];

    snprintf(what, sizeof(what), "region %d", index);
    if (!ret && region->size == 0)
        ret = -ENODEV;
    return ret ? complain(vm, what, ret) : 0;
}

/* The aperture that was not named: the first region that faults, if any. */
static int find_aperture(const struct vm *vm, uint32_t nregions)
{
    struct umdev_region_info region;

    for (unsigned i = 0; i < nregions; i++)
        if (umdev_client_get_region(vm->device.client, i, &region) == 0 && region.size > 0 &&
            region.flags & UMDEV_REGION_FAULT_MAPPED)
            return (int)i;
    return -1;
}

static int map_aperture(struct vm *vm)
{
    struct device *device = &vm->device;
    struct umdev_region_info region;
    int ret = get_region(vm, device->aperture, &region);

    if (ret)
        return ret;
    if (region.size > GUEST_APERTURE_MAX || region.size % 4096)
        return complain(vm, "the aperture's size", -EINVAL);
    device->aperture_size = region.size;
    if (!(region.flags & (UMDEV_REGION_FAULT_MAPPED | UMDEV_REGION_MMAP)))
        return 0;
    device->mapped =
        umdev_client_map_region(device->client, (unsigned)device->aperture, 0, region.size);
    return device->mapped ? 0 : complain(vm, "can't map the aperture", -errno);
}

static int find_registers(struct vm *vm)
{
    struct device *device = &vm->device;
    struct umdev_region_info region;
    int ret = get_region(vm, device->registers, &region);

    if (ret)
        return ret;
    if (region.size > GUEST_REGISTERS_MAX)
        return complain(vm, "the registers' size", -EINVAL);
    device->registers_size = region.size;
    /* Doorbells are an offer: without them each write is a message. */
    if (umdev_client_get_io_fds(device->client, (unsigned)device->registers, &device->doorbells,
                                &device->ndoorbells))
        device->ndoorbells = 0;
    return 0;
}

static int find_interrupt(struct vm *vm)
{
    struct umdev_irq_info irq;
    int ret = umdev_client_get_irq(vm->device.client, UMDEV_IRQ_MSIX, &irq);

    vm->device.interrupt = -1;
    if (ret || irq.count <= (unsigned)vm->options.interrupt)
        return 0;
    ret = umdev_client_irq_eventfd(vm->device.client, UMDEV_IRQ_MSIX,
                                   (unsigned)vm->options.interrupt);
    if (ret < 0)
        return complain(vm, "the interrupt", ret);
    vm->device.interrupt = ret;
    return 0;
}

/*
 * With a tracker devices learn of writes to the guest's memory from the kernel: the guest's own as
 * well, since its pages are this process's. Of the two kinds the device chooses; writers wait only
 * for one that wants it so, or here if the user does.
 */
static int make_tracker(struct vm *vm)
{
    unsigned flags = vm->options.track == UMDEV_TRACK_HELP_SYNC ? UMDEV_TRACKER_NOTIFY : 0;
    int ret = 0;

    if (vm->options.track != UMDEV_TRACK_HELP_NONE)
        ret = umdev_tracker_new(flags, &vm->device.tracker);
    return ret ? complain(vm, "no tracker", ret) : 0;
}

int device_open(struct vm *vm)
{
    struct umdev_connect_options options = {
        .struct_size = sizeof(options),
        .no_fault = vm->options.no_fault,
        .lost = server_lost,
        .lost_opaque = vm,
    };
    struct device *device = &vm->device;
    struct umdev_device_info info;
    int ret = make_tracker(vm);

    if (ret)
        return ret;
    options.tracker = device->tracker;
    ret = umdev_connect(vm->options.socket, &options, &device->client);
    if (ret)
        return complain(vm, "can't connect", ret);
    ret = umdev_client_get_info(device->client, &info);
    if (ret)
        return complain(vm, "what it is", ret);
    device->registers = vm->options.registers;
    device->aperture =
        vm->options.aperture < 0 ? find_aperture(vm, info.num_regions) : vm->options.aperture;
    ret = find_registers(vm);
    if (!ret && device->aperture >= 0)
        ret = map_aperture(vm);
    return ret ? ret : find_interrupt(vm);
}

void device_close(struct vm *vm)
{
    umdev_client_close(vm->device.client);
    vm->device.client = NULL;
    umdev_tracker_free(vm->device.tracker);
    vm->device.tracker = NULL;
}

/* What firmware and the guest's driver do: memory accesses on, bus master on. */
int device_share_memory(struct vm *vm)
{
    const uint16_t command = 0x0006;
    struct umdev_client *client = vm->device.client;
    int ret = umdev_client_dma_map_at(client, vm->memory_fd, 0, umdev_iova(0), GUEST_RAM_SIZE,
                                      UMDEV_RW, vm->memory);

    if (!ret)
        ret =
            umdev_client_write(client, UMDEV_REGION_CONFIG, PCI_COMMAND, &command, sizeof(command));
    return ret ? complain(vm, "can't share memory", ret) : 0;
}

/* ------------------------------------------------------------------ trapped accesses */

/* A doorbell that KVM, which is not there, can't hear. */
static bool ring(const struct vm *vm, int region, uint64_t offset, uint64_t value, unsigned len)
{
    const struct device *device = &vm->device;

    for (size_t i = 0; region == device->registers && i < device->ndoorbells; i++) {
        const struct umdev_io_fd *bell = &device->doorbells[i];

        if (bell->type == UMDEV_IO_FD_EVENTFD && bell->offset == offset &&
            (bell->size == len || bell->size == 0) &&
            (!(bell->flags & UMDEV_IO_FD_DATAMATCH) || bell->datamatch == value)) {
            const uint64_t one = 1;

            return write(bell->fd, &one, sizeof(one)) == sizeof(one);
        }
    }
    return false;
}

int device_access(struct vm *vm, int region, uint64_t offset, void *data, unsigned len, bool write)
{
    uint64_t value = 0;

    if (!write)
        return umdev_client_read(vm->device.client, (unsigned)region, offset, data, len);
    memcpy(&value, data, len < sizeof(value) ? len : sizeof(value));
    if (vm->options.no_kvm && ring(vm, region, offset, value, len))
        return 0;
    return umdev_client_write(vm->device.client, (unsigned)region, offset, data, len);
}
