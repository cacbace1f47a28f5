/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/sigbus.h"

#include "base/cleanup.h"
#include "base/range.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/*
 * One guarded range, or none (len 0). `sequence` is odd while the slot is being changed. A handler
 * that meets a slot in change, or one that changed as it read, passes it by: the range it looks for
 * was registered before the access that faulted and stays so until after it, hence never there.
 */
struct slot {
    atomic_uint sequence;
    atomic_uintptr_t first;
    atomic_size_t len;
    _Atomic(atomic_bool *) lost;
    atomic_bool replaced; /* somebody has put, or is putting, the zero pages there */
    int next_free;        /* under the mutex */
};

/* Chunk n has FIRST_CHUNK_SLOTS << n slots: room for any number in a short table. */
#define FIRST_CHUNK_SHIFT 8
#define FIRST_CHUNK_SLOTS (1u << FIRST_CHUNK_SHIFT)
#define NUM_CHUNKS        20
#define NO_SLOT           (-1)

/* Mappings that are left to everybody else: thread stacks, libraries, other memory. */
#define RESERVED_MAPPINGS    8192
#define MAX_MAP_COUNT        "/proc/sys/vm/max_map_count"
#define LIKELY_MAX_MAP_COUNT 65530

static struct {
    pthread_mutex_t mutex; /* claiming and giving back, installing */
    unsigned used, limit;  /* ranges; limit 0: not looked up yet */
    _Atomic(struct slot *) chunks[NUM_CHUNKS];
    unsigned num_chunks;
    int free; /* the head of a list through next_free */
    bool installed;
    struct sigaction previous; /* fixed before the handler is installed */
} registry = {.mutex = PTHREAD_MUTEX_INITIALIZER, .free = NO_SLOT};

static unsigned chunk_slots(unsigned chunk)
{
    return FIRST_CHUNK_SLOTS << chunk;
}

static struct slot *slot_at(int index)
{
    unsigned position = (unsigned)index + FIRST_CHUNK_SLOTS;
    unsigned chunk = 31 - (unsigned)__builtin_clz(position) - FIRST_CHUNK_SHIFT;

    return &registry.chunks[chunk][position - chunk_slots(chunk)];
}

/* Make the next chunk and put its slots on the free list. */
static int registry_grow(void)
{
    unsigned chunk = registry.num_chunks;
    struct slot *slots;
    int first;

    if (chunk == NUM_CHUNKS)
        return -ENOMEM;
    slots = calloc(chunk_slots(chunk), sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    first = (int)(chunk_slots(chunk) - FIRST_CHUNK_SLOTS);
    for (unsigned i = chunk_slots(chunk); i-- > 0;) {
        slots[i].next_free = registry.free;
        registry.free = first + (int)i;
    }
    registry.num_chunks++;
    registry.chunks[chunk] = slots;
    return 0;
}

static void slot_set(struct slot *slot, uintptr_t first, size_t len, atomic_bool *lost)
{
    slot->sequence++;
    slot->first = first;
    slot->len = len;
    slot->lost = lost;
    slot->replaced = false;
    slot->sequence++;
}

/* The kernel counts the mappings of a process: a client must not be able to use them up. */
static unsigned registry_limit(void)
{
    unsigned count = LIKELY_MAX_MAP_COUNT;
    FILE *file = fopen(MAX_MAP_COUNT, "re");

    if (file) {
        if (fscanf(file, "%u", &count) != 1) /* NOLINT(cert-err34-c): the kernel's own number */
            count = LIKELY_MAX_MAP_COUNT;
        fclose(file);
    }
    return count > 2 * RESERVED_MAPPINGS ? count - RESERVED_MAPPINGS : count / 2;
}

int sigbus_guard_add(void *addr, size_t len, atomic_bool *lost)
{
    LOCK_FOR_SCOPE(&registry.mutex);
    uintptr_t first = (uintptr_t)addr;
    uintptr_t last;
    int index;

    if (len == 0 || ADD_OVERFLOW(first, len - 1, &last))
        return -EINVAL;
    if (!registry.limit)
        registry.limit = registry_limit();
    if (registry.used >= registry.limit || (registry.free == NO_SLOT && registry_grow()))
        return -ENOMEM;
    registry.used++;
    index = registry.free;
    registry.free = slot_at(index)->next_free;
    slot_set(slot_at(index), first, len, lost);
    return index;
}

void sigbus_guard_remove(int slot)
{
    LOCK_FOR_SCOPE(&registry.mutex);

    registry.used--;
    slot_set(slot_at(slot), 0, 0, NULL);
    slot_at(slot)->next_free = registry.free;
    registry.free = slot;
}

/* From here on everything runs in the signal handler: no locks, no allocations. */

struct guarded {
    struct slot *slot;
    uintptr_t first;
    size_t len;
    atomic_bool *lost;
};

static bool slot_match(struct slot *slot, uintptr_t address, struct guarded *found)
{
    unsigned sequence = slot->sequence;

    found->slot = slot;
    found->first = slot->first;
    found->len = slot->len;
    found->lost = slot->lost;
    return !(sequence & 1) && slot->sequence == sequence && address >= found->first &&
           address - found->first < found->len;
}

static bool registry_find(uintptr_t address, struct guarded *found)
{
    for (unsigned chunk = 0; chunk < NUM_CHUNKS; chunk++) {
        struct slot *slots = registry.chunks[chunk];

        if (!slots)
            break;
        for (unsigned i = 0; i < chunk_slots(chunk); i++) {
            if (slot_match(&slots[i], address, found))
                return true;
        }
    }
    return false;
}

static bool map_zeros(uintptr_t first, size_t len)
{
    return mmap((void *)first, len, PROT_READ | PROT_WRITE,
                MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

/*
 * Where the whole range is more than the system grants (strict overcommit), the page that was
 * touched has to do; the next one faults again. Of the page sizes only the right one or a larger
 * one can replace a part of a mapping.
 */
static bool map_zero_page(const struct guarded *range, uintptr_t address)
{
    static const size_t page_sizes[] = {4096, 2 << 20, 1 << 30};

    for (size_t i = 0; i < ARRAY_SIZE(page_sizes); i++) {
        uintptr_t page = align_down(address, page_sizes[i]);

        if (page >= range->first && span_fits(page - range->first, page_sizes[i], range->len) &&
            map_zeros(page, page_sizes[i]))
            return true;
    }
    return false;
}

bool sigbus_handle(void *fault_address)
{
    uintptr_t address = (uintptr_t)fault_address;
    struct guarded range;
    bool done = true;
    int saved_errno = errno;

    if (!registry_find(address, &range))
        return false;
    if (atomic_exchange(&range.slot->replaced, true)) {
        /* Another thread is at it, and must not be undone; the access tries again until it is. */
        sched_yield();
    } else {
        /* Before the zeros, so that nobody who has seen them believes them. */
        *range.lost = true;
        if (!map_zeros(range.first, range.len)) {
            range.slot->replaced = false;
            done = map_zero_page(&range, address);
        }
    }
    errno = saved_errno;
    return done;
}

/* The default action, with the fault's own details where the access can be made to fault again. */
static void die_by_default(bool will_fault_again)
{
    struct sigaction action = {.sa_handler = SIG_DFL};

    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
    if (!will_fault_again)
        raise(SIGBUS);
}

/* Do what the kernel would have done, had our handler never been installed. */
static void chain(int signal, siginfo_t *info, void *context)
{
    const struct sigaction *previous = &registry.previous;
    bool is_fault = info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
    sigset_t set;

    /* With SA_SIGINFO sa_handler is the same pointer under another name: never these two. */
    if (previous->sa_handler == SIG_IGN && !is_fault)
        return;
    /* A fault can't be ignored. */
    if (previous->sa_handler == SIG_IGN || previous->sa_handler == SIG_DFL) {
        die_by_default(is_fault);
        return;
    }
    if (previous->sa_flags & SA_RESETHAND) {
        struct sigaction action = {.sa_handler = SIG_DFL};

        sigemptyset(&action.sa_mask);
        sigaction(signal, &action, NULL);
    }
    if (previous->sa_flags & SA_NODEFER) {
        sigemptyset(&set);
        sigaddset(&set, signal);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    }
    if (previous->sa_flags & SA_SIGINFO)
        previous->sa_sigaction(signal, info, context);
    else
        previous->sa_handler(signal);
}

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
    /* One sent with kill() has no address. */
    if (info->si_code <= 0 || !sigbus_handle(info->si_addr))
        chain(signal, info, context);
}

int sigbus_install(void)
{
    LOCK_FOR_SCOPE(&registry.mutex);
    struct sigaction action = {.sa_sigaction = on_sigbus};

    if (registry.installed)
        return 0;
    if (sigaction(SIGBUS, NULL, &registry.previous))
        return -errno;
    /* The next in the chain finds the mask and the restarts it asked for. */
    action.sa_mask = registry.previous.sa_mask;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | (registry.previous.sa_flags & SA_RESTART);
    if (sigaction(SIGBUS, &action, NULL))
        return -errno;
    registry.installed = true;
    return 0;
}
