/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring: wrapping, batches, fences, where errors are reported, and garbage. */
#include "machine.h"
#include "random.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VRAM  ((uint64_t)1 << 20)
#define BATCH (MACHINE_IOVA + 0x10000)

static struct vgpu_fence fence(uint64_t value)
{
    return (struct vgpu_fence){
        .header.word = VGPU_HEADER(VGPU_OP_FENCE, 0, sizeof(struct vgpu_fence)),
        .value = value,
    };
}

static struct vgpu_batch batch(uint32_t space, uint64_t address, uint32_t bytes)
{
    return (struct vgpu_batch){
        .header = {VGPU_HEADER(VGPU_OP_BATCH, 0, sizeof(struct vgpu_batch)), space},
        .address = address,
        .bytes = bytes,
    };
}

static struct vgpu_nop nop(uint32_t bytes)
{
    return (struct vgpu_nop){.header.word = VGPU_HEADER(VGPU_OP_NOP, 0, bytes)};
}

static void test_valid(void **state)
{
    (void)state;
    assert_true(vgpu_ring_valid(0, VGPU_RING_MIN));
    assert_true(vgpu_ring_valid(4096, VGPU_RING_MAX));
    assert_true(vgpu_ring_valid(UINT64_MAX - 4095, 4096));
    assert_false(vgpu_ring_valid(UINT64_MAX - 4095, 8192));
    assert_false(vgpu_ring_valid(8, 4096));
    assert_false(vgpu_ring_valid(0, 0));
    assert_false(vgpu_ring_valid(0, 2048));
    assert_false(vgpu_ring_valid(0, 12288));
    assert_false(vgpu_ring_valid(0, VGPU_RING_MAX * 2));
}

/* Round and round, fences of odd sizes between NOPs: every value arrives, in order. */
static void test_wrap(void **state)
{
    uint64_t random = random_seed();
    struct machine machine;

    (void)state;
    machine_init(&machine, VRAM, false, random);
    for (uint64_t i = 1; i < 3000; i++) {
        struct vgpu_fence f = fence(i * 0x100000001);
        uint32_t bytes = 8 + 8 * random_below(&random, 40);
        uint8_t padding[8 + 8 * 40] = {0};
        struct vgpu_nop header = nop(bytes);

        memset(padding, 0xee, sizeof(padding)); /* NOPs hide anything */
        memcpy(padding, &header, sizeof(header));
        machine_emit(&machine, padding, bytes);
        machine_do(&machine, &f, sizeof(f));
        assert_true(machine.ring.fence == i * 0x100000001);
    }
    assert_true(machine.ring.counters.fences == 2999);
    assert_int_equal(machine.interrupts, 0);
    machine_free(&machine);
}

static void test_fence(void **state)
{
    struct machine machine;
    struct vgpu_fence f = fence(0x1122334455667788);
    uint64_t value;

    (void)state;
    machine_init(&machine, VRAM, false, 1);
    f.address = MACHINE_IOVA + 4096 - 8;
    f.header.word = VGPU_HEADER(VGPU_OP_FENCE, VGPU_FENCE_WRITE | VGPU_FENCE_IRQ, sizeof(f));
    machine_do(&machine, &f, sizeof(f));
    machine_peek(&machine, f.address, &value, sizeof(value));
    assert_true(value == f.value && machine.ring.fence == f.value);
    assert_int_equal(machine.interrupts, VGPU_INT_FENCE);
    /* A fence that can't be written is not reached. */
    machine.interrupts = 0;
    f.value = 5;
    machine.guest.prot[0] = UMDEV_READ;
    machine_expect(&machine, &f, sizeof(f), VGPU_ERR_DMA_PROTECTION);
    assert_true(machine.ring.fence == 0x1122334455667788);
    assert_int_equal(machine.interrupts, 0);
    machine_free(&machine);
}

static void test_batch(void **state)
{
    struct machine machine;
    struct vgpu_fence inside[3] = {fence(1), fence(2), fence(3)};
    struct vgpu_batch b = batch(VGPU_SPACE_GUEST, BATCH - 24, sizeof(inside));

    (void)state;
    machine_init(&machine, VRAM, false, 2);
    machine_poke(&machine, b.address, inside, sizeof(inside));
    machine_do(&machine, &b, sizeof(b));
    assert_true(machine.ring.fence == 3);
    assert_true(machine.ring.counters.batches == 1 && machine.ring.counters.commands == 4);
    /* From VRAM, and the head stays on the packet until the batch is done. */
    memcpy(machine.vram + 64, inside, sizeof(inside));
    b = batch(VGPU_SPACE_VRAM, 64, sizeof(inside));
    machine_emit(&machine, &b, sizeof(b));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(machine.ring.head, sizeof(b));
        vgpu_ring_step(&machine.ring, machine.tail, machine.scratch, &machine.interrupts);
    }
    assert_int_equal(machine_run(&machine), VGPU_STEP_IDLE);
    assert_int_equal(machine.ring.head, 2 * sizeof(b));
    machine_free(&machine);
}

static void test_batch_errors(void **state)
{
    struct machine machine;
    struct vgpu_batch nested = batch(VGPU_SPACE_GUEST, BATCH, 24);
    struct vgpu_fence f = fence(1);
    struct vgpu_batch b;

    (void)state;
    machine_init(&machine, VRAM, false, 3);
    machine_poke(&machine, BATCH, &f, sizeof(f));
    machine_poke(&machine, BATCH + sizeof(f), &nested, sizeof(nested));
    b = batch(VGPU_SPACE_GUEST, BATCH, sizeof(f) + sizeof(nested));
    machine_emit(&machine, &f, sizeof(f));
    machine_emit(&machine, &b, sizeof(b));
    assert_int_equal(machine_run(&machine), VGPU_STEP_FAULT);
    assert_int_equal(machine.ring.fault.code, VGPU_ERR_NESTED);
    assert_int_equal(machine.ring.head, sizeof(f));
    assert_true(machine.ring.in_batch);
    assert_int_equal(machine.ring.batch.offset, sizeof(f));
    machine_restart(&machine);
    /* Cut off in the middle of a packet: what follows in memory is not looked at. */
    b = batch(VGPU_SPACE_GUEST, BATCH, sizeof(f) - 8);
    machine_expect(&machine, &b, sizeof(b), VGPU_ERR_LENGTH);
    machine.guest.prot[0x10] = 0;
    machine_expect(&machine, &b, sizeof(b), VGPU_ERR_DMA_UNMAPPED);
    assert_true(machine.ring.fault.code == VGPU_ERR_NONE); /* begun anew */
    machine_free(&machine);
}

/* A packet that reaches over the tail is refused, even where the ring's old contents complete it.
 */
static void test_past_tail(void **state)
{
    struct machine machine;
    struct vgpu_fence f = fence(1);

    (void)state;
    machine_init(&machine, VRAM, false, 4);
    machine_poke(&machine, MACHINE_RING, &f, sizeof(f));
    machine.tail = sizeof(f) - 8;
    assert_int_equal(machine_run(&machine), VGPU_STEP_FAULT);
    assert_int_equal(machine.ring.fault.code, VGPU_ERR_LENGTH);
    machine_restart(&machine);
    /* Over the end of the ring. */
    machine.ring.head = MACHINE_RING_SIZE - 8;
    machine_poke(&machine, MACHINE_RING + MACHINE_RING_SIZE - 8, &f, 8);
    machine.tail = 16;
    assert_int_equal(machine_run(&machine), VGPU_STEP_FAULT);
    assert_int_equal(machine.ring.fault.code, VGPU_ERR_LENGTH);
    machine_free(&machine);
}

static void test_ring_unmapped(void **state)
{
    static const struct {
        int error;
        enum vgpu_error code;
    } cases[] = {
        {-EINVAL, VGPU_ERR_DMA_UNMAPPED},    {-EPERM, VGPU_ERR_DMA_PROTECTION},
        {-EOPNOTSUPP, VGPU_ERR_DMA_NO_FILE}, {-EIO, VGPU_ERR_DMA_LOST},
        {-ENODEV, VGPU_ERR_DMA_DISABLED},    {-ENOMEM, VGPU_ERR_DMA_NO_ROOM},
        {-ENOSPC, VGPU_ERR_DMA_NO_ROOM},     {-EOVERFLOW, VGPU_ERR_DMA_NO_ROOM},
    };
    struct machine machine;

    (void)state;
    machine_init(&machine, VRAM, false, 5);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vgpu_fence f = fence(i);

        machine_do(&machine, &f, sizeof(f));
        machine.guest.error = cases[i].error;
        machine_emit(&machine, &f, sizeof(f));
        assert_int_equal(machine_run(&machine), VGPU_STEP_FAULT);
        assert_int_equal(machine.ring.fault.code, cases[i].code);
        assert_true(machine.ring.fault.address == MACHINE_RING + sizeof(f));
        machine.guest.error = 0;
        machine_restart(&machine);
    }
    machine_free(&machine);
}

/* ------------------------------------------------------------------ garbage */

/* A surface somewhere near the edge of what is allowed. */
static struct vgpu_surface wild_surface(uint64_t *random)
{
    struct vgpu_surface surface = {
        .format = 1 + random_below(random, 3),
        .width = 1 + random_below(random, 200),
        .height = 1 + random_below(random, 60),
        .pitch = random_below(random, 300) * 4,
        .address = random_below(random, (uint32_t)VRAM) & ~3u,
    };

    if (random_below(random, 2)) {
        surface.format |= VGPU_SPACE_GUEST;
        surface.address = MACHINE_IOVA + (random_below(random, (uint32_t)MACHINE_USABLE) & ~3u);
    }
    return surface;
}

/* A packet that may be right, with a few of its bits wrong. */
static uint32_t wild_packet(uint64_t *random, uint32_t words[VGPU_PACKET_MAX / 4])
{
    static const uint8_t sizes[VGPU_OP_COUNT] = {8, 56, 80, 80, 88, 24, 24, 24, 24, 32, 24, 16};
    static const uint8_t kernel_sizes[VGPU_KERNEL_COUNT] = {88, 80, 64, 64, 56};
    uint32_t opcode = random_below(random, VGPU_OP_COUNT);
    uint32_t kernel = random_below(random, VGPU_KERNEL_COUNT);
    uint32_t bytes = opcode == VGPU_OP_DISPATCH ? kernel_sizes[kernel] : sizes[opcode];

    for (uint32_t i = 0; i < bytes / 4; i++)
        words[i] = random_below(random, 64);
    words[0] = VGPU_HEADER(opcode, 0, bytes);
    words[1] = opcode == VGPU_OP_DISPATCH ? kernel : 0;
    for (uint32_t at = 2; at + 6 <= bytes / 4 && at < 20; at += 6) {
        struct vgpu_surface surface = wild_surface(random);

        memcpy(words + at, &surface, sizeof(surface));
    }
    if (opcode == VGPU_OP_BATCH) {
        struct vgpu_batch b =
            batch(VGPU_SPACE_GUEST, BATCH + 8 * (uint64_t)random_below(random, 64),
                  8 + 8 * random_below(random, 64));

        memcpy(words, &b, sizeof(b));
    }
    if (random_below(random, 3) == 0)
        words[random_below(random, bytes / 4)] ^= 1u << random_below(random, 32);
    return bytes;
}

/*
 * Whatever stands in the ring and in batches: it ends, by itself or with an error; memory outside
 * the VRAM and the guest's mapped pages stays (the sanitizers watch the one, protections the
 * other).
 */
static void test_fuzz(void **state)
{
    uint64_t random = random_seed();
    struct machine machine;
    unsigned good = 0, bad = 0;

    (void)state;
    machine_init(&machine, VRAM, false, random);
    for (unsigned i = 0; i < 100; i++) {
        uint32_t page = random_below(&random, MACHINE_PAGES - 2);

        machine.guest.prot[page] = (uint8_t)random_below(&random, 4);
    }
    for (unsigned round = 0; round < 3000; round++) {
        uint32_t words[VGPU_PACKET_MAX / 4] = {0};
        uint32_t bytes = wild_packet(&random, words);

        machine.guest.most = random_below(&random, 4) ? 0 : 2 + random_below(&random, 8);
        if (random_below(&random, 2)) {
            machine_poke(&machine, BATCH + 8 * (uint64_t)random_below(&random, 64), words, bytes);
            continue;
        }
        machine_emit(&machine, words, bytes);
        if (machine_run(&machine) == VGPU_STEP_FAULT) {
            assert_int_not_equal(machine.ring.fault.code, VGPU_ERR_NONE);
            machine_restart(&machine);
            bad++;
        } else {
            good++;
        }
    }
    assert_true(good > 50 && bad > 50);
    machine_free(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),         cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_fence),         cmocka_unit_test(test_batch),
        cmocka_unit_test(test_batch_errors),  cmocka_unit_test(test_past_tail),
        cmocka_unit_test(test_ring_unmapped), cmocka_unit_test(test_fuzz),
    };

    return cmocka_run_group_tests_name("vgpu ring", tests, NULL, NULL);
}
