/*
 * Reads a block device inside the guest with O_DIRECT and prints one line of figures.
 *
 *   nvme-io DEVICE sequential BLOCK COUNT     COUNT reads of BLOCK bytes from the start
 *   nvme-io DEVICE random BLOCK COUNT SEED    COUNT reads of BLOCK bytes at random places
 *
 * Prints: io PATTERN block=B count=N seconds=S
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		fprintf(stderr, "usage: nvme-io DEVICE sequential|random BLOCK COUNT [SEED]\n");
		return 2;
	}
	int random = strcmp(argv[2], "random") == 0;
	size_t block = strtoul(argv[3], NULL, 0);
	uint64_t count = strtoull(argv[4], NULL, 0);
	uint64_t state = argc > 5 ? strtoull(argv[5], NULL, 0) : 88172645463325252ull;
	int fd = open(argv[1], O_RDONLY | O_DIRECT);
	void *buffer;
	if (fd < 0 || posix_memalign(&buffer, 4096, block)) {
		perror(argv[1]);
		return 1;
	}
	uint64_t blocks = (uint64_t)lseek(fd, 0, SEEK_END) / block;
	double start = now();
	for (uint64_t i = 0; i < count; i++) {
		uint64_t at = (random ? next_random(&state) : i) % blocks;
		if (pread(fd, buffer, block, at * block) != (ssize_t)block) {
			perror("pread");
			return 1;
		}
	}
	printf("io %s block=%zu count=%llu seconds=%.6f\n", argv[2], block,
	       (unsigned long long)count, now() - start);
	return 0;
}
