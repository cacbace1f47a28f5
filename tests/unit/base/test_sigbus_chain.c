/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A SIGBUS that is none of the guard's business ends as if the guard were not there. A handler can
 * be installed once in a process, so each test runs in a child; the parent installs none.
 */
#include "base/sigbus.h"

#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE ((size_t)4096)

/* A page of a file that has none: every access is a SIGBUS. */
static volatile unsigned char *lost_page(void)
{
    int fd = memfd_create("lost", MFD_CLOEXEC);
    void *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (map == MAP_FAILED)
        _exit(99);
    return map;
}

static int run_in_child(int (*child)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit no_core = {0};

        setrlimit(RLIMIT_CORE, &no_core);
        _exit(child());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_exits_well(int (*child)(void))
{
    int status = run_in_child(child);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void assert_dies_of_sigbus(int (*child)(void))
{
    int status = run_in_child(child);

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
}

/* The children's handlers: what the last one saw. */
static volatile sig_atomic_t calls;
static volatile int seen_code;
static void *volatile seen_address;
static sigset_t seen_mask;
static void *volatile seen_stack;
static void *volatile page_to_mend;

static void mend(void)
{
    calls++;
    seen_stack = __builtin_frame_address(0);
    pthread_sigmask(SIG_BLOCK, NULL, &seen_mask);
    if (page_to_mend && mmap(page_to_mend, PAGE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        _exit(97);
}

static void plain_handler(int signal)
{
    (void)signal;
    mend();
}

static void info_handler(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    seen_code = info->si_code;
    seen_address = info->si_addr;
    mend();
}

/* Set the handler that is there before the guard's, and then the guard's. */
static void install_over(void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR1);
    if (sigaction(SIGBUS, &action, NULL) || sigbus_install() || sigbus_install())
        _exit(98);
}

static void install_over_info(int flags)
{
    struct sigaction action = {.sa_sigaction = info_handler, .sa_flags = SA_SIGINFO | flags};

    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR1);
    if (sigaction(SIGBUS, &action, NULL) || sigbus_install())
        _exit(98);
}

static int unguarded_fault(void)
{
    install_over(SIG_DFL, 0);
    return lost_page()[0];
}

static void test_unguarded_fault_kills(void **state)
{
    (void)state;
    assert_dies_of_sigbus(unguarded_fault);
}

static int fault_after_removal(void)
{
    volatile unsigned char *page = lost_page();
    atomic_bool lost = false;

    install_over(SIG_DFL, 0);
    sigbus_guard_remove(sigbus_guard_add((void *)page, PAGE, &lost));
    return page[0];
}

static void test_fault_after_removal_kills(void **state)
{
    (void)state;
    assert_dies_of_sigbus(fault_after_removal);
}

static int sent_by_kill(void)
{
    install_over(SIG_DFL, 0);
    kill(getpid(), SIGBUS);
    return 0;
}

static void test_sent_signal_kills(void **state)
{
    (void)state;
    assert_dies_of_sigbus(sent_by_kill);
}

static int sent_but_ignored(void)
{
    install_over(SIG_IGN, 0);
    kill(getpid(), SIGBUS);
    return 0;
}

static int ignored_fault(void)
{
    install_over(SIG_IGN, 0);
    return lost_page()[0];
}

static void test_ignored(void **state)
{
    (void)state;
    assert_exits_well(sent_but_ignored);
    /* The kernel lets nobody ignore a fault. */
    assert_dies_of_sigbus(ignored_fault);
}

static int previous_plain(void)
{
    volatile unsigned char *page = lost_page();

    page_to_mend = (void *)page;
    install_over(plain_handler, 0);
    return page[0] || calls != 1;
}

static void test_previous_handler_is_called(void **state)
{
    (void)state;
    assert_exits_well(previous_plain);
}

static int previous_info(void)
{
    volatile unsigned char *page = lost_page();

    page_to_mend = (void *)page;
    install_over_info(0);
    if (page[9] || calls != 1 || seen_address != page + 9 || seen_code != BUS_ADRERR)
        return 1;
    /* It runs with its own mask and the signal itself blocked. */
    if (!sigismember(&seen_mask, SIGUSR1) || !sigismember(&seen_mask, SIGBUS))
        return 2;
    page_to_mend = NULL;
    kill(getpid(), SIGBUS);
    return calls != 2 || seen_code != SI_USER;
}

static void test_previous_handler_gets_the_details(void **state)
{
    (void)state;
    assert_exits_well(previous_info);
}

static int previous_not_asked(void)
{
    volatile unsigned char *page = lost_page();
    atomic_bool lost = false;

    install_over_info(0);
    sigbus_guard_add((void *)page, PAGE, &lost);
    return page[0] || calls || !lost;
}

static void test_previous_handler_is_spared_guarded_faults(void **state)
{
    (void)state;
    assert_exits_well(previous_not_asked);
}

static int previous_nodefer(void)
{
    volatile unsigned char *page = lost_page();

    page_to_mend = (void *)page;
    install_over_info(SA_NODEFER);
    return page[0] || calls != 1 || sigismember(&seen_mask, SIGBUS);
}

static void test_previous_handler_with_nodefer(void **state)
{
    (void)state;
    assert_exits_well(previous_nodefer);
}

static int previous_once(void)
{
    volatile unsigned char *page = lost_page();

    page_to_mend = (void *)page;
    install_over_info(SA_RESETHAND);
    if (page[0] || calls != 1)
        return 1;
    return lost_page()[0];
}

static void test_previous_handler_that_serves_once(void **state)
{
    (void)state;
    assert_dies_of_sigbus(previous_once);
}

static int on_alternate_stack(void)
{
    static char memory[64 << 10];
    const stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};
    volatile unsigned char *page = lost_page();

    page_to_mend = (void *)page;
    if (sigaltstack(&stack, NULL))
        return 97;
    install_over_info(SA_ONSTACK);
    if (page[0] || calls != 1)
        return 1;
    return !((char *)seen_stack >= memory && (char *)seen_stack < memory + sizeof(memory));
}

static void test_alternate_stack(void **state)
{
    (void)state;
    assert_exits_well(on_alternate_stack);
}

/* A program that took the signal over later hands the faults on itself. */
static int handled_by_the_program(void)
{
    volatile unsigned char *page = lost_page();
    atomic_bool lost = false;
    int slot = sigbus_guard_add((void *)page, PAGE, &lost);

    if (slot < 0 || !sigbus_handle((void *)(page + 100)) || !lost)
        return 1;
    return page[0];
}

static void test_without_the_handler(void **state)
{
    (void)state;
    assert_exits_well(handled_by_the_program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unguarded_fault_kills),
        cmocka_unit_test(test_fault_after_removal_kills),
        cmocka_unit_test(test_sent_signal_kills),
        cmocka_unit_test(test_ignored),
        cmocka_unit_test(test_previous_handler_is_called),
        cmocka_unit_test(test_previous_handler_gets_the_details),
        cmocka_unit_test(test_previous_handler_is_spared_guarded_faults),
        cmocka_unit_test(test_previous_handler_with_nodefer),
        cmocka_unit_test(test_previous_handler_that_serves_once),
        cmocka_unit_test(test_alternate_stack),
        cmocka_unit_test(test_without_the_handler),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
