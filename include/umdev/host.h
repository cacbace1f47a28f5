/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Run drivers in a process of your own: parents, devices, sockets. The command `umdev` is a user of
 * this header, a test program that wants a device on a socketpair is another.
 *
 * A struct umdev_host is independent of any other in the process. Its functions may be called from
 * any thread at the same time, but for umdev_host_free(), which comes last.
 *
 * The first host of a process installs a SIGBUS handler that catches client memory which is taken
 * away under a device; faults anywhere else go on to the handler that was there before.
 */
#ifndef UMDEV_HOST_H
#define UMDEV_HOST_H

#include <umdev/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct umdev_host;
struct umdev_driver;

struct umdev_host_options {
    size_t struct_size; /* sizeof(struct umdev_host_options) */
    /* Where log lines go (no newline at their end); NULL: standard error. Any thread. */
    void (*log)(void *opaque, enum umdev_log_level level, const char *line);
    void *log_opaque;
    enum umdev_log_level log_level; /* lines above it are dropped */
    bool no_sigbus_handler; /* the program has its own and calls umdev_host_sigbus() in it */
    /*
     * Clients may be given memory that several devices share (umdev_parent_mem_create()): each can
     * then read and write what the others have in it, whatever their devices show them. For
     * clients that belong to one owner.
     */
    bool trust_clients;
};

/*
 * `options` NULL: all members zero. ENOMEM, EMFILE, EAGAIN (no thread). EINVAL: struct_size is
 * missing, or a member that this library does not know of is not zero.
 */
UMDEV_API int umdev_host_new(const struct umdev_host_options *options, struct umdev_host **host);
/*
 * Disconnects every client, removes every device, closes every parent. Waits for callbacks in
 * flight. NULL is ignored.
 */
UMDEV_API void umdev_host_free(struct umdev_host *host);
/* In a SIGBUS handler: true if the address was client memory and execution may go on. */
UMDEV_API bool umdev_host_sigbus(void *fault_address);

/* ------------------------------------------------------------------ parents and types */

/*
 * Open a parent: `driver` is a name or, with a '/', a file. A name's umdev-NAME.so is looked for in
 *   1. the directories of the environment variable UMDEV_DRIVER_PATH, separated by colons,
 *   2. BUILD/drivers/NAME, where this library is BUILD/src/libumdev.so, not installed,
 *   3. the directory of installed drivers (pkg-config --variable=driverdir umdev);
 * the first that exists is taken. `name` NULL: the driver's name with a number; else letters,
 * digits, '_', '.', '-' and ':', a letter or digit first. `params`: "key=value" strings.
 * ENOENT: no such driver. ENOEXEC: not a umdev driver, of another API version, in need of a newer
 * umdev, or not the NAME that was asked for. EEXIST: the parent's name is taken. EINVAL: a name, a
 * parameter, or the driver's description of itself. ENOMEM. Others from the driver. May block.
 */
UMDEV_API int umdev_host_add_parent(struct umdev_host *host, const char *driver, const char *name,
                                    const char *const *params, size_t nparams,
                                    struct umdev_error *error);
/* The same with a driver that is part of the program; it must stay until its parent is gone. */
UMDEV_API int umdev_host_add_parent_static(struct umdev_host *host,
                                           const struct umdev_driver *driver, const char *name,
                                           const char *const *params, size_t nparams,
                                           struct umdev_error *error);
/*
 * Refuses new devices, removes the present ones (as umdev_host_remove), then closes it. ENOENT: no
 * such parent. ENODEV: it is being removed by someone else.
 */
UMDEV_API int umdev_host_remove_parent(struct umdev_host *host, const char *name);

struct umdev_host_type {
    const char *parent; /* the parent's name */
    const char *driver;
    const char *name; /* <driver>-<type> */
    const char *pretty_name;
    const char *description; /* NULL: none */
    const char *device_api;  /* "vfio-pci" */
    unsigned available;      /* devices that can still be created; UINT_MAX: no limit */
};
/*
 * Calls `each` for every type of every parent that is open, in order of their coming, until it
 * returns non-zero, which is returned. The struct and its strings are valid inside the call only;
 * `each` must not call into the host.
 */
UMDEV_API int umdev_host_for_each_type(struct umdev_host *host,
                                       int (*each)(void *opaque, const struct umdev_host_type *),
                                       void *opaque);

/* ------------------------------------------------------------------ devices */

/*
 * Create a device of `type` ("vgpu-4"; of the parent `parent`, or the first that has room if NULL).
 * `uuid` NULL: a random one. `uuid_out` (may be NULL) takes the UUID.
 * EINVAL: a malformed UUID (8-4-4-4-12 hexadecimal digits of either case are right), or the driver
 * describes a device that can't be. ENOENT: no such type or parent. EEXIST: the UUID is in use,
 * with any parent; a device that is being removed still uses its UUID and its place. EUSERS: no
 * room. ENODEV: the parent is being removed. ENOMEM, EMFILE. Others from the driver's create().
 */
UMDEV_API int umdev_host_create(struct umdev_host *host, const char *parent, const char *type,
                                const char *uuid, char uuid_out[UMDEV_UUID_STR_SIZE],
                                struct umdev_error *error);
/*
 * Disconnect its client, then remove it; waits for callbacks in flight, never for the client.
 * ENODEV: no such device, or its parent is being removed. EAGAIN: it is being created or removed.
 */
UMDEV_API int umdev_host_remove(struct umdev_host *host, const char *uuid);

/*
 * Serve a device at a UNIX socket. `mode` are the socket's permissions (0: 0600). A dead socket
 * file at `path` is replaced. One client at a time: the next one is told EBUSY,
 * unless the first has hung up: then it waits for that one's end, two seconds at most.
 * The socket stays, and clients come and go, until the device is removed.
 * ENODEV: no such device. EADDRINUSE: a live server, or something that is no socket, is there.
 * ENAMETOOLONG; others as bind(2). EEXIST: the device has a socket already. ENOMEM.
 */
UMDEV_API int umdev_host_listen(struct umdev_host *host, const char *uuid, const char *path,
                                unsigned mode, struct umdev_error *error);
/*
 * The same on a listening stream socket, which the host then owns; on failure it stays the
 * caller's. EBADF, EINVAL: not such a socket. Others as umdev_host_listen().
 */
UMDEV_API int umdev_host_listen_fd(struct umdev_host *host, const char *uuid, int fd);
/*
 * Serve one client on a connected stream socket; ownership as above. Returns at once; a device that
 * has a client tells the new one EBUSY. ENODEV, ENOMEM, EAGAIN (no thread); EBADF, EINVAL: not such
 * a socket.
 */
UMDEV_API int umdev_host_serve_fd(struct umdev_host *host, const char *uuid, int fd);

/* What a device has done since it was created. */
struct umdev_host_stats {
    size_t struct_size;                           /* in: sizeof; only as much is filled in */
    uint64_t sessions;                            /* clients served, the present one included */
    uint64_t connected;                           /* 1: a client is there */
    uint64_t messages;                            /* requests answered */
    uint64_t traps_read, traps_write;             /* trapped accesses */
    uint64_t trap_bytes_read, trap_bytes_written; /* … and their bytes */
    uint64_t dma_maps;                            /* mappings now */
    uint64_t dma_mapped_bytes;                    /* … and their bytes */
    uint64_t dma_bytes_read, dma_bytes_written;   /* by the device in client memory */
    uint64_t interrupts;                          /* signalled to a client */
    uint64_t resets;
    uint64_t errors;           /* requests answered with an error */
    uint64_t dma_pinned_bytes; /* client memory that is pinned now, a page counted once */
    uint64_t failed;           /* 1: in the error state, until a reset (umdev_device_fail) */
    uint64_t faults;           /* pages that a client touched, resolved */
    uint64_t refused;          /* … refused; trapped accesses to such pages, too */
    uint64_t revoked;          /* pages taken back from a client */
    /* The last one that was refused; refusal_errno 0: none was. */
    uint64_t refusal_errno;
    uint64_t refusal_region, refusal_offset;
    uint64_t refusal_access; /* UMDEV_READ, UMDEV_WRITE, UMDEV_RW */
    uint64_t refusal_age_ms; /* so long ago */
    /* Write tracking: pages that are tracked now, those of them whose content is compared … */
    uint64_t tracked_pages, compared_pages;
    uint64_t track_notify; /* … 1: the device is told before a write (UMDEV_TRACK_NOTIFY) … */
    uint64_t track_method; /* … and enum umdev_host_track_method, for memory that can be so */
};
enum umdev_host_track_method {
    UMDEV_HOST_TRACK_COMPARE = 0,
    UMDEV_HOST_TRACK_UFFD_ASYNC,
    UMDEV_HOST_TRACK_UFFD_SYNC,
};
/* ENODEV: no such device. EINVAL: struct_size is missing. */
UMDEV_API int umdev_host_get_stats(struct umdev_host *host, const char *uuid,
                                   struct umdev_host_stats *stats);

/*
 * What a device's screen shows now. `picture`: struct_size set; free it with umdev_picture_free().
 * May block as long as the driver takes. ENODEV: no such device. EOPNOTSUPP: it has no screen.
 * ENODATA: the screen is off. EINVAL: struct_size is missing. ENOMEM, others from the driver; the
 * picture is empty then.
 */
UMDEV_API int umdev_host_screenshot(struct umdev_host *host, const char *uuid,
                                    struct umdev_picture *picture);

struct umdev_host_device {
    const char *uuid, *type, *parent, *driver;
    const char *socket; /* path, or NULL */
    bool connected;
};
/* Every device but those being created or removed; otherwise as umdev_host_for_each_type(). */
UMDEV_API int umdev_host_for_each_device(struct umdev_host *host,
                                         int (*each)(void *opaque,
                                                     const struct umdev_host_device *),
                                         void *opaque);

#ifdef __cplusplus
}
#endif

#endif
