/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page tables that change at random, against a naive reference: at each doorbell it copies all of
 * guest memory, and walks the copy. Every byte of guest memory is compared after each round, and
 * every error with its address.
 *
 * Three processes of 2, 3 and 4 levels have a table of each level of their own, and some spare ones
 * for level 1. Entries come and go, with wrong bits, to pages that the client has taken away or
 * made read-only; tables are written by the CPU and by the ring itself. So that the reference need
 * not know what the device has read, no table has two places in one process, and none is a page of
 * memory.
 */
#include "random.h"
#include "tables.h"
#include "unit.h"

#include <inttypes.h>
#include <string.h>

#define VRAM   ((uint64_t)1 << 20)
#define ROUNDS 10000u

#define PROCESSES   3u
#define SPARE       4u /* tables of level 1 of a process, each with its place in level 2 */
#define TABLES_EACH 8u /* pages of a process's tables: levels 2 to 4, then level 1 */
#define DATA        (PROCESSES * TABLES_EACH)
#define DATA_PAGES  900u
#define SLOTS       24u /* entries of a table that are used */

struct model {
    struct machine machine;
    uint64_t seed;
    uint8_t seen[MACHINE_USABLE];   /* guest memory at the last doorbell */
    uint8_t memory[MACHINE_USABLE]; /* what it has to be */
    unsigned good, errors[VGPU_ERR_VIRT_TABLES + 1];
};

static uint32_t below(struct model *model, uint32_t limit)
{
    return random_below(&model->seed, limit);
}

/* ------------------------------------------------------------------ the reference */

struct expected {
    enum vgpu_error code;
    uint64_t address;
};

static uint64_t entry_in(const uint8_t *memory, uint64_t table, unsigned index)
{
    uint64_t entry;

    memcpy(&entry, memory + (table - MACHINE_IOVA) + index * sizeof(entry), sizeof(entry));
    return entry;
}

static unsigned prot_of(const struct model *model, uint64_t iova)
{
    if (iova < MACHINE_IOVA || iova - MACHINE_IOVA >= MACHINE_USABLE)
        return 0;
    return model->machine.guest.prot[(iova - MACHINE_IOVA) / PAGE];
}

static struct expected error(enum vgpu_error code, uint64_t address)
{
    return (struct expected){code, address};
}

/*
 * Down to the entry of the lowest table that there is. *level: 1, or that of an entry which is not
 * valid. A table that can't be read is the only error.
 */
static struct expected walk(const struct model *model, uint64_t root, unsigned levels,
                            uint64_t address, uint64_t *leaf, unsigned *level)
{
    uint64_t table = root;

    for (*level = levels;; (*level)--) {
        if (!prot_of(model, table))
            return error(VGPU_ERR_DMA_UNMAPPED, table);
        if (!(prot_of(model, table) & UMDEV_READ))
            return error(VGPU_ERR_DMA_PROTECTION, table);
        *leaf = entry_in(model->seen, table, (unsigned)(address >> (12 + 9 * (*level - 1)) & 511));
        if (*level == 1 || !(*leaf & VGPU_GGTT_VALID))
            return error(VGPU_ERR_NONE, 0);
        if ((*leaf & (PAGE - 1)) != (VGPU_GGTT_VALID | GUEST))
            return error(VGPU_ERR_VIRT_ENTRY, address);
        table = *leaf & ~(uint64_t)(PAGE - 1);
    }
}

/* A write to one page. */
static struct expected check_page(const struct model *model, uint64_t entry, uint64_t address)
{
    uint64_t iova = entry & ~(uint64_t)(PAGE - 1);

    if (!(entry & VGPU_GGTT_VALID))
        return error(VGPU_ERR_VIRT_UNMAPPED, address);
    if (entry & (PAGE - 1) & ~(uint64_t)(RW | GUEST))
        return error(VGPU_ERR_VIRT_ENTRY, address);
    if (!(entry & VGPU_GGTT_WRITABLE))
        return error(VGPU_ERR_VIRT_PROTECTION, address);
    if (!prot_of(model, iova))
        return error(VGPU_ERR_DMA_UNMAPPED, iova);
    if (!(prot_of(model, iova) & UMDEV_WRITE))
        return error(VGPU_ERR_DMA_PROTECTION, iova);
    return error(VGPU_ERR_NONE, 0);
}

/*
 * A fill: all tables that it needs come first, each of 2 MiB; then the pages, in order. What it did
 * before an error is right, too.
 */
static struct expected fill_reference(struct model *model, uint64_t root, unsigned levels,
                                      uint64_t address, uint32_t bytes, uint8_t value)
{
    struct expected expected;
    uint64_t entry, last = address + bytes - 1;
    unsigned level;

    for (uint64_t at = address; at <= last; at = (at | (((uint64_t)1 << 21) - 1)) + 1) {
        expected = walk(model, root, levels, at, &entry, &level);
        if (expected.code)
            return expected;
    }
    for (uint64_t at = address; at <= last;) {
        uint64_t end = (at | (PAGE - 1)) < last ? at | (PAGE - 1) : last;

        (void)walk(model, root, levels, at, &entry, &level);
        expected = check_page(model, entry, at);
        if (expected.code)
            return expected;
        memset(model->memory + ((entry & ~(uint64_t)(PAGE - 1)) - MACHINE_IOVA) + at % PAGE, value,
               end - at + 1);
        at = end + 1;
    }
    return error(VGPU_ERR_NONE, 0);
}

/* ------------------------------------------------------------------ what happens */

static uint64_t table_page(unsigned process, unsigned level, unsigned spare)
{
    return process * TABLES_EACH + (level > 1 ? level - 2 : 3 + spare);
}

static void poke(struct model *model, uint64_t iova, const void *buf, size_t len)
{
    machine_poke(&model->machine, iova, buf, len);
    memcpy(model->memory + (iova - MACHINE_IOVA), buf, len);
}

static uint64_t random_leaf(struct model *model)
{
    uint64_t entry = page_entry(DATA + below(model, DATA_PAGES));

    switch (below(model, 16)) {
    case 0:
        return entry & ~(uint64_t)VGPU_GGTT_VALID;
    case 1:
        return entry & ~(uint64_t)VGPU_GGTT_WRITABLE;
    case 2:
        return entry | 1u << (2 + below(model, 6));
    case 3:
        return page_entry(MACHINE_PAGES + below(model, 5));
    default:
        return entry;
    }
}

static void change_leaves(struct model *model)
{
    unsigned process = below(model, PROCESSES);
    uint64_t table = iova_of(table_page(process, 1, below(model, SPARE)));
    unsigned first = below(model, SLOTS), count = 1 + below(model, SLOTS - first);
    uint64_t entry = random_leaf(model);

    /* Pages that follow each other, or each its own. */
    for (unsigned i = 0; i < count; i++) {
        uint64_t one = below(model, 4) ? entry + i * PAGE : random_leaf(model);

        if (prot_of(model, one) == 0 && one & VGPU_GGTT_VALID && below(model, 4))
            one = 0;
        poke(model, table + (first + i) * sizeof(one), &one, sizeof(one));
    }
}

/* The entry of a table's own place: it, nothing, or something wrong. */
static void change_table(struct model *model)
{
    unsigned process = below(model, PROCESSES), levels = process + 2;
    unsigned level = 2 + below(model, levels - 1), spare = below(model, SPARE);
    uint64_t entry = table_entry(table_page(process, level - 1, spare));
    unsigned index = level == 2 ? spare : 0;
    uint32_t choice = below(model, 8);

    if (choice == 0)
        entry = 0;
    else if (choice == 1)
        entry |= 1u << (9 + below(model, 3));
    else if (choice == 2)
        entry = table_entry(MACHINE_PAGES + 7);
    poke(model, iova_of(table_page(process, level, 0)) + index * sizeof(entry), &entry,
         sizeof(entry));
}

/* The client takes pages away, or makes them read-only, or gives them back. */
static void change_memory(struct model *model)
{
    uint64_t page = below(model, 3) ? DATA + below(model, DATA_PAGES) : below(model, DATA);
    unsigned prot = below(model, 3) ? UMDEV_RW : below(model, 2) ? UMDEV_READ : 0;

    if (prot == model->machine.guest.prot[page])
        return;
    machine_protect(&model->machine, iova_of(page), 1, 0);
    if (prot)
        machine_protect(&model->machine, iova_of(page), 1, prot);
}

static void doorbell(struct model *model)
{
    memcpy(model->seen, model->memory, sizeof(model->seen));
}

/* By the ring's own hand: a stretch of a table's entries is zeroed. */
static void device_writes_table(struct model *model)
{
    uint64_t table = table_page(below(model, PROCESSES), 1, below(model, SPARE));
    uint32_t first = below(model, SLOTS), bytes = 8 * (1 + below(model, SLOTS - first));
    struct vgpu_fill fill = fill_packet(VGPU_SPACE_GUEST, iova_of(table) + first * 8, bytes, 0);

    if (model->machine.guest.prot[table] != UMDEV_RW)
        return;
    doorbell(model);
    machine_do(&model->machine, &fill, sizeof(fill));
    memset(model->memory + table * PAGE + first * 8, 0, bytes);
}

/* ------------------------------------------------------------------ checks */

static void check_memory(struct model *model)
{
    uint8_t bytes[PAGE];

    for (uint64_t page = 0; page < MACHINE_USABLE / PAGE; page++) {
        machine_peek(&model->machine, iova_of(page), bytes, PAGE);
        if (memcmp(bytes, model->memory + page * PAGE, PAGE) != 0)
            fail_msg("page %" PRIu64 " differs", page);
    }
}

static unsigned count_tables(const struct vgpu_table *table, const struct machine *machine)
{
    unsigned tables = 1;

    if (!table)
        return 0;
    assert_true(machine->guest.tracked[(table->iova - MACHINE_IOVA) / PAGE] > 0);
    for (unsigned i = 0; i < VGPU_PPGTT_ENTRIES; i++) {
        if (table->level > 1 && table->below[i])
            tables += count_tables(table->below[i], machine);
        else if (table->level == 1 && table->pins[i])
            assert_true(
                machine->guest
                    .pins[((table->entries[i] & ~(uint64_t)(PAGE - 1)) - MACHINE_IOVA) / PAGE] > 0);
    }
    return tables;
}

static void check_tables(const struct machine *machine)
{
    unsigned tables = 0, tracked = 0;

    for (unsigned i = 0; i < VGPU_PPGTT_PROCESSES; i++)
        tables += count_tables(machine->ppgtt.processes[i].top, machine);
    for (unsigned i = 0; i < MACHINE_PAGES; i++)
        tracked += machine->guest.tracked[i];
    assert_int_equal(machine->ppgtt.tables, tables);
    assert_int_equal(tracked, tables);
}

/* A fill by one of the processes, by the ring or in a batch. */
static void fill(struct model *model)
{
    struct machine *machine = &model->machine;
    unsigned process = below(model, PROCESSES), levels = process + 2;
    uint64_t root = table_page(process, levels, 0), address;
    uint32_t bytes = 1 + below(model, (1 + 2 * below(model, 2)) * PAGE);
    uint8_t value = (uint8_t)below(model, 256);
    struct vgpu_ppgtt_set set = ppgtt_packet(root, levels);
    struct vgpu_fill packet;
    struct expected expected;
    enum vgpu_step step;

    address = ((uint64_t)below(model, SPARE) << 21) + below(model, SLOTS * PAGE);
    if (below(model, 50) == 0)
        address += (uint64_t)1 << (12 + 9 * levels);
    packet = fill_packet(VGPU_SPACE_VIRTUAL, address, bytes, value);
    machine_emit(machine, &set, sizeof(set));
    machine_emit(machine, &packet, sizeof(packet));
    doorbell(model);
    if (address >> (12 + 9 * levels))
        expected = error(VGPU_ERR_VIRT_UNMAPPED, address);
    else
        expected = fill_reference(model, iova_of(root), levels, address, bytes, value);
    step = machine_run(machine);
    if ((step == VGPU_STEP_FAULT) != (expected.code != VGPU_ERR_NONE) ||
        (expected.code && (machine->ring.fault.code != expected.code ||
                           machine->ring.fault.address != expected.address)))
        fail_msg("fill of %u at 0x%" PRIx64 ": error %d at 0x%" PRIx64 ", not %d at 0x%" PRIx64,
                 bytes, address, machine->ring.fault.code, machine->ring.fault.address,
                 expected.code, expected.address);
    model->good += !expected.code;
    model->errors[expected.code]++;
    if (step == VGPU_STEP_FAULT)
        machine_restart(machine);
}

static void test_model(void **state)
{
    static struct model model;
    uint64_t rounds = random_steps(ROUNDS);

    (void)state;
    model.seed = random_seed();
    machine_init(&model.machine, VRAM, false, model.seed);
    for (unsigned process = 0; process < PROCESSES; process++) {
        for (unsigned level = 2; level <= process + 2; level++)
            for (unsigned i = 0; i < (level == 2 ? SPARE : 1); i++) {
                uint64_t entry = table_entry(table_page(process, level - 1, i));

                poke(&model, iova_of(table_page(process, level, 0)) + i * sizeof(entry), &entry,
                     sizeof(entry));
            }
    }
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint32_t changes = below(&model, 3); changes > 0; changes--)
            change_leaves(&model);
        if (below(&model, 5) == 0)
            change_table(&model);
        if (below(&model, 5) == 0)
            change_memory(&model);
        if (below(&model, 10) == 0)
            device_writes_table(&model);
        fill(&model);
        if (round % 8 == 0)
            check_memory(&model);
        check_tables(&model.machine);
    }
    check_memory(&model);
    assert_true(model.good > rounds / 50);
    for (unsigned code = VGPU_ERR_VIRT_UNMAPPED; code <= VGPU_ERR_VIRT_ENTRY; code++)
        assert_true(model.errors[code] > 0);
    assert_true(model.errors[VGPU_ERR_DMA_UNMAPPED] && model.errors[VGPU_ERR_DMA_PROTECTION]);
    machine_free(&model.machine);
}

/* Tables full of anything: it ends, with an error or without, and nothing is left. */
static void test_garbage(void **state)
{
    static struct machine machine;
    uint64_t seed = random_seed();
    unsigned good = 0, bad = 0;

    (void)state;
    machine_init(&machine, VRAM, false, seed);
    for (uint64_t round = random_steps(20000); round > 0; round--) {
        uint64_t page = random_below(&seed, 24);
        uint64_t entry = page_entry(random_below(&seed, 30));
        struct vgpu_ppgtt_set set =
            ppgtt_packet(random_below(&seed, 24), 2 + random_below(&seed, 3));

        if (random_below(&seed, 2))
            entry = table_entry(random_below(&seed, 24));
        if (random_below(&seed, 8) == 0)
            entry ^= (uint64_t)1 << random_below(&seed, 64);
        if (random_below(&seed, 16) == 0)
            entry |= VGPU_PPGTT_LARGE;
        tables_set(&machine, page, random_below(&seed, 4), entry);
        if (random_below(&seed, 64) == 0) {
            machine_protect(&machine, iova_of(page), 1, 0);
            machine_protect(&machine, iova_of(page), 1, UMDEV_RW);
        }
        if (random_below(&seed, 4))
            continue;
        machine_emit(&machine, &set, sizeof(set));
        if (tables_fill(&machine,
                        ((uint64_t)random_below(&seed, 4) << 39) |
                            ((uint64_t)random_below(&seed, 4) << 30) |
                            random_below(&seed, 4) << 21 | random_below(&seed, 4 * PAGE),
                        1 + random_below(&seed, 2 * PAGE), (uint8_t)random_below(&seed, 256)))
            bad++;
        else
            good++;
    }
    assert_true(good > 0 && bad > 0);
    machine_free(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_garbage),
    };

    return cmocka_run_group_tests_name("vgpu ppgtt model", tests, NULL, NULL);
}
