/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A server with one fault-mapped region, in two threads of the test: one for the socket, one for
 * the fault channel.
 *
 * It answers from a table that the test may change: for each page of the region, which page of
 * which object, with what protection, or which errno. All is under `lock`; answers and
 * invalidations are sent under it, so that an answer before an invalidation is from a table before
 * it. Page n of object k begins with the number fault_stamp(k, n).
 */
#ifndef TESTS_CLIENT_FAULT_FAKE_H
#define TESTS_CLIENT_FAULT_FAKE_H

#include "base/range.h"
#include "unit.h"
#include "wire/vfio_user.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <umdev/client.h>

#define FAULT_REGION  2
#define FAULT_PAGE    PAGE_SIZE_4K
#define FAULT_OBJECTS 4

/* cmocka's assertions belong to the main thread. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct fault_entry {
    unsigned object;
    uint64_t page; /* of the object */
    unsigned prot;
    int error;
};

struct fault_fake {
    size_t npages;        /* of the region */
    size_t object_pages;  /* of each object */
    int sock, client_end; /* the server's end, and the client's until it connects */
    pthread_t socket_thread, channel_thread;
    bool has_channel;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    int channel;
    struct fault_entry *table;
    int objects[FAULT_OBJECTS];
    uint8_t *memory[FAULT_OBJECTS];
    bool sent[FAULT_OBJECTS];
    atomic_bool extend; /* answers cover the neighbours that continue the page, too */
    atomic_bool mute;   /* FAULTs are kept */
    bool closed;
    uint32_t refuse_channel; /* the errno of FAULT_CHANNEL's reply */
    struct wire_fault_packet kept[WIRE_FAULTS_MAX];
    unsigned nkept;
    atomic_ullong nfaults;
    uint64_t nacks, ninvalidates;
    /* Not NULL: called with the lock instead of an answer from the table. */
    void (*answer)(struct fault_fake *fake, const struct wire_fault_packet *fault);
    void *opaque;
};

/* Whether this machine lets us: if not, says why, and the test's exit code is FAULT_SKIPPED. */
#define FAULT_SKIPPED 77 /* meson's */
bool fault_fake_possible(void);
/* `options` without struct_size; NULL: all default. The table is 1:1 on object 0. */
void fault_fake_open(struct fault_fake *fake, size_t npages, size_t object_pages);
int fault_fake_connect(struct fault_fake *fake, const struct umdev_connect_options *options,
                       struct umdev_client **client);
/* The server's ends are closed; it is waited for. Can be called twice. */
void fault_fake_die(struct fault_fake *fake);
void fault_fake_close(struct fault_fake *fake);

static inline uint64_t fault_stamp(unsigned object, uint64_t page)
{
    return UINT64_C(0xabcd) << 48 | (uint64_t)object << 32 | page;
}

/* Change the table. */
void fault_fake_set(struct fault_fake *fake, uint64_t page, struct fault_entry entry);
/* Take pages back, and wait for the acknowledgement. False: the channel has ended. */
bool fault_fake_invalidate(struct fault_fake *fake, uint64_t first_page, uint64_t last_page);
/* Wait till so many FAULTs have come in all. */
void fault_fake_wait_faults(struct fault_fake *fake, uint64_t n);
/* Answer what was kept. */
void fault_fake_unmute(struct fault_fake *fake);

/* With the lock: send packets, the first use of an object with its fd. */
void fault_fake_send(struct fault_fake *fake, const struct wire_fault_packet *packet, int fd);
void fault_fake_answer(struct fault_fake *fake, const struct wire_fault_packet *fault);

/* ------------------------------------------------------------------ touches that may fail */

/* SIGBUS and SIGSEGV in these give false. For the whole process, from fault_catch_sigbus() on. */
void fault_catch_sigbus(void);
bool fault_try_read(const void *address, uint64_t *value);
bool fault_try_write(void *address, uint64_t value);

#endif
