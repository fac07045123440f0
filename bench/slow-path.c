/*
 * Makes accesses in the guest that a virtual machine monitor must answer, and prints one line.
 *
 *   slow-path KIND DEVICE COUNT
 *
 * DEVICE is a folder of /sys/bus/pci/devices. For bar-*, config-* and msix-* an NVMe controller
 * without a driver, for intx an `edu` device bound to uio_pci_generic. Prints: KIND count=N ns=T,
 * T for one of them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NVME_VERSION 0x08
#define NVME_ADMIN_QUEUES 0x24
#define EDU_RAISE 0x60
#define EDU_ACKNOWLEDGE 0x64
#define PCI_COMMAND 0x04
#define PCI_COMMAND_MEMORY 0x02
#define PCI_COMMAND_INTX_DISABLE 0x400
#define PCI_CAPABILITY_LIST 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_EXTENDED 0x100
#define PCI_CAP_ID_MSIX 0x11
#define MSIX_ENABLE 0x8000

static const char *device;
static int config;
static volatile uint32_t *bar;
static volatile uint32_t sink;

static long check(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int open_file(const char *name, int flags)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", device, name);
	return check(open(path, flags), path);
}

static uint32_t read_config(int at, int size)
{
	uint32_t value = 0;
	check(pread(config, &value, size, at), "config read");
	return value;
}

static void write_config(int at, int size, uint32_t value)
{
	check(pwrite(config, &value, size, at), "config write");
}

static void map_bar(void)
{
	int fd = open_file("resource0", O_RDWR);
	write_config(PCI_COMMAND, 2, read_config(PCI_COMMAND, 2) | PCI_COMMAND_MEMORY);
	void *at = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(at == MAP_FAILED ? -1 : 0, "mmap of resource0");
	bar = at;
}

/* Turns MSI-X on with vector 0 pointing at a local APIC. @return the vector's control word */
static volatile uint32_t *enable_msix(void)
{
	int at = read_config(PCI_CAPABILITY_LIST, 1);
	while (at && read_config(at, 1) != PCI_CAP_ID_MSIX)
		at = read_config(at + 1, 1);
	check(at ? 0 : -1, "MSI-X capability");
	volatile uint32_t *entry = bar + (read_config(at + 4, 4) & ~7u) / 4;
	write_config(at + 2, 2, read_config(at + 2, 2) | MSIX_ENABLE);
	entry[0] = 0xfee00000;
	entry[1] = 0;
	entry[2] = 0x50;
	return entry + 3;
}

static int open_uio(void)
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

/* Raise, wait, acknowledge, let the line through again: what a user-space driver does. */
static void intx(int uio)
{
	uint32_t count;
	bar[EDU_RAISE / 4] = 1;
	check(read(uio, &count, sizeof count), "interrupt");
	bar[EDU_ACKNOWLEDGE / 4] = 1;
	write_config(PCI_COMMAND + 1, 1, (read_config(PCI_COMMAND, 2) & ~PCI_COMMAND_INTX_DISABLE) >> 8);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	const char *kind = argv[1];
	long count = atol(argv[3]);
	int is_bar = strncmp(kind, "bar-", 4) == 0, is_msix = strcmp(kind, "msix-mask") == 0;
	int is_intx = strcmp(kind, "intx") == 0, uio = -1;
	volatile uint32_t *control = NULL;
	device = argv[2];
	config = open_file("config", O_RDWR);
	if (is_bar || is_msix || is_intx)
		map_bar();
	if (is_msix)
		control = enable_msix();
	if (is_intx) {
		uio = open_uio();
		write_config(PCI_COMMAND + 1, 1,
			     (read_config(PCI_COMMAND, 2) & ~PCI_COMMAND_INTX_DISABLE) >> 8);
	}
	/* An exit between the last page fault and the first BAR access: see docs/lab.md, "Emulated SVM". */
	double start = now();
	sink = read_config(0, 4);
	start = now();
	for (long i = 0; i < count; i++) {
		if (strcmp(kind, "bar-read") == 0)
			sink = bar[NVME_VERSION / 4];
		else if (strcmp(kind, "bar-write") == 0)
			bar[NVME_ADMIN_QUEUES / 4] = 0;
		else if (strcmp(kind, "config-read-cf8") == 0)
			sink = read_config(0, 4);
		else if (strcmp(kind, "config-read-ecam") == 0)
			sink = read_config(PCI_EXTENDED, 4);
		else if (strcmp(kind, "config-write") == 0)
			write_config(PCI_INTERRUPT_LINE, 1, 11);
		else if (is_msix)
			*control = 1, *control = 0;
		else if (is_intx)
			intx(uio);
		else
			return 2;
	}
	printf("%s count=%ld ns=%.0f\n", kind, count, (now() - start) / count);
	return 0;
}
