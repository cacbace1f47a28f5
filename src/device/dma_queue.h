/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Client memory without a file: what the driver wants moved, and the messages that move it.
 *
 * Data model. An *operation* is one driver call: a range and a buffer. It lies on its caller's
 * stack (who waits) or in the heap (who is called back). The queue holds those of which some bytes
 * are not asked for yet. Whoever speaks for the client takes one *chunk* after the other, of one
 * operation after the other so that a long one delays nobody, and comes back with the answers. A
 * chunk lies in one of DEVICE_DMA_SLOTS slots from then till its answer. Pieces of a range that do
 * have a file are copied on the way.
 *
 * An operation ends when all its bytes are answered, or with its first error when the chunks that
 * are under way are. One that is given up (its caller stops waiting, the client is gone) leaves its
 * slots behind with no operation: a late answer then finds nobody, and touches no buffer.
 *
 * Locks. Everything is under the queue's lock, but for `done` callbacks, which come with call_lock
 * alone from the session's thread. Under it only the iommu's lock is taken. It is never held while
 * anything waits.
 */
#ifndef DEVICE_DMA_QUEUE_H
#define DEVICE_DMA_QUEUE_H

#include "device/device.h"

#include <pthread.h>

/* Half of all QEMU is known to take in one go, and enough to keep a pipe full. */
#define DEVICE_DMA_CHUNK ((size_t)64 << 10)
/* What may be under way at once: more could fill the socket both ways. */
#define DEVICE_DMA_BYTES ((size_t)128 << 10)

struct dma_op {
    struct dma_op *next; /* in the queue, or in `finished` */
    bool write;          /* to client memory */
    bool done;
    int result;
    /* What is not asked for yet. */
    uint64_t iova;
    uint8_t *buf;
    size_t left;
    unsigned in_flight;   /* chunks without an answer */
    uint64_t deadline_ns; /* of the next answer, for who waits */
    /* NULL: a thread waits. */
    void (*call)(struct umdev_device *dev, int result, void *opaque);
    void *opaque;
};

struct dma_chunk {
    bool used;
    struct dma_op *op; /* NULL: given up */
    bool write;
    uint64_t iova;
    uint8_t *buf;
    size_t size;
    uint64_t deadline_ns;
};

struct dma_queue {
    pthread_mutex_t lock;
    pthread_cond_t ended; /* an operation that a thread waits for */
    struct dma_op *first;
    struct dma_op *finished; /* to be called back */
    struct dma_chunk chunks[DEVICE_DMA_SLOTS];
    unsigned in_flight;
    size_t bytes_in_flight;
    bool open;          /* a client is there that answers */
    unsigned suspended; /* nobody may wait: the session's thread waits itself, for the driver */
    int answer_timeout_ms, wait_timeout_ms;
};

void dma_queue_init(struct dma_queue *queue);
void dma_queue_fini(struct dma_queue *queue);
/* A client that can answer has come. */
void dma_queue_open(struct dma_queue *queue);

/*
 * Move [iova, iova + len), which is not empty, and wait. EDEADLK: called by a thread that answers
 * come through. Others as umdev_dma_read().
 */
int device_dma_wait(struct umdev_device *dev, bool write, umdev_iova_t iova, void *buf, size_t len);
/* The same without waiting: 0, and `call` will be called; −errno, and it won't. */
int device_dma_post(struct umdev_device *dev, bool write, umdev_iova_t iova, void *buf, size_t len,
                    void (*call)(struct umdev_device *dev, int result, void *opaque), void *opaque);

/* Whether the client's answers, or this device's callbacks, come by way of the calling thread. */
bool device_dma_would_deadlock(struct umdev_device *dev);

/*
 * From suspend to resume no thread waits for the client (ECANCELED): the session's thread is about
 * to wait for the driver, whose engines must not wait for it. They nest.
 */
void device_dma_suspend(struct umdev_device *dev);
void device_dma_resume(struct umdev_device *dev);

#endif
