/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev show: what devices a running umdev has, and what they have done.
 */
#include "cli/cli.h"
#include "cli/control.h"

#include <getopt.h>
#include <stdio.h>

#define COMMAND_NAME "show"

static const char help[] = "Usage: umdev show [--control PATH] [UUID] [--json]\n"
                           "Show the devices of a running umdev, and what they have done.\n"
                           "\n"
                           "UUID names one device; without it, all are shown.\n"
                           "\n"
                           "  -c, --control PATH  the control socket of the umdev;\n"
                           "                      $UMDEV_CONTROL by default\n"
                           "  -j, --json          an array of JSON objects, for programs\n"
                           "  -h, --help          show this\n";

struct options {
    const char *control, *uuid;
    bool json, help;
};

static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option table[] = {
        {"control", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int option;

    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ":c:jh", table, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->control = optarg;
            break;
        case 'j':
            options->json = true;
            break;
        case 'h':
            options->help = true;
            return CLI_OK;
        default:
            return cli_option_error(COMMAND_NAME, option, argv);
        }
    }
    if (argc - optind > 1)
        return cli_usage_error(COMMAND_NAME, "one device at a time; '%s' is one too many",
                               argv[optind + 1]);
    options->uuid = argv[optind];
    options->control = control_path(COMMAND_NAME, options->control);
    return options->control ? CLI_OK : CLI_USAGE;
}

/* A member's text, or "-". */
static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "-";
}

static long long count_of(const json_t *stats, const char *name)
{
    return json_integer_value(json_object_get(stats, name));
}

/* "BAR4+0x7f3000 write, EFAULT, 12 s ago" */
static void print_refusal(const json_t *refusal)
{
    long long region = json_integer_value(json_object_get(refusal, "region"));

    printf(region < UMDEV_NUM_BARS ? "  last: BAR%lld" : "  last: region %lld", region);
    printf("+0x%llx %s, %s, %lld s ago", count_of(refusal, "offset"), text_of(refusal, "access"),
           text_of(refusal, "errno"), count_of(refusal, "age_ms") / 1000);
}

/* Devices without regions that fault need not know of them. */
static void print_faults(const json_t *stats, const json_t *refusal)
{
    if (!count_of(stats, "faults") && !count_of(stats, "refused"))
        return;
    printf("  faults      %lld resolved, %lld pages taken back\n", count_of(stats, "faults"),
           count_of(stats, "revoked_pages"));
    printf("  refused     %lld", count_of(stats, "refused"));
    if (json_is_object(refusal))
        print_refusal(refusal);
    putchar('\n');
}

static void print_tracking(const json_t *stats)
{
    static const char *const methods[] = {"compare", "uffd-async", "uffd-sync"};
    json_int_t pages = count_of(stats, "tracked_pages");
    json_int_t method = count_of(stats, "track_method");

    if (pages == 0 || method < 0 || (size_t)method >= sizeof(methods) / sizeof(methods[0]))
        return;
    printf("  tracked     %lld pages for writes, by %s, to %s; %lld of them compared\n", pages,
           methods[method], count_of(stats, "track_notify") ? "notify" : "collect",
           count_of(stats, "compared_pages"));
}

static void print_device(const json_t *device)
{
    const json_t *stats = json_object_get(device, "stats");

    printf("%s\n", text_of(device, "uuid"));
    printf("  type        %s of parent %s, driver %s\n", text_of(device, "type"),
           text_of(device, "parent"), text_of(device, "driver"));
    printf("  socket      %s\n", text_of(device, "socket"));
    printf("  client      %s; %lld so far\n",
           json_is_true(json_object_get(device, "connected")) ? "connected" : "none",
           count_of(stats, "sessions"));
    printf("  requests    %lld, %lld of them with an error\n", count_of(stats, "messages"),
           count_of(stats, "errors"));
    printf("  traps       %lld reads of %lld bytes, %lld writes of %lld bytes\n",
           count_of(stats, "traps_read"), count_of(stats, "trap_bytes_read"),
           count_of(stats, "traps_write"), count_of(stats, "trap_bytes_written"));
    printf("  DMA         %lld mappings of %lld bytes; %lld bytes read, %lld written\n",
           count_of(stats, "dma_maps"), count_of(stats, "dma_mapped_bytes"),
           count_of(stats, "dma_bytes_read"), count_of(stats, "dma_bytes_written"));
    if (count_of(stats, "dma_pinned_bytes"))
        printf("  pinned      %lld bytes\n", count_of(stats, "dma_pinned_bytes"));
    print_tracking(stats);
    if (count_of(stats, "failed"))
        printf("  failed      the device is in its error state until it is reset\n");
    print_faults(stats, json_object_get(device, "last_refusal"));
    printf("  interrupts  %lld\n", count_of(stats, "interrupts"));
    printf("  resets      %lld\n", count_of(stats, "resets"));
}

static void print_devices(const json_t *devices, bool json)
{
    size_t i;
    json_t *device;

    if (json) {
        json_dumpf(devices, stdout, JSON_INDENT(2));
        putchar('\n');
        return;
    }
    json_array_foreach(devices, i, device) print_device(device);
}

int cmd_show(int argc, char **argv)
{
    struct options options = {0};
    struct umdev_error error;
    json_t *result = NULL;
    int ret = parse_options(argc, argv, &options);

    if (ret)
        return ret;
    if (options.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    if (control_ask(options.control, COMMAND_NAME, options.uuid, &result, NULL, &error))
        return cli_error(COMMAND_NAME, "%s", error.message);
    print_devices(json_object_get(result, "devices"), options.json);
    json_decref(result);
    return CLI_OK;
}
