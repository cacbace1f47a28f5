/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev-bench: runs rows, prints the table, writes JSON.
 */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
    ROUNDS = 15,
    QUICK_ROUNDS = 2,
    QUICK_SAMPLES = 20,
};

#define ROW_ADDRESS(name) &(name),
static const struct row *const rows[] = {BENCH_ROWS(ROW_ADDRESS)};
#define NROWS (sizeof(rows) / sizeof(rows[0]))

static const struct report *const reports[] = {&pin_table_report};
#define NREPORTS (sizeof(reports) / sizeof(reports[0]))

/* All samples of one subject over all rounds, and the median of each round. */
struct series {
    double *samples, medians[ROUNDS];
    size_t n;
};

struct result {
    char name[64];
    double ours, p99, floor, ratio, peer; /* NAN: not measured */
    unsigned runs;
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_quantile(double *values, size_t n, double q)
{
    if (n == 0)
        return NAN;
    qsort(values, n, sizeof(*values), compare_doubles);
    return values[(size_t)(q * (double)(n - 1) + 0.5)];
}

static int measure_round(const struct subject *subject, struct series *series, size_t samples,
                         unsigned round)
{
    double *to = series->samples + series->n;
    double *copy;
    int ret;

    if (!subject->measure)
        return 0;
    ret = subject->measure(subject->state, to, samples);
    if (ret)
        return ret;
    copy = malloc(samples * sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    memcpy(copy, to, samples * sizeof(*copy));
    series->medians[round] = bench_quantile(copy, samples, 0.5);
    series->n += samples;
    free(copy);
    return 0;
}

static double series_ratio(const struct series *ours, const struct series *floor, unsigned rounds)
{
    double ratios[ROUNDS];

    if (!floor->n)
        return NAN;
    for (unsigned i = 0; i < rounds; i++)
        ratios[i] = ours->medians[i] / floor->medians[i];
    return bench_quantile(ratios, rounds, 0.5);
}

static void stop_subject(struct subject *subject)
{
    if (subject->measure && subject->stop)
        subject->stop(subject->state);
}

/* Measure a row at a placement. `row_run` has its options and CPU. */
static int run_row(const struct row *row, struct row_run *run, struct result *result)
{
    unsigned rounds = run->options->quick ? QUICK_ROUNDS : ROUNDS;
    size_t samples =
        run->options->quick && row->samples > QUICK_SAMPLES ? QUICK_SAMPLES : row->samples;
    struct series series[3] = {0};
    const struct subject *subjects[3] = {&run->ours, &run->floor, &run->peer};
    int ret = row->start(run);

    for (int s = 0; !ret && s < 3; s++) {
        series[s].samples = calloc(samples * rounds, sizeof(double));
        if (!series[s].samples)
            ret = -ENOMEM;
    }
    for (int s = 0; !ret && s < 3; s++) /* caches, lazy pages, connections */
        ret = measure_round(subjects[s], &series[s], samples, 0);
    for (int s = 0; s < 3; s++)
        series[s].n = 0;
    for (unsigned round = 0; !ret && round < rounds; round++)
        for (int s = 0; !ret && s < 3; s++)
            ret = measure_round(subjects[s], &series[s], samples, round);
    if (!ret) {
        result->ratio = series_ratio(&series[0], &series[1], rounds);
        result->ours = bench_quantile(series[0].samples, series[0].n, 0.5);
        /* The bad end: the slowest hundredth. */
        result->p99 =
            bench_quantile(series[0].samples, series[0].n, row->kind == ROW_RATE ? 0.01 : 0.99);
        result->floor = bench_quantile(series[1].samples, series[1].n, 0.5);
        result->peer = bench_quantile(series[2].samples, series[2].n, 0.5);
        result->runs = (unsigned)series[0].n;
    }
    for (int s = 0; s < 3; s++)
        free(series[s].samples);
    stop_subject(&run->ours);
    stop_subject(&run->floor);
    stop_subject(&run->peer);
    return ret;
}

/* ------------------------------------------------------------------ output */

static void print_cell(double value, int width, int digits)
{
    if (isnan(value))
        printf("%*s", width, "-");
    else
        printf("%*.*f", width, digits, value);
}

static void print_result(const struct row *row, const struct result *result)
{
    int digits = row->kind == ROW_RATE ? 2 : 0;

    printf("%-28s %-5s", result->name, row->unit);
    print_cell(result->ours, 10, digits);
    print_cell(result->p99, 10, digits);
    print_cell(result->floor, 10, digits);
    print_cell(result->ratio, 8, 2);
    print_cell(result->peer, 10, digits);
    putchar('\n');
    fflush(stdout);
}

static json_t *json_number(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *result_json(const struct row *row, const struct result *result)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:i}", "name", result->name, "what",
                     row->what, "unit", row->unit, "ours", json_number(result->ours), "p99",
                     json_number(result->p99), "floor", json_number(result->floor), "ratio",
                     json_number(result->ratio), "peer", json_number(result->peer), "runs",
                     (int)result->runs);
}

struct output {
    bool json;
    json_t *list;
    unsigned failed;
};

static void run_placement(const struct row *row, const struct bench_options *options, int cpu,
                          const char *suffix, struct output *output)
{
    struct row_run run = {.options = options, .server_cpu = cpu};
    struct result result = {0};
    int ret;

    snprintf(result.name, sizeof(result.name), "%s%s", row->name, suffix);
    ret = run_row(row, &run, &result);
    if (ret) {
        fprintf(stderr, "umdev-bench: %s: %s\n", result.name, strerrordesc_np(-ret));
        output->failed += ret != -ENOTSUP;
        return;
    }
    if (!output->json)
        print_result(row, &result);
    json_array_append_new(output->list, result_json(row, &result));
}

/* A row is named with or without its placement: trap.read4, trap.read4.two-cpus. */
static bool row_wanted(const char *name, const char *suffix, char **wanted)
{
    size_t len = strlen(name);

    if (!*wanted)
        return true;
    for (; *wanted; wanted++)
        if (strncmp(*wanted, name, len) == 0 &&
            ((*wanted)[len] == '\0' || strcmp(*wanted + len, suffix) == 0))
            return true;
    return false;
}

static void run_all(char **wanted, const struct bench_options *options, struct output *output)
{
    if (!output->json)
        printf("%-28s %-5s%10s%10s%10s%8s%10s\n", "row", "unit", "ours", "p99", "floor", "ratio",
               "peer");
    for (size_t i = 0; i < NROWS; i++) {
        const struct row *row = rows[i];

        if (!row->placed) {
            if (row_wanted(row->name, "", wanted))
                run_placement(row, options, 1, "", output);
            continue;
        }
        if (row_wanted(row->name, ".one-cpu", wanted))
            run_placement(row, options, 0, ".one-cpu", output);
        if (row_wanted(row->name, ".two-cpus", wanted))
            run_placement(row, options, 1, ".two-cpus", output);
    }
}

static const struct report *find_report(const char *name)
{
    for (size_t i = 0; i < NREPORTS; i++)
        if (strcmp(reports[i]->name, name) == 0)
            return reports[i];
    return NULL;
}

/* Those that are named. Takes their names out of the list. */
static void run_reports(char **wanted, const struct bench_options *options, struct output *output)
{
    char **rest = wanted;

    for (; *wanted; wanted++) {
        const struct report *report = find_report(*wanted);
        int ret = report ? report->print(options) : 0;

        if (!report)
            *rest++ = *wanted;
        if (ret) {
            fprintf(stderr, "umdev-bench: %s: %s\n", report->name, strerrordesc_np(-ret));
            output->failed++;
        }
    }
    *rest = NULL;
}

static void usage(void)
{
    puts("Usage: umdev-bench [--json] [--quick] [--output FILE] [ROW...]\n"
         "Measure umdev beside its floors; with PEER=<a built libvfio-user> in the environment\n"
         "beside that, too. Rows:");
    for (size_t i = 0; i < NROWS; i++)
        printf("  %-24s %s\n", rows[i]->name, rows[i]->what);
    puts("Only when it is named:");
    for (size_t i = 0; i < NREPORTS; i++)
        printf("  %-24s %s\n", reports[i]->name, reports[i]->what);
}

static int check_names(char **wanted)
{
    for (; *wanted; wanted++) {
        bool known = find_report(*wanted);

        for (size_t i = 0; i < NROWS; i++) {
            char *name[] = {*wanted, NULL};

            known |= row_wanted(rows[i]->name, ".one-cpu", name) ||
                     row_wanted(rows[i]->name, ".two-cpus", name);
        }
        if (!known) {
            fprintf(stderr, "umdev-bench: no row '%s'; --help lists them\n", *wanted);
            return 2;
        }
    }
    return 0;
}

/* A thousand devices need more than the usual soft limit. */
static void raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"json", no_argument, NULL, 'j'},
        {"quick", no_argument, NULL, 'q'},
        {"output", required_argument, NULL, 'o'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *peer = getenv("PEER"), *file = NULL;
    struct bench_options options = {.peer = peer && *peer ? peer : NULL};
    struct output output = {0};
    int option;
    bool rows_wanted;

    while ((option = getopt_long(argc, argv, "jqo:h", long_options, NULL)) != -1) {
        switch (option) {
        case 'j':
            output.json = true;
            break;
        case 'q':
            options.quick = true;
            break;
        case 'o':
            file = optarg;
            break;
        case 'h':
            usage();
            return 0;
        default:
            return 2;
        }
    }
    if (check_names(argv + optind))
        return 2;
    output.list = json_array();
    raise_fd_limit();
    bench_pin(0);
    rows_wanted = !argv[optind];
    run_reports(argv + optind, &options, &output);
    rows_wanted |= argv[optind] != NULL;
    if (rows_wanted)
        run_all(argv + optind, &options, &output);
    if (output.json && rows_wanted)
        json_dumpf(output.list, stdout, JSON_INDENT(1));
    if (file && json_dump_file(output.list, file, JSON_INDENT(1))) {
        fprintf(stderr, "umdev-bench: can't write %s\n", file);
        return 1;
    }
    json_decref(output.list);
    return output.failed ? 1 : 0;
}
