/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fault-mapped regions, the client's side: pages come at first touch, and go when the server says.
 *
 * Data model. A *view* is one umdev_client_map_region() of such a region: an address range of this
 * process, private anonymous memory registered with the client's userfaultfd, in which nothing is
 * ever stored. Over parts of it lie *maps*: pages of the server's memory objects (writable,
 * write-protected, or not to be written by anybody), or pages that raise SIGBUS because the server
 * refused them. The maps of all views are a tree by address (no two overlap) and a list by age;
 * what continues its neighbour in view, object and offset is one map with it, as the kernel makes
 * it one mapping. A *request* is a FAULT that the server has not answered.
 *
 * A region that says so is mapped the *short way* instead, where that works: its view is the
 * object, registered with a userfaultfd of its own, which the server reads, and where it puts the
 * pages in. There are no maps in it, no requests for it, and the reader sees nothing of it.
 *
 * Two threads, which start with the first view:
 *   the reader reads the userfaultfd and turns touches into requests;
 *   the mapper receives the server's packets, and is the only one that changes what lies in a view.
 * A touch thus costs as many wake-ups and system calls as it can: toucher, reader, server, mapper,
 * toucher.
 *
 * No zeros. A page of an object is put over the view by mmap(MAP_FIXED). What takes it away is
 * mremap() of the *blank*, a range as long as the longest view that is registered, too, and stays
 * where it is (MREMAP_DONTUNMAP): at each moment the page is either the object's or one whose touch
 * is reported. So is memory that is write-protected made elsewhere, and moved there when it is.
 * mremap() of registered memory returns only after the userfaultfd was read: hence the second
 * thread, and hence nothing that the reader does may wait for the mapper.
 *
 * Locks. map_lock: maps, objects, the blank; held by the mapper while it remaps, and so never
 * taken by the reader. request_lock: requests; held for moments. The list of views changes under
 * both and is read under either. Order: device_lock, map_lock, request_lock.
 *
 * The end. Whatever ends the connection shuts the channel down. The mapper then sets `lost` and
 * refuses what waits, and what is touched from then on; what is mapped stays.
 *
 * fork(). Views, blank and bell are not inherited, nor what lies over them. A child has no threads
 * and takes no locks: it closes its fds and frees.
 */
#ifndef CLIENT_FAULT_H
#define CLIENT_FAULT_H

#include "base/range.h"
#include "client/client.h"
#include "wire/vfio_user.h"

#include <sys/queue.h>

#define FAULT_DEFAULT_MAX_MAPS 16384

struct fault_view {
    struct fault_view *next;
    uint64_t serial; /* no other view of the client ever has it */
    unsigned region;
    struct range range; /* of the region */
    uint8_t *addr;
    size_t len;
    bool poisoned; /* some page, once, by UFFDIO_POISON */
    int uffd;      /* the short way's own, which the server reads; −1: another view */
};

enum fault_kind {
    FAULT_WRITABLE,
    FAULT_READONLY, /* write-protected: a write is reported */
    FAULT_SEALED,   /* of an object that can't be written: a write raises SIGSEGV */
    FAULT_REFUSED,  /* SIGBUS */
};

struct fault_map {
    TAILQ_ENTRY(fault_map) by_age;
    struct range range; /* of addresses */
    const struct fault_view *view;
    enum fault_kind kind;
    uint32_t object; /* but FAULT_REFUSED */
    uint64_t offset; /* of range.first in its file */
};

struct fault_object {
    uint32_t id;
    int fd;
    uint64_t size;
    bool writable;
};

/* Who waits for an answer, on its own stack; under request_lock. */
struct fault_wait {
    pthread_cond_t answered;
    bool done;
    int result;
};

struct fault_request {
    bool open;
    bool answered; /* and being dealt with: of no use to a touch that comes now */
    uint32_t tag;
    struct fault_view *view; /* NULL: unmapped meanwhile */
    unsigned region;
    uint64_t page; /* of the region */
    unsigned access;
    struct fault_wait *wait; /* NULL: a touch, or given up */
    uint64_t deadline;       /* 0: never */
};

struct client_fault {
    struct umdev_client *client;
    int channel, uffd;
    bool can_poison;
    int nowhere; /* an empty file, whose pages raise SIGBUS */
    size_t max_maps;
    int timeout_ms; /* of a request; 0: none */

    pthread_t reader, mapper;
    bool reader_runs, mapper_runs;
    pid_t pid;           /* of the process that has them */
    uint8_t *bell;       /* a page registered like the views: its touch ends the reader */
    atomic_bool closing; /* the program's wish, not the server's */

    pthread_mutex_t map_lock;
    uint8_t *blank;
    size_t blank_len;
    void *maps;                   /* tsearch(3) */
    TAILQ_HEAD(, fault_map) ages; /* the oldest first */
    struct fault_object *objects; /* by id */
    size_t nobjects;

    pthread_mutex_t request_lock;
    struct fault_view *views;
    uint64_t next_serial;
    struct fault_request requests[WIRE_FAULTS_MAX];
    uint32_t next_tag;
    bool overflow; /* touches were left alone for want of a free request */
    unsigned waiting_for_room;
    pthread_cond_t room;
    bool lost; /* the mapper answers requests itself */
    bool stop; /* and now it ends */

    int work;  /* an eventfd: there is some, for a mapper that is lost */
    int epoll; /* of it (data 0) and the short views (their serials) */

    struct umdev_client_fault_stats stats; /* faults: under request_lock; others: map_lock */
};

/* ------------------------------------------------------------------ for the rest of the client */

/* Whether this process could fault-map at all. 0, or why not, as uffd_open(). */
int client_fault_probe(void);
/* Map a range of a fault-mapped region, which was checked. 0 or −errno. */
int client_fault_map_view(struct umdev_client *client, unsigned region, struct range range,
                          struct fault_view **view);
void client_fault_unmap_view(struct umdev_client *client, struct fault_view *view);
/* The connection is over. Any thread, under client->lock. */
void client_fault_shutdown(struct umdev_client *client);
/* The threads were left behind by a fork(): this is the child. */
bool client_fault_forked(const struct umdev_client *client);
/* The program closes the client: first the channel's end, without complaint, then, when no view is
 * left, that of all else. */
void client_fault_close(struct umdev_client *client);
void client_fault_fini(struct umdev_client *client);

/* ------------------------------------------------------------------ maps; with map_lock */

/* The view at an address, or NULL; with either lock. */
struct fault_view *fault_view_at(const struct client_fault *fault, uintptr_t address);
/* A part of the view's region as addresses. */
static inline struct range fault_addresses(const struct fault_view *view, struct range range)
{
    uint64_t addr = (uintptr_t)view->addr;

    return (struct range){addr + (range.first - view->range.first),
                          addr + (range.last - view->range.first)};
}

/* Let those who wait for a part of the view try again. Needs no lock. */
void fault_view_wake(const struct client_fault *fault, const struct fault_view *view,
                     struct range range);
/*
 * Lay pages of an object over a part of the view, and wake who waits for them. −errno: mmap(2)'s,
 * and what was there is gone; −ENOTRECOVERABLE: something can be reached that should not, and the
 * connection must end.
 */
int fault_map_object(struct client_fault *fault, struct fault_view *view, struct range range,
                     const struct fault_object *object, uint64_t offset, enum fault_kind kind);
/* Make a page raise SIGBUS, and wake who waits for it. */
int fault_map_refuse(struct client_fault *fault, struct fault_view *view, uint64_t page);
/* Make a part of the view blank. −errno: what was there can still be reached. */
int fault_map_blank(struct client_fault *fault, struct fault_view *view, struct range range);
/* Forget the maps of a view that is gone. */
void fault_map_forget(struct client_fault *fault, struct fault_view *view);
/* Whether the page can be accessed so without asking; *last is then the last byte of its map. */
bool fault_map_has(const struct client_fault *fault, const struct fault_view *view, uint64_t page,
                   unsigned access, uint64_t *last);

/* ------------------------------------------------------------------ the short way; no lock */

/* Make a view that is zero but for region, range, len and uffd. −errno: it is as it was, and is to
 * be mapped otherwise. With device_lock. */
int fault_identity_map(struct client_fault *fault, struct fault_view *view);
/* Of one that is not in the list any more. With device_lock. */
void fault_identity_unmap(struct client_fault *fault, struct fault_view *view);
/* Make a part of the view blank. With map_lock. */
int fault_identity_blank(const struct fault_view *view, struct range range);
/* Touch a page of a view. Waits for the server. −errno: refused. */
int fault_identity_populate(uint8_t *page, unsigned access);
/* Whoever waits touches again: the server is gone. */
void fault_identity_touch_again(struct client_fault *fault);
/* Wait for touches, which are refused, or `work`. */
void fault_identity_wait(struct client_fault *fault);

/* The list of views; takes both locks. */
void fault_view_add(struct client_fault *fault, struct fault_view *view);
void fault_view_remove(struct client_fault *fault, struct fault_view *view);

/* ------------------------------------------------------------------ requests; with request_lock */

/* A request for that page that will do for the access, too; or NULL. */
struct fault_request *fault_request_find(struct client_fault *fault, const struct fault_view *view,
                                         uint64_t page, unsigned access);
/* A new one, or NULL: there are as many as there may be. */
struct fault_request *fault_request_new(struct client_fault *fault, struct fault_view *view,
                                        uint64_t page, unsigned access);
/* NULL: there is none. */
struct fault_request *fault_request_by_tag(struct client_fault *fault, uint32_t tag);
/*
 * With map_lock instead: a copy of the request, whose answer is there. False: there is none. Who is
 * woken from now on and touches again is not taken to wait for it.
 */
bool fault_request_take(struct client_fault *fault, uint32_t tag, struct fault_request *copy);
/* And then: refuse the page if `result` says so, and tell who waits. −errno: that failed. */
int fault_request_finish(struct client_fault *fault, const struct fault_request *request,
                         int result);
/* The next deadline, 0: none. */
uint64_t fault_request_deadline(const struct client_fault *fault);

/* ------------------------------------------------------------------ the channel */

/* Neither blocks; a server that has not read so much has failed, and is shut out. */
void fault_channel_ask(struct client_fault *fault, const struct fault_request *request);
void fault_channel_ack(struct client_fault *fault, uint32_t tag);
/* Receive and obey until the channel ends. Why it did: 0 (the server closed it) or −errno. */
int fault_channel_run(struct client_fault *fault);
void fault_objects_free(struct client_fault *fault);

/* ------------------------------------------------------------------ the threads */

int fault_threads_start(struct client_fault *fault);
/* The channel is shut down and the views are gone. */
void fault_threads_stop(struct client_fault *fault);
/* Wake a mapper that is lost. */
void fault_mapper_wake(const struct client_fault *fault);

#endif
