/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Endings under load: while engines work for a device, it is reset, loses its client or its memory,
 * or is removed; and no device waits for another's long command.
 */
#include "random.h"
#include "rig.h"
#include "unit.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROWS    2048 /* of the long command: minutes of work if nothing cut it off */
#define WORKERS 3
#define ROUNDS  40

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

/* A command without end is under way. */
static void begin_load(struct rig *rig)
{
    struct vgpu_mandelbrot p = rig_long(ROWS);
    uint64_t slices = rig_read64(rig, VGPU_REG_CNT_SLICES);

    rig_emit(rig, &p, sizeof(p));
    rig_doorbell(rig);
    while (rig_read64(rig, VGPU_REG_CNT_SLICES) < slices + 2)
        ;
    assert_int_equal(rig_read32(rig, VGPU_REG_STATUS), VGPU_STATUS_RUNNING | VGPU_STATUS_BUSY);
}

static void test_ring_reset(void **state)
{
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    for (uint64_t i = 1; i <= 20; i++) {
        begin_load(&rig);
        rig_start(&rig);
        rig_finish(&rig, i);
    }
    rig_free(&rig);
}

/*
 * A device reset clears the command register: the client sets it again, as after power-on. Bus
 * mastering is off before the driver is told, so the ring may first stop with an error and say so.
 */
static void reset_device(struct rig *rig)
{
    const uint16_t command = 0x6;

    assert_int_equal(umdev_client_reset(rig->client), 0);
    assert_int_equal(rig_read32(rig, VGPU_REG_STATUS), 0);
    rig_pending(rig->irq_error);
    assert_int_equal(
        umdev_client_write(rig->client, UMDEV_REGION_CONFIG, 4, &command, sizeof(command)), 0);
    rig_write32(rig, VGPU_REG_INT_ENABLE, VGPU_INT_ALL);
    rig_start(rig);
}

static void test_device_reset(void **state)
{
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    for (unsigned i = 0; i < 20; i++) {
        begin_load(&rig);
        reset_device(&rig);
        rig_finish(&rig, 1);
    }
    rig_free(&rig);
}

static void test_stop(void **state)
{
    uint64_t slices;
    struct rig rig, other;

    rig_init(&rig, *state, "vgpu-1");
    rig_init(&other, *state, "vgpu-1");
    begin_load(&rig);
    rig_write32(&rig, VGPU_REG_CONTROL, 0);
    assert_int_equal(rig_read32(&rig, VGPU_REG_STATUS), 0);
    slices = rig_read64(&rig, VGPU_REG_CNT_SLICES);
    for (uint64_t i = 1; i <= 50; i++)
        rig_finish(&other, i); /* the engine has been around */
    assert_true(rig_read64(&rig, VGPU_REG_CNT_SLICES) == slices);
    rig_free(&rig);
    rig_free(&other);
}

/* The unmap comes back at once, nothing is torn, and the command ends at the next touch. */
static void unmap_under_load(struct rig *rig)
{
    begin_load(rig);
    assert_int_equal(umdev_client_dma_unmap(rig->client, umdev_iova(RIG_IOVA), RIG_MEMORY), 0);
    rig_wait(rig->irq_error);
    assert_int_equal(rig_read32(rig, VGPU_REG_ERROR), VGPU_ERR_DMA_UNMAPPED);
    rig_wait_unpinned(rig);
    assert_int_equal(umdev_client_dma_map(rig->client, rig->memfd, 0, umdev_iova(RIG_IOVA),
                                          RIG_MEMORY, UMDEV_RW),
                     0);
    rig_start(rig);
}

static void test_unmap(void **state)
{
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    for (uint64_t i = 1; i <= 20; i++) {
        unmap_under_load(&rig);
        rig_finish(&rig, i);
    }
    rig_free(&rig);
}

/* A client that maps and unmaps other memory all the time: its command goes on. */
static void test_unmap_elsewhere(void **state)
{
    const umdev_iova_t iova = umdev_iova(RIG_IOVA + RIG_MEMORY);
    struct rig rig;
    uint64_t slices;

    rig_init(&rig, *state, "vgpu-1");
    begin_load(&rig);
    slices = rig_read64(&rig, VGPU_REG_CNT_SLICES);
    for (unsigned i = 0; i < 20 || rig_read64(&rig, VGPU_REG_CNT_SLICES) < slices + 20; i++) {
        assert_int_equal(umdev_client_dma_map(rig.client, rig.memfd, 0, iova, 4096, UMDEV_RW), 0);
        assert_int_equal(umdev_client_dma_unmap(rig.client, iova, 4096), 0);
    }
    assert_int_equal(rig_read32(&rig, VGPU_REG_STATUS), VGPU_STATUS_RUNNING | VGPU_STATUS_BUSY);
    rig_start(&rig);
    rig_finish(&rig, 1);
    rig_wait_unpinned(&rig);
    rig_free(&rig);
}

static void test_disconnect(void **state)
{
    struct rig rig;

    rig_init(&rig, *state, "vgpu-1");
    for (unsigned i = 0; i < 20; i++) {
        begin_load(&rig);
        rig_disconnect(&rig);
        rig_connect(&rig);
        rig_finish(&rig, 1);
    }
    rig_free(&rig);
}

/* Removed with its client there; the client learns it from its connection. */
static void test_remove(void **state)
{
    for (unsigned i = 0; i < 20; i++) {
        struct rig rig;

        rig_init(&rig, *state, "vgpu-8");
        begin_load(&rig);
        assert_int_equal(umdev_host_remove(*state, rig.uuid), 0);
        umdev_client_close(rig.client);
        munmap(rig.memory, RIG_MEMORY);
        close(rig.memfd);
    }
}

/* The host goes, engines, devices and all, while they work. */
static void test_host_free(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        struct umdev_host *host = rig_host(2);
        struct rig rigs[2];

        for (unsigned j = 0; j < 2; j++) {
            rig_init(&rigs[j], host, "vgpu-2");
            begin_load(&rigs[j]);
        }
        umdev_host_free(host);
        for (unsigned j = 0; j < 2; j++) {
            umdev_client_close(rigs[j].client);
            munmap(rigs[j].memory, RIG_MEMORY);
            close(rigs[j].memfd);
        }
    }
}

/* One engine, one device with a command without end: the other's short ones go through. */
static void test_turns(void **state)
{
    struct rig busy, quick;

    rig_init(&busy, *state, "vgpu-1");
    rig_init(&quick, *state, "vgpu-1");
    begin_load(&busy);
    for (uint64_t i = 1; i <= 20; i++) {
        struct vgpu_fill fill = rig_fill(16, (uint32_t)i);

        rig_emit(&quick, &fill, sizeof(fill));
        rig_finish(&quick, i);
    }
    assert_int_equal(rig_read32(&busy, VGPU_REG_STATUS), VGPU_STATUS_RUNNING | VGPU_STATUS_BUSY);
    rig_free(&busy);
    rig_free(&quick);
}

/* ------------------------------------------------------------------ all at once */

struct worker {
    pthread_t thread;
    struct umdev_host *host;
    uint64_t random;
};

static void *worker_main(void *opaque)
{
    struct worker *worker = opaque;
    struct rig rig;

    rig_init(&rig, worker->host, "vgpu-2");
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        struct vgpu_fill fill = rig_fill(1024, (uint32_t)round);

        switch (random_below(&worker->random, 5)) {
        case 0:
            rig_emit(&rig, &fill, sizeof(fill));
            break;
        case 1:
            begin_load(&rig);
            rig_start(&rig);
            break;
        case 2:
            begin_load(&rig);
            reset_device(&rig);
            break;
        case 3:
            begin_load(&rig);
            rig_disconnect(&rig);
            rig_connect(&rig);
            break;
        default:
            unmap_under_load(&rig);
            break;
        }
        rig_finish(&rig, round);
    }
    rig_free(&rig);
    return NULL;
}

static void test_storm(void **state)
{
    struct umdev_host *host = rig_host(2);
    uint64_t seed = random_seed();
    struct worker workers[WORKERS];

    (void)state;
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.host = host, .random = seed + i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    umdev_host_free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring_reset),
        cmocka_unit_test(test_device_reset),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_unmap),
        cmocka_unit_test(test_unmap_elsewhere),
        cmocka_unit_test(test_disconnect),
        cmocka_unit_test(test_remove),
        cmocka_unit_test(test_host_free),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_storm),
    };

    return cmocka_run_group_tests_name("vgpu load", tests, setup, teardown);
}
