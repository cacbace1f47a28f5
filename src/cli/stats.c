/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev stats: the devices' counters: a table, JSON, or the text that Prometheus reads.
 */
#include "cli/asking.h"
#include "cli/cli.h"

#include "base/range.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_NAME "stats"

static const char help[] = "Usage: umdev stats [UUID] [--json | --prometheus]\n"
                           "Show what the devices of a running umdev have done, as numbers.\n"
                           "\n"
                           "UUID names one device; without it, all are shown.\n"
                           "\n"
                           "  -p, --prometheus    metrics in Prometheus' text format\n" ASKING_HELP;

/* What is counted, in docs/control.md's words. A counter's metric ends in _total. */
static const struct metric {
    const char *member;
    bool gauge;
    const char *name;
    const char *help;
} metrics[] = {
    {"sessions", false, "sessions", "Clients served, the present one included."},
    {"messages", false, "requests", "Requests answered."},
    {"errors", false, "request_errors", "Requests answered with an error."},
    {"traps_read", false, "traps_read", "Trapped reads."},
    {"traps_write", false, "traps_write", "Trapped writes."},
    {"trap_bytes_read", false, "trap_read_bytes", "Bytes of trapped reads."},
    {"trap_bytes_written", false, "trap_written_bytes", "Bytes of trapped writes."},
    {"dma_bytes_read", false, "dma_read_bytes", "Client memory read by the device."},
    {"dma_bytes_written", false, "dma_written_bytes", "Client memory written by the device."},
    {"interrupts", false, "interrupts", "Interrupts signalled to a client."},
    {"resets", false, "resets", "Resets."},
    {"faults", false, "faults", "Pages that a client touched, resolved."},
    {"refused", false, "refused", "Pages and trapped accesses that the driver refused."},
    {"revoked_pages", false, "revoked_pages", "Pages taken back from a client."},
    {"dma_maps", true, "dma_maps", "Mappings of client memory now."},
    {"dma_mapped_bytes", true, "dma_mapped_bytes", "Client memory mapped now."},
    {"dma_pinned_bytes", true, "dma_pinned_bytes", "Client memory pinned now."},
    {"tracked_pages", true, "tracked_pages", "Pages tracked for writes now."},
    {"compared_pages", true, "compared_pages", "Tracked pages whose content is compared."},
    {"failed", true, "failed", "1: in the error state until a reset."},
};

/* ------------------------------------------------------------------ Prometheus */

static void print_label(const char *name, const char *value, const char *end)
{
    printf("%s=\"", name);
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            putchar('\\');
        putchar(*value);
    }
    printf("\"%s", end);
}

static void print_sample(const json_t *device, const char *name, const char *suffix,
                         long long value)
{
    printf("umdev_%s%s{", name, suffix);
    print_label("uuid", asking_text(device, "uuid"), ",");
    print_label("type", asking_text(device, "type"), ",");
    print_label("parent", asking_text(device, "parent"), ",");
    print_label("driver", asking_text(device, "driver"), "} ");
    printf("%lld\n", value);
}

static void print_metric(const json_t *devices, const struct metric *metric)
{
    const char *suffix = metric->gauge ? "" : "_total";
    const json_t *device;
    size_t i;

    printf("# HELP umdev_%s%s %s\n", metric->name, suffix, metric->help);
    printf("# TYPE umdev_%s%s %s\n", metric->name, suffix, metric->gauge ? "gauge" : "counter");
    json_array_foreach(devices, i, device)
    {
        print_sample(device, metric->name, suffix,
                     asking_number(json_object_get(device, "stats"), metric->member));
    }
}

static void print_connected(const json_t *devices)
{
    const json_t *device;
    size_t i;

    puts("# HELP umdev_connected 1: a client has the device.\n"
         "# TYPE umdev_connected gauge");
    json_array_foreach(devices, i, device) print_sample(
        device, "connected", "", json_is_true(json_object_get(device, "connected")) ? 1 : 0);
}

static void print_prometheus(const json_t *devices)
{
    puts("# HELP umdev_devices Devices that are there.\n"
         "# TYPE umdev_devices gauge");
    printf("umdev_devices %zu\n", json_array_size(devices));
    print_connected(devices);
    for (size_t i = 0; i < ARRAY_SIZE(metrics); i++)
        print_metric(devices, &metrics[i]);
}

/* ------------------------------------------------------------------ a table */

static void print_table(const json_t *devices)
{
    const json_t *device;
    size_t i;

    printf("%-36s  %8s  %10s  %10s  %14s  %10s  %8s  %8s\n", "UUID", "CLIENTS", "REQUESTS", "TRAPS",
           "DMA BYTES", "INTERRUPTS", "FAULTS", "REFUSED");
    json_array_foreach(devices, i, device)
    {
        const json_t *stats = json_object_get(device, "stats");

        printf("%s  %8lld  %10lld  %10lld  %14lld  %10lld  %8lld  %8lld\n",
               asking_text(device, "uuid"), asking_number(stats, "sessions"),
               asking_number(stats, "messages"),
               asking_number(stats, "traps_read") + asking_number(stats, "traps_write"),
               asking_number(stats, "dma_bytes_read") + asking_number(stats, "dma_bytes_written"),
               asking_number(stats, "interrupts"), asking_number(stats, "faults"),
               asking_number(stats, "refused"));
    }
}

/* ------------------------------------------------------------------ the command */

static int parse_options(struct asking *asking, bool *prometheus, int argc, char **argv)
{
    static const struct option table[] = {
        ASKING_OPTIONS,
        {"prometheus", no_argument, NULL, 'p'},
        {0},
    };
    int option;

    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ASKING_LETTERS "p", table, NULL)) != -1) {
        if (option == 'p')
            *prometheus = true;
        else if (!asking_option(asking, option))
            return cli_option_error(COMMAND_NAME, option, argv);
    }
    if (*prometheus && asking->json)
        return cli_usage_error(COMMAND_NAME, "--json or --prometheus, not both");
    if (argc - optind > 1)
        return cli_usage_error(COMMAND_NAME, "one device at a time; '%s' is one too many",
                               argv[optind + 1]);
    return CLI_OK;
}

int cmd_stats(int argc, char **argv)
{
    struct asking asking = {.command = COMMAND_NAME};
    json_t *devices = NULL;
    bool prometheus = false;
    int ret = parse_options(&asking, &prometheus, argc, argv);

    if (ret)
        return ret;
    if (asking.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    ret = asking_devices(&asking, "show", argv[optind], &devices);
    if (ret)
        return ret;
    if (prometheus)
        print_prometheus(devices);
    else if (asking.json)
        asking_print(devices);
    else
        print_table(devices);
    json_decref(devices);
    return CLI_OK;
}
