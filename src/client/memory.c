/* SPDX-License-Identifier: BSD-3-Clause */
#include "client/memory.h"

#include "base/cleanup.h"
#include "base/range.h"
#include "base/thread.h"
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

void client_memory_init(struct client_memory *memory)
{
    pthread_mutex_init(&memory->lock, NULL);
}

/* ------------------------------------------------------------------ mappings; with the lock */

/* The first mapping that ends at `iova` or behind it; count: none. */
static size_t find(const struct client_memory *memory, uint64_t iova)
{
    size_t low = 0, high = memory->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (memory->maps[middle].last < iova)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int reserve(struct client_memory *memory)
{
    struct client_memory_map *maps;
    size_t capacity;

    if (memory->count < memory->capacity)
        return 0;
    capacity = memory->capacity ? 2 * memory->capacity : 16;
    maps = reallocarray(memory->maps, capacity, sizeof(*maps));
    if (!maps)
        return -ENOMEM;
    memory->maps = maps;
    memory->capacity = capacity;
    return 0;
}

static int add(struct client_memory *memory, const struct client_memory_map *map)
{
    size_t at;
    int ret;

    LOCK_FOR_SCOPE(&memory->lock);
    at = find(memory, map->first);
    if (at < memory->count && memory->maps[at].first <= map->last)
        return -EEXIST;
    ret = reserve(memory);
    if (ret)
        return ret;
    memmove(&memory->maps[at + 1], &memory->maps[at],
            (memory->count - at) * sizeof(memory->maps[0]));
    memory->maps[at] = *map;
    memory->count++;
    return 0;
}

static void take_out(struct client_memory *memory, umdev_iova_t iova, uint64_t size)
{
    struct range range;
    size_t kept;

    if (range_make(iova.value, size, &range))
        return;
    LOCK_FOR_SCOPE(&memory->lock);
    kept = find(memory, range.first);
    for (size_t i = kept; i < memory->count; i++) {
        const struct client_memory_map *map = &memory->maps[i];

        if (map->first < range.first || map->last > range.last)
            memory->maps[kept++] = *map;
    }
    memory->count = kept;
}

void client_memory_unmapped(struct umdev_client *client, umdev_iova_t iova, uint64_t size, int ret)
{
    /* A server that is gone reaches it no more, either. */
    if (!ret || !umdev_client_alive(client))
        take_out(&client->memory, iova, size);
}

/* The next mapping inside the range, from *index on; NULL: none. */
static struct client_memory_map *next_inside(const struct client_memory *memory, struct range range,
                                             size_t *index)
{
    while (*index < memory->count) {
        struct client_memory_map *map = &memory->maps[(*index)++];

        if (map->first >= range.first && map->last <= range.last)
            return map;
    }
    return NULL;
}

void client_memory_protect_begin(struct umdev_client *client, umdev_iova_t iova, uint64_t size,
                                 unsigned prot)
{
    struct client_memory *memory = &client->memory;
    struct client_memory_map *map;
    struct range range;
    size_t index;

    if (range_make(iova.value, size, &range))
        return;
    LOCK_FOR_SCOPE(&memory->lock);
    index = find(memory, range.first);
    while ((map = next_inside(memory, range, &index)))
        map->coming = prot;
}

void client_memory_protect_end(struct umdev_client *client, umdev_iova_t iova, uint64_t size,
                               bool refused)
{
    struct client_memory *memory = &client->memory;
    struct client_memory_map *map;
    struct range range;
    size_t index;

    if (range_make(iova.value, size, &range))
        return;
    LOCK_FOR_SCOPE(&memory->lock);
    index = find(memory, range.first);
    while ((map = next_inside(memory, range, &index))) {
        if (!refused && map->coming)
            map->prot = map->coming;
        map->coming = 0;
    }
}

/* Whether all of the range may be accessed like that; *index: the mapping of its first byte. */
static int check(const struct client_memory *memory, struct range range, unsigned prot,
                 size_t *index)
{
    uint64_t next = range.first;

    *index = find(memory, range.first);
    for (size_t i = *index; i < memory->count; i++) {
        const struct client_memory_map *map = &memory->maps[i];

        if (map->first > next)
            return -EFAULT;
        if (prot & ~(map->prot | map->coming))
            return -EPERM;
        if (map->last >= range.last)
            return 0;
        next = map->last + 1;
    }
    return -EFAULT;
}

/* Between the caller's memory and `buf`, which is written to with `prot` UMDEV_READ. */
static int move(struct client_memory *memory, const struct wire_dma_access *access, uint8_t *buf,
                unsigned prot)
{
    struct range range;
    size_t index;
    int ret;

    if (range_make(access->address, access->count, &range))
        return -EINVAL;
    LOCK_FOR_SCOPE(&memory->lock);
    ret = check(memory, range, prot, &index);
    for (size_t left = access->count; !ret && left > 0; index++) {
        const struct client_memory_map *map = &memory->maps[index];
        uint8_t *at = map->ptr + (range.first - map->first);
        size_t piece = (size_t)MIN((uint64_t)left - 1, map->last - range.first) + 1;

        if (prot == UMDEV_READ)
            memcpy(buf, at, piece);
        else
            memcpy(at, buf, piece);
        range.first += piece;
        buf += piece;
        left -= piece;
    }
    return ret;
}

/* ------------------------------------------------------------------ requests */

/* Do it, and put the answer's body behind its header: its size, or −errno. */
static int serve(struct umdev_client *client, const struct wire_message *request)
{
    struct client_memory *memory = &client->memory;
    uint8_t *body = memory->reply + sizeof(struct wire_header);
    bool write = request->header.command == WIRE_DMA_WRITE;
    struct wire_dma_access access;
    int ret;

    if (request->body_size < sizeof(access))
        return -EINVAL;
    memcpy(&access, request->body, sizeof(access));
    if (access.count > WIRE_MAX_DATA)
        return -E2BIG;
    if (request->body_size != sizeof(access) + (write ? access.count : 0))
        return -EINVAL;
    memcpy(body, &access, sizeof(access));
    if (write)
        ret = move(memory, &access, (uint8_t *)request->body + sizeof(access), UMDEV_WRITE);
    else
        ret = move(memory, &access, body + sizeof(access), UMDEV_READ);
    return ret ? ret : (int)(sizeof(access) + (write ? 0 : access.count));
}

int client_memory_answer(struct umdev_client *client, const struct wire_message *request,
                         uint64_t deadline)
{
    bool ours =
        request->header.command == WIRE_DMA_READ || request->header.command == WIRE_DMA_WRITE;
    struct wire_header header = {
        .id = request->header.id,
        .command = request->header.command,
        .flags = WIRE_TYPE_REPLY,
    };
    struct iovec iov[2] = {{.iov_base = &header, .iov_len = sizeof(header)}};
    int ret = -EOPNOTSUPP;

    if (ours && atomic_load(&client->memory.served))
        ret = serve(client, request);
    if (request->header.flags & WIRE_NO_REPLY)
        return 0;
    if (ret < 0) {
        header.flags |= WIRE_ERROR;
        header.error = (uint32_t)-ret;
    } else {
        iov[1].iov_base = client->memory.reply + sizeof(header);
        iov[1].iov_len = (size_t)ret;
    }
    header.size = (uint32_t)(sizeof(header) + iov[1].iov_len);
    return client_send(client, iov, iov[1].iov_len ? 2 : 1, deadline);
}

/* ------------------------------------------------------------------ the service thread */

static void *service_run(void *argument)
{
    client_receive(argument);
    return NULL;
}

int client_memory_serve(struct umdev_client *client)
{
    struct client_memory *memory = &client->memory;
    int ret;

    LOCK_FOR_SCOPE(&memory->lock);
    if (atomic_load(&memory->served))
        return 0;
    if (!memory->reply) {
        void *reply = mmap(NULL, WIRE_MAX_MESSAGE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (reply == MAP_FAILED)
            return -ENOMEM;
        memory->reply = reply;
    }
    memory->pid = getpid();
    ret = thread_start(&memory->thread, service_run, client);
    if (ret)
        return ret;
    atomic_store(&memory->served, true);
    return 0;
}

bool client_memory_forked(const struct umdev_client *client)
{
    return atomic_load(&client->memory.served) && client->memory.pid != getpid();
}

void client_memory_fini(struct umdev_client *client)
{
    struct client_memory *memory = &client->memory;

    if (atomic_load(&memory->served) && !client_memory_forked(client)) {
        client_end(client);
        pthread_join(memory->thread, NULL);
    }
    if (memory->reply)
        munmap(memory->reply, WIRE_MAX_MESSAGE);
    free(memory->maps);
}

/* ------------------------------------------------------------------ for the caller */

int umdev_client_dma_map_memory(struct umdev_client *client, void *ptr, umdev_iova_t iova,
                                uint64_t size, unsigned prot)
{
    struct client_memory_map map = {.ptr = ptr, .prot = prot};
    struct range range;
    uintptr_t end;
    int ret;

    if (!ptr || !prot || (prot & ~(unsigned)UMDEV_RW) ||
        !is_aligned(iova.value | size, PAGE_SIZE_4K) || range_make(iova.value, size, &range) ||
        ADD_OVERFLOW((uintptr_t)ptr, size, &end))
        return -EINVAL;
    map.first = range.first;
    map.last = range.last;
    ret = client_memory_serve(client);
    if (ret)
        return ret;
    ret = add(&client->memory, &map);
    if (ret)
        return ret;
    ret = client_dma_map(client, -1, 0, iova, size, prot, ptr);
    if (ret)
        take_out(&client->memory, iova, size);
    return ret;
}
