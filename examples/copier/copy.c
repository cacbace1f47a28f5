/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy SOCKET TEXT: has a copier copy the text within this program's memory, and prints the copy.
 *
 *   cc -D_GNU_SOURCE $(pkg-config --cflags umdev) -o copy copy.c $(pkg-config --libs umdev)
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <umdev/client.h>
#include <unistd.h>

/* What the client shares with the card: 64 KiB that the card knows at this IOVA. */
#define MEMORY_IOVA 0x100000
#define MEMORY_SIZE 0x10000
#define COPY_OFFSET 0x8000 /* of the copy; the text is at the start */

enum { REG_SRC = 0x00, REG_DST = 0x08, REG_LEN = 0x10, REG_GO = 0x18, REG_STATUS = 0x1c };

/* A card reaches memory once its driver has set the bus master bit of its command register. */
static int enable_bus_master(struct umdev_client *card)
{
    const uint16_t command = 0x0006; /* memory space, bus master */

    return umdev_client_write(card, UMDEV_REGION_CONFIG, 4, &command, sizeof(command));
}

/* Copy `len` bytes and wait for the interrupt. 0; 1: the card could not; or −errno. */
static int card_copy(struct umdev_client *card, uint32_t len)
{
    int irq = umdev_client_irq_eventfd(card, UMDEV_IRQ_MSIX, 0);
    uint32_t status = 0;
    uint64_t count;
    int ret;

    if (irq < 0)
        return irq;
    ret = umdev_client_write64(card, UMDEV_REGION_BAR0, REG_SRC, MEMORY_IOVA);
    if (!ret)
        ret = umdev_client_write64(card, UMDEV_REGION_BAR0, REG_DST, MEMORY_IOVA + COPY_OFFSET);
    if (!ret)
        ret = umdev_client_write32(card, UMDEV_REGION_BAR0, REG_LEN, len);
    if (!ret)
        ret = umdev_client_write32(card, UMDEV_REGION_BAR0, REG_GO, 1);
    if (!ret && read(irq, &count, sizeof(count)) < 0)
        ret = -errno;
    if (!ret)
        ret = umdev_client_read32(card, UMDEV_REGION_BAR0, REG_STATUS, &status);
    return ret ? ret : status != 1;
}

static int copy_text(struct umdev_client *card, const char *text)
{
    uint32_t len = (uint32_t)strnlen(text, COPY_OFFSET);
    int memfd = memfd_create("memory", MFD_CLOEXEC);
    char *memory;
    int ret;

    if (memfd < 0 || ftruncate(memfd, MEMORY_SIZE) < 0)
        return -errno;
    memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    memcpy(memory, text, len);
    ret = umdev_client_dma_map(card, memfd, 0, umdev_iova(MEMORY_IOVA), MEMORY_SIZE, UMDEV_RW);
    if (!ret)
        ret = enable_bus_master(card);
    if (!ret)
        ret = card_copy(card, len);
    if (!ret)
        printf("%.*s\n", (int)len, memory + COPY_OFFSET);
    return ret;
}

int main(int argc, char **argv)
{
    struct umdev_client *card = NULL;
    int ret;

    if (argc != 3) {
        fprintf(stderr, "usage: copy SOCKET TEXT\n");
        return 2;
    }
    ret = umdev_connect(argv[1], NULL, &card);
    if (!ret)
        ret = copy_text(card, argv[2]);
    umdev_client_close(card);
    if (ret)
        fprintf(stderr, "copy: %s\n", ret > 0 ? "the card could not" : strerrordesc_np(-ret));
    return ret ? 1 : 0;
}
