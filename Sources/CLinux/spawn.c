#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

// In the child, which has but this thread: nothing here may take a lock that another thread held when it was made.
static void become(char *const argv[], char *const environment[], int output, int errors, pid_t parent) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return;
    // It may have ended before that.
    if (getppid() != parent) _exit(1);
    setpgid(0, 0);
    // What the parent ignores would stay ignored.
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int input = open("/dev/null", O_RDONLY);
    if (input < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(errors, 2) < 0) return;
    if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0) return;
    execvpe(argv[0], argv, environment);
}

int clinux_spawn(char *const argv[], char *const environment[], int output, int errors) {
    // Tells of a failure; a successful exec closes it.
    int failure[2];
    if (pipe2(failure, O_CLOEXEC) < 0) return -errno;
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        become(argv, environment, output, errors, parent);
        int error = errno;
        ssize_t told = write(failure[1], &error, sizeof error);
        _exit(told < 0 ? 1 : 127);
    }
    int error = child < 0 ? errno : 0;
    close(failure[1]);
    if (child > 0) {
        ssize_t count = clinux_read(failure[0], &error, sizeof error);
        if (count == (ssize_t)sizeof error) waitpid(child, NULL, 0);
        else error = 0;
    }
    close(failure[0]);
    return error == 0 ? child : -error;
}
