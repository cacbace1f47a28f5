/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Translation: a window of 8 bytes acquired and released, against a binary search in a bare sorted
 * array that nobody protects. Both in this process, by way of umdev's iommu alone.
 */
#include "bench.h"

#include "iommu/iommu.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* A sample is the mean of so many translations, which take addresses of a list in turn. */
enum {
    BATCH = 4096,
    MAX_THREADS = 4,
    THREAD_BATCHES = 50,
};

struct translate {
    struct iommu *iommu;
    int memfd;
    unsigned count, threads;
    uint64_t *first, *last;     /* of the floor */
    umdev_iova_t iovas[BATCH];  /* to be translated */
    volatile uint64_t searched; /* what the floor found, so that it is not left out */
};

/* Every other page: neighbours are not of one piece. */
static uint64_t page_iova(uint64_t page)
{
    return page * 2 * PAGE_SIZE_4K;
}

static int translate_batch(struct translate *state)
{
    for (unsigned i = 0; i < BATCH; i++) {
        size_t got;
        void *hold;
        void *ptr;
        int ret = iommu_acquire(state->iommu, state->iovas[i], 8, UMDEV_READ, &ptr, &got, &hold);

        if (ret)
            return ret;
        iommu_release(state->iommu, hold);
    }
    return 0;
}

static int ours_measure(void *opaque, double *samples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        int ret = translate_batch(opaque);

        if (ret)
            return ret;
        samples[i] = (double)(bench_now_ns() - start) / BATCH;
    }
    return 0;
}

static void stop(void *opaque)
{
    struct translate *state = opaque;

    iommu_free(state->iommu);
    if (state->memfd >= 0)
        close(state->memfd);
    free(state->first);
    free(state->last);
    free(state);
}

static uint64_t floor_search(const struct translate *state, uint64_t iova)
{
    const uint64_t *base = state->first;

    for (size_t left = state->count; left > 1;) {
        size_t half = left / 2;

        base += (size_t)(base[half] <= iova) * half;
        left -= half;
    }
    return iova <= state->last[base - state->first] ? *base : 0;
}

static int floor_measure(void *opaque, double *samples, size_t n)
{
    struct translate *state = opaque;

    for (size_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();

        for (unsigned k = 0; k < BATCH; k++)
            state->searched += floor_search(state, state->iovas[k].value);
        samples[i] = (double)(bench_now_ns() - start) / BATCH;
    }
    return 0;
}

/* One address in the middle, or any. */
static void choose_iovas(struct translate *state, bool any)
{
    uint64_t random = 1;

    for (unsigned i = 0; i < BATCH; i++) {
        uint64_t page = any ? bench_random(&random, state->count) : state->count / 2;

        state->iovas[i] = umdev_iova(page_iova(page));
    }
}

static int map_pages(struct translate *state)
{
    int ret = iommu_new(NULL, NULL, &state->iommu);

    if (ret)
        return ret;
    state->memfd = memfd_create("bench", MFD_CLOEXEC);
    if (state->memfd < 0 || ftruncate(state->memfd, (off_t)(state->count * PAGE_SIZE_4K)))
        return -errno;
    for (uint64_t i = 0; !ret && i < state->count; i++)
        ret = iommu_map(state->iommu, umdev_iova(page_iova(i)), PAGE_SIZE_4K, state->memfd,
                        i * PAGE_SIZE_4K, UMDEV_RW);
    return ret;
}

static int make_array(struct translate *state)
{
    state->first = calloc(state->count, sizeof(*state->first));
    state->last = calloc(state->count, sizeof(*state->last));
    if (!state->first || !state->last)
        return -ENOMEM;
    for (uint64_t i = 0; i < state->count; i++) {
        state->first[i] = page_iova(i);
        state->last[i] = page_iova(i) + PAGE_SIZE_4K - 1;
    }
    return 0;
}

static struct translate *translate_new(unsigned count, bool any)
{
    struct translate *state = calloc(1, sizeof(*state));

    if (state) {
        state->count = count;
        state->memfd = -1;
        choose_iovas(state, any);
    }
    return state;
}

/* Both subjects, which have nothing yet but the addresses. */
static int make_pair(struct row_run *run, unsigned count, bool any,
                     int (*measure)(void *state, double *samples, size_t n),
                     int (*measure_floor)(void *state, double *samples, size_t n))
{
    struct translate *ours = translate_new(count, any);
    struct translate *floor = translate_new(count, any);

    if (!ours || !floor) {
        free(ours);
        free(floor);
        return -ENOMEM;
    }
    run->ours = (struct subject){measure, stop, ours};
    run->floor = (struct subject){measure_floor, stop, floor};
    return 0;
}

static int translate_start(struct row_run *run, unsigned count, bool any)
{
    return make_pair(run, count, any, ours_measure, floor_measure)
               ?: map_pages(run->ours.state) ?: make_array(run->floor.state);
}

#define TRANSLATE_ROW(which, any, number)                                                          \
    static int which##_##number##_start(struct row_run *run)                                       \
    {                                                                                              \
        return translate_start(run, number, any);                                                  \
    }                                                                                              \
    const struct row translate_##which##_##number##_row = {                                        \
        .name = "translate." #which "." #number,                                                   \
        .what = "acquire + release, " #number " mappings / binary search in a bare array",         \
        .unit = "ns",                                                                              \
        .kind = ROW_NS,                                                                            \
        .samples = 200,                                                                            \
        .start = which##_##number##_start,                                                         \
    }
TRANSLATE_ROW(same, false, 1);
TRANSLATE_ROW(same, false, 16);
TRANSLATE_ROW(same, false, 1000);
TRANSLATE_ROW(same, false, 65535);
TRANSLATE_ROW(random, true, 1);
TRANSLATE_ROW(random, true, 16);
TRANSLATE_ROW(random, true, 1000);
TRANSLATE_ROW(random, true, 65535);

/* ------------------------------------------------------------------ with others */

struct thread {
    pthread_t thread;
    struct translate *state;
    double ns; /* of its own CPU time, a translation */
    int ret;
};

struct changer {
    pthread_t thread;
    struct translate *state;
    atomic_bool stop;
    int ret;
};

static double thread_cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void *translate_thread(void *opaque)
{
    struct thread *thread = opaque;
    double start = thread_cpu_ns();

    for (int i = 0; !thread->ret && i < THREAD_BATCHES; i++)
        thread->ret = translate_batch(thread->state);
    thread->ns = (thread_cpu_ns() - start) / (THREAD_BATCHES * BATCH);
    return NULL;
}

/* Maps and unmaps a page behind the others. */
static void *change_thread(void *opaque)
{
    struct changer *changer = opaque;
    struct translate *state = changer->state;
    umdev_iova_t iova = umdev_iova(page_iova(state->count));

    while (!changer->ret && !changer->stop) {
        uint64_t unmapped;

        changer->ret = iommu_map(state->iommu, iova, PAGE_SIZE_4K, state->memfd, 0, UMDEV_RW);
        if (!changer->ret)
            changer->ret = iommu_unmap(state->iommu, iova, PAGE_SIZE_4K, 10000, &unmapped);
    }
    return NULL;
}

/* On any CPU, scheduled as usual: this process is pinned, and real-time where that is allowed. */
static int spawn_anywhere(pthread_t *thread, void *(*run)(void *opaque), void *opaque)
{
    struct sched_param param = {0};
    pthread_attr_t attr;
    cpu_set_t set;
    int ret;

    CPU_ZERO(&set);
    for (int i = 0; i < CPU_SETSIZE && i < sysconf(_SC_NPROCESSORS_ONLN); i++)
        CPU_SET(i, &set);
    pthread_attr_init(&attr);
    pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attr, SCHED_OTHER);
    pthread_attr_setschedparam(&attr, &param);
    pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
    ret = pthread_create(thread, &attr, run, opaque);
    pthread_attr_destroy(&attr);
    return -ret;
}

/* The mean of `count` threads that translate at once. */
static int run_threads(struct translate *state, unsigned count, double *ns)
{
    struct thread threads[MAX_THREADS] = {0};
    unsigned started = 0;
    int ret = 0;

    *ns = 0;
    for (; !ret && started < count; started += !ret) {
        threads[started].state = state;
        ret = spawn_anywhere(&threads[started].thread, translate_thread, &threads[started]);
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i].thread, NULL);
        ret = ret ? ret : threads[i].ret;
        *ns += threads[i].ns / count;
    }
    return ret;
}

static int threads_measure(void *opaque, double *samples, size_t n)
{
    struct translate *state = opaque;
    struct changer changer = {.state = state};
    int ret = spawn_anywhere(&changer.thread, change_thread, &changer);

    if (ret)
        return ret;
    for (size_t i = 0; !ret && i < n; i++)
        ret = run_threads(state, state->threads, &samples[i]);
    changer.stop = true;
    pthread_join(changer.thread, NULL);
    return ret ? ret : changer.ret;
}

static int alone_measure(void *opaque, double *samples, size_t n)
{
    int ret = 0;

    for (size_t i = 0; !ret && i < n; i++)
        ret = run_threads(opaque, 1, &samples[i]);
    return ret;
}

static int threads_start(struct row_run *run, unsigned threads)
{
    int ret = make_pair(run, 1000, false, threads_measure, alone_measure);

    if (ret)
        return ret;
    ((struct translate *)run->ours.state)->threads = threads;
    return map_pages(run->ours.state) ?: map_pages(run->floor.state);
}

#define THREADS_ROW(number)                                                                        \
    static int threads_##number##_start(struct row_run *run)                                       \
    {                                                                                              \
        return threads_start(run, number);                                                         \
    }                                                                                              \
    const struct row translate_threads_##number##_row = {                                          \
        .name = "translate.threads." #number,                                                      \
        .what = #number " threads while another maps and unmaps / one thread alone",               \
        .unit = "ns",                                                                              \
        .kind = ROW_NS,                                                                            \
        .samples = 5,                                                                              \
        .start = threads_##number##_start,                                                         \
    }
THREADS_ROW(2);
THREADS_ROW(4);
