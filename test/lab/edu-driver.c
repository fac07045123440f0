/*
 * A user-space driver of QEMU's `edu` device, for a guest: registers, interrupts and DMA.
 *
 *   edu-driver DEVICE
 *
 * DEVICE is a folder of /sys/bus/pci/devices, bound to uio_pci_generic. Prints one line for each:
 *   factorial N! | interrupt STATUS | dma equal|differs
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FACTORIAL 0x08
#define STATUS 0x20
#define STATUS_BUSY 0x01
#define STATUS_INTERRUPT_WHEN_DONE 0x80
#define INTERRUPT_STATUS 0x24
#define INTERRUPT_RAISE 0x60
#define INTERRUPT_ACKNOWLEDGE 0x64
#define DMA_SOURCE 0x80
#define DMA_DESTINATION 0x88
#define DMA_COUNT 0x90
#define DMA_COMMAND 0x98
#define DMA_START 0x1
#define DMA_TO_RAM 0x2
#define DMA_INTERRUPT 0x4
#define DMA_INTERRUPT_STATUS 0x100
#define BUFFER 0x40000
#define PAGE 4096

static volatile uint32_t *registers;
static int uio, config;

static long check(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static int open_below(const char *device, const char *name)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", device, name);
	return check(open(path, O_RDWR), path);
}

static int open_uio(const char *device)
{
	char folder[512], path[600] = "";
	struct dirent *entry;
	snprintf(folder, sizeof folder, "%s/uio", device);
	DIR *found = opendir(folder);
	while (found && (entry = readdir(found)))
		if (strncmp(entry->d_name, "uio", 3) == 0)
			snprintf(path, sizeof path, "/dev/%s", entry->d_name);
	return check(open(path, O_RDWR), folder);
}

/* uio_pci_generic disables INTx at each interrupt; this lets the next one through. */
static void let_interrupt(void)
{
	uint16_t command;
	check(pread(config, &command, 2, 4), "COMMAND");
	command = (command | 0x6) & ~0x400;
	check(pwrite(config, &command, 2, 4), "COMMAND");
}

/* Waits for an interrupt. @return why it came; acknowledged */
static uint32_t wait_interrupt(void)
{
	uint32_t count, why;
	check(read(uio, &count, sizeof count), "interrupt");
	why = registers[INTERRUPT_STATUS / 4];
	registers[INTERRUPT_ACKNOWLEDGE / 4] = why;
	let_interrupt();
	return why;
}

static uint64_t physical(void *page)
{
	uint64_t entry;
	int map = check(open("/proc/self/pagemap", O_RDONLY), "pagemap");
	check(pread(map, &entry, 8, (uintptr_t)page / PAGE * 8), "pagemap");
	close(map);
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

static void write64(int at, uint64_t value)
{
	registers[at / 4] = value;
	registers[at / 4 + 1] = value >> 32;
}

static void transfer(uint64_t from, uint64_t to, uint32_t flags)
{
	write64(DMA_SOURCE, from);
	write64(DMA_DESTINATION, to);
	write64(DMA_COUNT, PAGE);
	write64(DMA_COMMAND, DMA_START | DMA_INTERRUPT | flags);
	if (wait_interrupt() != DMA_INTERRUPT_STATUS)
		printf("dma: another interrupt\n");
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	config = open_below(argv[1], "config");
	uio = open_uio(argv[1]);
	int bar = open_below(argv[1], "resource0");
	registers = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, bar, 0);
	check(registers == MAP_FAILED ? -1 : 0, "mmap of resource0");
	let_interrupt();

	registers[STATUS / 4] = STATUS_INTERRUPT_WHEN_DONE;
	registers[FACTORIAL / 4] = 10;
	wait_interrupt();
	printf("factorial %u\n", registers[FACTORIAL / 4]);

	registers[INTERRUPT_RAISE / 4] = 0x5a;
	printf("interrupt 0x%x\n", wait_interrupt());

	uint8_t *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	check(pages == MAP_FAILED ? -1 : 0, "mmap of pages");
	for (int i = 0; i < PAGE; i++)
		pages[i] = i * 7 + i / 256;
	memset(pages + PAGE, 0xee, PAGE);
	transfer(physical(pages), BUFFER, 0);
	transfer(BUFFER, physical(pages + PAGE), DMA_TO_RAM);
	printf("dma %s\n", memcmp(pages, pages + PAGE, PAGE) == 0 ? "equal" : "differs");
	return 0;
}
