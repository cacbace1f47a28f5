/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's view of its client's memory: DMA mappings and translation.
 *
 * Data model. A mapping is an IOVA range with a protection and, where the client gave a file, that
 * part of the file in this process: files are mapped once (iommu/view.h), however many mappings
 * they have. Mappings of one iommu never overlap. They lie in a table (iommu/table.h) that readers
 * see without locks (iommu/readers.h): a copy or a window is never held up by map and unmap, nor by
 * each other. Map, unmap and protect change it one at a time. No lock is held while a driver is
 * called or while anything waits for windows.
 *
 * A mapping is alive while it is in the table, or a copy or a window holds it. Unmap removes
 * mappings from the table first, then waits for those: afterwards nothing here reaches that memory.
 */
#ifndef IOMMU_IOMMU_H
#define IOMMU_IOMMU_H

#include "base/log.h"
#include "base/range.h"
#include "iommu/pin_state.h"

#include <umdev/types.h>

struct iommu;
struct dirty_log;
struct track;
struct track_hub;

/* Entry limit as the kernel's dma_entry_limit. */
#define IOMMU_MAX_MAPPINGS 65535u
/* A sparse file costs its owner nothing; mapped, it would take the address space of all devices. */
#define IOMMU_MAX_FILE_BYTES (UINT64_C(8) << 40)

struct iommu_stats {
    uint64_t maps, mapped_bytes;        /* now */
    uint64_t pinned_bytes;              /* now, a page counted once */
    uint64_t bytes_read, bytes_written; /* by the device, ever; windows count by their protection */
};

/* `log` and `name` (for log lines) must outlive it. Installs the SIGBUS guard. −ENOMEM. */
int iommu_new(const struct log *log, const char *name, struct iommu **iommu);
/* All mappings must be gone from the driver's hands; windows still held keep theirs alive. */
void iommu_free(struct iommu *iommu);

/*
 * Map [iova, iova + size) with `prot`. fd −1: memory without a file. The fd stays the caller's.
 * EINVAL: size 0, not 4096-aligned (iova, size, offset), wraps, prot not R, W or RW, file too short
 * for [offset, offset + size), not a file of memory (tmpfs, hugetlbfs, or a regular file of a local
 * file system; FUSE, network and overlay file systems are refused: a page fault there can hang),
 * opened without the access that prot needs: reading for R, reading and writing else. EEXIST:
 * overlap. ENOSPC: IOMMU_MAX_MAPPINGS. ENOMEM; also the system's limit of mappings a process, and
 * IOMMU_MAX_FILE_BYTES, of what files take of this process's address space. What was wrong with
 * which value goes to the log.
 */
int iommu_map(struct iommu *iommu, umdev_iova_t iova, uint64_t size, int fd, uint64_t offset,
              unsigned prot);

/* The same, of memory that the client has at `hva`: whole pages, all below 2^63. EINVAL also: an
 * HVA where other memory is. */
int iommu_map_at(struct iommu *iommu, umdev_iova_t iova, uint64_t size, int fd, uint64_t offset,
                 unsigned prot, uint64_t hva);

/*
 * The first half of an unmap of [iova, iova + size): from its return on no page in the range can be
 * pinned anew. EINVAL for size 0, misalignment, wrap, or a mapping that is only partly inside;
 * nothing has changed then. 0 also when nothing is mapped there. What follows is iommu_unmap().
 */
int iommu_unmap_begin(struct iommu *iommu, umdev_iova_t iova, uint64_t size);
/* The same for every mapping, before iommu_unmap_all(). */
void iommu_unmap_begin_all(struct iommu *iommu);
/*
 * Type1 v2's unmap: all mappings inside the range; none is a success. *unmapped: the bytes. Waits
 * for windows, at most `timeout_ms`: −ETIMEDOUT then, the mappings are gone from the table and
 * the stragglers keep theirs. The caller has told the driver before.
 */
int iommu_unmap(struct iommu *iommu, umdev_iova_t iova, uint64_t size, int timeout_ms,
                uint64_t *unmapped);
/* The same for every mapping: the client is gone. */
int iommu_unmap_all(struct iommu *iommu, int timeout_ms);
/*
 * Give all mappings inside [iova, iova + size) the protection, in one step: a reader finds the old
 * or the new one, on all of them. Returns when copies that began with more than the new one are
 * over; windows keep what they were given. EINVAL as iommu_unmap_begin(), and for a bad `prot`.
 * ENOENT: no mapping there. EPERM: writing was asked for, and a mapping's file was given without
 * (opened for reading, or sealed). ENOMEM. After an error nothing has changed.
 */
int iommu_protect(struct iommu *iommu, umdev_iova_t iova, uint64_t size, unsigned prot);
/*
 * The first half of that, for a protection that narrows: the same errors but ENOMEM, and from its
 * return on no page in the range can be pinned anew for more than `prot`. What follows is
 * iommu_protect().
 */
int iommu_protect_begin(struct iommu *iommu, umdev_iova_t iova, uint64_t size, unsigned prot);
/* Calls `each` for every mapping in order of IOVA, in no lock (a snapshot of the ranges). −ENOMEM.
 */
int iommu_for_each(struct iommu *iommu, void (*each)(void *opaque, struct range range),
                   void *opaque);

/*
 * Copies; errnos as umdev_dma_read(), less ENODEV; ENOMEM: no memory for one more reader. Once the
 * client has taken memory away, EIO for all of its memory. len 0 is a success. Aligned accesses of
 * 1, 2, 4 and 8 bytes are atomic.
 */
int iommu_read(struct iommu *iommu, umdev_iova_t iova, void *buf, size_t len);
int iommu_write(struct iommu *iommu, umdev_iova_t iova, const void *buf, size_t len);
int iommu_copy(struct iommu *iommu, umdev_iova_t dst, umdev_iova_t src, size_t len);

/*
 * Memory without a file, which others reach. iommu_check(): 0 if the whole range is mapped with
 * `prot`; *remote: some of it has no file. Else EFAULT, EPERM, EOVERFLOW. iommu_piece(): the same
 * for the part that begins at `iova` and lies in one mapping, *piece bytes of it.
 */
int iommu_check(struct iommu *iommu, umdev_iova_t iova, size_t len, unsigned prot, bool *remote);
int iommu_piece(struct iommu *iommu, umdev_iova_t iova, size_t len, unsigned prot, size_t *piece,
                bool *remote);
/* Count what others moved. */
void iommu_count_remote(struct iommu *iommu, uint64_t read, uint64_t written);
/*
 * Call `waiting` whenever an unmap has to wait for windows, in its thread, with no lock held. Set
 * once, before the first mapping.
 */
void iommu_on_wait(struct iommu *iommu, void (*waiting)(void *opaque), void *opaque);

/*
 * As umdev_dma_acquire(): the longest contiguous piece, which ends with the mapping. *ptr, *got,
 * *hold. EINVAL also for a `prot` that is not R, W or RW.
 */
int iommu_acquire(struct iommu *iommu, umdev_iova_t iova, size_t len, unsigned prot, void **ptr,
                  size_t *got, void **hold);
/* Any thread, also after iommu_free(). NULL does nothing. */
void iommu_release(struct iommu *iommu, void *hold);

/*
 * Pins (iommu/pin.h): as umdev_dma_pin() and umdev_dma_unpin(), less what is the device's. `bus`
 * may be NULL. iommu_unpin() returns how many of the pages were not pinned.
 */
int iommu_pin(struct iommu *iommu, umdev_iova_t iova, size_t count, unsigned prot,
              umdev_bus_t *bus);
size_t iommu_unpin(struct iommu *iommu, umdev_iova_t iova, size_t count);
/* How it pins; once, before the first mapping. Until then: identity, without operations. */
void iommu_set_pinning(struct iommu *iommu, const struct iommu_pinning *pinning);
/*
 * How many pins were torn since it was last asked: held by the driver in what was unmapped, or
 * protected against them.
 */
uint64_t iommu_take_torn(struct iommu *iommu);
/* The driver has ended with this client: memory that torn pins kept is given up. */
void iommu_pins_end(struct iommu *iommu);

/*
 * What the device writes is logged here, while the log is on: copies, windows for writing, when
 * they are taken and again when they are given back, and pins for writing, in each report for as
 * long as they are held. Others who move bytes mark them themselves. The owner stops the log when
 * the client has left.
 */
struct dirty_log *iommu_dirty_log(struct iommu *iommu);

/*
 * Write tracking (track/track.h). What devices write is noted with the hub, of which there is one
 * in a daemon. iommu_set_track(): once, before the first mapping. iommu_track_begin(): the tracker
 * knows all mappings from its return on, until track_end(); −ENOMEM. iommu_track_end(): they are
 * all gone.
 */
void iommu_set_track(struct iommu *iommu, struct track_hub *hub, struct track *track);
int iommu_track_begin(struct iommu *iommu);
void iommu_track_end(struct iommu *iommu);
/* 4096 bytes, whatever their protection. EFAULT; EOPNOTSUPP: they have no file. ENOMEM. */
int iommu_peek_page(struct iommu *iommu, uint64_t iova, void *page);

/* Whether a client file was found truncated since the last unmap_all, by a copy or in a window. */
bool iommu_lost(const struct iommu *iommu);

void iommu_get_stats(struct iommu *iommu, struct iommu_stats *stats);

#endif
