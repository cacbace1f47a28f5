/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of the control socket that asks. */
#include "base/cleanup.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/socket.h"
#include "control/control.h"
#include "control/stats.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

/* What claims to be longer was not written by umdev. */
#define ANSWER_MAX  ((size_t)16 << 20)
#define ANSWER_STEP 4096

json_t *control_request_new(const char *command, const char *device)
{
    return device ? json_pack("{s:s, s:s}", "command", command, "device", device)
                  : json_pack("{s:s}", "command", command);
}

static int request_send(int sock, char *text)
{
    struct iovec iov[2] = {{text, strlen(text)}, {(char[]){"\n"}, 1}};

    return fdpass_send(sock, iov, 2, NULL, 0);
}

/* A line, without its newline; fds that come along are appended. The length or −errno. */
static ssize_t answer_receive(int sock, char **line, struct fd_array *fds)
{
    CLEANUP_FREE char *text = NULL;
    size_t have = 0;

    for (;;) {
        char *larger = have < ANSWER_MAX ? realloc(text, have + ANSWER_STEP) : NULL;
        ssize_t received;
        char *end;

        if (!larger)
            return have < ANSWER_MAX ? -ENOMEM : -EPROTO;
        text = larger;
        received = fdpass_recv(sock, text + have, ANSWER_STEP, fds);
        if (received < 0)
            return received;
        if (received == 0)
            return -EPROTO;
        end = memchr(text + have, '\n', (size_t)received);
        have += (size_t)received;
        if (end) {
            *line = TAKE_POINTER(text);
            return end - *line;
        }
    }
}

/* Take an answer apart. */
static int answer_parse(const char *line, size_t len, json_t **result, int *refusal,
                        struct umdev_error *error)
{
    json_t *json = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    json_t *found = json_object_get(json, "result");
    const char *name = NULL;
    const char *message = NULL;
    int ret = -EPROTO;

    if (json_is_object(found)) {
        *result = json_incref(found);
        ret = 0;
    } else if (!json_unpack(json, "{s:{s:s, s:s}}", "error", "errno", &name, "message", &message)) {
        *refusal = stats_errno_number(name);
        ret = error_set(error, EREMOTEIO, "%s", message);
    }
    json_decref(json);
    return ret;
}

/* ENOMEM is of before it was sent; the fds in `fds` are the caller's. */
static int ask(int sock, const json_t *request, json_t **result, struct fd_array *fds, int *refusal,
               struct umdev_error *error)
{
    CLEANUP_FREE char *text = json_dumps(request, JSON_COMPACT);
    CLEANUP_FREE char *line = NULL;
    ssize_t len;

    if (!text)
        return -ENOMEM;
    len = request_send(sock, text);
    if (!len)
        len = answer_receive(sock, &line, fds);
    if (len < 0)
        return len == -ENOMEM ? -ENOBUFS : (int)len;
    return answer_parse(line, (size_t)len, result, refusal, error);
}

int control_ask_at(int sock, json_t *request, json_t **result, int *fd, int *refusal,
                   struct umdev_error *error)
{
    struct fd_array fds;
    int ret;

    *refusal = 0;
    *result = NULL;
    if (fd)
        *fd = -1;
    fd_array_init(&fds);
    ret = ask(sock, request, result, &fds, refusal, error);
    json_decref(request);
    if (!ret && fd)
        *fd = fd_array_take(&fds, 0);
    fd_array_close(&fds);
    return ret;
}

static int explain(int ret, const char *path, struct umdev_error *error)
{
    switch (ret) {
    case 0:
    case -EREMOTEIO:
        return ret;
    case -EAGAIN:
        return error_set(error, ETIMEDOUT, "no answer at '%s'", path);
    case -EPROTO:
        return error_set(error, EPROTO, "'%s' is no control socket of umdev", path);
    default:
        return error_set(error, -ret, "'%s': %s", path, log_errno(-ret));
    }
}

int control_ask(const char *path, json_t *request, json_t **result, int *fd,
                struct umdev_error *error)
{
    const struct timeval timeout = {.tv_sec = CONTROL_ANSWER_MS / 1000};
    CLEANUP_FD int sock = -1;
    int refusal;
    int ret = socket_connect(path, &sock, error);

    if (ret) {
        json_decref(request);
        return ret;
    }
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    return explain(control_ask_at(sock, request, result, fd, &refusal, error), path, error);
}
