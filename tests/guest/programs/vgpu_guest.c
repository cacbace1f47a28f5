/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In the guest: drive a vgpu.
 *
 *   vgpu-guest check DEVICE ROUNDS    render, compare, provoke an error, and go on
 *   vgpu-guest work DEVICE            render and compare until SIGTERM; "round N" now and then
 *   vgpu-guest traffic DEVICE         work without end, results unseen; "round N" now and then
 *   vgpu-guest long DEVICE            "begun", and the device works on for a minute or more
 *   vgpu-guest moved DEVICE           "begun" as `long`; SIGUSR1 tells it that its memory has left
 *                                     the machine: see workload_moved(). Then 3 rounds
 *   vgpu-guest tables DEVICE SEED     page tables that change, and IOVAs that do, until SIGTERM;
 *                                     "round N" now and then: see tables.h. The last line that
 *                                     went well is
 *                                     ok: ROUNDS rounds, MOVES moves at rest, MOVES at work
 *   vgpu-guest expect ROUNDS ERRORS   the last line of what went well, with no device
 *
 * DEVICE is BDF, BDF@FIRST-LAST (use memory between these addresses) or vfio:BDF.
 * The last line of `check`, `work` and `moved` that went well is
 *   ok: ROUNDS rounds, F fence interrupts, E error interrupts, checksum 0x…
 * Exit codes: 0, 1 (a message on stderr says why), 2 (usage).
 */
#include "tables.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int open_gpu(struct gpu *gpu, const char *name)
{
    if (strncmp(name, "vfio:", 5) == 0)
        return gpu_open_vfio(gpu, name + 5);
    return gpu_open_sysfs(gpu, name);
}

static void print_line(uint32_t rounds, unsigned fences, unsigned errors, uint64_t checksum)
{
    printf("ok: %u rounds, %u fence interrupts, %u error interrupts, checksum 0x%016llx\n", rounds,
           fences, errors, (unsigned long long)checksum);
}

static void print_result(const struct workload *work, uint32_t rounds)
{
    print_line(rounds, work->gpu->interrupts[VGPU_MSIX_FENCE],
               work->gpu->interrupts[VGPU_MSIX_ERROR], work->checksum);
}

static void print_now(const char *line)
{
    puts(line);
    fflush(stdout);
}

static void print_round(uint32_t number)
{
    printf("round %u\n", number);
    fflush(stdout);
}

/* From now on the signal only is pending when it comes. */
static sigset_t hold_signal(int number)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return set;
}

static bool has_come(int number)
{
    sigset_t set;

    return sigpending(&set) == 0 && sigismember(&set, number) == 1;
}

static int check(const char *name, uint32_t rounds)
{
    struct gpu gpu = {0};
    struct workload work;

    if (open_gpu(&gpu, name) || workload_start(&work, &gpu))
        return 1;
    for (uint32_t number = 0; number < rounds; number++) {
        /* Half way, so that there is a before and an after. */
        if (number == rounds / 2 && workload_error(&work))
            return 1;
        if (workload_round(&work, number))
            return 1;
    }
    print_result(&work, rounds);
    return 0;
}

static int work_on(const char *name)
{
    struct gpu gpu = {0};
    struct workload work;
    uint32_t number = 0;

    hold_signal(SIGTERM);
    if (open_gpu(&gpu, name) || workload_start(&work, &gpu))
        return 1;
    for (; !has_come(SIGTERM); number++) {
        print_round(number);
        if (workload_round(&work, number))
            return 1;
    }
    print_result(&work, number);
    return 0;
}

static int traffic(const char *name)
{
    struct gpu gpu = {0};
    struct workload work;

    if (open_gpu(&gpu, name) || workload_start(&work, &gpu))
        return 1;
    for (uint32_t rounds = 0;; rounds += 10) {
        print_round(rounds);
        if (workload_traffic(&work, 10))
            return 1;
    }
}

/* The program stays: its memory is the device's target. */
static int long_work(const char *name)
{
    struct gpu gpu = {0};
    struct workload work;

    if (open_gpu(&gpu, name) || workload_start(&work, &gpu) || workload_long(&work))
        return 1;
    print_now("begun");
    pause();
    return 0;
}

static int moved(const char *name)
{
    const sigset_t go_on = hold_signal(SIGUSR1);
    struct gpu gpu = {0};
    struct workload work;
    int got;

    if (open_gpu(&gpu, name) || workload_start(&work, &gpu) || workload_round(&work, 0) ||
        workload_long(&work))
        return 1;
    print_now("begun");
    sigwait(&go_on, &got);
    if (workload_moved(&work) || workload_round(&work, 1) || workload_round(&work, 2))
        return 1;
    print_result(&work, 3);
    return 0;
}

static int change_tables(const char *name, uint64_t seed)
{
    struct gpu gpu = {0};
    struct workload work;
    struct tables *tables;
    uint32_t number = 0;
    unsigned at_rest, at_work;

    hold_signal(SIGTERM);
    if (open_gpu(&gpu, name) || workload_start(&work, &gpu))
        return 1;
    tables = tables_new(&work, seed);
    if (!tables)
        return 1;
    for (; !has_come(SIGTERM); number++) {
        print_round(number);
        if (tables_round(tables, number))
            return 1;
    }
    tables_count_moves(tables, &at_rest, &at_work);
    printf("ok: %u rounds, %u moves at rest, %u at work\n", number, at_rest, at_work);
    free(tables);
    return 0;
}

static int expect(uint32_t rounds, unsigned errors)
{
    struct workload work;

    workload_start(&work, NULL);
    for (uint32_t number = 0; number < rounds; number++)
        workload_expect(&work, number);
    print_line(rounds, rounds, errors, work.checksum);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "check") == 0)
        return check(argv[2], (uint32_t)strtoul(argv[3], NULL, 0));
    if (argc == 3 && strcmp(argv[1], "work") == 0)
        return work_on(argv[2]);
    if (argc == 3 && strcmp(argv[1], "traffic") == 0)
        return traffic(argv[2]);
    if (argc == 3 && strcmp(argv[1], "long") == 0)
        return long_work(argv[2]);
    if (argc == 3 && strcmp(argv[1], "moved") == 0)
        return moved(argv[2]);
    if (argc == 4 && strcmp(argv[1], "tables") == 0)
        return change_tables(argv[2], strtoull(argv[3], NULL, 0));
    if (argc == 4 && strcmp(argv[1], "expect") == 0)
        return expect((uint32_t)strtoul(argv[2], NULL, 0), (unsigned)strtoul(argv[3], NULL, 0));
    fputs("vgpu-guest check DEVICE ROUNDS | work|traffic|long|moved DEVICE | tables DEVICE SEED"
          " | expect ROUNDS ERRORS\n",
          stderr);
    return 2;
}
