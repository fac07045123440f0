/*
 * Runs a virtual machine monitor inside L1 and tells when its guest said what, and what the kernel
 * counted meanwhile. It knows nothing of the monitor, so two are measured alike; it ends with the
 * monitor's status.
 *
 *   guest-watch [-s SIGNAL] COMMAND...      SIGNAL is sent to the command at each sample
 *
 * The guest's lines steer it:
 *   guest: up...            a sample, named boot
 *   guest: mark memory      the command's memory: every mapping with something resident
 *   guest: mark count       until the guest prints again: samples, named count; those after
 *                           SETTLE_MS and just before the next output frame what ran in silence
 *
 * Prints, times in microseconds of CLOCK_MONOTONIC:
 *   exec TIME | first TIME | line TIME TEXT | end TIME
 *   sample TIME NAME, followed by stat NAME VALUE (KVM's debugfs) and
 *                     exit REASON ERRNO COUNT (the tracepoint kvm_userspace_exit, where it is)
 *   map BEGIN-END PERMISSIONS RSS_KIB PRIVATE_KIB ANONYMOUS_KIB NAME
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KVM_STATISTICS "/sys/kernel/debug/kvm"
#define TRACEPOINT "/sys/kernel/tracing/events/kvm/kvm_userspace_exit"
#define HISTOGRAM "hist:keys=reason,errno:size=256"
#define SETTLE_MS 300
#define SAMPLE_MS 200

static pid_t child;
static int child_signal;
static char sampled[1 << 16];

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ll + t.tv_nsec / 1000;
}

/* A file's text; empty when it cannot be read. */
static char *slurp(const char *path)
{
	static char text[1 << 16];
	size_t length = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && length < sizeof text - 1 &&
	       (got = read(fd, text + length, sizeof text - 1 - length)) > 0)
		length += got;
	if (fd >= 0)
		close(fd);
	text[length] = 0;
	return text;
}

static void command_tracepoint(const char *command)
{
	int fd = open(TRACEPOINT "/trigger", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, command, strlen(command)) < 0 && errno != ENOENT)
		perror(command);
	close(fd);
}

/* Statistics of the child's machine: KVM keeps a folder PID-FD for each. */
static char *append_statistics(char *at)
{
	char prefix[32], folder[300], path[600];
	struct dirent *entry;
	DIR *machines = opendir(KVM_STATISTICS);
	snprintf(prefix, sizeof prefix, "%d-", child);
	folder[0] = 0;
	while (machines && (entry = readdir(machines)))
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			snprintf(folder, sizeof folder, KVM_STATISTICS "/%s", entry->d_name);
	if (machines)
		closedir(machines);
	DIR *files = folder[0] ? opendir(folder) : NULL;
	while (files && (entry = readdir(files))) {
		if (entry->d_type != DT_REG)
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		long long value = atoll(slurp(path));
		if (value != 0)
			at += sprintf(at, "stat %s %lld\n", entry->d_name, value);
	}
	if (files)
		closedir(files);
	return at;
}

/* Lines such as "{ reason: 2, errno: 0 } hitcount: 5"; reasons may be shown as names. */
static char *append_tracepoint(char *at)
{
	char *save, *line = strtok_r(slurp(TRACEPOINT "/hist"), "\n", &save);
	for (; line; line = strtok_r(NULL, "\n", &save)) {
		char reason[32];
		unsigned long long code, count;
		if (sscanf(line, "{ reason: %31[^,], errno: %llu } hitcount: %llu", reason, &code,
			   &count) == 3)
			at += sprintf(at, "exit %s %d %llu\n", reason, (int)code, count);
	}
	return at;
}

/* Text is kept aside, so that a run of samples costs no output but the first and the last. */
static void sample(const char *name)
{
	char *at = sampled + sprintf(sampled, "sample %lld %s\n", now(), name);
	at = append_tracepoint(append_statistics(at));
	if (child_signal)
		kill(child, child_signal);
}

static void print_sample(void)
{
	fputs(sampled, stdout);
	sampled[0] = 0;
}

static void print_memory(void)
{
	char path[64], head[512] = "", line[512];
	long long rss = 0, private = 0, anonymous = 0, value;
	snprintf(path, sizeof path, "/proc/%d/smaps", child);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof line, file)) {
		char key[64];
		if (sscanf(line, "%63[A-Za-z_]: %lld kB", key, &value) == 2) {
			if (strcmp(key, "Rss") == 0)
				rss = value;
			else if (strncmp(key, "Private_", 8) == 0)
				private += value;
			else if (strcmp(key, "Anonymous") == 0)
				anonymous = value;
		} else if (strncmp(line, "VmFlags", 7) == 0) {
			unsigned long begin, end;
			char permissions[8];
			int name = 0;
			if (rss && sscanf(head, "%lx-%lx %7s %*s %*s %*s %n", &begin, &end,
					  permissions, &name) == 3)
				printf("map %lx-%lx %s %lld %lld %lld %s\n", begin, end, permissions,
				       rss, private, anonymous, name ? head + name : "");
			rss = private = anonymous = 0;
		} else {
			line[strcspn(line, "\n")] = 0;
			strcpy(head, line);
		}
	}
	if (file)
		fclose(file);
}

/* Whether a silent stretch begins that is to be counted. */
static int see_line(const char *line)
{
	printf("line %lld %s\n", now(), line);
	if (strncmp(line, "guest: up", 9) == 0) {
		sample("boot");
		print_sample();
	} else if (strcmp(line, "guest: mark memory") == 0) {
		print_memory();
	}
	return strcmp(line, "guest: mark count") == 0;
}

static void watch(int console)
{
	char line[1024];
	size_t length = 0;
	long long counting = 0;
	int framed = 0, seen = 0;
	struct pollfd ready = { .fd = console, .events = POLLIN };
	for (;;) {
		int timeout = !counting ? -1 : framed ? SAMPLE_MS : SETTLE_MS;
		if (poll(&ready, 1, timeout) == 0) {
			sample("count");
			if (!framed++)
				print_sample();
			continue;
		}
		char bytes[512];
		ssize_t got = read(console, bytes, sizeof bytes);
		if (got <= 0)
			return;
		if (!seen++)
			printf("first %lld\n", now());
		if (counting) {
			print_sample();
			counting = framed = 0;
		}
		for (ssize_t i = 0; i < got; i++) {
			if (bytes[i] == '\n') {
				line[length] = 0;
				length = 0;
				if (see_line(line))
					counting = now();
			} else if (bytes[i] != '\r' && length < sizeof line - 1) {
				line[length++] = bytes[i];
			}
		}
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	int first = 1, status, console[2];
	if (argc > 2 && strcmp(argv[1], "-s") == 0) {
		child_signal = atoi(argv[2]);
		first = 3;
	}
	if (argc <= first || pipe2(console, O_CLOEXEC) < 0) {
		fprintf(stderr, "usage: guest-watch [-s SIGNAL] COMMAND...\n");
		return 2;
	}
	command_tracepoint("!" HISTOGRAM);
	command_tracepoint(HISTOGRAM);
	printf("exec %lld\n", now());
	fflush(stdout);
	child = fork();
	if (child == 0) {
		dup2(console[1], 1);
		execvp(argv[first], argv + first);
		perror(argv[first]);
		_exit(127);
	}
	close(console[1]);
	watch(console[0]);
	waitpid(child, &status, 0);
	command_tracepoint("!" HISTOGRAM);
	status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	printf("end %lld\n", now());
	return status;
}
