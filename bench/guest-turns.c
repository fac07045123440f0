/*
 * Runs two virtual machine monitors in L1 at the same time and gives their guests commands by
 * turns, so that one guest's figure stands beside the other's of the same second. It knows nothing
 * of the monitors; it ends with status 0 when every command was answered.
 *
 *   guest-turns COMMAND-A... -- COMMAND-B... < PLAN
 *
 * A guest says "guest: ready", then answers each line it is sent with one "guest: " line. PLAN has
 * lines "a TEXT" or "b TEXT". Prints, with a silence around each answer so that whoever reads can
 * look at clocks:
 *   begin NAME | end NAME ANSWER
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SILENCE_US 60000
#define READY_MS 150000
#define ANSWER_MS 120000

struct monitor {
	char name;
	pid_t pid;
	int to, from;
	char line[4096], last[4096];
	size_t length;
};

static struct monitor monitors[2] = { { .name = 'a' }, { .name = 'b' } };

static void fail(const struct monitor *monitor, const char *what)
{
	fprintf(stderr, "guest-turns: monitor %c: %s; its last lines: %s\n%.*s\n", monitor->name, what,
		monitor->last, (int)monitor->length, monitor->line);
	for (int i = 0; i < 2; i++)
		if (monitors[i].pid)
			kill(monitors[i].pid, SIGKILL);
	exit(1);
}

static void start(struct monitor *monitor, char **command)
{
	int to[2], from[2];
	if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
		fail(monitor, "pipe");
	monitor->pid = fork();
	if (monitor->pid == 0) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		execvp(command[0], command);
		perror(command[0]);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	monitor->to = to[1];
	monitor->from = from[0];
}

/* The next "guest: " line of one guest; the other prints nothing meanwhile. */
static const char *answer(struct monitor *monitor, int limit_ms)
{
	static char found[4096];
	struct pollfd ready = { .fd = monitor->from, .events = POLLIN };
	monitor->length = 0;
	for (;;) {
		char byte;
		if (poll(&ready, 1, limit_ms) <= 0)
			fail(monitor, "no answer in time");
		if (read(monitor->from, &byte, 1) != 1)
			fail(monitor, "it ended");
		if (byte != '\n') {
			if (byte != '\r' && monitor->length < sizeof monitor->line - 1)
				monitor->line[monitor->length++] = byte;
			continue;
		}
		monitor->line[monitor->length] = 0;
		monitor->length = 0;
		strcpy(monitor->last, monitor->line);
		if (strncmp(monitor->line, "guest: ", 7) == 0)
			return strcpy(found, monitor->line + 7);
	}
}

static void await_ready(struct monitor *monitor)
{
	while (strcmp(answer(monitor, READY_MS), "ready") != 0)
		;
}

int main(int argc, char **argv)
{
	int second = 1;
	while (second < argc && strcmp(argv[second], "--") != 0)
		second++;
	if (second == 1 || second >= argc - 1) {
		fprintf(stderr, "usage: guest-turns COMMAND-A... -- COMMAND-B... < PLAN\n");
		return 2;
	}
	argv[second] = NULL;
	start(&monitors[0], argv + 1);
	await_ready(&monitors[0]);
	start(&monitors[1], argv + second + 1);
	await_ready(&monitors[1]);

	char line[1024];
	while (fgets(line, sizeof line, stdin)) {
		if ((line[0] != 'a' && line[0] != 'b') || line[1] != ' ')
			continue;
		struct monitor *monitor = &monitors[line[0] - 'a'];
		usleep(SILENCE_US);
		printf("begin %c\n", monitor->name);
		fflush(stdout);
		usleep(SILENCE_US);
		if (write(monitor->to, line + 2, strlen(line + 2)) < 0)
			fail(monitor, "it takes no input");
		const char *text = answer(monitor, ANSWER_MS);
		usleep(SILENCE_US);
		printf("end %c %s\n", monitor->name, text);
		fflush(stdout);
	}
	for (int i = 0; i < 2; i++) {
		kill(monitors[i].pid, SIGTERM);
		waitpid(monitors[i].pid, NULL, 0);
	}
	return 0;
}
