/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data model. Pages 0 to TABLES - 1 are tables: a top one, two of level 2 and five of level 1; the
 * others are data, each of them one word over and over. The model is `slots`: for each used entry
 * of a table the page that it names, or NONE, and whether it can be written. A table of level 1 is
 * in one slot at most. Memory is written from the model, and the model is what it is compared with.
 */
#include "tables.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE   4096u
#define WORDS  (PAGE / 8)
#define LEVELS 3u

enum { TOP = 0, MIDDLES = 1, LEAVES = 3, TABLES = 8, PAGES = 40, SLOTS = 8, NONE = -1 };

/* Above what any guest here has, and not what gpu.h has. */
#define FIRST_IOVA UINT64_C(0x1300000000)
#define IOVA_PAGES 0x40000u

/* Which of a table's entries are used: the first ones, and the last. */
static const unsigned index_of[SLOTS] = {0, 1, 2, 3, 17, 509, 510, 511};

struct slot {
    int page; /* or NONE */
    bool writable;
};

struct tables {
    struct workload *work;
    uint64_t random;
    uint8_t *memory; /* of all pages */
    uint64_t iova[PAGES];
    uint64_t word[PAGES]; /* of a page of data */
    struct slot slots[TABLES][SLOTS];
    bool used[PAGES]; /* in the round under way */
    unsigned moves[2];
};

static unsigned draw(struct tables *tables, unsigned below)
{
    tables->random ^= tables->random << 13;
    tables->random ^= tables->random >> 7;
    tables->random ^= tables->random << 17;
    return (unsigned)(tables->random >> 32) % below;
}

static uint64_t *words_of(const struct tables *tables, int page)
{
    return (uint64_t *)(tables->memory + (size_t)page * PAGE);
}

/* ------------------------------------------------------------------ from the model to memory */

static uint64_t entry_of(const struct tables *tables, int table, unsigned slot)
{
    const struct slot *it = &tables->slots[table][slot];

    if (it->page == NONE)
        return 0;
    return tables->iova[it->page] | VGPU_GGTT_VALID | VGPU_SPACE_GUEST |
           (it->writable ? VGPU_GGTT_WRITABLE : 0);
}

static void set(struct tables *tables, int table, unsigned slot, int page, bool writable)
{
    tables->slots[table][slot] = (struct slot){page, writable};
    __atomic_store_n(&words_of(tables, table)[index_of[slot]], entry_of(tables, table, slot),
                     __ATOMIC_SEQ_CST);
}

/* The IOVA that is to be a page's: of no other one. */
static uint64_t draw_iova(struct tables *tables)
{
    uint64_t iova = FIRST_IOVA + (uint64_t)draw(tables, IOVA_PAGES) * PAGE;

    for (int page = 0; page < PAGES; page++)
        if (tables->iova[page] == iova)
            return draw_iova(tables);
    return iova;
}

static int map(struct tables *tables, int page)
{
    tables->iova[page] = draw_iova(tables);
    return gpu_map(tables->work->gpu, words_of(tables, page), tables->iova[page], PAGE);
}

/* Elsewhere; the entries that name it follow. */
static int move(struct tables *tables, int page)
{
    if (gpu_unmap(tables->work->gpu, tables->iova[page], PAGE) || map(tables, page))
        return -1;
    for (int table = 0; table < TABLES; table++)
        for (unsigned slot = 0; slot < SLOTS; slot++)
            if (tables->slots[table][slot].page == page)
                set(tables, table, slot, page, tables->slots[table][slot].writable);
    return 0;
}

struct tables *tables_new(struct workload *work, uint64_t seed)
{
    struct tables *tables = calloc(1, sizeof(*tables));
    void *memory = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (!tables || memory == MAP_FAILED) {
        fprintf(stderr, "vgpu-guest: no memory\n");
        free(tables);
        return NULL;
    }
    tables->work = work;
    tables->random = seed * 2 + 1;
    tables->memory = memory;
    for (int page = 0; page < PAGES; page++) {
        if (map(tables, page)) {
            free(tables);
            return NULL;
        }
    }
    for (int table = 0; table < TABLES; table++)
        for (unsigned slot = 0; slot < SLOTS; slot++)
            tables->slots[table][slot].page = NONE;
    for (unsigned i = 0; i < 2; i++)
        set(tables, TOP, i * 7, (int)(MIDDLES + i), false);
    return tables;
}

/* ------------------------------------------------------------------ changes */

static void change_leaf(struct tables *tables)
{
    int table = (int)(LEAVES + draw(tables, TABLES - LEAVES));
    int page = draw(tables, 5) ? (int)(TABLES + draw(tables, PAGES - TABLES)) : NONE;

    set(tables, table, draw(tables, SLOTS), page, page != NONE && draw(tables, 5));
}

/* A table of level 1 goes to another place, or to none. */
static void change_link(struct tables *tables)
{
    int below = (int)(LEAVES + draw(tables, TABLES - LEAVES));

    for (int table = MIDDLES; table < LEAVES; table++)
        for (unsigned slot = 0; slot < SLOTS; slot++)
            if (tables->slots[table][slot].page == below)
                set(tables, table, slot, NONE, false);
    if (draw(tables, 6))
        set(tables, (int)(MIDDLES + draw(tables, LEAVES - MIDDLES)), draw(tables, SLOTS), below,
            false);
}

static int change(struct tables *tables, uint32_t number)
{
    unsigned count = number ? 1 + draw(tables, 12) : 150;

    for (unsigned i = 0; i < count; i++) {
        if (draw(tables, 4))
            change_leaf(tables);
        else
            change_link(tables);
    }
    for (unsigned i = draw(tables, 4); i > 0; i--, tables->moves[0]++)
        if (move(tables, (int)draw(tables, PAGES)))
            return -1;
    return 0;
}

/* ------------------------------------------------------------------ work */

/* A place that the tables can have an entry for; its slot in a table of level 1, or NULL. */
static uint64_t draw_place(struct tables *tables, const struct slot **leaf)
{
    unsigned top = draw(tables, 2) * 7, middle = draw(tables, SLOTS), low = draw(tables, SLOTS);
    int table = tables->slots[tables->slots[TOP][top].page][middle].page;

    *leaf = table == NONE ? NULL : &tables->slots[table][low];
    return ((uint64_t)index_of[top] << 18 | (uint64_t)index_of[middle] << 9 | index_of[low]) * PAGE;
}

static void emit_fill(const struct tables *tables, uint64_t address, uint32_t value)
{
    const struct vgpu_fill fill = {
        .header.word = VGPU_HEADER(VGPU_OP_FILL, 0, sizeof(fill)),
        .dst = {.format = VGPU_FORMAT_RAW32 | VGPU_SPACE_VIRTUAL,
                .pitch = PAGE,
                .width = PAGE / 4,
                .height = 1,
                .address = address},
        .rect = {.width = PAGE / 4, .height = 1},
        .value = value,
    };

    workload_emit(tables->work, &fill, sizeof(fill));
}

/* Before what is watched: so that the device is at it while the guest goes on. */
static void emit_long(const struct tables *tables)
{
    const struct vgpu_mandelbrot mandelbrot = {
        .header = {VGPU_HEADER(VGPU_OP_DISPATCH, 0, sizeof(mandelbrot)), VGPU_KERNEL_MANDELBROT},
        .dst = {.format = VGPU_FORMAT_RAW32, .pitch = PAGE, .width = PAGE / 4, .height = 2},
        .rect = {.width = PAGE / 4, .height = 2},
        .max_iterations = VGPU_ITERATIONS_MAX / 4,
    };

    workload_emit(tables->work, &mandelbrot, sizeof(mandelbrot));
}

static void emit_round(struct tables *tables, uint32_t number)
{
    const struct vgpu_ppgtt_set ppgtt = {
        .header = {VGPU_HEADER(VGPU_OP_PPGTT, 0, sizeof(ppgtt)), LEVELS},
        .root = tables->iova[TOP],
    };
    const struct slot *leaf;

    workload_emit(tables->work, &ppgtt, sizeof(ppgtt));
    if (number % 2)
        emit_long(tables);
    for (uint32_t i = 0; i < 16; i++) {
        uint64_t address = draw_place(tables, &leaf);
        uint32_t value = number << 8 | i;

        if (!leaf || leaf->page == NONE || !leaf->writable)
            continue;
        emit_fill(tables, address, value);
        tables->word[leaf->page] = (uint64_t)value << 32 | value;
        tables->used[leaf->page] = true;
    }
    workload_emit_fence(tables->work);
    workload_submit(tables->work);
}

/* While the device works: pages that this has nothing to do with move, as do other entries. */
static int change_meanwhile(struct tables *tables)
{
    for (unsigned i = draw(tables, 4); i > 0; i--) {
        int page = (int)(TABLES + draw(tables, PAGES - TABLES));

        if (tables->used[page])
            continue;
        if (move(tables, page))
            return -1;
        tables->moves[1]++;
    }
    return 0;
}

/* ------------------------------------------------------------------ what became of memory */

static int complain(const struct tables *tables, uint32_t number, int page, unsigned index,
                    uint64_t expected)
{
    fprintf(stderr, "vgpu-guest: round %u, page %d, word %u is 0x%llx, not 0x%llx\n", number, page,
            index, (unsigned long long)words_of(tables, page)[index], (unsigned long long)expected);
    return -1;
}

static int check(const struct tables *tables, uint32_t number)
{
    for (int page = 0; page < PAGES; page++) {
        const uint64_t *words = words_of(tables, page);
        uint64_t expected[WORDS] = {0};

        for (unsigned i = 0; page < TABLES && i < SLOTS; i++)
            expected[index_of[i]] = entry_of(tables, page, i);
        for (unsigned i = 0; page >= TABLES && i < WORDS; i++)
            expected[i] = tables->word[page];
        for (unsigned i = 0; i < WORDS; i++)
            if (words[i] != expected[i])
                return complain(tables, number, page, i, expected[i]);
    }
    return 0;
}

/* A place without an entry, or one that is read-only, stops the ring. */
static int provoke(struct tables *tables)
{
    const struct slot *leaf;
    uint64_t address;
    bool missing;

    do {
        address = draw_place(tables, &leaf);
    } while (leaf && leaf->page != NONE && leaf->writable);
    missing = !leaf || leaf->page == NONE;
    emit_fill(tables, address, 0xffffffff);
    workload_submit(tables->work);
    if (workload_wait_error(tables->work,
                            missing ? VGPU_ERR_VIRT_UNMAPPED : VGPU_ERR_VIRT_PROTECTION))
        return -1;
    if (gpu_read64(tables->work->gpu, VGPU_REG_ERROR_ADDR) != address) {
        fprintf(stderr, "vgpu-guest: the error is somewhere else\n");
        return -1;
    }
    return workload_restart(tables->work);
}

int tables_round(struct tables *tables, uint32_t number)
{
    memset(tables->used, 0, sizeof(tables->used));
    if (change(tables, number))
        return -1;
    emit_round(tables, number);
    if (change_meanwhile(tables) || workload_wait_fence(tables->work) || check(tables, number))
        return -1;
    return number % 8 == 7 ? provoke(tables) || check(tables, number) ? -1 : 0 : 0;
}

void tables_count_moves(const struct tables *tables, unsigned *at_rest, unsigned *at_work)
{
    *at_rest = tables->moves[0];
    *at_work = tables->moves[1];
}
