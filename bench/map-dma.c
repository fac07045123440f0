/*
 * The yardstick of map-dma.ts: maps guest RAM for DMA by the bare system calls.
 *
 *   map-dma GROUP BYTES
 *
 * Prints nanoseconds: the first VFIO_IOMMU_MAP_DMA, which also takes the pages from the kernel, the
 * unmapping, and the second, whose pages are there.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define IOVA 0x100000000ull
#define HUGE_PAGE 0x200000ull

static long check(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	size_t size = strtoull(argv[2], NULL, 0);
	int container = check(open("/dev/vfio/vfio", O_RDWR), "container");
	int group = check(open(argv[1], O_RDWR), argv[1]);
	check(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "VFIO_GROUP_SET_CONTAINER");
	check(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU");

	char *reserved = mmap(NULL, size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *aligned = (char *)(((unsigned long)reserved + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
	if (reserved == MAP_FAILED ||
	    mmap(aligned, size, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
		check(-1, "mmap");
	madvise(aligned, size, MADV_HUGEPAGE);

	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof map,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (unsigned long)aligned,
		.iova = IOVA,
		.size = size,
	};
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof unmap, .iova = IOVA, .size = size,
	};
	long long start = now();
	check(ioctl(container, VFIO_IOMMU_MAP_DMA, &map), "VFIO_IOMMU_MAP_DMA");
	long long mapped = now();
	check(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap), "VFIO_IOMMU_UNMAP_DMA");
	long long unmapped = now();
	check(ioctl(container, VFIO_IOMMU_MAP_DMA, &map), "VFIO_IOMMU_MAP_DMA");
	printf("%lld %lld %lld\n", mapped - start, unmapped - mapped, now() - unmapped);
	return 0;
}
