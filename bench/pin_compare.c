/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All trackers of pinned pages, side by side, as a table in Markdown.
 *
 * Each cell is measured in a process of its own, so that what it takes of memory is seen from
 * outside, too: by what the process has grown. Patterns of what is pinned:
 *   dense      every page, at most DENSE_MAX
 *   sparse     one page of a hundred, at random
 *   clustered  as many, in runs of CLUSTER pages at random
 *   window     WINDOW pages in a row, which move through the mapping: one in front is pinned, then
 *              the last is unpinned
 * A pair is, but with the window, an unpin of a random page that is pinned and its pin.
 */
#include "bench.h"
#include "pin_tracker.h"

#include "base/range.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    DENSE_MAX = 1 << 22, /* 16 GiB */
    CLUSTER = 64,
    WINDOW = 64,
    CALLS = 1 << 17, /* a round */
    MAX_ROUNDS = 9,
    RSS_PINS = 100000, /* from so many on a process's growth is told by its pins */
};

enum pattern {
    DENSE,
    SPARSE,
    CLUSTERED,
    WINDOWED,
};
static const char *const pattern_names[] = {"dense", "1 % random", "clustered", "window"};

struct cell {
    const struct pin_tracker *tracker;
    enum pattern pattern;
    uint64_t npages;
    unsigned rounds;
};

struct figures {
    double fill, pair, run, lookup; /* nanoseconds; NAN: there is none */
    double bytes, resident, idle;
};

struct compare {
    const struct cell *cell;
    void *table;
    uint64_t random, npinned;
    uint32_t *pages; /* CALLS of those that are pinned, at random */
    double samples[MAX_ROUNDS];
};

static void pin(struct compare *c, uint64_t first, size_t count)
{
    static uint32_t bus[PIN_MAX_PAGES];
    uint64_t fresh[PIN_WORDS];

    if (c->cell->tracker->pin(c->table, first, count, false, bus, fresh))
        _exit(1);
}

static void unpin(struct compare *c, uint64_t first, size_t count)
{
    static uint32_t bus[PIN_MAX_PAGES];
    uint64_t freed[PIN_WORDS], written[PIN_WORDS];

    c->cell->tracker->unpin(c->table, first, count, freed, bus, written);
}

/* What the pattern pins in one call, of which it makes so many. */
static size_t pattern_run(enum pattern pattern)
{
    static const size_t runs[] = {PIN_MAX_PAGES, 1, CLUSTER, WINDOW};

    return runs[pattern];
}

static uint64_t pattern_calls(const struct cell *cell)
{
    switch (cell->pattern) {
    case DENSE:
        return MIN(cell->npages, DENSE_MAX) / PIN_MAX_PAGES;
    case WINDOWED:
        return 1;
    default:
        return cell->npages / 100 / pattern_run(cell->pattern);
    }
}

/* Where the i-th call pins. The same sequence comes again with the same seed. */
static uint64_t pattern_place(struct compare *c, uint64_t i)
{
    size_t run = pattern_run(c->cell->pattern);

    if (c->cell->pattern == DENSE || c->cell->pattern == WINDOWED)
        return i * run;
    return bench_random(&c->random, c->cell->npages - run);
}

static void compare_fill(struct compare *c)
{
    size_t run = pattern_run(c->cell->pattern);
    uint64_t calls = pattern_calls(c->cell);

    c->random = 1;
    for (uint64_t i = 0; i < calls; i++)
        pin(c, pattern_place(c, i), run);
    c->npinned = c->cell->tracker->pinned(c->table);
}

/* First pages of CALLS runs that were pinned, in no order: a sample of all, shuffled. */
static void compare_choose(struct compare *c)
{
    uint64_t calls = pattern_calls(c->cell), chosen = MAX(MIN(calls, CALLS), 1);

    c->random = 1;
    for (uint64_t i = 0; i < calls; i++) {
        uint32_t place = (uint32_t)pattern_place(c, i);

        c->pages[i < chosen ? i : i % chosen] = place;
    }
    for (uint64_t i = chosen; i < CALLS; i++)
        c->pages[i] = c->pages[i % chosen];
    for (uint64_t i = CALLS; i-- > 1;) {
        uint64_t other = bench_random(&c->random, i + 1);
        uint32_t page = c->pages[i];

        c->pages[i] = c->pages[other];
        c->pages[other] = page;
    }
}

/* A page of the run that begins at the i-th of `pages`. */
static uint64_t some_page(const struct compare *c, size_t i)
{
    return c->pages[i] + (i * 31) % pattern_run(c->cell->pattern);
}

static void do_pairs(struct compare *c)
{
    if (c->cell->pattern == WINDOWED) {
        for (uint64_t at = 0, i = 0; i < CALLS; i++, at++) {
            if (at + WINDOW == c->cell->npages)
                break;
            pin(c, at + WINDOW, 1);
            unpin(c, at, 1);
        }
        unpin(c, MIN(CALLS, c->cell->npages - WINDOW), WINDOW);
        pin(c, 0, WINDOW);
        return;
    }
    for (size_t i = 0; i < CALLS; i++) {
        unpin(c, some_page(c, i), 1);
        pin(c, some_page(c, i), 1);
    }
}

static void do_runs(struct compare *c)
{
    size_t run = pattern_run(c->cell->pattern);

    for (size_t i = 0; i < CALLS / run; i++) {
        unpin(c, c->pages[i], run);
        pin(c, c->pages[i], run);
    }
}

static void do_lookups(struct compare *c)
{
    struct pin_page page;
    size_t found = 0;

    for (size_t i = 0; i < CALLS; i++)
        found += c->cell->tracker->get(c->table, some_page(c, i), &page);
    __asm__ volatile("" ::"r"(found));
}

/* The median of the rounds, of one of `calls`. */
static double measure(struct compare *c, void (*work)(struct compare *c), size_t calls)
{
    unsigned rounds = c->cell->rounds;

    work(c);
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t start = bench_now_ns();

        work(c);
        c->samples[i] = (double)(bench_now_ns() - start) / (double)calls;
    }
    return bench_quantile(c->samples, rounds, 0.5);
}

static double resident_bytes(void)
{
    double kb = 0;

    return bench_status_kb(getpid(), "VmRSS", &kb) ? 0 : kb * 1024;
}

static void cell_measure(const struct cell *cell, struct figures *figures)
{
    struct compare c = {.cell = cell, .pages = malloc(CALLS * sizeof(uint32_t))};
    size_t run = pattern_run(cell->pattern);
    double before, after;
    uint64_t start;

    if (!c.pages)
        _exit(1);
    memset(c.pages, 1, CALLS * sizeof(uint32_t));
    malloc_trim(0);
    resident_bytes();
    before = resident_bytes();
    if (cell->tracker->create(cell->npages, true, &c.table))
        _exit(1);
    figures->idle = (double)cell->tracker->bytes(c.table);
    start = bench_now_ns();
    compare_fill(&c);
    figures->fill = (double)(bench_now_ns() - start) / (double)c.npinned;
    after = resident_bytes();
    figures->bytes = (double)cell->tracker->bytes(c.table) / (double)c.npinned;
    figures->resident = c.npinned < RSS_PINS ? NAN : (after - before) / (double)c.npinned;
    compare_choose(&c);
    figures->pair = measure(&c, do_pairs, MIN(CALLS, cell->npages - WINDOW));
    figures->lookup = measure(&c, do_lookups, CALLS);
    figures->run = run > 1 && cell->pattern != WINDOWED ? measure(&c, do_runs, CALLS / run) : NAN;
}

static void cell_serve(int sock, void *arg)
{
    struct figures figures = {0};

    cell_measure(arg, &figures);
    _exit(send(sock, &figures, sizeof(figures), MSG_NOSIGNAL) != sizeof(figures));
}

static int cell_run(struct cell *cell, struct figures *figures)
{
    int sock, ret;
    pid_t pid = bench_spawn(0, cell_serve, cell, &sock);

    if (pid < 0)
        return pid;
    ret = recv(sock, figures, sizeof(*figures), MSG_WAITALL) == sizeof(*figures) ? 0 : -EIO;
    close(sock);
    bench_kill(pid);
    return ret;
}

static void print_figure(double value)
{
    if (isnan(value))
        printf(" | –");
    else
        printf(" | %.*f", value < 100 ? 1 : 0, value);
}

static int compare_print(const struct bench_options *options)
{
    static const struct pin_tracker *const trackers[] = {
        &pin_flat_tracker, &pin_rbtree_tracker, &pin_twolevel_tracker, &pin_hybrid_tracker};
    static const struct {
        const char *name;
        uint64_t pages;
    } mappings[] = {{"512 MiB", 1 << 17}, {"16 GiB", 1 << 22}, {"1 TiB", 1 << 28}};

    puts("| pins | mapping | tracker | fill, ns/page | pair, ns | run, ns | lookup, ns "
         "| bytes/pin | resident/pin | idle bytes |\n"
         "| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: |");
    for (size_t p = 0; p < ARRAY_SIZE(pattern_names); p++) {
        for (size_t m = 0; m < (options->quick ? 1 : ARRAY_SIZE(mappings)); m++) {
            for (size_t t = 0; t < ARRAY_SIZE(trackers); t++) {
                struct cell cell = {trackers[t], (enum pattern)p, mappings[m].pages,
                                    options->quick ? 1 : MAX_ROUNDS};
                struct figures figures;
                int ret = cell_run(&cell, &figures);

                if (ret)
                    return ret;
                printf("| %s | %s | %s", pattern_names[p], mappings[m].name, trackers[t]->name);
                print_figure(figures.fill);
                print_figure(figures.pair);
                print_figure(figures.run);
                print_figure(figures.lookup);
                print_figure(figures.bytes);
                print_figure(figures.resident);
                printf(" | %.0f |\n", figures.idle);
                fflush(stdout);
            }
        }
    }
    return 0;
}

const struct report pin_table_report = {
    .name = "pin.table",
    .what = "all trackers of pinned pages, side by side, in Markdown",
    .print = compare_print,
};
