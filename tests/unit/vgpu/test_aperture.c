/* SPDX-License-Identifier: BSD-3-Clause */
/* The aperture and the VRAM that comes and goes, through the library's client. */
#include "aperture.h"

#include "touch.h"
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define SHARE_PAGES (RIG_VRAM / PAGE)
#define POOL_PAGES  SHARE_PAGES /* of the host that setup_full() makes */

struct view {
    struct rig rig; /* first */
    uint8_t *vram;  /* BAR0 */
    uint8_t *aperture;
};

static void view_open(struct view *view, struct umdev_host *host, const char *type)
{
    rig_init(&view->rig, host, type);
    touch_catch(SIGBUS);
    view->vram = umdev_client_map_region(view->rig.client, VGPU_BAR_VRAM, 0, RIG_VRAM);
    assert_non_null(view->vram);
    view->aperture = aperture_map(&view->rig);
}

static uint64_t *vram_page(const struct view *view, uint64_t page)
{
    return (uint64_t *)(void *)(view->vram + page * PAGE);
}

static uint64_t value_at(const struct view *view, uint64_t page)
{
    uint64_t value;

    assert_true(aperture_read(view->aperture, page, &value));
    return value;
}

static bool refused(const struct view *view, uint64_t page)
{
    uint64_t value;

    return !aperture_read(view->aperture, page, &value);
}

static struct umdev_host_stats stats_of(const struct view *view)
{
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};

    assert_int_equal(umdev_host_get_stats(view->rig.host, view->rig.uuid, &stats), 0);
    return stats;
}

/* Of the device, whose ring then runs again. */
static void reset(struct rig *rig)
{
    const uint16_t command = 0x6; /* memory, bus master */

    assert_int_equal(umdev_client_reset(rig->client), 0);
    assert_int_equal(umdev_client_write(rig->client, UMDEV_REGION_CONFIG, 4, &command, 2), 0);
    rig_write32(rig, VGPU_REG_INT_ENABLE, VGPU_INT_ALL);
    rig_start(rig);
}

/* ------------------------------------------------------------------ the table */

static void test_entries(void **state)
{
    struct view view;
    uint64_t block[4] = {1, 2, 3, 4};
    struct rig *rig = &view.rig;

    view_open(&view, *state, "vgpu-1");
    assert_int_equal(rig_read32(rig, VGPU_REG_GGTT_ENTRIES), APERTURE / PAGE);
    assert_true(aperture_get(rig, 5) == 0);
    /* Kept as written, without VALID where it is none. */
    aperture_set(rig, 5, RIG_VRAM - PAGE + RW);
    assert_true(aperture_get(rig, 5) == RIG_VRAM - PAGE + RW);
    aperture_set(rig, 5, RIG_VRAM + RW);
    assert_true(aperture_get(rig, 5) == RIG_VRAM + VGPU_GGTT_WRITABLE);
    aperture_set(rig, 5, -PAGE + VALID);
    assert_true(aperture_get(rig, 5) == -PAGE);
    aperture_set(rig, 5, 4 + VALID);
    assert_true(aperture_get(rig, 5) == 4);
    aperture_set(rig, 5, 0x800 + VALID);
    assert_true(aperture_get(rig, 5) == 0x800);
    /* Guest memory is anywhere. */
    aperture_set(rig, 5, -PAGE + VGPU_SPACE_GUEST + VALID);
    assert_true(aperture_get(rig, 5) == -PAGE + VGPU_SPACE_GUEST + VALID);
    /* By halves: the whole of it counts. */
    aperture_set(rig, 6, 3 * PAGE + VALID);
    rig_write32(rig, VGPU_REG_GGTT + 4, 1);
    assert_true(aperture_get(rig, 6) == (UINT64_C(1) << 32) + 3 * PAGE);
    rig_write32(rig, VGPU_REG_GGTT + 4, 0);
    rig_write32(rig, VGPU_REG_GGTT, 2 * PAGE + VALID);
    assert_true(aperture_get(rig, 6) == 2 * PAGE + VALID);
    /* Many at once, from the register before them on; what is behind the last is not there. */
    rig_write32(rig, VGPU_REG_GGTT_INDEX, APERTURE / PAGE - 2);
    assert_int_equal(umdev_client_write(rig->client, VGPU_BAR_REGS, VGPU_REG_GGTT - 8, block, 32),
                     0);
    assert_true(aperture_get(rig, APERTURE / PAGE - 1) == 3);
    rig_write32(rig, VGPU_REG_GGTT_INDEX, APERTURE / PAGE - 1);
    assert_int_equal(umdev_client_read(rig->client, VGPU_BAR_REGS, VGPU_REG_GGTT, block, 32), 0);
    assert_true(block[0] == 3 && !block[1] && !block[2] && !block[3]);
    rig_write32(rig, VGPU_REG_GGTT_INDEX, UINT32_MAX);
    rig_write64(rig, VGPU_REG_GGTT + 8, 7);
    assert_true(rig_read64(rig, VGPU_REG_GGTT + 8) == 0);
    assert_int_equal(umdev_client_read(rig->client, VGPU_BAR_REGS, VGPU_REG_GGTT, block, 2),
                     -EINVAL);
    rig_free(rig);
}

/* The whole window in one access. */
static void test_window(void **state)
{
    static uint64_t entries[VGPU_GGTT_WINDOW], back[VGPU_GGTT_WINDOW];
    const uint32_t first = 12345;
    struct view view;

    view_open(&view, *state, "vgpu-1");
    for (uint32_t i = 0; i < VGPU_GGTT_WINDOW; i++)
        entries[i] = (i * 7 % SHARE_PAGES) * PAGE + RW;
    rig_write32(&view.rig, VGPU_REG_GGTT_INDEX, first);
    assert_int_equal(
        umdev_client_write(view.rig.client, VGPU_BAR_REGS, VGPU_REG_GGTT, entries, sizeof(entries)),
        0);
    assert_int_equal(
        umdev_client_read(view.rig.client, VGPU_BAR_REGS, VGPU_REG_GGTT, back, sizeof(back)), 0);
    assert_memory_equal(entries, back, sizeof(back));
    for (uint32_t i = 0; i < SHARE_PAGES; i++)
        *vram_page(&view, i) = i + 100;
    for (uint32_t i = 0; i < VGPU_GGTT_WINDOW; i += 61)
        assert_true(value_at(&view, first + i) == i * 7 % SHARE_PAGES + 100);
    assert_true(refused(&view, first - 1));
    assert_true(refused(&view, first + VGPU_GGTT_WINDOW));
    rig_free(&view.rig);
}

/* ------------------------------------------------------------------ touches */

static void test_touch_and_remap(void **state)
{
    struct view view;

    view_open(&view, *state, "vgpu-1");
    *vram_page(&view, 3) = 33;
    *vram_page(&view, 9) = 99;
    aperture_set(&view.rig, 1000, 3 * PAGE + RW);
    assert_true(value_at(&view, 1000) == 33);
    assert_true(aperture_write(view.aperture, 1000, 34));
    assert_true(*vram_page(&view, 3) == 34);
    /* The page shows another one as soon as the register is written. */
    aperture_set(&view.rig, 1000, 9 * PAGE + RW);
    assert_true(value_at(&view, 1000) == 99);
    assert_true(stats_of(&view).revoked == 1);
    aperture_set(&view.rig, 1000, 9 * PAGE + RW);
    assert_true(stats_of(&view).revoked == 1); /* nothing changed */
    aperture_set(&view.rig, 1000, 0);
    assert_true(refused(&view, 1000));
    assert_true(rig_read64(&view.rig, VGPU_REG_CNT_FAULTS) == 2);
    assert_true(rig_read64(&view.rig, VGPU_REG_CNT_REFUSED) == 1);
    /* A refused page that becomes valid is no more refused. */
    aperture_set(&view.rig, 1000, 3 * PAGE + RW);
    assert_true(value_at(&view, 1000) == 34);
    rig_free(&view.rig);
}

/* A run is one fault, whichever of its pages is touched first, and ends where it must. */
static void test_runs(void **state)
{
    struct view view;

    view_open(&view, *state, "vgpu-1");
    for (uint64_t i = 0; i < SHARE_PAGES; i++)
        *vram_page(&view, i) = i;
    aperture_emit_fill(&view.rig, 100, 512, 10 * PAGE + RW, VGPU_GGTT_FILL_STEP);
    aperture_emit_fill(&view.rig, 612, 8, 522 * PAGE + VALID, VGPU_GGTT_FILL_STEP);
    aperture_emit_fill(&view.rig, 620, 8, 531 * PAGE + VALID, VGPU_GGTT_FILL_STEP);
    rig_finish(&view.rig, 1);
    assert_true(value_at(&view, 300) == 210);
    for (uint64_t i = 0; i < 512; i++)
        assert_true(value_at(&view, 100 + i) == 10 + i);
    assert_true(stats_of(&view).faults == 1);
    for (uint64_t i = 0; i < 8; i++) {
        assert_true(value_at(&view, 612 + i) == 522 + i); /* read-only */
        assert_true(value_at(&view, 620 + i) == 531 + i); /* not the next page */
    }
    assert_true(stats_of(&view).faults == 3);
    /* One entry in the middle: the others are still there. */
    aperture_set(&view.rig, 200, 0);
    assert_true(refused(&view, 200));
    assert_true(value_at(&view, 199) == 109 && value_at(&view, 201) == 111);
    assert_true(stats_of(&view).faults == 3 && stats_of(&view).revoked == 1);
    rig_free(&view.rig);
}

static void test_read_only(void **state)
{
    struct view view;

    view_open(&view, *state, "vgpu-1");
    *vram_page(&view, 5) = 55;
    aperture_set(&view.rig, 7, 5 * PAGE + VALID);
    assert_true(value_at(&view, 7) == 55);
    assert_false(aperture_write(view.aperture, 7, 1));
    assert_true(*vram_page(&view, 5) == 55);
    assert_int_equal(umdev_client_write32(view.rig.client, VGPU_BAR_APERTURE, 7 * PAGE, 1),
                     -EACCES);
    aperture_set(&view.rig, 7, 5 * PAGE + RW);
    assert_true(aperture_write(view.aperture, 7, 56));
    assert_true(*vram_page(&view, 5) == 56);
    rig_free(&view.rig);
}

/* Entries from guest memory and from VRAM, and one that can't be fetched. */
static void test_load(void **state)
{
    const uint32_t count = 20000; /* more than a slice */
    struct vgpu_ggtt_load p = {
        .header = {VGPU_HEADER(VGPU_OP_GGTT_LOAD, 0, sizeof(p)), VGPU_SPACE_GUEST},
        .address = RIG_IOVA + PAGE * 4,
        .first = 40000,
        .count = count,
    };
    struct view view;
    uint64_t *entries;

    view_open(&view, *state, "vgpu-1");
    entries = (uint64_t *)(void *)(view.rig.memory + PAGE * 4);
    *vram_page(&view, 1) = 11;
    *vram_page(&view, 2) = 22;
    for (uint32_t i = 0; i < count; i++)
        entries[i] = PAGE + RW;
    rig_emit(&view.rig, &p, sizeof(p));
    rig_finish(&view.rig, 1);
    assert_true(value_at(&view, 40000) == 11 && value_at(&view, 59999) == 11);
    assert_true(refused(&view, 39999) && refused(&view, 60000));
    vram_page(&view, 50)[0] = 2 * PAGE + VALID;
    vram_page(&view, 50)[1] = 0;
    p.header.arg = VGPU_SPACE_VRAM;
    p.address = 50 * PAGE;
    p.count = 2;
    rig_emit(&view.rig, &p, sizeof(p));
    rig_finish(&view.rig, 2);
    assert_true(value_at(&view, 40000) == 22 && value_at(&view, 40002) == 11);
    assert_true(refused(&view, 40001));
    /* What was loaded before the error has its effect, and nothing else. */
    p.header.arg = VGPU_SPACE_GUEST;
    p.address = RIG_IOVA + RIG_MEMORY - PAGE;
    p.count = 1024;
    memset(view.rig.memory + RIG_MEMORY - PAGE, 0, PAGE);
    rig_emit(&view.rig, &p, sizeof(p));
    rig_doorbell(&view.rig);
    rig_wait(view.rig.irq_error);
    assert_int_equal(rig_read32(&view.rig, VGPU_REG_ERROR), VGPU_ERR_DMA_UNMAPPED);
    assert_true(refused(&view, 40000) && refused(&view, 40511));
    assert_true(value_at(&view, 40512) == 11);
    rig_free(&view.rig);
}

/* ------------------------------------------------------------------ guest memory */

static void test_guest_pages(void **state)
{
    const uint16_t off = 0x2;
    struct view view;
    struct rig *rig = &view.rig;
    uint64_t value = 0, iova = RIG_IOVA + 64 * PAGE;
    uint8_t bytes[16];

    view_open(&view, *state, "vgpu-1");
    *vram_page(&view, 1) = 0x0101010101010101;
    memset(rig->memory + 64 * PAGE, 0x64, PAGE);
    memset(rig->memory + 70 * PAGE, 0x70, PAGE);
    aperture_set(rig, 0, iova + VGPU_SPACE_GUEST + RW);
    aperture_set(rig, 1, RIG_IOVA + 70 * PAGE + VGPU_SPACE_GUEST + VALID);
    aperture_set(rig, 2, PAGE + RW);
    /* Not to be mapped: the client has it already. */
    assert_true(refused(&view, 0));
    assert_true(stats_of(&view).refusal_errno == EPERM);
    /* Messages reach it, over page borders as well. */
    assert_int_equal(umdev_client_read64(rig->client, 4, 8, &value), 0);
    assert_true(value == 0x6464646464646464);
    assert_int_equal(umdev_client_read(rig->client, 4, PAGE - 8, bytes, 16), 0);
    assert_true(bytes[7] == 0x64 && bytes[8] == 0x70);
    assert_int_equal(umdev_client_read(rig->client, 4, 2 * PAGE - 8, bytes, 16), 0);
    assert_true(bytes[7] == 0x70 && bytes[8] == 0x01);
    assert_int_equal(umdev_client_write64(rig->client, 4, 16, 0x1122334455667788), 0);
    memcpy(&value, rig->memory + 64 * PAGE + 16, 8);
    assert_true(value == 0x1122334455667788);
    assert_int_equal(umdev_client_write32(rig->client, 4, PAGE, 1), -EACCES);
    /* The device's rules for guest memory hold: no mapping, no bus mastering. */
    aperture_set(rig, 3, RIG_IOVA + RIG_MEMORY + VGPU_SPACE_GUEST + RW);
    assert_int_equal(umdev_client_read64(rig->client, 4, 3 * PAGE, &value), -EFAULT);
    assert_int_equal(umdev_client_write(rig->client, UMDEV_REGION_CONFIG, 4, &off, 2), 0);
    assert_int_equal(umdev_client_read64(rig->client, 4, 0, &value), -ENODEV);
    rig_free(rig);
}

/* ------------------------------------------------------------------ VRAM that comes and goes */

static void test_grow(void **state)
{
    struct view view;
    struct rig *rig = &view.rig;
    struct vgpu_fill fill = rig_fill(1, 0xabcdef01);

    view_open(&view, *state, "vgpu-1");
    assert_true(rig_read64(rig, VGPU_REG_VRAM_QUOTA) == 2 * RIG_VRAM);
    assert_true(rig_read64(rig, VGPU_REG_VRAM_USED) == RIG_VRAM);
    assert_true(rig_read64(rig, VGPU_REG_VRAM_POOL) == 7 * RIG_VRAM);
    aperture_set(rig, 0, RIG_VRAM + 3 * PAGE + RW);
    assert_true(refused(&view, 0)); /* not there yet, and stays none */
    assert_int_equal(aperture_alloc(rig, 2, 4), VGPU_ERR_NONE);
    assert_true(rig_read64(rig, VGPU_REG_VRAM_USED) == RIG_VRAM + 4 * PAGE);
    assert_true(rig_read64(rig, VGPU_REG_VRAM_POOL) == 7 * RIG_VRAM - 4 * PAGE);
    assert_true(refused(&view, 0));
    aperture_set(rig, 0, RIG_VRAM + 3 * PAGE + RW);
    aperture_set(rig, 1, RIG_VRAM + 5 * PAGE + RW);
    assert_true(value_at(&view, 0) == 0);
    assert_true(aperture_write(view.aperture, 0, 77));
    /* The engine reaches it by its VRAM address. */
    fill.dst.address = RIG_VRAM + 5 * PAGE;
    rig_emit(rig, &fill, sizeof(fill));
    rig_finish(rig, 100);
    assert_true(value_at(&view, 1) == 0xabcdef01abcdef01);
    /* What is there already stays as it is, and is not counted again. */
    assert_int_equal(aperture_alloc(rig, 0, 8), VGPU_ERR_NONE);
    assert_true(rig_read64(rig, VGPU_REG_VRAM_USED) == RIG_VRAM + 8 * PAGE);
    assert_true(value_at(&view, 0) == 77);
    /* Freed under the mapping. */
    aperture_free(rig, 3, 1);
    assert_true(refused(&view, 0));
    assert_true(aperture_get(rig, 0) == 0);
    assert_true(value_at(&view, 1) == 0xabcdef01abcdef01);
    aperture_free(rig, 0, 8);
    assert_true(rig_read64(rig, VGPU_REG_VRAM_USED) == RIG_VRAM);
    assert_true(rig_read64(rig, VGPU_REG_VRAM_POOL) == 7 * RIG_VRAM);
    assert_true(refused(&view, 1));
    /* And new again: nothing of the old is left. */
    assert_int_equal(aperture_alloc(rig, 3, 3), VGPU_ERR_NONE);
    aperture_set(rig, 0, RIG_VRAM + 3 * PAGE + RW);
    aperture_set(rig, 1, RIG_VRAM + 5 * PAGE + RW);
    assert_true(value_at(&view, 0) == 0 && value_at(&view, 1) == 0);
    rig_free(rig);
}

/* The engine and VRAM that is not there; a batch that frees what it lies in. */
static void test_engine_without_pages(void **state)
{
    struct view view;
    struct rig *rig = &view.rig;
    struct vgpu_fill fill = rig_fill(1, 5);
    struct vgpu_free inside[2];
    struct vgpu_batch batch = {
        .header = {VGPU_HEADER(VGPU_OP_BATCH, 0, sizeof(batch)), VGPU_SPACE_VRAM},
        .address = RIG_VRAM,
        .bytes = sizeof(inside),
    };

    view_open(&view, *state, "vgpu-1");
    fill.dst.address = RIG_VRAM;
    rig_emit(rig, &fill, sizeof(fill));
    rig_doorbell(rig);
    rig_wait(rig->irq_error);
    assert_int_equal(rig_read32(rig, VGPU_REG_ERROR), VGPU_ERR_BOUNDS);
    rig_start(rig);
    assert_int_equal(aperture_alloc(rig, 0, 1), VGPU_ERR_NONE);
    aperture_set(rig, 0, RIG_VRAM + RW);
    for (unsigned i = 0; i < 2; i++)
        inside[i] = (struct vgpu_free){
            .header.word = VGPU_HEADER(VGPU_OP_FREE, 0, sizeof(inside[0])),
            .address = RIG_VRAM,
            .bytes = PAGE,
        };
    memcpy(view.aperture, inside, sizeof(inside));
    rig_emit(rig, &batch, sizeof(batch));
    rig_doorbell(rig);
    rig_wait(rig->irq_error);
    assert_int_equal(rig_read32(rig, VGPU_REG_ERROR), VGPU_ERR_BOUNDS);
    assert_int_equal(rig_read32(rig, VGPU_REG_ERROR_BATCH), sizeof(inside[0]));
    assert_true(refused(&view, 0));
    rig_free(rig);
}

/* ALLOC without a place for the result: too much is an error. */
static void test_too_much(void **state)
{
    struct view view;
    struct vgpu_alloc p = {
        .header.word = VGPU_HEADER(VGPU_OP_ALLOC, 0, sizeof(p)),
        .address = RIG_VRAM,
        .bytes = RIG_VRAM,
    };
    char other[2][UMDEV_UUID_STR_SIZE];

    view_open(&view, *state, "vgpu-1");
    assert_int_equal(umdev_host_create(*state, "gpu", "vgpu-4", NULL, other[0], NULL), 0);
    assert_int_equal(umdev_host_create(*state, "gpu", "vgpu-2", NULL, other[1], NULL), 0);
    rig_emit(&view.rig, &p, sizeof(p));
    rig_finish(&view.rig, 1); /* the last of the pool */
    assert_true(rig_read64(&view.rig, VGPU_REG_VRAM_POOL) == 0);
    assert_int_equal(umdev_host_create(*state, "gpu", "vgpu-1", NULL, NULL, NULL), -EUSERS);
    reset(&view.rig);
    assert_int_equal(umdev_host_remove(*state, other[1]), 0);
    assert_int_equal(umdev_host_create(*state, "gpu", "vgpu-2", NULL, other[1], NULL), 0);
    {
        char last[UMDEV_UUID_STR_SIZE];

        assert_int_equal(umdev_host_create(*state, "gpu", "vgpu-1", NULL, last, NULL), 0);
        p.bytes = PAGE;
        rig_emit(&view.rig, &p, sizeof(p));
        rig_doorbell(&view.rig);
        rig_wait(view.rig.irq_error);
        assert_int_equal(rig_read32(&view.rig, VGPU_REG_ERROR), VGPU_ERR_NO_VRAM);
        assert_int_equal(umdev_host_remove(*state, last), 0);
    }
    rig_free(&view.rig);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(umdev_host_remove(*state, other[i]), 0);
}

/* One grows while the other shrinks; neither ever sees what the other had. */
static void test_two_share_the_pool(void **state)
{
    struct view a, b;
    char rest[UMDEV_UUID_STR_SIZE];

    view_open(&a, *state, "vgpu-1");
    view_open(&b, *state, "vgpu-2");
    assert_int_equal(umdev_host_create(*state, "gpu", "vgpu-4", NULL, rest, NULL), 0);
    assert_int_equal(aperture_alloc(&a.rig, 0, POOL_PAGES), VGPU_ERR_NONE);
    aperture_emit_fill(&a.rig, 0, POOL_PAGES, RIG_VRAM + RW, VGPU_GGTT_FILL_STEP);
    rig_finish(&a.rig, 1000);
    for (uint64_t i = 0; i < POOL_PAGES; i++)
        assert_true(aperture_write(a.aperture, i, i + 1));
    assert_int_equal(aperture_alloc(&b.rig, 0, 1), VGPU_ERR_NO_VRAM);
    for (uint64_t half = POOL_PAGES / 2; half; half /= 2) {
        uint64_t taken = POOL_PAGES - 2 * half;

        aperture_free(&a.rig, taken, half);
        assert_int_equal(aperture_alloc(&b.rig, taken, half + 1), VGPU_ERR_NO_VRAM);
        assert_int_equal(aperture_alloc(&b.rig, taken, half), VGPU_ERR_NONE);
        aperture_emit_fill(&b.rig, (uint32_t)taken, (uint32_t)half,
                           2 * RIG_VRAM + taken * PAGE + RW, VGPU_GGTT_FILL_STEP);
        rig_finish(&b.rig, 1000 + half);
        for (uint64_t i = taken; i < taken + half; i++) {
            assert_true(refused(&a, i));
            assert_true(value_at(&b, i) == 0);
            assert_true(aperture_write(b.aperture, i, ~i));
        }
        assert_true(value_at(&a, taken + half) == taken + half + 1);
    }
    for (uint64_t i = 0; i < POOL_PAGES - 1; i++)
        assert_true(value_at(&b, i) == ~i);
    rig_free(&a.rig);
    rig_free(&b.rig);
    assert_int_equal(umdev_host_remove(*state, rest), 0);
}

/* A reset, and the end of the client, give everything back. */
static void test_endings(void **state)
{
    struct view view;
    struct rig *rig = &view.rig;

    view_open(&view, *state, "vgpu-1");
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(aperture_alloc(rig, 0, 64), VGPU_ERR_NONE);
        aperture_set(rig, 0, RIG_VRAM + RW);
        assert_true(value_at(&view, 0) == 0);
        assert_true(aperture_write(view.aperture, 0, 1));
        aperture_set(rig, 1, PAGE + RW);
        assert_true(aperture_write(view.aperture, 1, 1));
        if (round < 1) {
            reset(rig);
            assert_true(refused(&view, 0) && refused(&view, 1));
        } else {
            rig_disconnect(rig);
            rig_connect(rig);
            view.aperture = aperture_map(rig);
            assert_true(refused(&view, 0) && refused(&view, 1));
        }
        assert_true(aperture_get(rig, 0) == 0);
        assert_true(rig_read64(rig, VGPU_REG_VRAM_USED) == RIG_VRAM);
        assert_true(rig_read64(rig, VGPU_REG_VRAM_POOL) == 7 * RIG_VRAM);
        assert_int_equal(aperture_alloc(rig, 0, 1), VGPU_ERR_NONE);
        aperture_set(rig, 0, RIG_VRAM + RW);
        assert_true(value_at(&view, 0) == 0);
    }
    rig_free(rig);
}

static int setup(void **state)
{
    *state = rig_host(2);
    return 0;
}

static int teardown(void **state)
{
    umdev_host_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_window, setup, teardown),
        cmocka_unit_test_setup_teardown(test_touch_and_remap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_load, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guest_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_without_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_much, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_share_the_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endings, setup, teardown),
    };

    return cmocka_run_group_tests_name("vgpu aperture", tests, NULL, NULL);
}
