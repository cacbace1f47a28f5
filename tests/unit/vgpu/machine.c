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

#define ALIAS ((uint64_t)1 << 48)

static uint64_t unaliased(const struct umdev_device *dev, uint64_t iova)
{
    return dev->aliases ? iova % ALIAS : iova;
}

/* The page of an address, or −1. */
static long page_of(const struct umdev_device *dev, uint64_t iova)
{
    iova = unaliased(dev, iova);
    if (iova < MACHINE_IOVA || iova - MACHINE_IOVA >= MACHINE_GUEST)
        return -1;
    return (long)((iova - MACHINE_IOVA) / MACHINE_PAGE);
}

static uint8_t *host_of(const struct umdev_device *dev, uint64_t iova)
{
    return dev->pages + (size_t)dev->where[page_of(dev, iova)] * MACHINE_PAGE + iova % MACHINE_PAGE;
}

static int check(const struct umdev_device *dev, uint64_t iova, unsigned prot)
{
    long page = page_of(dev, iova);

    if (dev->error)
        return dev->error;
    if (page < 0 || !dev->prot[page] || iova == dev->leaving)
        return -EINVAL;
    return (dev->prot[page] & prot) == prot ? 0 : -EPERM;
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

/* Only asked whether anything can be reached. */
int umdev_dma_read(struct umdev_device *dev, umdev_iova_t iova, void *buf, size_t len)
{
    (void)iova;
    (void)buf;
    assert_int_equal(len, 0);
    return dev->error;
}

/* Paged: addresses of pages that follow each other do not. */
static uint64_t bus_of(const struct umdev_device *dev, long page)
{
    switch (dev->mode) {
    case UMDEV_BUS_IDENTITY:
        return (uint64_t)(uintptr_t)(dev->pages + (size_t)dev->where[page] * MACHINE_PAGE);
    case UMDEV_BUS_CONTIGUOUS:
        return MACHINE_BUS + (uint64_t)page * MACHINE_PAGE;
    default:
        return MACHINE_BUS + ((uint64_t)page * 619 % MACHINE_PAGES) * MACHINE_PAGE;
    }
}

/* By a pin that begins or ends. */
static void note_write(struct umdev_device *dev, long page, unsigned prot)
{
    dev->written[page] |= dev->tracked[page] && prot & UMDEV_WRITE;
}

static int enter_page(struct umdev_device *dev, long page, unsigned prot)
{
    int ret = 0;

    prot = prot & UMDEV_WRITE ? dev->prot[page] : UMDEV_READ;
    prot |= dev->entered[page];
    if (dev->mode != UMDEV_BUS_IDENTITY && prot != dev->entered[page])
        ret =
            vgpu_mmu_map(&dev->mmu, bus_of(dev, page),
                         dev->pages + (size_t)dev->where[page] * MACHINE_PAGE, MACHINE_PAGE, prot);
    if (!ret)
        dev->entered[page] = (uint8_t)prot;
    return ret;
}

int umdev_dma_pin(struct umdev_device *dev, umdev_iova_t iova, size_t count, unsigned prot,
                  umdev_bus_t *bus)
{
    uint64_t first = iova.value / MACHINE_PAGE * MACHINE_PAGE;

    assert_true(count > 0 && count <= UMDEV_PIN_MAX);
    dev->pin_calls++;
    if (dev->most && count > dev->most)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        int ret = check(dev, first + i * MACHINE_PAGE, prot);

        if (ret)
            return ret;
    }
    for (size_t i = 0; i < count; i++) {
        long page = page_of(dev, first) + (long)i;
        int ret = enter_page(dev, page, prot);

        if (ret) {
            umdev_dma_unpin(dev, umdev_iova(first), i);
            return ret;
        }
        dev->pins[page]++;
        note_write(dev, page, prot);
        bus[i] = umdev_bus(bus_of(dev, page));
    }
    return 0;
}

void umdev_dma_unpin(struct umdev_device *dev, umdev_iova_t iova, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        long page = page_of(dev, iova.value) + (long)i;

        assert_true(dev->pins[page] > 0);
        note_write(dev, page, dev->entered[page]);
        if (--dev->pins[page])
            continue;
        dev->entered[page] = 0;
        if (dev->mode != UMDEV_BUS_IDENTITY)
            vgpu_mmu_unmap(&dev->mmu, bus_of(dev, page), MACHINE_PAGE);
    }
    if (dev->mode != UMDEV_BUS_IDENTITY)
        vgpu_mmu_flush(&dev->mmu);
}

static int check_tracked(const struct umdev_device *dev, umdev_iova_t iova, uint64_t size)
{
    assert_int_equal(size, MACHINE_PAGE);
    assert_int_equal(iova.value % MACHINE_PAGE, 0);
    return page_of(dev, iova.value) < 0 || !dev->prot[page_of(dev, iova.value)] ? -EFAULT : 0;
}

int umdev_track_add(struct umdev_device *dev, umdev_iova_t iova, uint64_t size)
{
    int ret = check_tracked(dev, iova, size);

    if (dev->track_error)
        return dev->track_error;
    if (ret)
        return ret;
    dev->tracked[page_of(dev, iova.value)]++;
    if (iova.value == dev->leaving)
        dev->prot[page_of(dev, iova.value)] = 0;
    return 0;
}

int umdev_track_remove(struct umdev_device *dev, umdev_iova_t iova, uint64_t size)
{
    int ret = check_tracked(dev, iova, size);

    if (!ret) {
        assert_true(dev->tracked[page_of(dev, iova.value)] > 0);
        if (--dev->tracked[page_of(dev, iova.value)] == 0)
            dev->written[page_of(dev, iova.value)] = false;
    }
    return ret;
}

int umdev_track_seen(struct umdev_device *dev, umdev_iova_t iova, const void *page)
{
    (void)page;
    assert_true(page_of(dev, iova.value) >= 0 && dev->tracked[page_of(dev, iova.value)] > 0);
    return 0;
}

int umdev_track_collect(struct umdev_device *dev, const struct umdev_track_range **ranges,
                        size_t *count)
{
    *count = 0;
    for (uint32_t i = 0; i < MACHINE_PAGES; i++) {
        if (!dev->written[i])
            continue;
        dev->written[i] = false;
        dev->ranges[(*count)++] = (struct umdev_track_range){
            umdev_iova(MACHINE_IOVA + (uint64_t)i * MACHINE_PAGE),
            MACHINE_PAGE,
            UMDEV_TRACK_WRITTEN,
        };
    }
    *ranges = dev->ranges;
    return 0;
}

/* ------------------------------------------------------------------ the machine */

static void *must_alloc(size_t size)
{
    void *memory = aligned_alloc(4096, (size + 4095) / 4096 * 4096);

    assert_non_null(memory);
    memset(memory, 0, size);
    return memory;
}

static enum umdev_bus_mode mode_of_environment(void)
{
    const char *bus = getenv("VGPU_BUS");

    if (bus && !strcmp(bus, "identity"))
        return UMDEV_BUS_IDENTITY;
    return bus && !strcmp(bus, "paged") ? UMDEV_BUS_PAGED : UMDEV_BUS_CONTIGUOUS;
}

bool machine_has_identity(void)
{
    return mode_of_environment() == UMDEV_BUS_IDENTITY;
}

void machine_init(struct machine *machine, uint64_t vram_size, bool contiguous, uint64_t seed)
{
    struct umdev_device *guest = &machine->guest;

    memset(machine, 0, sizeof(*machine));
    guest->mode = mode_of_environment();
    assert_int_equal(vgpu_mmu_init(&guest->mmu, guest->mode == UMDEV_BUS_IDENTITY), 0);
    machine->pins.dev = guest;
    machine->pins.mmu = &guest->mmu;
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
    machine->vram = must_alloc(vram_size + MACHINE_GROW);
    assert_int_equal(
        vgpu_vram_init(&machine->pages, machine->vram, vram_size, vram_size + MACHINE_GROW), 0);
    assert_int_equal(vgpu_ggtt_init(&machine->ggtt, MACHINE_ENTRIES, &machine->pages), 0);
    vgpu_pool_init(&machine->pool, MACHINE_POOL);
    machine->scratch = must_alloc(sizeof(union vgpu_scratch));
    machine->ring.memory = (struct vgpu_memory){
        .pins = &machine->pins,
        .ppgtt = &machine->ppgtt,
        .vram = &machine->pages,
        .ggtt = &machine->ggtt,
        .pool = &machine->pool,
    };
    vgpu_ppgtt_init(&machine->ppgtt, &machine->ring.memory);
    machine_restart(machine);
}

void machine_free(struct machine *machine)
{
    vgpu_ppgtt_clear(&machine->ppgtt);
    vgpu_ppgtt_fini(&machine->ppgtt);
    for (uint32_t i = 0; i < MACHINE_PAGES; i++)
        assert_int_equal(machine->guest.tracked[i], 0);
    assert_int_equal(machine_pinned(machine), 0);
    vgpu_mmu_fini(&machine->guest.mmu);
    vgpu_ggtt_fini(&machine->ggtt);
    vgpu_vram_fini(&machine->pages);
    vgpu_pool_fini(&machine->pool);
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
    struct umdev_device *dev = &machine->guest;

    move(dev, iova, (uint8_t *)buf, len, true);
    for (long page = page_of(dev, iova); page <= page_of(dev, iova + len - 1); page++)
        dev->written[page] |= dev->tracked[page] > 0;
}

void machine_protect(struct machine *machine, uint64_t iova, uint64_t pages, unsigned prot)
{
    struct umdev_device *dev = &machine->guest;

    if (!prot)
        vgpu_ppgtt_unmap(&machine->ppgtt, iova, iova + pages * MACHINE_PAGE - 1);
    for (long page = page_of(dev, iova); pages > 0; page++, pages--) {
        assert_int_equal(dev->pins[page], 0);
        assert_int_equal(dev->tracked[page], 0);
        dev->prot[page] = (uint8_t)prot;
    }
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

unsigned machine_pinned(const struct machine *machine)
{
    unsigned pinned = 0;

    for (uint32_t i = 0; i < MACHINE_PAGES; i++)
        pinned += machine->guest.pins[i];
    return pinned;
}

/* What the keeper does, with nobody to take pages back from. */
static void settle(struct machine *machine)
{
    struct vgpu_settle *due = &machine->ring.settle;

    if (!vgpu_settle_due(due))
        return;
    machine->settled = *due;
    if (due->pages)
        memset(machine->vram + due->address, 0, due->len);
    vgpu_pool_give(&machine->pool, due->pages);
    *due = (struct vgpu_settle){0};
}

enum vgpu_step machine_run(struct machine *machine)
{
    enum vgpu_step step;

    vgpu_ppgtt_collect(&machine->ppgtt);
    do {
        step =
            vgpu_ring_step(&machine->ring, machine->tail, machine->scratch, &machine->interrupts);
        if (step == VGPU_STEP_WAIT)
            step = vgpu_ring_serve(&machine->ring);
        settle(machine);
        machine->steps++;
        for (unsigned i = 0; i < VGPU_HOLDS; i++)
            assert_int_equal(machine->pins.holds[i].users, 0);
    } while (step == VGPU_STEP_MORE || step == VGPU_STEP_DONE);
    vgpu_pins_drop(&machine->pins);
    assert_int_equal(machine_pinned(machine), machine->ppgtt.pinned);
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
