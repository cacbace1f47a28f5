/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replies spoilt at random: whatever comes, a call returns, and nothing is left behind. The seed is
 * printed; UMDEV_TEST_SEED sets it.
 */
#include "fake.h"

#include "base/range.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define ROUNDS 1400

static uint64_t seed;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

/* ------------------------------------------------------------------ what is asked */

static int ask_region(struct fake *fake)
{
    struct umdev_region_info info;
    int ret = umdev_client_get_region(fake->client, 2, &info);

    if (ret)
        return ret;
    for (size_t i = 0; i < info.nareas; i++) {
        /* What the client hands out holds together. */
        assert_true(span_fits(info.areas[i].offset, info.areas[i].size, info.size));
        umdev_client_map_region(fake->client, 2, info.areas[i].offset, 4096);
    }
    return 0;
}

static int ask_read(struct fake *fake)
{
    uint8_t buf[64];

    return umdev_client_read(fake->client, 2, 8, buf, sizeof(buf));
}

static int ask_write(struct fake *fake)
{
    uint8_t buf[64] = {0};

    return umdev_client_write(fake->client, 2, 8, buf, sizeof(buf));
}

static int ask_info(struct fake *fake)
{
    struct umdev_device_info info;

    return umdev_client_get_info(fake->client, &info);
}

static int ask_irq(struct fake *fake)
{
    return umdev_client_irq_eventfd(fake->client, 2, 0);
}

static int ask_unmap(struct fake *fake)
{
    return umdev_client_dma_unmap(fake->client, umdev_iova(0), 4096);
}

/* ------------------------------------------------------------------ what is answered */

struct answer {
    uint8_t bytes[1024];
    size_t size;
    unsigned nfds;
};

static void append(struct answer *answer, const void *bytes, size_t size)
{
    memcpy(answer->bytes + answer->size, bytes, size);
    answer->size += size;
}

static void append_header(struct answer *answer, uint16_t id, uint16_t command, size_t body)
{
    struct wire_header header = {
        .id = id,
        .command = command,
        .size = (uint32_t)(sizeof(header) + body),
        .flags = WIRE_TYPE_REPLY,
    };

    append(answer, &header, sizeof(header));
}

static void answer_version(struct answer *answer)
{
    append_header(answer, 0, WIRE_VERSION, 4 + sizeof(FAKE_JSON));
    append(answer, "\0\0\1", 4);
    append(answer, FAKE_JSON, sizeof(FAKE_JSON));
}

static void answer_region(struct answer *answer, uint16_t id)
{
    struct wire_region_info info = {
        .argsz = 32 + 48 + 16 + 8,
        .flags = 15,
        .index = 2,
        .cap_offset = 32,
        .size = 65536,
    };
    struct wire_cap_sparse_mmap sparse = {{WIRE_CAP_SPARSE_MMAP, 1, 80}, 2, 0};
    struct umdev_area areas[2] = {{0, 4096}, {8192, 4096}};
    struct wire_cap_type type = {{WIRE_CAP_TYPE, 1, 96}, 1, 2};
    struct wire_cap_header msix = {WIRE_CAP_MSIX_MAPPABLE, 1, 0};

    append_header(answer, id, WIRE_DEVICE_GET_REGION_INFO, info.argsz);
    append(answer, &info, sizeof(info));
    append(answer, &sparse, sizeof(sparse));
    append(answer, areas, sizeof(areas));
    append(answer, &type, sizeof(type));
    append(answer, &msix, sizeof(msix));
    answer->nfds = 1;
}

static void answer_access(struct answer *answer, uint16_t id, uint16_t command, size_t data)
{
    struct wire_region_access access = {.offset = 8, .region = 2, .count = 64};
    uint8_t zeros[64] = {0};

    append_header(answer, id, command, sizeof(access) + data);
    append(answer, &access, sizeof(access));
    append(answer, zeros, data);
}

static void answer_irq(struct answer *answer, uint16_t id)
{
    struct wire_irq_info info = {.argsz = 16, .flags = 9, .index = 2, .count = 4};

    append_header(answer, id, WIRE_DEVICE_GET_IRQ_INFO, sizeof(info));
    append(answer, &info, sizeof(info));
    append_header(answer, id + 1, WIRE_DEVICE_SET_IRQS, 0);
    append_header(answer, id + 2, WIRE_DEVICE_SET_IRQS, 0);
}

static int (*make(struct answer *answer, unsigned kind, uint16_t id))(struct fake *)
{
    struct wire_device_info info = {.argsz = 16, .flags = 3, .num_regions = 9, .num_irqs = 5};
    struct wire_dma_unmap unmap = {.argsz = 24, .size = 4096};

    switch (kind) {
    case 0:
        answer_region(answer, id);
        return ask_region;
    case 1:
        answer_access(answer, id, WIRE_REGION_READ, 64);
        return ask_read;
    case 2:
        answer_access(answer, id, WIRE_REGION_WRITE, 0);
        return ask_write;
    case 3:
        answer_irq(answer, id);
        return ask_irq;
    case 4:
        append_header(answer, id, WIRE_DMA_UNMAP, sizeof(unmap));
        append(answer, &unmap, sizeof(unmap));
        return ask_unmap;
    default:
        append_header(answer, id, WIRE_DEVICE_GET_INFO, sizeof(info));
        append(answer, &info, sizeof(info));
        return ask_info;
    }
}

/* ------------------------------------------------------------------ how it is spoilt */

static void spoil(struct answer *answer)
{
    static const uint32_t values[] = {
        0, 1, 7, 8, 15, 16, 17, 0x20, 4096, 0xffff, 0x7fffffff, 0x80000000, 0xfffffff8, UINT32_MAX};

    for (uint32_t n = 1 + rnd(3); n; n--) {
        uint32_t at = rnd((uint32_t)answer->size);

        switch (rnd(4)) {
        case 0:
            answer->bytes[at] ^= (uint8_t)(1u << rnd(8));
            break;
        case 1:
            answer->bytes[at] = (uint8_t)rnd(256);
            break;
        case 2:
            at &= ~3u;
            if (at + 4 <= answer->size)
                memcpy(answer->bytes + at, &values[rnd(ARRAY_SIZE(values))], 4);
            break;
        default:
            answer->nfds = rnd(4);
        }
    }
    if (rnd(8) == 0)
        answer->size = rnd((uint32_t)answer->size);
}

static void queue(struct fake *fake, const struct answer *answer)
{
    static const int fds[] = {0, 1, 2, 0};
    struct msghdr msg = {.msg_iovlen = 1};
    struct iovec iov = {(void *)answer->bytes, answer->size};
    union {
        char bytes[CMSG_SPACE(sizeof(fds))];
        struct cmsghdr header;
    } control = {0};

    if (!answer->size)
        return;
    msg.msg_iov = &iov;
    if (answer->nfds) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(answer->nfds * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(answer->nfds * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, answer->nfds * sizeof(int));
    }
    assert_int_equal(sendmsg(fake->server_end, &msg, MSG_NOSIGNAL), answer->size);
}

/* A spoilt VERSION answer, or a good one and a spoilt answer to one question. */
static void one_round(unsigned kind)
{
    struct answer version = {0}, answer = {0};
    int (*ask)(struct fake *) = make(&answer, kind, 1);
    struct fake fake;
    int ret;

    answer_version(&version);
    if (kind == 6)
        spoil(&version);
    else
        spoil(&answer);
    fake_open(&fake);
    queue(&fake, &version);
    queue(&fake, &answer);
    /* What is then still missing is answered by the end of the stream, not by a timeout. */
    shutdown(fake.server_end, SHUT_WR);
    ret = fake_try_connect(&fake, 0);
    if (!ret) {
        ret = ask(&fake);
        assert_true(ret >= -4095);
    } else {
        assert_int_equal(kind, 6);
        assert_true(ret < 0 && ret >= -4095);
    }
    fake_close(&fake);
}

static void test_spoilt_replies(void **state)
{
    const char *given = getenv("UMDEV_TEST_SEED"); /* NOLINT(concurrency-mt-unsafe) */

    (void)state;
    seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    print_message("# UMDEV_TEST_SEED=%llu\n", (unsigned long long)seed);
    for (unsigned round = 0; round < ROUNDS; round++)
        one_round(round % 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_spoilt_replies)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
