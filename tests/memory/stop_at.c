/* Preloaded before libc: from `arm` on, calls that change files are counted, and the n-th one is stopped at. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

enum { KILL_BEFORE, KILL_HALF_WAY, DISK_IS_FULL };
static long at, counted;
static int armed, how;

void arm(long n, int mode) { at = n; how = mode; counted = 0; armed = 1; }
long disarm(void) { armed = 0; return counted; }

static int hit(void) { return armed && ++counted >= at; }
static void die(void) { for (;;) kill(getpid(), SIGKILL); }

#define REAL(name) static typeof(name) *real; if (!real) real = (typeof(name) *)dlsym(RTLD_NEXT, #name)

/* half: the call with half of its bytes */
#define WRITER(half) \
  if (hit()) { \
    if (how == DISK_IS_FULL) { errno = ENOSPC; return -1; } \
    if (how == KILL_HALF_WAY) (void)!half; \
    die(); \
  }
#define OTHER if (hit() && how != DISK_IS_FULL) die();

ssize_t write(int fd, const void *data, size_t size) { REAL(write); WRITER(real(fd, data, size / 2)) return real(fd, data, size); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t to) { REAL(pwrite); WRITER(real(fd, data, size / 2, to)) return real(fd, data, size, to); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t to) { REAL(pwrite64); WRITER(real(fd, data, size / 2, to)) return real(fd, data, size, to); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); OTHER return real(fd, size); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); OTHER return real(fd, size); }
int fsync(int fd) { REAL(fsync); OTHER return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); OTHER return real(fd); }
int rename(const char *from, const char *to) { REAL(rename); OTHER return real(from, to); }
int unlink(const char *path) { REAL(unlink); OTHER return real(path); }
