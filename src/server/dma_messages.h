/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA_READ and DMA_WRITE: the requests that go from the server to the client.
 *
 * Data model. The device has them (device_dma_next()), the session sends them and matches the
 * answers, in its own thread: so they never mix with a reply, and go out between messages only,
 * after what was asked before has been answered. Nothing waits for an answer: it is one more
 * message that comes. Their ids are a space of their own, beside the client's.
 *
 * A session has all this only from the client's first mapping without a file on. Without one it
 * pays nothing for it.
 */
#ifndef SERVER_DMA_MESSAGES_H
#define SERVER_DMA_MESSAGES_H

#include "device/device.h"
#include "wire/stream.h"

#include <stdatomic.h>

struct session;

struct session_dma {
    atomic_int wake; /* an eventfd: there is something to send; −1: no memory without a file yet */
    uint16_t next_id;
    uint64_t excused_ns;  /* till when an overdue answer is waited for; 0: none is overdue */
    unsigned passed_over; /* messages handled since the device was last asked */
    struct {
        bool used;
        uint16_t id;
        struct device_dma_message message;
    } pending[DEVICE_DMA_SLOTS]; /* by slot */
};

void session_dma_init(struct session *session);
void session_dma_fini(struct session *session);
/* The client is about to map memory without a file. −EMFILE, −ENFILE, −ENOMEM. */
int session_dma_prepare(struct session *session);
/* device_client.dma_wanted: any thread. */
void session_dma_wanted(struct session *session);
/*
 * Send what can be sent. *timeout_ms: when to come again at the latest, −1: never. −ETIMEDOUT: the
 * client owes an answer for too long. Others as wire_send().
 */
int session_dma_send(struct session *session, int *timeout_ms);
/* Between two messages that are both there already: now and then the device's turn comes, too. */
int session_dma_take_turn(struct session *session);
/* A message of type reply. 1, or −EPROTO: it answers nothing, or wrongly. */
int session_dma_reply(struct session *session, const struct wire_message *message);

#endif
