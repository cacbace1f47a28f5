/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device_new() with every kind of region, and each call in it made to fail in turn.
 */
#include "fixture.h"

#include "failnth.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct card {
    struct umdev_regs regs, others, extra;
    void *table; /* what create() takes, remove() gives back */
};

static int card_create(struct umdev_device *dev)
{
    static const struct umdev_area areas[] = {{0, 0x1000}, {0x2000, 0x2000}};
    struct card *card = umdev_device_priv(dev);
    struct umdev_mem *mem;
    int ret = umdev_mem_create(dev, "card", 0x4000, &mem);

    if (ret == 0)
        ret = umdev_region_set_mem(dev, 2, mem, 0, areas, 2);
    if (ret == 0)
        ret = umdev_region_set_size(dev, 0, 512);
    if (ret == 0)
        ret = umdev_region_set_size(dev, 4, 0x2000);
    if (ret < 0)
        return ret;
    umdev_regs_set32(&card->regs, 64, 1);
    card->table = malloc(100);
    return card->table ? 0 : -ENOMEM;
}

static void card_remove(struct umdev_device *dev)
{
    struct card *card = umdev_device_priv(dev);

    free(card->table);
}

static int card_open(struct umdev_device *dev)
{
    struct umdev_mem *mem;

    return umdev_mem_create(dev, "session", 4096, &mem);
}

static const struct umdev_reg_hook hooks[] = {{.offset = 0, .reset_value = 1}, {.offset = 8}};

static const struct umdev_extra_region extra[] = {
    {1, 1, 100, 0, UMDEV_REGS(struct card, extra, hooks)},
    {1, 2, 0x2000, UMDEV_BAR_MEMORY, NULL},
};

static const struct umdev_driver driver = {
    .struct_size = sizeof(struct umdev_driver),
    .name = "card",
    .priv_size = sizeof(struct card),
    .create = card_create,
    .remove = card_remove,
    .open = card_open,
    .pci =
        UMDEV_PCI(.intx_pin = 1, .msi_vectors = 4, .pcie = true, .msix = {.vectors = 64, .bar = 2},
                  .bar[0] = UMDEV_BAR(.size = 256, .regs = UMDEV_REGS(struct card, regs, hooks)),
                  .bar[1] = UMDEV_BAR(.size = 64, .regs = UMDEV_REGS(struct card, others, hooks)),
                  .bar[2] = UMDEV_BAR(.size = 0x4000), .bar[3] = NULL,
                  .bar[4] =
                      UMDEV_BAR(.size = 0x1000, .flags = UMDEV_BAR_MEMORY | UMDEV_BAR_READONLY),
                  UMDEV_EXTRA_REGIONS(extra)),
};

static int make(void *opaque)
{
    struct fixture *fixture = opaque;
    int ret = fixture_try(fixture, &driver, NULL);

    if (ret < 0) {
        assert_null(fixture->dev);
        assert_int_not_equal(fixture->error.message[0], 0);
    }
    return ret;
}

static void unmake(void *opaque)
{
    struct fixture *fixture = opaque;

    fixture_end(fixture);
}

static void test_new(void **state)
{
    struct fixture fixture;

    (void)state;
    /* device, regions, priv, 3 × 2 register files, memory, irqs … */
    assert_true(failnth_run(make, unmake, &fixture) > 20);
}

/* A session: open, memory, an interrupt, close. */
static int session(void *opaque)
{
    struct fixture *fixture = opaque;
    int memory = memfd_create("client", MFD_CLOEXEC), ret;
    uint64_t unmapped;

    if (memory < 0)
        return -errno;
    ret = ftruncate(memory, 0x2000) < 0 ? -errno : 0;
    if (ret == 0)
        ret = fixture_try(fixture, &driver, NULL);
    if (ret < 0)
        goto out;
    ret = device_open(fixture->dev, &fixture->client);
    if (ret == 0) {
        ret = device_dma_map(fixture->dev, umdev_iova(0), 0x2000, memory, 0, UMDEV_RW);
        if (ret == 0)
            ret = device_dma_unmap(fixture->dev, umdev_iova(0), 0x2000, &unmapped);
        device_close(fixture->dev);
    }
    device_free(fixture->dev);
out:
    close(memory);
    return ret;
}

static void test_session(void **state)
{
    struct fixture fixture;

    (void)state;
    assert_true(failnth_run(session, NULL, &fixture) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new),
        cmocka_unit_test(test_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
