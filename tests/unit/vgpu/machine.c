/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine.h"

#include "random.h"
#include "unit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ umdev, faked */

/* The page of an address, or −1. */
static long page_of(uint64_t iova)
{
    if (iova < MACHINE_IOVA || iova - MACHINE_IOVA >= MACHINE_GUEST)
        return -1;
    return (long)((iova - MACHINE_IOVA) / MACHINE_PAGE);
}

static uint8_t *host_of(const struct umdev_device *dev, uint64_t iova)
{
    return dev->pages + (size_t)dev->where[page_of(iova)] * MACHINE_PAGE + iova % MACHINE_PAGE;
}

static int check(const struct umdev_device *dev, uint64_t iova, unsigned prot)
{
    long page = page_of(iova);

    if (dev->error)
        return dev->error;
    if (page < 0 || !dev->prot[page])
        return -EFAULT;
    return (dev->prot[page] & prot) == prot ? 0 : -EPERM;
}

static int check_all(const struct umdev_device *dev, uint64_t iova, size_t len, unsigned prot)
{
    uint64_t end;
    int ret = 0;

    if (__builtin_add_overflow(iova, len, &end))
        return -EOVERFLOW;
    for (uint64_t at = iova; at < end && !ret; at = (at / MACHINE_PAGE + 1) * MACHINE_PAGE)
        ret = check(dev, at, prot);
    return ret;
}

static void move(const struct umdev_device *dev, uint64_t iova, uint8_t *buf, size_t len,
                 bool to_guest)
{
    while (len) {
        size_t part = MACHINE_PAGE - iova % MACHINE_PAGE;

        part = part < len ? part : len;
        if (to_guest)
            memcpy(host_of(dev, iova), buf, part);
        else
            memcpy(buf, host_of(dev, iova), part);
        iova += part;
        buf += part;
        len -= part;
    }
}

int umdev_dma_read(struct umdev_device *dev, umdev_iova_t iova, void *buf, size_t len)
{
    int ret = check_all(dev, iova.value, len, UMDEV_READ);

    if (!ret)
        move(dev, iova.value, buf, len, false);
    return ret;
}

int umdev_dma_write(struct umdev_device *dev, umdev_iova_t iova, const void *buf, size_t len)
{
    int ret = check_all(dev, iova.value, len, UMDEV_WRITE);

    if (!ret)
        move(dev, iova.value, (uint8_t *)buf, len, true);
    return ret;
}

int umdev_dma_acquire(struct umdev_device *dev, umdev_iova_t iova, size_t len, unsigned prot,
                      struct umdev_dma_window *window)
{
    size_t got = MACHINE_PAGE - iova.value % MACHINE_PAGE;
    uint8_t *ptr;
    int ret = len ? check(dev, iova.value, prot) : -EINVAL;

    if (ret)
        return ret;
    ptr = host_of(dev, iova.value);
    while (got < len && !check(dev, iova.value + got, prot) &&
           host_of(dev, iova.value + got) == ptr + got)
        got += MACHINE_PAGE;
    if (dev->piece && got > dev->piece)
        got = dev->piece;
    *window = (struct umdev_dma_window){.ptr = ptr, .len = got < len ? got : len, .hold = dev};
    dev->windows++;
    return 0;
}

void umdev_dma_release(struct umdev_device *dev, struct umdev_dma_window *window)
{
    assert_ptr_equal(window->hold, dev);
    assert_true(dev->windows > 0);
    window->hold = NULL;
    dev->windows--;
}

/* ------------------------------------------------------------------ the machine */

static void *must_alloc(size_t size)
{
    void *memory = aligned_alloc(4096, (size + 4095) / 4096 * 4096);

    assert_non_null(memory);
    memset(memory, 0, size);
    return memory;
}

void machine_init(struct machine *machine, uint64_t vram_size, bool contiguous, uint64_t seed)
{
    struct umdev_device *guest = &machine->guest;

    memset(machine, 0, sizeof(*machine));
    guest->pages = must_alloc(MACHINE_GUEST);
    for (uint32_t i = 0; i < MACHINE_PAGES; i++) {
        guest->where[i] = i;
        guest->prot[i] = UMDEV_RW;
    }
    for (uint32_t i = MACHINE_PAGES - 1; i > 0 && !contiguous; i--) {
        uint32_t other = random_below(&seed, i + 1), place = guest->where[i];

        guest->where[i] = guest->where[other];
        guest->where[other] = place;
    }
    machine->vram_size = vram_size;
    machine->vram = must_alloc(vram_size);
    machine->scratch = must_alloc(sizeof(union vgpu_scratch));
    machine->ring.memory = (struct vgpu_memory){
        .dev = guest,
        .vram = machine->vram,
        .vram_size = vram_size,
    };
    machine_restart(machine);
}

void machine_free(struct machine *machine)
{
    assert_int_equal(machine->guest.windows, 0);
    free(machine->guest.pages);
    free(machine->vram);
    free(machine->scratch);
}

void machine_restart(struct machine *machine)
{
    assert_true(vgpu_ring_valid(MACHINE_RING, MACHINE_RING_SIZE));
    vgpu_ring_start(&machine->ring, MACHINE_RING, MACHINE_RING_SIZE);
    machine->tail = 0;
}

void machine_peek(const struct machine *machine, uint64_t iova, void *buf, size_t len)
{
    move(&machine->guest, iova, buf, len, false);
}

void machine_poke(struct machine *machine, uint64_t iova, const void *buf, size_t len)
{
    move(&machine->guest, iova, (uint8_t *)buf, len, true);
}

static void put(struct machine *machine, const void *packet, uint32_t bytes)
{
    machine_poke(machine, MACHINE_RING + machine->tail, packet, bytes);
    machine->tail = (machine->tail + bytes) % MACHINE_RING_SIZE;
}

void machine_emit(struct machine *machine, const void *packet, uint32_t bytes)
{
    uint32_t rest = MACHINE_RING_SIZE - machine->tail;

    if (bytes > rest) {
        static const uint8_t padding[MACHINE_RING_SIZE];
        struct vgpu_nop nop = {.header.word = VGPU_HEADER(VGPU_OP_NOP, 0, rest)};
        uint8_t bytes_of_nop[MACHINE_RING_SIZE];

        memcpy(bytes_of_nop, padding, rest);
        memcpy(bytes_of_nop, &nop, sizeof(nop));
        put(machine, bytes_of_nop, rest);
    }
    put(machine, packet, bytes);
}

enum vgpu_step machine_run(struct machine *machine)
{
    enum vgpu_step step;

    do {
        step =
            vgpu_ring_step(&machine->ring, machine->tail, machine->scratch, &machine->interrupts);
        machine->steps++;
        assert_int_equal(machine->guest.windows, 0);
    } while (step == VGPU_STEP_MORE || step == VGPU_STEP_DONE);
    return step;
}

void machine_do(struct machine *machine, const void *packet, uint32_t bytes)
{
    machine_emit(machine, packet, bytes);
    if (machine_run(machine) == VGPU_STEP_FAULT)
        fail_msg("error %d, field %u, address 0x%" PRIx64, machine->ring.fault.code,
                 machine->ring.fault.field, machine->ring.fault.address);
    assert_int_equal(machine->ring.head, machine->tail);
}

void machine_expect(struct machine *machine, const void *packet, uint32_t bytes,
                    enum vgpu_error code)
{
    machine_emit(machine, packet, bytes);
    assert_int_equal(machine_run(machine), VGPU_STEP_FAULT);
    assert_int_equal(machine->ring.fault.code, code);
    machine_restart(machine);
}
