/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SIGBUS guard under cmocka, which puts a handler of its own over every other for the time of
 * each test: a program installs the guard once in main(), and a test that needs it takes over.
 */
#ifndef TESTS_GUARD_H
#define TESTS_GUARD_H

/* In main(), before cmocka runs. Ends the program if it fails. */
void guard_install(void);
/* At the start of a test. cmocka puts back what it found when the test is over. */
void guard_take_over(void);

#endif
