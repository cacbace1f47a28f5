/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two VMs on one GPU do random things with their apertures and their VRAM, each against a model of
 * its own, while a second thread of each looks at random pages: what it sees must be the VM's own,
 * or nothing. They compete for a pool that is too small for both.
 */
#include "aperture.h"
#include "random.h"

#include "touch.h"
#include "unit.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS      4000u
#define ENTRIES     96u /* of the aperture, that are used */
#define FIRST_ENTRY 1000u
#define SHARE       24u /* pages of the share that are used, its last ones */
#define PAGES       (SHARE + 800u)
#define SHARE_PAGES (RIG_VRAM / PAGE)
#define TAG_SHIFT   56

/* The model. Page n is VRAM page SHARE_PAGES - SHARE + n. */
struct vm {
    struct rig rig;
    uint64_t seed, look_seed, tag, stamp, fences;
    uint8_t *view;
    uint64_t entries[ENTRIES];
    bool there[PAGES];
    uint64_t content[PAGES];
    unsigned grown, denied, refusals, resets, errors;
    atomic_uint looks, seen;
    atomic_bool stop;
};

static void check(const struct vm *vm, bool good, const char *what, uint64_t a, uint64_t b)
{
    if (good)
        return;
    fprintf(stderr, "VM %" PRIu64 ", round %" PRIu64 ": %s: 0x%" PRIx64 ", 0x%" PRIx64 "\n",
            vm->tag, vm->stamp, what, a, b);
    abort();
}

static uint32_t below(struct vm *vm, uint32_t n)
{
    return random_below(&vm->seed, n);
}

static uint64_t address_of(uint32_t page)
{
    return (SHARE_PAGES - SHARE + page) * PAGE;
}

static uint32_t page_of(uint64_t entry)
{
    return (uint32_t)(entry / PAGE - (SHARE_PAGES - SHARE));
}

static uint64_t new_value(const struct vm *vm)
{
    return vm->tag << TAG_SHIFT | vm->stamp;
}

static void finish(struct vm *vm)
{
    rig_finish(&vm->rig, ++vm->fences);
}

/* ------------------------------------------------------------------ touches */

static void do_read(struct vm *vm)
{
    uint32_t index = below(vm, ENTRIES);
    uint64_t entry = vm->entries[index], value = 0;
    bool trapped = below(vm, 8) == 0, good;

    if (trapped)
        good = umdev_client_read64(vm->rig.client, VGPU_BAR_APERTURE, (FIRST_ENTRY + index) * PAGE,
                                   &value) == 0;
    else
        good = aperture_read(vm->view, FIRST_ENTRY + index, &value);
    check(vm, good == (entry & VALID), "read", good, entry);
    if (good)
        check(vm, value == vm->content[page_of(entry)], "value", value,
              vm->content[page_of(entry)]);
    else
        vm->refusals++;
}

static void do_write(struct vm *vm)
{
    uint32_t index = below(vm, ENTRIES);
    uint64_t entry = vm->entries[index], value = new_value(vm);
    bool good = aperture_write(vm->view, FIRST_ENTRY + index, value);

    check(vm, good == ((entry & RW) == RW), "write", good, entry);
    if (good) {
        vm->content[page_of(entry)] = value;
        return;
    }
    /* Where reading is allowed the refusal of a write stands in its way, until it is undone. */
    vm->refusals++;
    aperture_set(&vm->rig, FIRST_ENTRY + index, 0);
    aperture_set(&vm->rig, FIRST_ENTRY + index, entry);
}

/* ------------------------------------------------------------------ entries */

static uint64_t random_entry(struct vm *vm)
{
    uint64_t entry = address_of(below(vm, PAGES));

    switch (below(vm, 8)) {
    case 0:
        return 0;
    case 1:
    case 2:
        return entry + VALID;
    default:
        return entry + RW;
    }
}

/* As the device keeps it. */
static uint64_t kept(const struct vm *vm, uint64_t entry)
{
    return page_of(entry) < PAGES && vm->there[page_of(entry)] ? entry : entry & ~VALID;
}

static void do_window(struct vm *vm)
{
    uint32_t count = 1 + below(vm, 8), first = below(vm, ENTRIES - count + 1);
    uint64_t entries[8];

    for (uint32_t i = 0; i < count; i++) {
        entries[i] = random_entry(vm);
        vm->entries[first + i] = kept(vm, entries[i]);
    }
    rig_write32(&vm->rig, VGPU_REG_GGTT_INDEX, FIRST_ENTRY + first);
    assert_int_equal(umdev_client_write(vm->rig.client, VGPU_BAR_REGS, VGPU_REG_GGTT, entries,
                                        count * sizeof(entries[0])),
                     0);
}

static void do_fill(struct vm *vm)
{
    uint32_t count = 1 + below(vm, 32), first = below(vm, ENTRIES - count + 1);
    uint64_t entry = random_entry(vm);
    bool step = below(vm, 4);

    aperture_emit_fill(&vm->rig, FIRST_ENTRY + first, count, entry, step ? VGPU_GGTT_FILL_STEP : 0);
    for (uint32_t i = 0; i < count; i++) {
        vm->entries[first + i] = kept(vm, entry);
        entry += step ? PAGE : 0;
    }
    finish(vm);
}

/* ------------------------------------------------------------------ pages */

static void do_alloc(struct vm *vm)
{
    uint32_t count = 1 + below(vm, 400), first = SHARE + below(vm, PAGES - SHARE - count + 1);
    uint64_t result = aperture_alloc(&vm->rig, first - SHARE, count);

    vm->fences++;
    check(vm, result == VGPU_ERR_NONE || result == VGPU_ERR_NO_VRAM, "ALLOC", result, count);
    if (result) {
        vm->denied++;
        return;
    }
    for (uint32_t i = first; i < first + count; i++) {
        if (!vm->there[i])
            vm->content[i] = 0;
        vm->there[i] = true;
    }
    vm->grown++;
}

static void do_free(struct vm *vm)
{
    uint32_t count = 1 + below(vm, 200), first = SHARE + below(vm, PAGES - SHARE - count + 1);

    aperture_free(&vm->rig, first - SHARE, count);
    vm->fences++;
    for (uint32_t i = 0; i < ENTRIES; i++) {
        uint32_t page = page_of(vm->entries[i]);

        if (vm->entries[i] & VALID && page >= first && page < first + count)
            vm->entries[i] = 0;
    }
    for (uint32_t i = first; i < first + count; i++)
        vm->there[i] = false;
}

/* The engine writes a page, or finds that it is not there. */
static void do_engine(struct vm *vm)
{
    uint32_t page = below(vm, PAGES), half = (uint32_t)new_value(vm);
    struct vgpu_fill fill = rig_fill(1, half);

    fill.value |= (uint32_t)vm->tag << (TAG_SHIFT - 32);
    fill.dst.address = address_of(page);
    rig_emit(&vm->rig, &fill, sizeof(fill));
    if (vm->there[page]) {
        finish(vm);
        vm->content[page] = (uint64_t)fill.value << 32 | fill.value;
        return;
    }
    rig_doorbell(&vm->rig);
    rig_wait(vm->rig.irq_error);
    check(vm, rig_read32(&vm->rig, VGPU_REG_ERROR) == VGPU_ERR_BOUNDS, "engine", page, 0);
    rig_start(&vm->rig);
    vm->errors++;
}

static void do_reset(struct vm *vm)
{
    const uint16_t command = 0x6; /* memory, bus master */

    assert_int_equal(umdev_client_reset(vm->rig.client), 0);
    assert_int_equal(umdev_client_write(vm->rig.client, UMDEV_REGION_CONFIG, 4, &command, 2), 0);
    rig_write32(&vm->rig, VGPU_REG_INT_ENABLE, VGPU_INT_ALL);
    rig_start(&vm->rig);
    memset(vm->entries, 0, sizeof(vm->entries));
    memset(vm->content, 0, sizeof(vm->content));
    for (uint32_t i = 0; i < PAGES; i++)
        vm->there[i] = i < SHARE;
    vm->fences = 0;
    vm->resets++;
}

/* ------------------------------------------------------------------ threads */

static void *look(void *opaque)
{
    struct vm *vm = opaque;
    uint64_t seed = vm->look_seed, value;

    while (!atomic_load(&vm->stop)) {
        atomic_fetch_add(&vm->looks, 1);
        if (!aperture_read(vm->view, FIRST_ENTRY + random_below(&seed, ENTRIES), &value))
            continue;
        check(vm, value == 0 || value >> TAG_SHIFT == vm->tag, "another's page", value, 0);
        atomic_fetch_add(&vm->seen, 1);
    }
    return NULL;
}

static void *live(void *opaque)
{
    struct vm *vm = opaque;

    for (vm->stamp = 1; vm->stamp <= ROUNDS; vm->stamp++) {
        uint32_t what = below(vm, 1000);

        if (what < 350)
            do_read(vm);
        else if (what < 600)
            do_write(vm);
        else if (what < 750)
            do_window(vm);
        else if (what < 850)
            do_fill(vm);
        else if (what < 910)
            do_alloc(vm);
        else if (what < 960)
            do_free(vm);
        else if (what < 998)
            do_engine(vm);
        else
            do_reset(vm);
    }
    return NULL;
}

static void vm_start(struct vm *vm, struct umdev_host *host, uint64_t tag, uint64_t seed)
{
    rig_init(&vm->rig, host, "vgpu-1");
    touch_catch(SIGBUS);
    vm->view = aperture_map(&vm->rig);
    vm->tag = tag;
    vm->seed = seed;
    vm->look_seed = ~seed;
    for (uint32_t i = 0; i < SHARE; i++)
        vm->there[i] = true;
}

static void test_model(void **state)
{
    static struct vm vms[2];
    struct umdev_host *host = rig_host(2);
    uint64_t seed = random_seed();
    pthread_t lives[2], looks[2];
    char rest[2][UMDEV_UUID_STR_SIZE];

    (void)state;
    /* What is left in the pool is half of what the two may have. */
    assert_int_equal(umdev_host_create(host, "gpu", "vgpu-4", NULL, rest[0], NULL), 0);
    assert_int_equal(umdev_host_create(host, "gpu", "vgpu-1", NULL, rest[1], NULL), 0);
    for (unsigned i = 0; i < 2; i++)
        vm_start(&vms[i], host, 0xa1 + i, random_next(&seed));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&looks[i], NULL, look, &vms[i]), 0);
        assert_int_equal(pthread_create(&lives[i], NULL, live, &vms[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(lives[i], NULL);
    for (unsigned i = 0; i < 2; i++) {
        struct vm *vm = &vms[i];

        atomic_store(&vm->stop, true);
        pthread_join(looks[i], NULL);
        print_message("VM %u: grown %u, denied %u, refused %u, ring errors %u, resets %u; looks %u "
                      "of which %u saw a page\n",
                      i, vm->grown, vm->denied, vm->refusals, vm->errors, vm->resets,
                      atomic_load(&vm->looks), atomic_load(&vm->seen));
        assert_true(vm->grown > 0 && vm->refusals > 0 && atomic_load(&vm->seen) > 0);
    }
    assert_true(vms[0].denied + vms[1].denied > 0);
    for (unsigned i = 0; i < 2; i++)
        rig_free(&vms[i].rig);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(umdev_host_remove(host, rest[i]), 0);
    umdev_host_free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};

    return cmocka_run_group_tests_name("vgpu aperture model", tests, NULL, NULL);
}
