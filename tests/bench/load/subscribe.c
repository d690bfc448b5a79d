/* Subscribers: opening thousands of them, reading them, stalling some, closing them. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static uint8_t input[512 << 10];
static Bytes ready_text;
static uint32_t opening; /* connections on their way to READY */
static uint32_t next_source = 1;

int dial(int port, int rcvbuf, uint32_t number, bool wait)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
    if (fd < 0) return -1;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (rcvbuf) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf);
    /* many source addresses, so that closed connections do not use up the ports */
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001u + number / 8000)};
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, load.host, &to.sin_addr);
    if (bind(fd, (void *)&from, sizeof from) || (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS)) {
        close(fd);
        return -1;
    }
    return fd;
}

static void drop(Subscriber *subscriber, const char *why)
{
    if (subscriber->phase == CLOSED) return;
    if (subscriber->phase != READY) opening--;
    else load.ready--;
    subscriber->phase = CLOSED;
    close(subscriber->source.fd);
    load.lost_connections++;
    trouble("connection lost: %s", why);
}

static void become_ready(Subscriber *subscriber)
{
    subscriber->phase = READY;
    free(subscriber->prelude.data);
    subscriber->prelude = (Bytes){0};
    opening--;
    load.ready++;
}

static void begin(Subscriber *subscriber)
{
    const Bytes *request = &load.channels[subscriber->channel].subscribe;
    if (send(subscriber->source.fd, request->data, request->len, MSG_NOSIGNAL) != (ssize_t)request->len) {
        drop(subscriber, "the request could not be sent");
        return;
    }
    subscriber->phase = HEAD;
    struct epoll_event want = {.events = EPOLLIN, .data.ptr = subscriber};
    epoll_ctl(load.epoll, EPOLL_CTL_MOD, subscriber->source.fd, &want);
}

/* The response's head is here: check it, say hello on a socket, go on with the body. */
static void opened(Subscriber *subscriber, uint64_t now)
{
    Bytes *head = &subscriber->prelude;
    char *end = memmem(head->data, head->len, "\r\n\r\n", 4);
    if (!end) return;
    if (strncmp(head->data, subscriber->is_socket ? "HTTP/1.1 101" : "HTTP/1.1 200", 12)) {
        trouble("%.120s", head->data);
        drop(subscriber, "refused");
        return;
    }
    *end = 0;
    subscriber->body = subscriber->is_socket                                    ? BODY_FRAMES
                       : strcasestr(head->data, "transfer-encoding: chunked") ? BODY_CHUNKED
                                                                              : BODY_RAW;
    subscriber->phase = OPEN;
    Bytes rest = *head;
    *head = (Bytes){0};
    const Channel *channel = &load.channels[subscriber->channel];
    Bytes out = {0};
    for (int i = 0; i < channel->hellos; i++) frame_text(1, channel->hello[i].data, channel->hello[i].len, &out);
    if (out.len && send(subscriber->source.fd, out.data, out.len, MSG_NOSIGNAL) != (ssize_t)out.len)
        drop(subscriber, "the hello could not be sent");
    free(out.data);
    size_t used = (size_t)(end + 4 - rest.data);
    if (subscriber->phase == OPEN && !decode(subscriber, (uint8_t *)rest.data + used, rest.len - used, now))
        drop(subscriber, "the stream ended at once");
    free(rest.data);
}

void subscriber_ready(Subscriber *subscriber, uint32_t events)
{
    if (subscriber->phase == CLOSED) return;
    if (subscriber->phase == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(subscriber->source.fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) drop(subscriber, strerror(error));
        else if (events & EPOLLOUT) begin(subscriber);
        return;
    }
    ssize_t got = recv(subscriber->source.fd, input, sizeof input, MSG_DONTWAIT);
    if (got <= 0) {
        if (!got || errno != EAGAIN) drop(subscriber, got ? strerror(errno) : "closed by the server");
        return;
    }
    load.bytes += (uint64_t)got;
    uint64_t now = now_ns();
    if (subscriber->phase == HEAD) {
        bytes_add(&subscriber->prelude, input, (size_t)got);
        opened(subscriber, now);
    } else if (!decode(subscriber, input, (size_t)got, now)) {
        load.broken_frames++;
        drop(subscriber, "the stream ended or its framing broke");
    }
    if (subscriber->phase == OPEN && subscriber->received >= subscriber->replay &&
        (!ready_text.len || memmem(subscriber->prelude.data ? subscriber->prelude.data : "", subscriber->prelude.len,
                                   ready_text.data, ready_text.len)))
        become_ready(subscriber);
}

static void start(Subscriber *subscriber, uint32_t index, const char *line)
{
    memset(subscriber, 0, sizeof *subscriber);
    subscriber->source.kind = SUBSCRIBER;
    subscriber->channel = (uint16_t)(index % (uint32_t)load.channel_count);
    subscriber->is_socket = !strncmp(text(line, "proto"), "ws", 2);
    subscriber->replay = (uint32_t)number(line, "replay", 0);
    subscriber->wanted = malloc(sizeof(uint32_t) * (size_t)load.lanes);
    for (int lane = 0; lane < load.lanes; lane++)
        subscriber->wanted[lane] = subscriber->replay ? UNKNOWN : load.numbers[subscriber->channel][lane];
    subscriber->source.fd = dial(load.port, (int)number(line, "rcvbuf", 0), next_source++, false);
    opening++;
    if (subscriber->source.fd < 0) {
        drop(subscriber, strerror(errno));
        return;
    }
    load.channels[subscriber->channel].subscribers++;
    struct epoll_event want = {.events = EPOLLOUT, .data.ptr = subscriber};
    epoll_ctl(load.epoll, EPOLL_CTL_ADD, subscriber->source.fd, &want);
}

/* connect n= proto=sse|ws [ready=HEX] [concurrency=] [replay=] [rcvbuf=] [timeout=] */
void connect_all(const char *line)
{
    uint32_t count = (uint32_t)number(line, "n", 1), concurrency = (uint32_t)number(line, "concurrency", 256);
    free(ready_text.data);
    ready_text = bytes_unhex(text(line, "ready"));
    load.subscribers = calloc(count, sizeof *load.subscribers);
    load.subscriber_count = count;
    counters_reset();
    opening = 0;
    double cpu = cpu_seconds();
    uint64_t began = now_ns(), deadline = began + (uint64_t)(number(line, "timeout", 60) * 1e9);
    for (uint32_t started = 0; (started < count || opening) && now_ns() < deadline;) {
        while (started < count && opening < concurrency) start(&load.subscribers[started], started, line), started++;
        step((int64_t)now_ns() + 20000000);
    }
    double seconds = (double)(now_ns() - began) / 1e9;
    printf("{\"asked\": %u, \"ready\": %lu, \"seconds\": %.5f, \"client\": %.3f", count, load.ready, seconds,
           (cpu_seconds() - cpu) / seconds);
    counters_print();
}

/* close [how=fin|rst] */
void close_all(const char *line)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    for (uint32_t i = 0; i < load.subscriber_count; i++) {
        Subscriber *subscriber = &load.subscribers[i];
        if (subscriber->phase != CLOSED) {
            if (!strncmp(text(line, "how"), "rst", 3))
                setsockopt(subscriber->source.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            close(subscriber->source.fd);
        }
        free(subscriber->wanted);
        free(subscriber->prelude.data);
    }
    free(load.subscribers);
    load.subscribers = NULL;
    load.ready = load.subscriber_count = 0;
    for (int i = 0; i < load.channel_count; i++) load.channels[i].subscribers = 0;
    printf("{\"closed\": true}\n");
}

/* stall n= : the first n subscribers stop reading; n=0 lets all of them read again */
void stall(const char *line)
{
    uint32_t count = (uint32_t)number(line, "n", 0);
    for (uint32_t i = 0; i < load.subscriber_count; i++) {
        Subscriber *subscriber = &load.subscribers[i];
        bool is_stalled = i < count;
        if (subscriber->phase == CLOSED || subscriber->is_stalled == is_stalled) continue;
        subscriber->is_stalled = is_stalled;
        struct epoll_event want = {.events = EPOLLIN, .data.ptr = subscriber};
        epoll_ctl(load.epoll, is_stalled ? EPOLL_CTL_DEL : EPOLL_CTL_ADD, subscriber->source.fd, &want);
    }
    printf("{\"stalled\": %u}\n", count);
}
