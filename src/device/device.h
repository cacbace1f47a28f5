/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One device as VFIO sees it: info, regions, interrupts, DMA, reset.
 *
 * Data model. A device has UMDEV_NUM_REGIONS regions, six BARs, ROM and VGA (never there), and the
 * config space, and behind them the device-specific ones its driver describes. A region is
 * answered, in this order, by the MSI-X table, the register file, the memory object's areas, the
 * driver; one that faults by the pages that its driver chooses. The device owns its memory objects,
 * interrupts and iommu.
 *
 * Locks. `call_lock` is held around every driver callback of a serialised device and never while
 * anything waits for the client; a parallel device takes it for create, open, close, reset, remove
 * and the config space (through which a reset may come) only. A device knows no socket: whoever
 * speaks for the client is `struct device_client`.
 *
 * State: created -> open -> closed -> open … -> removed. One client at a time.
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include "base/fdpass.h"
#include "base/log.h"
#include "device/irq.h"
#include "iommu/iommu.h"
#include "track/track.h"

#include <umdev/driver.h>

struct mem_list;

/* What a device needs to be born; everything must outlive it. */
struct device_setup {
    const struct umdev_driver *driver; /* complete: members a short driver lacks are zero */
    const struct umdev_type *type;     /* likewise */
    unsigned type_index;
    struct umdev_parent *parent;
    const char *uuid; /* copied */
    const struct log *log;
    struct iommu_domain *domain;           /* NULL: identity */
    const struct umdev_domain *domain_ops; /* its callbacks; NULL without a domain */
    struct mem_list *parent_mems;          /* objects that the parent's devices share; NULL: none */
    struct track_hub *track_hub;           /* of all devices; NULL: it is alone */
};

/* The client's representative, for as long as the device is open. */
struct device_client {
    /* Cut the client off: called from any thread, more than once; must not block. */
    void (*disconnect)(struct device_client *client);
    /*
     * device_dma_next() has something to send: called from any thread, must not block. NULL: this
     * client's memory without a file can't be reached.
     */
    void (*dma_wanted)(struct device_client *client);
};

/* Checks the description, calls the driver's create(). EINVAL (error says why), ENOMEM, the
 * driver's own. */
int device_new(const struct device_setup *setup, struct umdev_device **dev,
               struct umdev_error *error);
/* Closed, and no call under way. Calls the driver's remove(). */
void device_free(struct umdev_device *dev);

/* EBUSY: it has a client. ESHUTDOWN: device_shutdown() was called. Others: the driver's open(). */
int device_open(struct umdev_device *dev, struct device_client *client);
/*
 * The client is gone: interrupts cleared, memory unmapped (the driver's dma_unmap first), then the
 * driver's close(); DMA logging ends.
 */
void device_close(struct umdev_device *dev);
/* Cut the client off, if there is one. Does not wait. */
void device_disconnect(struct umdev_device *dev);
/* Refuse clients from now on and cut off the present one. Does not wait. */
void device_shutdown(struct umdev_device *dev);
/* Whether a client is there, or still coming or going: another would get EBUSY. */
bool device_is_open(struct umdev_device *dev);

struct device_info {
    uint32_t flags; /* VFIO_DEVICE_FLAGS_RESET | _PCI */
    uint32_t num_regions;
    uint32_t num_irqs;
};
void device_get_info(const struct umdev_device *dev, struct device_info *info);

struct device_region_info {
    uint32_t flags; /* VFIO_REGION_INFO_FLAG_READ, _WRITE, _MMAP; never _CAPS */
    uint64_t size;
    uint64_t offset;                /* where the region starts in `fd` */
    int fd;                         /* −1: can't be mapped; the device's */
    const struct umdev_area *areas; /* NULL: the whole region; the device's */
    size_t nareas;
    bool has_msix_table; /* the MSI-X table lies in it */
    bool msix_mappable;  /* and its pages can be mapped like the others */
    bool faults;         /* pages are mapped as they are touched: device_fault() */
    bool identity;       /* device_fault_object() works on it */
    bool has_type;       /* device-specific: these are for the client to know it by */
    uint32_t type, subtype;
};
/* EINVAL: index out of range. Fixed after creation; any thread. */
int device_get_region(const struct umdev_device *dev, unsigned region,
                      struct device_region_info *info);

/*
 * Trapped accesses of any size and alignment. EINVAL: no such region, or [offset, offset + len)
 * not inside it. EPERM: not readable, not writable. Others: the driver's. len 0 is a success.
 */
int device_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf, size_t len);
int device_write(struct umdev_device *dev, unsigned region, uint64_t offset, const void *buf,
                 size_t len);

/* A write that a client may turn into a signal; fixed after creation. doorbell.c. */
struct device_doorbell {
    uint64_t offset;
    uint64_t match;
    uint32_t size; /* 1, 2, 4 or 8 */
    bool has_match;
    bool port; /* port I/O */
};
/* Those of a region: an array of *count, the device's. EINVAL: index out of range. */
int device_get_doorbells(const struct umdev_device *dev, unsigned region,
                         const struct device_doorbell **doorbells, size_t *count);
/*
 * doorbells[index] of the region was rung: what a trapped write there does, as driver.h says.
 * EINVAL: no such doorbell. Others: the driver's.
 */
int device_ring(struct umdev_device *dev, unsigned region, size_t index);

/*
 * Regions that fault. The client's representative asks for pages and is told what is taken back; it
 * and no one else gives fds to the client. fault.h has the model.
 */
struct device_map {
    unsigned region;
    uint64_t first, last; /* of the region, whole pages */
    uint64_t offset;      /* of `first` in the object */
    unsigned prot;
    uint32_t object; /* its id, which is no other object's while the client is there */
    int fd;          /* the object's; −1: the page is refused */
};

/* On the stack of whoever takes pages back. */
struct device_invalidation {
    struct device_invalidation *next;
    unsigned region;
    uint64_t first, last; /* whole pages */
    /* The mapper's. */
    struct device_invalidation *next_sent;
    uint32_t tag;
    uint64_t behind;
    bool done;
};

struct device_mapper {
    /*
     * Under a lock that keeps the order of these two calls: must not block. EAGAIN: there is no
     * room now. Others: the client is lost.
     */
    int (*answer)(struct device_mapper *mapper, void *opaque, const struct device_map *map,
                  int error);
    int (*invalidate)(struct device_mapper *mapper, struct device_invalidation *invalidation);
    /* 0: there may be room. ETIMEDOUT. Others: the client is lost. */
    int (*wait_room)(struct device_mapper *mapper, uint64_t deadline_ns);
    /* 0: the client has done it, or is lost. ETIMEDOUT. */
    int (*wait)(struct device_mapper *mapper, struct device_invalidation *invalidation,
                uint64_t deadline_ns);
};

/* While the device is open. EEXIST: it has one. ENOMEM. */
int device_set_mapper(struct umdev_device *dev, struct device_mapper *mapper);
/* No calls from now on; waits for those under way, which must not wait for the client any more. */
void device_unset_mapper(struct umdev_device *dev);
/* How long the mapper may wait for the client. */
int device_mapper_timeout_ms(const struct umdev_device *dev);

/*
 * The client touched the byte at `offset`. Ends in one answer(), with `opaque`: refusals are EINVAL
 * for what is no page of a region that faults or no access, EPERM for what this client must not
 * have, EIO for a driver that answers nonsense, EACCES for one that does not allow the access; and
 * the driver's own. Returns what answer() does. Calls the driver.
 */
int device_fault(struct umdev_device *dev, struct device_mapper *mapper, unsigned region,
                 uint64_t offset, unsigned access, void *opaque);

/*
 * A region that faults, each of whose pages is its object's by the 1:1 rule or refused: the
 * object's fd, which is the device's, and where in it the region begins. The client has it then.
 * EINVAL: not such a region, or not for this client.
 */
int device_fault_object(struct umdev_device *dev, unsigned region, int *fd, uint64_t *offset);
/* See to it that the object has the page. ENOMEM, EFAULT, others of madvise(2). May block. */
int device_fault_populate(const struct umdev_device *dev, unsigned region, uint64_t page);

/* Clients may have objects that other devices have, too. Before there is any. */
void device_trust_clients(struct umdev_device *dev);

int device_get_irq(const struct umdev_device *dev, unsigned index, struct irqs_info *info);
/* As irqs_set(), then the driver's irqs_changed(). */
int device_set_irqs(struct umdev_device *dev, uint32_t flags, unsigned index, uint32_t start,
                    uint32_t count, const uint8_t *bools, struct fd_array *fds);

/* As iommu_map(). */
int device_dma_map(struct umdev_device *dev, umdev_iova_t iova, uint64_t size, int fd,
                   uint64_t offset, unsigned prot);
/* Check, tell the driver, unmap: EINVAL, or 0 with *unmapped bytes; ETIMEDOUT as iommu_unmap(). */
int device_dma_unmap(struct umdev_device *dev, umdev_iova_t iova, uint64_t size,
                     uint64_t *unmapped);
/* As iommu_protect(), with the driver told before where something may be taken away. */
int device_dma_protect(struct umdev_device *dev, umdev_iova_t iova, uint64_t size, unsigned prot);
/*
 * The same, and what of it the log has (dirty_log_report()), with all that was written till now.
 * EINVAL also: dirty_log_check() refuses; nothing is unmapped then.
 */
int device_dma_unmap_dirty(struct umdev_device *dev, umdev_iova_t iova, uint64_t size,
                           uint64_t page_size, uint64_t *bitmap, uint64_t *unmapped);
/* Every mapping. */
int device_dma_unmap_all(struct umdev_device *dev, uint64_t *unmapped);

/*
 * Write tracking (track/track.h), for the client. Whether the device wants writes to wait for it;
 * the fds of the client's address space, which the device takes over if 0 is returned: EEXIST, and
 * errors as track_space_join(); memory of which the client says where it has it: iommu_map_at(),
 * and EINVAL without such fds. track.c.
 */
bool device_track_wants_notice(struct umdev_device *dev);
int device_track_give(struct umdev_device *dev, int uffd, int pagemap, bool sync);
int device_dma_map_at(struct umdev_device *dev, umdev_iova_t iova, uint64_t size, int fd,
                      uint64_t offset, unsigned prot, uint64_t hva);

/*
 * Client memory without a file is reached by messages. The client's representative fetches them
 * here, sends them between other messages, and comes back with each answer; all in the thread that
 * opened the device. dma_queue.h has the model.
 */
#define DEVICE_DMA_SLOTS 16u /* messages without an answer, at most */
struct device_dma_message {
    unsigned slot; /* which of them: its answer's name */
    bool write;    /* to client memory */
    uint64_t address;
    size_t count; /* bytes: at most 64 KiB */
};
enum device_dma_next {
    DEVICE_DMA_NOTHING,
    DEVICE_DMA_SEND,
    DEVICE_DMA_AGAIN, /* something was done, but there is nothing to send yet */
};
/* The next message, of at most `max` bytes; those of a write are put to `data`. */
enum device_dma_next device_dma_next(struct umdev_device *dev, size_t max, uint8_t *data,
                                     struct device_dma_message *message);
/* The answer: 0, with the bytes of a read at `data`, or −errno. */
void device_dma_answer(struct umdev_device *dev, unsigned slot, int result, const void *data);
/* When the oldest message is due to be answered, in CLOCK_MONOTONIC's ns; 0: none is out. */
uint64_t device_dma_deadline(struct umdev_device *dev);
/* No answers will come any more: what is under way ends with −errno, and nothing new begins. */
void device_dma_abort(struct umdev_device *dev, int error);

/*
 * VFIO_DEVICE_FEATURE: whether `flags` (VFIO_DEVICE_FEATURE_*) ask for what is there, with `size`
 * bytes of data. 1: yes, do it; 0: yes, but it was only a probe. EINVAL: not one of get and set, or
 * one that this feature has not; fewer bytes than it needs; unknown flags. ENOTTY: no such feature.
 * feature.c.
 */
int device_feature_check(uint32_t flags, size_t size);
/* DMA logging. It ends with the session, not with a reset. */
struct dirty_log *device_dirty_log(struct umdev_device *dev);

/* Registers, config space, interrupts' masks, the driver's reset(). Its errno. */
int device_reset(struct umdev_device *dev);

/*
 * What the screen shows, by the driver's screenshot(). EOPNOTSUPP: it has none. Otherwise as
 * umdev_host_screenshot(); EIO: the driver gave no picture.
 */
int device_screenshot(struct umdev_device *dev, struct umdev_picture *picture);

/*
 * The driver's attributes, in its order. Read and write as
 * umdev_host_attr_read() and _write(). attrs.c.
 */
const struct umdev_attr *device_attrs(const struct umdev_device *dev, size_t *count);
int device_attr_read(struct umdev_device *dev, const char *name, char *buf, size_t size);
int device_attr_write(struct umdev_device *dev, const char *name, const char *buf, size_t len);

/* For the session's poll, and for the watchdog; see irq.h. */
struct irqs *device_irqs(struct umdev_device *dev);

/* The last page that was refused. */
struct device_refusal {
    unsigned region;
    uint64_t offset; /* the page's */
    unsigned access;
    int error;        /* 0: none was */
    uint64_t when_ns; /* CLOCK_MONOTONIC */
};
struct device_fault_stats {
    uint64_t resolved; /* faults answered with pages */
    uint64_t refused;  /* faults and trapped accesses */
    uint64_t revoked;  /* pages taken back from clients */
    struct device_refusal last;
};
void device_get_fault_stats(struct umdev_device *dev, struct device_fault_stats *stats);

struct device_stats {
    uint64_t traps_read, traps_write, trap_bytes_read, trap_bytes_written;
    uint64_t interrupts, resets, sessions;
    uint64_t messages, errors; /* requests answered, those with an error */
    bool failed;               /* in the error state */
    struct iommu_stats dma;
    struct track_stats track;
};
/* One more request of the client answered; `failed`: with an error. The session's thread. */
void device_count_request(struct umdev_device *dev, bool failed);
void device_get_stats(struct umdev_device *dev, struct device_stats *stats);

#endif
