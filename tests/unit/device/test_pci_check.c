/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptions that make no PCI device: refused, and told why. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "pci_fixture.h"

#include "base/range.h"

#define GIB (UINT64_C(1) << 30)

struct refused {
    struct umdev_pci pci;
    struct pci_config_bar bars[UMDEV_NUM_BARS];
    const char *words; /* in the message, in this order, separated by '|' */
};

static const struct refused refused[] = {
    /* identity */
    {{.vendor = 0xffff, .device = 1}, {{0}}, "ffff"},
    {{.vendor = 0, .device = 1}, {{0}}, "0000"},
    {{.class_code = 0x1000000}, {{0}}, "0x1000000|24 bits"},
    {{.class_code = UINT32_MAX}, {{0}}, "0xffffffff|24 bits"},
    {{.intx_pin = 5}, {{0}}, "pin 5|1 to 4"},
    {{.msi_vectors = 3}, {{0}}, "3 MSI|32"},
    {{.msi_vectors = 64}, {{0}}, "64 MSI|32"},
    {{.serial_number = 0x77}, {{0}}, "0x77|pcie"},

    {{.vendor_cap_size = 1}, {{0}}, "1 bytes|no bytes"},
    {{.vendor_cap = "", .vendor_cap_size = SIZE_MAX}, {{0}}, "too long|181"},

    /* BARs */
    {{0}, {{.size = 4097}}, "BAR0|0x1001|power of two"},
    {{0}, {{0}, {.size = UINT64_MAX}}, "BAR1|power of two"},
    {{0}, {{.size = 8}}, "BAR0|8 bytes|16"},
    {{0}, {{.size = 2048, .flags = UMDEV_BAR_MEMORY}}, "BAR0|2048|4096"},
    {{0}, {{.size = 4 * GIB}}, "BAR0|0x100000000|64BIT"},
    {{0}, {{.size = UINT64_C(1) << 63}}, "BAR0|64BIT"},
    {{0}, {{.size = 2, .flags = UMDEV_BAR_IO}}, "I/O BAR|4 to 256|2"},
    {{0}, {{.size = 512, .flags = UMDEV_BAR_IO}}, "I/O BAR|4 to 256|512"},
    {{0}, {{.size = 64, .flags = UMDEV_BAR_IO | UMDEV_BAR_64BIT}}, "I/O BAR|64-bit"},
    {{0}, {{.size = 64, .flags = UMDEV_BAR_IO | UMDEV_BAR_PREFETCH}}, "I/O BAR|prefetch"},
    {{0}, {{.size = 64, .flags = UMDEV_BAR_IO | UMDEV_BAR_MEMORY}}, "I/O BAR|plain memory"},
    {{0}, {[5] = {.size = 4096, .flags = UMDEV_BAR_64BIT}}, "BAR5|64-bit|last"},
    {{0},
     {{.size = 4096, .flags = UMDEV_BAR_64BIT}, {.size = 4096}},
     "BAR1|upper half of 64-bit BAR0"},

    /* MSI-X */
    {{.msix = {.vectors = 2049}}, {{.size = GIB}}, "2049|2048"},
    {{.msix = {.vectors = UINT16_MAX}}, {{.size = GIB}}, "65535|2048"},
    {{.msix = {.vectors = 1, .bar = 6}}, {{.size = 4096}}, "no BAR6"},
    {{.msix = {.vectors = 1, .bar = 255}}, {{.size = 4096}}, "no BAR255"},
    {{.msix = {.vectors = 1, .bar = 1}}, {{.size = 4096}}, "no BAR1"},
    {{.msix = {.vectors = 1}}, {{.size = 64, .flags = UMDEV_BAR_IO}}, "BAR0|I/O"},
    {{.msix = {.vectors = 1, .table_offset = 4}}, {{.size = 4096}}, "table|0x4|multiple of 8"},
    {{.msix = {.vectors = 1, .pba_offset = 20}}, {{.size = 4096}}, "pending|0x14|multiple of 8"},
    {{.msix = {.vectors = 1, .table_offset = 4088}}, {{.size = 4096}}, "table|outside BAR0"},
    {{.msix = {.vectors = 1, .table_offset = 0xfffffff8}}, {{.size = 4096}}, "table|outside"},
    {{.msix = {.vectors = 256}}, {{.size = 4096}}, "pending bits|32 bytes|0x1000|outside BAR0"},
    {{.msix = {.vectors = 1, .pba_offset = 4096}}, {{.size = 4096}}, "pending bits|outside"},
    {{.msix = {.vectors = 1, .pba_offset = 0xfffffff8}}, {{.size = 4096}}, "pending bits|outside"},
    {{.msix = {.vectors = 65, .pba_offset = 4088}}, {{.size = 4096}}, "16 bytes|outside"},
    {{.msix = {.vectors = 2, .pba_offset = 24}}, {{.size = 4096}}, "pending|over the table"},
    {{.msix = {.vectors = 65, .table_offset = 8, .pba_offset = 1040}}, {{.size = 4096}}, "over"},
    {{.msix = {.vectors = 65, .table_offset = 2056, .pba_offset = 2048}},
     {{.size = 4096}},
     "over the table"},
    /* The pending bits would follow a table that ends at 4 GiB. */
    {{.msix = {.vectors = 1, .table_offset = 0xfffffff0}},
     {{.size = 8 * GIB, .flags = UMDEV_BAR_64BIT}},
     "pending bits|0x100000000|4 GiB"},
};

static void assert_words(const char *message, const char *words)
{
    const char *from = message;
    char wanted[128];

    snprintf(wanted, sizeof(wanted), "%s", words);
    for (char *save = NULL, *word = strtok_r(wanted, "|", &save); word;
         word = strtok_r(NULL, "|", &save)) {
        const char *found = strstr(from, word);

        if (!found)
            fail_msg("\"%s\" does not say \"%s\" (%s)", message, word, words);
        from = found + strlen(word);
    }
}

static void test_refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
        struct umdev_error error = {""};
        struct pci_config *config = NULL;
        const struct refused *row = &refused[i];

        if (pci_config_new(&row->pci, row->bars, &record_ops, NULL, &config, &error) != -EINVAL)
            fail_msg("row %u (%s) is not refused", i, row->words);
        assert_null(config);
        assert_words(error.message, row->words);
        assert_null(strchr(error.message, '\n'));
        assert_int_equal(pci_config_new(&row->pci, row->bars, &record_ops, NULL, &config, NULL),
                         -EINVAL);
    }
}

/* Up to the limit, each of them, is right. */
static void test_accepted(void **state)
{
    static const struct {
        struct umdev_pci pci;
        struct pci_config_bar bars[UMDEV_NUM_BARS];
    } accepted[] = {
        {{.class_code = 0xffffff, .intx_pin = 4, .msi_vectors = 32}, {{0}}},
        {{.serial_number = 1, .pcie = true}, {{0}}},
        {{0}, {[4] = {.size = 16, .flags = UMDEV_BAR_64BIT}}},
        {{.msix = {.vectors = 2048}}, {{.size = 65536}}},
        {{.msix = {.vectors = 2048, .pba_offset = 32768}}, {{.size = 65536}}},
        {{.msix = {.vectors = 1, .table_offset = 4080, .pba_offset = 8}}, {{.size = 4096}}},
        {{.msix = {.vectors = 64, .table_offset = 8, .pba_offset = 1032}}, {{.size = 2048}}},
        {{.msix = {.vectors = 1, .pba_offset = 4088}}, {{.size = 4096}}},
        {{.msix = {.vectors = 1, .table_offset = 0xffffffe8}},
         {{.size = 8 * GIB, .flags = UMDEV_BAR_64BIT}}},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(accepted); i++) {
        struct pci_record record = {.text = ""};

        pci_config_free(fixture_config(&accepted[i].pci, accepted[i].bars, &record));
    }
}

/* A vendor's capability fills what the others leave of 256 bytes, to the last; not a byte more. */
static void test_room_for_the_vendor(void **state)
{
    static const struct {
        struct umdev_pci pci;
        size_t room;
    } cases[] = {
        {{0}, 181},
        {{.msi_vectors = 1}, 165},
        {{.msix = {.vectors = 1}}, 169},
        {{.pcie = true}, 121},
        {{.msi_vectors = 1, .msix = {.vectors = 1}, .pcie = true}, 93},
    };
    const struct pci_config_bar bars[UMDEV_NUM_BARS] = {{.size = 4096}};
    uint8_t body[182];

    (void)state;
    memset(body, 0xa5, sizeof(body));
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct pci_record record = {.text = ""};
        struct umdev_pci pci = cases[i].pci;
        struct pci_config *config = NULL;
        struct umdev_error error;

        pci.vendor_cap = body;
        pci.vendor_cap_size = cases[i].room;
        config = fixture_config(&pci, bars, &record);
        assert_int_equal(config_read(config, 255, 1), 0xa5);
        assert_int_equal(config_read(config, (uint32_t)(256 - cases[i].room - 3), 1), 0x09);
        assert_int_equal(config_read(config, (uint32_t)(256 - cases[i].room - 1), 1),
                         cases[i].room + 3);
        if (pci.pcie)
            assert_int_equal(config_read(config, 256, 4), 0);
        pci_config_free(config);
        pci.vendor_cap_size++;
        assert_int_equal(pci_config_new(&pci, bars, &record_ops, &record, &config, &error),
                         -EINVAL);
        assert_non_null(strstr(error.message, "vendor capability"));
    }
}

/* Where the pending bits are not told a place, they follow the table. */
static void test_default_place_of_pending_bits(void **state)
{
    const struct umdev_pci pci = {.vendor = 1, .msix = {.vectors = 3, .table_offset = 0x200}};
    const struct pci_config_bar bars[UMDEV_NUM_BARS] = {{.size = 4096}};
    struct pci_record record = {.text = ""};
    struct pci_config *config = fixture_config(&pci, bars, &record);

    (void)state;
    assert_int_equal(config_read(config, 0x4c, 4), 0x200);
    assert_int_equal(config_read(config, 0x50, 4), 0x230);
    pci_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_room_for_the_vendor),
        cmocka_unit_test(test_default_place_of_pending_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
