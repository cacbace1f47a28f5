/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may be in a driver at once, and that callbacks can call umdev back.
 */
#include "fixture.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS  2000

/* The driver's side: how many callbacks are under way. Plain ints: a lock must guard them. */
struct inside {
    atomic_int now, most;
    unsigned unguarded; /* of a serialised device: TSan would see an overlap, too */
    atomic_bool wait_for_company;
    pthread_barrier_t company;
};

struct card {
    struct umdev_regs regs;
};

static void enter(struct umdev_device *dev)
{
    struct inside *inside = context_of(dev);
    int now = atomic_fetch_add(&inside->now, 1) + 1;
    int most = atomic_load(&inside->most);

    while (now > most && !atomic_compare_exchange_weak(&inside->most, &most, now))
        ;
    if (atomic_load(&inside->wait_for_company))
        pthread_barrier_wait(&inside->company);
    else
        inside->unguarded++;
    sched_yield();
    atomic_fetch_sub(&inside->now, 1);
}

static int on_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                   size_t len)
{
    (void)region;
    (void)offset;
    memset(buf, 0, len);
    enter(dev);
    return 0;
}

static int on_write(struct umdev_device *dev, unsigned region, uint64_t offset, const void *buf,
                    size_t len)
{
    (void)region;
    (void)offset;
    (void)buf;
    (void)len;
    enter(dev);
    return 0;
}

static void on_hook(struct umdev_device *dev, uint64_t value)
{
    (void)value;
    enter(dev);
}

static int on_reset(struct umdev_device *dev)
{
    enter(dev);
    return 0;
}

static void on_irqs(struct umdev_device *dev, unsigned index)
{
    (void)index;
    enter(dev);
}

static void on_dma_unmap(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    (void)first;
    (void)last;
    enter(dev);
}

static const struct umdev_reg_hook hooks[] = {{.offset = 0, .write = on_hook}};

#define DRIVER(model)                                                                              \
    {                                                                                              \
        .struct_size = sizeof(struct umdev_driver), .name = "inside", .threads = (model),          \
        .priv_size = sizeof(struct card), .read = on_read, .write = on_write, .reset = on_reset,   \
        .irqs_changed = on_irqs, .dma_unmap = on_dma_unmap,                                        \
        .pci = UMDEV_PCI(.msi_vectors = 1, .pcie = true, .bar[0] = UMDEV_BAR(.size = 4096),        \
                         .bar[1] = UMDEV_BAR(.size = 4096,                                         \
                                             .regs = UMDEV_REGS(struct card, regs, hooks)))        \
    }

static const struct umdev_driver serialised = DRIVER(UMDEV_THREADS_SERIALISED);
static const struct umdev_driver parallel = DRIVER(UMDEV_THREADS_PARALLEL);

static uint32_t express_control(struct umdev_device *dev)
{
    uint8_t at = (uint8_t)read32(dev, UMDEV_REGION_CONFIG, PCI_CAPABILITY_LIST);

    while ((uint8_t)read32(dev, UMDEV_REGION_CONFIG, at) != PCI_CAP_ID_EXP)
        at = (uint8_t)(read32(dev, UMDEV_REGION_CONFIG, at) >> 8);
    return at + PCI_EXP_DEVCTL;
}

/* Every way into the driver, again and again. */
static void *pester(void *argument)
{
    struct umdev_device *dev = argument;
    uint32_t control = express_control(dev);
    uint16_t flr = PCI_EXP_DEVCTL_BCR_FLR;
    uint32_t value = 0;
    uint64_t unmapped;
    uintptr_t failures = 0;

    for (int i = 0; i < ROUNDS; i++) {
        failures += device_read(dev, 0, 0, &value, 4) != 0;
        failures += device_write(dev, 0, 0, &value, 4) != 0;
        failures += device_write(dev, 1, 0, &value, 4) != 0;
        if (i % 10 == 0) {
            failures += device_reset(dev) != 0;
            failures += device_write(dev, UMDEV_REGION_CONFIG, control, &flr, 2) != 0;
            failures += device_dma_unmap(dev, umdev_iova(0), 4096, &unmapped) != 0;
            /* The index gets disabled under another thread's feet: EINVAL is fine. */
            device_set_irqs(dev, VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD,
                            UMDEV_IRQ_MSI, 0, 1, NULL, NULL);
        }
    }
    return (void *)failures; /* NOLINT(performance-no-int-to-ptr) */
}

static void test_serialised(void **state)
{
    struct inside inside = {0};
    pthread_t threads[THREADS];
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &serialised, &inside);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pester, fixture.dev), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failures;

        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    assert_int_equal(inside.most, 1);
    assert_int_equal(inside.unguarded, THREADS * (3 * ROUNDS + 4 * (ROUNDS / 10)));
    fixture_end(&fixture);
}

static void *one_read(void *argument)
{
    uint32_t value;

    return device_read(argument, 0, 0, &value, 4) == 0 ? NULL : argument;
}

/* Two accesses that wait for each other inside the driver: done only if they overlap. */
static void test_parallel(void **state)
{
    struct inside inside = {.wait_for_company = true};
    struct fixture fixture;
    pthread_t threads[2];

    (void)state;
    pthread_barrier_init(&inside.company, NULL, 2);
    fixture_open(&fixture, &parallel, &inside);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, one_read, fixture.dev), 0);
    for (int i = 0; i < 2; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(inside.most, 2);
    inside.wait_for_company = false;
    fixture_end(&fixture);
    pthread_barrier_destroy(&inside.company);
}

/* ------------------------------------------------------------------ calling back */

/* All of driver.h that a callback may use; none of it may wait for the lock the callback runs in.
 */
static void call_everything(struct umdev_device *dev)
{
    struct umdev_dma_window window;
    struct umdev_mem *mem;
    uint8_t byte = 0;

    if (umdev_dma_acquire(dev, umdev_iova(0), 1, UMDEV_READ, &window) == 0)
        umdev_dma_release(dev, &window);
    umdev_dma_read(dev, umdev_iova(0), &byte, 1);
    umdev_dma_write(dev, umdev_iova(0), &byte, 1);
    umdev_dma_copy(dev, umdev_iova(0), umdev_iova(8), 1);
    umdev_irq_trigger(dev, UMDEV_IRQ_MSI, 0);
    umdev_irq_set_level(dev, false);
    umdev_device_log(dev, UMDEV_LOG_INFO, "%s", umdev_device_uuid(dev));
    umdev_region_set_size(dev, 1, 4096);
    if (umdev_mem_create(dev, "x", 4096, &mem) == 0)
        umdev_region_set_mem(dev, 1, mem, 0, NULL, 0);
    umdev_region_mem(dev, 1);
}

static int calling(struct umdev_device *dev)
{
    call_everything(dev);
    return 0;
}

static void calling_void(struct umdev_device *dev)
{
    call_everything(dev);
}

static int calling_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                        size_t len)
{
    (void)region;
    (void)offset;
    memset(buf, 0, len);
    return calling(dev);
}

static void calling_irqs(struct umdev_device *dev, unsigned index)
{
    (void)index;
    call_everything(dev);
}

static void calling_unmap(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    (void)first;
    (void)last;
    call_everything(dev);
}

static void test_calling_back(void **state)
{
    const struct umdev_driver driver = {
        .name = "calling",
        .create = calling,
        .remove = calling_void,
        .open = calling,
        .close = calling_void,
        .reset = calling,
        .read = calling_read,
        .irqs_changed = calling_irqs,
        .dma_unmap = calling_unmap,
        .pci = UMDEV_PCI(.msi_vectors = 1, .pcie = true, .bar[0] = UMDEV_BAR(.size = 4096),
                         .bar[1] = UMDEV_BAR(.size = 4096)),
    };
    uint16_t flr = PCI_EXP_DEVCTL_BCR_FLR;
    struct fixture fixture;
    uint64_t unmapped;
    int fd = test_memfd(4096);

    (void)state;
    fixture_guard();
    fixture_open(&fixture, &driver, NULL);
    assert_int_equal(device_dma_map(fixture.dev, umdev_iova(0), 4096, fd, 0, UMDEV_RW), 0);
    read32(fixture.dev, 0, 0);
    assert_int_equal(device_reset(fixture.dev), 0);
    assert_int_equal(
        device_write(fixture.dev, UMDEV_REGION_CONFIG, express_control(fixture.dev), &flr, 2), 0);
    fixture_master(fixture.dev);
    assert_int_equal(device_set_irqs(fixture.dev,
                                     VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD,
                                     UMDEV_IRQ_MSI, 0, 1, NULL, NULL),
                     0);
    /* A client that is cut off from inside a callback. */
    assert_int_equal(ftruncate(fd, 0), 0);
    read32(fixture.dev, 0, 0);
    assert_int_equal(fixture.disconnects, 1);
    assert_int_equal(device_dma_unmap(fixture.dev, umdev_iova(0), 4096, &unmapped), 0);
    fixture_end(&fixture);
    close(fd);
}

/* ------------------------------------------------------------------ the ends, from outside */

static void *come_and_go(void *argument)
{
    struct fixture *fixture = argument;

    for (int i = 0; i < ROUNDS / 4; i++) {
        int ret = device_open(fixture->dev, &fixture->client);

        if (ret == -ESHUTDOWN)
            break;
        if (ret == -EBUSY)
            continue;
        if (ret < 0)
            return argument;
        fixture_master(fixture->dev);
        device_close(fixture->dev);
    }
    return NULL;
}

/* Engine threads go on while clients come and go: an error, never a crash. */
static void *engine(void *argument)
{
    struct umdev_device *dev = argument;
    uint8_t byte;

    for (int i = 0; i < ROUNDS; i++) {
        umdev_dma_read(dev, umdev_iova(0), &byte, 1);
        umdev_irq_trigger(dev, UMDEV_IRQ_MSI, 0);
    }
    return NULL;
}

static void test_clients_come_and_go(void **state)
{
    struct inside inside = {0};
    struct fixture fixture;
    pthread_t threads[4];

    (void)state;
    fixture_new(&fixture, &serialised, &inside);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < 3 ? come_and_go : engine,
                                        i < 3 ? (void *)&fixture : fixture.dev),
                         0);
    for (int i = 0; i < 10; i++) {
        device_is_open(fixture.dev);
        sched_yield();
    }
    device_shutdown(fixture.dev);
    for (int i = 0; i < 4; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_false(device_is_open(fixture.dev));
    assert_int_equal(inside.most, inside.unguarded > 0);
    fixture_end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serialised),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_calling_back),
        cmocka_unit_test(test_clients_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
