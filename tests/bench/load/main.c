/* The load client: reads commands from stdin, answers each with one line of JSON on stdout. */
#define _GNU_SOURCE
#include "load.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

Load load = {.max_batch = 1, .lanes = 1, .pipeline = 1};

void counters_reset(void)
{
    load.delivered = load.bytes = load.gaps = load.duplicates = load.malformed = 0;
    load.lost_connections = load.broken_frames = 0;
    load.trouble[0] = 0;
    memset(&load.latency, 0, sizeof load.latency);
}

void counters_print(void)
{
    printf(", \"delivered\": %lu, \"bytes\": %lu, \"gaps\": %lu, \"duplicates\": %lu, \"malformed\": %lu, "
           "\"lost_connections\": %lu, \"broken_frames\": %lu",
           load.delivered, load.bytes, load.gaps, load.duplicates, load.malformed, load.lost_connections,
           load.broken_frames);
    histogram_print(&load.latency, "latency_ms");
    printf(", \"trouble\": \"%s\"}\n", load.trouble);
}

void step(int64_t until_ns)
{
    struct epoll_event events[512];
    int64_t wait = until_ns - (int64_t)now_ns();
    struct timespec timeout = {.tv_sec = wait > 0 ? wait / 1000000000 : 0, .tv_nsec = wait > 0 ? wait % 1000000000 : 0};
    int count = epoll_pwait2(load.epoll, events, 512, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        Source *source = events[i].data.ptr;
        if (source->kind == STDIN) load.command_waiting = true;
        else if (source->kind == PUBLISHER) publisher_ready(source, events[i].events);
        else subscriber_ready((Subscriber *)source, events[i].events);
    }
}

static void wait_idle(const char *line)
{
    counters_reset();
    uint64_t until = now_ns() + (uint64_t)(number(line, "seconds", 1) * 1e9);
    while (now_ns() < until) step((int64_t)until);
    printf("{\"ready\": %lu", load.ready);
    counters_print();
}

static uint64_t owed(void)
{
    uint64_t events = 0;
    for (uint32_t i = 0; i < load.subscriber_count; i++) {
        const Subscriber *subscriber = &load.subscribers[i];
        for (int lane = 0; lane < load.lanes; lane++)
            if (subscriber->wanted[lane] != UNKNOWN)
                events += load.numbers[subscriber->channel][lane] - subscriber->wanted[lane];
    }
    return events;
}

/* drain timeout= : waits until every subscriber, the formerly stalled ones too, has everything */
static void drain(const char *line)
{
    counters_reset();
    uint64_t began = now_ns(), until = began + (uint64_t)(number(line, "timeout", 10) * 1e9);
    while (owed() && now_ns() < until) step((int64_t)now_ns() + 10000000);
    printf("{\"owed\": %lu, \"seconds\": %.4f", owed(), (double)(now_ns() - began) / 1e9);
    counters_print();
}

static void set_target(const char *line)
{
    static char host[64];
    sscanf(text(line, "host"), "%63s", host);
    load.host = host;
    load.port = (int)number(line, "port", 0);
    load.publish_port = (int)number(line, "publish_port", load.port);
    load.prefix = bytes_unhex(text(line, "prefix"));
    load.item = bytes_unhex(text(line, "item"));
    load.separator = bytes_unhex(text(line, "separator"));
    load.suffix = bytes_unhex(text(line, "suffix"));
    load.max_batch = (uint32_t)number(line, "max_batch", 1);
    load.lanes = (int)number(line, "lanes", 1);
    load.pipeline = (int)number(line, "pipeline", 1);
    load.padding = (uint32_t)number(line, "padding", 100);
    if (load.lanes < 1 || load.lanes > MAX_LANES || load.padding > 65536) exit(2);
    publish_open();
    printf("{\"trouble\": \"%s\"}\n", load.trouble);
}

static void add_channel(const char *line)
{
    if (load.channel_count == MAX_CHANNELS) exit(2);
    Channel *channel = &load.channels[load.channel_count++];
    channel->publish = bytes_unhex(text(line, "publish"));
    channel->subscribe = bytes_unhex(text(line, "subscribe"));
    for (const char *hello = text(line, "hello"); *hello > ' ' && channel->hellos < 4;) {
        channel->hello[channel->hellos++] = bytes_unhex(hello);
        hello += strcspn(hello, ", \n");
        if (*hello != ',') break;
        hello++;
    }
    printf("{\"channels\": %d}\n", load.channel_count);
}

/* padding bytes= : how much each event from here on carries besides its mark */
static void set_padding(const char *line)
{
    load.padding = (uint32_t)number(line, "bytes", 100);
    if (load.padding > 65536) exit(2);
    printf("{\"padding\": %u}\n", load.padding);
}

static const struct {
    const char *name;
    void (*act)(const char *line);
} commands[] = {
    {"target", set_target}, {"channel", add_channel}, {"padding", set_padding}, {"connect", connect_all},
    {"run", publish_run},   {"idle", wait_idle},      {"stall", stall},         {"drain", drain},
    {"close", close_all},   {"get", request_many},
};

static bool obey(char *line)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strncmp(line, commands[i].name, strlen(commands[i].name)) && line[strlen(commands[i].name)] <= ' ') {
            commands[i].act(line);
            fflush(stdout);
            return true;
        }
    return false;
}

int main(void)
{
    static Source input = {.kind = STDIN, .fd = STDIN_FILENO};
    static char buffer[256 << 10];
    size_t filled = 0;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event want = {.events = EPOLLIN, .data.ptr = &input};
    epoll_ctl(load.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &want);
    for (;;) {
        for (char *end; (end = memchr(buffer, '\n', filled));) {
            *end = 0;
            if (!obey(buffer)) return 2;
            filled -= (size_t)(end + 1 - buffer);
            memmove(buffer, end + 1, filled);
        }
        load.command_waiting = false;
        while (!load.command_waiting) step((int64_t)now_ns() + 1000000000);
        ssize_t got = read(STDIN_FILENO, buffer + filled, sizeof buffer - filled);
        if (got <= 0) return 0;
        filled += (size_t)got;
    }
}
