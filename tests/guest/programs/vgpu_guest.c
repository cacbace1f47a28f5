/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In the guest: drive a vgpu.
 *
 *   vgpu-guest check BDF|vfio:BDF ROUNDS   render, compare, provoke an error, and go on
 *   vgpu-guest traffic BDF|vfio:BDF        work without end; "round N" now and then
 *   vgpu-guest long BDF|vfio:BDF           "begun", and the device works on for many seconds
 *   vgpu-guest expect ROUNDS               the last line of `check`, with no device
 *
 * The last line of `check` that went well is
 *   ok: ROUNDS rounds, F fence interrupts, E error interrupts, checksum 0x…
 * Exit codes: 0, 1 (a message on stderr says why), 2 (usage).
 */
#include "workload.h"

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

static void print_result(uint32_t rounds, unsigned fences, unsigned errors, uint64_t checksum)
{
    printf("ok: %u rounds, %u fence interrupts, %u error interrupts, checksum 0x%016llx\n", rounds,
           fences, errors, (unsigned long long)checksum);
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
    print_result(rounds, gpu.interrupts[VGPU_MSIX_FENCE], gpu.interrupts[VGPU_MSIX_ERROR],
                 work.checksum);
    return 0;
}

static int traffic(const char *name)
{
    struct gpu gpu = {0};
    struct workload work;

    if (open_gpu(&gpu, name) || workload_start(&work, &gpu))
        return 1;
    for (uint32_t rounds = 0;; rounds += 10) {
        printf("round %u\n", rounds);
        fflush(stdout);
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
    puts("begun");
    fflush(stdout);
    pause();
    return 0;
}

static int expect(uint32_t rounds)
{
    struct workload work;

    workload_start(&work, NULL);
    for (uint32_t number = 0; number < rounds; number++)
        workload_expect(&work, number);
    print_result(rounds, rounds, 1, work.checksum);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "check") == 0)
        return check(argv[2], (uint32_t)strtoul(argv[3], NULL, 0));
    if (argc == 3 && strcmp(argv[1], "traffic") == 0)
        return traffic(argv[2]);
    if (argc == 3 && strcmp(argv[1], "long") == 0)
        return long_work(argv[2]);
    if (argc == 3 && strcmp(argv[1], "expect") == 0)
        return expect((uint32_t)strtoul(argv[2], NULL, 0));
    fputs("vgpu-guest check BDF|vfio:BDF ROUNDS | traffic|long BDF|vfio:BDF | expect ROUNDS\n",
          stderr);
    return 2;
}
