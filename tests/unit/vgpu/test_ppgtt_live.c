/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page tables of a live client: its memory is tracked by the kernel, or compared, its tables change
 * while engines run, its memory and it itself go. All with each way that writes are found.
 */
#include "random.h"
#include "rig.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define PAGE UINT64_C(4096)

/* Pages of the client's memory. The ring is page 0. */
#define ROOT   16u
#define LEAVES 17u
#define DATA   64u
#define SLOTS  64u /* virtual pages */
#define CHOICE 512u

#define RW_GUEST (VGPU_GGTT_VALID | VGPU_GGTT_WRITABLE | VGPU_SPACE_GUEST)

struct way {
    const char *name;
    enum umdev_track_help help;
};

static const struct way ways[] = {
    {"async", UMDEV_TRACK_HELP_ASYNC},
    {"sync", UMDEV_TRACK_HELP_SYNC},
    {"compare", UMDEV_TRACK_HELP_NONE},
};
#define NUM_WAYS (sizeof(ways) / sizeof(ways[0]))

static struct umdev_tracker *make_tracker(const struct way *way)
{
    unsigned flags = way->help == UMDEV_TRACK_HELP_SYNC ? UMDEV_TRACKER_NOTIFY : 0;
    struct umdev_tracker *tracker;

    printf("# %s\n", way->name);
    if (way->help == UMDEV_TRACK_HELP_NONE)
        return NULL;
    assert_int_equal(umdev_tracker_new(flags, &tracker), 0);
    return tracker;
}

static uint64_t iova_of(uint64_t page)
{
    return RIG_IOVA + page * PAGE;
}

static uint8_t *page_of(const struct rig *rig, uint64_t page)
{
    return rig->memory + page * PAGE;
}

static void set_entry(const struct rig *rig, uint64_t table, unsigned index, uint64_t entry)
{
    _Atomic uint64_t *entries = (_Atomic uint64_t *)(void *)page_of(rig, table);

    atomic_store(&entries[index], entry);
}

static void select_tables(struct rig *rig)
{
    struct vgpu_ppgtt_set set = {
        .header = {VGPU_HEADER(VGPU_OP_PPGTT, 0, sizeof(set)), 2},
        .root = iova_of(ROOT),
    };

    rig_emit(rig, &set, sizeof(set));
}

/* Slot n shows page DATA + n. */
static void begin(struct rig *rig, struct umdev_host *host, const struct way *way,
                  struct umdev_tracker *tracker)
{
    rig_init_tracked(rig, host, "vgpu-1", tracker);
    assert_int_equal(umdev_client_track_help(rig->client), way->help);
    set_entry(rig, ROOT, 0, iova_of(LEAVES) | VGPU_GGTT_VALID | VGPU_SPACE_GUEST);
    for (unsigned i = 0; i < SLOTS; i++)
        set_entry(rig, LEAVES, i, iova_of(DATA + i) | RW_GUEST);
    select_tables(rig);
}

/* A byte to each of `count` slots from `first` on. */
static void emit_fill(struct rig *rig, unsigned first, unsigned count, uint8_t value)
{
    struct vgpu_fill fill = {
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(fill)),
        .dst = {VGPU_FORMAT_R8 | VGPU_SPACE_VIRTUAL, (uint32_t)PAGE, 1, count, first * PAGE},
        .rect = {0, 0, 1, count},
        .value = value,
    };

    rig_emit(rig, &fill, sizeof(fill));
}

/* Each frame a few entries change; the frame shows exactly where they point. */
static void rewrite(struct rig *rig)
{
    uint64_t seed = random_seed(), fence = 0;
    unsigned where[SLOTS];
    static uint8_t expected[CHOICE];

    memset(expected, 0, sizeof(expected));
    for (unsigned i = 0; i < SLOTS; i++)
        where[i] = i;
    for (unsigned frame = 0; frame < 300; frame++) {
        unsigned first = random_below(&seed, SLOTS), count = 1 + random_below(&seed, SLOTS - first);

        for (uint32_t changes = random_below(&seed, 20); changes > 0; changes--) {
            unsigned slot = random_below(&seed, SLOTS);

            where[slot] = random_below(&seed, CHOICE);
            set_entry(rig, LEAVES, slot, iova_of(DATA + where[slot]) | RW_GUEST);
        }
        emit_fill(rig, first, count, (uint8_t)frame);
        for (unsigned i = first; i < first + count; i++)
            expected[where[i]] = (uint8_t)frame;
        rig_finish(rig, ++fence);
        for (unsigned i = 0; i < CHOICE; i++)
            assert_int_equal(*page_of(rig, DATA + i), expected[i]);
    }
    assert_true(rig_tracked(rig) == 2);
}

static void test_rewrites(void **state)
{
    struct umdev_host *host = *state;

    for (unsigned i = 0; i < NUM_WAYS; i++) {
        struct umdev_tracker *tracker = make_tracker(&ways[i]);
        struct rig rig;

        begin(&rig, host, &ways[i], tracker);
        rewrite(&rig);
        rig_free(&rig);
        umdev_tracker_free(tracker);
    }
}

struct rewriter {
    const struct rig *rig;
    atomic_bool stop;
    atomic_uint rounds;
};

/* Slots change from one page to the other and back, all the time. */
static void *rewriter_main(void *opaque)
{
    struct rewriter *rewriter = opaque;

    while (!rewriter->stop) {
        unsigned other = ++rewriter->rounds % 2 ? SLOTS : 0;

        for (unsigned i = 0; i < SLOTS; i++)
            set_entry(rewriter->rig, LEAVES, i, iova_of(DATA + other + i) | RW_GUEST);
    }
    return NULL;
}

/* What an engine writes meanwhile is in one of the two; at last, in the one that is named. */
static void test_while_running(void **state)
{
    for (unsigned i = 0; i < NUM_WAYS; i++) {
        struct umdev_tracker *tracker = make_tracker(&ways[i]);
        struct rewriter rewriter = {0};
        struct rig rig;
        pthread_t thread;
        unsigned last;

        begin(&rig, *state, &ways[i], tracker);
        rewriter.rig = &rig;
        assert_int_equal(pthread_create(&thread, NULL, rewriter_main, &rewriter), 0);
        while (rewriter.rounds < 10)
            sched_yield();
        for (unsigned frame = 1; frame < 200; frame++) {
            emit_fill(&rig, 0, SLOTS, (uint8_t)frame);
            rig_finish(&rig, frame);
            for (unsigned slot = 0; slot < SLOTS; slot++) {
                bool one = *page_of(&rig, DATA + slot) == (uint8_t)frame;
                bool two = *page_of(&rig, DATA + SLOTS + slot) == (uint8_t)frame;

                assert_true(one != two);
            }
        }
        rewriter.stop = true;
        pthread_join(thread, NULL);
        last = rewriter.rounds % 2 ? SLOTS : 0;
        emit_fill(&rig, 0, SLOTS, 0xff);
        rig_finish(&rig, 1000);
        for (unsigned slot = 0; slot < SLOTS; slot++)
            assert_int_equal(*page_of(&rig, DATA + last + slot), 0xff);
        rig_free(&rig);
        umdev_tracker_free(tracker);
    }
}

/* Another device of the process writes into a table: the first one learns of it as of any write. */
static void test_other_device(void **state)
{
    for (unsigned i = 0; i < NUM_WAYS; i++) {
        struct umdev_tracker *tracker = make_tracker(&ways[i]);
        struct rig rig, other;
        uint64_t entry = iova_of(DATA + 100) | RW_GUEST;
        struct vgpu_copy copy = {
            .header.word = VGPU_HEADER(VGPU_OP_COPY, 0, sizeof(copy)),
            .dst = {VGPU_FORMAT_R8 | VGPU_SPACE_GUEST, 8, 8, 1, 0x700000000},
            .src = {VGPU_FORMAT_R8 | VGPU_SPACE_GUEST, 8, 8, 1, iova_of(DATA)},
            .width = 8,
            .height = 1,
        };

        begin(&rig, *state, &ways[i], tracker);
        emit_fill(&rig, 3, 1, 1);
        rig_finish(&rig, 1);
        assert_int_equal(*page_of(&rig, DATA + 3), 1);
        rig_init_tracked(&other, *state, "vgpu-1", tracker);
        assert_int_equal(umdev_client_dma_map(other.client, rig.memfd, LEAVES * PAGE,
                                              umdev_iova(0x700000000), PAGE, UMDEV_RW),
                         0);
        memcpy(page_of(&other, DATA), &entry, sizeof(entry));
        copy.dst.address += 3 * sizeof(entry);
        rig_emit(&other, &copy, sizeof(copy));
        rig_finish(&other, 1);
        emit_fill(&rig, 3, 1, 2);
        rig_finish(&rig, 2);
        assert_int_equal(*page_of(&rig, DATA + 3), 1);
        assert_int_equal(*page_of(&rig, DATA + 100), 2);
        rig_free(&other);
        rig_free(&rig);
        umdev_tracker_free(tracker);
    }
}

/* ------------------------------------------------------------------ endings */

/* A command without end, through the tables. */
static void begin_load(struct rig *rig)
{
    struct vgpu_mandelbrot p = rig_long(1024);
    uint64_t slices = rig_read64(rig, VGPU_REG_CNT_SLICES);

    p.dst.format = VGPU_FORMAT_RAW32 | VGPU_SPACE_VIRTUAL;
    p.dst.address = 0;
    rig_emit(rig, &p, sizeof(p));
    rig_doorbell(rig);
    while (rig_read64(rig, VGPU_REG_CNT_SLICES) < slices + 2)
        ;
}

/* Eight megabytes are mapped; the tables are not in it. */
static void map_all(const struct rig *rig)
{
    for (unsigned i = 0; i < 512; i++)
        set_entry(rig, LEAVES, i, iova_of(DATA + i) | RW_GUEST);
    for (unsigned i = 1; i < 4; i++)
        set_entry(rig, ROOT, i, iova_of(i * UINT64_C(512)) | RW_GUEST | VGPU_PPGTT_LARGE);
}

static void test_endings(void **state)
{
    const uint16_t command = 0x6;

    for (unsigned i = 0; i < NUM_WAYS; i++) {
        struct umdev_tracker *tracker = make_tracker(&ways[i]);
        struct rig rig;

        for (unsigned round = 0; round < 8; round++) {
            begin(&rig, *state, &ways[i], tracker);
            map_all(&rig);
            begin_load(&rig);
            assert_true(rig_tracked(&rig) == 2 && rig_pinned(&rig) > 0);
            switch (round % 4) {
            case 0: /* the ring: what is known of tables stays */
                rig_start(&rig);
                assert_true(rig_tracked(&rig) == 2);
                break;
            case 1: /* the device */
                assert_int_equal(umdev_client_reset(rig.client), 0);
                assert_true(rig_tracked(&rig) == 0 && rig_pinned(&rig) == 0);
                assert_int_equal(umdev_client_write(rig.client, UMDEV_REGION_CONFIG, 4, &command,
                                                    sizeof(command)),
                                 0);
                rig_start(&rig);
                break;
            case 2: /* the memory */
                assert_int_equal(
                    umdev_client_dma_unmap(rig.client, umdev_iova(RIG_IOVA), RIG_MEMORY), 0);
                assert_true(rig_tracked(&rig) == 0 && rig_pinned(&rig) == 0);
                rig_wait(rig.irq_error);
                assert_int_equal(rig_read32(&rig, VGPU_REG_ERROR), VGPU_ERR_DMA_UNMAPPED);
                break;
            default: /* the client */
                break;
            }
            rig_free(&rig);
        }
        umdev_tracker_free(tracker);
    }
}

/* The memory moves while the engine runs, again and again: it finds it, or says where it was. */
static void test_remaps(void **state)
{
    for (unsigned i = 0; i < NUM_WAYS; i++) {
        struct umdev_tracker *tracker = make_tracker(&ways[i]);
        struct rig rig;

        begin(&rig, *state, &ways[i], tracker);
        map_all(&rig);
        for (unsigned round = 0; round < 60; round++) {
            emit_fill(&rig, 0, 2000, (uint8_t)round);
            rig_fence(&rig, round + 1);
            assert_int_equal(umdev_client_dma_unmap(rig.client, umdev_iova(RIG_IOVA), RIG_MEMORY),
                             0);
            assert_true(rig_tracked(&rig) == 0 && rig_pinned(&rig) == 0);
            assert_int_equal(umdev_client_dma_map_at(rig.client, rig.memfd, 0, umdev_iova(RIG_IOVA),
                                                     RIG_MEMORY, UMDEV_RW, rig.memory),
                             0);
            while (rig_read32(&rig, VGPU_REG_STATUS) & VGPU_STATUS_BUSY)
                ;
            if (rig_read32(&rig, VGPU_REG_STATUS) & VGPU_STATUS_ERROR) {
                assert_int_equal(rig_read32(&rig, VGPU_REG_ERROR), VGPU_ERR_DMA_UNMAPPED);
                rig_start(&rig);
                select_tables(&rig);
            }
        }
        rig_free(&rig);
        umdev_tracker_free(tracker);
    }
}

/* The last page of the address space and the first one do not follow each other. */
static void test_around_the_end(void **state)
{
    const uint64_t last = UINT64_MAX - PAGE + 1;
    struct rig rig;

    begin(&rig, *state, &ways[2], NULL);
    assert_int_equal(
        umdev_client_dma_map(rig.client, rig.memfd, DATA * PAGE, umdev_iova(last), PAGE, UMDEV_RW),
        0);
    assert_int_equal(umdev_client_dma_map(rig.client, rig.memfd, (DATA + 1) * PAGE, umdev_iova(0),
                                          PAGE, UMDEV_RW),
                     0);
    set_entry(&rig, LEAVES, 0, last | RW_GUEST);
    set_entry(&rig, LEAVES, 1, 0 | RW_GUEST);
    emit_fill(&rig, 0, 2, 5);
    rig_finish(&rig, 1);
    assert_int_equal(*page_of(&rig, DATA), 5);
    assert_int_equal(*page_of(&rig, DATA + 1), 5);
    set_entry(&rig, LEAVES, 0, 0);
    set_entry(&rig, LEAVES, 1, 0);
    rig_finish(&rig, 2);
    rig_wait_unpinned(&rig);
    rig_free(&rig);
}

/* Whatever a device's tables say, another one of the same engine goes on. */
static void test_neighbour(void **state)
{
    struct rig bad, good;

    begin(&bad, *state, &ways[2], NULL);
    rig_init(&good, *state, "vgpu-1");
    for (unsigned round = 0; round < 100; round++) {
        set_entry(&bad, ROOT, 0,
                  iova_of(round % 3 ? ROOT : LEAVES) | VGPU_GGTT_VALID | VGPU_SPACE_GUEST);
        set_entry(&bad, LEAVES, 0, round % 2 ? iova_of(LEAVES) | RW_GUEST : ~UINT64_C(0));
        emit_fill(&bad, 0, 1, 1);
        rig_doorbell(&bad);
        rig_finish(&good, round);
        rig_wait(bad.irq_error);
        assert_int_equal(rig_read32(&bad, VGPU_REG_ERROR), VGPU_ERR_VIRT_ENTRY);
        rig_start(&bad);
        select_tables(&bad);
    }
    rig_free(&good);
    rig_free(&bad);
}

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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(rewrites), TEST(while_running), TEST(other_device),   TEST(endings),
        TEST(remaps),   TEST(neighbour),     TEST(around_the_end),
    };

    return cmocka_run_group_tests_name("vgpu ppgtt, live", tests, NULL, NULL);
}
