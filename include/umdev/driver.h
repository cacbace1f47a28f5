/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All a vendor driver needs.
 *
 * A driver is a shared object, umdev-NAME.so, that describes itself with UMDEV_DRIVER(). umdev
 * loads it, opens one or more *parents* with it, creates *devices* of its *types* and calls the
 * driver back for what it can't do itself. Everything has a default: a name, one type and one BAR
 * make a working driver.
 *
 * Binary compatibility. struct umdev_driver and every struct it points at begin with, or are
 * accompanied by, their own size; members are only ever appended. A driver built against an older
 * header goes on loading: members it does not know of count as zero. One built against a newer
 * header loads where it leaves zero what this umdev does not know. api_version changes only when
 * that can't be kept, and then the driver is refused with a clear error.
 *
 * Threads. By default (UMDEV_THREADS_SERIALISED) callbacks for one device never overlap; those for
 * different devices may. With UMDEV_THREADS_PARALLEL region accesses may overlap each other, too.
 * Functions declared here may be called from any thread, a driver's own engine threads included,
 * unless their comment says otherwise. "May block" means it can wait for something other than a
 * short critical section.
 *
 * Callbacks must not wait for the client: a callback that does stops its own device.
 */
#ifndef UMDEV_DRIVER_H
#define UMDEV_DRIVER_H

#include <umdev/attr.h>
#include <umdev/dma.h>
#include <umdev/track.h>
#include <umdev/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UMDEV_DRIVER_API_VERSION 1

struct umdev_parent; /* a physical (or software) device that offers types */
struct umdev_device; /* one instance of a type: what a VM sees */
struct umdev_mem;    /* a memory object: pages that can be mapped into a region */

/* ------------------------------------------------------------------ describing a device */

/*
 * A register file: `size of the BAR` bytes of plain little-endian registers that umdev keeps, reads
 * and writes; a driver only hooks those that do something. Put one into the device's private struct
 * and name it with UMDEV_REGS(); umdev fills it in before create() and frees it after remove().
 */
struct umdev_regs {
    uint8_t *bytes;
    size_t size;
};

struct umdev_reg_hook {
    uint32_t offset;
    uint32_t size;        /* 1, 2, 4 or 8 bytes, naturally aligned; 0 means 4 */
    uint64_t reset_value; /* stored at creation and at every reset */
    uint64_t read_only;   /* bits that a client's write leaves alone */
    /* The value a client reads; NULL: the stored one. */
    uint64_t (*read)(struct umdev_device *dev);
    /* Called after the value was stored; NULL: nothing happens. */
    void (*write)(struct umdev_device *dev, uint64_t value);
    uint64_t flags; /* enum umdev_doorbell_flags; 0: an ordinary register */
    uint64_t match; /* UMDEV_DOORBELL_MATCH: the value */
};
/*
 * An access may have any size and alignment. It is applied to the stored bytes; every hook that it
 * overlaps is then called once, in order of offset, with the register's whole value.
 */

/*
 * Doorbells. A client that traps pays for each write with a round trip. Where its hypervisor can
 * (KVM's ioeventfds), it may instead have the writes to a doorbell turned into signals of an
 * eventfd, which umdev hears: cheap and asynchronous. A register becomes a doorbell by its hook's
 * `flags`; other offsets of a BAR, or several values of one register, are listed in `doorbells`.
 *
 * A signal has the effect of a trapped write to the doorbell's bytes, on the same thread and under
 * the same lock: of `match`, or without UMDEV_DOORBELL_MATCH of a value that nobody knows. Then a
 * register keeps what it has, and its hook's write() gets that; the driver's write() gets zeros.
 * So only a doorbell whose value does not matter goes without.
 *
 * - Signals that come before the first of them is heard count as one: write() is called once.
 * - Writes of another size, to other bytes, or of another value trap as ever. So do all writes of a
 *   client that does not use doorbells.
 * - A doorbell is heard before any later request of the client that is answered, and after every
 *   request before it. Only of writes that the client posts, which are not answered, those just
 *   after a signal may be done before it.
 * - A client that takes few fds gets as many doorbells as fit: first the hooks' in order of offset,
 *   then those of the list in its order.
 *
 * Creation refuses (EINVAL) a doorbell that nobody hears: one in no BAR or outside of it, in a
 * read-only BAR, where the client maps memory or MSI-X lies, over registers of which none has a
 * write(), or, in a BAR without registers, of a driver without one; and two that a write could not
 * tell apart.
 */
enum umdev_doorbell_flags {
    UMDEV_DOORBELL = 1 << 0,       /* this register is one; needless in a list */
    UMDEV_DOORBELL_MATCH = 1 << 1, /* only for writes of `match`; implies UMDEV_DOORBELL */
};

struct umdev_doorbell {
    uint64_t offset;
    uint64_t match;
    uint32_t size;  /* 1, 2, 4 or 8 bytes, naturally aligned; 0 means 4 */
    uint32_t flags; /* enum umdev_doorbell_flags */
};

struct umdev_doorbells_desc {
    const struct umdev_doorbell *doorbells;
    size_t ndoorbells;
    size_t doorbell_size;
};

/* .doorbells = UMDEV_DOORBELLS(copier_doorbells) */
#define UMDEV_DOORBELLS(doorbell_array)                                                            \
    (&(const struct umdev_doorbells_desc){                                                         \
        .doorbells = (doorbell_array),                                                             \
        .ndoorbells = sizeof(doorbell_array) / sizeof((doorbell_array)[0]),                        \
        .doorbell_size = sizeof(struct umdev_doorbell),                                            \
    })

struct umdev_regs_desc {
    size_t priv_offset; /* of the struct umdev_regs in the device's private struct */
    const struct umdev_reg_hook *hooks;
    size_t nhooks;
    size_t hook_size;
};

/* UMDEV_REGS(struct copier, regs, copier_hooks) */
#define UMDEV_REGS(priv_type, member, hook_array)                                                  \
    (&(const struct umdev_regs_desc){                                                              \
        .priv_offset = offsetof(priv_type, member),                                                \
        .hooks = (hook_array),                                                                     \
        .nhooks = sizeof(hook_array) / sizeof((hook_array)[0]),                                    \
        .hook_size = sizeof(struct umdev_reg_hook),                                                \
    })

enum umdev_bar_flags {
    UMDEV_BAR_IO = 1 << 0,       /* port I/O instead of memory */
    UMDEV_BAR_64BIT = 1 << 1,    /* takes this BAR and the next */
    UMDEV_BAR_PREFETCH = 1 << 2, /* prefetchable */
    UMDEV_BAR_MEMORY = 1 << 3,   /* plain memory: umdev makes a memory object and maps it 1:1 */
    UMDEV_BAR_READONLY = 1 << 4, /* client writes are refused (EPERM); mappings are read-only */
    /* See struct umdev_msix. */
    UMDEV_BAR_MSIX_MAPPABLE = 1 << 5,
    /* Pages are mapped as they are touched: see struct umdev_map. */
    UMDEV_BAR_FAULT = 1 << 6,
    /* Besides UMDEV_BAR_FAULT: map_request() only says whether. See struct umdev_map. */
    UMDEV_BAR_FAULT_IDENTITY = 1 << 7,
};

/*
 * A BAR. Who answers an access to it, in this order: umdev for the MSI-X table and pending bits
 * that lie in it; `regs`; the memory object, inside the areas it backs; the driver's read and
 * write callbacks. A BAR without any of them is refused at creation.
 */
struct umdev_bar {
    size_t struct_size;
    uint64_t size; /* power of two: memory 16 bytes up, 4096 up where it can be mapped; I/O 4–256 */
    uint32_t flags; /* enum umdev_bar_flags */
    const struct umdev_regs_desc *regs;
    const struct umdev_doorbells_desc *doorbells; /* besides those of the registers; NULL: none */
};
#define UMDEV_BAR(...)                                                                             \
    (&(const struct umdev_bar){.struct_size = sizeof(struct umdev_bar), __VA_ARGS__})

/*
 * Regions that fault (UMDEV_BAR_FAULT). What a page of such a region shows is decided when it is
 * touched: umdev asks the driver's map_request(), which answers with pages of any memory object of
 * its device. A client that can maps them; for any other the same answer serves each trapped
 * access. The driver does not know which is which.
 *
 * An answer maps [first, last] of the region, both ways around the touched page as far as the
 * driver likes, to the object's bytes from mem_offset on. It holds until
 * umdev_region_invalidate(). umdev checks all of it: whole pages, the touched one among them,
 * inside the region and the object to the last byte, an object of this device or its parent, a
 * protection that is one. An answer that fails is the driver's mistake: an error in the log, and
 * EIO for the page. One without the access that is asked for refuses it: EACCES.
 *
 * With umdev_region_set_mem() a region that faults has a memory object, of any size it fits into,
 * without areas. Then *map comes filled in with the 1:1 rule, all of the region; and a driver
 * without map_request() leaves it at that. A region that faults is whole pages, and has no
 * registers, no doorbells and no MSI-X table.
 *
 * A page that is no memory object's, but memory all the same that the driver can read and write for
 * the client, is answered with UMDEV_MAP_TRAPPED instead of 0: a trapped access then goes to the
 * driver's read() and write(), cut at the page's end, and a client that wants the page mapped is
 * refused (EPERM). Without these callbacks: EIO.
 *
 * UMDEV_BAR_FAULT_IDENTITY is a promise that makes faults cheaper, of a region with a memory object
 * and a driver with map_request(): each page is the object's by the 1:1 rule, for reading and
 * writing, or is refused. An answer may only make *map shorter; one that changes anything else in
 * it is a mistake. It brings nothing where map_request() answers for all of the region at once.
 *
 * A client that has been given a page of an object has the object: the protection of an answer
 * binds guests, not a client that means harm. UMDEV_BAR_READONLY binds both, by the region's own
 * object; answers for such a region must not allow writing.
 */
struct umdev_map {
    struct umdev_mem *mem;
    uint64_t mem_offset;  /* of `first`; a multiple of 4096 */
    uint64_t first, last; /* of the region, inclusive */
    unsigned prot;        /* UMDEV_READ, UMDEV_WRITE, UMDEV_RW */
};
/* No number that comes by mistake: other positive ones are EIO. */
#define UMDEV_MAP_TRAPPED 0x50415254

/*
 * A region beyond those of PCI, for what a client must know this kind of device to use: a firmware
 * table, a host's setting, a side channel. Region UMDEV_NUM_REGIONS + its place in the array; the
 * client finds it by type and subtype (VFIO's TYPE capability). It is no BAR: the guest does not
 * see it by itself. It is answered like one: `regs`, the memory object, the driver's callbacks;
 * umdev_region_set_size(), umdev_region_set_mem() and umdev_region_mem() take its index.
 */
struct umdev_extra_region {
    uint32_t type; /* not 0: VFIO_REGION_TYPE_*, or VFIO_REGION_TYPE_PCI_VENDOR_TYPE | vendor ID */
    uint32_t subtype;
    uint64_t size;  /* any; a multiple of 4096 where it can be mapped. 0: set in create() */
    uint32_t flags; /* UMDEV_BAR_MEMORY, _READONLY, _FAULT, _FAULT_IDENTITY */
    const struct umdev_regs_desc *regs;
};
/* So many regions are all that clients (QEMU) put up with. */
#define UMDEV_MAX_EXTRA_REGIONS (100 - UMDEV_NUM_REGIONS)
/* In UMDEV_PCI(): the array, its length and the size of its members. */
#define UMDEV_EXTRA_REGIONS(array)                                                                 \
    .extra = (array), .nextra = sizeof(array) / sizeof((array)[0]),                                \
    .extra_size = sizeof(struct umdev_extra_region)

/*
 * MSI-X: `vectors` interrupts (0 to 2048; 0: no MSI-X). The table and the pending bits lie in BAR
 * `bar`; where the driver does not describe that BAR, umdev makes one of the right size. With
 * pba_offset 0 the pending bits follow the table, 8-byte aligned.
 *
 * Where the BAR is memory, the pages that the table and the pending bits touch always trap, unless
 * the BAR has UMDEV_BAR_MSIX_MAPPABLE: then a client may map them, too, and is told so (VFIO's
 * MSIX_MAPPABLE). What it does through that mapping happens to the memory object's bytes, which are
 * not the table: masks and pending bits are only in trapped accesses. So it is for clients that
 * keep the table themselves, as QEMU does, and pays where registers in those pages are used often.
 */
struct umdev_msix {
    uint16_t vectors;
    uint8_t bar;
    uint32_t table_offset; /* multiple of 8 */
    uint32_t pba_offset;   /* multiple of 8 */
};

struct umdev_pci {
    size_t struct_size;
    uint16_t vendor, device;
    uint16_t subsys_vendor, subsys_device; /* 0: the same as vendor, device */
    uint32_t class_code;                   /* 24 bits: class, subclass, programming interface */
    uint8_t revision;
    uint8_t intx_pin;     /* 0: no INTx; 1 to 4: INTA to INTD */
    uint16_t msi_vectors; /* 0 or a power of two up to 32 */
    struct umdev_msix msix;
    bool pcie; /* a PCI Express endpoint with function-level reset, 4096 bytes of config space */
    uint64_t serial_number; /* 0: none; needs pcie */
    const struct umdev_bar *bar[UMDEV_NUM_BARS];
    /*
     * The body of a vendor-specific capability, read-only; umdev puts the header before it. It must
     * stay there as long as the driver. Up to 181 bytes less what other capabilities take: with
     * all of them 93. NULL and 0: none.
     */
    const void *vendor_cap;
    size_t vendor_cap_size;
    /* Device-specific regions, up to UMDEV_MAX_EXTRA_REGIONS: UMDEV_EXTRA_REGIONS(array). */
    const struct umdev_extra_region *extra;
    size_t nextra;
    size_t extra_size; /* sizeof(struct umdev_extra_region) as the driver knew it */
};
#define UMDEV_PCI(...)                                                                             \
    (&(const struct umdev_pci){.struct_size = sizeof(struct umdev_pci), __VA_ARGS__})

/* A size of slice a parent offers. Its public name is <driver>-<name>. */
struct umdev_type {
    const char *name;        /* letters, digits, '_', '.', '-'; "1", "4", "small" */
    const char *description; /* NULL: none */
    const char *pretty_name; /* NULL: the public name */
    unsigned instances; /* how many of this type at once, up to max_instances; 0: limited by the
                           parent only */
    const struct umdev_pci *pci; /* NULL: the driver's */
    const void *data;            /* the driver's own; umdev never looks */
    uint64_t pin_limit; /* bytes of client memory a device may pin, a page counted once; 0: any */
    uint64_t pin_mode;  /* enum umdev_pin_mode */
};

/* When client memory is pinned (see umdev_dma_pin). */
enum umdev_pin_mode {
    UMDEV_PIN_SPARSE = 0, /* what the driver pins, for as long as it does */
    UMDEV_PIN_ALL,        /* all memory that has a file, from its mapping to its unmapping */
};

enum umdev_param_kind {
    UMDEV_PARAM_STRING = 0,
    UMDEV_PARAM_NUMBER, /* decimal, or 0x hexadecimal */
    UMDEV_PARAM_SIZE,   /* bytes, with K, M, G or T for powers of 1024: 64M */
    UMDEV_PARAM_BOOL,   /* yes, no, on, off, true, false, 1, 0 */
};

/* A key=value parameter of a parent. umdev checks and converts it before parent_open(). */
struct umdev_param {
    const char *name;
    const char *description;
    enum umdev_param_kind kind;
    const char *value; /* the default, written as a user would */
    uint64_t min, max; /* NUMBER and SIZE; both 0: any */
};

enum umdev_threads {
    UMDEV_THREADS_SERIALISED = 0,
    UMDEV_THREADS_PARALLEL,
};

/* ------------------------------------------------------------------ the driver itself */

/*
 * The callbacks. A device is created, opened by a client, closed, opened by the next …, removed:
 *
 *     parent_open ( create ( open ( CALL )* close )* remove )* parent_close
 *
 * where CALL is read, write, map_request, page_written, reset, irqs_changed or dma_unmap.
 * Attributes' callbacks and screenshot() come at any time between create and remove.
 *
 * "close" comes also when the client dies. After close the client's memory and interrupts are gone.
 * A callback that returns an error: −errno; the client gets it where it asked for something.
 */
struct umdev_driver {
    size_t struct_size;
    uint32_t api_version;
    uint32_t type_size;  /* sizeof(struct umdev_type) as the driver knew it */
    uint32_t param_size; /* sizeof(struct umdev_param) likewise */
    enum umdev_threads threads;

    const char *name; /* as in umdev-NAME.so: letters, digits, '_' */
    const char *description;
    const struct umdev_type *types;
    size_t ntypes;
    const struct umdev_param *params;
    size_t nparams;
    unsigned
        max_instances; /* devices of all types a parent can hold; 0: limited by the types only */
    size_t parent_priv_size; /* zeroed memory that umdev_parent_priv() returns */
    size_t priv_size;        /* zeroed memory that umdev_device_priv() returns */
    const struct umdev_pci *pci;

    /* Get the hardware ready. NULL: nothing to do. Parameters: umdev_param_*(). May block. */
    int (*parent_open)(struct umdev_parent *parent);
    /* Every device is gone. NULL: nothing to do. May block. */
    void (*parent_close)(struct umdev_parent *parent);

    /*
     * How many more devices of types[type] could be created now. NULL: umdev counts by `instances`
     * and `max_instances`. Where given, it is the only limit: create() is reached only when it
     * answered more than 0, and creations with one parent come one after the other, so that it can
     * count on that. Called under a lock, also while a create() or remove() runs: must be quick,
     * and must not call into umdev but for privs and parameters.
     */
    unsigned (*available)(struct umdev_parent *parent, unsigned type);

    /*
     * A new device. Here, and only here, the umdev_region_set_*() functions may be called. What a
     * failed create() took, it gives back itself: remove() is not called for it. NULL: nothing.
     */
    int (*create)(struct umdev_device *dev);
    void (*remove)(struct umdev_device *dev);

    /* A client has come (its memory and interrupts follow), or left. */
    int (*open)(struct umdev_device *dev);
    void (*close)(struct umdev_device *dev);

    /*
     * Back to the state after create(). Register files are there already: hooked registers at
     * their reset values, other bytes as create() left them. Interrupts stay configured. Comes on a
     * client's reset, on a function-level reset, and before each open() but the first.
     */
    int (*reset)(struct umdev_device *dev);

    /*
     * A trapped access to `len` bytes at `offset` of a region; inside the region, any alignment.
     * All of it or −errno. read: fill `buf`. NULL: EIO to the client.
     */
    int (*read)(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf, size_t len);
    int (*write)(struct umdev_device *dev, unsigned region, uint64_t offset, const void *buf,
                 size_t len);

    /* The client changed which interrupts of an index (UMDEV_IRQ_*) it listens to. */
    void (*irqs_changed)(struct umdev_device *dev, unsigned index);

    /*
     * The client takes [first, last] of its memory back, or some of its protection: let go of what
     * you remember of it. Every pin in it must be gone when this returns (umdev_dma_pin refuses new
     * ones meanwhile, but for what is allowed afterwards, too); what is still pinned and may not be
     * is torn down, and the device is then in its error state. Release every window
     * (umdev_dma_acquire) into it soon; the unmap waits for them.
     */
    void (*dma_unmap)(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last);

    /*
     * What the device's screen shows now: umdev_picture_alloc(), then fill in the pixels. Comes at
     * any time between create and remove, client or not. ENODATA: the screen is off. What a failed
     * one allocated is freed by umdev. NULL: the device has no screen.
     */
    int (*screenshot)(struct umdev_device *dev, struct umdev_picture *picture);

    /*
     * A page of a region that faults is wanted: `offset` is where it begins, `access` what for
     * (UMDEV_READ, UMDEV_WRITE or both). What answers it: *map, see struct umdev_map; or
     * UMDEV_MAP_TRAPPED. −errno refuses: the client's access fails, as a fault that kills or an
     * error reply, and goes on failing until the page is invalidated; it is counted, logged and
     * shown by `umdev show`. Comes from a thread of its own, serialised as other callbacks; twice
     * for one page where it was invalidated meanwhile. Must not call umdev_region_invalidate().
     * NULL: the 1:1 rule.
     */
    int (*map_request)(struct umdev_device *dev, unsigned region, uint64_t offset, unsigned access,
                       struct umdev_map *map);

    /*
     * In UMDEV_TRACK_NOTIFY mode: a tracked page is about to be written by the client, for the
     * first time since it was added or reported. The writer waits until this returns, so that what
     * is read here is what was there before; later writes are not told until umdev_track_collect()
     * has reported the page, which it does after this one in any case, or that of another device
     * that tracks it. All IOVAs of the page are named, in one call or several. Writes by devices
     * are not announced, only reported.
     *
     * From a thread of its own, serialised as other callbacks. It must be quick (a virtual
     * processor stands still), and must not wait for the client in any way: not for the thread that
     * writes, nor for another callback. umdev_track_add(), _remove() and _collect() may be called,
     * for these and other pages.
     */
    void (*page_written)(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last);

    /* What operators see and set of each device, beside what umdev shows: UMDEV_ATTRS(array). */
    const struct umdev_attr *attrs;
    size_t nattrs;
    size_t attr_size; /* sizeof(struct umdev_attr) as the driver knew it */
    /* … of each parent, and of each type of it: UMDEV_PARENT_ATTRS(), UMDEV_TYPE_ATTRS(). */
    const struct umdev_parent_attr *parent_attrs;
    size_t nparent_attrs;
    size_t parent_attr_size;
    const struct umdev_parent_attr *type_attrs;
    size_t ntype_attrs;
    size_t type_attr_size;
};

/*
 * UMDEV_DRIVER(copier, .types = …, .pci = …): defines the driver and the symbol umdev looks for.
 * Once in a shared object.
 */
#define UMDEV_DRIVER(driver_name, ...)                                                             \
    static const struct umdev_driver umdev_driver_##driver_name = {                                \
        .struct_size = sizeof(struct umdev_driver),                                                \
        .api_version = UMDEV_DRIVER_API_VERSION,                                                   \
        .type_size = sizeof(struct umdev_type),                                                    \
        .param_size = sizeof(struct umdev_param),                                                  \
        .name = #driver_name,                                                                      \
        __VA_ARGS__};                                                                              \
    UMDEV_API const struct umdev_driver *umdev_driver_entry(void);                                 \
    const struct umdev_driver *umdev_driver_entry(void)                                            \
    {                                                                                              \
        return &umdev_driver_##driver_name;                                                        \
    }                                                                                              \
    struct umdev_driver

/* ------------------------------------------------------------------ parents and devices */

/* The driver's private memory of a parent, zeroed at its birth; NULL if parent_priv_size is 0. */
UMDEV_API void *umdev_parent_priv(struct umdev_parent *parent);
/* The name the operator gave the parent. Valid as long as the parent. */
UMDEV_API const char *umdev_parent_name(const struct umdev_parent *parent);

/*
 * The value of a declared parameter: what the operator said or the default. An undeclared name, or
 * the wrong kind, is a mistake in the driver: "" / 0 / false, and an error in the log.
 */
UMDEV_API const char *umdev_param_string(const struct umdev_parent *parent, const char *name);
UMDEV_API uint64_t umdev_param_number(const struct umdev_parent *parent, const char *name);
UMDEV_API uint64_t umdev_param_size(const struct umdev_parent *parent, const char *name);
UMDEV_API bool umdev_param_bool(const struct umdev_parent *parent, const char *name);

/* The driver's private memory of a device, zeroed at its birth; NULL if priv_size is 0. */
UMDEV_API void *umdev_device_priv(struct umdev_device *dev);
UMDEV_API struct umdev_parent *umdev_device_parent(struct umdev_device *dev);
/* The type the device was created with: an index into, and an entry of, the driver's types. */
UMDEV_API unsigned umdev_device_type_index(const struct umdev_device *dev);
UMDEV_API const struct umdev_type *umdev_device_type(const struct umdev_device *dev);
/* The device's UUID, canonical and lower-case. Valid as long as the device. */
UMDEV_API const char *umdev_device_uuid(const struct umdev_device *dev);

/* A line in umdev's log, prefixed with the parent's or the device's name. */
UMDEV_API void umdev_parent_log(struct umdev_parent *parent, enum umdev_log_level level,
                                const char *format, ...) __attribute__((format(printf, 3, 4)));
UMDEV_API void umdev_device_log(struct umdev_device *dev, enum umdev_log_level level,
                                const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ------------------------------------------------------------------ registers */

/*
 * A register's stored value; out of the file's bounds: 0, or nothing is stored. Setting calls no
 * hook. Aligned accesses of their size are atomic, so engine threads may use them.
 */
UMDEV_API uint32_t umdev_regs_get32(const struct umdev_regs *regs, uint32_t offset);
UMDEV_API uint64_t umdev_regs_get64(const struct umdev_regs *regs, uint32_t offset);
UMDEV_API void umdev_regs_set32(struct umdev_regs *regs, uint32_t offset, uint32_t value);
UMDEV_API void umdev_regs_set64(struct umdev_regs *regs, uint32_t offset, uint64_t value);

/* ------------------------------------------------------------------ memory objects and regions */

/*
 * A memory object of `size` bytes (a positive multiple of 4096), zeroed, sealed against resizing,
 * mapped into this process. It belongs to the device and goes with it. Its bytes here, and their
 * address, stay the same from client to client; but each client gets a file of its own: between
 * reset() and open() the content moves to a new one, so that a client that has left, and kept its
 * mappings, sees nothing of those that follow. Engines must be idle between the two.
 * ENOMEM, EMFILE; EINVAL for a bad size.
 */
UMDEV_API int umdev_mem_create(struct umdev_device *dev, const char *name, uint64_t size,
                               struct umdev_mem **mem);
/*
 * An object of the parent, that all its devices can have in their regions and answers, and that
 * stays as it is from client to client. A client that is given it can reach all of it, whatever
 * its device: it is given only to clients that the operator said to trust (host.h, `umdev run
 * --trust-client`). Others reach it by trapped accesses, through the pages that their device shows;
 * their faults for it are refused (EPERM). Not behind a UMDEV_BAR_READONLY region. It goes with the
 * parent, after parent_close(). ENOMEM, EMFILE; EINVAL for a bad size.
 */
UMDEV_API int umdev_parent_mem_create(struct umdev_parent *parent, const char *name, uint64_t size,
                                      struct umdev_mem **mem);
/* Its bytes in this process; its size. The client may change them at any moment. */
UMDEV_API void *umdev_mem_ptr(struct umdev_mem *mem);
UMDEV_API uint64_t umdev_mem_size(const struct umdev_mem *mem);
/*
 * Give pages of an object back to the system. They are gone at once from all who map them, and read
 * as zeros from then on, here and there; written to, they are new memory. EINVAL: not whole pages,
 * or outside of the object. EPERM: it is behind a UMDEV_BAR_READONLY region. Others as
 * fallocate(2).
 */
UMDEV_API int umdev_mem_discard(struct umdev_mem *mem, uint64_t offset, uint64_t size);

/*
 * In create() only (EBUSY later): give a BAR another size than described (a power of two; an extra
 * region: any but 0), and back a region with `mem` from `mem_offset` on (4096-aligned, the region's
 * size must fit: EINVAL). The client maps the areas; without areas the whole region, if it is whole
 * pages. Outside them accesses trap. An area is aligned to
 * 4096 in offset and size and they don't overlap (EINVAL); they are copied. `mem` must be the
 * device's own, and the region's answers not registers (EINVAL). Pages with the MSI-X table or
 * pending bits trap (but see UMDEV_BAR_MSIX_MAPPABLE). An object behind a UMDEV_BAR_READONLY region
 * can be behind other such regions only.
 */
UMDEV_API int umdev_region_set_size(struct umdev_device *dev, unsigned region, uint64_t size);
UMDEV_API int umdev_region_set_mem(struct umdev_device *dev, unsigned region, struct umdev_mem *mem,
                                   uint64_t mem_offset, const struct umdev_area *areas,
                                   size_t nareas);
/*
 * The memory object behind a region: the driver's, or the one that umdev made for UMDEV_BAR_MEMORY
 * (a new one after umdev_region_set_size()). NULL: none.
 */
UMDEV_API struct umdev_mem *umdev_region_mem(struct umdev_device *dev, unsigned region);

/*
 * Take pages of a region that faults back: when it returns no client reaches the old ones through
 * [first, last] of the region, which is rounded outwards to whole pages; the next touch asks
 * map_request() again. Also when a page that was refused has become valid. From any thread, also
 * inside callbacks. May block until the client has done its part, for five seconds at most: then it
 * is cut off, and the success is that it has gone. Costs nothing for pages that no client was told
 * of.
 * EINVAL: no such region, one that does not fault, or a range outside of it. EDEADLK: inside
 * map_request().
 */
UMDEV_API int umdev_region_invalidate(struct umdev_device *dev, unsigned region, uint64_t first,
                                      uint64_t last);

/* ------------------------------------------------------------------ interrupts */

/*
 * Signal vector `vector` of UMDEV_IRQ_MSIX, UMDEV_IRQ_MSI, UMDEV_IRQ_ERR or UMDEV_IRQ_REQ. Never
 * blocks. Success also when no client listens: the interrupt is lost, as in hardware. A vector
 * masked in the MSI-X table or by the function mask is kept pending and signalled at unmask.
 * EINVAL: no such index or vector, or INTx (see umdev_irq_set_level).
 */
UMDEV_API int umdev_irq_trigger(struct umdev_device *dev, unsigned index, unsigned vector);

/*
 * Drive the INTx line. Raised, it is signalled once and then masked until the client unmasks it;
 * still raised then, it is signalled again. EINVAL: the device has no INTx pin. Never blocks.
 */
UMDEV_API int umdev_irq_set_level(struct umdev_device *dev, bool raised);

#ifdef __cplusplus
}
#endif

#endif
