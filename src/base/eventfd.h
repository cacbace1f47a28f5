/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Eventfds that are shared with another process, which can't be trusted with their file's flags.
 */
#ifndef BASE_EVENTFD_H
#define BASE_EVENTFD_H

#include <stdbool.h>

bool eventfd_is(int fd);
/*
 * Set the counter to 0 without waiting, though the other end may have taken O_NONBLOCK away.
 * −EAGAIN: it was 0. Others as read(2).
 */
int eventfd_drain(int fd);

#endif
