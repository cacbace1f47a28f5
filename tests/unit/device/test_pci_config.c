/* SPDX-License-Identifier: BSD-3-Clause */
/* The config space: every byte of a device that has everything, and what writes do. */
#include "failnth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "pci_fixture.h"

#include "base/range.h"
#include "device/pci_space.h"

/* ------------------------------------------------------------------ byte by byte */

/*
 * full_pci's space, from the PCI and PCI Express specifications: fields that are not zero and
 * read-only. "Writable" and "clearable" are masks of bits.
 */
struct field {
    uint16_t offset, size;
    uint32_t value, writable, clearable;
};
static const struct field fields[] = {
    {0x00, 2, 0x1234, 0, 0},       /* vendor */
    {0x02, 2, 0x5678, 0, 0},       /* device */
    {0x04, 2, 0x0000, 0x0547, 0},  /* command: I/O, memory, master, parity, SERR, INTx */
    {0x06, 2, 0x0010, 0, 0xf900},  /* status: capability list; errors */
    {0x08, 4, 0x03020142, 0, 0},   /* class, revision */
    {0x0c, 1, 0, 0xff, 0},         /* cache line size */
    {0x10, 4, 0x0, 0xffff0000, 0}, /* BAR 0: 64 KiB */
    {0x14, 4, 0x1, 0xffffffc0, 0}, /* BAR 1: 64 bytes of I/O */
    {0x18, 4, 0xc, 0x00000000, 0}, /* BAR 2: 8 GiB, 64-bit, prefetchable */
    {0x1c, 4, 0x0, 0xfffffffe, 0}, /* its upper half */
    {0x20, 4, 0x8, 0xfffffff0, 0}, /* BAR 4: 16 bytes, prefetchable */
    {0x24, 4, 0x0, 0xffffe000, 0}, /* BAR 5: 8 KiB */
    {0x2c, 2, 0x9abc, 0, 0},       /* subsystem vendor */
    {0x2e, 2, 0xdef0, 0, 0},       /* subsystem */
    {0x34, 1, 0x40, 0, 0},         /* capabilities */
    {0x3c, 1, 0, 0xff, 0},         /* interrupt line */
    {0x3d, 1, 2, 0, 0},            /* interrupt pin: INTB */
    {0x40, 2, 0x4801, 0, 0},       /* PM, next 0x48 */
    {0x42, 2, 0x0003, 0, 0},       /* version 1.2, no PME, no D1, no D2 */
    {0x44, 2, 0x0008, 0x0003, 0},  /* no soft reset; power state */
    {0x48, 2, 0x5805, 0, 0},       /* MSI, next 0x58 */
    {0x4a, 2, 0x0086, 0x0071, 0},  /* 64-bit, 8 capable; enabled, messages */
    {0x4c, 4, 0, 0xfffffffc, 0},   /* address */
    {0x50, 4, 0, 0xffffffff, 0},   /* upper half */
    {0x54, 2, 0, 0xffff, 0},       /* data */
    {0x58, 2, 0x6411, 0, 0},       /* MSI-X, next 0x64 */
    {0x5a, 2, 99, 0xc000, 0},      /* 100 vectors; enable, function mask */
    {0x5c, 4, 0x1005, 0, 0},       /* table */
    {0x60, 4, 0x0805, 0, 0},       /* pending bits */
    {0x64, 2, 0xa010, 0, 0},       /* PCI Express, next 0xa0 */
    {0x66, 2, 0x0002, 0, 0},       /* version 2, endpoint */
    {0x68, 4, 0x10008fc0, 0, 0},   /* FLR, role-based errors, any latency, 128 bytes */
    {0x6c, 2, 0x2810, 0x781f, 0},  /* device control; FLR is apart */
    {0x6e, 2, 0, 0, 0x000f},       /* device status: errors */
    {0x70, 4, 0x00400102, 0, 0},   /* link capabilities: 5 GT/s, x16 */
    {0x74, 2, 0, 0x00c3, 0},       /* link control: ASPM, common clock, extended sync */
    {0x76, 2, 0x1102, 0, 0},       /* link status: 5 GT/s, x16, slot clock */
    {0x88, 4, 0x10, 0, 0},         /* device capabilities 2: timeout can be disabled */
    {0x8c, 2, 0, 0x0010, 0},       /* device control 2: disable it */
    {0x90, 4, 0x06, 0, 0},         /* link capabilities 2: 2.5, 5 GT/s */
    {0x94, 2, 0x0002, 0x000f, 0},  /* link control 2: target speed */
    {0xa0, 2, 0x0009, 0, 0},       /* vendor-specific, the last */
    {0xa2, 2, 0x1109, 0, 0},       /* its length; its body */
    {0xa4, 4, 0x55443322, 0, 0},
    {0xa8, 1, 0x66, 0, 0},
    {0x100, 4, 0x00010003, 0, 0}, /* device serial number, the last */
    {0x104, 4, 0x55667788, 0, 0}, /* its lower half */
    {0x108, 4, 0x11223344, 0, 0}, /* its upper half */
};

struct model {
    uint8_t values[4096], writable[4096], clearable[4096], initial[4096];
};

static void model_init(struct model *model)
{
    memset(model, 0, sizeof(*model));
    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
        for (unsigned byte = 0; byte < fields[i].size; byte++) {
            unsigned offset = fields[i].offset + byte;

            model->initial[offset] = (uint8_t)(fields[i].value >> (8 * byte));
            model->writable[offset] = (uint8_t)(fields[i].writable >> (8 * byte));
            model->clearable[offset] = (uint8_t)(fields[i].clearable >> (8 * byte));
        }
    memcpy(model->values, model->initial, sizeof(model->values));
}

static void model_write(struct model *model, uint32_t offset, const uint8_t *bytes, size_t len)
{
    uint8_t old_power = model->values[0x44] & 3;
    bool flr = false;

    for (size_t i = 0; i < len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t mask = (uint8_t)(1 << bit);

            if (model->clearable[offset + i] & bytes[i] & mask)
                model->values[offset + i] &= (uint8_t)~mask;
            if (model->writable[offset + i] & mask)
                model->values[offset + i] =
                    (uint8_t)((model->values[offset + i] & ~mask) | (bytes[i] & mask));
        }
        flr |= offset + i == 0x6d && bytes[i] & 0x80;
    }
    /* No D1, no D2; no more than 8 messages. */
    if ((model->values[0x44] & 3) == 1 || (model->values[0x44] & 3) == 2)
        model->values[0x44] = (uint8_t)((model->values[0x44] & ~3) | old_power);
    if ((model->values[0x4a] >> 4 & 7) > 3)
        model->values[0x4a] = (uint8_t)((model->values[0x4a] & ~0x70) | 0x30);
    if (flr)
        memcpy(model->values, model->initial, sizeof(model->values));
}

static void model_compare(const struct model *model, struct pci_config *config)
{
    static uint8_t got[4096];

    pci_config_read(config, 0, got, sizeof(got));
    for (unsigned offset = 0; offset < sizeof(got); offset++)
        if (got[offset] != model->values[offset])
            fail_msg("offset %#x: %#x instead of %#x", offset, got[offset], model->values[offset]);
}

static void test_every_byte(void **state)
{
    struct pci_record record = {.text = ""};
    struct pci_config *config = fixture_config(&full_pci, full_bars, &record);
    static struct model model;

    (void)state;
    model_init(&model);
    assert_int_equal(pci_config_size(config), 4096);
    model_compare(&model, config);
    /* All ones, byte by byte, then zeros: exactly the writable bits move. */
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint32_t offset = 0; offset < 4096; offset++) {
            uint8_t byte = pass ? 0 : 0xff;

            if (offset == 0x6d)
                byte &= 0x7f; /* not now */
            model_write(&model, offset, &byte, 1);
            pci_config_write(config, offset, &byte, 1);
            model_compare(&model, config);
        }
    pci_config_free(config);
}

static void test_random_writes(void **state)
{
    struct pci_record record = {.text = ""};
    struct pci_config *config = fixture_config(&full_pci, full_bars, &record);
    unsigned seed = (unsigned)getpid();
    static struct model model;

    (void)state;
    print_message("# seed %u\n", seed);
    srand(seed);
    model_init(&model);
    for (unsigned step = 0; step < 20000; step++) {
        uint8_t bytes[64];
        size_t len = (size_t)rand() % (rand() % 2 ? 5 : sizeof(bytes));
        /* Mostly where something is. */
        uint32_t offset = (uint32_t)rand() % (rand() % 8 ? 0x110 : 4096 - sizeof(bytes));

        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)(rand() >> 8);
        /* Errors happen: only then is there something to clear. */
        if (rand() % 4 == 0)
            for (unsigned i = 0; i < sizeof(model.values); i++) {
                model.values[i] |= model.clearable[i];
                config->values[i] |= model.clearable[i];
            }
        model_write(&model, offset, bytes, len);
        pci_config_write(config, offset, bytes, len);
        record.text[0] = '\0';
        model_compare(&model, config);
    }
    pci_config_free(config);
}

/* Whatever piece is read, it is that piece of the whole. */
static void test_reads_of_any_size(void **state)
{
    struct pci_record record = {.level = true};
    struct pci_config *config = fixture_config(&full_pci, full_bars, &record);
    uint8_t whole[256], piece[256];

    (void)state;
    pci_config_read(config, 0, whole, sizeof(whole));
    assert_int_equal(whole[6], 0x18);
    for (uint32_t offset = 0; offset < sizeof(whole); offset++)
        for (size_t len = 0; len <= sizeof(whole) - offset; len++) {
            memset(piece, 0xee, sizeof(piece));
            pci_config_read(config, offset, piece, len);
            assert_memory_equal(piece, whole + offset, len);
            if (len < sizeof(piece))
                assert_int_equal(piece[len], 0xee);
        }
    pci_config_free(config);
}

/* ------------------------------------------------------------------ BARs */

static void test_sizing_of_every_kind(void **state)
{
    static const struct {
        struct pci_config_bar bar;
        uint32_t type, low, high; /* what reads back after all ones */
    } rows[] = {
        {{4, UMDEV_BAR_IO}, 1, 0xfffffffd, 0},
        {{256, UMDEV_BAR_IO | UMDEV_BAR_READONLY}, 1, 0xffffff01, 0},
        {{16, 0}, 0, 0xfffffff0, 0},
        {{4096, UMDEV_BAR_MEMORY}, 0, 0xfffff000, 0},
        {{4096, UMDEV_BAR_PREFETCH}, 8, 0xfffff008, 0},
        {{UINT64_C(1) << 31, 0}, 0, 0x80000000, 0},
        {{16, UMDEV_BAR_64BIT}, 4, 0xfffffff4, 0xffffffff},
        {{UINT64_C(1) << 31, UMDEV_BAR_64BIT}, 4, 0x80000004, 0xffffffff},
        {{UINT64_C(1) << 32, UMDEV_BAR_64BIT | UMDEV_BAR_PREFETCH}, 12, 12, 0xffffffff},
        {{UINT64_C(1) << 40, UMDEV_BAR_64BIT | UMDEV_BAR_PREFETCH}, 12, 12, 0xffffff00},
        {{UINT64_C(1) << 63, UMDEV_BAR_64BIT}, 4, 4, 0x80000000},
    };
    const struct umdev_pci pci = {.vendor = 1};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        for (unsigned bar = 0; bar < UMDEV_NUM_BARS - 1; bar++) {
            struct pci_config_bar bars[UMDEV_NUM_BARS] = {0};
            struct pci_record record = {.text = ""};
            struct pci_config *config;
            uint32_t offset = 0x10 + 4 * bar;
            uint16_t decode = rows[i].bar.flags & UMDEV_BAR_IO ? 1 : 2;

            bars[bar] = rows[i].bar;
            config = fixture_config(&pci, bars, &record);
            assert_int_equal(config_read(config, offset, 4), rows[i].type);
            config_write(config, offset, 4, UINT32_MAX);
            config_write(config, offset + 4, 4, UINT32_MAX);
            assert_int_equal(config_read(config, offset, 4), rows[i].low);
            assert_int_equal(config_read(config, offset + 4, 4), rows[i].high);
            /* An address stays; all other BARs read as nothing. */
            config_write(config, offset, 4, 0xc0000000);
            assert_int_equal(config_read(config, offset, 4),
                             (0xc0000000 & rows[i].low) | rows[i].type);
            for (unsigned other = 0; other < UMDEV_NUM_BARS; other++)
                if (other != bar && other != bar + 1) {
                    config_write(config, 0x10 + 4 * other, 4, UINT32_MAX);
                    assert_int_equal(config_read(config, 0x10 + 4 * other, 4), 0);
                }
            /* The ROM's does not either; and only what is there can be switched on. */
            config_write(config, 0x30, 4, UINT32_MAX);
            assert_int_equal(config_read(config, 0x30, 4), 0);
            config_write(config, 4, 2, 0xffff);
            assert_int_equal(config_read(config, 4, 2), 0x0144 | decode);
            pci_config_free(config);
        }
}

/* ------------------------------------------------------------------ smaller devices */

static void test_the_least_device(void **state)
{
    const struct umdev_pci pci = {0};
    const struct pci_config_bar bars[UMDEV_NUM_BARS] = {0};
    const struct pci_config_ops no_ops = {0};
    struct pci_config *config = NULL;

    (void)state;
    assert_int_equal(pci_config_new(&pci, bars, &no_ops, NULL, &config, NULL), 0);
    assert_int_equal(pci_config_size(config), 256);
    assert_int_equal(config_read(config, 0, 4), 0x10f01af4);
    assert_int_equal(config_read(config, 0x2c, 4), 0x10f01af4);
    assert_int_equal(config_read(config, 0x3d, 1), 0);
    /* PM alone, and a latency timer, as before PCI Express. */
    assert_int_equal(config_read(config, 0x34, 1), 0x40);
    assert_int_equal(config_read(config, 0x40, 2), 0x0001);
    config_write(config, 0x0d, 1, 0x40);
    assert_int_equal(config_read(config, 0x0d, 1), 0x40);
    for (uint32_t offset = 0x48; offset < 256; offset += 4) {
        config_write(config, offset, 4, UINT32_MAX);
        assert_int_equal(config_read(config, offset, 4), 0);
    }
    /* Nobody to be told. */
    config_write(config, 4, 2, 4);
    assert_int_equal(pci_config_command(config), 4);
    assert_int_equal(config_read(config, 6, 2), 0x10);
    pci_config_reset(config);
    assert_int_equal(pci_config_command(config), 0);
    pci_config_free(config);
    pci_config_free(NULL);
}

/* With PCI Express but no serial number, the list of extended capabilities is empty. */
static void test_no_extended_capability(void **state)
{
    struct umdev_pci pci = full_pci;
    struct pci_record record = {.text = ""};
    struct pci_config *config;

    (void)state;
    pci.serial_number = 0;
    config = fixture_config(&pci, full_bars, &record);
    assert_int_equal(pci_config_size(config), 4096);
    for (uint32_t offset = 0x100; offset < 4096; offset += 4)
        assert_int_equal(config_read(config, offset, 4), 0);
    pci_config_free(config);
}

/* Whatever is left out, the list leads through the rest, once, in order, inside the space. */
static void test_every_set_of_capabilities(void **state)
{
    (void)state;
    for (unsigned set = 0; set < 16; set++) {
        static const uint8_t ids[] = {0x05, 0x11, 0x10, 0x09}, sizes[] = {14, 12, 60, 9};
        struct umdev_pci pci = full_pci;
        struct pci_record record = {.text = ""};
        struct pci_config *config;
        uint32_t end = 0x48, at;

        if (!(set & 1))
            pci.msi_vectors = 0;
        if (!(set & 2))
            pci.msix.vectors = 0;
        if (!(set & 4)) {
            pci.pcie = false;
            pci.serial_number = 0;
        }
        if (!(set & 8))
            pci.vendor_cap_size = 0;
        config = fixture_config(&pci, full_bars, &record);
        at = config_read(config, 0x41, 1);
        for (unsigned i = 0; i < 4; i++) {
            if (!(set & 1u << i))
                continue;
            assert_int_equal(config_read(config, at, 1), ids[i]);
            assert_int_equal(at % 4, 0);
            assert_true(at >= end);
            end = at + sizes[i];
            at = config_read(config, at + 1, 1);
        }
        assert_int_equal(at, 0);
        assert_true(end <= 256);
        pci_config_free(config);
    }
}

static void test_msi_vectors(void **state)
{
    (void)state;
    for (unsigned log2 = 0; log2 <= 5; log2++) {
        struct umdev_pci pci = full_pci;
        struct pci_record record = {.text = ""};
        struct pci_config *config;

        pci.msi_vectors = (uint16_t)(1 << log2);
        config = fixture_config(&pci, full_bars, &record);
        assert_int_equal(config_read(config, 0x4a, 2), 0x80 | log2 << 1);
        for (unsigned enabled = 0; enabled < 8; enabled++) {
            config_write(config, 0x4a, 2, 1 | enabled << 4);
            assert_int_equal(config_read(config, 0x4a, 2),
                             0x81 | log2 << 1 | MIN(enabled, log2) << 4);
        }
        pci_config_free(config);
    }
}

/* ------------------------------------------------------------------ effects */

static void test_command(void **state)
{
    struct pci_record record = {.text = ""};
    struct pci_config *config = fixture_config(&full_pci, full_bars, &record);

    (void)state;
    assert_happened(&record, "");
    assert_int_equal(pci_config_command(config), 0);
    config_write(config, 4, 2, PCI_CONFIG_COMMAND_MEMORY | PCI_CONFIG_COMMAND_MASTER);
    assert_happened(&record, "c0006 ");
    assert_int_equal(pci_config_command(config), 6);
    /* The same again is no news; half of it is. */
    config_write(config, 4, 4, 6);
    assert_happened(&record, "");
    config_write(config, 5, 1, PCI_CONFIG_COMMAND_INTX_DISABLE >> 8);
    assert_happened(&record, "c0406 ");
    config_write(config, 3, 2, 0xffff);
    assert_happened(&record, "c0447 ");
    pci_config_free(config);
}

static void test_interrupt_status(void **state)
{
    struct pci_record record = {.text = ""};
    struct pci_config *config = fixture_config(&full_pci, full_bars, &record);

    (void)state;
    assert_int_equal(config_read(config, 6, 2), 0x10);
    record.level = true;
    assert_int_equal(config_read(config, 6, 2), 0x18);
    assert_int_equal(config_read(config, 4, 4), 0x180000);
    assert_int_equal(config_read(config, 7, 1), 0);
    assert_int_equal(config_read(config, 4, 2), 0);
    /* It is no error bit: a 1 does not clear it. */
    config_write(config, 6, 2, 0xffff);
    assert_int_equal(config_read(config, 6, 2), 0x18);
    record.level = false;
    assert_int_equal(config_read(config, 6, 2), 0x10);
    pci_config_free(config);
}

static void test_msix_control(void **state)
{
    struct pci_record record = {.text = ""};
    struct pci_config *config = fixture_config(&full_pci, full_bars, &record);

    (void)state;
    config_write(config, 0x5a, 2, 0xffff);
    assert_happened(&record, "m11 ");
    config_write(config, 0x5b, 1, 0x80);
    assert_happened(&record, "m10 ");
    config_write(config, 0x5a, 1, 0);
    assert_happened(&record, "");
    config_write(config, 0x58, 4, 0x40000000);
    assert_happened(&record, "m01 ");
    pci_config_free(config);
}

/* In D3hot the device does nothing, and keeps everything. */
static void test_power_state(void **state)
{
    struct pci_record record = {.text = ""};
    struct pci_config *config = fixture_config(&full_pci, full_bars, &record);

    (void)state;
    config_write(config, 4, 2, 0x0407);
    config_write(config, 0x10, 4, 0xfe000000);
    assert_happened(&record, "c0407 ");
    config_write(config, 0x44, 2, 3);
    assert_happened(&record, "c0400 ");
    assert_int_equal(pci_config_command(config), 0x0400);
    assert_int_equal(config_read(config, 4, 2), 0x0407);
    /* There is no D1 and no D2 to go to. */
    config_write(config, 0x44, 2, 1);
    assert_int_equal(config_read(config, 0x44, 2), 0x000b);
    config_write(config, 0x44, 1, 0);
    assert_happened(&record, "c0407 ");
    config_write(config, 0x44, 2, 2);
    assert_int_equal(config_read(config, 0x44, 2), 0x0008);
    assert_happened(&record, "");
    assert_int_equal(config_read(config, 0x10, 4), 0xfe000000);
    pci_config_free(config);
}

static void test_reset(void **state)
{
    struct pci_record record = {.text = ""};
    struct pci_config *config = fixture_config(&full_pci, full_bars, &record);
    static struct model model;
    static uint8_t ones[0x6c];

    (void)state;
    model_init(&model);
    memset(ones, 0xff, sizeof(ones));
    pci_config_write(config, 0, ones, sizeof(ones));
    assert_happened(&record, "c0540 m11 ");
    pci_config_reset(config);
    assert_happened(&record, "c0000 m00 ");
    model_compare(&model, config);
    pci_config_free(config);
}

/* The space is as new, and its owner knows, when the function-level reset is announced. */
static void test_flr(void **state)
{
    struct pci_record record = {.text = ""};
    struct pci_config *config = fixture_config(&full_pci, full_bars, &record);
    static struct model model;
    static uint8_t ones[256];

    (void)state;
    model_init(&model);
    config_write(config, 4, 2, 6);
    config_write(config, 0x5a, 2, 0x8000);
    config_write(config, 0x24, 4, 0xfe000000);
    assert_happened(&record, "c0006 m10 ");
    config_write(config, 0x6c, 2, 0x8000 | 0x2810);
    assert_happened(&record, "c0000 m00 f ");
    model_compare(&model, config);

    /* By its byte alone, as part of everything at once, and by an owner that resets once more. */
    config_write(config, 0x6d, 1, 0x80);
    assert_happened(&record, "c0000 m00 f ");
    memset(ones, 0xff, sizeof(ones));
    record.reset_on_flr = config;
    pci_config_write(config, 0, ones, sizeof(ones));
    assert_happened(&record, "c0000 m00 f c0000 m00 ");
    model_compare(&model, config);

    /* Without PCI Express there is no such bit. */
    pci_config_free(config);
    record = (struct pci_record){.text = ""};
    struct umdev_pci pci = full_pci;
    pci.pcie = false;
    pci.serial_number = 0;
    config = fixture_config(&pci, full_bars, &record);
    config_write(config, 0x6c, 4, UINT32_MAX);
    assert_happened(&record, "");
    pci_config_free(config);
}

/* ------------------------------------------------------------------ birth */

static int run_new(void *opaque)
{
    return pci_config_new(&full_pci, full_bars, &record_ops, NULL, opaque, NULL);
}

static void undo_new(void *opaque)
{
    pci_config_free(*(struct pci_config **)opaque);
}

static void test_new_fails_cleanly(void **state)
{
    struct pci_config *config = NULL;

    (void)state;
    assert_int_equal(failnth_run(run_new, undo_new, &config), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_random_writes),
        cmocka_unit_test(test_reads_of_any_size),
        cmocka_unit_test(test_sizing_of_every_kind),
        cmocka_unit_test(test_the_least_device),
        cmocka_unit_test(test_no_extended_capability),
        cmocka_unit_test(test_every_set_of_capabilities),
        cmocka_unit_test(test_msi_vectors),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_interrupt_status),
        cmocka_unit_test(test_msix_control),
        cmocka_unit_test(test_power_state),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_flr),
        cmocka_unit_test(test_new_fails_cleanly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
