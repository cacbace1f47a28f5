/* SPDX-License-Identifier: BSD-3-Clause */
#include "fault_fake.h"

#include "base/cleanup.h"
#include "base/fdpass.h"
#include "client/fault.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define VERSION_JSON                                                                               \
    "{\"capabilities\":{\"max_msg_fds\":4,\"max_data_xfer_size\":16384,\"max_dma_maps\":99,"       \
    "\"pgsizes\":4096,\"write_multiple\":true,\"umdev\":{\"fault\":1}}}"

/* ------------------------------------------------------------------ the socket */

struct request {
    struct wire_header header;
    uint8_t body[4096];
    struct fd_array fds;
};

static bool receive_bytes(struct fault_fake *fake, void *buf, size_t size, struct fd_array *fds)
{
    for (size_t have = 0; have < size;) {
        ssize_t got = fdpass_recv(fake->sock, (uint8_t *)buf + have, size - have, fds);

        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

static void reply(struct fault_fake *fake, const struct request *request, const void *body,
                  size_t size, uint32_t error)
{
    struct wire_header header = {
        .id = request->header.id,
        .command = request->header.command,
        .size = (uint32_t)(sizeof(header) + size),
        .flags = WIRE_TYPE_REPLY | (error ? WIRE_ERROR : 0),
        .error = error,
    };
    struct iovec iov[2] = {{&header, sizeof(header)}, {(void *)body, size}};

    fdpass_send(fake->sock, iov, size ? 2 : 1, NULL, 0);
}

static void reply_version(struct fault_fake *fake, const struct request *request)
{
    struct {
        struct wire_version_body numbers;
        char json[sizeof(VERSION_JSON)];
    } __attribute__((packed)) body = {{0, 1}, VERSION_JSON};

    reply(fake, request, &body, sizeof(body), 0);
}

static void reply_region(struct fault_fake *fake, const struct request *request)
{
    struct {
        struct wire_region_info info;
        struct wire_cap_umdev_fault cap;
    } __attribute__((packed)) body = {
        .info =
            {
                .argsz = sizeof(body),
                .flags = WIRE_REGION_FLAG_READ | WIRE_REGION_FLAG_WRITE | WIRE_REGION_FLAG_CAPS,
                .cap_offset = sizeof(body.info),
                .size = fake->npages * FAULT_PAGE,
            },
        .cap.header = {WIRE_CAP_UMDEV_FAULT, 1, 0},
    };

    memcpy(&body.info.index, request->body + offsetof(struct wire_region_info, index), 4);
    reply(fake, request, &body, sizeof(body), 0);
}

static void *channel_run(void *opaque);

static void reply_channel(struct fault_fake *fake, struct request *request)
{
    int fd = fd_array_take(&request->fds, 0);

    CHECK(fd >= 0 && request->fds.count == 1 && !fake->has_channel);
    if (fake->refuse_channel) {
        close(fd);
        reply(fake, request, NULL, 0, fake->refuse_channel);
        return;
    }
    fake->channel = fd;
    fake->has_channel = true;
    CHECK(pthread_create(&fake->channel_thread, NULL, channel_run, fake) == 0);
    reply(fake, request, request->body, sizeof(struct wire_umdev_fault_channel), 0);
}

static void *socket_run(void *opaque)
{
    struct fault_fake *fake = opaque;

    for (;;) {
        struct request request;

        fd_array_init(&request.fds);
        if (!receive_bytes(fake, &request.header, sizeof(request.header), &request.fds) ||
            !receive_bytes(fake, request.body, request.header.size - sizeof(request.header),
                           &request.fds))
            return NULL;
        if (request.header.command == WIRE_VERSION)
            reply_version(fake, &request);
        else if (request.header.command == WIRE_DEVICE_GET_REGION_INFO)
            reply_region(fake, &request);
        else if (request.header.command == WIRE_UMDEV_FAULT_CHANNEL)
            reply_channel(fake, &request);
        else
            reply(fake, &request, NULL, 0, ENOSYS);
        fd_array_close(&request.fds);
    }
}

/* ------------------------------------------------------------------ the channel */

void fault_fake_send(struct fault_fake *fake, const struct wire_fault_packet *packet, int fd)
{
    struct iovec iov = {(void *)packet, sizeof(*packet)};

    fdpass_send(fake->channel, &iov, 1, &fd, fd >= 0);
}

static bool continues(const struct fault_entry *a, const struct fault_entry *b)
{
    return !a->error && !b->error && a->object == b->object && a->prot == b->prot &&
           a->page + 1 == b->page;
}

void fault_fake_answer(struct fault_fake *fake, const struct wire_fault_packet *fault)
{
    uint64_t page = fault->first / FAULT_PAGE, first = page, last = page;
    const struct fault_entry *entry = &fake->table[page];
    struct wire_fault_packet packet = {
        .type = WIRE_FAULT_MAP,
        .tag = fault->tag,
        .region = fault->region,
        .error = (uint32_t)entry->error,
        .prot = entry->prot,
        .object = entry->object,
    };
    int fd = -1;

    if (!entry->error && (fault->prot & ~entry->prot))
        packet.error = EACCES;
    while (!packet.error && fake->extend && first > 0 &&
           continues(&fake->table[first - 1], &fake->table[first]))
        first--;
    while (!packet.error && fake->extend && last + 1 < fake->npages &&
           continues(&fake->table[last], &fake->table[last + 1]))
        last++;
    packet.first = first * FAULT_PAGE;
    packet.last = last * FAULT_PAGE + FAULT_PAGE - 1;
    if (packet.error) {
        packet.prot = packet.object = 0;
    } else {
        packet.object_offset = fake->table[first].page * FAULT_PAGE;
        if (!fake->sent[entry->object]) {
            packet.flags = WIRE_FAULT_MAP_FD;
            fd = fake->objects[entry->object];
            fake->sent[entry->object] = true;
        }
    }
    fault_fake_send(fake, &packet, fd);
}

static void handle_fault(struct fault_fake *fake, const struct wire_fault_packet *fault)
{
    struct wire_fault_packet expected = {
        .type = WIRE_FAULT_FAULT,
        .tag = fault->tag,
        .region = FAULT_REGION,
        .first = fault->first,
        .prot = fault->prot,
    };

    CHECK(memcmp(fault, &expected, sizeof(expected)) == 0);
    CHECK(fault->first / FAULT_PAGE < fake->npages && fault->prot >= 1 && fault->prot <= 3);
    fake->nfaults++;
    if (fake->mute) {
        CHECK(fake->nkept < WIRE_FAULTS_MAX);
        fake->kept[fake->nkept++] = *fault;
    } else if (fake->answer) {
        fake->answer(fake, fault);
    } else {
        fault_fake_answer(fake, fault);
    }
}

static void *channel_run(void *opaque)
{
    struct fault_fake *fake = opaque;
    struct wire_fault_packet packet;

    while (recv(fake->channel, &packet, sizeof(packet), 0) == sizeof(packet)) {
        LOCK_FOR_SCOPE(&fake->lock);
        if (packet.type == WIRE_FAULT_FAULT) {
            handle_fault(fake, &packet);
        } else {
            struct wire_fault_packet expected = {.type = WIRE_FAULT_ACK};

            expected.tag = (uint32_t)++fake->nacks;
            CHECK(memcmp(&packet, &expected, sizeof(expected)) == 0);
        }
        pthread_cond_broadcast(&fake->changed);
    }
    LOCK_FOR_SCOPE(&fake->lock);
    fake->closed = true;
    pthread_cond_broadcast(&fake->changed);
    return NULL;
}

/* ------------------------------------------------------------------ for the test */

void fault_fake_set(struct fault_fake *fake, uint64_t page, struct fault_entry entry)
{
    LOCK_FOR_SCOPE(&fake->lock);
    fake->table[page] = entry;
}

bool fault_fake_invalidate(struct fault_fake *fake, uint64_t first_page, uint64_t last_page)
{
    struct wire_fault_packet packet = {
        .type = WIRE_FAULT_INVALIDATE,
        .region = FAULT_REGION,
        .first = first_page * FAULT_PAGE,
        .last = last_page * FAULT_PAGE + FAULT_PAGE - 1,
    };

    LOCK_FOR_SCOPE(&fake->lock);
    packet.tag = (uint32_t)++fake->ninvalidates;
    fault_fake_send(fake, &packet, -1);
    while (fake->nacks < packet.tag && !fake->closed)
        pthread_cond_wait(&fake->changed, &fake->lock);
    return fake->nacks >= packet.tag;
}

void fault_fake_wait_faults(struct fault_fake *fake, uint64_t n)
{
    LOCK_FOR_SCOPE(&fake->lock);
    while (fake->nfaults < n)
        pthread_cond_wait(&fake->changed, &fake->lock);
}

void fault_fake_unmute(struct fault_fake *fake)
{
    LOCK_FOR_SCOPE(&fake->lock);
    fake->mute = false;
    for (unsigned i = 0; i < fake->nkept; i++)
        fault_fake_answer(fake, &fake->kept[i]);
    fake->nkept = 0;
}

bool fault_fake_possible(void)
{
    int ret = client_fault_probe();

    if (ret)
        print_message("skipped: userfaultfd: %s\n", strerror(-ret));
    return !ret;
}

void fault_fake_open(struct fault_fake *fake, size_t npages, size_t object_pages)
{
    int ends[2];

    *fake = (struct fault_fake){
        .npages = npages,
        .object_pages = object_pages,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
        .channel = -1,
    };
    fake->table = calloc(npages, sizeof(*fake->table));
    for (size_t i = 0; i < npages; i++)
        fake->table[i] = (struct fault_entry){.page = i % object_pages, .prot = UMDEV_RW};
    for (unsigned k = 0; k < FAULT_OBJECTS; k++) {
        fake->objects[k] = memfd_create("object", MFD_CLOEXEC);
        assert_int_equal(ftruncate(fake->objects[k], (off_t)(object_pages * FAULT_PAGE)), 0);
        fake->memory[k] = mmap(NULL, object_pages * FAULT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
                               fake->objects[k], 0);
        assert_ptr_not_equal(fake->memory[k], MAP_FAILED);
        for (size_t n = 0; n < object_pages; n++)
            *(uint64_t *)(fake->memory[k] + n * FAULT_PAGE) = fault_stamp(k, n);
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fake->client_end = ends[0];
    fake->sock = ends[1];
    assert_int_equal(pthread_create(&fake->socket_thread, NULL, socket_run, fake), 0);
}

int fault_fake_connect(struct fault_fake *fake, const struct umdev_connect_options *options,
                       struct umdev_client **client)
{
    struct umdev_connect_options all = {.no_fault = false};

    if (options)
        all = *options;
    all.struct_size = sizeof(all);
    return umdev_connect_fd(take_fd(&fake->client_end), &all, client);
}

void fault_fake_die(struct fault_fake *fake)
{
    if (fake->sock < 0)
        return;
    shutdown(fake->sock, SHUT_RDWR);
    pthread_join(fake->socket_thread, NULL);
    if (fake->has_channel) {
        shutdown(fake->channel, SHUT_RDWR);
        pthread_join(fake->channel_thread, NULL);
        close(fake->channel);
    }
    close(take_fd(&fake->sock));
}

void fault_fake_close(struct fault_fake *fake)
{
    fault_fake_die(fake);
    if (fake->client_end >= 0)
        close(fake->client_end);
    for (unsigned k = 0; k < FAULT_OBJECTS; k++) {
        munmap(fake->memory[k], fake->object_pages * FAULT_PAGE);
        close(fake->objects[k]);
    }
    free(fake->table);
}

/* ------------------------------------------------------------------ touches that may fail */

static _Thread_local sigjmp_buf back;
static _Thread_local volatile sig_atomic_t catching;

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    if (!catching || info->si_code <= 0)
        abort();
    siglongjmp(back, 1);
}

void fault_catch_sigbus(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
}

/* Another thread maps what is touched, and the kernel lets us wait: the sanitizer can't know. */
__attribute__((no_sanitize("thread"))) bool fault_try_read(const void *address, uint64_t *value)
{
    bool done = false;

    catching = 1;
    if (!sigsetjmp(back, 1)) {
        *value = *(const volatile uint64_t *)address;
        done = true;
    }
    catching = 0;
    return done;
}

__attribute__((no_sanitize("thread"))) bool fault_try_write(void *address, uint64_t value)
{
    bool done = false;

    catching = 1;
    if (!sigsetjmp(back, 1)) {
        __atomic_fetch_add((uint64_t *)address, value, __ATOMIC_RELAXED);
        done = true;
    }
    catching = 0;
    return done;
}
