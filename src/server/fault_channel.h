/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fault channel: a socket of its own over which a client asks for pages and gives them back.
 *
 * Data model. One thread serves the channel: it answers the open faults in their order, one at a
 * time. A fault is open from its packet's arrival until its answer was sent. Invalidations come
 * from any thread of the driver, which waits here for the client's acknowledgement; perhaps with a
 * lock held that the channel's thread needs. So reading the socket is a *role* that either takes:
 * who waits for something, and finds nobody reading, reads for all. What comes is put where it
 * belongs, and the others are woken.
 *
 * The socket is the client's as much as ours: it may have any options and flags, so nothing is done
 * on it that could block, and what it delivers is not believed. A client that breaks the protocol,
 * or takes longer than the device's bound, ends the channel; with the channel ends the session, and
 * the other way round.
 *
 * Touches that come the short way (fault_identity.h) are answered by the same thread, between the
 * faults. It maps the pages without the lock, for that can wait for the client's memory. An
 * invalidation that comes meanwhile for the same pages is sent when they are mapped.
 *
 * Locks. `lock` guards everything but what is fixed; it is the innermost, and nothing blocks under
 * it.
 */
#ifndef SERVER_FAULT_CHANNEL_H
#define SERVER_FAULT_CHANNEL_H

#include "device/device.h"

struct fault_channel;
struct identity_window;

/*
 * Serve `fd`, which is the channel's if 0 is returned, for an open device. EINVAL: not one end of a
 * connected AF_UNIX SOCK_SEQPACKET pair. EEXIST: the device's client has a channel. ENOMEM; EMFILE;
 * EAGAIN: no thread.
 */
int fault_channel_new(struct umdev_device *dev, int fd, struct fault_channel **channel);
/* The short way: fault_identity_add(), fault_identity_remove(). */
int fault_channel_add_window(struct fault_channel *channel, const struct identity_window *window);
int fault_channel_remove_window(struct fault_channel *channel, unsigned region, uint64_t offset,
                                uint64_t address);
/* Nobody waits for the client any more. Any thread; does not block. */
void fault_channel_end(struct fault_channel *channel);
/*
 * End it and wait for its thread, and for those that wait in it. The device is still open. 0: the
 * client was there to the end, or has left; −errno: why it had to go.
 */
int fault_channel_stop(struct fault_channel *channel);
/* After fault_channel_stop(). */
void fault_channel_free(struct fault_channel *channel);

#endif
