/* SPDX-License-Identifier: BSD-3-Clause */
/* Every allocation, mapping and fd that the client makes, failing: it undoes what it did. */
#include "fake.h"

#include "base/cleanup.h"
#include "failnth.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

/* ------------------------------------------------------------------ a server in a process */

static bool receive(int sock, void *buf, size_t size)
{
    return recv(sock, buf, size, MSG_WAITALL) == (ssize_t)size;
}

static bool answer(struct fake *fake, const struct wire_header *request)
{
    struct {
        struct wire_region_info info;
        struct wire_cap_header sparse;
        uint32_t nr_areas, reserved;
        struct umdev_area area;
    } __attribute__((packed)) region = {
        .info = {.argsz = sizeof(region), .flags = 15, .index = 2, .cap_offset = 32, .size = 65536},
        .sparse = {WIRE_CAP_SPARSE_MMAP, 1, 0},
        .nr_areas = 1,
        .area = {4096, 8192},
    };
    struct wire_irq_info irq = {.argsz = 16, .flags = 9, .index = 2, .count = 4};
    int fd;

    fake->next_id = request->id;
    switch (request->command) {
    case WIRE_VERSION:
        fake_answer_version(fake, 0, 1, FAKE_JSON);
        return true;
    case WIRE_DEVICE_GET_REGION_INFO:
        fd = memfd_create("region", MFD_CLOEXEC);
        if (ftruncate(fd, 65536))
            return false;
        fake_answer_fds(fake, request->command, &region, sizeof(region), &fd, 1);
        close(fd);
        return true;
    case WIRE_DEVICE_GET_IRQ_INFO:
        fake_answer(fake, request->command, &irq, sizeof(irq));
        return true;
    default:
        fake_answer(fake, request->command, NULL, 0);
        return true;
    }
}

static void serve(int listener)
{
    for (;;) {
        struct fake fake = {.server_end = accept(listener, NULL, NULL)};
        struct wire_header header;
        uint8_t body[4096];

        if (fake.server_end < 0)
            _exit(1);
        while (receive(fake.server_end, &header, sizeof(header)) &&
               (header.size == sizeof(header) ||
                receive(fake.server_end, body, header.size - sizeof(header))) &&
               answer(&fake, &header))
            ;
        close(fake.server_end);
    }
}

static char path[64];
static pid_t server;

static int start_server(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    snprintf(path, sizeof(path), "/tmp/umdev-test-failnth-%d", getpid());
    memcpy(address.sun_path, path, sizeof(path));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 8))
        return -1;
    server = fork();
    if (server == 0)
        serve(fd);
    close(fd);
    return server > 0 ? 0 : -1;
}

static int stop_server(void **state)
{
    (void)state;
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    return unlink(path);
}

/* ------------------------------------------------------------------ the operation */

static struct umdev_client *client;
static char memory[4096];

static int use_everything(void *opaque)
{
    int ret;

    (void)opaque;
    ret = umdev_connect(path, NULL, &client);
    if (ret)
        return ret;
    if (!umdev_client_map_region(client, 2, 4096, 8192))
        ret = -errno;
    if (!ret)
        ret = umdev_client_irq_eventfd(client, 2, 1);
    if (ret >= 0)
        ret = umdev_client_dma_map_memory(client, memory, umdev_iova(0), 4096, UMDEV_RW);
    if (ret >= 0)
        return 0;
    umdev_client_close(client);
    return ret;
}

static void stop_using(void *opaque)
{
    (void)opaque;
    umdev_client_close(client);
}

static void test_fail_nth(void **state)
{
    (void)state;
    /* socket, client, buffer; the region's reply, record and areas; a mapping and its record;
     * an interrupt's record and eventfd; memory's buffer, thread and record */
    assert_true(failnth_run(use_everything, stop_using, NULL) >= 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fail_nth)};

    return cmocka_run_group_tests(tests, start_server, stop_server);
}
