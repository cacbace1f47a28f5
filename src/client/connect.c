/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The beginning and the end of a connection.
 */
#include "base/cleanup.h"
#include "base/range.h"
#include "client/client.h"
#include "client/fault.h"
#include "wire/version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A VERSION message's JSON text: a few hundred bytes; a server may name what we do not know. */
#define VERSION_MAX 4096

#define TIMEOUT_SLICES 8

static int set_timeout(struct umdev_client *client, int timeout_ms)
{
    struct timeval slice;

    if (timeout_ms < 0) {
        client->timeout_ms = -1;
        return 0;
    }
    client->timeout_ms = timeout_ms ? timeout_ms : CLIENT_DEFAULT_TIMEOUT_MS;
    client->slice_ms = MAX(client->timeout_ms / TIMEOUT_SLICES, 1);
    slice.tv_sec = client->slice_ms / 1000;
    slice.tv_usec = client->slice_ms % 1000 * 1000;
    if (setsockopt(client->sock, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof(slice)) ||
        setsockopt(client->sock, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof(slice)))
        return -errno;
    return 0;
}

/* Options of a newer caller may be longer than ours; what an older one's lack is 0. */
static int get_options(const struct umdev_connect_options *options,
                       struct umdev_connect_options *known)
{
    *known = (struct umdev_connect_options){.struct_size = sizeof(*known)};
    if (!options)
        return 0;
    if (options->struct_size < offsetof(struct umdev_connect_options, log))
        return -EINVAL;
    memcpy(known, options, MIN(options->struct_size, sizeof(*known)));
    return 0;
}

/* All but the timeout, which the socket has to know. */
static void keep_options(struct umdev_client *client, const struct umdev_connect_options *options)
{
    client->log = (struct log){
        .sink = options->log,
        .opaque = options->log_opaque,
        .level = UMDEV_LOG_INFO,
    };
    client->fault_timeout_ms = options->fault_timeout_ms;
    client->max_fault_maps =
        options->max_fault_maps ? options->max_fault_maps : FAULT_DEFAULT_MAX_MAPS;
    client->lost = options->lost;
    client->lost_opaque = options->lost_opaque;
    client->offer_fault = !options->no_fault;
    client->tracker = options->tracker;
}

/* A client without a connection. Takes the socket over only when it succeeds. */
static int client_new(int sock, const struct umdev_connect_options *options,
                      struct umdev_client **result)
{
    struct umdev_connect_options known;
    struct umdev_client *client;
    int ret;

    ret = get_options(options, &known);
    if (ret)
        return ret;
    client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    client->sock = sock;
    keep_options(client, &known);
    ret = set_timeout(client, known.timeout_ms);
    if (!ret)
        ret = wire_stream_init(&client->stream, sock);
    if (ret) {
        free(client);
        return ret;
    }
    pthread_mutex_init(&client->send_lock, NULL);
    pthread_mutex_init(&client->lock, NULL);
    pthread_cond_init(&client->plain_over, NULL);
    pthread_cond_init(&client->service_turn, NULL);
    client_memory_init(&client->memory);
    pthread_mutex_init(&client->device_lock, NULL);
    *result = client;
    return 0;
}

static void client_destroy_locks(struct umdev_client *client)
{
    pthread_mutex_destroy(&client->send_lock);
    pthread_cond_destroy(&client->plain_over);
    pthread_cond_destroy(&client->service_turn);
    pthread_mutex_destroy(&client->lock);
    pthread_mutex_destroy(&client->device_lock);
    pthread_mutex_destroy(&client->memory.lock);
}

void umdev_client_close(struct umdev_client *client)
{
    bool forked;

    if (!client)
        return;
    forked = client_memory_forked(client) || client_fault_forked(client);
    client_track_end(client);
    client_fault_close(client);
    client_memory_fini(client);
    client_mappings_free(client);
    client_fault_fini(client);
    client_regions_free(client);
    client_io_fds_free(client);
    client_irqs_free(client);
    wire_stream_fini(&client->stream);
    close(client->sock);
    /* A thread of ours that a fork() left behind may use them, and to destroy a condition waits for
     * who waits for it. */
    if (!forked)
        client_destroy_locks(client);
    free(client);
}

/* ------------------------------------------------------------------ negotiation */

static void keep_limits(struct umdev_client *client, const struct wire_version *version)
{
    client->limits = (struct umdev_client_limits){
        .major = version->major,
        .minor = version->minor,
        .max_msg_fds = MIN(version->max_msg_fds, (uint32_t)FD_ARRAY_MAX),
        .max_data_xfer_size = MIN(version->max_data_xfer_size, (uint64_t)WIRE_MAX_DATA),
        .max_dma_maps = version->max_dma_maps,
        .pgsizes = version->pgsizes,
        .write_multiple = version->write_multiple,
    };
}

/* Whether to offer the fault channel. One that is not wanted costs nothing; nor needs it words. */
static bool can_offer_fault(const struct umdev_client *client)
{
    int ret;

    if (!client->offer_fault)
        return false;
    ret = client_fault_probe();
    if (ret)
        log_print(&client->log, UMDEV_LOG_INFO, "client",
                  "no regions that are mapped page by page: userfaultfd: %s", log_errno(-ret));
    return !ret;
}

static int negotiate(struct umdev_client *client)
{
    struct wire_version proposal = {
        .major = WIRE_VERSION_MAJOR,
        .minor = WIRE_VERSION_MINOR,
        .offered = WIRE_CAPABILITY_ALL | WIRE_CAPABILITY_UMDEV_PROTECT,
        .max_msg_fds = FD_ARRAY_MAX,
        .max_data_xfer_size = WIRE_MAX_DATA,
        .max_dma_maps = 65535,
        .pgsizes = PAGE_SIZE_4K,
        .write_multiple = true,
        .umdev_protect = WIRE_UMDEV_PROTECT_VERSION,
    };
    uint8_t request[VERSION_MAX], reply[VERSION_MAX];
    struct wire_version answer;
    struct client_call call = {
        .command = WIRE_VERSION,
        .data = request,
        .reply_data = reply,
        .reply_data_max = sizeof(reply),
    };
    int ret;

    if (can_offer_fault(client)) {
        proposal.offered |= WIRE_CAPABILITY_UMDEV_FAULT;
        proposal.umdev_fault = WIRE_UMDEV_FAULT_VERSION;
    }
    if (client->tracker) {
        proposal.offered |= WIRE_CAPABILITY_UMDEV_TRACK;
        proposal.umdev_track = WIRE_UMDEV_TRACK_VERSION;
    }
    ret = wire_version_format(&proposal, request, sizeof(request));
    if (ret < 0)
        return ret;
    call.data_size = (size_t)ret;
    ret = client_call(client, &call);
    if (ret)
        return ret;
    if (wire_version_parse(reply, call.reply_data_size, &answer) ||
        answer.major != proposal.major || answer.minor > proposal.minor)
        return -EPROTO;
    keep_limits(client, &answer);
    client->protect_negotiated = answer.umdev_protect == WIRE_UMDEV_PROTECT_VERSION;
    client->fault_negotiated = (proposal.offered & WIRE_CAPABILITY_UMDEV_FAULT) &&
                               answer.umdev_fault == WIRE_UMDEV_FAULT_VERSION;
    if (client->tracker && answer.umdev_track == WIRE_UMDEV_TRACK_VERSION)
        return client_track_begin(client);
    return 0;
}

static int client_negotiate(struct umdev_client *client, struct umdev_client **result)
{
    int ret = negotiate(client);

    if (ret) {
        umdev_client_close(client);
        return ret;
    }
    *result = client;
    return 0;
}

/* ------------------------------------------------------------------ sockets */

/* A stream socket that waits: the transport relies on the socket's own timeouts. */
static int check_socket(int fd)
{
    int type, flags;
    socklen_t size = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size))
        return -errno;
    if (type != SOCK_STREAM)
        return -EPROTOTYPE;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || ((flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK)))
        return -errno;
    return 0;
}

int umdev_connect_fd(int fd, const struct umdev_connect_options *options,
                     struct umdev_client **result)
{
    CLEANUP_FD int sock = fd;
    struct umdev_client *client;
    int ret;

    ret = check_socket(sock);
    if (!ret)
        ret = client_new(sock, options, &client);
    if (ret)
        return ret;
    take_fd(&sock);
    return client_negotiate(client, result);
}

/* connect(2) waits, for a server with a full backlog, as long as a send may. */
static int connect_by(struct umdev_client *client, const struct sockaddr_un *address)
{
    uint64_t deadline = client_deadline(client);

    while (connect(client->sock, (const struct sockaddr *)address, sizeof(*address))) {
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (client_deadline_passed(deadline))
            return -ETIMEDOUT;
    }
    return 0;
}

int umdev_connect(const char *path, const struct umdev_connect_options *options,
                  struct umdev_client **result)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    CLEANUP_FD int sock = -1;
    struct umdev_client *client;
    int ret;

    if (!path || !*path)
        return -ENOENT;
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return -errno;
    ret = client_new(sock, options, &client);
    if (ret)
        return ret;
    take_fd(&sock);
    ret = connect_by(client, &address);
    if (ret) {
        umdev_client_close(client);
        return ret;
    }
    return client_negotiate(client, result);
}

/* ------------------------------------------------------------------ small questions */

bool umdev_client_alive(const struct umdev_client *client)
{
    return !atomic_load(&client->over);
}

void umdev_client_get_limits(const struct umdev_client *client, struct umdev_client_limits *limits)
{
    *limits = client->limits;
}
