/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults: asking the driver for a page, checking what it says, and using it. fault.h has the model.
 */
#include "base/clock.h"
#include "device/bytes.h"
#include "device/device_priv.h"

#include <inttypes.h>
#include <sys/mman.h>

/* After so many tries an ask asks invalidations to wait for it. */
#define TRIES_STARVING 8
/* A trapped access holds the lock for so much of its copy at a time. */
#define COPY_MAX 65536u

/* An answer, or why there is none. */
struct answer {
    struct umdev_map map;
    int error;        /* 0 or −errno */
    bool trapped;     /* no memory: messages are the driver's to answer */
    const char *what; /* is wrong with the driver's answer, which is EIO then */
};

void faults_init(struct device_faults *faults)
{
    pthread_mutex_init(&faults->lock, NULL);
    clock_cond_init(&faults->changed);
    faults->timeout_ms = FAULT_TIMEOUT_MS;
}

void faults_fini(struct device_faults *faults)
{
    pthread_cond_destroy(&faults->changed);
    pthread_mutex_destroy(&faults->lock);
}

/* ------------------------------------------------------------------ regions */

int fault_region_check(const struct umdev_device *dev, unsigned index, struct umdev_error *error)
{
    const struct region *region = &dev->regions[index];
    char name[REGION_NAME_SIZE];

    region_name(index, name);
    if (!(region->flags & UMDEV_BAR_FAULT))
        return error_set(error, EINVAL, "%s: UMDEV_BAR_FAULT_IDENTITY is for regions that fault",
                         name);
    if (!is_aligned(region->size, PAGE_SIZE_4K))
        return error_set(error, EINVAL,
                         "%s: 0x%" PRIx64 " bytes are not whole pages, which UMDEV_BAR_FAULT needs",
                         name, region->size);
    if (dev->msix.vectors && dev->msix.bar == index)
        return error_set(error, EINVAL, "%s: the MSI-X table can't lie in a BAR that faults", name);
    if (region->nbacked)
        return error_set(error, EINVAL, "%s: a region that faults has no areas", name);
    if (!region->mem && !dev->driver->map_request)
        return error_set(error, EINVAL,
                         "%s: nobody says what to map: give it memory, or the driver a "
                         "map_request callback",
                         name);
    if (region->flags & UMDEV_BAR_FAULT_IDENTITY &&
        (!region->mem || !dev->driver->map_request || region->flags & UMDEV_BAR_READONLY))
        return error_set(error, EINVAL,
                         "%s: UMDEV_BAR_FAULT_IDENTITY needs memory that can be written, and a "
                         "map_request callback",
                         name);
    return 0;
}

bool mem_is_kept(const struct umdev_device *dev, const struct umdev_mem *mem)
{
    return mem->list->shared && !dev->faults.trusted;
}

bool fault_region_is_offered(const struct umdev_device *dev, unsigned index)
{
    const struct region *region = &dev->regions[index];

    return region->flags & UMDEV_BAR_FAULT &&
           (dev->driver->map_request || !mem_is_kept(dev, region->mem));
}

bool fault_region_is_identity(const struct umdev_device *dev, unsigned index)
{
    const struct region *region = &dev->regions[index];

    return region->flags & UMDEV_BAR_FAULT_IDENTITY && !mem_is_kept(dev, region->mem);
}

int device_fault_object(struct umdev_device *dev, unsigned index, int *fd, uint64_t *offset)
{
    struct region *region;

    if (index >= dev->nregions || !fault_region_is_identity(dev, index))
        return -EINVAL;
    region = &dev->regions[index];
    atomic_store(&region->mem->given, true);
    *fd = region->mem->fd;
    *offset = region->mem_offset;
    return 0;
}

int device_fault_populate(const struct umdev_device *dev, unsigned index, uint64_t page)
{
    const struct region *region = &dev->regions[index];
    uint8_t *bytes = region->mem->bytes + region->mem_offset + page;

    return madvise(bytes, PAGE_SIZE_4K, MADV_POPULATE_READ) ? -errno : 0;
}

/* ------------------------------------------------------------------ the driver's answer */

/* What is wrong with the driver's answer; NULL: nothing. */
static const char *map_fault(const struct umdev_device *dev, unsigned index, uint64_t page,
                             const struct umdev_map *map)
{
    const struct region *region = &dev->regions[index];

    if (!map->mem)
        return "no memory object";
    if (!device_has_mem(dev, map->mem))
        return "a memory object that is not this device's";
    if (map->first > map->last || map->last >= region->size)
        return "a range outside of the region";
    if (!is_aligned(map->first, PAGE_SIZE_4K) || !is_aligned(map->last + 1, PAGE_SIZE_4K) ||
        !is_aligned(map->mem_offset, PAGE_SIZE_4K))
        return "a range or offset that is not whole pages";
    if (map->first > page || map->last < page)
        return "a range without the page";
    if (!span_fits(map->mem_offset, map->last - map->first + 1, map->mem->size))
        return "a range beyond the end of its memory object";
    if (map->prot == 0 || map->prot & ~(unsigned)UMDEV_RW)
        return "no protection that there is";
    if (map->prot & UMDEV_WRITE && (map->mem->read_only || region->flags & UMDEV_BAR_READONLY))
        return "write access to what is read-only";
    if (region->flags & UMDEV_BAR_FAULT_IDENTITY &&
        (map->mem != region->mem || map->mem_offset != region->mem_offset + map->first ||
         map->prot != UMDEV_RW))
        return "something else than the region's own page, for reading and writing";
    return NULL;
}

/* The 1:1 rule, where there is an object behind the region. */
static struct umdev_map map_default(const struct region *region)
{
    if (!region->mem)
        return (struct umdev_map){0};
    return (struct umdev_map){
        .mem = region->mem,
        .mem_offset = region->mem_offset,
        .first = 0,
        .last = region->size - 1,
        .prot = region->flags & UMDEV_BAR_READONLY ? UMDEV_READ : UMDEV_RW,
    };
}

/* Under the lock that callbacks need, and no other. */
static struct answer driver_ask(struct umdev_device *dev, unsigned index, uint64_t page,
                                unsigned access)
{
    const struct region *region = &dev->regions[index];
    struct answer answer = {.map = map_default(region)};
    int ret = 0;

    if (access & UMDEV_WRITE && region->flags & UMDEV_BAR_READONLY) {
        answer.error = -EPERM;
        return answer;
    }
    if (dev->driver->map_request)
        ret = dev->driver->map_request(dev, index, page, access, &answer.map);
    if (ret == UMDEV_MAP_TRAPPED) {
        answer.map = (struct umdev_map){.first = page, .last = page + PAGE_SIZE_4K - 1};
        answer.trapped = true;
        return answer;
    }
    answer.error = driver_result(ret);
    if (answer.error < 0)
        return answer;
    answer.what = map_fault(dev, index, page, &answer.map);
    if (answer.what)
        answer.error = -EIO;
    else if ((answer.map.prot & access) != access)
        answer.error = -EACCES;
    return answer;
}

/* ------------------------------------------------------------------ asks */

static void ask_begin(struct umdev_device *dev, unsigned index, struct fault_ask *ask)
{
    *ask = (struct fault_ask){.thread = (unsigned long)pthread_self(), .region = index};
    LOCK_FOR_SCOPE(&dev->faults.lock);
    ask->next = dev->faults.asks;
    dev->faults.asks = ask;
}

/*
 * With the lock: the ask is over. false: the page was invalidated since it began. Where only other
 * pages of the answer were, it shrinks to the page.
 */
static bool ask_settle(struct umdev_device *dev, struct fault_ask *ask, uint64_t page,
                       struct answer *answer)
{
    const struct range this_page = {page, page + PAGE_SIZE_4K - 1};
    struct umdev_map *map = &answer->map;
    struct fault_ask **link = &dev->faults.asks;

    while (*link != ask)
        link = &(*link)->next;
    *link = ask->next;
    if (ask->hit && range_overlaps(ask->hit_range, this_page))
        return false;
    if (ask->hit && answer->error == 0 &&
        range_overlaps(ask->hit_range, (struct range){map->first, map->last})) {
        map->mem_offset += page - map->first;
        map->first = this_page.first;
        map->last = this_page.last;
    }
    return true;
}

/* With the lock. Whether it is to be logged. */
static bool refusal_note(struct umdev_device *dev, unsigned index, uint64_t page, unsigned access,
                         const struct answer *answer, unsigned *dropped)
{
    struct device_faults *faults = &dev->faults;

    faults->stats.refused++;
    faults->stats.last = (struct device_refusal){
        .region = index,
        .offset = page,
        .access = access,
        .error = -answer->error,
        .when_ns = clock_now_ns(),
    };
    return log_limit_pass(&faults->limit, dropped);
}

static const char *access_name(unsigned access)
{
    return access == UMDEV_READ ? "read" : access == UMDEV_WRITE ? "write" : "read and write";
}

static void refusal_log(struct umdev_device *dev, unsigned index, uint64_t page, unsigned access,
                        const struct answer *answer, unsigned dropped)
{
    char name[REGION_NAME_SIZE];

    region_name(index, name);
    if (dropped)
        umdev_device_log(dev, UMDEV_LOG_WARNING, "%u lines about refused pages were left out",
                         dropped);
    if (answer->what)
        umdev_device_log(dev, UMDEV_LOG_ERROR,
                         "%s+0x%" PRIx64 ": %s refused: driver %s answers with %s", name, page,
                         access_name(access), dev->driver->name, answer->what);
    else
        umdev_device_log(dev, UMDEV_LOG_WARNING, "%s+0x%" PRIx64 ": %s refused: %s", name, page,
                         access_name(access), log_errno(-answer->error));
}

bool fault_is_asking(struct umdev_device *dev)
{
    unsigned long self = (unsigned long)pthread_self();
    LOCK_FOR_SCOPE(&dev->faults.lock);

    for (const struct fault_ask *ask = dev->faults.asks; ask; ask = ask->next)
        if (ask->thread == self)
            return true;
    return false;
}

/*
 * Ask for a page until the answer holds: with the lock then. Whoever invalidates it all the time
 * must let an answer through now and then, or it is refused.
 */
static void ask_until_settled(struct umdev_device *dev, unsigned index, uint64_t page,
                              unsigned access, struct answer *answer)
{
    struct device_faults *faults = &dev->faults;
    struct fault_ask ask;
    uint64_t since_ns = 0;
    bool settled = false;

    for (unsigned tries = 0;; tries++) {
        ask_begin(dev, index, &ask);
        *answer = driver_ask(dev, index, page, access);
        pthread_mutex_lock(&faults->lock);
        settled = ask_settle(dev, &ask, page, answer);
        if (tries >= TRIES_STARVING && --faults->starving == 0)
            pthread_cond_broadcast(&faults->changed);
        if (settled)
            return;
        if (!since_ns)
            since_ns = clock_now_ns();
        if (clock_now_ns() - since_ns > (uint64_t)faults->timeout_ms * 1000000) {
            *answer = (struct answer){.error = -EAGAIN};
            return;
        }
        if (tries + 1 >= TRIES_STARVING)
            faults->starving++;
        pthread_mutex_unlock(&faults->lock);
    }
}

/*
 * Ask for a page, and use the answer by use(), under the lock. Under the lock that callbacks need.
 * Returns what use() does; a refusal is noted if that is 0.
 */
static int fault_ask(struct umdev_device *dev, unsigned index, uint64_t page, unsigned access,
                     int (*use)(struct umdev_device *dev, struct answer *answer, void *opaque),
                     void *opaque)
{
    struct device_faults *faults = &dev->faults;
    struct answer answer;
    unsigned dropped = 0;
    bool loud = false;
    int ret;

    ask_until_settled(dev, index, page, access, &answer);
    ret = use(dev, &answer, opaque);
    if (ret == 0 && answer.error < 0)
        loud = refusal_note(dev, index, page, access, &answer, &dropped);
    pthread_mutex_unlock(&faults->lock);
    if (loud)
        refusal_log(dev, index, page, access, &answer, dropped);
    return ret;
}

/* ------------------------------------------------------------------ for the client */

struct fault_request {
    unsigned region;
    uint64_t page;
    struct device_mapper *mapper;
    void *opaque;
};

static struct device_map map_refused(unsigned region, uint64_t page)
{
    return (struct device_map){
        .region = region,
        .first = page,
        .last = page + PAGE_SIZE_4K - 1,
        .fd = -1,
    };
}

static int answer_send(struct umdev_device *dev, struct answer *answer, void *opaque)
{
    const struct fault_request *request = opaque;
    struct device_map map = map_refused(request->region, request->page);
    int ret;

    if (answer->error == 0 && (answer->trapped || mem_is_kept(dev, answer->map.mem)))
        answer->error = -EPERM;
    if (answer->error == 0) {
        map.first = answer->map.first;
        map.last = answer->map.last;
        map.offset = answer->map.mem_offset;
        map.prot = answer->map.prot;
        map.object = answer->map.mem->id;
        map.fd = answer->map.mem->fd;
        atomic_store(&answer->map.mem->given, true);
    }
    ret = request->mapper->answer(request->mapper, request->opaque, &map, -answer->error);
    if (ret < 0)
        return ret;
    fault_told_add(dev, request->region, (struct range){map.first, map.last});
    if (answer->error == 0)
        dev->faults.stats.resolved++;
    return 0;
}

int device_fault(struct umdev_device *dev, struct device_mapper *mapper, unsigned region,
                 uint64_t offset, unsigned access, void *opaque)
{
    struct fault_request request = {region, align_down(offset, PAGE_SIZE_4K), mapper, opaque};
    struct device_map refused = map_refused(region, request.page);

    if (region >= dev->nregions || !fault_region_is_offered(dev, region) ||
        offset >= dev->regions[region].size || access == 0 || access & ~(unsigned)UMDEV_RW)
        return mapper->answer(mapper, opaque, &refused, EINVAL);
    SERIALISE_FOR_SCOPE(dev);
    return fault_ask(dev, region, request.page, access, answer_send, &request);
}

/* ------------------------------------------------------------------ trapped accesses */

struct fault_copy {
    bool write;
    uint64_t offset; /* in the region */
    uint8_t *buf;
    size_t len;
    int error;    /* of the page that was refused */
    bool trapped; /* the page is the driver's to answer */
};

static void copy_advance(struct fault_copy *copy, size_t len)
{
    copy->offset += len;
    copy->buf += len;
    copy->len -= len;
}

/* As much as the answer covers. */
static int answer_copy(struct umdev_device *dev, struct answer *answer, void *opaque)
{
    const struct umdev_map *map = &answer->map;
    struct fault_copy *copy = opaque;
    uint8_t *bytes;
    size_t len;

    (void)dev;
    copy->error = answer->error;
    copy->trapped = answer->trapped;
    if (answer->error < 0 || answer->trapped)
        return 0;
    len = (size_t)MIN(MIN(copy->len, map->last + 1 - copy->offset), COPY_MAX);
    bytes = map->mem->bytes + map->mem_offset + (copy->offset - map->first);
    if (copy->write)
        bytes_store(bytes, copy->buf, len);
    else
        bytes_load(copy->buf, bytes, len);
    copy_advance(copy, len);
    return 0;
}

/* What lies in the page, by the driver's read() or write(): it looks for itself what is there. */
static int page_trap(struct umdev_device *dev, unsigned index, struct fault_copy *copy)
{
    const struct umdev_driver *driver = dev->driver;
    size_t len = (size_t)MIN(copy->len,
                             align_down(copy->offset, PAGE_SIZE_4K) + PAGE_SIZE_4K - copy->offset);
    int ret = -EIO;

    if (copy->write && driver->write)
        ret = driver_result(driver->write(dev, index, copy->offset, copy->buf, len));
    else if (!copy->write && driver->read)
        ret = driver_result(driver->read(dev, index, copy->offset, copy->buf, len));
    copy_advance(copy, len);
    return ret;
}

static int fault_copy(struct umdev_device *dev, unsigned index, struct fault_copy *copy)
{
    while (copy->len > 0 && copy->error == 0) {
        fault_ask(dev, index, align_down(copy->offset, PAGE_SIZE_4K),
                  copy->write ? UMDEV_WRITE : UMDEV_READ, answer_copy, copy);
        if (copy->error == 0 && copy->trapped)
            copy->error = page_trap(dev, index, copy);
    }
    return copy->error;
}

int fault_read(struct umdev_device *dev, unsigned index, uint64_t offset, uint8_t *buf, size_t len)
{
    struct fault_copy copy = {.offset = offset, .buf = buf, .len = len};

    return fault_copy(dev, index, &copy);
}

int fault_write(struct umdev_device *dev, unsigned index, uint64_t offset, const uint8_t *buf,
                size_t len)
{
    struct fault_copy copy = {.write = true, .offset = offset, .buf = (uint8_t *)buf, .len = len};

    return fault_copy(dev, index, &copy);
}
