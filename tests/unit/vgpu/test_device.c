/* SPDX-License-Identifier: BSD-3-Clause */
/* A vgpu from its client's side: types, registers, rendering, interrupts, errors, resets. */
#include "rig.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

static int setup(void **state)
{
    *state = rig_host(1);
    return 0;
}

static int teardown(void **state)
{
    umdev_host_free(*state);
    return 0;
}

/* ------------------------------------------------------------------ parents and types */

#define PINNED 9 /* where vgpu-4-pinned is counted */

static int collect(void *opaque, const struct umdev_host_type *type)
{
    unsigned *available = opaque;

    assert_int_equal(strncmp(type->name, "vgpu-", 5), 0);
    if (!strcmp(type->name, "vgpu-4-pinned"))
        available[PINNED] = type->available;
    else
        available[type->name[5] - '0'] = type->available;
    return 0;
}

static void expect_free(struct umdev_host *host, unsigned one, unsigned two, unsigned four,
                        unsigned eight)
{
    unsigned available[10] = {0};

    assert_int_equal(umdev_host_for_each_type(host, collect, available), 0);
    assert_int_equal(available[1], one);
    assert_int_equal(available[2], two);
    assert_int_equal(available[4], four);
    assert_int_equal(available[PINNED], four);
    assert_int_equal(available[8], eight);
}

static void test_capacity(void **state)
{
    struct umdev_host *host = *state;
    char a[UMDEV_UUID_STR_SIZE], b[UMDEV_UUID_STR_SIZE];

    expect_free(host, 8, 4, 2, 1);
    assert_int_equal(umdev_host_create(host, NULL, "vgpu-1", NULL, a, NULL), 0);
    expect_free(host, 7, 3, 1, 0);
    assert_int_equal(umdev_host_create(host, NULL, "vgpu-4", NULL, b, NULL), 0);
    expect_free(host, 3, 1, 0, 0);
    assert_int_equal(umdev_host_create(host, "gpu", "vgpu-8", NULL, NULL, NULL), -EUSERS);
    assert_int_equal(umdev_host_remove(host, a), 0);
    assert_int_equal(umdev_host_remove(host, b), 0);
    expect_free(host, 8, 4, 2, 1);
}

static void test_parameters(void **state)
{
    static const char *const bad[] = {"vram=24M",  "vram=4M",    "vram=1",  "engines=0",
                                      "quantum=0", "colour=red", "bus=pci", "bus="};
    struct umdev_host *host = *state;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(umdev_host_add_parent(host, VGPU_DRIVER, "other", &bad[i], 1, NULL),
                         -EINVAL);
    assert_int_equal(umdev_host_add_parent(host, VGPU_DRIVER, "other", NULL, 0, NULL), 0);
    assert_int_equal(umdev_host_remove_parent(host, "other"), 0);
}

/* ------------------------------------------------------------------ registers */

static void test_identity(void **state)
{
    static const char *const types[] = {"vgpu-1", "vgpu-2", "vgpu-4", "vgpu-8"};
    static const uint64_t sizes[] = {RIG_VRAM, 2 * RIG_VRAM, 4 * RIG_VRAM, 8 * RIG_VRAM};

    for (unsigned i = 0; i < 4; i++) {
        struct umdev_region_info info;
        struct umdev_irq_info irqs;
        uint32_t id, bar0;
        struct rig rig;

        rig_init(&rig, *state, types[i]);
        assert_int_equal(umdev_client_read32(rig.client, UMDEV_REGION_CONFIG, 0, &id), 0);
        assert_int_equal(id, VGPU_PCI_DEVICE << 16 | VGPU_PCI_VENDOR);
        assert_int_equal(umdev_client_read32(rig.client, UMDEV_REGION_CONFIG, 8, &id), 0);
        assert_int_equal(id >> 8, VGPU_PCI_CLASS);
        assert_int_equal(umdev_client_read32(rig.client, UMDEV_REGION_CONFIG, 0x10, &bar0), 0);
        assert_int_equal(bar0 & 0xf, 0xc); /* 64-bit, prefetchable */
        assert_int_equal(umdev_client_get_region(rig.client, VGPU_BAR_VRAM, &info), 0);
        assert_true(info.size == sizes[i] && info.fd >= 0);
        assert_int_equal(umdev_client_get_region(rig.client, VGPU_BAR_REGS, &info), 0);
        assert_true(info.size == VGPU_BAR_REGS_SIZE && info.fd < 0);
        assert_int_equal(umdev_client_get_irq(rig.client, UMDEV_IRQ_MSIX, &irqs), 0);
        assert_int_equal(irqs.count, VGPU_MSIX_VECTORS);
        assert_int_equal(rig_read32(&rig, VGPU_REG_ID), VGPU_ID);
        assert_int_equal(rig_read32(&rig, VGPU_REG_VERSION), VGPU_VERSION);
        assert_int_equal(rig_read32(&rig, VGPU_REG_CAPS), (1 << VGPU_OP_COUNT) - 1);
        assert_int_equal(rig_read32(&rig, VGPU_REG_KERNELS), (1 << VGPU_KERNEL_COUNT) - 1);
        assert_true(rig_read64(&rig, VGPU_REG_VRAM_SIZE) == sizes[i]);
        rig_free(&rig);
    }
}

static void test_register_accesses(void **state)
{
    uint8_t all[VGPU_BAR_REGS_SIZE];
    struct umdev_client *client;
    uint64_t value = 0;
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    client = rig.client;
    rig_write32(&rig, VGPU_REG_SCRATCH, 0xdeadbeef);
    assert_int_equal(rig_read32(&rig, VGPU_REG_SCRATCH), 0xdeadbeef);
    /* The halves of a 64-bit register, written and read apart. */
    rig_write32(&rig, VGPU_REG_RING_BASE + 4, 0x11223344);
    rig_write32(&rig, VGPU_REG_RING_BASE, 0x55667000);
    assert_true(rig_read64(&rig, VGPU_REG_RING_BASE) == 0x1122334455667000);
    assert_int_equal(rig_read32(&rig, VGPU_REG_RING_BASE + 4), 0x11223344);
    /* Read-only ones and holes. */
    rig_write32(&rig, VGPU_REG_ID, 5);
    assert_int_equal(rig_read32(&rig, VGPU_REG_ID), VGPU_ID);
    rig_write32(&rig, 0x2000, 5);
    assert_int_equal(rig_read32(&rig, 0x2000), 0);
    rig_write32(&rig, VGPU_BAR_REGS_SIZE - 4, 5);
    assert_int_equal(rig_read32(&rig, VGPU_BAR_REGS_SIZE - 4), 0);
    /* Anything but whole dwords. */
    assert_int_equal(umdev_client_read(client, VGPU_BAR_REGS, VGPU_REG_ID, &value, 2), -EINVAL);
    assert_int_equal(umdev_client_read(client, VGPU_BAR_REGS, VGPU_REG_ID + 2, &value, 4), -EINVAL);
    assert_int_equal(umdev_client_write(client, VGPU_BAR_REGS, VGPU_REG_SCRATCH, &value, 1),
                     -EINVAL);
    assert_int_equal(rig_read32(&rig, VGPU_REG_SCRATCH), 0xdeadbeef);
    /* All of them at once. */
    assert_int_equal(umdev_client_read(client, VGPU_BAR_REGS, 0, all, sizeof(all)), 0);
    memcpy(&value, all + VGPU_REG_VRAM_SIZE, 8);
    assert_true(value == RIG_VRAM);
    rig_free(&rig);
}

/* ------------------------------------------------------------------ rendering */

static void test_render(void **state)
{
    struct vgpu_fill fill = rig_fill(1024, 0x80402010);
    struct vgpu_copy copy = {
        .header.word = VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(copy)),
        .dst = fill.dst,
        .src = fill.dst,
        .width = 1024,
        .height = 1024,
    };
    const uint32_t *guest;
    uint32_t *vram;
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    guest = (const uint32_t *)(rig.memory + (8 << 20));
    vram = umdev_client_map_region(rig.client, VGPU_BAR_VRAM, 0, RIG_VRAM);
    assert_non_null(vram);
    rig_emit(&rig, &fill, sizeof(fill));
    copy.dst.format |= VGPU_SPACE_GUEST;
    copy.dst.address = RIG_IOVA + (8 << 20);
    rig_emit(&rig, &copy, sizeof(copy));
    rig_finish(&rig, 77);
    for (unsigned i = 0; i < RIG_VRAM / 4; i++)
        assert_true(vram[i] == 0x80402010 && guest[i] == 0x80402010);
    assert_int_equal(rig_read32(&rig, VGPU_REG_RING_HEAD), rig.tail);
    assert_int_equal(rig_read32(&rig, VGPU_REG_STATUS), VGPU_STATUS_RUNNING);
    assert_int_equal(rig_read32(&rig, VGPU_REG_INT_STATUS), VGPU_INT_FENCE);
    rig_write32(&rig, VGPU_REG_INT_STATUS, VGPU_INT_FENCE);
    assert_int_equal(rig_read32(&rig, VGPU_REG_INT_STATUS), 0);
    assert_true(rig_read64(&rig, VGPU_REG_CNT_COMMANDS) == 3);
    assert_true(rig_read64(&rig, VGPU_REG_CNT_FENCES) == 1);
    assert_true(rig_read64(&rig, VGPU_REG_CNT_BYTES_FILLED) == RIG_VRAM);
    assert_true(rig_read64(&rig, VGPU_REG_CNT_BYTES_COPIED) == RIG_VRAM);
    assert_true(rig_read64(&rig, VGPU_REG_CNT_ENGINE_NS) > 0);
    rig_free(&rig);
}

/* Many times around the ring. */
static void test_stream(void **state)
{
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    for (uint64_t i = 1; i <= 500; i++) {
        struct vgpu_fill fill = rig_fill(1, (uint32_t)i);

        rig_emit(&rig, &fill, sizeof(fill));
        rig_finish(&rig, i);
    }
    rig_free(&rig);
}

static void test_interrupt_masks(void **state)
{
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    rig_write32(&rig, VGPU_REG_INT_ENABLE, 0);
    rig_fence(&rig, 1);
    while (rig_read64(&rig, VGPU_REG_FENCE) != 1)
        ;
    assert_false(rig_pending(rig.irq_fence));
    assert_int_equal(rig_read32(&rig, VGPU_REG_INT_STATUS), VGPU_INT_FENCE);
    /* What is pending is delivered when it is enabled, and once. */
    rig_write32(&rig, VGPU_REG_INT_ENABLE, VGPU_INT_FENCE);
    assert_true(rig_pending(rig.irq_fence));
    rig_write32(&rig, VGPU_REG_INT_ENABLE, VGPU_INT_ALL);
    assert_false(rig_pending(rig.irq_fence));
    rig_free(&rig);
}

/* ------------------------------------------------------------------ errors */

/* The ring has stopped; say so, and begin anew. */
static void expect_error(struct rig *rig, enum vgpu_error code, uint32_t position)
{
    rig_wait(rig->irq_error);
    assert_int_equal(rig_read32(rig, VGPU_REG_STATUS), VGPU_STATUS_ERROR);
    assert_int_equal(rig_read32(rig, VGPU_REG_ERROR), code);
    assert_int_equal(rig_read32(rig, VGPU_REG_ERROR_RING), position);
    assert_int_equal(rig_read32(rig, VGPU_REG_INT_STATUS) & VGPU_INT_ERROR, VGPU_INT_ERROR);
    /* Nothing but a reset helps. */
    rig_write32(rig, VGPU_REG_CONTROL, VGPU_CONTROL_RUN);
    assert_int_equal(rig_read32(rig, VGPU_REG_STATUS), VGPU_STATUS_ERROR);
    rig_write32(rig, VGPU_REG_INT_STATUS, VGPU_INT_ERROR);
    rig_start(rig);
    assert_int_equal(rig_read32(rig, VGPU_REG_ERROR), VGPU_ERR_NONE);
}

static void test_errors(void **state)
{
    struct vgpu_fill fill = rig_fill(1, 1);
    struct rig rig, other;

    rig_init(&rig, *state, "vgpu-1");
    rig_init(&other, *state, "vgpu-1");
    /* A bad packet behind a good one. */
    rig_emit(&rig, &fill, sizeof(fill));
    fill.rect.width = 2000;
    rig_emit(&rig, &fill, sizeof(fill));
    rig_fence(&rig, 9);
    rig_wait(rig.irq_error);
    assert_int_equal(rig_read32(&rig, VGPU_REG_ERROR_FIELD), offsetof(struct vgpu_fill, rect));
    assert_int_equal(rig_read32(&rig, VGPU_REG_ERROR_BATCH), VGPU_NO_BATCH);
    assert_true(rig_read64(&rig, VGPU_REG_FENCE) == 0);
    assert_false(rig_pending(rig.irq_fence));
    rig_finish(&other, 1); /* others go on */
    rig_write32(&rig, VGPU_REG_INT_ENABLE, 0);
    rig_write32(&rig, VGPU_REG_INT_ENABLE, VGPU_INT_ALL); /* once more */
    expect_error(&rig, VGPU_ERR_RECT, sizeof(fill));
    rig_finish(&rig, 10);
    /* A tail outside the ring. */
    rig_write32(&rig, VGPU_REG_RING_TAIL, RIG_RING);
    expect_error(&rig, VGPU_ERR_RING, sizeof(struct vgpu_fence));
    rig_write32(&rig, VGPU_REG_RING_TAIL, 4);
    expect_error(&rig, VGPU_ERR_RING, 0);
    /* A ring of no size. */
    rig_write32(&rig, VGPU_REG_CONTROL, 0);
    rig_write32(&rig, VGPU_REG_RING_SIZE, 12);
    rig_write32(&rig, VGPU_REG_CONTROL, VGPU_CONTROL_RUN);
    expect_error(&rig, VGPU_ERR_RING, 0);
    assert_true(rig_read64(&rig, VGPU_REG_CNT_ERRORS) == 4);
    assert_true(rig_read64(&other, VGPU_REG_CNT_ERRORS) == 0);
    rig_free(&rig);
    rig_free(&other);
}

/* The memory of the ring goes away under it: the next fetch fails. */
static void test_unmap_ring(void **state)
{
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    rig_finish(&rig, 1);
    assert_int_equal(umdev_client_dma_unmap(rig.client, umdev_iova(RIG_IOVA), RIG_MEMORY), 0);
    rig_fence(&rig, 2);
    rig_wait(rig.irq_error);
    assert_int_equal(rig_read32(&rig, VGPU_REG_ERROR), VGPU_ERR_DMA_UNMAPPED);
    assert_true(rig_read64(&rig, VGPU_REG_ERROR_ADDR) == RIG_IOVA + sizeof(struct vgpu_fence));
    assert_int_equal(
        umdev_client_dma_map(rig.client, rig.memfd, 0, umdev_iova(RIG_IOVA), RIG_MEMORY, UMDEV_RW),
        0);
    rig_start(&rig);
    rig_finish(&rig, 3);
    rig_free(&rig);
}

static void test_no_bus_master(void **state)
{
    const uint16_t command = 0x2;
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    assert_int_equal(
        umdev_client_write(rig.client, UMDEV_REGION_CONFIG, 4, &command, sizeof(command)), 0);
    rig_fence(&rig, 2);
    while (rig_read32(&rig, VGPU_REG_ERROR) != VGPU_ERR_DMA_DISABLED)
        ;
    rig_free(&rig);
}

/* ------------------------------------------------------------------ pins */

/* A COPY of a row of pixels from VRAM to the guest page at `offset` of its memory. */
static struct vgpu_copy copy_to_guest(uint64_t offset)
{
    return (struct vgpu_copy){
        .header.word = VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(struct vgpu_copy)),
        .dst = {.format = VGPU_FORMAT_RAW32 | VGPU_SPACE_GUEST,
                .pitch = 4096,
                .width = 1024,
                .height = 1,
                .address = RIG_IOVA + offset},
        .src = {.format = VGPU_FORMAT_RAW32, .pitch = 4096, .width = 1024, .height = 1},
        .width = 1024,
        .height = 1,
    };
}

/* Nothing stays pinned when the work is done. */
static void test_unpinned(void **state)
{
    struct vgpu_copy copy = copy_to_guest(8 << 20);
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    rig_wait_unpinned(&rig);
    for (uint64_t i = 1; i <= 10; i++) {
        rig_emit(&rig, &copy, sizeof(copy));
        rig_finish(&rig, i);
        rig_wait_unpinned(&rig);
    }
    rig_free(&rig);
}

/* All memory is pinned as long as it is mapped; commands neither add to that nor take from it. */
static void test_pinned_type(void **state)
{
    struct vgpu_copy copy = copy_to_guest(8 << 20);
    struct rig rig;

    rig_init(&rig, *state, "vgpu-4-pinned");
    assert_true(rig_pinned(&rig) == RIG_MEMORY);
    for (uint64_t i = 1; i <= 10; i++) {
        struct vgpu_fill fill = rig_fill(1, (uint32_t)i);

        rig_emit(&rig, &fill, sizeof(fill));
        rig_emit(&rig, &copy, sizeof(copy));
        rig_finish(&rig, i);
        assert_int_equal(((const uint32_t *)(rig.memory + (8 << 20)))[1023], i);
        assert_true(rig_pinned(&rig) == RIG_MEMORY);
    }
    assert_int_equal(umdev_client_dma_unmap(rig.client, umdev_iova(RIG_IOVA), RIG_MEMORY), 0);
    assert_true(rig_pinned(&rig) == 0);
    rig_fence(&rig, 11);
    rig_wait(rig.irq_error);
    assert_int_equal(rig_read32(&rig, VGPU_REG_ERROR), VGPU_ERR_DMA_UNMAPPED);
    assert_true(rig_pinned(&rig) == 0);
    rig_free(&rig);
}

/* Reading goes on while its memory loses the right to be written: it is there at each moment. */
static void test_protection_that_goes(void **state)
{
    const umdev_iova_t source = umdev_iova(RIG_IOVA + RIG_MEMORY);
    struct vgpu_copy copy = copy_to_guest(0);
    struct vgpu_surface vram = copy.src;
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    copy.src = copy.dst;
    copy.src.address = source.value;
    copy.dst = vram;
    assert_int_equal(
        umdev_client_dma_map(rig.client, rig.memfd, 8 << 20, source, 1 << 20, UMDEV_RW), 0);
    for (uint64_t i = 1; i <= 300; i++) {
        for (unsigned n = 0; n < 20; n++)
            rig_emit(&rig, &copy, sizeof(copy));
        rig_fence(&rig, i);
        do {
            assert_int_equal(umdev_client_dma_protect(rig.client, source, 1 << 20, UMDEV_READ), 0);
            assert_int_equal(umdev_client_dma_protect(rig.client, source, 1 << 20, UMDEV_RW), 0);
            assert_int_equal(rig_read32(&rig, VGPU_REG_ERROR), 0);
        } while (!rig_pending(rig.irq_fence));
    }
    rig_free(&rig);
}

/* What another device of the parent has mapped at an IOVA is not there for this one. */
static void test_other_memory(void **state)
{
    struct vgpu_copy copy = copy_to_guest(RIG_MEMORY);
    struct rig rig, other;

    rig_init(&rig, *state, "vgpu-1");
    rig_init(&other, *state, "vgpu-1");
    assert_int_equal(umdev_client_dma_map(other.client, other.memfd, 8 << 20,
                                          umdev_iova(RIG_IOVA + RIG_MEMORY), 4096, UMDEV_RW),
                     0);
    rig_emit(&other, &copy, sizeof(copy));
    rig_finish(&other, 1);
    rig_emit(&rig, &copy, sizeof(copy));
    rig_doorbell(&rig);
    expect_error(&rig, VGPU_ERR_DMA_UNMAPPED, 0);
    rig_wait_unpinned(&rig);
    rig_free(&rig);
    rig_free(&other);
}

/* ------------------------------------------------------------------ resets */

static void test_reset(void **state)
{
    struct vgpu_fill fill = rig_fill(1024, 0xffffffff);
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    rig_emit(&rig, &fill, sizeof(fill));
    rig_finish(&rig, 5);
    rig_write32(&rig, VGPU_REG_SCRATCH, 1);
    assert_int_equal(umdev_client_reset(rig.client), 0);
    assert_int_equal(rig_read32(&rig, VGPU_REG_SCRATCH), 0);
    assert_int_equal(rig_read32(&rig, VGPU_REG_STATUS), 0);
    assert_int_equal(rig_read32(&rig, VGPU_REG_INT_ENABLE), 0);
    assert_int_equal(rig_read32(&rig, VGPU_REG_INT_STATUS), 0);
    assert_int_equal(rig_read32(&rig, VGPU_REG_ERROR_BATCH), VGPU_NO_BATCH);
    assert_true(rig_read64(&rig, VGPU_REG_RING_BASE) == 0);
    assert_true(rig_read64(&rig, VGPU_REG_FENCE) == 0);
    assert_true(rig_read64(&rig, VGPU_REG_CNT_COMMANDS) == 0);
    rig_free(&rig);
}

/* Nothing that one client drew is there for the next. */
static void test_next_client(void **state)
{
    struct vgpu_fill fill = rig_fill(1024, 0xffffffff);
    const uint64_t *vram;
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    rig_emit(&rig, &fill, sizeof(fill));
    rig_finish(&rig, 5);
    rig_disconnect(&rig);
    rig_connect(&rig);
    vram = umdev_client_map_region(rig.client, VGPU_BAR_VRAM, 0, RIG_VRAM);
    assert_non_null(vram);
    for (unsigned i = 0; i < RIG_VRAM / 8; i++)
        assert_true(vram[i] == 0);
    assert_true(rig_read64(&rig, VGPU_REG_FENCE) == 0);
    rig_finish(&rig, 6);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capacity),        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_identity),        cmocka_unit_test(test_register_accesses),
        cmocka_unit_test(test_render),          cmocka_unit_test(test_stream),
        cmocka_unit_test(test_interrupt_masks), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_unmap_ring),      cmocka_unit_test(test_no_bus_master),
        cmocka_unit_test(test_unpinned),        cmocka_unit_test(test_pinned_type),
        cmocka_unit_test(test_other_memory),    cmocka_unit_test(test_reset),
        cmocka_unit_test(test_next_client),     cmocka_unit_test(test_protection_that_goes),
    };

    return cmocka_run_group_tests_name("vgpu device", tests, setup, teardown);
}
