/* SPDX-License-Identifier: BSD-3-Clause */
/* A vgpu without a kernel driver: sysfs, a huge page, and MSI-X messages into memory. */
#include "gpu.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HUGE_PAGE     0x200000u
#define PAGES_MAX     16              /* that are looked at */
#define MESSAGES      GPU_MEMORY_SIZE /* in a huge page, behind the memory handed out */
#define MESSAGE_MAGIC 0x4d534900u     /* | vector: what a message writes */

#define PCI_COMMAND        0x04
#define PCI_COMMAND_MEMORY 0x2
#define PCI_COMMAND_MASTER 0x4
#define PCI_CAPABILITIES   0x34
#define PCI_CAP_ID_MSIX    0x11
#define MSIX_ENABLE        0x8000
#define MSIX_ENTRY_SIZE    16

/* Physical addresses. */
struct range {
    uint64_t first, last;
};

static int open_attribute(const char *bdf, const char *attribute)
{
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, attribute);
    fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
    if (fd < 0)
        perror(path);
    return fd;
}

static volatile uint8_t *map_bar(const char *bdf, unsigned bar, uint64_t *size)
{
    char name[16];
    struct stat st;
    void *map;
    int fd;

    snprintf(name, sizeof(name), "resource%u", bar);
    fd = open_attribute(bdf, name);
    if (fd < 0 || fstat(fd, &st))
        return NULL;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED) {
        perror(name);
        return NULL;
    }
    if (size)
        *size = (uint64_t)st.st_size;
    return map;
}

/* The physical address of a page that stays where it is. */
static int physical_address(const void *page, uint64_t *address)
{
    uint64_t entry, index = (uintptr_t)page / 4096;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && pread(fd, &entry, 8, (off_t)(index * 8)) == 8 && entry >> 63;

    if (fd >= 0)
        close(fd);
    if (!ok) {
        perror("/proc/self/pagemap");
        return -1;
    }
    *address = (entry & ((UINT64_C(1) << 55) - 1)) * 4096;
    return 0;
}

static void *map_huge_page(void)
{
    void *page = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);

    return page == MAP_FAILED ? NULL : page;
}

/* A huge page inside the range, or outside of it; NULL if there is none. Those that are not it are
 * kept until it is found: the kernel would give them again. */
static uint8_t *find_huge_page(const struct range *range, bool inside, uint64_t *address)
{
    void *pages[PAGES_MAX], *found = NULL;
    int count = 0;

    while (!found && count < PAGES_MAX && (pages[count] = map_huge_page())) {
        if (physical_address(pages[count], address))
            break;
        if ((*address >= range->first && *address <= range->last) == inside)
            found = pages[count];
        else
            count++;
    }
    while (count > 0)
        munmap(pages[--count], HUGE_PAGE);
    if (!found)
        fprintf(stderr, "no huge page %s 0x%llx-0x%llx\n", inside ? "inside" : "outside",
                (unsigned long long)range->first, (unsigned long long)range->last);
    return found;
}

/* `range` is NULL where any memory will do. */
static int alloc_memory(struct gpu *gpu, const struct range *range)
{
    const struct range all = {0, UINT64_MAX};
    uint8_t *for_messages;

    gpu->memory = for_messages = find_huge_page(range ? range : &all, true, &gpu->iova);
    gpu->messages_address = gpu->iova;
    if (gpu->memory && range)
        for_messages = find_huge_page(range, false, &gpu->messages_address);
    if (!for_messages)
        return -1;
    gpu->messages = (volatile uint32_t *)(for_messages + MESSAGES);
    gpu->messages_address += MESSAGES;
    return 0;
}

int gpu_locate(struct gpu *gpu)
{
    return physical_address(gpu->memory, &gpu->iova);
}

static uint16_t config_read16(int config, uint16_t offset)
{
    uint16_t value = 0xffff;

    return pread(config, &value, 2, offset) == 2 ? value : 0xffff;
}

static int config_write16(int config, uint16_t offset, uint16_t value)
{
    return pwrite(config, &value, 2, offset) == 2 ? 0 : -1;
}

static uint16_t find_msix(int config)
{
    uint16_t offset = config_read16(config, PCI_CAPABILITIES) & 0xfc;

    while (offset && offset < 0x100) {
        uint16_t head = config_read16(config, offset);

        if ((head & 0xff) == PCI_CAP_ID_MSIX)
            return offset;
        offset = head >> 8 & 0xfc;
    }
    return 0;
}

/* Let each vector's message write MESSAGE_MAGIC | vector into its word of `messages`. */
static int program_msix(struct gpu *gpu, const char *bdf, int config)
{
    uint16_t capability = find_msix(config);
    volatile uint32_t *table;
    uint32_t where = 0;

    if (!capability || pread(config, &where, 4, capability + 4) != 4) {
        fprintf(stderr, "%s has no MSI-X\n", bdf);
        return -1;
    }
    table = (volatile uint32_t *)map_bar(bdf, where & 7, NULL);
    if (!table)
        return -1;
    table += (where & ~7u) / 4;
    for (unsigned vector = 0; vector < VGPU_MSIX_VECTORS; vector++) {
        volatile uint32_t *entry = table + vector * MSIX_ENTRY_SIZE / 4;
        uint64_t address = gpu->messages_address + 4 * vector;

        gpu->messages[vector] = 0;
        entry[0] = (uint32_t)address;
        entry[1] = (uint32_t)(address >> 32);
        entry[2] = MESSAGE_MAGIC | vector;
        entry[3] = 0; /* not masked */
    }
    return config_write16(config, capability + 2,
                          (config_read16(config, capability + 2) & 0x3fff) | MSIX_ENABLE);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int take_message(struct gpu *gpu, unsigned vector, int timeout_ms)
{
    uint64_t deadline = now_ms() + (uint64_t)timeout_ms;

    while (!gpu->messages[vector]) {
        if (now_ms() >= deadline)
            return -1;
        usleep(100);
    }
    if (gpu->messages[vector] != (MESSAGE_MAGIC | vector)) {
        fprintf(stderr, "message of vector %u is 0x%x\n", vector, gpu->messages[vector]);
        return -1;
    }
    gpu->messages[vector] = 0;
    gpu->interrupts[vector]++;
    return 0;
}

/* BDF[@FIRST-LAST] */
static int parse_name(const char *name, char bdf[16], struct range *range, bool *has_range)
{
    size_t len = strcspn(name, "@");
    char *end;

    *has_range = name[len] == '@';
    if (len >= 16)
        return -1;
    memcpy(bdf, name, len);
    bdf[len] = '\0';
    if (!*has_range)
        return 0;
    range->first = strtoull(name + len + 1, &end, 0);
    if (*end != '-')
        return -1;
    range->last = strtoull(end + 1, &end, 0);
    return *end || range->first > range->last ? -1 : 0;
}

int gpu_open_sysfs(struct gpu *gpu, const char *name)
{
    char bdf[16];
    struct range range;
    bool has_range;
    int config, ret;

    if (parse_name(name, bdf, &range, &has_range)) {
        fprintf(stderr, "%s: no BDF[@FIRST-LAST]\n", name);
        return -1;
    }
    config = open_attribute(bdf, "config");
    if (config < 0)
        return -1;
    ret = config_write16(config, PCI_COMMAND,
                         config_read16(config, PCI_COMMAND) | PCI_COMMAND_MEMORY |
                             PCI_COMMAND_MASTER);
    gpu->take = take_message;
    gpu->vram = map_bar(bdf, VGPU_BAR_VRAM, &gpu->vram_size);
    gpu->regs = map_bar(bdf, VGPU_BAR_REGS, NULL);
    if (!ret && (!gpu->vram || !gpu->regs))
        ret = -1;
    if (!ret)
        ret = alloc_memory(gpu, has_range ? &range : NULL);
    if (!ret)
        ret = program_msix(gpu, bdf, config);
    close(config);
    return ret;
}
