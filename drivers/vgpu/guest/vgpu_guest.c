/* SPDX-License-Identifier: BSD-3-Clause */
#include "vgpu_guest.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE UINT64_C(4096)

/* Config space: the command register and what a driver switches on in it. */
enum {
    CONFIG_COMMAND = 4,
    COMMAND_MEMORY = 1 << 1,
    COMMAND_MASTER = 1 << 2,
};

int vgpu_guest_read32(struct vgpu_guest *guest, uint32_t reg, uint32_t *value)
{
    return umdev_client_read32(guest->client, VGPU_BAR_REGS, reg, value);
}

int vgpu_guest_read64(struct vgpu_guest *guest, uint32_t reg, uint64_t *value)
{
    return umdev_client_read64(guest->client, VGPU_BAR_REGS, reg, value);
}

int vgpu_guest_write32(struct vgpu_guest *guest, uint32_t reg, uint32_t value)
{
    return umdev_client_write32(guest->client, VGPU_BAR_REGS, reg, value);
}

int vgpu_guest_ppgtt(struct vgpu_guest *guest, uint64_t root, uint32_t levels)
{
    const struct vgpu_ppgtt_set packet = {
        .header = {VGPU_HEADER(VGPU_OP_PPGTT, 0, sizeof(packet)), levels},
        .root = root,
    };

    return vgpu_guest_emit(guest, &packet, sizeof(packet));
}

struct vgpu_surface vgpu_guest_surface(uint32_t space, uint64_t address, uint32_t format,
                                       uint32_t width, uint32_t height)
{
    return (struct vgpu_surface){
        .format = format | space,
        .pitch = width * (format == VGPU_FORMAT_R8 ? 1 : 4),
        .width = width,
        .height = height,
        .address = address,
    };
}

/* ------------------------------------------------------------------ start */

static int guest_check_device(struct vgpu_guest *guest)
{
    uint32_t id, version;
    int ret = vgpu_guest_read32(guest, VGPU_REG_ID, &id);

    if (!ret)
        ret = vgpu_guest_read32(guest, VGPU_REG_VERSION, &version);
    if (!ret && (id != VGPU_ID || version >> 16 != VGPU_VERSION >> 16))
        ret = -ENODEV;
    return ret ? ret : vgpu_guest_read64(guest, VGPU_REG_VRAM_SIZE, &guest->vram_size);
}

/* Memory that the device may read and write. */
static int guest_give_memory(struct vgpu_guest *guest, uint64_t size)
{
    int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int ret;

    guest->memory_size = (size + PAGE - 1) & ~(PAGE - 1);
    size = guest->memory_size + PAGE;
    ret = fd < 0 || ftruncate(fd, (off_t)size) ? -errno : 0;
    if (!ret) {
        guest->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ret = guest->memory == MAP_FAILED
                  ? -ENOMEM
                  : umdev_client_dma_map_at(guest->client, fd, 0, umdev_iova(VGPU_GUEST_IOVA), size,
                                            UMDEV_RW, guest->memory);
    }
    if (fd >= 0)
        close(fd);
    return ret;
}

static int guest_listen(struct vgpu_guest *guest)
{
    guest->irq_fence = umdev_client_irq_eventfd(guest->client, UMDEV_IRQ_MSIX, VGPU_MSIX_FENCE);
    if (guest->irq_fence < 0)
        return guest->irq_fence;
    guest->irq_error = umdev_client_irq_eventfd(guest->client, UMDEV_IRQ_MSIX, VGPU_MSIX_ERROR);
    return guest->irq_error < 0 ? guest->irq_error : 0;
}

static int guest_start_ring(struct vgpu_guest *guest)
{
    uint16_t command = COMMAND_MEMORY | COMMAND_MASTER;
    int ret = umdev_client_write(guest->client, UMDEV_REGION_CONFIG, CONFIG_COMMAND, &command,
                                 sizeof(command));

    guest->used = VGPU_GUEST_RING;
    if (!ret)
        ret =
            umdev_client_write64(guest->client, VGPU_BAR_REGS, VGPU_REG_RING_BASE, VGPU_GUEST_IOVA);
    if (!ret)
        ret = vgpu_guest_write32(guest, VGPU_REG_RING_SIZE, VGPU_GUEST_RING);
    if (!ret)
        ret = vgpu_guest_write32(guest, VGPU_REG_INT_ENABLE, VGPU_INT_ALL);
    return ret ? ret : vgpu_guest_write32(guest, VGPU_REG_CONTROL, VGPU_CONTROL_RUN);
}

int vgpu_guest_start(struct umdev_client *client, uint64_t memory_size, struct vgpu_guest *guest)
{
    int ret;

    *guest = (struct vgpu_guest){.client = client, .memory = MAP_FAILED};
    ret = guest_check_device(guest);
    if (ret)
        return ret;
    guest->vram = umdev_client_map_region(client, VGPU_BAR_VRAM, 0, guest->vram_size);
    if (!guest->vram)
        return -errno;
    ret = guest_give_memory(guest, memory_size);
    if (!ret)
        ret = guest_listen(guest);
    return ret ? ret : guest_start_ring(guest);
}

int vgpu_guest_open(const char *socket, uint64_t memory_size, struct vgpu_guest *guest)
{
    struct umdev_client *client;
    int ret = umdev_connect(socket, NULL, &client);

    if (ret) {
        *guest = (struct vgpu_guest){.memory = MAP_FAILED};
        return ret;
    }
    return vgpu_guest_start(client, memory_size, guest);
}

void vgpu_guest_close(struct vgpu_guest *guest)
{
    umdev_client_close(guest->client);
    if (guest->memory != MAP_FAILED)
        munmap(guest->memory, guest->memory_size + PAGE);
}

void *vgpu_guest_alloc(struct vgpu_guest *guest, uint64_t size, uint64_t *iova)
{
    uint64_t start = guest->used;

    if (size > guest->memory_size - start)
        return NULL;
    guest->used = (start + size + PAGE - 1) & ~(PAGE - 1);
    if (guest->used > guest->memory_size)
        guest->used = guest->memory_size;
    *iova = VGPU_GUEST_IOVA + start;
    return guest->memory + start;
}

/* ------------------------------------------------------------------ commands */

static uint32_t guest_room(uint32_t head, uint32_t tail)
{
    /* One slot stays empty: head == tail means that the ring is empty. */
    return (head - tail - 8) & (VGPU_GUEST_RING - 1);
}

/* Sleep until an interrupt says something. 0: a fence; EIO: an error; ETIMEDOUT. */
static int guest_wait(struct vgpu_guest *guest, int timeout_ms)
{
    struct pollfd fds[2] = {
        {.fd = guest->irq_fence, .events = POLLIN},
        {.fd = guest->irq_error, .events = POLLIN},
    };
    uint64_t count;
    int n = poll(fds, 2, timeout_ms);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -ETIMEDOUT;
    if (fds[1].revents)
        return -EIO;
    return read(guest->irq_fence, &count, sizeof(count)) < 0 ? -errno : 0;
}

int vgpu_guest_submit(struct vgpu_guest *guest)
{
    return vgpu_guest_write32(guest, VGPU_REG_RING_TAIL, guest->tail);
}

static int guest_emit_fence(struct vgpu_guest *guest)
{
    struct vgpu_fence packet = {
        .header.word = VGPU_HEADER(VGPU_OP_FENCE, VGPU_FENCE_IRQ, sizeof(packet)),
        .value = guest->fence + 1,
    };
    int ret = vgpu_guest_emit(guest, &packet, sizeof(packet));

    if (!ret)
        guest->fence++;
    return ret;
}

/* Wait until the ring has room for `bytes` more and for the fence that we wait with. */
static int guest_make_room(struct vgpu_guest *guest, uint32_t bytes)
{
    bool submitted = false;
    uint32_t status;
    int ret;

    while (guest_room(guest->head, guest->tail) < bytes + sizeof(struct vgpu_fence)) {
        if (submitted)
            usleep(100);
        ret = submitted ? 0 : vgpu_guest_submit(guest);
        submitted = true;
        if (!ret)
            ret = vgpu_guest_read32(guest, VGPU_REG_STATUS, &status);
        if (!ret)
            ret = vgpu_guest_read32(guest, VGPU_REG_RING_HEAD, &guest->head);
        if (ret)
            return ret;
        if (status & VGPU_STATUS_ERROR)
            return -EIO;
    }
    return 0;
}

/* A packet lies in one piece: what is left at the ring's end is skipped by a NOP. */
static int guest_skip_to_start(struct vgpu_guest *guest)
{
    uint32_t left = VGPU_GUEST_RING - guest->tail;
    struct vgpu_nop nop = {.header.word = VGPU_HEADER(VGPU_OP_NOP, 0, left)};
    int ret = guest_make_room(guest, left);

    if (!ret) {
        memcpy(guest->memory + guest->tail, &nop, sizeof(nop));
        guest->tail = 0;
    }
    return ret;
}

int vgpu_guest_emit(struct vgpu_guest *guest, const void *packet, uint32_t bytes)
{
    int ret = VGPU_GUEST_RING - guest->tail < bytes ? guest_skip_to_start(guest) : 0;

    if (!ret)
        ret = guest_make_room(guest, bytes);
    if (!ret) {
        memcpy(guest->memory + guest->tail, packet, bytes);
        guest->tail = (guest->tail + bytes) & (VGPU_GUEST_RING - 1);
    }
    return ret;
}

int vgpu_guest_finish(struct vgpu_guest *guest, int timeout_ms)
{
    uint64_t done;
    int ret = guest_emit_fence(guest);

    if (!ret)
        ret = vgpu_guest_submit(guest);
    while (!ret) {
        ret = guest_wait(guest, timeout_ms);
        if (!ret)
            ret = vgpu_guest_read64(guest, VGPU_REG_FENCE, &done);
        if (!ret && done == guest->fence)
            return 0;
    }
    return ret;
}

/* ------------------------------------------------------------------ aperture and VRAM */

int vgpu_guest_map_aperture(struct vgpu_guest *guest)
{
    struct umdev_region_info info;
    int ret = umdev_client_get_region(guest->client, VGPU_BAR_APERTURE, &info);

    if (ret)
        return ret;
    if (!(info.flags & UMDEV_REGION_FAULT_MAPPED))
        return -ENOTSUP;
    guest->aperture = umdev_client_map_region(guest->client, VGPU_BAR_APERTURE, 0, info.size);
    if (!guest->aperture)
        return -errno;
    guest->aperture_size = info.size;
    return 0;
}

int vgpu_guest_ggtt_write(struct vgpu_guest *guest, uint32_t first, const uint64_t *entries,
                          uint32_t count)
{
    int ret = 0;

    while (count && !ret) {
        uint32_t piece = count < VGPU_GGTT_WINDOW ? count : VGPU_GGTT_WINDOW;

        ret = vgpu_guest_write32(guest, VGPU_REG_GGTT_INDEX, first);
        if (!ret)
            ret = umdev_client_write(guest->client, VGPU_BAR_REGS, VGPU_REG_GGTT, entries,
                                     piece * sizeof(entries[0]));
        first += piece;
        entries += piece;
        count -= piece;
    }
    return ret;
}

int vgpu_guest_ggtt_map(struct vgpu_guest *guest, uint32_t first, uint64_t address, uint64_t bytes)
{
    const struct vgpu_ggtt_fill packet = {
        .header.word = VGPU_HEADER(VGPU_OP_GGTT_FILL, VGPU_GGTT_FILL_STEP, sizeof(packet)),
        .first = first,
        .count = (uint32_t)(bytes / PAGE),
        .entry = address | VGPU_GGTT_VALID | VGPU_GGTT_WRITABLE,
    };

    return vgpu_guest_emit(guest, &packet, sizeof(packet));
}

int vgpu_guest_vram_alloc(struct vgpu_guest *guest, uint64_t address, uint64_t bytes,
                          int timeout_ms)
{
    const struct vgpu_alloc packet = {
        .header.word = VGPU_HEADER(VGPU_OP_ALLOC, VGPU_ALLOC_RESULT, sizeof(packet)),
        .address = address,
        .bytes = bytes,
        .result = VGPU_GUEST_IOVA + guest->memory_size,
    };
    const uint64_t *result = (const uint64_t *)(const void *)(guest->memory + guest->memory_size);
    int ret = vgpu_guest_emit(guest, &packet, sizeof(packet));

    if (!ret)
        ret = vgpu_guest_finish(guest, timeout_ms);
    if (!ret && __atomic_load_n(result, __ATOMIC_ACQUIRE) != VGPU_ERR_NONE)
        ret = -ENOSPC;
    return ret;
}

int vgpu_guest_vram_free(struct vgpu_guest *guest, uint64_t address, uint64_t bytes, int timeout_ms)
{
    const struct vgpu_free packet = {
        .header.word = VGPU_HEADER(VGPU_OP_FREE, 0, sizeof(packet)),
        .address = address,
        .bytes = bytes,
    };
    int ret = vgpu_guest_emit(guest, &packet, sizeof(packet));

    return ret ? ret : vgpu_guest_finish(guest, timeout_ms);
}
