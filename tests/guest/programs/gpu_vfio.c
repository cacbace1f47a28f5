/* SPDX-License-Identifier: BSD-3-Clause */
/* A vgpu through the guest kernel's vfio-pci and a virtual IOMMU. */
#include "gpu.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Above what any guest here has, so that no address is right by accident. */
#define IOVA UINT64_C(0x1200000000)

static int complain(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerrordesc_np(errno));
    return -1;
}

/* The device's group joined to a fresh container. */
static int open_group(const char *bdf, int container)
{
    struct vfio_group_status status = {.argsz = sizeof(status)};
    char path[256], link[256];
    ssize_t len;
    int group;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
    len = readlink(path, link, sizeof(link) - 1);
    if (len < 0)
        return complain(path);
    link[len] = '\0';
    snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
    group = open(path, O_RDWR | O_CLOEXEC);
    if (group < 0 || ioctl(group, VFIO_GROUP_GET_STATUS, &status))
        return complain(path);
    if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
        fprintf(stderr, "%s: another driver has a device of this group\n", path);
        return -1;
    }
    if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
        ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
        return complain("VFIO container");
    return group;
}

int gpu_map(struct gpu *gpu, void *memory, uint64_t iova, uint64_t size)
{
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof(map),
        .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        .vaddr = (uintptr_t)memory,
        .iova = iova,
        .size = size,
    };

    return ioctl(gpu->container, VFIO_IOMMU_MAP_DMA, &map) ? complain("VFIO_IOMMU_MAP_DMA") : 0;
}

int gpu_unmap(struct gpu *gpu, uint64_t iova, uint64_t size)
{
    struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof(unmap), .iova = iova, .size = size};

    if (ioctl(gpu->container, VFIO_IOMMU_UNMAP_DMA, &unmap) || unmap.size != size)
        return complain("VFIO_IOMMU_UNMAP_DMA");
    return 0;
}

static int alloc_memory(struct gpu *gpu)
{
    void *memory = mmap(NULL, GPU_MEMORY_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (memory == MAP_FAILED)
        return complain("memory");
    if (gpu_map(gpu, memory, IOVA, GPU_MEMORY_SIZE))
        return -1;
    gpu->memory = memory;
    gpu->iova = IOVA;
    return 0;
}

static volatile uint8_t *map_region(int device, unsigned index, uint64_t *size)
{
    struct vfio_region_info info = {.argsz = sizeof(info), .index = index};
    void *map;

    if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info)) {
        complain("VFIO_DEVICE_GET_REGION_INFO");
        return NULL;
    }
    map = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)info.offset);
    if (map == MAP_FAILED) {
        complain("region");
        return NULL;
    }
    *size = info.size;
    return map;
}

static int enable_bus_master(int device)
{
    struct vfio_region_info info = {.argsz = sizeof(info), .index = VFIO_PCI_CONFIG_REGION_INDEX};
    uint16_t command;

    if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) ||
        pread(device, &command, 2, (off_t)info.offset + 4) != 2)
        return complain("config space");
    command |= 6; /* memory, bus master */
    if (pwrite(device, &command, 2, (off_t)info.offset + 4) != 2)
        return complain("config space");
    return 0;
}

static int enable_msix(struct gpu *gpu, int device)
{
    struct vfio_irq_set *set = calloc(1, sizeof(*set) + sizeof(gpu->eventfds));
    int ret;

    if (!set)
        return complain("memory");
    for (unsigned vector = 0; vector < VGPU_MSIX_VECTORS; vector++)
        gpu->eventfds[vector] = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE | EFD_CLOEXEC);
    set->argsz = sizeof(*set) + sizeof(gpu->eventfds);
    set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    set->index = VFIO_PCI_MSIX_IRQ_INDEX;
    set->count = VGPU_MSIX_VECTORS;
    memcpy(set->data, gpu->eventfds, sizeof(gpu->eventfds));
    ret = ioctl(device, VFIO_DEVICE_SET_IRQS, set) ? complain("VFIO_DEVICE_SET_IRQS") : 0;
    free(set);
    return ret;
}

static int take_event(struct gpu *gpu, unsigned vector, int timeout_ms)
{
    struct pollfd pollfd = {.fd = gpu->eventfds[vector], .events = POLLIN};
    eventfd_t one;

    if (poll(&pollfd, 1, timeout_ms) != 1 || eventfd_read(pollfd.fd, &one))
        return -1;
    gpu->interrupts[vector]++;
    return 0;
}

int gpu_open_vfio(struct gpu *gpu, const char *bdf)
{
    int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC), group, device;
    uint64_t regs_size;

    if (container < 0)
        return complain("/dev/vfio/vfio");
    group = open_group(bdf, container);
    if (group < 0)
        return -1;
    device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
    if (device < 0)
        return complain("VFIO_GROUP_GET_DEVICE_FD");
    gpu->take = take_event;
    gpu->container = container;
    gpu->vram = map_region(device, VGPU_BAR_VRAM, &gpu->vram_size);
    gpu->regs = map_region(device, VGPU_BAR_REGS, &regs_size);
    if (!gpu->vram || !gpu->regs || enable_bus_master(device) || alloc_memory(gpu))
        return -1;
    return enable_msix(gpu, device);
}
