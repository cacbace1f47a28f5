/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that touch, threads that take away, and a model of what each touch may give.
 *
 * A page of the region goes through versions. Version v of a page has the entry that
 * version_entry(seed, page, v) says. Who changes it puts the new entry into the server's table,
 * counts `begun` up before, and `done` when the client has acknowledged. A touch between done = d
 * and begun = b must give what one of the versions d…b gives; for a write to count, too.
 */
#include "fault_fake.h"

#include "base/clock.h"
#include "client/client.h"

#include <errno.h>
#include <unistd.h>

#define PAGES        96
#define OBJECT_PAGES 128
#define TOUCHERS     4
#define CHANGERS     2
#define RUN_MS       1500

struct page {
    atomic_uint begun, done;
};

static struct page pages[PAGES];
/* One for eight pages, taken in order by who changes some of them. */
static pthread_mutex_t changing[PAGES / 8];
static struct fault_fake fake;
static struct umdev_client *client;
static unsigned seed;
static atomic_bool stop;
static atomic_ullong written, touched, refused;

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 32);
}

/* Version 0 is 1:1 on object 0. Often neighbours go on where the page before ended. */
static struct fault_entry version_entry(uint64_t page, unsigned version)
{
    uint64_t bits = mix(mix(seed + version) + (version ? page / 8 : page));

    if (version == 0)
        return (struct fault_entry){.page = page, .prot = UMDEV_RW};
    if (mix(bits + page) % 8 == 0)
        return (struct fault_entry){.error = EPERM};
    return (struct fault_entry){
        .object = (unsigned)bits % FAULT_OBJECTS,
        .page = (bits >> 8) % (OBJECT_PAGES - 8) + page % 8,
        .prot = mix(bits + page) % 4 == 1 ? UMDEV_READ : UMDEV_RW,
    };
}

/* Whether a version between the two allows the read's result. */
static bool read_allowed(uint64_t page, unsigned from, unsigned to, bool got, uint64_t value)
{
    for (unsigned v = from; v <= to; v++) {
        struct fault_entry entry = version_entry(page, v);

        /* After a write that was refused a page for reading is, too. */
        if (got ? !entry.error && value == fault_stamp(entry.object, entry.page)
                : entry.error || entry.prot == UMDEV_READ)
            return true;
    }
    return false;
}

static bool write_allowed(uint64_t page, unsigned from, unsigned to, bool got)
{
    for (unsigned v = from; v <= to; v++) {
        struct fault_entry entry = version_entry(page, v);
        bool can = !entry.error && entry.prot == UMDEV_RW;

        if (can == got)
            return true;
    }
    return false;
}

struct worker {
    pthread_t thread;
    unsigned seed;
    unsigned index;
    uint8_t *view;
};

static void touch(struct worker *worker, uint64_t page, bool write)
{
    uint8_t *at = worker->view + page * FAULT_PAGE;
    unsigned from = pages[page].done, to;
    uint64_t value = 0;
    bool got =
        write ? fault_try_write(at + 8 + (size_t)worker->index * 8, 1) : fault_try_read(at, &value);

    to = pages[page].begun;
    touched++;
    refused += !got;
    if (write ? write_allowed(page, from, to, got) : read_allowed(page, from, to, got, value)) {
        written += write && got;
        return;
    }
    fprintf(stderr, "seed %u: page %llu, versions %u to %u: %s gave %d, %#llx\n", seed,
            (unsigned long long)page, from, to, write ? "write" : "read", got,
            (unsigned long long)value);
    abort();
}

static void *toucher_run(void *opaque)
{
    struct worker *worker = opaque;

    while (!stop) {
        unsigned r = (unsigned)rand_r(&worker->seed);

        touch(worker, r % PAGES, r / PAGES % 3 == 0);
    }
    return NULL;
}

static void change(uint64_t first, uint64_t last)
{
    for (uint64_t i = first / 8; i <= last / 8; i++)
        pthread_mutex_lock(&changing[i]);
    for (uint64_t i = first; i <= last; i++) {
        pages[i].begun++;
        fault_fake_set(&fake, i, version_entry(i, pages[i].begun));
    }
    CHECK(fault_fake_invalidate(&fake, first, last));
    for (uint64_t i = first; i <= last; i++)
        pages[i].done = pages[i].begun;
    for (uint64_t i = first / 8; i <= last / 8; i++)
        pthread_mutex_unlock(&changing[i]);
}

static void *changer_run(void *opaque)
{
    struct worker *worker = opaque;

    while (!stop) {
        uint64_t first = (unsigned)rand_r(&worker->seed) % PAGES;
        uint64_t last = first + (unsigned)rand_r(&worker->seed) % 12;

        switch (rand_r(&worker->seed) % 16) {
        case 0:
            change(0, PAGES - 1);
            break;
        case 1:
            umdev_client_prefault(client, FAULT_REGION, first * FAULT_PAGE, 12 * FAULT_PAGE,
                                  UMDEV_READ);
            break;
        default:
            change(first, MIN(last, PAGES - 1));
        }
    }
    return NULL;
}

/* Another view of the region comes and goes, and is right while it is there. */
static void *view_run(void *opaque)
{
    struct worker worker = *(struct worker *)opaque;

    while (!stop) {
        worker.view = umdev_client_map_region(client, FAULT_REGION, 0, PAGES * FAULT_PAGE);
        CHECK(worker.view);
        for (unsigned i = 0; i < 40; i++)
            touch(&worker, (unsigned)rand_r(&worker.seed) % PAGES, i % 4 == 0);
        CHECK(umdev_client_unmap_region(client, worker.view) == 0);
    }
    return NULL;
}

/* What was written is in the objects. */
static uint64_t count_written(void)
{
    uint64_t sum = 0;

    for (unsigned k = 0; k < FAULT_OBJECTS; k++)
        for (uint64_t page = 0; page < OBJECT_PAGES; page++)
            for (unsigned i = 0; i <= TOUCHERS; i++)
                sum += *(uint64_t *)(fake.memory[k] + page * FAULT_PAGE + 8 + (size_t)i * 8);
    return sum;
}

static void run(size_t max_maps, bool extend, bool no_poison)
{
    struct umdev_connect_options options = {.max_fault_maps = max_maps, .timeout_ms = -1};
    struct worker workers[TOUCHERS + CHANGERS + 1];
    uint8_t *view;

    seed = (unsigned)clock_now_ns();
    print_message("seed %u: at most %zu maps%s\n", seed, max_maps, extend ? ", wide" : "");
    fault_catch_sigbus();
    fault_fake_open(&fake, PAGES, OBJECT_PAGES);
    fake.extend = extend;
    stop = false;
    written = touched = refused = 0;
    for (size_t i = 0; i < ARRAY_SIZE(changing); i++)
        changing[i] = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    for (uint64_t i = 0; i < PAGES; i++) {
        pages[i] = (struct page){.begun = 0};
        fake.table[i] = version_entry(i, 0);
    }
    assert_int_equal(fault_fake_connect(&fake, &options, &client), 0);
    client->no_poison = no_poison;
    view = umdev_client_map_region(client, FAULT_REGION, 0, PAGES * FAULT_PAGE);
    assert_non_null(view);
    for (unsigned i = 0; i < ARRAY_SIZE(workers); i++) {
        workers[i] = (struct worker){.seed = seed + i, .index = MIN(i, TOUCHERS), .view = view};
        assert_int_equal(pthread_create(&workers[i].thread, NULL,
                                        i < TOUCHERS              ? toucher_run
                                        : i < TOUCHERS + CHANGERS ? changer_run
                                                                  : view_run,
                                        &workers[i]),
                         0);
    }
    usleep(RUN_MS * 1000);
    stop = true;
    for (unsigned i = 0; i < ARRAY_SIZE(workers); i++)
        pthread_join(workers[i].thread, NULL);
    print_message("%llu touches, %llu refused, %llu invalidations\n", (unsigned long long)touched,
                  (unsigned long long)refused, (unsigned long long)fake.ninvalidates);
    umdev_client_close(client);
    assert_int_equal(count_written(), written);
    assert_true(written > 0 && refused > 0);
    fault_fake_close(&fake);
}

static void test_roomy(void **state)
{
    (void)state;
    run(0, true, false);
}

static void test_one_by_one(void **state)
{
    (void)state;
    run(0, false, true);
}

static void test_cramped(void **state)
{
    (void)state;
    run(5, true, false);
    run(1, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roomy),
        cmocka_unit_test(test_one_by_one),
        cmocka_unit_test(test_cramped),
    };

    if (!fault_fake_possible())
        return FAULT_SKIPPED;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
