/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vgpu's programming interface: registers, ring, packets. For the driver itself and for
 * anything that programs the device: guest drivers, VFIO programs, tests. Plain C, no dependencies.
 * docs/vgpu.md is the datasheet; this header is its numbers.
 *
 * Everything is little-endian. Offsets and sizes are bytes unless a name says dwords.
 */
#ifndef VGPU_REGS_H
#define VGPU_REGS_H

#include <stdint.h>

/* ------------------------------------------------------------------ PCI */

#define VGPU_PCI_VENDOR 0x1234
#define VGPU_PCI_DEVICE 0x1111
#define VGPU_PCI_CLASS  0x038000 /* display controller, other */
/* Linux's bochs driver looks for BYTE_ORDER from 2 on. */
#define VGPU_PCI_REVISION 2

#define VGPU_BAR_VRAM      0 /* 64-bit: takes BAR1 too */
#define VGPU_BAR_REGS      2
#define VGPU_BAR_MSIX      3
#define VGPU_BAR_APERTURE  4 /* 64-bit: takes BAR5 too */
#define VGPU_BAR_REGS_SIZE 0x10000

#define VGPU_MSIX_FENCE   0 /* a FENCE packet with VGPU_FENCE_IRQ was executed */
#define VGPU_MSIX_ERROR   1 /* the ring stopped with an error */
#define VGPU_MSIX_VECTORS 2

/* ------------------------------------------------------------------ registers (BAR2) */

/*
 * 0x0000–0x0fff: the display, laid out as in QEMU's bochs-display. Accesses of any size. What is
 * not listed reads as 0 and ignores writes.
 */
#define VGPU_REG_EDID       0x000 /* RO: VGPU_EDID_SIZE bytes */
#define VGPU_REG_VGA        0x400 /* VGA ports 0x3c0–0x3df, a byte each: VGPU_VGA_* */
#define VGPU_REG_DISPI      0x500 /* 16 bits each: register n of VGPU_DISPI_* at + 2 * n */
#define VGPU_REG_QEXT_SIZE  0x600 /* RO 32: bytes from here to the end of BYTE_ORDER */
#define VGPU_REG_BYTE_ORDER 0x604 /* RW 32: VGPU_BYTE_ORDER_*; other values are ignored */
#define VGPU_DISPLAY_SIZE   0x1000

#define VGPU_EDID_SIZE 128

/* Ports of VGPU_REG_VGA, less 0x3c0. */
#define VGPU_VGA_ATTRIBUTE      0x00 /* index, data, index …; index bit 5: the screen is not blank */
#define VGPU_VGA_MISC_WRITE     0x02
#define VGPU_VGA_DAC_MASK       0x06 /* and-ed to pixels of 8 bits */
#define VGPU_VGA_DAC_READ       0x07 /* colour that DAC_DATA reads next */
#define VGPU_VGA_DAC_WRITE      0x08 /* colour that DAC_DATA writes next */
#define VGPU_VGA_DAC_DATA       0x09 /* red, green, blue, red of the next … */
#define VGPU_VGA_MISC_READ      0x0c
#define VGPU_VGA_STATUS         0x1a /* RO: changes; reading it makes ATTRIBUTE expect an index */
#define VGPU_VGA_PORTS          0x20
#define VGPU_VGA_ATTRIBUTE_SHOW 0x20

#define VGPU_DISPI_ID          0 /* RO: VGPU_DISPI_ID_VALUE */
#define VGPU_DISPI_XRES        1 /* pixels shown */
#define VGPU_DISPI_YRES        2
#define VGPU_DISPI_BPP         3 /* 8, 15, 16, 24, 32 */
#define VGPU_DISPI_ENABLE      4 /* VGPU_DISPI_ENABLE_* */
#define VGPU_DISPI_BANK        5 /* no effect */
#define VGPU_DISPI_VIRT_WIDTH  6 /* pixels from a row to the next; less than XRES counts as XRES */
#define VGPU_DISPI_VIRT_HEIGHT 7 /* no effect */
#define VGPU_DISPI_X_OFFSET    8 /* of the first pixel shown */
#define VGPU_DISPI_Y_OFFSET    9
#define VGPU_DISPI_MEMORY_64K  10 /* RO: VRAM in 64 KiB, 0xffff at most */
#define VGPU_DISPI_COUNT       11

#define VGPU_DISPI_ID_VALUE      0xb0c5
#define VGPU_DISPI_ENABLE_ON     0x01
#define VGPU_DISPI_ENABLE_CAPS   0x02 /* XRES, YRES and BPP read as their largest values */
#define VGPU_DISPI_ENABLE_8BIT   0x20 /* colours of the DAC have 8 bits, not 6 */
#define VGPU_DISPI_ENABLE_LINEAR 0x40 /* no effect: the VRAM is always linear */
#define VGPU_DISPI_ENABLE_KEEP   0x80 /* no effect: the VRAM is never cleared */
#define VGPU_DISPLAY_MAX         8192 /* XRES and YRES: more is no mode */

#define VGPU_BYTE_ORDER_LITTLE 0x1e1e1e1eu
#define VGPU_BYTE_ORDER_BIG    0xbebebebeu

/* From 0x1000 on: aligned accesses of whole dwords. */
#define VGPU_REG_ID          0x1000 /* RO 32: VGPU_ID */
#define VGPU_REG_VERSION     0x1004 /* RO 32: VGPU_VERSION */
#define VGPU_REG_CAPS        0x1008 /* RO 32: bit n: packets of opcode n are understood */
#define VGPU_REG_KERNELS     0x100c /* RO 32: bit n: DISPATCH has kernel n */
#define VGPU_REG_VRAM_SIZE   0x1010 /* RO 64 */
#define VGPU_REG_SCRATCH     0x1018 /* RW 32: no effect */
#define VGPU_REG_CONTROL     0x101c /* RW 32: VGPU_CONTROL_* */
#define VGPU_REG_STATUS      0x1020 /* RO 32: VGPU_STATUS_* */
#define VGPU_REG_ERROR       0x1024 /* RO 32: enum vgpu_error */
#define VGPU_REG_ERROR_RING  0x1028 /* RO 32: ring offset of the packet at fault */
#define VGPU_REG_ERROR_BATCH 0x102c /* RO 32: its offset in a batch, or VGPU_NO_BATCH */
#define VGPU_REG_ERROR_FIELD 0x1030 /* RO 32: byte in the packet of the field at fault */
#define VGPU_REG_ERROR_ADDR  0x1038 /* RO 64: the address at fault, for VGPU_ERR_DMA_* */
#define VGPU_REG_INT_STATUS  0x1040 /* RW1C 32: VGPU_INT_* */
#define VGPU_REG_INT_ENABLE  0x1044 /* RW 32: VGPU_INT_* */
#define VGPU_REG_RING_BASE   0x1048 /* RW 64: IOVA, 4096-aligned; sampled when RUN is set */
#define VGPU_REG_RING_SIZE   0x1050 /* RW 32: power of two; sampled when RUN is set */
#define VGPU_REG_RING_HEAD   0x1054 /* RO 32: next packet that the device will finish */
#define VGPU_REG_RING_TAIL   0x1058 /* RW 32: doorbell: end of what was written */
#define VGPU_REG_FENCE       0x1060 /* RO 64: value of the last FENCE executed */

/* Counters, RO 64: since the last device reset. */
#define VGPU_REG_CNT_COMMANDS       0x1080 /* packets completed, those in batches included */
#define VGPU_REG_CNT_BATCHES        0x1088
#define VGPU_REG_CNT_FENCES         0x1090
#define VGPU_REG_CNT_DISPATCHES     0x1098
#define VGPU_REG_CNT_BYTES_FILLED   0x10a0
#define VGPU_REG_CNT_BYTES_COPIED   0x10a8
#define VGPU_REG_CNT_PIXELS_BLENDED 0x10b0
#define VGPU_REG_CNT_ERRORS         0x10b8
#define VGPU_REG_CNT_SLICES         0x10c0 /* turns of work an engine did for this device */
#define VGPU_REG_CNT_ENGINE_NS      0x10c8 /* engine time used, nanoseconds */
#define VGPU_REG_CNT_FAULTS         0x10d0 /* touches of aperture pages, answered */
#define VGPU_REG_CNT_REFUSED        0x10d8 /* … and refused */
#define VGPU_REG_CNT_TABLES_READ    0x10e0 /* page tables read, the first time or again */
#define VGPU_REG_CNT_ENTRIES        0x10e8 /* entries of theirs found changed */

/* VRAM that comes and goes, and the aperture. */
#define VGPU_REG_VRAM_QUOTA   0x1100 /* RO 64: bytes the VRAM may grow to; its address space */
#define VGPU_REG_VRAM_USED    0x1108 /* RO 64: VRAM_SIZE and what is allocated beyond */
#define VGPU_REG_VRAM_POOL    0x1110 /* RO 64: bytes that nobody has now; any device may */
#define VGPU_REG_GGTT_ENTRIES 0x1118 /* RO 32: pages of the aperture */
#define VGPU_REG_GGTT_INDEX   0x111c /* RW 32: the entry that VGPU_REG_GGTT begins with */

/* What the device keeps of page tables (VGPU_OP_PPGTT) now. */
#define VGPU_REG_PPGTT_TABLES 0x1120 /* RO 64: tables, and large entries that are taken apart */
#define VGPU_REG_PPGTT_PINNED 0x1128 /* RO 64: bytes of guest memory pinned by their entries */

/* The window to the GGTT: entries of 64 bits, from GGTT_INDEX on. */
#define VGPU_REG_GGTT    0x8000
#define VGPU_GGTT_WINDOW 4096u /* entries */

/* An entry: the address of a page in bits 63:12, a VRAM offset or an IOVA, and these. */
#define VGPU_GGTT_VALID    (1u << 0)
#define VGPU_GGTT_WRITABLE (1u << 1)
/* VGPU_SPACE_VRAM or VGPU_SPACE_GUEST. Other bits of 11:0 must be 0. */

/*
 * Page tables (VGPU_OP_PPGTT): pages of 512 entries of 64 bits. An entry that names memory is as
 * one of the GGTT; one that names a table is the table's IOVA, VGPU_GGTT_VALID and
 * VGPU_SPACE_GUEST.
 */
#define VGPU_PPGTT_LARGE      (1u << 7) /* in tables of levels 2 and 3: 2 MiB, 1 GiB of memory */
#define VGPU_PPGTT_ENTRIES    512u
#define VGPU_PPGTT_LEVELS_MIN 2u
#define VGPU_PPGTT_LEVELS_MAX 4u
#define VGPU_PPGTT_TABLES_MAX 4096u /* of a device */
#define VGPU_PPGTT_PROCESSES  16u   /* roots that are remembered */
/* Bits of an address under so many levels of tables. */
#define VGPU_PPGTT_BITS(levels) (12u + 9u * (levels))

#define VGPU_ID      0x55504756u /* "VGPU" */
#define VGPU_VERSION 0x00010002u /* major << 16 | minor */

#define VGPU_CONTROL_RUN   (1u << 0) /* execute the ring */
#define VGPU_CONTROL_RESET (1u << 1) /* stop, forget the ring and its error; reads as 0 */

#define VGPU_STATUS_RUNNING (1u << 0) /* RUN is set and there was no error */
#define VGPU_STATUS_BUSY    (1u << 1) /* head has not reached tail */
#define VGPU_STATUS_ERROR   (1u << 2) /* stopped: see VGPU_REG_ERROR */

#define VGPU_INT_FENCE (1u << VGPU_MSIX_FENCE)
#define VGPU_INT_ERROR (1u << VGPU_MSIX_ERROR)
#define VGPU_INT_ALL   (VGPU_INT_FENCE | VGPU_INT_ERROR)

#define VGPU_NO_BATCH 0xffffffffu

enum vgpu_error {
    VGPU_ERR_NONE = 0,
    VGPU_ERR_RING = 1,            /* RING_BASE, RING_SIZE or RING_TAIL */
    VGPU_ERR_OPCODE = 2,          /* unknown opcode */
    VGPU_ERR_LENGTH = 3,          /* wrong for the opcode, odd, or past the end of what was given */
    VGPU_ERR_RESERVED = 4,        /* a reserved bit or field is not 0 */
    VGPU_ERR_SURFACE = 5,         /* format, alignment, pitch or size of a surface */
    VGPU_ERR_RECT = 6,            /* empty, or not inside its surface */
    VGPU_ERR_BOUNDS = 7,          /* not VRAM that is there, or wraps around the address space */
    VGPU_ERR_PARAMETER = 8,       /* another value out of range */
    VGPU_ERR_KERNEL = 9,          /* no such compute kernel */
    VGPU_ERR_NESTED = 10,         /* a BATCH or PPGTT inside a batch */
    VGPU_ERR_DMA_UNMAPPED = 11,   /* guest address not mapped */
    VGPU_ERR_DMA_PROTECTION = 12, /* mapped, but not readable or not writable */
    VGPU_ERR_DMA_NO_FILE = 13,    /* mapped without a file: the device can't reach it */
    VGPU_ERR_DMA_LOST = 14,       /* the memory was taken away */
    VGPU_ERR_DMA_DISABLED = 15,   /* bus mastering is off */
    VGPU_ERR_DMA_NO_ROOM = 16,    /* the host can't pin it: its memory, its limit */
    VGPU_ERR_NO_VRAM = 17,        /* ALLOC: the parent has not so many pages left */
    VGPU_ERR_SPACE = 18,          /* a space, or a command, that can't be used here */
    VGPU_ERR_VIRT_UNMAPPED = 19,  /* virtual address without a valid entry */
    VGPU_ERR_VIRT_PROTECTION = 20, /* its entry is not writable */
    VGPU_ERR_VIRT_ENTRY = 21,      /* an entry on the way that can't be */
    VGPU_ERR_VIRT_TABLES = 22,     /* more than VGPU_PPGTT_TABLES_MAX */
};

/* ------------------------------------------------------------------ limits */

#define VGPU_RING_MIN         0x1000u
#define VGPU_RING_MAX         0x1000000u
#define VGPU_BATCH_MAX        0x1000000u
#define VGPU_PACKET_MAX       256u   /* bytes; NOP may be longer */
#define VGPU_SURFACE_MAX      16384u /* pixels each way */
#define VGPU_MATMUL_MAX       8192u  /* rows, columns */
#define VGPU_BLUR_RADIUS_MAX  32u
#define VGPU_ITERATIONS_MAX   65536u
#define VGPU_PLASMA_SCALE_MAX 1024u

/* ------------------------------------------------------------------ packets */

enum vgpu_opcode {
    VGPU_OP_NOP = 0,
    VGPU_OP_FILL = 1,
    VGPU_OP_COPY = 2,
    VGPU_OP_BLEND = 3,
    VGPU_OP_DISPATCH = 4,
    VGPU_OP_FENCE = 5,
    VGPU_OP_BATCH = 6,
    VGPU_OP_GGTT_FILL = 7,
    VGPU_OP_GGTT_LOAD = 8,
    VGPU_OP_ALLOC = 9,
    VGPU_OP_FREE = 10,
    VGPU_OP_PPGTT = 11,
    VGPU_OP_COUNT,
};

enum vgpu_kernel {
    VGPU_KERNEL_MANDELBROT = 0,
    VGPU_KERNEL_MATMUL = 1,
    VGPU_KERNEL_BLUR = 2,
    VGPU_KERNEL_HISTOGRAM = 3,
    VGPU_KERNEL_PLASMA = 4,
    VGPU_KERNEL_COUNT,
};

enum vgpu_format {
    VGPU_FORMAT_ARGB8888 = 1, /* 4 bytes: B, G, R, A in memory */
    VGPU_FORMAT_R8 = 2,       /* 1 byte */
    VGPU_FORMAT_RAW32 = 3,    /* 4 bytes, no meaning: integers, floats */
};

/* Where an address points: ored into vgpu_surface.format, or alone in `space` fields. */
#define VGPU_SPACE_VRAM    0u
#define VGPU_SPACE_GUEST   (1u << 8)
#define VGPU_SPACE_VIRTUAL (1u << 9) /* by the page tables in force */

/* Packet flags. */
#define VGPU_BLEND_STRAIGHT (1u << 0) /* the source's colours are not multiplied by its alpha */
#define VGPU_FENCE_WRITE    (1u << 0) /* write the value to guest memory at `address` */
#define VGPU_FENCE_IRQ      (1u << 1) /* VGPU_INT_FENCE */
#define VGPU_GGTT_FILL_STEP (1u << 0) /* each entry's page is the one behind the last one's */
#define VGPU_ALLOC_RESULT   (1u << 0) /* write VGPU_ERR_NONE or _NO_VRAM to guest memory */

/* Word 0 of a packet of `bytes` bytes (a multiple of 8, this word included). */
#define VGPU_HEADER(opcode, flags, bytes)                                                          \
    ((uint32_t)(opcode) | (uint32_t)(flags) << 8 | (uint32_t)((bytes) / 4) << 16)

struct vgpu_header {
    uint32_t word; /* VGPU_HEADER(): opcode 7:0, flags 15:8, length in dwords 31:16 */
    uint32_t arg; /* BLEND: constant alpha; DISPATCH: kernel; BATCH, GGTT_LOAD, FENCE: space; PPGTT:
                     levels; else 0 */
};

struct vgpu_surface {
    uint32_t format; /* enum vgpu_format | VGPU_SPACE_* */
    uint32_t pitch;  /* bytes from a row to the next */
    uint32_t width, height;
    uint64_t address; /* of pixel (0, 0), in its space; aligned to a pixel, as is the pitch */
};

struct vgpu_rect {
    uint32_t x, y, width, height;
};

struct vgpu_nop { /* any length: all but the header is ignored */
    struct vgpu_header header;
};

struct vgpu_fill {
    struct vgpu_header header;
    struct vgpu_surface dst;
    struct vgpu_rect rect;
    uint32_t value; /* R8: bits 7:0, the rest 0 */
    uint32_t reserved;
};

struct vgpu_copy { /* and BLEND */
    struct vgpu_header header;
    struct vgpu_surface dst, src;
    uint32_t dst_x, dst_y, src_x, src_y;
    uint32_t width, height;
};

struct vgpu_fence {
    struct vgpu_header header;
    uint64_t
        address; /* 8-aligned: virtual with VGPU_SPACE_VIRTUAL, else an IOVA; 0 without _WRITE */
    uint64_t value;
};

struct vgpu_batch {
    struct vgpu_header header; /* arg: VGPU_SPACE_* */
    uint64_t address;          /* 8-aligned */
    uint32_t bytes;            /* multiple of 8, up to VGPU_BATCH_MAX */
    uint32_t reserved;
};

struct vgpu_ggtt_fill {
    struct vgpu_header header;
    uint32_t first, count;
    uint64_t entry;
};

struct vgpu_ggtt_load {
    struct vgpu_header header; /* arg: VGPU_SPACE_* of the address */
    uint64_t address;          /* of `count` entries; 8-aligned */
    uint32_t first, count;
};

struct vgpu_alloc { /* [address, address + bytes) of the VRAM, whole pages beyond VRAM_SIZE */
    struct vgpu_header header;
    uint64_t address, bytes;
    uint64_t result; /* IOVA, 8-aligned; 0 without VGPU_ALLOC_RESULT */
};

struct vgpu_free {
    struct vgpu_header header;
    uint64_t address, bytes; /* as ALLOC's */
};

struct vgpu_ppgtt_set {
    struct vgpu_header header; /* arg: levels; 0: none are in force */
    uint64_t root;             /* IOVA of the top table; 0 without levels */
};

struct vgpu_mandelbrot {
    struct vgpu_header header;
    struct vgpu_surface dst; /* RAW32: iteration counts; ARGB8888: colours */
    struct vgpu_rect rect;
    double x0, y0; /* the point of the rect's first pixel */
    double dx, dy; /* from a pixel to the next; finite, all four */
    uint32_t max_iterations;
    uint32_t reserved;
};

struct vgpu_matmul { /* c = a × b, float32, all three RAW32 */
    struct vgpu_header header;
    struct vgpu_surface c, a, b;
};

struct vgpu_blur {
    struct vgpu_header header;
    struct vgpu_surface dst, src; /* ARGB8888, of one size, apart in memory */
    uint32_t radius;
    uint32_t reserved;
};

struct vgpu_histogram {
    struct vgpu_header header;
    struct vgpu_surface src; /* R8: 256 counts; ARGB8888: 4 × 256, B first */
    struct vgpu_rect rect;
    uint32_t space; /* where the counts go: VGPU_SPACE_* */
    uint32_t reserved;
    uint64_t address; /* 4-aligned */
};

struct vgpu_plasma {
    struct vgpu_header header;
    struct vgpu_surface dst; /* ARGB8888 */
    struct vgpu_rect rect;
    uint32_t time;
    uint32_t scale; /* 1 to VGPU_PLASMA_SCALE_MAX: phase a pixel, 1024 is a full turn */
};

#endif
