/* SPDX-License-Identifier: BSD-3-Clause */
/* A region that faults, read by a client that can't have its pages mapped: page after page. */
#include "fault.h"

#include <umdev/client.h>

static int trapped_measure(void *state, double *samples, size_t n)
{
    struct fault_client *ours = state;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        uint32_t value;
        int ret =
            umdev_client_read32(ours->client, FAULT_BAR_PAGES, ours->next * BENCH_PAGE, &value);

        if (ret)
            return ret;
        samples[i] = (double)(bench_now_ns() - start);
        ours->next = (ours->next + 1) % FAULT_REGION_PAGES;
    }
    return 0;
}

static int trapped_start(struct row_run *run)
{
    int ret = fault_client_start_trapped(run, trapped_measure);

    return ret ? ret : bench_ping_pong_start(run, BENCH_READ_REQUEST, BENCH_READ_REPLY);
}

const struct row fault_trapped_row = {
    .name = "fault.trapped",
    .what = "trapped 4-byte read of a fault-mapped region, map_request and all / a ping-pong",
    .unit = "ns",
    .kind = ROW_NS,
    .placed = true,
    .samples = 2000,
    .start = trapped_start,
};
