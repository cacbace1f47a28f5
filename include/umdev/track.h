/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page write tracking, for a driver: which pages of client memory were written, by whomever. A part
 * of umdev/driver.h, which includes it and has the rules on threads and callbacks.
 */
#ifndef UMDEV_TRACK_H
#define UMDEV_TRACK_H

#include <umdev/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct umdev_device;

/*
 * What for: a device that keeps a translation of something in guest memory (page tables, a command
 * ring's state) has to know when the guest changes it.
 *
 * A page is a page of memory, not an address. It is added by an IOVA; from then on it is the page
 * that is tracked, under all IOVAs that lead to it. The client may move it to another one (a guest
 * with a vIOMMU does), take away its only IOVA and give it back, or change its protection: no write
 * is lost, and none made up. Reports name the IOVAs that a page has when they are made.
 *
 * Writes are those of the client's processors, its guests' and its kernel's included, and those of
 * all devices of the daemon that share the memory: by copies and by windows and pins for writing,
 * which count as written when they begin and when they end, pins in each report between, too.
 * Writes by way of another mapping of the same file, in the client or in any other process, are
 * seen only where the content is compared. A page is 4096 bytes.
 *
 * How writes are found depends on the client (docs/page-tracking.md). Most exactly, with the help
 * of its userfaultfd; else by comparing what is in the page, which is slower, and does not see a
 * write that leaves the page as it was. The answers are the same.
 */
enum umdev_track_mode {
    UMDEV_TRACK_COLLECT = 0, /* umdev_track_collect() tells */
    UMDEV_TRACK_NOTIFY,      /* the driver's page_written() tells as well, and first */
};

/*
 * How the device is told, from now on and for all clients. EBUSY: pages are tracked. EINVAL: no
 * such mode, or NOTIFY without page_written(). Any thread; best in create(), for a client asks
 * before it gives its userfaultfd, which is of the one kind or the other.
 */
UMDEV_API int umdev_track_set_mode(struct umdev_device *dev, enum umdev_track_mode mode);

/*
 * Track the pages of [iova, iova + size). Each is counted: added twice, under whatever IOVAs, it is
 * to be removed twice. All or none. When it returns, every write that is not in memory yet will be
 * reported: so read the page after it, not before.
 *
 * May block: it waits for other umdev_track_*() calls of the device, and asks the kernel for the
 * client's memory, which takes longer while the client maps and unmaps much of its own. Not inside
 * callbacks of a domain, nor with a lock held that page_written() takes.
 *
 * EINVAL: not whole pages, none, or a range that wraps. EFAULT: a part is not mapped. EOPNOTSUPP: a
 * part is memory without a file of which the client did not say where it is; or in NOTIFY mode, a
 * client that can't be waited for. EOVERFLOW: a page was added 65,535 times. ENODEV: no client.
 * ENOMEM.
 */
UMDEV_API int umdev_track_add(struct umdev_device *dev, umdev_iova_t iova, uint64_t size);
/*
 * Take back one umdev_track_add() of each page. A write that was not reported yet is forgotten with
 * a page's last one. Errors as above, and ENOENT: a page is not tracked; nothing is done then.
 * Pages that a client takes away need not be removed (see UMDEV_TRACK_LOST), but may be, in
 * dma_unmap().
 */
UMDEV_API int umdev_track_remove(struct umdev_device *dev, umdev_iova_t iova, uint64_t size);

/*
 * What the driver has read from the tracked page at `iova`, 4096 bytes: from now on the page counts
 * as written when it differs from that. Needed where a page may change between the report and the
 * driver's reading of it, and matters only where it is compared: it may be back by the next report
 * to what it was at the last, and what was read in between would stay unnoticed. Call it after each
 * reading; it costs a hash there, and else next to nothing.
 *
 * May block as umdev_track_add(). Errors as umdev_track_remove().
 */
UMDEV_API int umdev_track_seen(struct umdev_device *dev, umdev_iova_t iova, const void *page);

enum umdev_track_flags {
    UMDEV_TRACK_WRITTEN = 1 << 0,
    /*
     * The page has no IOVA any more, and is not tracked any more, however often it was added. The
     * range is the last that it had, where other memory may be by now. Comes once; instead of a
     * write, not after it.
     */
    UMDEV_TRACK_LOST = 1 << 1,
};

/* Whole pages. */
struct umdev_track_range {
    umdev_iova_t iova;
    uint64_t size;
    uint64_t flags; /* one of enum umdev_track_flags */
};

/*
 * What was written since the last call, or since it was added; from now on it is looked for anew,
 * in one step for each page, so that a write is in this report or in the next. A page with several
 * IOVAs is named under each; in no order, and a page may be named twice. *ranges: an array of
 * umdev's, which stays as it is until the next call. *count: 0 if nothing was written.
 *
 * One thread at a time for a device. May block as umdev_track_add(). ENODEV: no client; all pages
 * have been forgotten. ENOMEM: nothing is lost, call again.
 */
UMDEV_API int umdev_track_collect(struct umdev_device *dev, const struct umdev_track_range **ranges,
                                  size_t *count);

#ifdef __cplusplus
}
#endif

#endif
