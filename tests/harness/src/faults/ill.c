/* Makes one process ill: slow or failing fsync, a wall clock that is off, a clock that runs fast or
 * slow. For tests only. Preloaded into a member; what ails it is in the file that ILL names, five
 * numbers that the test writes and this library maps:
 * microseconds that each fsync takes longer; fsyncs still to fail; nanoseconds that the wall clock
 * is off; millionths that clocks run fast; fsyncs that have failed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct ills {
    volatile int64_t delay_us, to_fail, wall_off_ns, fast_ppm, failed;
};

static struct ills *ills;
static int (*clock_now)(clockid_t, struct timespec *);
static int64_t began_ns;

static int64_t nanoseconds(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("ILL");
    clock_now = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    struct timespec now;
    if (clock_now && clock_now(CLOCK_MONOTONIC, &now) == 0)
        began_ns = nanoseconds(&now);
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *at = mmap(0, sizeof(struct ills), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (at != MAP_FAILED)
        ills = at;
    close(file);
}

static int meet(void)
{
    if (!ills)
        return 0;
    if (ills->delay_us > 0)
        usleep((useconds_t)ills->delay_us);
    if (ills->to_fail > 0 && __sync_fetch_and_sub(&ills->to_fail, 1) > 0) {
        __sync_fetch_and_add(&ills->failed, 1);
        errno = EIO;
        return -1;
    }
    return 0;
}

int fsync(int file)
{
    return meet() ? -1 : (int)syscall(SYS_fsync, file);
}

int fdatasync(int file)
{
    return meet() ? -1 : (int)syscall(SYS_fdatasync, file);
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int result = clock_now ? clock_now(clock, out) : (int)syscall(SYS_clock_gettime, clock, out);
    if (result || !ills)
        return result;
    int64_t now = nanoseconds(out);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        now += ills->wall_off_ns;
    else if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME)
        /* Exact to the nanosecond: a slow clock that is rounded goes back at each step. */
        now += (int64_t)((__int128)(now - began_ns) * ills->fast_ppm / 1000000);
    else
        return result;
    out->tv_sec = now / 1000000000;
    out->tv_nsec = now % 1000000000;
    return 0;
}
