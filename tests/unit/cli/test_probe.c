/* SPDX-License-Identifier: BSD-3-Clause */
/* `umdev probe` against servers by hand: what it asks, what it prints, what it makes of nonsense.
 */
#include "cli/cli.h"
#include "cli/probe.h"

#include "base/cleanup.h"
#include "base/range.h"
#include "fake.h"

#include <errno.h>
#include <jansson.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define CONFIG_SIZE 256

static uint8_t config[CONFIG_SIZE];
static struct probe probe;

static void answer_device(struct fake *fake, uint32_t flags, uint32_t nregions, uint32_t nirqs)
{
    struct wire_device_info info = {16, flags, nregions, nirqs};

    fake_answer(fake, WIRE_DEVICE_GET_INFO, &info, sizeof(info));
}

static void answer_region(struct fake *fake, uint32_t index, uint32_t flags, uint64_t size, int fd)
{
    struct wire_region_info info = {.argsz = 32, .flags = flags, .index = index, .size = size};

    fake_answer_fds(fake, WIRE_DEVICE_GET_REGION_INFO, &info, sizeof(info), &fd, fd >= 0);
}

static void answer_irq(struct fake *fake, uint32_t index, uint32_t flags, uint32_t count)
{
    struct wire_irq_info info = {16, flags, index, count};

    fake_answer(fake, WIRE_DEVICE_GET_IRQ_INFO, &info, sizeof(info));
}

static void answer_config(struct fake *fake, uint64_t offset, size_t size)
{
    uint8_t body[sizeof(struct wire_region_access) + CONFIG_SIZE];
    struct wire_region_access access = {offset, UMDEV_REGION_CONFIG, (uint32_t)size};

    memcpy(body, &access, sizeof(access));
    memcpy(body + sizeof(access), config + offset, size);
    fake_answer(fake, WIRE_REGION_READ, body, sizeof(access) + size);
}

static void make_config(void)
{
    static const uint8_t header[] = {
        0x34, 0x12, 0x11, 0x11, 6, 0, 0x10, 0, 2, 0, 0x80, 3, 0, 0, 0, 0, /* ids, class 0380 */
        8,    0,    0,    0xfd,                                           /* BAR0 */
    };

    memset(config, 0, sizeof(config));
    memcpy(config, header, sizeof(header));
    config[PCI_CAPABILITY_LIST] = 0x40;
    config[0x40] = PCI_CAP_ID_MSIX;
    config[0x42] = 3;
    config[0x44] = 0;
    config[0x49] = 8;
}

/* Regions 0 (mappable), 7 (config), the rest absent, but 5, which the server refuses to describe.
 */
static void answer_regions(struct fake *fake, int fd)
{
    for (uint32_t i = 0; i < UMDEV_NUM_REGIONS; i++) {
        if (i == 0)
            answer_region(fake, i, 7, 0x4000, fd);
        else if (i == 5)
            fake_answer_error(fake, WIRE_DEVICE_GET_REGION_INFO, ENODEV);
        else if (i == UMDEV_REGION_CONFIG)
            answer_region(fake, i, 3, CONFIG_SIZE, -1);
        else
            answer_region(fake, i, 0, 0, -1);
    }
}

static void answer_all(struct fake *fake, int fd)
{
    make_config();
    answer_device(fake, 3, UMDEV_NUM_REGIONS, 3);
    answer_regions(fake, fd);
    answer_irq(fake, 0, 7, 1);
    fake_answer_error(fake, WIRE_DEVICE_GET_IRQ_INFO, 524);
    answer_irq(fake, 2, 9, 4);
}

/* Three doorbells of a region. */
static void answer_doorbells(struct fake *fake, uint32_t index)
{
    struct {
        struct wire_region_io_fds fixed;
        struct wire_io_fd entries[3];
    } WIRE_PACKED reply = {
        .fixed = {sizeof(reply), 0, index, 3},
        .entries =
            {
                {.offset = 0x10, .size = 4},
                {.offset = 0x20, .size = 2, .flags = 3, .datamatch = 0x77},
                {.offset = 0x100, .size = 0x100, .type = 1, .datamatch = 9},
            },
    };
    int fd = eventfd(0, EFD_CLOEXEC);

    fake_answer_fds(fake, WIRE_DEVICE_GET_REGION_IO_FDS, &reply, sizeof(reply), &fd, 1);
    close(fd);
}

static void answer_no_doorbells(struct fake *fake)
{
    fake_answer_error(fake, WIRE_DEVICE_GET_REGION_IO_FDS, ENOSYS);
}

static char *text_of(void)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    probe_print_text(&probe, out);
    fclose(out);
    return text;
}

static json_t *json_of(void)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    json_t *root;

    assert_int_equal(probe_print_json(&probe, out), 0);
    fclose(out);
    root = json_loads(text, 0, NULL);
    free(text);
    assert_non_null(root);
    return root;
}

static void assert_text(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no '%s' in:\n%s", part, text);
}

/* The probe must have asked by reading only. */
static void assert_only_reads(struct fake *fake, unsigned requests)
{
    static struct fake_request request;

    while (requests--) {
        fake_take(fake, &request);
        assert_true(request.header.command == WIRE_DEVICE_GET_INFO ||
                    request.header.command == WIRE_DEVICE_GET_REGION_INFO ||
                    request.header.command == WIRE_DEVICE_GET_IRQ_INFO ||
                    request.header.command == WIRE_DEVICE_GET_REGION_IO_FDS ||
                    request.header.command == WIRE_REGION_READ);
    }
    fake_assert_quiet(fake);
}

static void collect(struct fake *fake)
{
    memset(&probe, 0, sizeof(probe));
    probe.path = "/run/x\xff.sock"; /* a path need not be UTF-8 */
    assert_int_equal(probe_collect(fake->client, &probe), 0);
}

static void test_text(void **state)
{
    CLEANUP_FD int fd = memfd_create("bar", MFD_CLOEXEC);
    struct fake fake;
    char *text;

    (void)state;
    assert_int_equal(ftruncate(fd, 0x4000), 0);
    fake_connect(&fake);
    answer_all(&fake, fd);
    answer_config(&fake, 0, CONFIG_SIZE);
    answer_doorbells(&fake, 0);
    collect(&fake);
    text = text_of();
    assert_text(text, "vfio-user 0.1\n");
    assert_text(text, "4 fds a message, 16K a transfer, 99 DMA mappings, pages of 4K");
    assert_text(text, "Device: pci reset; 9 regions, 3 interrupt types\n");
    assert_text(text, "BAR0: [size=16K] read write mmap at offset 0x0, maps\n");
    assert_text(text, "mappable area 0x0-0x3fff [size=16K]\n");
    assert_text(text, "\t\tdoorbell 0x10 [size=4] any value\n");
    assert_text(text, "\t\tdoorbell 0x20 [size=2] value 0x77\n");
    assert_text(text, "\t\tdoorbell 0x100 [size=256] ioregionfd, user data 0x9\n");
    assert_text(text, "BAR5: refused (No such device)\n");
    assert_text(text, "config: [size=256] read write\n");
    assert_text(text, "not implemented: BAR1, BAR2, BAR3, BAR4, ROM, VGA\n");
    assert_text(text, "INTx: 1 vector eventfd maskable automasked\n");
    assert_text(text, "MSI: refused (");
    assert_text(text, "MSI-X: 4 vectors eventfd noresize\n");
    assert_text(text, "PCI: Display controller [0380]: 1234:1111 (rev 02)\n");
    assert_text(text, "Control: I/O- Mem+ BusMaster+ SpecCycle-");
    assert_text(text, "Region 0: Memory at fd000000 (32-bit, prefetchable) [size=16K]\n");
    assert_text(text, "Capabilities: [40] MSI-X: Enable- Count=4 Masked-\n");
    assert_text(text, "Vector table: BAR=0 offset=00000000\n");
    assert_text(text, "PBA: BAR=0 offset=00000800\n");
    free(text);
    assert_only_reads(&fake, 1 + UMDEV_NUM_REGIONS + 3 + 1 + 1);
    fake_close(&fake);
}

static void test_json(void **state)
{
    CLEANUP_FD int fd = memfd_create("bar", MFD_CLOEXEC);
    json_t *root, *region, *bells, *bell, *pci, *cap;
    struct fake fake;

    (void)state;
    assert_int_equal(ftruncate(fd, 0x4000), 0);
    fake_connect(&fake);
    answer_all(&fake, fd);
    answer_config(&fake, 0, CONFIG_SIZE);
    answer_doorbells(&fake, 0);
    collect(&fake);
    root = json_of();
    assert_string_equal(json_string_value(json_object_get(root, "socket")), "/run/x?.sock");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "version"), "minor")),
                     1);
    assert_int_equal(json_array_size(json_object_get(root, "regions")), UMDEV_NUM_REGIONS);
    assert_int_equal(json_array_size(json_object_get(root, "irqs")), 3);
    region = json_array_get(json_object_get(root, "regions"), 0);
    assert_int_equal(json_integer_value(json_object_get(region, "size")), 0x4000);
    assert_true(json_is_true(json_object_get(region, "maps")));
    assert_true(json_is_null(json_object_get(region, "doorbells_error")));
    bells = json_object_get(region, "doorbells");
    assert_int_equal(json_array_size(bells), 3);
    assert_true(json_is_null(json_object_get(json_array_get(bells, 0), "match")));
    bell = json_array_get(bells, 1);
    assert_int_equal(json_integer_value(json_object_get(bell, "match")), 0x77);
    assert_true(json_is_true(json_object_get(bell, "port")));
    assert_string_equal(json_string_value(json_object_get(bell, "type")), "ioeventfd");
    bell = json_array_get(bells, 2);
    assert_string_equal(json_string_value(json_object_get(bell, "type")), "ioregionfd");
    assert_int_equal(json_integer_value(json_object_get(bell, "user_data")), 9);
    region = json_array_get(json_object_get(root, "regions"), 5);
    assert_string_equal(json_string_value(json_object_get(region, "error")), "ENODEV");
    pci = json_object_get(root, "pci");
    assert_int_equal(json_integer_value(json_object_get(pci, "vendor_id")), 0x1234);
    assert_true(json_is_null(json_object_get(pci, "capabilities_problem")));
    cap = json_array_get(json_object_get(pci, "capabilities"), 0);
    assert_string_equal(json_string_value(json_object_get(cap, "name")), "msix");
    cap = json_object_get(cap, "fields");
    assert_int_equal(json_integer_value(json_object_get(cap, "vectors")), 4);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(cap, "pba"), "offset")),
                     0x800);
    json_decref(root);
    fake_close(&fake);
}

/* A server that takes register-sized config accesses only. */
static void test_config_in_pieces(void **state)
{
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_all(&fake, -1);
    fake_answer_error(&fake, WIRE_REGION_READ, EINVAL);
    for (unsigned at = 0; at < CONFIG_SIZE; at += 4)
        answer_config(&fake, at, 4);
    answer_no_doorbells(&fake);
    collect(&fake);
    assert_true(probe.has_config);
    assert_int_equal(probe.pci.device, 0x1111);
    assert_int_equal(probe.pci.ncapabilities, 1);
    fake_close(&fake);
}

static void test_no_config(void **state)
{
    struct fake fake;
    char *text;

    (void)state;
    fake_connect(&fake);
    answer_all(&fake, -1);
    fake_answer_error(&fake, WIRE_REGION_READ, EACCES);
    fake_answer_error(&fake, WIRE_REGION_READ, EACCES);
    fake_answer_error(&fake, WIRE_DEVICE_GET_REGION_IO_FDS, ENOMEM);
    collect(&fake);
    text = text_of();
    assert_text(text, "BAR0: [size=16K] read write mmap at offset 0x0, but came without a file\n");
    assert_text(text, "\t\tdoorbells refused (Cannot allocate memory)\n");
    assert_text(text, "PCI: the config space can't be read (Permission denied)\n");
    free(text);
    json_decref(json_of());
    fake_close(&fake);

    /* too small for a header, and not a PCI device at all */
    for (uint32_t flags = 0; flags <= 2; flags += 2) {
        fake_connect(&fake);
        answer_device(&fake, flags, 8, 0);
        for (uint32_t i = 0; i < 8; i++)
            answer_region(&fake, i, 3, 63, -1);
        answer_no_doorbells(&fake);
        collect(&fake);
        assert_false(probe.has_config);
        text = text_of();
        assert_int_equal(!!strstr(text, "smaller than a header"), flags == 2);
        free(text);
        json_decref(json_of());
        fake_close(&fake);
    }
}

/* Sizes beyond what JSON's integers hold, and more of everything than is shown. */
static void test_absurd_numbers(void **state)
{
    json_t *root, *region;
    struct fake fake;
    char *text;

    (void)state;
    fake_connect(&fake);
    answer_device(&fake, UINT32_MAX & ~2u, UINT32_MAX, 0);
    for (uint32_t i = 0; i < PROBE_MAX_REGIONS; i++)
        answer_region(&fake, i, UINT32_MAX & ~12u, UINT64_MAX, -1);
    answer_no_doorbells(&fake); /* asked of the first alone */
    collect(&fake);
    text = text_of();
    assert_text(text, "\tregion 255: ");
    assert_text(text, "and 4294967039 more\n");
    free(text);
    root = json_of();
    region = json_array_get(json_object_get(root, "regions"), 200);
    assert_true(json_number_value(json_object_get(region, "size")) > 1.8e19);
    json_decref(root);
    fake_close(&fake);

    fake_connect(&fake);
    answer_device(&fake, 0, 0, UINT32_MAX);
    for (uint32_t i = 0; i < PROBE_MAX_IRQS; i++)
        answer_irq(&fake, i, UINT32_MAX, UINT32_MAX);
    collect(&fake);
    text = text_of();
    assert_text(text, "\tirq 255: 4294967295 vectors eventfd maskable");
    assert_text(text, "and 4294967039 more\n");
    free(text);
    json_decref(json_of());
    fake_close(&fake);
}

static void test_server_goes(void **state)
{
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_device(&fake, 3, 9, 5);
    answer_region(&fake, 0, 3, 4096, -1);
    fake_close_server(&fake);
    assert_int_equal(probe_collect(fake.client, &probe), -ENOTCONN);
    fake_close(&fake);
}

/* Random config spaces print, as text and as JSON. */
static void test_any_config(void **state)
{
    static uint8_t space[PCI_SPACE_MAX];
    static const uint64_t sizes[PCI_BAR_COUNT] = {4096, 4096, 4096, 4096, 4096, 4096};
    uint64_t seed = 7;

    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        json_t *json;
        char *text;
        size_t size;
        FILE *out = open_memstream(&text, &size);

        for (size_t i = 0; i < sizeof(space); i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            space[i] = (uint8_t)(seed >> 40);
            /* known capabilities, most of the time */
            if (i % 4 == 0 && i >= 0x40 && i < 0x100)
                space[i] %= 0x18;
            else if (i % 4 == 0 && i >= 0x100)
                space[i] %= 0x18, space[i + 1] = 0;
        }
        space[PCI_HEADER_TYPE] &= 0x83;
        space[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
        assert_int_equal(pci_decode(space, sizeof(space), sizes, seed, &probe.pci), 0);
        probe_print_pci(&probe.pci, out);
        fclose(out);
        free(text);
        json = probe_pci_json(&probe.pci);
        assert_non_null(json);
        json_decref(json);
    }
}

/* ------------------------------------------------------------------ the command line */

static int probe_with(const char *const *args)
{
    char *argv[8] = {(char *)"probe"};
    int argc = 1;

    while (*args)
        argv[argc++] = (char *)*args++;
    return cmd_probe(argc, argv);
}

#define PROBE(...) probe_with((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void test_usage(void **state)
{
    (void)state;
    assert_int_equal(PROBE(), CLI_USAGE);
    assert_int_equal(PROBE("a", "b"), CLI_USAGE);
    assert_int_equal(PROBE("--frob", "a"), CLI_USAGE);
    assert_int_equal(PROBE("-f", "a"), CLI_USAGE);
    assert_int_equal(PROBE("--timeout"), CLI_USAGE);
    assert_int_equal(PROBE("--timeout", "0", "a"), CLI_USAGE);
    assert_int_equal(PROBE("--timeout", "-1", "a"), CLI_USAGE);
    assert_int_equal(PROBE("--timeout", "5s", "a"), CLI_USAGE);
    assert_int_equal(PROBE("--timeout", "99999999999", "a"), CLI_USAGE);
    assert_int_equal(PROBE("/nowhere/at/all"), CLI_FAILED);
    assert_int_equal(PROBE("/dev/null"), CLI_FAILED);
    assert_int_equal(PROBE("--json", "--timeout", "100", ""), CLI_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_config_in_pieces),
        cmocka_unit_test(test_no_config),
        cmocka_unit_test(test_absurd_numbers),
        cmocka_unit_test(test_server_goes),
        cmocka_unit_test(test_any_config),
        cmocka_unit_test(test_usage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
