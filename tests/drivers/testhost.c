/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testhost DRIVER SOCKET…: one device of the driver's first type for each socket, all in one
 * process, until SIGTERM. Unlike `umdev run`, it shows what one device's client does to another's.
 */
#include <umdev/driver.h>
#include <umdev/host.h>

#include <signal.h>
#include <stdio.h>

static int first_type(void *opaque, const struct umdev_host_type *type)
{
    snprintf(opaque, 128, "%s", type->name);
    return 1;
}

static int serve(struct umdev_host *host, const char *driver, char **sockets, struct umdev_error *e)
{
    char type[128], uuid[UMDEV_UUID_STR_SIZE];
    int ret = umdev_host_add_parent(host, driver, NULL, NULL, 0, e);

    if (ret)
        return ret;
    umdev_host_for_each_type(host, first_type, type);
    for (; *sockets && !ret; sockets++) {
        ret = umdev_host_create(host, NULL, type, NULL, uuid, e);
        if (!ret)
            ret = umdev_host_listen(host, uuid, *sockets, 0, e);
    }
    return ret;
}

int main(int argc, char **argv)
{
    struct umdev_error error = {.message = "no memory"};
    struct umdev_host *host;
    sigset_t set;
    int sig, ret;

    if (argc < 3) {
        fprintf(stderr, "usage: testhost DRIVER SOCKET…\n");
        return 2;
    }
    /* Blocked before any thread is made, so that only sigwait() sees it. */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);

    ret = umdev_host_new(NULL, &host);
    if (ret) {
        fprintf(stderr, "testhost: no host\n");
        return 1;
    }
    ret = serve(host, argv[1], argv + 2, &error);
    if (ret)
        fprintf(stderr, "testhost: %s\n", error.message);
    else
        sigwait(&set, &sig);
    umdev_host_free(host);
    return ret ? 1 : 0;
}
