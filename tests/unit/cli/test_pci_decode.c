/* SPDX-License-Identifier: BSD-3-Clause */
/* Config spaces, canned and hostile, taken apart. */
#include "cli/pci_decode.h"

#include "base/range.h"
#include "unit.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

static const uint64_t no_bars[PCI_BAR_COUNT];
static struct pci_function pci;

struct space {
    uint8_t bytes[PCI_SPACE_MAX];
    size_t size;
};

static void put16(struct space *space, unsigned at, uint16_t value)
{
    space->bytes[at] = (uint8_t)value;
    space->bytes[at + 1] = (uint8_t)(value >> 8);
}

static void put32(struct space *space, unsigned at, uint32_t value)
{
    put16(space, at, (uint16_t)value);
    put16(space, at + 2, (uint16_t)(value >> 16));
}

static void space_init(struct space *space, size_t size)
{
    memset(space, 0, sizeof(*space));
    space->size = size;
    put16(space, PCI_VENDOR_ID, 0x1b36);
    put16(space, PCI_DEVICE_ID, 0x0010);
    put32(space, PCI_CLASS_REVISION, 0x01080203);
    put16(space, PCI_STATUS, PCI_STATUS_CAP_LIST);
}

/* A capability with its link: the first at 0x34 or the one before at `link` leads to it. */
static void put_cap(struct space *space, unsigned link, unsigned at, uint8_t id)
{
    space->bytes[link] = (uint8_t)at;
    space->bytes[at] = id;
}

static void put_extended(struct space *space, unsigned at, uint16_t id, unsigned version,
                         unsigned next)
{
    put32(space, at, id | version << 16 | next << 20);
}

static void decode(const struct space *space)
{
    memset(&pci, 0xa5, sizeof(pci));
    assert_int_equal(pci_decode(space->bytes, space->size, no_bars, 0, &pci), 0);
}

/* ------------------------------------------------------------------ headers */

static void test_sizes(void **state)
{
    static struct space space;

    (void)state;
    space_init(&space, 256);
    assert_int_equal(pci_decode(space.bytes, 63, no_bars, 0, &pci), -EINVAL);
    assert_int_equal(pci_decode(space.bytes, 0, no_bars, 0, &pci), -EINVAL);
    assert_int_equal(pci_decode(space.bytes, 4097, no_bars, 0, &pci), -EINVAL);
    assert_int_equal(pci_decode(space.bytes, 64, no_bars, 0, &pci), 0);
    assert_int_equal(pci_decode(space.bytes, 4096, no_bars, 0, &pci), 0);
}

static void test_header(void **state)
{
    static struct space space;

    (void)state;
    space_init(&space, 256);
    put16(&space, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    put16(&space, PCI_SUBSYSTEM_VENDOR_ID, 0x1af4);
    put16(&space, PCI_SUBSYSTEM_ID, 0x1100);
    space.bytes[PCI_HEADER_TYPE] = 0x80;
    space.bytes[PCI_INTERRUPT_PIN] = 2;
    space.bytes[PCI_INTERRUPT_LINE] = 11;
    decode(&space);
    assert_int_equal(pci.vendor, 0x1b36);
    assert_int_equal(pci.device, 0x0010);
    assert_int_equal(pci.class_code, 0x010802);
    assert_int_equal(pci.revision, 3);
    assert_string_equal(pci_class_name(pci.class_code), "Non-Volatile memory controller");
    assert_int_equal(pci.command, 6);
    assert_true(pci.multifunction);
    assert_int_equal(pci.header_type, 0);
    assert_int_equal(pci.subsystem_vendor, 0x1af4);
    assert_int_equal(pci.subsystem_device, 0x1100);
    assert_int_equal(pci.irq_pin, 2);
    assert_int_equal(pci.irq_line, 11);
    assert_int_equal(pci.ncapabilities, 0);
    assert_int_equal(pci.chain_end, PCI_CHAIN_OK);
}

static void test_bars(void **state)
{
    static const uint64_t sizes[PCI_BAR_COUNT] = {0x4000, 0x7777, 0x1000, 32, 0, 0x100000000};
    static struct space space;

    (void)state;
    space_init(&space, 256);
    put32(&space, PCI_BASE_ADDRESS_0, 0xfe000000 | 0xc); /* 64 bits, prefetchable */
    put32(&space, PCI_BASE_ADDRESS_1, 0x12);
    put32(&space, PCI_BASE_ADDRESS_2, 0xfeb00000);
    put32(&space, PCI_BASE_ADDRESS_3, 0xc001);
    put32(&space, PCI_BASE_ADDRESS_5, 0x4); /* 64 bits with no place for the upper half */
    put32(&space, PCI_ROM_ADDRESS, 0xfea00001);
    assert_int_equal(pci_decode(space.bytes, 256, sizes, 0x10000, &pci), 0);
    assert_int_equal(pci.bars[0].kind, PCI_BAR_MEM64);
    assert_true(pci.bars[0].prefetchable);
    assert_int_equal(pci.bars[0].address, 0x12fe000000);
    assert_int_equal(pci.bars[0].size, 0x4000);
    assert_int_equal(pci.bars[1].kind, PCI_BAR_UPPER);
    assert_int_equal(pci.bars[2].kind, PCI_BAR_MEM32);
    assert_false(pci.bars[2].prefetchable);
    assert_int_equal(pci.bars[2].address, 0xfeb00000);
    assert_int_equal(pci.bars[3].kind, PCI_BAR_IO);
    assert_int_equal(pci.bars[3].address, 0xc000);
    assert_int_equal(pci.bars[3].size, 32);
    assert_int_equal(pci.bars[4].kind, PCI_BAR_NONE);
    assert_int_equal(pci.bars[5].kind, PCI_BAR_MEM32);
    assert_int_equal(pci.bars[5].size, 0x100000000);
    assert_true(pci.rom_enabled);
    assert_int_equal(pci.rom_address, 0xfea00000);
    assert_int_equal(pci.rom_size, 0x10000);
}

static void test_bridge(void **state)
{
    static struct space space;

    (void)state;
    space_init(&space, 256);
    space.bytes[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
    put32(&space, PCI_PRIMARY_BUS, 0x00030201);
    put32(&space, PCI_BASE_ADDRESS_1, 0x4); /* a bridge has two: no upper half for this one */
    decode(&space);
    assert_int_equal(pci.nbars, 2);
    assert_int_equal(pci.bars[1].kind, PCI_BAR_MEM32);
    assert_int_equal(pci.bus_primary, 1);
    assert_int_equal(pci.bus_secondary, 2);
    assert_int_equal(pci.bus_subordinate, 3);

    /* of other kinds of header nothing is assumed, not even where the list begins */
    space.bytes[PCI_HEADER_TYPE] = 0x7f;
    put_cap(&space, PCI_CAPABILITY_LIST, 0x40, PCI_CAP_ID_PM);
    decode(&space);
    assert_int_equal(pci.nbars, 0);
    assert_int_equal(pci.ncapabilities, 0);
}

static void test_all_ones(void **state)
{
    static struct space space;

    (void)state;
    space.size = PCI_SPACE_MAX;
    memset(space.bytes, 0xff, sizeof(space.bytes));
    decode(&space);
    assert_int_equal(pci.ncapabilities, 0);
    assert_string_equal(pci_class_name(pci.class_code), "Unassigned class");
}

/* ------------------------------------------------------------------ capabilities */

static void test_capabilities(void **state)
{
    static const uint64_t sizes[PCI_BAR_COUNT] = {[4] = 0x1000};
    static struct space space;
    const struct pci_capability *cap = pci.capabilities;

    (void)state;
    space_init(&space, 4096);
    put_cap(&space, PCI_CAPABILITY_LIST, 0x40, PCI_CAP_ID_PM);
    put16(&space, 0x42, 0xc803 | PCI_PM_CAP_D1); /* PME from D0, D3hot, D3cold */
    put16(&space, 0x44, 0x010b);
    put_cap(&space, 0x41, 0x50, PCI_CAP_ID_MSI);
    put16(&space, 0x52,
          PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | 3 << 1 | 2 << 4);
    put32(&space, 0x54, 0xfee00000);
    put32(&space, 0x58, 0x1);
    put16(&space, 0x5c, 0x4041);
    put32(&space, 0x60, 0xf0);
    put32(&space, 0x64, 0x0f);
    put_cap(&space, 0x51, 0x70, PCI_CAP_ID_MSIX);
    put16(&space, 0x72, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL | 63);
    put32(&space, 0x74, 0x800 | 4);
    put32(&space, 0x78, 0xff8 | 4);
    put_cap(&space, 0x71, 0x80, PCI_CAP_ID_EXP);
    put16(&space, 0x82, 2 | PCI_EXP_TYPE_LEG_END << 4 | 5 << 9);
    put32(&space, 0x84, PCI_EXP_DEVCAP_FLR);
    put16(&space, 0x92, 0x0103);
    put_cap(&space, 0x81, 0xc0, PCI_CAP_ID_VNDR);
    space.bytes[0xc2] = 8;
    put_cap(&space, 0xc1, 0xe3, 0); /* the two lowest bits do not count: 0xe0 */
    space.bytes[0xe0] = 0x33;
    put_extended(&space, 0x100, PCI_EXT_CAP_ID_DSN, 1, 0x200);
    put32(&space, 0x104, 0x55667788);
    put32(&space, 0x108, 0x11223344);
    put_extended(&space, 0x200, PCI_EXT_CAP_ID_VNDR, 2, 0x150);
    put32(&space, 0x204, 0xabcd | 3 << 16 | 0x10u << 20);
    put_extended(&space, 0x150, PCI_EXT_CAP_ID_ACS, 1, 0);

    assert_int_equal(pci_decode(space.bytes, space.size, sizes, 0, &pci), 0);
    assert_int_equal(pci.ncapabilities, 9);
    assert_int_equal(pci.chain_end, PCI_CHAIN_OK);
    assert_int_equal(pci.extended_chain_end, PCI_CHAIN_OK);

    assert_int_equal(cap->id, PCI_CAP_ID_PM);
    assert_int_equal(cap->offset, 0x40);
    assert_int_equal(cap->pm.version, 3);
    assert_int_equal(cap->pm.pme_support, 0x19);
    assert_true(cap->pm.d1 && !cap->pm.d2);
    assert_int_equal(cap->pm.power_state, 3);
    assert_true(cap->pm.no_soft_reset && cap->pm.pme_enabled && !cap->pm.pme_status);
    cap++;
    assert_int_equal(cap->id, PCI_CAP_ID_MSI);
    assert_true(cap->msi.enabled && cap->msi.is64 && cap->msi.maskable);
    assert_int_equal(cap->msi.vectors, 8);
    assert_int_equal(cap->msi.vectors_enabled, 4);
    assert_int_equal(cap->msi.address, 0x1fee00000);
    assert_int_equal(cap->msi.data, 0x4041);
    assert_int_equal(cap->msi.mask, 0xf0);
    assert_int_equal(cap->msi.pending, 0x0f);
    cap++;
    assert_int_equal(cap->id, PCI_CAP_ID_MSIX);
    assert_true(cap->msix.enabled && cap->msix.function_masked);
    assert_int_equal(cap->msix.vectors, 64);
    assert_int_equal(cap->msix.table_bar, 4);
    assert_int_equal(cap->msix.table_offset, 0x800);
    assert_true(cap->msix.table_fits);
    assert_int_equal(cap->msix.pba_offset, 0xff8);
    assert_true(cap->msix.pba_fits);
    cap++;
    assert_int_equal(cap->id, PCI_CAP_ID_EXP);
    assert_int_equal(cap->express.version, 2);
    assert_int_equal(cap->express.type, PCI_EXP_TYPE_LEG_END);
    assert_int_equal(cap->express.msi_number, 5);
    assert_true(cap->express.device_cap & PCI_EXP_DEVCAP_FLR);
    assert_int_equal(cap->express.link_status, 0x0103);
    assert_true(cap->express.has_second);
    cap++;
    assert_int_equal(cap->id, PCI_CAP_ID_VNDR);
    assert_int_equal(cap->vendor.length, 8);
    cap++;
    assert_int_equal(cap->offset, 0xe0);
    assert_int_equal(cap->id, 0x33);
    assert_null(pci_capability_name(cap->id, false));
    cap++;
    assert_true(cap->extended);
    assert_int_equal(cap->id, PCI_EXT_CAP_ID_DSN);
    assert_int_equal(cap->serial, 0x1122334455667788);
    cap++;
    assert_int_equal(cap->offset, 0x200);
    assert_int_equal(cap->version, 2);
    assert_int_equal(cap->vendor.id, 0xabcd);
    assert_int_equal(cap->vendor.revision, 3);
    assert_int_equal(cap->vendor.length, 0x10);
    cap++;
    assert_int_equal(cap->offset, 0x150);
    assert_string_equal(pci_capability_name(cap->id, true), "Access Control Services");
    for (size_t i = 0; i < pci.ncapabilities; i++)
        assert_false(pci.capabilities[i].truncated);
}

static void test_msix_outside(void **state)
{
    static const uint64_t sizes[PCI_BAR_COUNT] = {0x1000};
    static struct space space;

    (void)state;
    space_init(&space, 256);
    put_cap(&space, PCI_CAPABILITY_LIST, 0x40, PCI_CAP_ID_MSIX);
    put16(&space, 0x42, 0x7ff);
    put32(&space, 0x44, 0xfffffff8);
    put32(&space, 0x48, 0x7); /* no such BAR */
    assert_int_equal(pci_decode(space.bytes, space.size, sizes, 0, &pci), 0);
    assert_int_equal(pci.capabilities[0].msix.vectors, 2048);
    assert_false(pci.capabilities[0].msix.table_fits);
    assert_false(pci.capabilities[0].msix.pba_fits);
    put16(&space, 0x42, 255);
    put32(&space, 0x44, 0x0);
    put32(&space, 0x48, 0xfe8);
    assert_int_equal(pci_decode(space.bytes, space.size, sizes, 0, &pci), 0);
    assert_true(pci.capabilities[0].msix.table_fits);
    assert_false(pci.capabilities[0].msix.pba_fits);
}

/* Every kind of capability at the very end of the space. */
static void test_truncated(void **state)
{
    static const uint8_t ids[] = {PCI_CAP_ID_PM, PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX, PCI_CAP_ID_EXP,
                                  PCI_CAP_ID_VNDR};
    static const uint16_t extended[] = {PCI_EXT_CAP_ID_DSN, PCI_EXT_CAP_ID_VNDR};
    static struct space space;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        space_init(&space, 256);
        put_cap(&space, PCI_CAPABILITY_LIST, 0xfc, ids[i]);
        space.bytes[0xfe] = 5;
        decode(&space);
        assert_int_equal(pci.ncapabilities, 1);
        assert_true(pci.capabilities[0].truncated);
    }
    for (size_t i = 0; i < ARRAY_SIZE(extended); i++) {
        space_init(&space, 4096);
        put_extended(&space, 0x100, PCI_EXT_CAP_ID_ACS, 1, 0xffc);
        put_extended(&space, 0xffc, extended[i], 1, 0);
        decode(&space);
        assert_int_equal(pci.ncapabilities, 2);
        assert_true(pci.capabilities[1].truncated);
    }
    /* a vendor's own length that lies */
    space_init(&space, 4096);
    put_extended(&space, 0x100, PCI_EXT_CAP_ID_VNDR, 1, 0);
    put32(&space, 0x104, 0xfffu << 20);
    decode(&space);
    assert_true(pci.capabilities[0].truncated);
}

static void test_bad_lists(void **state)
{
    static struct space space;

    (void)state;
    space_init(&space, 256); /* one that leads to itself */
    put_cap(&space, PCI_CAPABILITY_LIST, 0x40, 0x33);
    space.bytes[0x41] = 0x42;
    decode(&space);
    assert_int_equal(pci.ncapabilities, 1);
    assert_int_equal(pci.chain_end, PCI_CHAIN_LOOP);
    assert_int_equal(pci.chain_end_at, 0x40);

    space_init(&space, 256); /* into the header */
    put_cap(&space, PCI_CAPABILITY_LIST, 0x40, 0x33);
    space.bytes[0x41] = 0x3c;
    decode(&space);
    assert_int_equal(pci.chain_end, PCI_CHAIN_RANGE);
    assert_int_equal(pci.chain_end_at, 0x3c);

    space_init(&space, 64); /* out of a small space */
    put_cap(&space, PCI_CAPABILITY_LIST, 0x40, 0x33);
    decode(&space);
    assert_int_equal(pci.ncapabilities, 0);
    assert_int_equal(pci.chain_end, PCI_CHAIN_RANGE);

    space_init(&space, 256); /* to where nothing is */
    put_cap(&space, PCI_CAPABILITY_LIST, 0x40, 0xff);
    space.bytes[0x41] = 0xff;
    decode(&space);
    assert_int_equal(pci.ncapabilities, 0);
    assert_int_equal(pci.chain_end, PCI_CHAIN_BROKEN);

    space_init(&space, 256); /* without the status bit there is no list */
    put_cap(&space, PCI_CAPABILITY_LIST, 0x40, 0x33);
    put16(&space, PCI_STATUS, 0);
    decode(&space);
    assert_int_equal(pci.ncapabilities, 0);
    assert_int_equal(pci.chain_end, PCI_CHAIN_OK);
}

static void test_bad_extended_lists(void **state)
{
    static struct space space;

    (void)state;
    space_init(&space, 4096);
    put_extended(&space, 0x100, PCI_EXT_CAP_ID_ACS, 1, 0x200);
    put_extended(&space, 0x200, PCI_EXT_CAP_ID_ACS, 1, 0x100);
    decode(&space);
    assert_int_equal(pci.ncapabilities, 2);
    assert_int_equal(pci.extended_chain_end, PCI_CHAIN_LOOP);
    assert_int_equal(pci.extended_chain_end_at, 0x100);

    put_extended(&space, 0x200, PCI_EXT_CAP_ID_ACS, 1, 0x40);
    decode(&space);
    assert_int_equal(pci.extended_chain_end, PCI_CHAIN_RANGE);

    put_extended(&space, 0x200, PCI_EXT_CAP_ID_ACS, 1, 0x300);
    put32(&space, 0x300, UINT32_MAX);
    decode(&space);
    assert_int_equal(pci.ncapabilities, 2);
    assert_int_equal(pci.extended_chain_end, PCI_CHAIN_BROKEN);

    space.size = 0x200; /* a space that ends early */
    decode(&space);
    assert_int_equal(pci.ncapabilities, 1);
    assert_int_equal(pci.extended_chain_end, PCI_CHAIN_RANGE);
}

/* Both lists as long as they can be, and then random bytes: the room is never too small. */
static void test_many(void **state)
{
    static struct space space;
    uint64_t seed = 42;

    (void)state;
    space_init(&space, 4096);
    for (unsigned at = 0x40; at < 0x100; at += 4) {
        space.bytes[at == 0x40 ? PCI_CAPABILITY_LIST : at - 3] = (uint8_t)at;
        space.bytes[at] = 0x33;
    }
    for (unsigned at = 0x100; at < 0x1000; at += 4)
        put_extended(&space, at, 0x33, 1, at + 4 < 0x1000 ? at + 4 : 0);
    decode(&space);
    assert_int_equal(pci.ncapabilities, PCI_CAPABILITIES_MAX);
    for (unsigned round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof(space.bytes); i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            space.bytes[i] = (uint8_t)(seed >> 40);
        }
        space.bytes[PCI_HEADER_TYPE] &= 0x81;
        space.bytes[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
        space.size = 64 + (seed >> 33) % (4096 - 64 + 1);
        decode(&space);
        assert_true(pci.ncapabilities <= PCI_CAPABILITIES_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),        cmocka_unit_test(test_header),
        cmocka_unit_test(test_bars),         cmocka_unit_test(test_bridge),
        cmocka_unit_test(test_all_ones),     cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_msix_outside), cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_bad_lists),    cmocka_unit_test(test_bad_extended_lists),
        cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
