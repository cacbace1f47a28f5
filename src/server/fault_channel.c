/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/fault_channel.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/range.h"
#include "base/socket.h"
#include "device/mem.h"
#include "server/fault_identity.h"
#include "server/id_set.h"
#include "wire/vfio_user.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* What the socket may hold of our packets: the kernel doubles it, and counts its own part, too. */
#define SEND_BUFFER 32768

struct open_fault {
    uint32_t tag, region;
    unsigned access;
    uint64_t offset;
    struct identity_answer *touch; /* NULL: it is answered by a packet */
};

struct fault_channel {
    struct device_mapper mapper; /* first: the device's calls find their channel */
    struct umdev_device *dev;
    int fd;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC */
    bool reading;           /* the role is taken */
    bool ended;
    int error; /* why: 0 or −errno */
    /* A ring; the first one is being answered. */
    struct open_fault faults[WIRE_FAULTS_MAX];
    unsigned first_fault, nfaults;
    struct device_invalidation *sent; /* without acknowledgement */
    uint32_t last_tag;
    struct id_set own, shared; /* the objects that the client has */
    struct fault_identity identity;
    /* What the thread is mapping without the lock: the pages, and which time it is; 0: nothing. */
    uint64_t mapping, last_mapping;
    unsigned mapping_region;
    struct range mapping_range;
};

static struct fault_channel *channel_of(struct device_mapper *mapper)
{
    return (struct fault_channel *)(void *)mapper;
}

/* ------------------------------------------------------------------ the end */

/* With the lock. The first reason counts. */
static void channel_fail(struct fault_channel *channel, int error)
{
    if (channel->ended)
        return;
    channel->ended = true;
    channel->error = error;
    /* Whoever polls it wakes up. */
    shutdown(channel->fd, SHUT_RDWR);
    pthread_cond_broadcast(&channel->changed);
}

void fault_channel_end(struct fault_channel *channel)
{
    LOCK_FOR_SCOPE(&channel->lock);
    channel_fail(channel, 0);
}

/* ------------------------------------------------------------------ receiving */

static int receive_fault(struct fault_channel *channel, const struct wire_fault_packet *packet)
{
    unsigned next = (channel->first_fault + channel->nfaults) % WIRE_FAULTS_MAX;

    if (channel->nfaults == WIRE_FAULTS_MAX)
        return -EPROTO;
    for (unsigned i = 0; i < channel->nfaults; i++)
        if (channel->faults[(channel->first_fault + i) % WIRE_FAULTS_MAX].tag == packet->tag)
            return -EPROTO;
    channel->faults[next] = (struct open_fault){
        .tag = packet->tag,
        .region = packet->region,
        .access = packet->prot,
        .offset = packet->first,
    };
    channel->nfaults++;
    return 0;
}

static int receive_ack(struct fault_channel *channel, const struct wire_fault_packet *packet)
{
    for (struct device_invalidation **link = &channel->sent; *link; link = &(*link)->next_sent) {
        if ((*link)->tag == packet->tag) {
            (*link)->done = true;
            *link = (*link)->next_sent;
            return 0;
        }
    }
    return -EPROTO;
}

/* One packet, whose unused members must be 0. */
static int receive_packet(struct fault_channel *channel, const struct wire_fault_packet *packet)
{
    struct wire_fault_packet used = {.type = packet->type, .tag = packet->tag};

    if (packet->type == WIRE_FAULT_FAULT) {
        used.region = packet->region;
        used.first = packet->first;
        used.prot = packet->prot;
    }
    if (memcmp(&used, packet, sizeof(used)) != 0)
        return -EPROTO;
    switch (packet->type) {
    case WIRE_FAULT_FAULT:
        return receive_fault(channel, packet);
    case WIRE_FAULT_ACK:
        return receive_ack(channel, packet);
    default:
        return -EPROTO;
    }
}

/*
 * With the lock: whatever has come. Without room for control messages no fd can arrive, neither one
 * that was sent nor one that the socket's options add.
 */
static void channel_receive(struct fault_channel *channel)
{
    while (!channel->ended) {
        struct wire_fault_packet packet;
        struct iovec iov = {&packet, sizeof(packet)};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t size = recvmsg(channel->fd, &msg, MSG_DONTWAIT);
        int ret;

        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN)
            return;
        if (size < 0)
            ret = -errno;
        else if (size == 0)
            ret = -ECONNRESET;
        else if (size != sizeof(packet) || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
            ret = -EPROTO;
        else
            ret = receive_packet(channel, &packet);
        if (ret < 0)
            channel_fail(channel, ret);
    }
}

/* With the lock, given up meanwhile, and nobody reading: take the role for one look at the socket.
 */
static void channel_read(struct fault_channel *channel, uint64_t deadline_ns)
{
    struct pollfd poll_fd = {.fd = channel->fd, .events = POLLIN};

    channel->reading = true;
    pthread_mutex_unlock(&channel->lock);
    poll(&poll_fd, 1, clock_ms_until(deadline_ns));
    pthread_mutex_lock(&channel->lock);
    channel->reading = false;
    channel_receive(channel);
    pthread_cond_broadcast(&channel->changed);
}

/* The same for the thread, which looks at the windows, too, and has all the time there is. */
static void channel_read_all(struct fault_channel *channel)
{
    struct epoll_event events[WIRE_FAULT_IDENTITY_MAX + 1];
    int n;

    channel->reading = true;
    pthread_mutex_unlock(&channel->lock);
    n = epoll_wait(channel->identity.epoll, events, ARRAY_SIZE(events), -1);
    pthread_mutex_lock(&channel->lock);
    channel->reading = false;
    for (int i = 0; i < n; i++) {
        if (!events[i].data.u64)
            channel_receive(channel);
        else if (fault_identity_ready(&channel->identity, events[i].data.u64, events[i].events))
            channel_fail(channel, -EPROTO);
    }
    pthread_cond_broadcast(&channel->changed);
}

/* ------------------------------------------------------------------ sending */

/* With the lock. −EAGAIN: the socket is full. */
static int channel_send(struct fault_channel *channel, const struct wire_fault_packet *packet,
                        int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {{0}};
    struct iovec iov = {(void *)packet, sizeof(*packet)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent;

    if (fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    }
    if (channel->ended)
        return -EPIPE;
    do
        sent = sendmsg(channel->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/* The thread is going to map the pages, or to refuse them: what comes in between waits for it. */
static int channel_answer_touch(struct fault_channel *channel, struct identity_answer *touch,
                                const struct device_map *map, int error)
{
    LOCK_FOR_SCOPE(&channel->lock);

    if (channel->ended)
        return -EPIPE;
    *touch = (struct identity_answer){.range = {map->first, map->last}, .error = error};
    channel->mapping = ++channel->last_mapping;
    channel->mapping_region = map->region;
    channel->mapping_range = touch->range;
    return 0;
}

/* The first open fault is answered. Its tag is free before the client can see the answer. */
static int channel_answer(struct device_mapper *mapper, void *opaque, const struct device_map *map,
                          int error)
{
    struct fault_channel *channel = channel_of(mapper);
    const struct open_fault *fault = opaque;
    struct id_set *ids = map->object & MEM_ID_SHARED ? &channel->shared : &channel->own;
    uint32_t id = map->object & ~MEM_ID_SHARED;
    struct wire_fault_packet packet = {
        .type = WIRE_FAULT_MAP,
        .tag = fault->tag,
        .region = fault->region,
        .error = (uint32_t)error,
        .first = map->first,
        .last = map->last,
        .object_offset = map->offset,
        .object = map->object,
        .prot = map->prot,
    };
    int fd = -1, ret = 0;

    if (fault->touch)
        return channel_answer_touch(channel, fault->touch, map, error);
    LOCK_FOR_SCOPE(&channel->lock);
    if (!error && !ids_have(ids, id)) {
        ret = ids_reserve(ids, id);
        fd = map->fd;
        packet.flags = WIRE_FAULT_MAP_FD;
    }
    if (!ret)
        ret = channel_send(channel, &packet, fd);
    if (ret)
        return ret;
    if (fd >= 0)
        ids_add(ids, id);
    channel->first_fault = (channel->first_fault + 1) % WIRE_FAULTS_MAX;
    channel->nfaults--;
    return 0;
}

/* With the lock. */
static int send_invalidate(struct fault_channel *channel, struct device_invalidation *invalidation)
{
    struct wire_fault_packet packet = {
        .type = WIRE_FAULT_INVALIDATE,
        .region = invalidation->region,
        .first = invalidation->first,
        .last = invalidation->last,
    };
    int ret;

    packet.tag = channel->last_tag + 1;
    ret = channel_send(channel, &packet, -1);
    if (ret == -EAGAIN)
        return ret;
    if (ret) {
        channel_fail(channel, ret);
        return ret;
    }
    channel->last_tag++;
    invalidation->tag = packet.tag;
    invalidation->next_sent = channel->sent;
    channel->sent = invalidation;
    return 0;
}

/* The message must come after pages that are being mapped, with an answer that is older: then it is
 * sent by who waits for it. */
static int channel_invalidate(struct device_mapper *mapper,
                              struct device_invalidation *invalidation)
{
    struct fault_channel *channel = channel_of(mapper);
    LOCK_FOR_SCOPE(&channel->lock);

    invalidation->done = false;
    invalidation->behind = 0;
    if (!channel->mapping || channel->mapping_region != invalidation->region ||
        !range_overlaps(channel->mapping_range,
                        (struct range){invalidation->first, invalidation->last}))
        return send_invalidate(channel, invalidation);
    invalidation->behind = channel->mapping;
    return channel->ended ? -EPIPE : 0;
}

static int channel_wait_room(struct device_mapper *mapper, uint64_t deadline_ns)
{
    const struct fault_channel *channel = channel_of(mapper);
    struct pollfd poll_fd = {.fd = channel->fd, .events = POLLOUT};
    int n;

    do
        n = poll(&poll_fd, 1, clock_ms_until(deadline_ns));
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return -ETIMEDOUT;
    return n < 0 || poll_fd.revents & (POLLHUP | POLLERR | POLLNVAL) ? -EPIPE : 0;
}

/* With the lock, given up meanwhile: wait until what is being mapped is, then send. 0: it is sent.
 */
static int send_behind(struct fault_channel *channel, struct device_invalidation *invalidation,
                       uint64_t deadline_ns, const struct timespec *deadline)
{
    int ret = -EAGAIN;

    while (channel->mapping == invalidation->behind && !channel->ended)
        if (pthread_cond_timedwait(&channel->changed, &channel->lock, deadline))
            return -ETIMEDOUT;
    while (ret == -EAGAIN) {
        ret = send_invalidate(channel, invalidation);
        if (ret != -EAGAIN)
            return ret;
        pthread_mutex_unlock(&channel->lock);
        ret = channel_wait_room(&channel->mapper, deadline_ns);
        pthread_mutex_lock(&channel->lock);
        if (!ret)
            ret = -EAGAIN;
    }
    return ret;
}

static int channel_wait(struct device_mapper *mapper, struct device_invalidation *invalidation,
                        uint64_t deadline_ns)
{
    const struct timespec deadline = clock_timespec(deadline_ns);
    struct fault_channel *channel = channel_of(mapper);
    struct device_invalidation **link = &channel->sent;
    LOCK_FOR_SCOPE(&channel->lock);
    int ret = 0;

    if (invalidation->behind)
        ret = send_behind(channel, invalidation, deadline_ns, &deadline);
    if (ret)
        return ret == -ETIMEDOUT ? ret : 0;
    while (!invalidation->done && !channel->ended && clock_now_ns() < deadline_ns) {
        if (channel->reading)
            pthread_cond_timedwait(&channel->changed, &channel->lock, &deadline);
        else
            channel_read(channel, deadline_ns);
    }
    if (invalidation->done)
        return 0;
    while (*link != invalidation)
        link = &(*link)->next_sent;
    *link = invalidation->next_sent;
    return channel->ended ? 0 : -ETIMEDOUT;
}

/* ------------------------------------------------------------------ the thread */

/* −errno: the client is of no more use. */
static int answer_fault(struct fault_channel *channel, struct open_fault *fault)
{
    uint64_t deadline_ns = 0;
    int ret;

    for (;;) {
        ret = device_fault(channel->dev, &channel->mapper, fault->region, fault->offset,
                           fault->access, fault);
        if (ret != -EAGAIN)
            return ret;
        /* An answer does not keep: it is asked for again when there is room for it. */
        if (!deadline_ns)
            deadline_ns = clock_now_ns() +
                          (uint64_t)device_mapper_timeout_ms(channel->dev) * UINT64_C(1000000);
        ret = channel_wait_room(&channel->mapper, deadline_ns);
        if (ret)
            return ret;
    }
}

/* With the lock, given up meanwhile: the short way. */
static int answer_touch(struct fault_channel *channel, const struct identity_touch *touch)
{
    /* Others mark it as gone, and no more. */
    const struct identity_window window = *channel->identity.busy;
    struct identity_answer answer;
    struct open_fault fault = {.touch = &answer};
    int ret, fd;

    pthread_mutex_unlock(&channel->lock);
    ret = device_fault(channel->dev, &channel->mapper, touch->region, touch->page, touch->access,
                       &fault);
    if (!ret)
        ret = fault_identity_resolve(channel->dev, &window, touch, &answer);
    pthread_mutex_lock(&channel->lock);
    channel->mapping = 0;
    fd = fault_identity_done(&channel->identity);
    pthread_cond_broadcast(&channel->changed);
    if (fd >= 0) {
        pthread_mutex_unlock(&channel->lock);
        close(fd);
        pthread_mutex_lock(&channel->lock);
    }
    return ret;
}

/* With the lock, given up meanwhile: whatever there is to be done. 0: nothing is. */
static int channel_work(struct fault_channel *channel)
{
    struct identity_touch touch;
    int ret;

    if (channel->nfaults > 0) {
        struct open_fault fault = channel->faults[channel->first_fault];

        pthread_mutex_unlock(&channel->lock);
        ret = answer_fault(channel, &fault);
        pthread_mutex_lock(&channel->lock);
        return ret ? ret : 1;
    }
    ret = fault_identity_next(&channel->identity, &touch);
    if (ret <= 0)
        return ret;
    ret = answer_touch(channel, &touch);
    return ret ? ret : 1;
}

static void *channel_run(void *argument)
{
    struct fault_channel *channel = argument;

    pthread_mutex_lock(&channel->lock);
    while (!channel->ended) {
        int ret = channel_work(channel);

        if (ret < 0)
            channel_fail(channel, ret);
        else if (ret == 0 && channel->reading)
            pthread_cond_wait(&channel->changed, &channel->lock);
        else if (ret == 0)
            channel_read_all(channel);
    }
    pthread_mutex_unlock(&channel->lock);
    device_disconnect(channel->dev);
    return NULL;
}

/* ------------------------------------------------------------------ life */

static void channel_destroy(struct fault_channel *channel)
{
    pthread_cond_destroy(&channel->changed);
    pthread_mutex_destroy(&channel->lock);
    fault_identity_fini(&channel->identity);
    free(channel->own.words);
    free(channel->shared.words);
    free(channel);
}

static struct fault_channel *channel_alloc(struct umdev_device *dev, int fd)
{
    struct fault_channel *channel = calloc(1, sizeof(*channel));

    if (!channel)
        return NULL;
    channel->mapper =
        (struct device_mapper){channel_answer, channel_invalidate, channel_wait_room, channel_wait};
    channel->dev = dev;
    channel->fd = fd;
    pthread_mutex_init(&channel->lock, NULL);
    clock_cond_init(&channel->changed);
    return channel;
}

int fault_channel_new(struct umdev_device *dev, int fd, struct fault_channel **result)
{
    const int buffer = SEND_BUFFER;
    struct fault_channel *channel;
    int ret;

    if (!socket_is_unix_end(fd, SOCK_SEQPACKET) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)) < 0)
        return -EINVAL;
    channel = channel_alloc(dev, fd);
    if (!channel)
        return -ENOMEM;
    ret = fault_identity_init(&channel->identity, fd);
    if (!ret)
        ret = device_set_mapper(dev, &channel->mapper);
    if (ret)
        goto fail;
    if (pthread_create(&channel->thread, NULL, channel_run, channel)) {
        device_unset_mapper(dev);
        ret = -EAGAIN;
        goto fail;
    }
    *result = channel;
    return 0;
fail:
    channel_destroy(channel);
    return ret;
}

int fault_channel_stop(struct fault_channel *channel)
{
    fault_channel_end(channel);
    pthread_join(channel->thread, NULL);
    device_unset_mapper(channel->dev);
    return channel->error == -ECONNRESET || channel->error == -EPIPE ? 0 : channel->error;
}

void fault_channel_free(struct fault_channel *channel)
{
    if (!channel)
        return;
    close(channel->fd);
    channel_destroy(channel);
}

/* ------------------------------------------------------------------ windows */

int fault_channel_add_window(struct fault_channel *channel, const struct identity_window *window)
{
    int ret = fault_identity_check(window->uffd);

    if (ret)
        return ret;
    LOCK_FOR_SCOPE(&channel->lock);
    return channel->ended ? -EINVAL : fault_identity_add(&channel->identity, window);
}

int fault_channel_remove_window(struct fault_channel *channel, unsigned region, uint64_t offset,
                                uint64_t address)
{
    CLEANUP_FD int fd = -1; /* closed after the lock is given back */
    LOCK_FOR_SCOPE(&channel->lock);
    return fault_identity_remove(&channel->identity, region, offset, address, &fd);
}
