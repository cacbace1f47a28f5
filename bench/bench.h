/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Benchmarks: what each thing costs beside its floor.
 *
 * Data model. A *row* is one figure. It has up to three *subjects* that do the same work: ours, the
 * floor (the same done raw, by the fewest system calls), and the peer where there is one. The
 * runner takes rounds; in each it measures every subject in turn, so that a noisy moment hits
 * them alike. The ratio is the median over the rounds of median(ours) / median(floor).
 *
 * The client side runs in this process on CPU 0; servers run in child processes on CPU 0 (rows
 * named .one-cpu) or CPU 1 (.two-cpus), real-time scheduled where that is allowed.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct bench_options {
    const char *peer; /* a built libvfio-user, or NULL */
    bool quick;       /* few rounds: that it works, not what it costs */
};

/* Something that can be measured: fills in `n` samples, in the row's unit. 0 or −errno. */
struct subject {
    int (*measure)(void *state, double *samples, size_t n);
    void (*stop)(void *state); /* NULL: nothing to do */
    void *state;
};

struct row_run {
    const struct bench_options *options;
    int server_cpu;
    struct subject ours, floor, peer; /* measure NULL: there is none */
};

enum row_kind {
    ROW_NS,     /* nanoseconds, less is better */
    ROW_RATE,   /* bytes per nanosecond, more is better */
    ROW_AMOUNT, /* an amount, less is better; one sample */
};

struct row {
    const char *name; /* without the placement */
    const char *what;
    const char *unit;
    enum row_kind kind;
    bool placed;    /* measured on one CPU and across two */
    size_t samples; /* a round */
    /*
     * Start the subjects. On failure those with a measure function are stopped by the caller.
     * ENOTSUP: the row can't be measured on this machine, which is no failure.
     */
    int (*start)(struct row_run *run);
};

/* Where there is a guest for it. */
#ifdef __x86_64__
#define BENCH_ROW_KVM(ROW) ROW(fault_kvm_touch_row)
#else
#define BENCH_ROW_KVM(ROW)
#endif

/* Where there is libfuse. */
#ifdef BENCH_TREE
#define BENCH_ROW_TREE(ROW) ROW(tree_read_row) ROW(tree_read_1000_row)
#else
#define BENCH_ROW_TREE(ROW)
#endif

/* All of them, in the order of the table; a line each, so that they can be added side by side. */
/* clang-format off */
#define BENCH_ROWS(ROW) \
    ROW(trap_read4_row) \
    ROW(trap_write4_row) \
    ROW(dma_map_unmap_row) \
    ROW(dma_map_unmap_16g_row) \
    ROW(dma_map_65535_row) \
    ROW(translate_same_1_row) \
    ROW(translate_same_16_row) \
    ROW(translate_same_1000_row) \
    ROW(translate_same_65535_row) \
    ROW(translate_random_1_row) \
    ROW(translate_random_16_row) \
    ROW(translate_random_1000_row) \
    ROW(translate_random_65535_row) \
    ROW(translate_threads_2_row) \
    ROW(translate_threads_4_row) \
    ROW(bus_alloc_fragmented_row) \
    ROW(bus_alloc_page_row) \
    ROW(pinning_contiguous_1_row) \
    ROW(pinning_contiguous_512_row) \
    ROW(pinning_paged_1_row) \
    ROW(pinning_paged_512_row) \
    ROW(pin_pair_1_row) \
    ROW(pin_pair_512_row) \
    ROW(pin_lookup_row) \
    ROW(pin_bytes_dense_row) \
    ROW(pin_bytes_sparse_row) \
    ROW(dirty_clean_row) \
    ROW(dirty_percent_row) \
    ROW(dirty_mark_row) \
    ROW(track_arm_1_row) \
    ROW(track_arm_512_row) \
    ROW(track_arm_262144_row) \
    ROW(track_clean_1_row) \
    ROW(track_all_1_row) \
    ROW(track_clean_512_row) \
    ROW(track_percent_512_row) \
    ROW(track_all_512_row) \
    ROW(track_clean_262144_row) \
    ROW(track_percent_262144_row) \
    ROW(track_all_262144_row) \
    ROW(track_write_collect_row) \
    ROW(track_write_notify_row) \
    ROW(track_device_write_row) \
    ROW(track_bytes_dense_row) \
    ROW(track_bytes_sparse_row) \
    ROW(fault_minor_row) \
    ROW(fault_first_touch_row) \
    ROW(fault_first_touch_16_row) \
    ROW(fault_first_touch_512_row) \
    ROW(fault_scattered_row) \
    BENCH_ROW_KVM(ROW) \
    ROW(fault_trapped_row) \
    ROW(fault_mapped_access_row) \
    ROW(fault_invalidate_1_row) \
    ROW(fault_invalidate_512_row) \
    ROW(fault_invalidate_65536_row) \
    ROW(fault_identity_touch_row) \
    ROW(fault_identity_ordinary_row) \
    ROW(irq_reader_row) \
    ROW(irq_doorbell_row) \
    ROW(doorbell_ioeventfd_row) \
    ROW(irq_set_irqs_row) \
    ROW(vgpu_fill_row) \
    ROW(vgpu_copy_row) \
    ROW(vgpu_ggtt_row) \
    ROW(vgpu_ppgtt_0_row) \
    ROW(vgpu_ppgtt_10_row) \
    ROW(vgpu_ppgtt_1000_row) \
    BENCH_ROW_TREE(ROW) \
    ROW(memory_server_row) \
    ROW(memory_device_row) \
    ROW(life_create_row) \
    ROW(daemon_start_row) \
    ROW(daemon_create_row) \
    ROW(daemon_memory_row) \
    ROW(daemon_threads_row)
/* clang-format on */
#define BENCH_ROW_DECLARE(name) extern const struct row name;
BENCH_ROWS(BENCH_ROW_DECLARE)

/*
 * Something that a table in Markdown tells better than rows, on stdout. It is printed when it is
 * named only. 0 or −errno.
 */
struct report {
    const char *name;
    const char *what;
    int (*print)(const struct bench_options *options);
};

extern const struct report pin_table_report;

/* ------------------------------------------------------------------ helpers */

uint64_t bench_now_ns(void);
/* The next of a sequence, the same in every run; below `limit`, which is at most 2^40. */
static inline uint64_t bench_random(uint64_t *state, uint64_t limit)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*state >> 24) % limit;
}
/* The q-quantile; sorts the values. NAN: there are none. */
double bench_quantile(double *values, size_t n, double q);
/* Pin the calling thread; real-time where allowed. */
void bench_pin(int cpu);

/*
 * A child process pinned to `cpu` that runs serve(sock, arg) on one end of a socketpair; *sock is
 * the other. It dies with this process. Its pid or −errno.
 */
pid_t bench_spawn(int cpu, void (*serve)(int sock, void *arg), void *arg, int *sock);
void bench_kill(pid_t pid);

/* For it: a vgpu with the whole VRAM of its parent, which `vram` (a string, "vram=64M") says. */
void bench_vgpu_serve(int sock, void *vram);

/* The device that our rows and the peer's serve: BAR 0 is a register file. */
enum {
    BENCH_REG_SCRATCH = 0x00,
    BENCH_REG_DOORBELL = 0x08, /* a write signals MSI-X vector 0; ours can be an eventfd, too */
    BENCH_BAR_SIZE = 4096,
};

/* The floor of trapped accesses: a ping-pong of messages of these sizes. */
int bench_ping_pong_start(struct row_run *run, size_t request, size_t reply);
/* Those of a 4-byte read, headers included. */
enum {
    BENCH_READ_REQUEST = 32,
    BENCH_READ_REPLY = 36,
};

/* What the reader rows share with a server process. */
struct bench_shared {
    int go;                     /* eventfd: signal an interrupt, please */
    volatile uint64_t fired_ns; /* when it was signalled */
};

/* A line of a process's /proc/PID/status, "VmRSS" for example: kilobytes, or −errno. */
int bench_status_kb(pid_t pid, const char *name, double *kb);

struct umdev_host;
/* A host with the driver of that device: type "bench-1". */
int bench_host_new(struct umdev_host **host);

struct umdev_client;
struct umdev_connect_options;
/* Calls wait for ever, as the floors do: a timeout costs the kernel a timer each time it sleeps. */
extern const struct umdev_connect_options bench_connect_options;
/* A server process with the device and a client on it. `shared` may be NULL. */
struct bench_server {
    pid_t pid;
    struct umdev_client *client;
    struct bench_shared *shared;
    char path[64]; /* the peer's socket, or "" */
};
int bench_server_start(struct bench_server *server, int cpu, struct bench_shared *shared);
int bench_peer_start(struct bench_server *server, int cpu, struct bench_shared *shared,
                     const char *peer);
void bench_server_stop(struct bench_server *server);
struct bench_shared *bench_shared_new(void);
void bench_shared_free(struct bench_shared *shared);
/* The work of the thread that answers shared->go: wait, note the time, signal. Never returns. */
void bench_shared_loop(struct bench_shared *shared, void (*fire)(void *opaque), void *opaque);

#endif
