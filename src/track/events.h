/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes that wait: the thread that hears a synchronous userfaultfd.
 *
 * An event is a thread of the client that wants to write to a protected page. The trackers of the
 * page that want to know are called, one after the other and in no lock; then the page becomes
 * pending for all, and its protection ends, in one step as seen by a collect. So a write that is
 * done was told, and is in the next report.
 */
#ifndef TRACK_EVENTS_H
#define TRACK_EVENTS_H

struct track_space;
struct track_events;

/* Hear the space. EOPNOTSUPP: this kernel can't be asked for events without waiting. ENOMEM, … */
int track_events_start(struct track_space *space, struct track_events **events);
/* NULL does nothing. */
void track_events_stop(struct track_events *events);

#endif
