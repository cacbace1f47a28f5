/* SPDX-License-Identifier: BSD-3-Clause */
/* Fault-mapped regions with both ends real: the library's client on the library's server. */
#include "fixture.h"

#include "client/fault.h"
#include "leaks.h"
#include "touch.h"

#include <signal.h>

#define PAGES    64
#define PAGE     PAGE_SIZE_4K
#define BAR      2
#define ROM      4 /* one that no client may write */
#define OBJECTS  3
#define TOUCHERS 3
#define ROUNDS   2000

/* An entry is an object and a page of it; each is writable or not, or refused. */
#define ENTRY(object, page) ((object) << 8 | (page))
#define READ_ONLY           (1u << 16)
#define REFUSED             (1u << 17)
#define ROM_STAMP(page)     (UINT64_C(2) << 32 | (page))

struct paged {
    struct umdev_mem *objects[OBJECTS], *rom;
    atomic_uint table[PAGES];
    atomic_uint asked;
};

static struct umdev_device *device;
static struct umdev_host *host;
static struct umdev_client *client;
static uint8_t *view;

static int paged_map_request(struct umdev_device *dev, unsigned region, uint64_t offset,
                             unsigned access, struct umdev_map *map)
{
    struct paged *paged = umdev_device_priv(dev);
    unsigned entry = atomic_load(&paged->table[offset / PAGE]);

    (void)access;
    atomic_fetch_add(&paged->asked, 1);
    /* One to one: that is what stands there already. */
    if (region == ROM)
        return 0;
    if (entry & REFUSED)
        return -EPERM;
    *map = (struct umdev_map){
        .mem = paged->objects[entry >> 8 & 0xff],
        .mem_offset = (entry & 0xff) * PAGE,
        .first = offset,
        .last = offset + PAGE - 1,
        .prot = entry & READ_ONLY ? UMDEV_READ : UMDEV_RW,
    };
    return 0;
}

static int paged_create(struct umdev_device *dev)
{
    struct paged *paged = umdev_device_priv(dev);
    int ret = 0;

    device = dev;
    for (unsigned k = 0; !ret && k < OBJECTS; k++) {
        ret = umdev_mem_create(dev, "object", PAGES * PAGE, &paged->objects[k]);
        for (unsigned i = 0; !ret && i < PAGES; i++)
            *(uint64_t *)((uint8_t *)umdev_mem_ptr(paged->objects[k]) + i * PAGE) =
                UINT64_C(1) << 32 | ENTRY(k, i);
    }
    for (unsigned i = 0; i < PAGES; i++)
        paged->table[i] = ENTRY(0u, i);
    if (!ret)
        ret = umdev_mem_create(dev, "rom", PAGES * PAGE, &paged->rom);
    for (unsigned i = 0; !ret && i < PAGES; i++)
        *(uint64_t *)((uint8_t *)umdev_mem_ptr(paged->rom) + i * PAGE) = ROM_STAMP(i);
    return ret ? ret : umdev_region_set_mem(dev, ROM, paged->rom, 0, NULL, 0);
}

static const struct umdev_type paged_types[] = {{.name = "1"}};

static const struct umdev_driver paged_driver = {
    .struct_size = sizeof(struct umdev_driver),
    .api_version = UMDEV_DRIVER_API_VERSION,
    .type_size = sizeof(struct umdev_type),
    .name = "paged",
    .types = paged_types,
    .ntypes = 1,
    .priv_size = sizeof(struct paged),
    .create = paged_create,
    .map_request = paged_map_request,
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0xc7, .class_code = 0x088000,
                     .bar[BAR] = UMDEV_BAR(.size = PAGES * PAGE, .flags = UMDEV_BAR_FAULT),
                     .bar[ROM] = UMDEV_BAR(.size = PAGES * PAGE,
                                           .flags = UMDEV_BAR_FAULT | UMDEV_BAR_READONLY)),
};

/* ------------------------------------------------------------------ touches that may fail */

/* 0: refused. */
static uint64_t read_page(unsigned page)
{
    uint64_t value;

    return touch_read(view + page * PAGE, &value) ? value : 0;
}

static bool write_page(unsigned page)
{
    return touch_write(view + page * PAGE + 8, page);
}

static uint64_t stamp(unsigned entry)
{
    return entry & REFUSED ? 0 : UINT64_C(1) << 32 | (entry & 0xffff);
}

/* ------------------------------------------------------------------ setting up */

static struct paged *open_all(void)
{
    struct umdev_region_info info;
    int ret;

    leaks_begin();
    assert_int_equal(umdev_host_new(NULL, &host), 0);
    touch_catch(SIGBUS);
    assert_int_equal(umdev_host_add_parent_static(host, &paged_driver, "p", NULL, 0, NULL), 0);
    assert_int_equal(umdev_host_create(host, "p", "paged-1", UUID_A, NULL, NULL), 0);
    client = connect_pair(host, UUID_A, &ret);
    assert_int_equal(ret, 0);
    assert_int_equal(umdev_client_get_region(client, BAR, &info), 0);
    assert_true(info.flags & UMDEV_REGION_FAULT_MAPPED);
    view = umdev_client_map_region(client, BAR, 0, PAGES * PAGE);
    assert_non_null(view);
    return umdev_device_priv(device);
}

static void close_all(void)
{
    umdev_client_close(client);
    umdev_host_free(host);
    assert_int_equal(leaks_end("after client and server"), 0);
}

static void change(struct paged *paged, unsigned page, unsigned entry)
{
    atomic_store(&paged->table[page], entry);
    assert_int_equal(umdev_region_invalidate(device, BAR, page * PAGE, page * PAGE + PAGE - 1), 0);
}

/* ------------------------------------------------------------------ tests */

static void test_touch(void **state)
{
    struct paged *paged = open_all();

    (void)state;
    for (unsigned i = 0; i < PAGES; i++)
        assert_true(read_page(i) == stamp(ENTRY(0, i)));
    assert_int_equal(paged->asked, PAGES);
    change(paged, 5, ENTRY(2, 9));
    assert_true(read_page(5) == stamp(ENTRY(2, 9)));
    assert_true(write_page(5));
    assert_int_equal(((uint64_t *)umdev_mem_ptr(paged->objects[2]))[9 * PAGE / 8 + 1], 5);
    /* The trapped path is the same memory. */
    uint64_t value;

    assert_int_equal(umdev_client_read64(client, BAR, 5 * PAGE + 8, &value), 0);
    assert_int_equal(value, 5);
    close_all();
}

static void test_protection(void **state)
{
    struct paged *paged = open_all();

    (void)state;
    change(paged, 1, ENTRY(1, 1) | READ_ONLY);
    change(paged, 2, REFUSED);
    assert_true(read_page(1) == stamp(ENTRY(1, 1)));
    assert_false(write_page(1));
    assert_int_equal(read_page(2), 0);
    assert_int_equal(umdev_client_prefault(client, BAR, 2 * PAGE, PAGE, UMDEV_READ), -EPERM);
    change(paged, 1, ENTRY(1, 1));
    change(paged, 2, ENTRY(1, 2));
    assert_true(write_page(1));
    assert_true(read_page(2) == stamp(ENTRY(1, 2)));
    close_all();
}

/* Its object is sealed, so that the client could not map it for writing if it wanted to. */
static void test_read_only_region(void **state)
{
    uint8_t *window;

    (void)state;
    open_all();
    touch_catch(SIGSEGV);
    window = view;
    view = umdev_client_map_region(client, ROM, 0, PAGES * PAGE);
    assert_non_null(view);
    for (unsigned i = 0; i < PAGES; i++)
        assert_true(read_page(i) == ROM_STAMP(i));
    assert_int_equal(umdev_client_prefault(client, ROM, 0, PAGES * PAGE, UMDEV_READ), 0);
    assert_int_equal(umdev_client_prefault(client, ROM, 0, PAGE, UMDEV_WRITE), -EPERM);
    assert_false(write_page(3));
    assert_true(read_page(3) == ROM_STAMP(3));
    assert_int_equal(umdev_region_invalidate(device, ROM, 0, PAGES * PAGE - 1), 0);
    assert_true(read_page(3) == ROM_STAMP(3));
    /* The channel lives, and the other region. */
    view = window;
    assert_true(read_page(3) == stamp(ENTRY(0, 3)));
    assert_true(write_page(3));
    close_all();
    signal(SIGSEGV, SIG_DFL);
}

static void test_server_ends(void **state)
{
    open_all();
    (void)state;
    assert_true(read_page(1) == stamp(ENTRY(0, 1)));
    umdev_host_free(host);
    assert_true(read_page(1) == stamp(ENTRY(0, 1)));
    assert_int_equal(read_page(2), 0);
    assert_false(umdev_client_alive(client));
    umdev_client_close(client);
    assert_int_equal(leaks_end("after the client"), 0);
}

/* Page by page: what the table said when the change before was over, and says now. */
static atomic_uint before[PAGES], after[PAGES];
static atomic_bool stop;

static void *touch(void *opaque)
{
    unsigned seed = (unsigned)(uintptr_t)opaque;
    uintptr_t wrong = 0;

    while (!stop) {
        unsigned page = (unsigned)rand_r(&seed) % PAGES, old = before[page], now;
        uint64_t value = read_page(page);

        now = after[page];
        /* Two changes can't be told from one here: then anything will do but what never was. */
        if (value != stamp(old) && value != stamp(now) && before[page] == old)
            wrong++;
    }
    return (void *)wrong;
}

static void test_busy(void **state)
{
    struct paged *paged = open_all();
    pthread_t threads[TOUCHERS];
    unsigned seed = (unsigned)getpid();

    (void)state;
    print_message("seed %u\n", seed);
    stop = false;
    for (unsigned i = 0; i < PAGES; i++)
        before[i] = after[i] = ENTRY(0u, i);
    for (uintptr_t i = 0; i < TOUCHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, touch, (void *)(seed + i)), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned page = (unsigned)rand_r(&seed) % PAGES, r = (unsigned)rand_r(&seed);
        unsigned entry =
            r % 8 == 0 ? REFUSED
                       : ENTRY(r % OBJECTS, r / 8 % PAGES) | (r / 64 % 4 == 0 ? READ_ONLY : 0);

        after[page] = entry;
        change(paged, page, entry);
        before[page] = entry;
    }
    stop = true;
    for (unsigned i = 0; i < TOUCHERS; i++) {
        void *wrong;

        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    assert_true(umdev_client_alive(client));
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_touch),
        cmocka_unit_test(test_protection),
        cmocka_unit_test(test_read_only_region),
        cmocka_unit_test(test_server_ends),
        cmocka_unit_test(test_busy),
    };

    if (client_fault_probe()) {
        print_message("skipped: no userfaultfd\n");
        return 77; /* meson's */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
