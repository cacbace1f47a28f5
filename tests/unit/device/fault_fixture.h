/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device with regions that fault, a driver that answers as it is told, and a mapper that keeps
 * what it gets.
 */
#ifndef TESTS_DEVICE_FAULT_FIXTURE_H
#define TESTS_DEVICE_FAULT_FIXTURE_H

#include "fixture.h"

#include "device/mem.h"

#include <pthread.h>

#define PAGE         UINT64_C(4096)
#define PAGES        UINT64_C(16) /* of TABLE, and of each object */
#define WINDOW_PAGES UINT64_C(8)

enum { TABLE = 2, WINDOW = 3, READONLY = 4 };

/* The driver's state: the device's context. */
struct fault_state {
    struct umdev_mem *objects[3], *read_only, *shared;
    struct mem_list parent;
    /* What map_request() does for TABLE. */
    int result;
    bool canned, canned_everywhere;
    struct umdev_map answer;
    bool scatter;         /* page n is page n of object n % 3 */
    uint64_t refuse_page; /* not 0: ENOENT */
    void (*hook)(struct umdev_device *dev, struct fault_state *state, uint64_t page);
    atomic_uint calls;
    unsigned asked_access;
};

struct fake_mapper {
    struct device_mapper mapper;
    struct device_map map;
    int error, answer_result;
    atomic_uint answers, invalidations;
    struct device_invalidation last; /* a copy */
    int wait_result;
    unsigned no_room; /* so many times EAGAIN first */
    void (*while_waiting)(void *opaque);
    void *opaque;
};

struct faults {
    struct fixture fixture; /* first */
    struct fault_state driver;
    struct fake_mapper fake;
};

extern const struct umdev_driver fault_driver;

/* The device, closed. */
int faults_try(struct faults *f, const struct umdev_driver *driver);
/* The device, open, with the mapper. */
void faults_start(struct faults *f, const struct umdev_driver *driver);
void faults_end(struct faults *f);
void faults_expect_refused(const struct umdev_driver *driver, const char *word);

/* The first four bytes of each page. */
static inline uint32_t page_mark(unsigned object, unsigned page)
{
    return object << 16 | page;
}

static inline uint8_t *object_bytes(struct faults *f, unsigned object)
{
    return umdev_mem_ptr(f->driver.objects[object]);
}

/* TABLE's answer from now on. */
void say(struct faults *f, uint64_t first, uint64_t last, unsigned object, uint64_t mem_offset,
         unsigned prot);
/* … page 0 of the shared object. */
void say_shared(struct faults *f);

int fault(struct faults *f, unsigned region, uint64_t offset, unsigned access);
void expect_map(struct faults *f, unsigned region, uint64_t offset, unsigned access,
                uint64_t first_page, uint64_t last_page, uint64_t mem_page, unsigned prot);
void expect_refused(struct faults *f, unsigned region, uint64_t offset, unsigned access, int error);
/* Of four bytes. */
int trapped_read(struct faults *f, unsigned region, uint64_t offset);

#endif
