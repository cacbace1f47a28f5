/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A parent's parameters: "key=value" as the operator wrote them, checked against what the driver
 * declares.
 *
 * Data model. One value per declared parameter, in the order of the declarations: what the operator
 * said, or the default. All are converted and checked before the driver sees the first.
 */
#ifndef MDEV_PARAMS_H
#define MDEV_PARAMS_H

#include <umdev/driver.h>

struct params;

/* Whether one value suits its declaration: EINVAL, and `error` says what would. */
int params_check_value(const struct umdev_param *decl, const char *text, struct umdev_error *error);

/*
 * `driver` (complete, checked; it must outlive *params) declares, `args` says. EINVAL: no '=', an
 * unknown or repeated key, a value that is malformed or out of range. ENOMEM.
 */
int params_parse(const struct umdev_driver *driver, const char *const *args, size_t nargs,
                 struct params **params, struct umdev_error *error);
void params_free(struct params *params);

/* −EINVAL: no such parameter, or not of that kind; the results are "", 0 and false then. */
int params_get_text(const struct params *params, const char *name, const char **value);
int params_get_number(const struct params *params, const char *name, enum umdev_param_kind kind,
                      uint64_t *value);
int params_get_bool(const struct params *params, const char *name, bool *value);

#endif
