/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page tables of a vgpu in a guest's memory, under a virtual IOMMU: what a driver does that maps
 * and unmaps memory all the time. Each page, of tables and of data, is mapped at an IOVA of its
 * own, which changes, as the tables do.
 *
 * A round is some changes, a doorbell, work by virtual addresses, and a look at every word of every
 * page: what was written are the pages that the tables named, and no others.
 */
#ifndef TABLES_H
#define TABLES_H

#include "workload.h"

struct tables;

/* Page tables with changes by this seed. NULL, and a message on stderr. */
struct tables *tables_new(struct workload *work, uint64_t seed);
/* 0, or −1 and a message on stderr. */
int tables_round(struct tables *tables, uint32_t number);
/* How often a page got another IOVA: at rest, and while the device worked. */
void tables_count_moves(const struct tables *tables, unsigned *at_rest, unsigned *at_work);

#endif
