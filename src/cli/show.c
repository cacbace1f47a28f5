/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev show: what devices a running umdev has, and what they have done.
 */
#include "cli/asking.h"
#include "cli/cli.h"

#include <stdio.h>

#define COMMAND_NAME "show"

static const char help[] = "Usage: umdev show [UUID] [--json]\n"
                           "Show the devices of a running umdev, and what they have done.\n"
                           "\n"
                           "UUID names one device; without it, all are shown.\n"
                           "\n" ASKING_HELP;

/* "BAR4+0x7f3000 write, EFAULT, 12 s ago" */
static void print_refusal(const json_t *refusal)
{
    long long region = json_integer_value(json_object_get(refusal, "region"));

    printf(region < UMDEV_NUM_BARS ? "  last: BAR%lld" : "  last: region %lld", region);
    printf("+0x%llx %s, %s, %lld s ago", asking_number(refusal, "offset"),
           asking_text(refusal, "access"), asking_text(refusal, "errno"),
           asking_number(refusal, "age_ms") / 1000);
}

/* Devices without regions that fault need not know of them. */
static void print_faults(const json_t *stats, const json_t *refusal)
{
    if (!asking_number(stats, "faults") && !asking_number(stats, "refused"))
        return;
    printf("  faults      %lld resolved, %lld pages taken back\n", asking_number(stats, "faults"),
           asking_number(stats, "revoked_pages"));
    printf("  refused     %lld", asking_number(stats, "refused"));
    if (json_is_object(refusal))
        print_refusal(refusal);
    putchar('\n');
}

static void print_tracking(const json_t *stats)
{
    static const char *const methods[] = {"compare", "uffd-async", "uffd-sync"};
    json_int_t pages = asking_number(stats, "tracked_pages");
    json_int_t method = asking_number(stats, "track_method");

    if (pages == 0 || method < 0 || (size_t)method >= sizeof(methods) / sizeof(methods[0]))
        return;
    printf("  tracked     %lld pages for writes, by %s, to %s; %lld of them compared\n", pages,
           methods[method], asking_number(stats, "track_notify") ? "notify" : "collect",
           asking_number(stats, "compared_pages"));
}

static void print_device(const json_t *device)
{
    const json_t *stats = json_object_get(device, "stats");

    printf("%s\n", asking_text(device, "uuid"));
    printf("  type        %s of parent %s, driver %s\n", asking_text(device, "type"),
           asking_text(device, "parent"), asking_text(device, "driver"));
    printf("  socket      %s\n", asking_text(device, "socket"));
    printf("  client      %s; %lld so far\n",
           json_is_true(json_object_get(device, "connected")) ? "connected" : "none",
           asking_number(stats, "sessions"));
    printf("  requests    %lld, %lld of them with an error\n", asking_number(stats, "messages"),
           asking_number(stats, "errors"));
    printf("  traps       %lld reads of %lld bytes, %lld writes of %lld bytes\n",
           asking_number(stats, "traps_read"), asking_number(stats, "trap_bytes_read"),
           asking_number(stats, "traps_write"), asking_number(stats, "trap_bytes_written"));
    printf("  DMA         %lld mappings of %lld bytes; %lld bytes read, %lld written\n",
           asking_number(stats, "dma_maps"), asking_number(stats, "dma_mapped_bytes"),
           asking_number(stats, "dma_bytes_read"), asking_number(stats, "dma_bytes_written"));
    if (asking_number(stats, "dma_pinned_bytes"))
        printf("  pinned      %lld bytes\n", asking_number(stats, "dma_pinned_bytes"));
    print_tracking(stats);
    if (asking_number(stats, "failed"))
        printf("  failed      the device is in its error state until it is reset\n");
    print_faults(stats, json_object_get(device, "last_refusal"));
    printf("  interrupts  %lld\n", asking_number(stats, "interrupts"));
    printf("  resets      %lld\n", asking_number(stats, "resets"));
}

int cmd_show(int argc, char **argv)
{
    struct asking asking = {.command = COMMAND_NAME};
    json_t *devices = NULL;
    json_t *device;
    size_t i;
    int ret = asking_parse(&asking, argc, argv);

    if (ret)
        return ret;
    if (asking.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    if (argc - optind > 1)
        return cli_usage_error(COMMAND_NAME, "one device at a time; '%s' is one too many",
                               argv[optind + 1]);
    ret = asking_devices(&asking, "show", argv[optind], &devices);
    if (ret)
        return ret;
    if (asking.json)
        asking_print(devices);
    else
        json_array_foreach(devices, i, device) print_device(device);
    json_decref(devices);
    return CLI_OK;
}
