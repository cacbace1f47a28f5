/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Client memory, for a driver: copies, windows, pins and their bus addresses. A part of
 * umdev/driver.h, which includes it and has the rules on threads and callbacks.
 */
#ifndef UMDEV_DMA_H
#define UMDEV_DMA_H

#include <umdev/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct umdev_parent;
struct umdev_device;

/* ------------------------------------------------------------------ client memory */

/*
 * Copy between client memory and this process; ranges may cross the borders of mappings. All or
 * nothing as far as mappings and protections go: they are checked before the first byte moves.
 * EFAULT: a part is not mapped. EPERM: not readable or not writable. EOVERFLOW: the range wraps.
 * EIO: the client took the memory away (its session ends), or the device is in its error state.
 * ENODEV: no client, or bus mastering is off. Of a length of 0 only these two are asked.
 * ENOMEM: no memory; only where very many windows are held, or for a copy by way of a buffer.
 *
 * Where the client gave a file for all of it, these block for the time of the copy only. A range
 * with a part that has none is reached by asking the client, message by message. There they may
 * block, which an engine thread of the driver can afford and a callback can't:
 * EDEADLK: called inside a callback; nothing was moved. Use the _async functions there.
 * ETIMEDOUT: the client did not answer for five seconds and is cut off; or for ten seconds the
 * session's thread did not come to it, kept by a callback that does not return.
 * ECANCELED: the driver's reset() is called, or an unmap waits for a window: the waiting thread may
 * be what they wait for. Let go of windows and locks; then try again, or stop.
 * Others: the client's own answer. After an error a part may have been moved. A window or a lock
 * that a callback of the device takes is better not held across such a call.
 */
UMDEV_API int umdev_dma_read(struct umdev_device *dev, umdev_iova_t iova, void *buf, size_t len);
UMDEV_API int umdev_dma_write(struct umdev_device *dev, umdev_iova_t iova, const void *buf,
                              size_t len);
/*
 * From client memory to client memory; overlapping ranges are copied as by memmove, also where they
 * overlap because two IOVAs lead to the same page of a file.
 */
UMDEV_API int umdev_dma_copy(struct umdev_device *dev, umdev_iova_t dst, umdev_iova_t src,
                             size_t len);

/*
 * The same without waiting: allowed everywhere, in callbacks too, and never blocks for the client.
 * 0: `done` is called exactly once, with 0 or −errno as above, and `buf` must stay until then.
 * −errno: it is not called. ENOMEM, and the errors that are known at once.
 *
 * Memory with a file all the way is copied at once: done() is called before the function returns,
 * in the calling thread and with no lock of umdev's own. Otherwise done() is a callback like any
 * other, serialised with them where the driver asks for that, from the thread of the client's
 * session; when the client goes, before dma_unmap() and close(). A reset does not take back what
 * was begun: done() may come after it. Of several operations any may end first.
 */
typedef void umdev_dma_done_fn(struct umdev_device *dev, int result, void *opaque);
UMDEV_API int umdev_dma_read_async(struct umdev_device *dev, umdev_iova_t iova, void *buf,
                                   size_t len, umdev_dma_done_fn *done, void *opaque);
UMDEV_API int umdev_dma_write_async(struct umdev_device *dev, umdev_iova_t iova, const void *buf,
                                    size_t len, umdev_dma_done_fn *done, void *opaque);

/*
 * A window: client memory in this process's address space, for engines that work in place.
 * Gives the longest piece of [iova, iova + len) that is contiguous here: window->len is 1 to len,
 * ask again for the rest. While it is held the client's unmap of that memory waits, so hold it for
 * one command, not for ever: after ten seconds the unmap gives up, the client is cut off and the
 * window keeps the memory until it is released. The client can change the bytes at any moment;
 * memory it takes away reads as zeros. Errors as umdev_dma_read, less those of messages; EINVAL for
 * len 0 and a bad `prot`; EOPNOTSUPP: memory without a file, which nobody can map.
 * Each window is released exactly once, from any thread. Where the client has the device's writes
 * logged, one for writing counts as written, when it is acquired and when it is released.
 */
struct umdev_dma_window {
    void *ptr;
    size_t len;
    void *hold; /* umdev's */
};
UMDEV_API int umdev_dma_acquire(struct umdev_device *dev, umdev_iova_t iova, size_t len,
                                unsigned prot, struct umdev_dma_window *window);
UMDEV_API void umdev_dma_release(struct umdev_device *dev, struct umdev_dma_window *window);

/*
 * Pins: pages of client memory that an engine reaches by bus addresses, for longer than a command.
 *
 * umdev_dma_pin() pins the `count` pages that begin with the one that has `iova` in it, all or
 * none, and writes the bus address of each to `bus` (NULL: not asked for; the offset in the page is
 * the caller's to add). In a mapping the addresses of pages follow each other, but for
 * UMDEV_BUS_PAGED. `prot`: what the engine will do; pages pinned for writing count as written, for
 * a client that logs that, at the pin, at the unpin and in each report between. A page may be
 * pinned many times and is unpinned as often; it counts once for the type's pin_limit.
 *
 * Pins end with umdev_dma_unpin(), which must come for all in a range before dma_unmap() of it
 * returns, and so before close(). It never fails; pages that are not pinned are left alone, and
 * logged as the driver's mistake. Neither blocks but for the flush of the parent's domain, which
 * the driver gives itself. A driver without dma_unmap can't pin.
 *
 * E2BIG: more than UMDEV_PIN_MAX pages. EINVAL: count 0, a bad `prot`, a range that wraps, a page
 * that is not mapped or is being unmapped, no dma_unmap(). EPERM: the mapping's protection does not
 * allow it. EOPNOTSUPP: memory without a file. ENOMEM: the limit, or memory. ENOSPC: no bus
 * addresses are left. EOVERFLOW: a page is pinned too often. ENODEV: no client, or bus mastering
 * is off. EIO: the device is in its error state, or the client took memory away. Others: the
 * domain's map().
 *
 * dma_unmap() may come at any moment between two pins: a driver that keeps a list of its pins holds
 * a lock around umdev_dma_pin() and the entry in the list, and takes it in dma_unmap(), too.
 */
#define UMDEV_PIN_MAX 512
UMDEV_API int umdev_dma_pin(struct umdev_device *dev, umdev_iova_t iova, size_t count,
                            unsigned prot, umdev_bus_t *bus);
UMDEV_API void umdev_dma_unpin(struct umdev_device *dev, umdev_iova_t iova, size_t count);

/*
 * The error state. The device has failed in a way that only a reset mends, one that does not fail:
 * client memory is out of its reach (EIO), and the client is told by the interrupt UMDEV_IRQ_ERR.
 * umdev brings it about where a driver leaves pins behind; a driver may, too. `reason` is for the
 * log. Any thread, not inside map and unmap of a domain; never blocks. In the error state already:
 * nothing happens.
 */
UMDEV_API void umdev_device_fail(struct umdev_device *dev, const char *reason);

/* ------------------------------------------------------------------ bus addresses */

/*
 * How a parent addresses client memory: what stands behind the bus addresses that umdev_dma_pin()
 * gives. All devices of a parent share its bus address space, so that an address means one page
 * of one device at most.
 */
enum umdev_bus_mode {
    UMDEV_BUS_IDENTITY = 0, /* no IOMMU: the page's address in this process */
    UMDEV_BUS_CONTIGUOUS,   /* one range for each mapping, reserved when the client maps it */
    UMDEV_BUS_PAGED,        /* a page of its own for each pinned page */
};

struct umdev_domain {
    size_t struct_size;
    enum umdev_bus_mode mode;
    /*
     * The aperture, bytes of whole pages; both 0: all from 4096 to 2^48 - 1. PAGED uses 16 TiB of
     * it at most. Windows inside that no device may get (an interrupt window) are listed in
     * `reserved`; they may overlap. `align`: of each mapping's range, a power of two; 0: 4096.
     * Nothing of these is for IDENTITY.
     */
    uint64_t first, last;
    const struct umdev_area *reserved;
    size_t nreserved;
    uint64_t align;

    /*
     * The parent's IOMMU, in which each device has a space of its own. Needed, but for IDENTITY,
     * which has none, and where one address can be that of several IOVAs.
     *
     * map: from now on the device reaches `size` bytes at `memory`, in this process, by `bus`.
     * Whole pages; nothing was there, or the same pages with another protection, which this one
     * replaces in one step. They stay in place until they are unmapped; the client may change and
     * even lose them (then they are zeros). −errno: not done, and the pin, or the client's mapping,
     * fails with it; where the client changes a protection, the mapping is unmapped and the device
     * in its error state. unmap: new accesses find nothing there. flush: returns when no access
     * that had found something there, or more rights, is under way. Comes once after one or more
     * unmaps, or maps that took rights away. NULL: they do that already.
     *
     * Never called for one device at the same time but for flush, which holds no lock of umdev's:
     * it may wait for an engine that pins and unpins. It comes also in the thread that calls
     * umdev_dma_unpin(), which it must not wait for. map and unmap come under a lock: they must be
     * quick, and call nothing of umdev but umdev_device_priv(), _parent() and _log().
     */
    int (*map)(struct umdev_device *dev, umdev_bus_t bus, void *memory, uint64_t size,
               unsigned prot);
    void (*unmap)(struct umdev_device *dev, umdev_bus_t bus, uint64_t size);
    void (*flush)(struct umdev_device *dev);
};

/*
 * In parent_open() only (EBUSY later, and for a second time): how the parent addresses client
 * memory. The struct is copied. Without it: IDENTITY, without callbacks. EINVAL: struct_size is
 * missing, a mode that is none, an aperture that is not whole pages or has no page outside the
 * reserved windows, a window that is empty or wraps, an `align` that is no power of two from 4096
 * up; no map or no unmap where they are needed, or any where they are not. ENOMEM.
 */
UMDEV_API int umdev_parent_set_domain(struct umdev_parent *parent,
                                      const struct umdev_domain *domain);

#ifdef __cplusplus
}
#endif

#endif
