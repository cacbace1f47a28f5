/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins: what is held, for how long, and what can't be had. */
#include "machine.h"
#include "random.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

#define VRAM ((uint64_t)1 << 20)
#define PAGE MACHINE_PAGE

static int setup(void **state)
{
    static struct machine machine;

    machine_init(&machine, VRAM, false, random_seed());
    *state = &machine;
    return 0;
}

static int teardown(void **state)
{
    struct machine *machine = *state;

    vgpu_pins_drop(&machine->pins);
    machine_free(machine);
    return 0;
}

static int take(struct machine *machine, uint64_t page, uint64_t need, uint64_t want, unsigned prot,
                struct vgpu_hold **hold)
{
    return vgpu_pins_take(&machine->pins, MACHINE_IOVA + page * PAGE, need, want, prot, hold);
}

/* The same pages again cost no pin, until the turn ends. */
static void test_kept(void **state)
{
    struct machine *machine = *state;
    struct vgpu_hold *first, *second;

    assert_int_equal(take(machine, 3, 2 * PAGE, 2 * PAGE, UMDEV_READ, &first), 0);
    vgpu_pins_put(first);
    assert_int_equal(take(machine, 4, 100, 100, UMDEV_READ, &second), 0);
    vgpu_pins_put(second);
    assert_ptr_equal(first, second);
    assert_int_equal(machine_pinned(machine), 2);
    /* Other rights, or a page more, are another pin. */
    assert_int_equal(take(machine, 4, 100, 100, UMDEV_WRITE, &second), 0);
    vgpu_pins_put(second);
    assert_int_equal(take(machine, 4, PAGE + 1, PAGE + 1, UMDEV_READ, &second), 0);
    vgpu_pins_put(second);
    assert_int_equal(machine->guest.pin_calls, 3);
    vgpu_pins_drop(&machine->pins);
    assert_int_equal(machine_pinned(machine), 0);
    assert_int_equal(take(machine, 3, 1, 1, UMDEV_READ, &first), 0);
    vgpu_pins_put(first);
    assert_int_equal(machine->guest.pin_calls, 4);
}

/* The longest unused makes room; what is taken stays. */
static void test_bounded(void **state)
{
    struct machine *machine = *state;
    struct vgpu_hold *taken, *hold;

    assert_int_equal(take(machine, 0, 1, 1, UMDEV_READ, &taken), 0);
    for (uint64_t page = 1; page < 100; page++) {
        assert_int_equal(take(machine, page, 1, 1, UMDEV_READ, &hold), 0);
        vgpu_pins_put(hold);
        assert_true(machine_pinned(machine) <= VGPU_HOLDS);
    }
    assert_int_equal(machine->guest.pins[0], 1);
    assert_int_equal(machine->guest.pins[99], 1);
    assert_int_equal(machine->guest.pins[99 - VGPU_HOLDS + 2], 1);
    assert_int_equal(machine->guest.pins[99 - VGPU_HOLDS + 1], 0);
    vgpu_pins_put(taken);
}

/* More is wanted than can be had: as much as can be, and at least what is needed. */
static void test_less(void **state)
{
    struct machine *machine = *state;
    struct vgpu_hold *hold;

    machine->guest.prot[20] = 0;
    assert_int_equal(take(machine, 10, 1, 1024 * PAGE, UMDEV_READ, &hold), 0);
    assert_true(hold->pages >= 5 && hold->pages <= 10);
    vgpu_pins_put(hold);
    assert_int_equal(take(machine, 15, 5 * PAGE, 100 * PAGE, UMDEV_READ, &hold), 0);
    assert_int_equal(hold->pages, 5);
    vgpu_pins_put(hold);
    assert_int_equal(take(machine, 16, 5 * PAGE, 100 * PAGE, UMDEV_READ, &hold), -EINVAL);
    machine->guest.prot[20] = UMDEV_READ;
    assert_int_equal(take(machine, 20, 1, 1, UMDEV_WRITE, &hold), -EPERM);
    machine->guest.most = 2;
    assert_int_equal(take(machine, 30, 2 * PAGE, 9 * PAGE, UMDEV_READ, &hold), 0);
    assert_int_equal(hold->pages, 2);
    vgpu_pins_put(hold);
    assert_int_equal(take(machine, 40, 3 * PAGE, 9 * PAGE, UMDEV_READ, &hold), -ENOMEM);
}

/* What is pinned already is out of reach when bus mastering is off, too. */
static void test_disabled(void **state)
{
    struct machine *machine = *state;
    struct vgpu_hold *hold;

    assert_int_equal(take(machine, 0, 1, 1, UMDEV_READ, &hold), 0);
    vgpu_pins_put(hold);
    machine->guest.error = -ENODEV;
    assert_int_equal(take(machine, 0, 1, 1, UMDEV_READ, &hold), -ENODEV);
    assert_int_equal(take(machine, 1, 1, 9 * PAGE, UMDEV_READ, &hold), -ENODEV);
    assert_int_equal(machine->guest.pin_calls, 2); /* nothing is tried twice */
}

/* Torn by umdev: the hold leads nowhere. */
static void test_torn(void **state)
{
    struct machine *machine = *state;
    struct vgpu_hold *hold;
    struct vgpu_fault fault;
    uint64_t value;
    uint8_t *ptr;

    assert_int_equal(take(machine, 0, 3 * PAGE, 3 * PAGE, UMDEV_READ, &hold), 0);
    vgpu_pins_put(hold);
    vgpu_mmu_unmap(&machine->guest.mmu, hold->bus[1].value, PAGE);
    assert_true(vgpu_pins_reach(&machine->pins, hold, MACHINE_IOVA, 3 * PAGE, &ptr) <= PAGE);
    assert_int_equal(vgpu_pins_reach(&machine->pins, hold, MACHINE_IOVA + PAGE, 2 * PAGE, &ptr), 0);
    assert_false(vgpu_memory_read(&machine->ring.memory, VGPU_IN_GUEST, MACHINE_IOVA + 2 * PAGE - 4,
                                  &value, 8, &fault));
    assert_int_equal(fault.code, VGPU_ERR_DMA_UNMAPPED);
}

/*
 * The engine's ways to memory, led to an address of another device by a hold that lies: they refuse
 * where the device's own table has nothing there.
 */
static void test_foreign(void **state)
{
    struct machine *machine = *state;
    const struct vgpu_memory *memory = &machine->ring.memory;
    const struct vgpu_area area = {.space = VGPU_IN_GUEST,
                                   .bpp = 4,
                                   .width = 16,
                                   .height = 1,
                                   .pitch = 64,
                                   .address = MACHINE_IOVA};
    struct machine other;
    struct vgpu_hold *theirs, *mine;
    struct vgpu_fault fault;
    struct vgpu_view view;
    uint64_t value;
    uint8_t *ptr;
    size_t len;

    machine_init(&other, VRAM, false, 1);
    assert_int_equal(take(&other, 700, 1, 1, UMDEV_RW, &theirs), 0);
    assert_int_equal(take(machine, 0, 1, 1, UMDEV_RW, &mine), 0);
    vgpu_pins_put(theirs);
    vgpu_pins_put(mine);
    mine->bus[0] = theirs->bus[0];
    assert_int_equal(vgpu_pins_reach(&machine->pins, mine, MACHINE_IOVA, 8, &ptr), 0);
    assert_false(vgpu_memory_read(memory, VGPU_IN_GUEST, MACHINE_IOVA, &value, 8, &fault));
    assert_int_equal(fault.code, VGPU_ERR_DMA_UNMAPPED);
    assert_false(vgpu_memory_write(memory, VGPU_IN_GUEST, MACHINE_IOVA, &value, 8, &fault));
    assert_false(vgpu_memory_store64(memory, VGPU_IN_GUEST, MACHINE_IOVA, 1, &fault));
    view = vgpu_view_open(memory, &area, UMDEV_RW);
    assert_null(vgpu_view_at(&view, MACHINE_IOVA, 4, &len, &fault));
    assert_int_equal(fault.code, VGPU_ERR_DMA_UNMAPPED);
    vgpu_view_close(&view);
    /* In the table of the device it belongs to, the address is good. */
    assert_int_equal(vgpu_pins_reach(&other.pins, theirs, MACHINE_IOVA + 700 * PAGE, 8, &ptr), 8);
    vgpu_pins_drop(&other.pins);
    machine_free(&other);
}

/* Many small commands of one turn pin the pages they share once. */
static void test_turn(void **state)
{
    struct machine *machine = *state;
    struct vgpu_fence fence = {
        .header.word = VGPU_HEADER(VGPU_OP_FENCE, VGPU_FENCE_WRITE, sizeof(fence)),
        .address = MACHINE_IOVA + 8,
    };

    for (fence.value = 1; fence.value <= 100; fence.value++)
        machine_emit(machine, &fence, sizeof(fence));
    assert_int_equal(machine_run(machine), VGPU_STEP_IDLE);
    assert_true(machine->ring.fence == 100);
    assert_true(machine->guest.pin_calls <= 3);
}

/* Rows far apart: what lies between them need not be there, and is not pinned. */
static void test_gaps(void **state)
{
    struct machine *machine = *state;
    struct vgpu_fill fill = {
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(fill)),
        .dst = {.format = VGPU_FORMAT_RAW32 | VGPU_SPACE_GUEST,
                .width = 16,
                .height = 10,
                .address = MACHINE_IOVA},
        .rect = {0, 0, 16, 10},
        .value = 0x12345678,
    };

    for (unsigned step = 2; step <= 32; step *= 2) {
        uint32_t pixel;

        for (uint32_t page = 0; page < 1000; page++)
            machine->guest.prot[page] = page % step ? 0 : UMDEV_WRITE;
        fill.dst.pitch = step * PAGE;
        fill.value += step;
        machine_do(machine, &fill, sizeof(fill));
        for (uint32_t row = 0; row < 10; row++) {
            machine_peek(machine, MACHINE_IOVA + (uint64_t)row * step * PAGE + 60, &pixel, 4);
            assert_int_equal(pixel, fill.value);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_less, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disabled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gaps, setup, teardown),
    };
    /* With identity there is no IOMMU that could keep anything apart. */
    const struct CMUnitTest iommu_tests[] = {
        cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
    };
    int failed = cmocka_run_group_tests_name("vgpu pins", tests, NULL, NULL);

    if (!machine_has_identity())
        failed += cmocka_run_group_tests_name("vgpu pins and IOMMU", iommu_tests, NULL, NULL);
    return failed;
}
