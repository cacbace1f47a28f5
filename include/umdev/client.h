/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All a VMM or a test needs: the client's end of vfio-user.
 *
 * One struct umdev_client is one connection to one device. Every function may be called from any
 * thread at the same time, but for umdev_client_close(), which comes last. Calls block until the
 * server answers, at most the connection's timeout. Errors are −errno:
 *   ETIMEDOUT     no answer in time; the connection is over, as a late answer could be mistaken
 *   ENOTCONN      the connection is over (server gone, or an earlier timeout)
 *   EPROTO        the server broke the protocol; the connection is over
 *   EINVAL        an argument is out of range
 *   other         the server's own answer; EIO where it gives none
 */
#ifndef UMDEV_CLIENT_H
#define UMDEV_CLIENT_H

#include <string.h>
#include <umdev/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct umdev_client;
struct umdev_tracker;

struct umdev_connect_options {
    size_t struct_size; /* sizeof(struct umdev_connect_options) */
    int timeout_ms;     /* for the connection and each call; 0: 5000; negative: for ever */

    /*
     * Where the library's few log lines go (no newline at their end); NULL: standard error. Called
     * by threads of the library, too, perhaps two at a time; it must not call the client.
     */
    void (*log)(void *opaque, enum umdev_log_level level, const char *line);
    void *log_opaque;

    /* Fault-mapped regions, see umdev_client_map_region(). */
    bool no_fault;         /* don't offer them to the server */
    int fault_timeout_ms;  /* for the answer to a touch; 0: for ever */
    size_t max_fault_maps; /* separate mappings at a time; 0: 16384 */
    /*
     * The server of a client with such a region is gone, for the reason −errno. Called once, from a
     * thread of the library, and never for umdev_client_close(); it must not call the client.
     */
    void (*lost)(void *opaque, int cause);
    void *lost_opaque;

    /* Write tracking, see umdev_tracker_new(); NULL: none. */
    struct umdev_tracker *tracker;
};

/*
 * Connect to a vfio-user server at a socket path, negotiate, and give a client. `options` may be
 * NULL. ENOENT, ECONNREFUSED, EACCES as connect(2); ENAMETOOLONG: the path does not fit a socket
 * address; EBUSY: the device has a client already; EPROTO: no vfio-user server; ENOTCONN: it hung
 * up.
 */
UMDEV_API int umdev_connect(const char *path, const struct umdev_connect_options *options,
                            struct umdev_client **client);
/* The same on a connected stream socket, which the client then owns; on failure it is closed. */
UMDEV_API int umdev_connect_fd(int fd, const struct umdev_connect_options *options,
                               struct umdev_client **client);
/*
 * Disconnect and free. Unmaps what umdev_client_map_region() mapped and closes the eventfds of
 * umdev_client_irq_eventfd() and umdev_client_get_io_fds(). NULL is ignored. No other call may be
 * under way; a thread that waits for a page then gets SIGBUS or SIGSEGV. After fork() the child can
 * do nothing else with a client; the parent's connection goes on.
 */
UMDEV_API void umdev_client_close(struct umdev_client *client);
/* Whether the connection was still usable at the last call. Never blocks. */
UMDEV_API bool umdev_client_alive(const struct umdev_client *client);

/* What was negotiated. */
struct umdev_client_limits {
    uint16_t major, minor;
    uint32_t max_msg_fds;        /* fds the server takes in a message */
    uint64_t max_data_xfer_size; /* bytes in one read or write message; calls split larger ones */
    uint64_t max_dma_maps;
    uint64_t pgsizes; /* page sizes for DMA maps, or'ed together */
    bool write_multiple;
};
UMDEV_API void umdev_client_get_limits(const struct umdev_client *client,
                                       struct umdev_client_limits *limits);

/* ------------------------------------------------------------------ what the device is */

enum {
    UMDEV_DEVICE_RESET = 1 << 0, /* umdev_client_reset() works */
    UMDEV_DEVICE_PCI = 1 << 1,
};
struct umdev_device_info {
    uint32_t flags;
    uint32_t num_regions;
    uint32_t num_irqs;
};
UMDEV_API int umdev_client_get_info(struct umdev_client *client, struct umdev_device_info *info);

enum {
    UMDEV_REGION_READ = 1 << 0,
    UMDEV_REGION_WRITE = 1 << 1,
    UMDEV_REGION_MMAP = 1 << 2,
    UMDEV_REGION_CAPS = 1 << 3,
    /* The library's own: mapped page by page, without MMAP and fd. */
    UMDEV_REGION_FAULT_MAPPED = 1 << 30,
};
struct umdev_region_info {
    uint32_t index;
    uint32_t flags;  /* UMDEV_REGION_* */
    uint64_t size;   /* 0: not implemented */
    uint64_t offset; /* in the region's file */
    int fd;          /* of a mappable region, or −1; owned by the client */
    /* The areas that can be mapped: the sparse mmap capability, or the whole region. */
    const struct umdev_area *areas; /* owned by the client */
    size_t nareas;
    bool sparse;        /* the areas come from a capability */
    bool msix_mappable; /* capability */
    bool has_type;      /* capability: type and subtype are valid */
    uint32_t type, subtype;
};
/* Asked once and kept: what it points at stays valid until close. EINVAL: no such region. */
UMDEV_API int umdev_client_get_region(struct umdev_client *client, unsigned region,
                                      struct umdev_region_info *info);

/*
 * Doorbells: writes of `size` bytes at `offset` of a region that need no message. Whoever completes
 * such a write (KVM, told by KVM_IOEVENTFD; or the caller) signals `fd`, and the device hears it.
 * With UMDEV_IO_FD_DATAMATCH only writes of `datamatch` are meant.
 */
enum {
    UMDEV_IO_FD_EVENTFD = 0,        /* type: `fd` is an eventfd; flags and datamatch are valid */
    UMDEV_IO_FD_REGION = 1,         /* type: `fd` is for ioregionfd, and datamatch its user data */
    UMDEV_IO_FD_DATAMATCH = 1 << 0, /* flags: KVM_IOEVENTFD_FLAG_DATAMATCH */
    UMDEV_IO_FD_PIO = 1 << 1,       /* flags: KVM_IOEVENTFD_FLAG_PIO */
};
struct umdev_io_fd {
    uint64_t offset; /* in the region, and so is all of it */
    uint64_t size;   /* an eventfd's: 1, 2, 4, 8 or, without UMDEV_IO_FD_DATAMATCH, 0: any */
    int fd;          /* owned by the client; several may have the same */
    uint32_t type;
    uint32_t flags; /* UMDEV_IO_FD_DATAMATCH, UMDEV_IO_FD_PIO, and others of KVM's */
    uint64_t datamatch;
};
/*
 * A region's doorbells: asked once and kept, *count may be 0. The array and its fds stay valid
 * until close. A write(2) to one of the fds reaches the device before any later call that waits for
 * an answer. EINVAL: no such region. ENOSYS, EOPNOTSUPP or another: the server has no such command.
 */
UMDEV_API int umdev_client_get_io_fds(struct umdev_client *client, unsigned region,
                                      const struct umdev_io_fd **io_fds, size_t *count);

enum {
    UMDEV_IRQ_INFO_EVENTFD = 1 << 0,
    UMDEV_IRQ_INFO_MASKABLE = 1 << 1,
    UMDEV_IRQ_INFO_AUTOMASKED = 1 << 2,
    UMDEV_IRQ_INFO_NORESIZE = 1 << 3,
};
struct umdev_irq_info {
    uint32_t index;
    uint32_t flags; /* UMDEV_IRQ_INFO_* */
    uint32_t count;
};
UMDEV_API int umdev_client_get_irq(struct umdev_client *client, unsigned index,
                                   struct umdev_irq_info *info);

/* ------------------------------------------------------------------ regions */

/*
 * Trapped accesses: `len` bytes at `offset` of a region. An access larger than the server takes is
 * split. A server may refuse with any errno; usual: EINVAL outside the region, EPERM against its
 * READ or WRITE flag.
 */
UMDEV_API int umdev_client_read(struct umdev_client *client, unsigned region, uint64_t offset,
                                void *buf, size_t len);
UMDEV_API int umdev_client_write(struct umdev_client *client, unsigned region, uint64_t offset,
                                 const void *buf, size_t len);
/* A posted write: sent and not answered; an error is lost. Ordered before every later call. */
UMDEV_API int umdev_client_post_write(struct umdev_client *client, unsigned region, uint64_t offset,
                                      const void *buf, size_t len);

static inline int umdev_client_read32(struct umdev_client *client, unsigned region, uint64_t offset,
                                      uint32_t *value)
{
    return umdev_client_read(client, region, offset, value, sizeof(*value));
}

static inline int umdev_client_write32(struct umdev_client *client, unsigned region,
                                       uint64_t offset, uint32_t value)
{
    return umdev_client_write(client, region, offset, &value, sizeof(value));
}

static inline int umdev_client_read64(struct umdev_client *client, unsigned region, uint64_t offset,
                                      uint64_t *value)
{
    return umdev_client_read(client, region, offset, value, sizeof(*value));
}

static inline int umdev_client_write64(struct umdev_client *client, unsigned region,
                                       uint64_t offset, uint64_t value)
{
    return umdev_client_write(client, region, offset, &value, sizeof(value));
}

/*
 * Map [offset, offset + len) of a region; page-aligned and inside one mappable area. Shared,
 * readable and writable as the region's flags say. Returns the address, or NULL with errno set:
 * EINVAL (not inside an area), ENOTSUP (the region can't be mapped), ENXIO (the server's file has
 * no such pages), others as mmap(2) and umdev_client_get_region().
 */
UMDEV_API void *umdev_client_map_region(struct umdev_client *client, unsigned region,
                                        uint64_t offset, size_t len);
/*
 * A region with UMDEV_REGION_FAULT_MAPPED is mapped the same way, any pages inside it, but is empty
 * at first: the first touch of a page asks the server which page of which memory belongs there, and
 * waits for it. The server may take pages back at any time; then the next touch asks again.
 * Touches are those of this process's instructions, of system calls that are given the addresses,
 * and of KVM guests whose memory slot it is. Both reading and writing are possible at first; a
 * page that the server gives for reading asks again when it is written. But where its memory is
 * sealed against writing, as that of a region without UMDEV_REGION_WRITE is, a write raises SIGSEGV
 * and changes nothing.
 *
 * SIGBUS (its si_code is BUS_ADRERR or, by UFFDIO_POISON, BUS_MCEERR_AR) in a touch: the server
 * refused the page, or there is no memory for it here, or the server is gone and the page had not
 * been mapped before. A system call fails with EFAULT or EHWPOISON, KVM_RUN so, with SIGBUS or, for
 * an instruction that KVM emulates, with KVM_EXIT_MMIO. Where a write to a page for reading is
 * refused, reading raises SIGBUS, too. A page stays so until the server invalidates it. Nothing
 * reads as zeros that is not zero.
 *
 * A touch waits as long as the connection lasts: a server may take its time, and one that dies ends
 * it. With fault_timeout_ms an answer that takes longer ends the connection. When it is over, what
 * is mapped stays and can be used; umdev_connect_options.lost tells.
 *
 * A VM with interrupt controllers in the kernel may ask for writing where its guest reads: see
 * docs/fault-mapping.md, "Under KVM".
 *
 * The first such mapping starts two threads of the library, which live until the client is closed
 * and have signals blocked. Each piece of the region that is mapped and does not continue its
 * neighbour in the server's memory is a mapping of this process, and so is the gap behind it: the
 * kernel allows 65,530 (vm.max_map_count), the library max_fault_maps such pieces a client. Beyond,
 * the oldest goes and is asked for again when it is touched. A child after fork() does not have the
 * addresses: SIGSEGV. The program must not change the mapping: no mprotect, madvise, mremap.
 *
 * Where the server says that a region is its own memory object, a mapping of it goes a shorter way
 * if it can: it is one mapping for as long as it lives, and the server itself puts the pages in
 * (Linux 6.10; up to 16 at a time; not with fault_timeout_ms). Its touches are not counted here.
 *
 * Errors as above, and: EAGAIN, EMFILE (no thread, no fd), ENOSYS and others of the server's.
 * Where this process may not use userfaultfd(2), or the kernel lacks something (6.1 has all), no
 * region has the flag: umdev_client_read() and umdev_client_write() reach it, and one log line at
 * connect says so.
 */

/*
 * Undo one umdev_client_map_region(). EINVAL: not one of them. Who waits for a page of it touches
 * unmapped memory.
 */
UMDEV_API int umdev_client_unmap_region(struct umdev_client *client, void *ptr);
/*
 * Ask for the pages of a fault-mapped region that are mapped in this process and not there yet,
 * `size` bytes from `offset`, for `access` (UMDEV_READ, UMDEV_WRITE, or both), and wait for them;
 * nobody's touch has to wait then. Ends at the first page that is refused, with the server's
 * −errno; such a page is not made to raise SIGBUS, but where the mapping goes the shorter way.
 * There the connection's timeout does not count either. EINVAL: arguments, or nothing of the range
 * is mapped. ETIMEDOUT: the connection's timeout is over, but the connection is not.
 */
UMDEV_API int umdev_client_prefault(struct umdev_client *client, unsigned region, uint64_t offset,
                                    uint64_t size, unsigned access);

/* What became of the fault-mapped regions of a client. Counts since connect. */
struct umdev_client_fault_stats {
    size_t struct_size;   /* in: sizeof; only as much is filled in */
    bool negotiated;      /* the server has such regions */
    bool lost;            /* and is gone */
    uint64_t faults;      /* touches that had to wait; several of one page at a time are one */
    uint64_t refused;     /* pages that were made to raise SIGBUS */
    uint64_t invalidated; /* messages of the server that took pages back */
    uint64_t evicted;     /* mappings that went because there were too many */
    uint64_t maps;        /* mappings there are now */
};
/* EINVAL: struct_size is missing. */
UMDEV_API int umdev_client_get_fault_stats(struct umdev_client *client,
                                           struct umdev_client_fault_stats *stats);

/* ------------------------------------------------------------------ memory and interrupts */

/*
 * Let the device reach `size` bytes of `fd` from `fd_offset` at `iova` with `prot` (UMDEV_READ,
 * UMDEV_WRITE). The fd stays the caller's. fd −1: memory without a file, of which the library knows
 * nothing: the device's accesses fail (EFAULT). Page-aligned.
 * EEXIST: overlaps a mapping. ENOSPC: too many mappings. EINVAL: sizes, alignment, protection, or
 * the file is too short.
 */
UMDEV_API int umdev_client_dma_map(struct umdev_client *client, int fd, uint64_t fd_offset,
                                   umdev_iova_t iova, uint64_t size, unsigned prot);
/*
 * The same for `size` bytes of this process's memory at `ptr`, which need be no file: the library
 * answers the device's reads and writes by message, during calls and between them. The first such
 * mapping (or one with fd −1) starts a thread of the library, which lives until the client is
 * closed or the connection over and has signals blocked. The memory must stay until it is unmapped
 * or the client closed. A device accesses it more slowly, and may refuse what it wants mapped
 * (EOPNOTSUPP on its side).
 * Errors as umdev_client_dma_map(); EINVAL also: `ptr` is NULL or the range wraps. ENOMEM, EAGAIN:
 * no memory or no thread for it.
 */
UMDEV_API int umdev_client_dma_map_memory(struct umdev_client *client, void *ptr, umdev_iova_t iova,
                                          uint64_t size, unsigned prot);
/*
 * The same two, of memory that this process has at `ptr`: where it writes it, and its guest. A
 * file's part that is mapped there with MAP_SHARED, or with fd −1 memory without a file. With a
 * tracker the device can learn of writes to it without comparing it. Without one, or where the
 * memory can't be tracked so, it is umdev_client_dma_map() or umdev_client_dma_map_memory() (which
 * is this function with fd −1).
 */
UMDEV_API int umdev_client_dma_map_at(struct umdev_client *client, int fd, uint64_t fd_offset,
                                      umdev_iova_t iova, uint64_t size, unsigned prot, void *ptr);
/*
 * Take back every mapping inside [iova, iova + size). EINVAL: the range cuts a mapping in two.
 * When it returns, the device reaches that memory no more.
 */
UMDEV_API int umdev_client_dma_unmap(struct umdev_client *client, umdev_iova_t iova, uint64_t size);
/*
 * Give every mapping inside [iova, iova + size) the protection `prot`, in one step: the device
 * finds the old or the new one, and never nothing, as it would between an unmap and a map. When it
 * returns, the device does no more with that memory than is allowed now. EINVAL: the range cuts a
 * mapping in two, or `prot` is none. ENOENT: nothing is mapped there. EPERM: writing, of a file
 * that was given without. EOPNOTSUPP: the server does not have it (it is umdev's own).
 */
UMDEV_API int umdev_client_dma_protect(struct umdev_client *client, umdev_iova_t iova,
                                       uint64_t size, unsigned prot);

/*
 * Write tracking: devices may want to know which pages of their client's memory were written, by
 * anybody. Without help they compare; a tracker helps them with this process's userfaultfd(2).
 *
 * A tracker is for all clients of this process that connect to devices of one daemon: with one, a
 * page that several devices see is one page to it. Name it in umdev_connect_options, and map memory
 * by umdev_client_dma_map_at(). Memory is registered with the userfaultfd when it is mapped, and
 * stays so when it is unmapped, since a page whose IOVA moves is still the same page. It can't be
 * registered by the program with another userfaultfd for writes.
 *
 * What it costs: a write to a tracked page takes a fault the first time after it was reported.
 * Where a device wants to know before the write happens, writers wait for the daemon then. Should
 * that die, or the connection end, they go on: by a thread of the library, for each such client.
 *
 * `flags`: UMDEV_TRACKER_NOTIFY if devices that want to know before may come; else the first
 * client's device decides, and others that want more than it does are told that it is not to be
 * had. A process that may not use userfaultfd(2), or a kernel that lacks something (6.7 has all),
 * is no error: devices compare, and one log line at connect says so. ENOMEM; EINVAL: unknown flags.
 *
 * It must not be used in a child after fork(), and a child that keeps its fds open without exec()
 * keeps writers waiting after the end.
 */
enum {
    UMDEV_TRACKER_NOTIFY = 1 << 0,
};
UMDEV_API int umdev_tracker_new(unsigned flags, struct umdev_tracker **tracker);
/* All its clients are closed. NULL is ignored. */
UMDEV_API void umdev_tracker_free(struct umdev_tracker *tracker);
/* How writes are found in memory that umdev_client_dma_map_at() has mapped. */
enum umdev_track_help {
    UMDEV_TRACK_HELP_NONE = 0, /* compared */
    UMDEV_TRACK_HELP_ASYNC,
    UMDEV_TRACK_HELP_SYNC, /* writers wait */
};
UMDEV_API enum umdev_track_help umdev_client_track_help(const struct umdev_client *client);

/*
 * DMA logging: which pages of this process's memory the device has written. A log belongs to the
 * connection; there is one. It knows addresses, mapped or not, and of writes only those that the
 * device made itself while it was on. Any server may have none: ENOTTY, ENOSYS, EOPNOTSUPP or
 * EINVAL, as it likes.
 *
 * Bitmaps are of 64-bit words; bit n % 64 of word n / 64 is the n-th page of `page_size` bytes,
 * counted from the range's first byte. The last page may be cut short by the range's end.
 */
struct umdev_dma_range {
    umdev_iova_t iova;
    uint64_t size;
};
/* Words of a bitmap for `size` bytes; page_size is not 0. */
static inline uint64_t umdev_dma_bitmap_words(uint64_t size, uint64_t page_size)
{
    return size ? (size - 1) / page_size / 64 + 1 : 0;
}
/*
 * Log writes to the ranges; none of them (NULL, 0): all writes. They are multiples of *page_size,
 * which is the finest granularity of interest, a power of two, and becomes the one that the server
 * chose. EINVAL: the log is on already; ranges overlap, wrap or are empty. E2BIG: more ranges than
 * the server takes; umdev's takes 256. ENOMEM.
 */
UMDEV_API int umdev_client_dma_log_start(struct umdev_client *client, uint64_t *page_size,
                                         const struct umdev_dma_range *ranges, size_t nranges);
/* What was not reported is forgotten. With the log off it is no error. */
UMDEV_API int umdev_client_dma_log_stop(struct umdev_client *client);
/*
 * Which pages of [iova, iova + size) were written since they were last reported, or since the
 * start: fills in the bitmap, umdev_dma_bitmap_words(size, page_size) of them. Asked for in pieces
 * that fit a message. A write during the call is in this report or in the next. EINVAL: the log is
 * off, a part of the range is not logged, page_size is no power of two of at least 4096. After any
 * error some pages may be known to nobody any more: take all of them for written.
 */
UMDEV_API int umdev_client_dma_log_report(struct umdev_client *client, umdev_iova_t iova,
                                          uint64_t size, uint64_t page_size, uint64_t *bitmap);
/*
 * As umdev_client_dma_unmap(), with a report of the range as it was when the device lost it. Not in
 * pieces: E2BIG, or EINVAL of other servers, where the bitmap does not fit a message; nothing is
 * unmapped then, nor with EINVAL. This is a part of an older vfio-user, which not every server has.
 */
UMDEV_API int umdev_client_dma_unmap_dirty(struct umdev_client *client, umdev_iova_t iova,
                                           uint64_t size, uint64_t page_size, uint64_t *bitmap);

/*
 * An eventfd that is signalled by interrupt `vector` of `index`: made, registered and owned by the
 * client (don't close it); the same one again for the same vector. A read(2) of it blocks until the
 * next interrupt. Returns the fd or −errno; EINVAL: no such vector.
 */
UMDEV_API int umdev_client_irq_eventfd(struct umdev_client *client, unsigned index,
                                       unsigned vector);
/*
 * VFIO's SET_IRQS as it is: `flags` (VFIO_IRQ_SET_* of <linux/vfio.h>), `count` vectors from
 * `start`; `bools` for DATA_BOOL (count bytes), `fds` for DATA_EVENTFD (`count` of them, −1 to take
 * a vector's eventfd away, or none at all to take away all; they stay the caller's). More fds than
 * the server takes in a message go in several. Errnos as VFIO's.
 */
UMDEV_API int umdev_client_set_irqs(struct umdev_client *client, uint32_t flags, unsigned index,
                                    uint32_t start, uint32_t count, const uint8_t *bools,
                                    const int *fds, size_t nfds);

UMDEV_API int umdev_client_reset(struct umdev_client *client);

#ifdef __cplusplus
}
#endif

#endif
