/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/dma_queue.h"

#include "base/clock.h"
#include "device/device_priv.h"
#include "iommu/dirty_log.h"

#define NS_PER_MS UINT64_C(1000000)

/* driver.h promises both: how long the client may take, and how long a thread waits at most where
 * the session's thread is kept from telling. */
#define ANSWER_TIMEOUT_MS 5000
#define WAIT_TIMEOUT_MS   10000

/* Bytes with a file that are copied before the socket is looked at again. */
#define COPY_MAX ((size_t)1 << 20)

static uint64_t after_ms(int ms)
{
    return clock_now_ns() + (uint64_t)ms * NS_PER_MS;
}

void dma_queue_init(struct dma_queue *queue)
{
    memset(queue, 0, sizeof(*queue));
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->ended, NULL);
    queue->answer_timeout_ms = ANSWER_TIMEOUT_MS;
    queue->wait_timeout_ms = WAIT_TIMEOUT_MS;
}

void dma_queue_fini(struct dma_queue *queue)
{
    pthread_cond_destroy(&queue->ended);
    pthread_mutex_destroy(&queue->lock);
}

void dma_queue_open(struct dma_queue *queue)
{
    LOCK_FOR_SCOPE(&queue->lock);
    queue->open = true;
}

/* ------------------------------------------------------------------ operations; with the lock */

static void queue_append(struct dma_queue *queue, struct dma_op *op)
{
    struct dma_op **link = &queue->first;

    while (*link)
        link = &(*link)->next;
    op->next = NULL;
    *link = op;
}

static void queue_remove(struct dma_queue *queue, const struct dma_op *op)
{
    struct dma_op **link = &queue->first;

    while (*link && *link != op)
        link = &(*link)->next;
    if (*link)
        *link = op->next;
}

static void op_end_if_complete(struct dma_queue *queue, struct dma_op *op)
{
    if (op->left > 0 || op->in_flight > 0)
        return;
    op->done = true;
    if (op->call) {
        op->next = queue->finished;
        queue->finished = op;
    } else {
        pthread_cond_broadcast(&queue->ended);
    }
}

/* Nothing more is asked for. The first error counts. */
static void op_fail(struct dma_queue *queue, struct dma_op *op, int error)
{
    if (!op->result)
        op->result = error;
    if (op->left > 0) {
        op->left = 0;
        queue_remove(queue, op);
    }
}

/* End it now: answers that are still to come find nobody. */
static void op_give_up(struct dma_queue *queue, struct dma_op *op, int error)
{
    op_fail(queue, op, error);
    for (unsigned i = 0; i < DEVICE_DMA_SLOTS; i++) {
        if (queue->chunks[i].op == op)
            queue->chunks[i].op = NULL;
    }
    op->in_flight = 0;
    op_end_if_complete(queue, op);
}

/* Give up every operation, or those that a thread waits for. */
static void queue_give_up(struct dma_queue *queue, int error, bool waiting_only)
{
    struct dma_op *next;

    for (struct dma_op *op = queue->first; op; op = next) {
        next = op->next;
        if (!op->call || !waiting_only)
            op_give_up(queue, op, error);
    }
    for (unsigned i = 0; i < DEVICE_DMA_SLOTS; i++) {
        struct dma_op *op = queue->chunks[i].op;

        if (op && (!op->call || !waiting_only))
            op_give_up(queue, op, error);
    }
}

/* Call back those that have ended. In the session's thread, without the lock. */
static void queue_call_finished(struct umdev_device *dev)
{
    struct dma_queue *queue = &dev->dma;

    for (;;) {
        struct dma_op *op;

        pthread_mutex_lock(&queue->lock);
        op = queue->finished;
        if (op)
            queue->finished = op->next;
        pthread_mutex_unlock(&queue->lock);
        if (!op)
            return;
        {
            SERIALISE_FOR_SCOPE(dev);
            op->call(dev, op->result, op->opaque);
        }
        free(op);
    }
}

/* ------------------------------------------------------------------ for the driver */

/* All or nothing, as far as can be told: the whole range is checked before a byte moves. */
static int queue_add(struct umdev_device *dev, struct dma_op *op)
{
    struct dma_queue *queue = &dev->dma;
    bool remote;
    int ret;

    LOCK_FOR_SCOPE(&queue->lock);
    ret = iommu_check(dev->iommu, umdev_iova(op->iova), op->left,
                      op->write ? UMDEV_WRITE : UMDEV_READ, &remote);
    if (ret)
        return ret;
    if (!queue->open)
        return -ENODEV;
    if (queue->suspended && !op->call)
        return -ECANCELED;
    op->deadline_ns = after_ms(queue->wait_timeout_ms);
    queue_append(queue, op);
    return 0;
}

/* There is something to send. */
static void queue_wake(struct umdev_device *dev)
{
    LOCK_FOR_SCOPE(&dev->state_lock);

    if (dev->client && dev->client->dma_wanted)
        dev->client->dma_wanted(dev->client);
}

static int op_wait(struct dma_queue *queue, struct dma_op *op)
{
    LOCK_FOR_SCOPE(&queue->lock);
    while (!op->done) {
        const struct timespec until = clock_timespec(op->deadline_ns);
        int ret = pthread_cond_clockwait(&queue->ended, &queue->lock, CLOCK_MONOTONIC, &until);

        /* An answer may have moved the deadline meanwhile. */
        if (ret == ETIMEDOUT && !op->done && clock_now_ns() >= op->deadline_ns)
            op_give_up(queue, op, -ETIMEDOUT);
    }
    return op->result;
}

bool device_dma_would_deadlock(struct umdev_device *dev)
{
    unsigned long self = (unsigned long)pthread_self();

    return atomic_load(&dev->session_thread) == self ||
           atomic_load(&dev->operator_thread) == self || fault_is_asking(dev);
}

int device_dma_wait(struct umdev_device *dev, bool write, umdev_iova_t iova, void *buf, size_t len)
{
    struct dma_op op = {.write = write, .iova = iova.value, .buf = buf, .left = len};
    int ret;

    if (device_dma_would_deadlock(dev))
        return -EDEADLK;
    ret = queue_add(dev, &op);
    if (ret)
        return ret;
    queue_wake(dev);
    return op_wait(&dev->dma, &op);
}

int device_dma_post(struct umdev_device *dev, bool write, umdev_iova_t iova, void *buf, size_t len,
                    void (*call)(struct umdev_device *dev, int result, void *opaque), void *opaque)
{
    struct dma_op *op = malloc(sizeof(*op));
    int ret;

    if (!op)
        return -ENOMEM;
    *op = (struct dma_op){.write = write,
                          .iova = iova.value,
                          .buf = buf,
                          .left = len,
                          .call = call,
                          .opaque = opaque};
    ret = queue_add(dev, op);
    if (ret) {
        free(op);
        return ret;
    }
    queue_wake(dev);
    return 0;
}

void device_dma_suspend(struct umdev_device *dev)
{
    LOCK_FOR_SCOPE(&dev->dma.lock);
    dev->dma.suspended++;
    queue_give_up(&dev->dma, -ECANCELED, true);
}

void device_dma_resume(struct umdev_device *dev)
{
    LOCK_FOR_SCOPE(&dev->dma.lock);
    dev->dma.suspended--;
}

/* ------------------------------------------------------------------ for the session */

static struct dma_chunk *queue_free_slot(struct dma_queue *queue, size_t size)
{
    if (queue->in_flight && queue->bytes_in_flight + size > DEVICE_DMA_BYTES)
        return NULL;
    for (unsigned i = 0; i < DEVICE_DMA_SLOTS; i++) {
        if (!queue->chunks[i].used)
            return &queue->chunks[i];
    }
    return NULL;
}

static void op_advance(struct dma_queue *queue, struct dma_op *op, size_t size)
{
    queue_remove(queue, op);
    op->iova += size;
    op->buf += size;
    op->left -= size;
    if (op->left > 0)
        queue_append(queue, op);
}

/* One chunk of it into a free slot. False: no slot is free. */
static bool op_ask(struct dma_queue *queue, struct dma_op *op, size_t size, uint8_t *data,
                   struct device_dma_message *message)
{
    struct dma_chunk *chunk = queue_free_slot(queue, size);

    if (!chunk)
        return false;
    *chunk = (struct dma_chunk){.used = true,
                                .op = op,
                                .write = op->write,
                                .iova = op->iova,
                                .buf = op->buf,
                                .size = size,
                                .deadline_ns = after_ms(queue->answer_timeout_ms)};
    *message = (struct device_dma_message){.slot = (unsigned)(chunk - queue->chunks),
                                           .write = op->write,
                                           .address = op->iova,
                                           .count = size};
    if (op->write)
        memcpy(data, op->buf, size);
    queue->in_flight++;
    queue->bytes_in_flight += size;
    op->in_flight++;
    op_advance(queue, op, size);
    return true;
}

/* A piece that has a file. */
static int op_copy(struct umdev_device *dev, struct dma_op *op, size_t size)
{
    int ret = op->write ? iommu_write(dev->iommu, umdev_iova(op->iova), op->buf, size)
                        : iommu_read(dev->iommu, umdev_iova(op->iova), op->buf, size);

    if (!ret) {
        op_advance(&dev->dma, op, size);
        op_end_if_complete(&dev->dma, op);
    }
    return ret;
}

/*
 * The next step of the first operation. Mappings and bus mastering may have changed since it was
 * begun, but not during this: the session's thread is the one that changes them.
 */
static enum device_dma_next queue_step(struct umdev_device *dev, size_t max, uint8_t *data,
                                       struct device_dma_message *message)
{
    struct dma_queue *queue = &dev->dma;
    struct dma_op *op = queue->first;
    bool remote;
    size_t piece;
    int ret = device_dma_check(dev);

    if (!ret)
        ret = iommu_piece(dev->iommu, umdev_iova(op->iova), op->left,
                          op->write ? UMDEV_WRITE : UMDEV_READ, &piece, &remote);
    if (!ret && remote)
        return op_ask(queue, op, MIN(piece, max), data, message) ? DEVICE_DMA_SEND
                                                                 : DEVICE_DMA_NOTHING;
    if (!ret)
        ret = op_copy(dev, op, MIN(piece, COPY_MAX));
    if (ret) {
        op_fail(queue, op, ret);
        op_end_if_complete(queue, op);
    }
    return DEVICE_DMA_AGAIN;
}

enum device_dma_next device_dma_next(struct umdev_device *dev, size_t max, uint8_t *data,
                                     struct device_dma_message *message)
{
    enum device_dma_next next = DEVICE_DMA_NOTHING;

    pthread_mutex_lock(&dev->dma.lock);
    if (dev->dma.first)
        next = queue_step(dev, MIN(max, DEVICE_DMA_CHUNK), data, message);
    pthread_mutex_unlock(&dev->dma.lock);
    if (next == DEVICE_DMA_AGAIN) {
        device_dma_check_lost(dev);
        queue_call_finished(dev);
    }
    return next;
}

void device_dma_answer(struct umdev_device *dev, unsigned slot, int result, const void *data)
{
    struct dma_queue *queue = &dev->dma;
    struct dma_chunk *chunk = &queue->chunks[slot];

    pthread_mutex_lock(&queue->lock);
    /* Whoever asked for it, and whatever the client says: some of it may be written. */
    if (chunk->write)
        dirty_log_mark(iommu_dirty_log(dev->iommu),
                       (struct range){chunk->iova, chunk->iova + (chunk->size - 1)});
    if (chunk->op) {
        struct dma_op *op = chunk->op;

        if (result) {
            op_fail(queue, op, result);
        } else {
            if (!op->write)
                memcpy(chunk->buf, data, chunk->size);
            iommu_count_remote(dev->iommu, op->write ? 0 : chunk->size,
                               op->write ? chunk->size : 0);
        }
        op->in_flight--;
        op->deadline_ns = after_ms(queue->wait_timeout_ms);
        op_end_if_complete(queue, op);
    }
    queue->in_flight--;
    queue->bytes_in_flight -= chunk->size;
    *chunk = (struct dma_chunk){0};
    pthread_mutex_unlock(&queue->lock);
    queue_call_finished(dev);
}

uint64_t device_dma_deadline(struct umdev_device *dev)
{
    struct dma_queue *queue = &dev->dma;
    uint64_t first = 0;

    LOCK_FOR_SCOPE(&queue->lock);
    for (unsigned i = 0; i < DEVICE_DMA_SLOTS; i++) {
        const struct dma_chunk *chunk = &queue->chunks[i];

        if (chunk->used && (!first || chunk->deadline_ns < first))
            first = chunk->deadline_ns;
    }
    return first;
}

void device_dma_abort(struct umdev_device *dev, int error)
{
    struct dma_queue *queue = &dev->dma;

    pthread_mutex_lock(&queue->lock);
    queue->open = false;
    queue_give_up(queue, error, false);
    memset(queue->chunks, 0, sizeof(queue->chunks));
    queue->in_flight = 0;
    queue->bytes_in_flight = 0;
    pthread_mutex_unlock(&queue->lock);
    queue_call_finished(dev);
}
