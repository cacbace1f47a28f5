/* SPDX-License-Identifier: BSD-3-Clause */
/* Random requests, masks and interrupts against a naive model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "irq_fixture.h"

/* INTx and MSI-X as sentences: who is enabled, who listens, what is masked. */
struct model {
    int enabled; /* −1: none */
    bool listens[MSIX + 1][NUM_MSIX];
    bool raised, masked, disabled;
    bool function_masked, vector_masked[NUM_MSIX], pending[NUM_MSIX];
    uint64_t signals;
};

static void model_settle(struct model *m)
{
    for (unsigned v = 0; v < NUM_MSIX; v++) {
        if (m->enabled != MSIX)
            m->pending[v] = false;
        if (m->pending[v] && !m->function_masked && !m->vector_masked[v]) {
            m->pending[v] = false;
            m->signals += m->listens[MSIX][v];
        }
    }
    if (m->enabled == INTX && m->listens[INTX][0] && m->raised && !m->masked && !m->disabled) {
        m->signals++;
        m->masked = true;
    }
}

static void model_step(struct model *m, struct irqs *irqs, int fd)
{
    unsigned what = (unsigned)rand() % 12;
    unsigned index = rand() % 2 ? MSIX : INTX;
    unsigned num = index == MSIX ? NUM_MSIX : 1;
    unsigned v = (unsigned)rand() % num, flag = (unsigned)rand() % 2;
    bool is_free = m->enabled == -1 || m->enabled == (int)index;
    bool mine = m->enabled == (int)index;
    int ret = 0, expected = 0;

    switch (what) {
    case 0: /* listen, or listen no more */
    case 1:
        ret = flag ? fixture_listen(irqs, index, v, fd)
                   : fixture_set(irqs, TRIGGER | EVENTFD, index, v, 1);
        expected = is_free ? 0 : -EINVAL;
        if (is_free) {
            if (m->enabled == -1)
                m->masked = false;
            m->enabled = (int)index;
            m->listens[index][v] = flag;
        }
        break;
    case 2: /* disable, now and then */
        if (rand() % 8)
            break;
        ret = fixture_set(irqs, TRIGGER | NONE, index, v, 0);
        expected = mine ? 0 : -EINVAL;
        if (mine) {
            m->enabled = -1;
            memset(m->listens[index], 0, sizeof(m->listens[index]));
        }
        break;
    case 3:
        ret = fixture_set(irqs, TRIGGER | NONE, index, v, 1);
        expected = mine ? 0 : -EINVAL;
        m->signals += mine && m->listens[index][v] && !(index == INTX && m->disabled);
        break;
    case 4:
        ret = fixture_set(irqs, (flag ? MASK : UNMASK) | NONE, INTX, 0, 1);
        expected = m->enabled == INTX ? 0 : -EINVAL;
        if (m->enabled == INTX)
            m->masked = flag;
        break;
    case 5:
        ret = irqs_set_level(irqs, flag);
        m->raised = flag;
        break;
    case 6:
        irqs_set_intx_disabled(irqs, flag);
        m->disabled = flag;
        break;
    case 7:
        irqs_msix_set_function_mask(irqs, flag);
        m->function_masked = flag;
        break;
    case 8:
        v = (unsigned)rand() % NUM_MSIX;
        irqs_msix_set_vector_mask(irqs, v, flag);
        m->vector_masked[v] = flag;
        break;
    default:
        v = (unsigned)rand() % NUM_MSIX;
        ret = irqs_trigger(irqs, MSIX, v);
        m->pending[v] = true;
        break;
    }
    model_settle(m);
    assert_int_equal(ret, expected);
}

static void test_model(void **state)
{
    struct fixture *f = *state;
    struct model m = {.enabled = -1};
    unsigned seed = (unsigned)getpid();

    print_message("# seed %u\n", seed);
    srand(seed);
    for (unsigned step = 0; step < 20000; step++) {
        model_step(&m, f->irqs, f->a);
        assert_int_equal(fixture_count(f->a), m.signals);
        m.signals = 0;
        for (unsigned v = 0; v < NUM_MSIX; v++)
            assert_int_equal(irqs_msix_pending(f->irqs, v / 64) >> (v % 64) & 1, m.pending[v]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
