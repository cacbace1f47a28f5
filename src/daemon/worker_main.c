/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process of an isolated parent: a host with one parent, which answers the daemon's requests
 * until the daemon closes its end.
 */
#include "base/cleanup.h"
#include "base/fdpass.h"
#include "control/control.h"
#include "daemon/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Where worker.c puts the socket. */
#define WORKER_FD 3

/* --worker LEVEL TRUST DRIVER NAME [KEY=VALUE...] */
enum { WORD_LEVEL = 2, WORD_TRUST, WORD_DRIVER, WORD_NAME, WORD_PARAMS };

static int answer_send(const char *answer, int fd)
{
    struct iovec iov = {(char *)answer, strlen(answer)};

    return fdpass_send(WORKER_FD, &iov, 1, &fd, fd >= 0 ? 1 : 0);
}

static int line_answer(const struct source *source, const char *line, size_t len)
{
    CLEANUP_FREE char *answer = NULL;
    CLEANUP_FD int fd = -1;
    int ret = control_execute(source, line, len, &answer, &fd);

    return ret ? ret : answer_send(answer, fd);
}

/* A line of any length the daemon may write. −ESHUTDOWN: it has hung up. */
static int line_receive(char *line, size_t size, size_t *len)
{
    for (size_t have = 0; have < size;) {
        ssize_t got = recv(WORKER_FD, line + have, size - have, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -ESHUTDOWN;
        have += (size_t)got;
        /* The daemon waits for the answer before it asks again: the newline comes last. */
        if (line[have - 1] == '\n') {
            *len = have - 1;
            return 0;
        }
    }
    return -EMSGSIZE;
}

static int serve(const struct source *source)
{
    /* An attribute is the longest, each byte of it as \u0001. */
    char line[6 * UMDEV_ATTR_SIZE + CONTROL_LINE_MAX];
    size_t len;

    while (line_receive(line, sizeof(line), &len) == 0)
        if (line_answer(source, line, len))
            return 1;
    return 0;
}

/* The answer to the first request: why there is no parent. */
static int refuse(int ret, const struct umdev_error *error)
{
    const char *name = strerrorname_np(-ret);
    json_t *json = json_pack("{s:{s:s, s:s}}", "error", "errno", name ? name : "EIO", "message",
                             error->message);
    CLEANUP_FREE char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    CLEANUP_FREE char *answer = NULL;
    char line[CONTROL_LINE_MAX];
    size_t len;

    json_decref(json);
    if (text && asprintf(&answer, "%s\n", text) >= 0 && line_receive(line, sizeof(line), &len) == 0)
        answer_send(answer, -1);
    return 1;
}

int worker_main(int argc, char **argv)
{
    struct umdev_host_options options = {.struct_size = sizeof(options)};
    struct umdev_error error = {.message = "out of memory"};
    struct umdev_host *host = NULL;
    struct source source;
    sigset_t signals;
    int ret;

    if (argc < WORD_PARAMS)
        return 2;
    /* The terminal's are for the daemon, which then closes its end. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    options.log_level = (enum umdev_log_level)(argv[WORD_LEVEL][0] - '0');
    options.trust_clients = strcmp(argv[WORD_TRUST], "yes") == 0;
    ret = umdev_host_new(&options, &host);
    if (!ret)
        ret = umdev_host_add_parent(host, argv[WORD_DRIVER], argv[WORD_NAME],
                                    (const char *const *)argv + WORD_PARAMS,
                                    (size_t)(argc - WORD_PARAMS), &error);
    if (ret) {
        umdev_host_free(host);
        return refuse(ret, &error);
    }
    source = source_of_host(host, true);
    ret = serve(&source);
    umdev_host_free(host);
    return ret;
}
