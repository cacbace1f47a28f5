/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/domain.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>

#define DEFAULT_LAST ((UINT64_C(1) << 48) - 1)

static int reserved_windows(const struct umdev_domain *config, struct range **windows,
                            struct umdev_error *error)
{
    *windows = NULL;
    if (config->nreserved == 0)
        return 0;
    if (!config->reserved)
        return error_set(error, EINVAL, "%zu reserved windows, but no array", config->nreserved);
    *windows = calloc(config->nreserved, sizeof(**windows));
    if (!*windows)
        return error_set(error, ENOMEM, "out of memory");
    for (size_t i = 0; i < config->nreserved; i++) {
        const struct umdev_area *area = &config->reserved[i];

        if (range_make(area->offset, area->size, &(*windows)[i]))
            return error_set(error, EINVAL,
                             "reserved window %zu, 0x%" PRIx64 " bytes at 0x%" PRIx64
                             ", is empty or wraps",
                             i, area->size, area->offset);
    }
    return 0;
}

static int make_space(const struct umdev_domain *config, struct bus_space **space,
                      struct umdev_error *error)
{
    CLEANUP_FREE struct range *reserved = NULL;
    bool whole = config->first == 0 && config->last == 0;
    struct bus_space_config space_config = {
        .aperture = {whole ? PAGE_SIZE_4K : config->first, whole ? DEFAULT_LAST : config->last},
        .nreserved = config->nreserved,
    };
    int ret = reserved_windows(config, &reserved, error);

    if (ret)
        return ret;
    space_config.reserved = reserved;
    return bus_space_new(&space_config, space, error);
}

int iommu_domain_new(const struct umdev_domain *config, struct iommu_domain **domain,
                     struct umdev_error *error)
{
    CLEANUP_FREE struct iommu_domain *made = NULL;

    if (config->mode > UMDEV_BUS_PAGED)
        return error_set(error, EINVAL, "bus mode %d is none", (int)config->mode);
    if (config->align && (!is_power_of_two(config->align) || config->align < PAGE_SIZE_4K))
        return error_set(error, EINVAL,
                         "an alignment of 0x%" PRIx64 " is no power of two from 4096 up",
                         config->align);
    made = calloc(1, sizeof(*made));
    if (!made)
        return error_set(error, ENOMEM, "out of memory");
    made->mode = config->mode;
    made->align = config->align ? config->align : PAGE_SIZE_4K;
    if (config->mode != UMDEV_BUS_IDENTITY) {
        int ret = make_space(config, &made->space, error);

        if (ret)
            return ret;
    }
    *domain = TAKE_POINTER(made);
    return 0;
}

void iommu_domain_free(struct iommu_domain *domain)
{
    if (!domain)
        return;
    if (domain->space)
        bus_space_free(domain->space);
    free(domain);
}
