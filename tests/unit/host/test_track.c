/* SPDX-License-Identifier: BSD-3-Clause */
/* Write tracking with both ends real: the library's client on the library's server. */
#include "fixture.h"
#include "guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGES 16
#define PAGE  PAGE_SIZE_4K
#define BASE  UINT64_C(0x40000)

static struct umdev_device *devices[2]; /* in the order of their creation */
static unsigned num_devices;
static enum umdev_track_mode mode;
static atomic_uint told;
static atomic_int taken_away = -1; /* a file, of which a part goes while the driver reads it */
static atomic_int read_result;

static int tracker_create(struct umdev_device *dev)
{
    devices[num_devices++] = dev;
    return umdev_track_set_mode(dev, mode);
}

static void tracker_page_written(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    uint64_t value;

    (void)last;
    if (taken_away >= 0) {
        assert_int_equal(ftruncate(taken_away, PAGE), 0);
        read_result = umdev_dma_read(dev, umdev_iova(first.value + PAGE), &value, sizeof(value));
    }
    atomic_fetch_add(&told, 1);
}

static const struct umdev_type tracker_types[] = {{.name = "1"}};

static const struct umdev_driver tracker_driver = {
    .struct_size = sizeof(struct umdev_driver),
    .api_version = UMDEV_DRIVER_API_VERSION,
    .type_size = sizeof(struct umdev_type),
    .name = "tracker",
    .types = tracker_types,
    .ntypes = 1,
    .create = tracker_create,
    .page_written = tracker_page_written,
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0xc8, .class_code = 0x088000,
                     .bar = {UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_MEMORY)}),
};

static struct umdev_client *connect_with(struct umdev_host *host, const char *uuid,
                                         struct umdev_tracker *tracker)
{
    const struct umdev_connect_options options = {
        .struct_size = sizeof(options),
        .no_fault = true,
        .tracker = tracker,
    };
    struct umdev_client *client = NULL;
    int pair[2];

    make_pair(pair);
    assert_int_equal(umdev_host_serve_fd(host, uuid, pair[0]), 0);
    assert_int_equal(umdev_connect_fd(pair[1], &options, &client), 0);
    return client;
}

struct all {
    struct umdev_host *host;
    struct umdev_tracker *tracker;
    struct umdev_client *client;
    int fd;
    uint8_t *memory;
};

static void begin(struct all *all, enum umdev_track_mode with, enum umdev_track_help expected)
{
    num_devices = 0;
    mode = with;
    told = 0;
    all->fd = memfd_create("client", MFD_CLOEXEC);
    assert_true(all->fd >= 0 && ftruncate(all->fd, PAGES * PAGE) == 0);
    all->memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, all->fd, 0);
    assert_ptr_not_equal(all->memory, MAP_FAILED);
    assert_int_equal(umdev_host_new(NULL, &all->host), 0);
    assert_int_equal(umdev_host_add_parent_static(all->host, &tracker_driver, "p", NULL, 0, NULL),
                     0);
    assert_int_equal(umdev_host_create(all->host, "p", "tracker-1", UUID_A, NULL, NULL), 0);
    assert_int_equal(umdev_tracker_new(0, &all->tracker), 0);
    all->client = connect_with(all->host, UUID_A, all->tracker);
    if (umdev_client_track_help(all->client) == UMDEV_TRACK_HELP_NONE) {
        print_message("no userfaultfd here that can protect memory\n");
        skip();
    }
    assert_int_equal(umdev_client_track_help(all->client), expected);
}

static void end(struct all *all)
{
    umdev_client_close(all->client);
    umdev_tracker_free(all->tracker);
    umdev_host_free(all->host);
    munmap(all->memory, PAGES * PAGE);
    close(all->fd);
}

static void write_page(const struct all *all, size_t page)
{
    ((volatile uint64_t *)(void *)(all->memory + page * PAGE))[1]++;
}

static void expect(struct umdev_device *dev, uint64_t iova, uint64_t size)
{
    const struct umdev_track_range *ranges;
    size_t count;

    assert_int_equal(umdev_track_collect(dev, &ranges, &count), 0);
    assert_int_equal(count, size ? 1 : 0);
    if (size) {
        assert_int_equal(ranges[0].iova.value, iova);
        assert_int_equal(ranges[0].size, size);
    }
}

static void map(struct all *all, uint64_t iova)
{
    assert_int_equal(umdev_client_dma_map_at(all->client, all->fd, 0, umdev_iova(iova),
                                             PAGES * PAGE, UMDEV_RW, all->memory),
                     0);
}

static struct umdev_host_stats stats_of(struct umdev_host *host)
{
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};

    assert_int_equal(umdev_host_get_stats(host, UUID_A, &stats), 0);
    return stats;
}

static void test_collect(void **state)
{
    struct umdev_host_stats stats;
    struct all all;

    (void)state;
    begin(&all, UMDEV_TRACK_COLLECT, UMDEV_TRACK_HELP_ASYNC);
    assert_int_equal(umdev_track_add(devices[0], umdev_iova(BASE), PAGE), -EFAULT);
    map(&all, BASE);
    assert_int_equal(umdev_track_add(devices[0], umdev_iova(BASE), PAGES * PAGE), 0);
    stats = stats_of(all.host);
    assert_int_equal(stats.tracked_pages, PAGES);
    assert_int_equal(stats.compared_pages, 0);
    assert_int_equal(stats.track_method, UMDEV_HOST_TRACK_UFFD_ASYNC);
    write_page(&all, 3);
    expect(devices[0], BASE + 3 * PAGE, PAGE);
    /* A vIOMMU moves it. */
    assert_int_equal(umdev_client_dma_unmap(all.client, umdev_iova(BASE), PAGES * PAGE), 0);
    write_page(&all, 4);
    map(&all, 2 * BASE);
    expect(devices[0], 2 * BASE + 4 * PAGE, PAGE);
    assert_int_equal(
        umdev_client_dma_protect(all.client, umdev_iova(2 * BASE), PAGES * PAGE, UMDEV_READ), 0);
    write_page(&all, 5);
    expect(devices[0], 2 * BASE + 5 * PAGE, PAGE);
    expect(devices[0], 0, 0);
    end(&all);
}

static void test_notify(void **state)
{
    struct all all;

    (void)state;
    begin(&all, UMDEV_TRACK_NOTIFY, UMDEV_TRACK_HELP_SYNC);
    map(&all, BASE);
    assert_int_equal(umdev_track_add(devices[0], umdev_iova(BASE), PAGES * PAGE), 0);
    write_page(&all, 3);
    assert_int_equal(told, 1);
    write_page(&all, 3);
    assert_int_equal(told, 1);
    expect(devices[0], BASE + 3 * PAGE, PAGE);
    end(&all);
}

/* A driver may look into memory when it is told, and the client take that away meanwhile. */
static void test_notify_finds_no_memory(void **state)
{
    const uint16_t bus_master = 4;
    struct all all;

    (void)state;
    begin(&all, UMDEV_TRACK_NOTIFY, UMDEV_TRACK_HELP_SYNC);
    assert_int_equal(
        umdev_client_write(all.client, UMDEV_REGION_CONFIG, 4, &bus_master, sizeof(bus_master)), 0);
    map(&all, BASE);
    assert_int_equal(umdev_track_add(devices[0], umdev_iova(BASE), PAGES * PAGE), 0);
    guard_take_over();
    taken_away = all.fd;
    write_page(&all, 0);
    taken_away = -1;
    assert_int_equal(told, 1);
    assert_int_equal(read_result, -EIO);
    end(&all);
}

/* Memory that is no file, with a place all the same. */
static void test_private_memory(void **state)
{
    uint8_t *memory =
        mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct all all;

    (void)state;
    assert_ptr_not_equal(memory, MAP_FAILED);
    begin(&all, UMDEV_TRACK_COLLECT, UMDEV_TRACK_HELP_ASYNC);
    assert_int_equal(
        umdev_client_dma_map_memory(all.client, memory, umdev_iova(BASE), 4 * PAGE, UMDEV_RW), 0);
    assert_int_equal(umdev_track_add(devices[0], umdev_iova(BASE), 4 * PAGE), 0);
    memory[PAGE] = 1;
    expect(devices[0], BASE + PAGE, PAGE);
    expect(devices[0], 0, 0);
    end(&all);
    munmap(memory, 4 * PAGE);
}

/* Both clients are guests of one tracker: the second goes on when the first has gone. */
static void test_two_devices(void **state)
{
    struct umdev_client *first;
    struct all all;

    (void)state;
    begin(&all, UMDEV_TRACK_COLLECT, UMDEV_TRACK_HELP_ASYNC);
    assert_int_equal(umdev_host_create(all.host, "p", "tracker-1", UUID_B, NULL, NULL), 0);
    map(&all, BASE);
    assert_int_equal(umdev_track_add(devices[0], umdev_iova(BASE), PAGES * PAGE), 0);
    first = all.client;
    all.client = connect_with(all.host, UUID_B, all.tracker);
    map(&all, 2 * BASE);
    assert_int_equal(umdev_track_add(devices[1], umdev_iova(2 * BASE), PAGES * PAGE), 0);
    write_page(&all, 1);
    expect(devices[0], BASE + PAGE, PAGE);
    expect(devices[1], 2 * BASE + PAGE, PAGE);
    umdev_client_close(first);
    write_page(&all, 2);
    expect(devices[1], 2 * BASE + 2 * PAGE, PAGE);
    end(&all);
}

/* A device that wants more than the first one did compares, and says so. */
static void test_notify_comes_late(void **state)
{
    struct umdev_client *first;
    struct all all;

    (void)state;
    begin(&all, UMDEV_TRACK_COLLECT, UMDEV_TRACK_HELP_ASYNC);
    mode = UMDEV_TRACK_NOTIFY;
    assert_int_equal(umdev_host_create(all.host, "p", "tracker-1", UUID_B, NULL, NULL), 0);
    first = all.client;
    all.client = connect_with(all.host, UUID_B, all.tracker);
    assert_int_equal(umdev_client_track_help(all.client), UMDEV_TRACK_HELP_ASYNC);
    map(&all, BASE);
    assert_int_equal(umdev_track_add(devices[1], umdev_iova(BASE), PAGE), -EOPNOTSUPP);
    assert_int_equal(umdev_track_set_mode(devices[1], UMDEV_TRACK_COLLECT), 0);
    assert_int_equal(umdev_track_add(devices[1], umdev_iova(BASE), PAGE), 0);
    umdev_client_close(first);
    end(&all);
}

static void test_without_a_tracker(void **state)
{
    struct all all;

    (void)state;
    begin(&all, UMDEV_TRACK_COLLECT, UMDEV_TRACK_HELP_ASYNC);
    umdev_client_close(all.client);
    do {
        usleep(1000);
    } while (stats_of(all.host).connected);
    all.client = connect_with(all.host, UUID_A, NULL);
    assert_int_equal(umdev_client_track_help(all.client), UMDEV_TRACK_HELP_NONE);
    map(&all, BASE);
    assert_int_equal(umdev_track_add(devices[0], umdev_iova(BASE), PAGES * PAGE), 0);
    assert_int_equal(stats_of(all.host).compared_pages, PAGES);
    write_page(&all, 7);
    expect(devices[0], BASE + 7 * PAGE, PAGE);
    end(&all);
}

/* The whole daemon, in a child: it tracks all of the first client's memory and dies when told to.
 */
static pid_t start_daemon(int sock, int control)
{
    pid_t pid = fork();
    struct umdev_host *host;
    char byte;

    if (pid)
        return pid;
    mode = UMDEV_TRACK_NOTIFY;
    num_devices = 0;
    if (umdev_host_new(NULL, &host) ||
        umdev_host_add_parent_static(host, &tracker_driver, "p", NULL, 0, NULL) ||
        umdev_host_create(host, "p", "tracker-1", UUID_A, NULL, NULL) ||
        umdev_host_serve_fd(host, UUID_A, sock) || read(control, &byte, 1) != 1 ||
        umdev_track_add(devices[0], umdev_iova(BASE), PAGES * PAGE) || write(control, "x", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

/* A server that dies leaves pages protected, and nobody to hear of it: the library ends that. */
static void test_the_daemon_dies(void **state)
{
    struct umdev_connect_options options = {.struct_size = sizeof(options), .no_fault = true};
    int pair[2], control[2];
    char byte = 'x';
    struct all all;
    pid_t pid;

    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("the thread sanitizer has no threads in the child of a process with threads\n");
    skip();
#endif
    begin(&all, UMDEV_TRACK_NOTIFY, UMDEV_TRACK_HELP_SYNC);
    umdev_client_close(all.client);
    make_pair(pair);
    make_pair(control);
    pid = start_daemon(pair[0], control[0]);
    close(pair[0]);
    close(control[0]);
    options.tracker = all.tracker;
    assert_int_equal(umdev_connect_fd(pair[1], &options, &all.client), 0);
    assert_int_equal(umdev_client_track_help(all.client), UMDEV_TRACK_HELP_SYNC);
    map(&all, BASE);
    assert_int_equal(write(control[1], &byte, 1), 1);
    assert_int_equal(read(control[1], &byte, 1), 1);
    write_page(&all, 1);
    kill(pid, SIGKILL);
    for (size_t page = 0; page < PAGES; page++)
        write_page(&all, page);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(control[1]);
    end(&all);
}

/* A child that closes its copy of the client leaves the parent's as it is. */
static void test_fork(void **state)
{
    struct all all;
    int status;
    pid_t pid;

    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("the thread sanitizer has no threads in the child of a process with threads\n");
    skip();
#endif
    begin(&all, UMDEV_TRACK_NOTIFY, UMDEV_TRACK_HELP_SYNC);
    pid = fork();
    if (pid == 0) {
        umdev_client_close(all.client);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    map(&all, BASE);
    assert_int_equal(umdev_track_add(devices[0], umdev_iova(BASE), PAGES * PAGE), 0);
    write_page(&all, 3);
    assert_int_equal(told, 1);
    end(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collect),
        cmocka_unit_test(test_notify),
        cmocka_unit_test(test_private_memory),
        cmocka_unit_test(test_two_devices),
        cmocka_unit_test(test_notify_comes_late),
        cmocka_unit_test(test_without_a_tracker),
        cmocka_unit_test(test_the_daemon_dies),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_notify_finds_no_memory),
    };

    guard_install();
    return cmocka_run_group_tests_name("host tracking", tests, NULL, NULL);
}
