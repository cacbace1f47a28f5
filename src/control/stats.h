/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's counters as the JSON of docs/control.md, there and back. */
#ifndef CONTROL_STATS_H
#define CONTROL_STATS_H

#include <jansson.h>
#include <umdev/host.h>

/* New references; NULL: out of memory. A last refusal that never was is null. */
json_t *stats_to_json(const struct umdev_host_stats *stats);
json_t *stats_refusal_to_json(const struct umdev_host_stats *stats);
/* What is missing or of another kind is 0. struct_size is set. */
void stats_from_json(const json_t *numbers, const json_t *refusal, struct umdev_host_stats *stats);

/* The errno of that name ("ENODEV"); EIO for NULL and what is none. */
int stats_errno_number(const char *name);

#endif
