/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA logging: what goes over the wire, and what of the server's answers is believed. */
#include "fake.h"

#include "base/range.h"
#include "failnth.h"

#include <errno.h>

#define PAGE PAGE_SIZE_4K
#define IOVA umdev_iova
/* A client of FAKE_JSON's max_data_xfer_size: bitmaps of so many words, or bytes of memory. */
#define MAX_WORDS  (16384 / 8)
#define MAX_LENGTH (MAX_WORDS * 64 * PAGE)

#define START (WIRE_FEATURE_SET | WIRE_FEATURE_DMA_LOGGING_START)
#define STOP  (WIRE_FEATURE_SET | WIRE_FEATURE_DMA_LOGGING_STOP)
#define GET   (WIRE_FEATURE_GET | WIRE_FEATURE_DMA_LOGGING_REPORT)

struct start_body {
    struct wire_feature feature;
    struct wire_dma_logging_control control;
    struct wire_dma_logging_range ranges[3];
} WIRE_PACKED;

struct report_body {
    struct wire_feature feature;
    struct wire_dma_logging_report report;
    uint64_t bitmap[MAX_WORDS + 1];
} WIRE_PACKED;

struct unmap_body {
    struct wire_dma_unmap unmap;
    struct wire_dirty_bitmap bitmap;
    uint64_t words[2];
} WIRE_PACKED;

static const struct umdev_dma_range ranges[] = {{{0x10000}, 0x2000}, {{UINT64_MAX - 4095}, 4096}};

/* Everything up to and with `n` ranges. */
static size_t start_size(size_t n)
{
    return offsetof(struct start_body, ranges) + n * sizeof(struct wire_dma_logging_range);
}

static struct start_body start_body(size_t n, uint64_t page_size)
{
    struct start_body body = {
        .feature = {(uint32_t)start_size(n), START},
        .control = {page_size, (uint32_t)n, 0},
        .ranges = {{0x10000, 0x2000}, {UINT64_MAX - 4095, 4096}},
    };

    return body;
}

static void expect_request(struct fake *fake, uint16_t command, const void *body, size_t size)
{
    struct fake_request request;

    fake_take(fake, &request);
    assert_int_equal(request.header.command, command);
    assert_int_equal(request.nfds, 0);
    assert_int_equal(request.body_size, size);
    assert_memory_equal(request.body, body, size);
}

static void test_start(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 2; n++) {
        struct start_body body = start_body(n, PAGE);
        uint64_t page_size = 16 * PAGE;
        struct fake fake;

        fake_connect(&fake);
        fake_answer(&fake, WIRE_DEVICE_FEATURE, &body, start_size(n));
        assert_int_equal(umdev_client_dma_log_start(fake.client, &page_size, ranges, n), 0);
        assert_int_equal(page_size, PAGE);
        body.control.page_size = 16 * PAGE;
        expect_request(&fake, WIRE_DEVICE_FEATURE, &body, start_size(n));
        fake_close(&fake);
    }
}

static void test_start_fails(void **state)
{
    uint64_t page_size = 8 * PAGE;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    fake_answer_error(&fake, WIRE_DEVICE_FEATURE, ENOTTY);
    assert_int_equal(umdev_client_dma_log_start(fake.client, &page_size, ranges, 2), -ENOTTY);
    assert_int_equal(page_size, 8 * PAGE);
    assert_int_equal(umdev_client_dma_log_start(fake.client, &page_size, ranges, SIZE_MAX), -E2BIG);
    assert_int_equal(umdev_client_dma_log_start(fake.client, &page_size, ranges, 65537), -E2BIG);
    assert_true(umdev_client_alive(fake.client));
    fake_close(&fake);
}

/* Many more ranges than umdev's own server takes are sent: another may take them. */
static void test_start_with_many_ranges(void **state)
{
    static struct umdev_dma_range many[3000];
    struct fake_request request;
    uint64_t page_size = PAGE;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    fake_answer_error(&fake, WIRE_DEVICE_FEATURE, E2BIG);
    assert_int_equal(umdev_client_dma_log_start(fake.client, &page_size, many, 3000), -E2BIG);
    fake_take(&fake, &request);
    assert_int_equal(request.body_size, 8 + 16 + 3000 * 16);
    fake_close(&fake);
}

static void expect_broken_start(const struct start_body *body, size_t size)
{
    uint64_t page_size = PAGE;
    struct fake fake;

    fake_connect(&fake);
    fake_answer(&fake, WIRE_DEVICE_FEATURE, body, size);
    assert_int_equal(umdev_client_dma_log_start(fake.client, &page_size, ranges, 2), -EPROTO);
    assert_int_equal(page_size, PAGE);
    assert_false(umdev_client_alive(fake.client));
    fake_close(&fake);
}

static void test_start_answers_that_make_no_sense(void **state)
{
    struct start_body body = start_body(2, PAGE);

    (void)state;
    expect_broken_start(&body, start_size(2) - 1);
    expect_broken_start(&body, start_size(1));
    expect_broken_start(&body, start_size(3));
    expect_broken_start(&body, 8);
    body.ranges[1].length++;
    expect_broken_start(&body, start_size(2));
    body = start_body(2, 0);
    expect_broken_start(&body, start_size(2));
    body = start_body(2, 3 * PAGE);
    expect_broken_start(&body, start_size(2));
    body = start_body(2, PAGE);
    body.control.num_ranges = 1;
    expect_broken_start(&body, start_size(2));
    body = start_body(2, PAGE);
    body.feature.flags = STOP;
    expect_broken_start(&body, start_size(2));
}

static void test_stop(void **state)
{
    struct wire_feature body = {8, STOP};
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    fake_answer(&fake, WIRE_DEVICE_FEATURE, &body, sizeof(body));
    assert_int_equal(umdev_client_dma_log_stop(fake.client), 0);
    expect_request(&fake, WIRE_DEVICE_FEATURE, &body, sizeof(body));
    fake_answer_error(&fake, WIRE_DEVICE_FEATURE, EINVAL);
    assert_int_equal(umdev_client_dma_log_stop(fake.client), -EINVAL);
    expect_request(&fake, WIRE_DEVICE_FEATURE, &body, sizeof(body));
    body.flags = START;
    fake_answer(&fake, WIRE_DEVICE_FEATURE, &body, sizeof(body));
    assert_int_equal(umdev_client_dma_log_stop(fake.client), -EPROTO);
    fake_close(&fake);
}

/* ------------------------------------------------------------------ reports */

static size_t report_size(size_t words)
{
    return offsetof(struct report_body, bitmap) + words * 8;
}

static struct report_body report_body(uint64_t iova, uint64_t length, size_t words)
{
    struct report_body body = {
        .feature = {(uint32_t)report_size(words), GET},
        .report = {iova, length, PAGE},
    };

    for (size_t i = 0; i < words; i++)
        body.bitmap[i] = iova + i;
    return body;
}

static void answer_report(struct fake *fake, uint64_t iova, uint64_t length, size_t words)
{
    struct report_body body = report_body(iova, length, words);

    fake_answer(fake, WIRE_DEVICE_FEATURE, &body, report_size(words));
}

static void test_report(void **state)
{
    struct report_body body = report_body(0x10000, 65 * PAGE, 2);
    uint64_t bitmap[3] = {7, 7, 7};
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_report(&fake, 0x10000, 65 * PAGE, 2);
    assert_int_equal(
        umdev_client_dma_log_report(fake.client, IOVA(0x10000), 65 * PAGE, PAGE, bitmap), 0);
    expect_request(&fake, WIRE_DEVICE_FEATURE, &body, report_size(0));
    assert_int_equal(bitmap[0], 0x10000);
    assert_int_equal(bitmap[1], 0x10001);
    assert_int_equal(bitmap[2], 7);
    fake_close(&fake);
}

/* As large as the server takes, and the rest; up to the end of the address space. */
static void test_report_in_pieces(void **state)
{
    static uint64_t bitmap[2 * MAX_WORDS + 1];
    uint64_t iova = -(2 * MAX_LENGTH + PAGE), length = 2 * MAX_LENGTH + PAGE;
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_report(&fake, iova, MAX_LENGTH, MAX_WORDS);
    answer_report(&fake, iova + MAX_LENGTH, MAX_LENGTH, MAX_WORDS);
    answer_report(&fake, iova + 2 * MAX_LENGTH, PAGE, 1);
    assert_int_equal(umdev_client_dma_log_report(fake.client, IOVA(iova), length, PAGE, bitmap), 0);
    for (size_t i = 0; i < 2 * MAX_WORDS + 1; i++)
        assert_true(bitmap[i] == iova + i / MAX_WORDS * MAX_LENGTH + i % MAX_WORDS);
    fake_close(&fake);
}

static void test_report_arguments(void **state)
{
    static const struct {
        uint64_t iova, size, page_size;
    } cases[] = {
        {0, 0, PAGE},
        {0, PAGE, 0},
        {0, PAGE, 3 * PAGE},
        {0, PAGE, UINT64_MAX},
        {PAGE, -PAGE + 1, PAGE},
        {UINT64_MAX, UINT64_MAX, PAGE},
    };
    uint64_t bitmap[2];
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        umdev_iova_t iova = IOVA(cases[i].iova);

        assert_int_equal(umdev_client_dma_log_report(fake.client, iova, cases[i].size,
                                                     cases[i].page_size, bitmap),
                         -EINVAL);
        assert_int_equal(umdev_client_dma_unmap_dirty(fake.client, iova, cases[i].size,
                                                      cases[i].page_size, bitmap),
                         -EINVAL);
    }
    fake_assert_quiet(&fake);
    /* What only a server can know goes to it; one page may be all there is. */
    fake_answer_error(&fake, WIRE_DEVICE_FEATURE, EINVAL);
    assert_int_equal(
        umdev_client_dma_log_report(fake.client, IOVA(1), UINT64_MAX, UINT64_C(1) << 63, bitmap),
        -EINVAL);
    fake_close(&fake);
}

static void test_report_fails_in_the_middle(void **state)
{
    static uint64_t bitmap[MAX_WORDS + 1];
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    answer_report(&fake, 0, MAX_LENGTH, MAX_WORDS);
    fake_answer_error(&fake, WIRE_DEVICE_FEATURE, EINVAL);
    assert_int_equal(
        umdev_client_dma_log_report(fake.client, IOVA(0), MAX_LENGTH + PAGE, PAGE, bitmap),
        -EINVAL);
    assert_true(umdev_client_alive(fake.client));
    fake_close(&fake);
}

static void expect_broken_report(const struct report_body *body, size_t size)
{
    uint64_t bitmap[3] = {7, 7, 7};
    struct fake fake;

    fake_connect(&fake);
    fake_answer(&fake, WIRE_DEVICE_FEATURE, body, size);
    assert_int_equal(umdev_client_dma_log_report(fake.client, IOVA(0), 65 * PAGE, PAGE, bitmap),
                     -EPROTO);
    assert_int_equal(bitmap[2], 7);
    assert_false(umdev_client_alive(fake.client));
    fake_close(&fake);
}

static void test_report_answers_that_make_no_sense(void **state)
{
    struct report_body body = report_body(0, 65 * PAGE, 3);

    (void)state;
    expect_broken_report(&body, report_size(0) - 1);
    expect_broken_report(&body, report_size(0));
    expect_broken_report(&body, report_size(1));
    expect_broken_report(&body, report_size(2) - 1);
    expect_broken_report(&body, report_size(2) + 1);
    expect_broken_report(&body, report_size(3));
    body.report.iova = PAGE;
    expect_broken_report(&body, report_size(2));
    body = report_body(0, 65 * PAGE, 2);
    body.report.page_size = 2 * PAGE;
    expect_broken_report(&body, report_size(2));
    body = report_body(0, 65 * PAGE, 2);
    body.feature.flags = START;
    expect_broken_report(&body, report_size(2));
}

/* ------------------------------------------------------------------ unmap */

static struct unmap_body unmap_body(uint64_t words, uint64_t unmapped)
{
    return (struct unmap_body){
        .unmap = {(uint32_t)(40 + words * 8), WIRE_DMA_UNMAP_GET_DIRTY_BITMAP, 0x10000, unmapped},
        .bitmap = {PAGE, words * 8},
        .words = {0x55, 0xaa},
    };
}

static void test_unmap_dirty(void **state)
{
    struct unmap_body body = unmap_body(2, 65 * PAGE);
    uint64_t bitmap[3] = {7, 7, 7};
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    fake_answer(&fake, WIRE_DMA_UNMAP, &body, 40 + 16);
    assert_int_equal(
        umdev_client_dma_unmap_dirty(fake.client, IOVA(0x10000), 65 * PAGE, PAGE, bitmap), 0);
    expect_request(&fake, WIRE_DMA_UNMAP, &body, 40);
    assert_int_equal(bitmap[0], 0x55);
    assert_int_equal(bitmap[1], 0xaa);
    assert_int_equal(bitmap[2], 7);
    fake_answer_error(&fake, WIRE_DMA_UNMAP, EINVAL);
    assert_int_equal(umdev_client_dma_unmap_dirty(fake.client, IOVA(0), PAGE, PAGE, bitmap),
                     -EINVAL);
    assert_true(umdev_client_alive(fake.client));
    fake_close(&fake);
}

static void test_unmap_dirty_too_large(void **state)
{
    static uint64_t bitmap[MAX_WORDS + 1];
    struct fake fake;

    (void)state;
    fake_connect(&fake);
    assert_int_equal(
        umdev_client_dma_unmap_dirty(fake.client, IOVA(0), MAX_LENGTH + PAGE, PAGE, bitmap),
        -E2BIG);
    assert_int_equal(umdev_client_dma_unmap_dirty(fake.client, IOVA(0), UINT64_MAX, 1, bitmap),
                     -E2BIG);
    fake_assert_quiet(&fake);
    fake_answer_error(&fake, WIRE_DMA_UNMAP, E2BIG);
    assert_int_equal(umdev_client_dma_unmap_dirty(fake.client, IOVA(0), MAX_LENGTH, PAGE, bitmap),
                     -E2BIG);
    fake_close(&fake);
}

/* An older server has no such flag and answers as to any other unmap, say. */
static void test_unmap_dirty_answers_that_make_no_sense(void **state)
{
    struct unmap_body body = unmap_body(2, 65 * PAGE);

    (void)state;
    for (size_t size = 24; size <= 40 + 16; size += 8) {
        uint64_t bitmap[1] = {7};
        struct fake fake;

        if (size == 40 + 8)
            continue;
        fake_connect(&fake);
        fake_answer(&fake, WIRE_DMA_UNMAP, &body, size);
        assert_int_equal(umdev_client_dma_unmap_dirty(fake.client, IOVA(0), PAGE, PAGE, bitmap),
                         -EPROTO);
        assert_false(umdev_client_alive(fake.client));
        fake_close(&fake);
    }
}

/* ------------------------------------------------------------------ failing calls */

static struct fake failing;

static int start_again(void *opaque)
{
    struct start_body body = start_body(2, PAGE);
    uint64_t page_size = PAGE;
    struct fake_request request;
    int ret;

    (void)opaque;
    fake_answer(&failing, WIRE_DEVICE_FEATURE, &body, start_size(2));
    ret = umdev_client_dma_log_start(failing.client, &page_size, ranges, 2);
    if (ret) {
        /* Nothing was sent: the answer is for the request that was not. */
        fake_assert_quiet(&failing);
        assert_int_equal(umdev_client_dma_log_start(failing.client, &page_size, ranges, 2), 0);
    }
    fake_take(&failing, &request);
    return ret;
}

static void test_fail_nth(void **state)
{
    (void)state;
    fake_connect(&failing);
    assert_int_equal(failnth_run(start_again, NULL, NULL), 2);
    /* Not fake_close(): what was open at first is not counted any more. */
    umdev_client_close(failing.client);
    fake_close_server(&failing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_start_fails),
        cmocka_unit_test(test_start_with_many_ranges),
        cmocka_unit_test(test_start_answers_that_make_no_sense),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_report_in_pieces),
        cmocka_unit_test(test_report_arguments),
        cmocka_unit_test(test_report_fails_in_the_middle),
        cmocka_unit_test(test_report_answers_that_make_no_sense),
        cmocka_unit_test(test_unmap_dirty),
        cmocka_unit_test(test_unmap_dirty_too_large),
        cmocka_unit_test(test_unmap_dirty_answers_that_make_no_sense),
        cmocka_unit_test(test_fail_nth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
