/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/mem.h"

#include "base/cleanup.h"
#include "base/range.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* memfd_create() allows 249 characters; enough of them to tell objects apart. */
#define MEM_NAME_SIZE 128

static int mem_make_fd(const char *name)
{
    char text[MEM_NAME_SIZE];
    int fd;

    snprintf(text, sizeof(text), "umdev-%s", name ? name : "mem");
    fd = memfd_create(text, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    /* Kernels before 6.3 know no executable bit to forbid. */
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(text, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

/* A memfd that keeps its size. */
static int mem_open(const char *name, uint64_t size)
{
    CLEANUP_FD int fd = mem_make_fd(name);

    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)size) < 0)
        return errno == EFBIG ? -EINVAL : -errno;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        return -errno;
    return take_fd(&fd);
}

static int mem_seal(const struct umdev_mem *mem)
{
    int seals = F_SEAL_SEAL | (mem->read_only ? F_SEAL_FUTURE_WRITE : 0);

    return fcntl(mem->fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

static void mem_free(struct umdev_mem *mem)
{
    munmap(mem->bytes, mem->size);
    close(mem->fd);
    free(mem);
}

static int mem_new(const char *name, uint64_t size, struct umdev_mem **mem_out)
{
    CLEANUP_FD int fd = -1;
    struct umdev_mem *mem;
    void *bytes;

    if (size == 0 || size > PTRDIFF_MAX || !is_aligned(size, PAGE_SIZE_4K))
        return -EINVAL;
    fd = mem_open(name, size);
    if (fd < 0)
        return fd;
    bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    mem = calloc(1, sizeof(*mem));
    if (!mem) {
        munmap(bytes, size);
        return -ENOMEM;
    }
    mem->bytes = bytes;
    mem->size = size;
    mem->fd = take_fd(&fd);
    *mem_out = mem;
    return 0;
}

void mem_list_init(struct mem_list *list)
{
    pthread_mutex_init(&list->mutex, NULL);
    list->first = NULL;
    list->last_id = 0;
    list->sealed = false;
    list->shared = false;
}

void mem_list_init_shared(struct mem_list *list)
{
    mem_list_init(list);
    list->sealed = true;
    list->shared = true;
}

void mem_list_fini(struct mem_list *list)
{
    while (list->first) {
        struct umdev_mem *mem = list->first;

        list->first = mem->next;
        mem_free(mem);
    }
    pthread_mutex_destroy(&list->mutex);
}

int mem_list_add(struct mem_list *list, const char *name, uint64_t size, struct umdev_mem **mem_out)
{
    struct umdev_mem *mem = NULL;
    int ret = mem_new(name, size, &mem);

    if (!mem)
        return ret;
    LOCK_FOR_SCOPE(&list->mutex);
    if (list->sealed) {
        ret = mem_seal(mem);
        if (ret < 0) {
            mem_free(mem);
            return ret;
        }
    }
    mem->list = list;
    mem->id = ++list->last_id | (list->shared ? MEM_ID_SHARED : 0);
    mem->next = list->first;
    list->first = mem;
    *mem_out = mem;
    return 0;
}

void mem_list_remove(struct mem_list *list, struct umdev_mem *mem)
{
    LOCK_FOR_SCOPE(&list->mutex);

    for (struct umdev_mem **link = &list->first; *link; link = &(*link)->next) {
        if (*link == mem) {
            *link = mem->next;
            mem_free(mem);
            return;
        }
    }
}

bool mem_list_has(struct mem_list *list, const struct umdev_mem *mem)
{
    LOCK_FOR_SCOPE(&list->mutex);

    for (const struct umdev_mem *each = list->first; each; each = each->next)
        if (each == mem)
            return true;
    return false;
}

int mem_list_seal(struct mem_list *list)
{
    LOCK_FOR_SCOPE(&list->mutex);

    for (const struct umdev_mem *mem = list->first; mem; mem = mem->next) {
        int ret = mem_seal(mem);

        if (ret < 0)
            return ret;
    }
    list->sealed = true;
    return 0;
}

/* Copy what there is of an object; holes stay holes. */
static int mem_copy(const struct umdev_mem *mem, int to)
{
    off_t end = (off_t)mem->size, at = 0;

    while ((at = lseek(mem->fd, at, SEEK_DATA)) >= 0 && at < end) {
        off_t hole = lseek(mem->fd, at, SEEK_HOLE);

        if (hole < 0)
            return -errno;
        while (at < hole) {
            ssize_t done = pwrite(to, mem->bytes + at, (size_t)(hole - at), at);

            if (done <= 0)
                return done ? -errno : -ENOSPC;
            at += done;
        }
    }
    return at < 0 && errno != ENXIO ? -errno : 0;
}

static int mem_renew(struct umdev_mem *mem)
{
    CLEANUP_FD int fd = mem_open("renewed", mem->size);
    int ret;

    if (fd < 0)
        return fd;
    ret = mem_copy(mem, fd);
    if (ret < 0)
        return ret;
    if (mmap(mem->bytes, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
        MAP_FAILED)
        return -errno;
    /* From here on the new file is the object, sealed or not. */
    close(mem->fd);
    mem->fd = take_fd(&fd);
    ret = mem_seal(mem);
    atomic_store(&mem->given, ret < 0);
    return ret;
}

int mem_list_renew(struct mem_list *list)
{
    LOCK_FOR_SCOPE(&list->mutex);
    int ret = 0;

    for (struct umdev_mem *mem = list->first; mem && ret == 0; mem = mem->next)
        if (atomic_load(&mem->given))
            ret = mem_renew(mem);
    return ret;
}

void *umdev_mem_ptr(struct umdev_mem *mem)
{
    return mem->bytes;
}

uint64_t umdev_mem_size(const struct umdev_mem *mem)
{
    return mem->size;
}

int umdev_mem_discard(struct umdev_mem *mem, uint64_t offset, uint64_t size)
{
    /* Against the change of its file. */
    LOCK_FOR_SCOPE(&mem->list->mutex);

    if (size == 0 || !is_aligned(offset, PAGE_SIZE_4K) || !is_aligned(size, PAGE_SIZE_4K) ||
        !span_fits(offset, size, mem->size))
        return -EINVAL;
    if (fallocate(mem->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) <
        0)
        return -errno;
    return 0;
}
