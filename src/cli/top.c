/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev top: the devices of a running umdev at work: what their counters gain in a second.
 *
 * On a terminal the screen is redrawn each time, the busiest devices first, until q or a signal.
 * Signals come through a signalfd, so that the terminal is given back in any case.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/range.h"
#include "cli/asking.h"
#include "cli/cli.h"
#include "cli/screen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND_NAME "top"

#define INTERVAL_MOST 3600
#define NS_PER_S      1000000000u

static const char help[] =
    "Usage: umdev top [--interval SECONDS] [--batch] [--count N]\n"
    "Watch the devices of a running umdev at work. q ends it.\n"
    "\n"
    "  -i, --interval S    seconds from one look to the next; 2 by default\n"
    "  -b, --batch         tables one after the other, as where the output is no terminal\n"
    "  -n, --count N       end after so many\n" ASKING_HELP;

struct options {
    struct asking asking;
    int interval, count; /* count 0: until it is ended */
    bool batch;
};

/* What is shown of a device; the strings are its JSON's. */
struct row {
    const char *uuid, *type, *parent;
    bool connected;
    double seconds;                        /* from the look before to this one */
    double traps, faults, dma, interrupts; /* a second */
    double engine; /* its share of an engine's time, in percent; −1: its driver does not tell */
};

/* The attribute of devices with engines: the time they have used so far. */
#define ENGINE_ATTRIBUTE "engine_ns"

/* All devices at one time. */
struct sample {
    uint64_t when_ns;
    json_t *devices; /* as "show" gives them */
    json_t *by_uuid; /* their counters */
    json_t *engines; /* by UUID, of those whose driver tells */
};

/* ------------------------------------------------------------------ samples */

static void sample_free(struct sample *sample)
{
    json_decref(sample->devices);
    json_decref(sample->by_uuid);
    json_decref(sample->engines);
    *sample = (struct sample){.devices = NULL};
}

/* The engines' time of a device, or −1; in silence, for most drivers have none. */
static json_int_t engine_ask(const struct asking *asking, const char *uuid)
{
    json_t *request = json_pack("{s:s, s:s, s:s}", "command", "attribute", "device", uuid,
                                "attribute", ENGINE_ATTRIBUTE);
    json_t *result = NULL;
    json_int_t ns = -1;
    const char *text;

    if (control_ask(asking->path, request, &result, NULL, NULL) == 0) {
        text = json_string_value(json_object_get(result, "value"));
        ns = text ? strtoll(text, NULL, 10) : -1;
    }
    json_decref(result);
    return ns;
}

/* A driver that does not tell of one device is not asked of another at this time. */
static void sample_engines(const struct asking *asking, struct sample *sample)
{
    json_t *silent = json_object();
    const json_t *device;
    size_t i;

    sample->engines = json_object();
    json_array_foreach(sample->devices, i, device)
    {
        const char *driver = asking_text(device, "driver");
        const char *uuid = asking_text(device, "uuid");
        json_int_t ns = json_object_get(silent, driver) ? -1 : engine_ask(asking, uuid);

        if (ns < 0)
            json_object_set_new(silent, driver, json_true());
        else
            json_object_set_new(sample->engines, uuid, json_integer(ns));
    }
    json_decref(silent);
}

static int sample_take(struct asking *asking, struct sample *sample)
{
    const json_t *device;
    size_t i;
    int ret;

    *sample = (struct sample){.when_ns = clock_now_ns()};
    ret = asking_devices(asking, "show", NULL, &sample->devices);
    if (ret)
        return ret;
    sample->by_uuid = json_object();
    json_array_foreach(sample->devices, i, device)
    {
        json_object_set(sample->by_uuid, asking_text(device, "uuid"),
                        json_object_get(device, "stats"));
    }
    sample_engines(asking, sample);
    return CLI_OK;
}

/* What two counters have gained together, a second; a device that is new began with 0. */
static double gain(const json_t *now, const json_t *before, const char *one, const char *other,
                   double seconds)
{
    double total = (double)(asking_number(now, one) - asking_number(before, one));

    if (other)
        total += (double)(asking_number(now, other) - asking_number(before, other));
    return total > 0 ? total / seconds : 0;
}

/* Of a second, in percent. A device that is new may have used all it has used just now. */
static double engine_share(const struct sample *now, const struct sample *before, const char *uuid,
                           double seconds)
{
    const json_t *used = json_object_get(now->engines, uuid);
    double ns = (double)(json_integer_value(used) - asking_number(before->engines, uuid));

    if (!used)
        return -1;
    return ns > 0 ? 100 * ns / seconds / NS_PER_S : 0;
}

static void row_fill(struct row *row, const json_t *device, const struct sample *sample,
                     const struct sample *before, double seconds)
{
    const json_t *now = json_object_get(device, "stats");
    const json_t *then = json_object_get(before->by_uuid, asking_text(device, "uuid"));

    row->uuid = asking_text(device, "uuid");
    row->type = asking_text(device, "type");
    row->parent = asking_text(device, "parent");
    row->connected = json_is_true(json_object_get(device, "connected"));
    row->seconds = seconds;
    row->traps = gain(now, then, "traps_read", "traps_write", seconds);
    row->faults = gain(now, then, "faults", NULL, seconds);
    row->dma = gain(now, then, "dma_bytes_read", "dma_bytes_written", seconds);
    row->interrupts = gain(now, then, "interrupts", NULL, seconds);
    row->engine = engine_share(sample, before, row->uuid, seconds);
}

/* The busiest first. */
static int row_compare(const void *a, const void *b)
{
    const struct row *left = a;
    const struct row *right = b;
    double mine = left->traps + left->faults + left->interrupts + left->dma / 4096;
    double other = right->traps + right->faults + right->interrupts + right->dma / 4096;

    if (mine != other)
        return mine < other ? 1 : -1;
    return strcmp(left->uuid, right->uuid);
}

static struct row *rows_make(const struct sample *now, const struct sample *before)
{
    double seconds = (double)(now->when_ns - before->when_ns) / NS_PER_S;
    size_t count = json_array_size(now->devices);
    struct row *rows = calloc(count + 1, sizeof(*rows));

    for (size_t i = 0; rows && i < count; i++)
        row_fill(&rows[i], json_array_get(now->devices, i), now, before, seconds > 0 ? seconds : 1);
    if (rows)
        qsort(rows, count, sizeof(*rows), row_compare);
    return rows;
}

/* ------------------------------------------------------------------ output */

/* "12", "3.4K", "56M": at most five characters. */
static const char *short_number(double value, char text[16])
{
    static const char units[] = " KMGTP";
    size_t unit = 0;

    while (value >= 999.5 && units[unit + 1]) {
        value /= 1000;
        unit++;
    }
    if (unit == 0)
        snprintf(text, 16, "%.0f", value);
    else
        snprintf(text, 16, value < 9.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
    return text;
}

/* Wide enough for a UUID, or for 80 columns with the beginning of one. */
#define ROW_FORMAT   "%-*.*s  %-12s  %-8s  %-6s  %6s  %6s  %6s  %6s  %6s\n"
#define UUID_NARROW  8
#define COLUMNS_WIDE 108

/* "37%", or "-" where it is not known. */
static const char *percent(double share, char text[16])
{
    if (share < 0)
        return "-";
    snprintf(text, 16, "%.0f%%", share);
    return text;
}

static void print_row(const struct row *row, int uuid_width)
{
    char traps[16], faults[16], dma[16], interrupts[16], engine[16];

    printf(ROW_FORMAT, uuid_width, uuid_width, row->uuid, row->type, row->parent,
           row->connected ? "yes" : "no", short_number(row->traps, traps),
           short_number(row->faults, faults), short_number(row->dma, dma),
           short_number(row->interrupts, interrupts), percent(row->engine, engine));
}

/* `most`: lines that there is room for; 0: any number. `narrow`: a UUID is its beginning. */
static void print_table(const struct row *rows, size_t count, size_t most, bool narrow)
{
    size_t clients = 0, shown = count;
    int uuid_width = narrow ? UUID_NARROW : UMDEV_UUID_STR_SIZE - 1;

    for (size_t i = 0; i < count; i++)
        clients += rows[i].connected;
    printf("%zu device%s, %zu client%s; per second:\n", count, count == 1 ? "" : "s", clients,
           clients == 1 ? "" : "s");
    printf(ROW_FORMAT, uuid_width, uuid_width, "UUID", "TYPE", "PARENT", "CLIENT", "TRAPS",
           "FAULTS", "DMA", "IRQS", "ENGINE");
    if (most && count + 2 > most)
        shown = most > 3 ? most - 3 : 0;
    for (size_t i = 0; i < shown; i++)
        print_row(&rows[i], uuid_width);
    if (shown < count)
        printf("… and %zu more\n", count - shown);
}

/* One line, so that a reader has a look at a time. */
static void print_json(const struct row *rows, size_t count)
{
    json_t *devices = json_array();

    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];

        json_array_append_new(
            devices, json_pack("{s:s, s:s, s:s, s:b, s:f, s:f, s:f, s:f, s:f, s:o}", "uuid",
                               row->uuid, "type", row->type, "parent", row->parent, "connected",
                               row->connected, "seconds", row->seconds, "traps_per_second",
                               row->traps, "faults_per_second", row->faults, "dma_bytes_per_second",
                               row->dma, "interrupts_per_second", row->interrupts, "engine_percent",
                               row->engine < 0 ? json_null() : json_real(row->engine)));
    }
    json_dumpf(devices, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(devices);
}

static int print_look(const struct options *options, const struct sample *now,
                      const struct sample *before, bool first)
{
    CLEANUP_FREE struct row *rows = rows_make(now, before);
    size_t count = json_array_size(now->devices);

    if (!rows)
        return cli_error(COMMAND_NAME, "out of memory");
    if (options->asking.json) {
        print_json(rows, count);
    } else if (options->batch) {
        if (!first)
            putchar('\n');
        print_table(rows, count, 0, false);
    } else {
        screen_clear();
        print_table(rows, count, screen_lines(), screen_columns() < COLUMNS_WIDE);
    }
    if (fflush(stdout))
        return cli_error(COMMAND_NAME, "cannot write the output: %m");
    return CLI_OK;
}

/* ------------------------------------------------------------------ the command */

static int watch(struct options *options, struct screen *screen)
{
    struct sample before, now;
    int ret = sample_take(&options->asking, &before);

    for (int i = 0; !ret; i++) {
        if (options->count && i == options->count)
            break;
        /* Without a look to compare with, a screen shows who is there. */
        if (i == 0 && !options->batch)
            ret = print_look(options, &before, &before, true);
        if (!ret && screen_wait(screen, options->interval * 1000))
            break;
        if (!ret)
            ret = sample_take(&options->asking, &now);
        if (ret)
            break;
        ret = print_look(options, &now, &before, i == 0);
        sample_free(&before);
        before = now;
    }
    sample_free(&before);
    return ret;
}

static int parse_options(struct options *options, int argc, char **argv)
{
    static const struct option table[] = {
        ASKING_OPTIONS,
        {"interval", required_argument, NULL, 'i'},
        {"batch", no_argument, NULL, 'b'},
        {"count", required_argument, NULL, 'n'},
        {0},
    };
    int option;
    int ret = CLI_OK;

    opterr = 0;
    optind = 0;
    while (!ret && (option = getopt_long(argc, argv, ASKING_LETTERS "i:bn:", table, NULL)) != -1) {
        if (option == 'i')
            ret = cli_parse_int(COMMAND_NAME, "--interval", optarg, 1, INTERVAL_MOST,
                                &options->interval);
        else if (option == 'n')
            ret = cli_parse_int(COMMAND_NAME, "--count", optarg, 1, INT_MAX, &options->count);
        else if (option == 'b')
            options->batch = true;
        else if (!asking_option(&options->asking, option))
            ret = cli_option_error(COMMAND_NAME, option, argv);
    }
    if (!ret && optind < argc)
        return cli_usage_error(COMMAND_NAME, "'%s' is one too many", argv[optind]);
    return ret;
}

int cmd_top(int argc, char **argv)
{
    struct options options = {.asking = {.command = COMMAND_NAME}, .interval = 2};
    struct screen screen;
    int ret = parse_options(&options, argc, argv);

    if (ret)
        return ret;
    if (options.asking.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    options.batch |= options.asking.json || !screen_is_terminal();
    screen_begin(&screen, !options.batch);
    ret = watch(&options, &screen);
    screen_end(&screen);
    return ret;
}
