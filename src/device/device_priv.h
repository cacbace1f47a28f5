/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct umdev_device, for the files of src/device only. device.h has the data model.
 *
 * Who guards what. What device_new() built (description, regions, memory objects' places) is never
 * changed afterwards and needs no lock. `state_lock` guards state, client and shutdown; it is taken
 * last, inside call_lock, and nothing but client->disconnect() is called under it. Counters and the
 * flags of the DMA path are atomics.
 *
 * call_lock (device.h) is not recursive. No umdev_*() function takes it, so that callbacks may call
 * them all; functions named *_locked() need it held. Accesses to the config space always hold it,
 * so a function-level reset, which is a write to the config space, runs device_reset_locked().
 */
#ifndef DEVICE_DEVICE_PRIV_H
#define DEVICE_DEVICE_PRIV_H

#include "base/cleanup.h"
#include "base/range.h"
#include "device/device.h"
#include "device/dma_queue.h"
#include "device/fault.h"
#include "device/mem.h"
#include "device/msix_table.h"
#include "device/pci_config.h"
#include "device/regs.h"

#include <linux/vfio.h>
#include <stdatomic.h>
#include <string.h>

/* How long an unmap waits for the windows that a driver holds: driver.h promises ten seconds. */
#define DEVICE_UNMAP_TIMEOUT_MS 10000

#define REGION_NAME_SIZE 24

struct region {
    uint64_t size;  /* 0: not there */
    uint32_t flags; /* enum umdev_bar_flags */
    bool described; /* the driver's */
    bool made;      /* a BAR of umdev's own, for MSI-X */
    bool has_type;  /* device-specific */
    uint32_t type, subtype;

    const struct umdev_regs_desc *regs; /* NULL: none */
    struct regs_file file;

    struct umdev_mem *mem; /* NULL: none */
    uint64_t mem_offset;
    bool mem_made; /* by umdev, for UMDEV_BAR_MEMORY */
    /* What of the region the object answers for: sorted, disjoint; none: all of it. */
    struct umdev_area *backed;
    size_t nbacked;
    /* What a client may map: the same, in whole pages, less those of the MSI-X table. */
    bool can_map;
    struct umdev_area *mappable; /* NULL: all of it */
    size_t nmappable;

    uint64_t *told; /* UMDEV_BAR_FAULT: fault.h */

    struct device_doorbell *doorbells; /* the hooks', then the list's */
    size_t ndoorbells;
};

/* Where MSI-X lies in its BAR; `vectors` 0: nowhere. */
struct msix_place {
    unsigned vectors, bar;
    struct range table, pba;
};

enum device_state {
    DEVICE_CLOSED = 0,
    DEVICE_OPENING,
    DEVICE_OPEN,
    DEVICE_CLOSING,
};

struct device_counters {
    atomic_uint_least64_t traps_read, traps_write, bytes_read, bytes_written, resets, sessions,
        messages, errors;
};

struct umdev_device {
    const struct umdev_driver *driver;
    const struct umdev_type *type;
    unsigned type_index;
    struct umdev_parent *parent;
    const struct log *log;
    char uuid[UMDEV_UUID_STR_SIZE];
    void *priv;

    struct umdev_pci pci;   /* complete, but for `bar` and `extra`, of which regions has all */
    struct region *regions; /* the PCI ones, then the device-specific ones */
    unsigned nregions;
    struct msix_place msix;
    struct msix_table *msix_table; /* NULL: no MSI-X */
    struct irqs *irqs;
    struct pci_config *config;
    struct iommu *iommu;
    struct track_hub *own_hub; /* NULL: it has the others' */
    struct track *track;
    const struct umdev_domain *domain_ops; /* the parent's callbacks; NULL: none */
    atomic_bool failed;                    /* the error state, until a reset */
    struct dma_queue dma;
    int unmap_timeout_ms; /* DEVICE_UNMAP_TIMEOUT_MS, but for tests */
    struct mem_list mems;
    struct mem_list *parent_mems; /* NULL: none */
    struct device_faults faults;

    pthread_mutex_t call_lock;
    /* What the last write to the config space asked for; guarded by call_lock. */
    struct {
        bool flr, function_masked;
    } config_asked;
    atomic_bool creating;     /* inside the driver's create() */
    bool opened_before;       /* guarded by call_lock */
    atomic_bool unmap_waited; /* an unmap has suspended DMA by message */

    pthread_mutex_t state_lock;
    enum device_state state;
    struct device_client *client;
    bool shutdown;

    /* Threads that answers, or callbacks, come through: they can't wait for any. 0: none. */
    atomic_ulong session_thread, operator_thread;

    atomic_bool has_client;    /* client memory may be there */
    atomic_bool lost_reported; /* this client was told off for taking memory away */
    struct device_counters counters;
};

/* Held for a scope around the callbacks of a serialised device; a parallel one needs no lock. */
static inline pthread_mutex_t *device_serialise(struct umdev_device *dev)
{
    if (dev->driver->threads != UMDEV_THREADS_SERIALISED)
        return NULL;
    return cleanup_mutex_lock(&dev->call_lock);
}
#define SERIALISE_FOR_SCOPE(dev)                                                                   \
    pthread_mutex_t *CLEANUP_NAME(__LINE__) __attribute__((cleanup(cleanup_mutex), unused)) =      \
        device_serialise(dev)

/* Around a callback that an operator waits for, inside SERIALISE_FOR_SCOPE(). */
static inline void device_set_operator(struct umdev_device *dev, bool inside)
{
    if (dev->driver->threads == UMDEV_THREADS_SERIALISED)
        atomic_store(&dev->operator_thread, inside ? (unsigned long)pthread_self() : 0);
}

/* A driver's result: 0 or −errno. A positive one is the driver's mistake. */
static inline int driver_result(int ret)
{
    return ret > 0 ? -EIO : ret;
}

/* device_reset(), with call_lock held; the config space where the caller has not done it. */
int device_reset_locked(struct umdev_device *dev, bool reset_config);

/* pins.c: how the device pins, before its first client. */
void device_set_pinning(struct umdev_device *dev, const struct device_setup *setup);
/* After memory was unmapped: if the driver left pins in it, the device has failed. */
void device_check_torn(struct umdev_device *dev);

/* track.c; −ENOMEM. Their ends: when the client has gone; and of all. */
int device_make_track(struct umdev_device *dev, const struct device_setup *setup);
void device_track_end(struct umdev_device *dev);
void device_free_track(struct umdev_device *dev);

/* dma.c: ENODEV: the device may not reach client memory now. EIO: it has failed. */
int device_dma_check(const struct umdev_device *dev);
/* After every use of client memory: a client that took some of it away has to go, once. */
void device_dma_check_lost(struct umdev_device *dev);

/* Whether the object is the device's, or its parent's. */
bool device_has_mem(const struct umdev_device *dev, const struct umdev_mem *mem);

/* region_setup.c: from the description, before create(); and what is only known after it. */
int regions_setup(struct umdev_device *dev, struct umdev_error *error);
int regions_finish(struct umdev_device *dev, struct umdev_error *error);
void regions_fini(struct umdev_device *dev);
/* region.c: a write that was checked, under the lock that callbacks need. */
int region_write(struct umdev_device *dev, unsigned index, uint64_t offset, const void *buf,
                 size_t len);
/* Whether registers or the driver answer for all of [offset, offset + len), which lies inside. */
bool region_is_trapped(const struct umdev_device *dev, unsigned index, uint64_t offset, size_t len);
/* doorbell.c: check and collect them, after create(). */
int doorbells_finish(struct umdev_device *dev, unsigned index, struct umdev_error *error);
/* "BAR0", "config", "region 9", for messages. */
void region_name(unsigned index, char name[REGION_NAME_SIZE]);

/* pci_setup.c: dev->pci, dev->msix and dev->regions as described; the config space and its ops. */
int pci_setup(struct umdev_device *dev, struct umdev_error *error);
int pci_finish(struct umdev_device *dev, struct umdev_error *error);
/* After a write to the config space, or its reset: do what it asked for. */
void pci_settle_locked(struct umdev_device *dev);

#endif
