/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In the guest: read or write a PCI BAR through sysfs.
 *
 *   bar read  BDF BAR OFFSET WIDTH            prints the value, 0x…
 *   bar write BDF BAR OFFSET WIDTH VALUE
 *   bar fill  BDF BAR OFFSET COUNT SEED       COUNT 32-bit words, SEED + index × 0x9e3779b1
 *   bar check BDF BAR OFFSET COUNT SEED       the same, compared
 *   bar check-zero BDF BAR OFFSET COUNT       COUNT 32-bit words of 0
 *   bar time  BDF BAR OFFSET COUNT            reads one 32-bit register COUNT times: ns for each
 *
 * WIDTH is 1, 2, 4 or 8 bytes. Memory BARs are mapped, I/O ports go by pread and pwrite.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct bar {
    int fd;
    uint64_t size;
    volatile uint8_t *map; /* NULL: I/O ports */
};

static int bar_open(struct bar *bar, const char *bdf, const char *number)
{
    char path[256];
    struct stat st;
    void *map;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource%s", bdf, number);
    bar->fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
    if (bar->fd < 0 || fstat(bar->fd, &st)) {
        perror(path);
        return -1;
    }
    bar->size = (uint64_t)st.st_size;
    map = mmap(NULL, bar->size, PROT_READ | PROT_WRITE, MAP_SHARED, bar->fd, 0);
    bar->map = map == MAP_FAILED ? NULL : map;
    return 0;
}

static int bar_read(const struct bar *bar, uint64_t offset, unsigned width, uint64_t *value)
{
    *value = 0;
    if (!bar->map)
        return pread(bar->fd, value, width, (off_t)offset) == (ssize_t)width ? 0 : -1;
    switch (width) {
    case 1:
        *value = bar->map[offset];
        break;
    case 2:
        *value = *(volatile uint16_t *)(bar->map + offset);
        break;
    case 4:
        *value = *(volatile uint32_t *)(bar->map + offset);
        break;
    default:
        *value = *(volatile uint64_t *)(bar->map + offset);
        break;
    }
    return 0;
}

static int bar_write(const struct bar *bar, uint64_t offset, unsigned width, uint64_t value)
{
    if (!bar->map)
        return pwrite(bar->fd, &value, width, (off_t)offset) == (ssize_t)width ? 0 : -1;
    switch (width) {
    case 1:
        bar->map[offset] = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)(bar->map + offset) = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)(bar->map + offset) = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)(bar->map + offset) = value;
        break;
    }
    return 0;
}

/* Word `index` of a pattern that repeats nowhere; without a seed it is 0. */
static uint32_t pattern(const uint32_t *seed, uint64_t index)
{
    return seed ? *seed + (uint32_t)index * 0x9e3779b1u : 0;
}

static int bar_fill(const struct bar *bar, uint64_t offset, uint64_t count, const uint32_t *seed)
{
    int ret = 0;

    for (uint64_t i = 0; !ret && i < count; i++)
        ret = bar_write(bar, offset + 4 * i, 4, pattern(seed, i));
    return ret;
}

/* 1, and it has been told where, if they differ. */
static int bar_check(const struct bar *bar, uint64_t offset, uint64_t count, const uint32_t *seed)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t value;

        if (bar_read(bar, offset + 4 * i, 4, &value))
            return -1;
        if (value != pattern(seed, i)) {
            printf("at 0x%" PRIx64 ": 0x%" PRIx64 ", not 0x%" PRIx32 "\n", offset + 4 * i, value,
                   pattern(seed, i));
            return 1;
        }
    }
    return 0;
}

static int bar_print(const struct bar *bar, uint64_t offset, unsigned width)
{
    uint64_t value;
    int ret = bar_read(bar, offset, width, &value);

    if (!ret)
        printf("0x%" PRIx64 "\n", value);
    return ret;
}

static int bar_time(const struct bar *bar, uint64_t offset, uint64_t count)
{
    struct timespec start, end;
    uint64_t value;
    int64_t ns;
    int ret = 0;

    clock_gettime(CLOCK_MONOTONIC, &start);
    for (uint64_t i = 0; !ret && i < count; i++)
        ret = bar_read(bar, offset, 4, &value);
    clock_gettime(CLOCK_MONOTONIC, &end);
    ns = (int64_t)(end.tv_sec - start.tv_sec) * 1000000000 + (end.tv_nsec - start.tv_nsec);
    if (!ret)
        printf("%.1f\n", (double)ns / (double)count);
    return ret;
}

/* What a verb takes behind BDF, BAR and OFFSET. */
struct verb {
    const char *name;
    bool width; /* a width, else a count of 32-bit words */
    bool value; /* a value or seed */
    bool one;   /* the count is of accesses to one word */
};

static const struct verb verbs[] = {
    {"read", true, false, false},        {"write", true, true, false},
    {"fill", false, true, false},        {"check", false, true, false},
    {"check-zero", false, false, false}, {"time", false, false, true},
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(name, verbs[i].name) == 0)
            return &verbs[i];
    }
    return NULL;
}

/* 0, −1 with errno, or 1 with all said. */
static int run_verb(const struct verb *verb, const struct bar *bar, uint64_t offset,
                    uint64_t amount, uint64_t value)
{
    const uint32_t seed = (uint32_t)value;

    if (verb->width)
        return verb->value ? bar_write(bar, offset, (unsigned)amount, value)
                           : bar_print(bar, offset, (unsigned)amount);
    if (strcmp(verb->name, "fill") == 0)
        return bar_fill(bar, offset, amount, &seed);
    if (verb->one)
        return bar_time(bar, offset, amount);
    return bar_check(bar, offset, amount, verb->value ? &seed : NULL);
}

static int usage(void)
{
    fputs("bar read BDF BAR OFFSET WIDTH | write BDF BAR OFFSET WIDTH VALUE |"
          " fill|check BDF BAR OFFSET COUNT SEED | check-zero|time BDF BAR OFFSET COUNT\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    const struct verb *verb = argc > 1 ? find_verb(argv[1]) : NULL;
    uint64_t offset, amount, bytes;
    struct bar bar;
    int ret;

    if (!verb || argc != (verb->value ? 7 : 6))
        return usage();
    offset = strtoull(argv[4], NULL, 0);
    amount = strtoull(argv[5], NULL, 0);
    if (verb->width && amount != 1 && amount != 2 && amount != 4 && amount != 8)
        return usage();
    if (bar_open(&bar, argv[2], argv[3]))
        return 1;
    bytes = verb->width ? amount : verb->one ? 4 : 4 * amount;
    if (offset > bar.size || bytes > bar.size - offset) {
        fprintf(stderr, "bar: BAR %s has 0x%" PRIx64 " bytes\n", argv[3], bar.size);
        return 1;
    }
    ret = run_verb(verb, &bar, offset, amount, verb->value ? strtoull(argv[6], NULL, 0) : 0);
    if (ret < 0)
        perror("bar");
    return ret ? 1 : 0;
}
