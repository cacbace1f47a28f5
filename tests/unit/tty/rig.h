/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver as it ships: a host with a tty parent, one card of it, its client (the guest) on a
 * socketpair, and its ptys (the host), found by their links. A check that fails ends the test.
 */
#ifndef TESTS_TTY_RIG_H
#define TESTS_TTY_RIG_H

#include <stddef.h>
#include <umdev/client.h>
#include <umdev/host.h>

#define RIG_PORTS 2u

struct rig {
    char folder[32];
    char prefix[64]; /* of the links */
    struct umdev_host *host;
    char uuid[UMDEV_UUID_STR_SIZE];
    unsigned nports, bar;
    struct umdev_client *client;
    int pty[RIG_PORTS]; /* the slaves, non-blocking; −1: not opened */
};

/* A host and a folder. */
void rig_init(struct rig *rig);
/* A card of "tty-1" or "tty-2", its client and its ptys. */
void rig_start(struct rig *rig, const char *type);
/* All of it is gone, its links, too. */
void rig_free(struct rig *rig);
/* The client comes and goes. */
void rig_connect(struct rig *rig);
void rig_disconnect(struct rig *rig);

uint8_t rig_get(const struct rig *rig, unsigned port, unsigned reg);
void rig_put(const struct rig *rig, unsigned port, unsigned reg, uint8_t value);
/* Read until the register has `value` in the bits of `mask`; the test ends after ten seconds. */
void rig_await(const struct rig *rig, unsigned port, unsigned reg, uint8_t mask, uint8_t value);
/* 115200 8N1, FIFOs on with trigger level 14, RTS and DTR on, interrupts as in `ier`. */
void rig_setup_port(const struct rig *rig, unsigned port, uint8_t ier);

/* The eventfd of an interrupt, non-blocking. */
int rig_irq(const struct rig *rig, unsigned index);
/* Wait for it; the test ends after ten seconds. */
void rig_wait(int irq);
bool rig_signalled(int irq);
void rig_unmask_intx(const struct rig *rig);

/* How many entries /proc/self/fd or /proc/self/task has. */
unsigned rig_count(const char *what);

/* The host's end of a port: all of it, before ten seconds are over. */
void rig_host_write(const struct rig *rig, unsigned port, const void *bytes, size_t len);
void rig_host_read(const struct rig *rig, unsigned port, void *bytes, size_t len);

#endif
