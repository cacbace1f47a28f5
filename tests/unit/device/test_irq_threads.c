/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts from engine threads while the client changes everything; eventfds that get stuck. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "irq_fixture.h"

#include "device/irq_state.h"

#define ROUNDS  3000
#define ENGINES 3

struct engine {
    pthread_t thread;
    struct irqs *irqs;
    unsigned first; /* vectors first, first + ENGINES … */
};

static void *engine_trigger(void *opaque)
{
    const struct engine *engine = opaque;

    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned vector = (engine->first + i * ENGINES) % NUM_MSIX;

        irqs_trigger(engine->irqs, MSIX, vector);
        irqs_trigger(engine->irqs, MSI, vector % NUM_MSI);
        irqs_trigger(engine->irqs, ERR, 0);
        irqs_set_level(engine->irqs, i % 2);
        (void)irqs_msix_pending(engine->irqs, vector / 64);
        (void)irqs_level(engine->irqs);
    }
    return NULL;
}

static void start(pthread_t *thread, void *(*function)(void *), void *opaque)
{
    assert_int_equal(pthread_create(thread, NULL, function, opaque), 0);
}

/* Nothing to count here but crashes, races (TSan) and fds left (teardown). */
static void test_engines_against_a_restless_client(void **state)
{
    struct fixture *f = *state;
    struct engine engines[ENGINES];

    for (unsigned i = 0; i < ENGINES; i++) {
        engines[i] = (struct engine){.irqs = f->irqs, .first = i};
        start(&engines[i].thread, engine_trigger, &engines[i]);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned vector = i % NUM_MSIX;
        unsigned index = i / 64 % 3;

        if (index == INTX)
            vector = 0;
        else if (index == MSI)
            vector %= NUM_MSI;
        assert_int_equal(fixture_listen(f->irqs, index, vector, f->a), 0);
        assert_int_equal(fixture_listen(f->irqs, ERR, 0, f->b), 0);
        irqs_msix_set_vector_mask(f->irqs, i % NUM_MSIX, i % 3);
        irqs_msix_set_function_mask(f->irqs, i % 5 == 0);
        irqs_set_intx_disabled(f->irqs, i % 2);
        if (index == INTX)
            assert_int_equal(fixture_set(f->irqs, UNMASK | NONE, INTX, 0, 1), 0);
        irqs_unstick(f->irqs);
        if (i % 64 == 63)
            assert_int_equal(fixture_set(f->irqs, TRIGGER | NONE, index, 0, 0), 0);
        if (i % 500 == 499)
            irqs_reset(f->irqs);
        if (i % 1000 == 999)
            irqs_clear(f->irqs);
        fixture_count(f->a);
    }
    for (unsigned i = 0; i < ENGINES; i++)
        pthread_join(engines[i].thread, NULL);
}

static void *engine_trigger_one(void *opaque)
{
    struct engine *engine = opaque;

    for (unsigned i = 0; i < ROUNDS; i++)
        irqs_trigger(engine->irqs, MSIX, engine->first);
    return NULL;
}

/* Masked or not, the last interrupt gets there: none is pending for ever, none is lost. */
static void test_masks_lose_nothing(void **state)
{
    struct fixture *f = *state;
    struct engine engine = {.irqs = f->irqs, .first = 7};

    assert_int_equal(fixture_listen(f->irqs, MSIX, 7, f->a), 0);
    start(&engine.thread, engine_trigger_one, &engine);
    for (unsigned i = 0; i < ROUNDS; i++) {
        irqs_msix_set_vector_mask(f->irqs, 7, i % 2);
        irqs_msix_set_function_mask(f->irqs, i % 3 == 0);
    }
    /* Leave it masked, so that the last one is pending for certain. */
    irqs_msix_set_vector_mask(f->irqs, 7, true);
    irqs_trigger(f->irqs, MSIX, 7);
    pthread_join(engine.thread, NULL);
    fixture_count(f->a);
    assert_int_equal(irqs_msix_pending(f->irqs, 0), 1 << 7);
    irqs_msix_set_function_mask(f->irqs, false);
    irqs_msix_set_vector_mask(f->irqs, 7, false);
    assert_int_equal(fixture_count(f->a), 1);
    assert_int_equal(irqs_msix_pending(f->irqs, 0), 0);
}

static void *client_unmask(void *opaque)
{
    struct fixture *f = opaque;

    /* An interrupt handler: wait, make the device quiet, unmask. */
    for (unsigned i = 0; i < ROUNDS / 10; i++) {
        uint64_t count;

        assert_int_equal(read(f->a, &count, sizeof(count)), sizeof(count));
        irqs_set_level(f->irqs, false);
        assert_int_equal(fixture_set(f->irqs, UNMASK | NONE, INTX, 0, 1), 0);
    }
    return NULL;
}

/* Would hang if an edge between "quiet" and "unmask" were lost. */
static void test_intx_level_is_never_lost(void **state)
{
    struct fixture *f = *state;
    pthread_t client;

    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
    start(&client, client_unmask, f);
    for (unsigned i = 0; i < ROUNDS / 10; i++) {
        irqs_set_level(f->irqs, true);
        while (irqs_level(f->irqs))
            sched_yield();
    }
    pthread_join(client, NULL);
}

/* ------------------------------------------------------------------ stuck */

static void fill(int fd)
{
    const uint64_t full = UINT64_MAX - 1;

    assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
}

static void *trigger_once(void *opaque)
{
    assert_int_equal(irqs_trigger(opaque, MSIX, 0), 0);
    return NULL;
}

static void *set_level_once(void *opaque)
{
    assert_int_equal(irqs_set_level(opaque, true), 0);
    return NULL;
}

static void *clear_once(void *opaque)
{
    irqs_clear(opaque);
    return NULL;
}

static void unstick(struct irqs *irqs)
{
    while (!irqs_unstick(irqs))
        sched_yield();
}

static void test_unstick_releases_the_writer(void **state)
{
    struct fixture *f = *state;
    unsigned before = leaks_count_fds();
    pthread_t writer;

    assert_false(irqs_unstick(f->irqs));
    assert_int_equal(fixture_listen(f->irqs, MSIX, 0, f->a), 0);
    assert_int_equal(fixture_listen(f->irqs, MSIX, 1, f->b), 0);
    fill(f->a);
    start(&writer, trigger_once, f->irqs);
    unstick(f->irqs);
    pthread_join(writer, NULL);
    /* The client has its interrupt, but the vector is its no more; the others are. */
    assert_int_equal(fixture_count(f->a), 1);
    assert_int_equal(leaks_count_fds(), before + 1);
    fill(f->a);
    assert_int_equal(irqs_trigger(f->irqs, MSIX, 0), 0);
    assert_int_equal(irqs_trigger(f->irqs, MSIX, 1), 0);
    assert_int_equal(fixture_count(f->b), 1);
    assert_false(irqs_unstick(f->irqs));
    /* It may be given again. */
    fixture_count(f->a);
    assert_int_equal(fixture_listen(f->irqs, MSIX, 0, f->a), 0);
    assert_int_equal(irqs_trigger(f->irqs, MSIX, 0), 0);
    assert_int_equal(fixture_count(f->a), 1);
}

static void test_unstick_of_a_semaphore(void **state)
{
    struct fixture *f = *state;
    int semaphore = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    pthread_t writer;

    assert_true(semaphore >= 0);
    assert_int_equal(fixture_listen(f->irqs, MSIX, 0, semaphore), 0);
    fill(semaphore);
    start(&writer, trigger_once, f->irqs);
    unstick(f->irqs);
    pthread_join(writer, NULL);
    assert_int_equal(irqs_trigger(f->irqs, MSIX, 0), 0);
    close(semaphore);
}

/* The thread that serves the client waits behind the writer; both go on. */
static void test_unstick_releases_those_who_wait(void **state)
{
    struct fixture *f = *state;
    pthread_t writer, session;

    assert_int_equal(fixture_listen(f->irqs, INTX, 0, f->a), 0);
    fill(f->a);
    start(&writer, set_level_once, f->irqs);
    start(&session, clear_once, f->irqs);
    /* Where the session was first, nobody gets stuck. */
    bool joined = false;
    while (!joined && !irqs_unstick(f->irqs))
        joined = pthread_tryjoin_np(session, NULL) == 0;
    if (!joined)
        pthread_join(session, NULL);
    pthread_join(writer, NULL);
    /* Nobody listens any more. */
    irqs_set_level(f->irqs, false);
    irqs_set_level(f->irqs, true);
}

/* A writer that is merely slow keeps its client's count. */
static void test_unstick_spares_the_slow(void **state)
{
    struct fixture *f = *state;
    const uint64_t five = 5;

    assert_int_equal(write(f->a, &five, sizeof(five)), sizeof(five));
    atomic_store(&f->irqs->write_number, 1);
    atomic_store(&f->irqs->writing_fd, f->a);
    for (unsigned i = 0; i < 3; i++)
        assert_false(irqs_unstick(f->irqs));
    assert_int_equal(fixture_count(f->a), 5);

    /* Full, but each time another write: no suspicion. Then it is the same. */
    fill(f->a);
    for (unsigned i = 2; i < 5; i++) {
        atomic_store(&f->irqs->write_number, i);
        assert_false(irqs_unstick(f->irqs));
    }
    assert_true(irqs_unstick(f->irqs));
    assert_int_equal(fixture_count(f->a), 0);
    atomic_store(&f->irqs->writing_fd, -1);
    assert_false(irqs_unstick(f->irqs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_engines_against_a_restless_client),
        FIXTURE_TEST(test_masks_lose_nothing),
        FIXTURE_TEST(test_intx_level_is_never_lost),
        FIXTURE_TEST(test_unstick_releases_the_writer),
        FIXTURE_TEST(test_unstick_of_a_semaphore),
        FIXTURE_TEST(test_unstick_releases_those_who_wait),
        FIXTURE_TEST(test_unstick_spares_the_slow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
