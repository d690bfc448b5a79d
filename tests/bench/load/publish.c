/* Publishers: keep-alive connections that POST events, at a fixed rate or with a bounded number outstanding. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_PIPELINE 64

typedef struct {
    uint64_t sent_at;
    uint32_t events;
    int channel;
} Request;

typedef struct {
    Source source;
    Bytes out, in;
    size_t sent;
    Request requests[MAX_PIPELINE];
    unsigned first, waiting;
    bool is_dead, wants_out;
} Publisher;

static Publisher publishers[MAX_LANES];
static uint64_t sent_events, acked_events, refused, expected;
static Histogram acknowledged;

/* Opens what is not open: servers close connections that were idle for long. */
void publish_open(void)
{
    for (int i = 0; i < load.lanes; i++) {
        Publisher *publisher = &publishers[i];
        if (publisher->source.fd > 0 && !publisher->is_dead) continue;
        publisher->source.kind = PUBLISHER;
        publisher->is_dead = publisher->wants_out = false;
        publisher->out.len = publisher->in.len = publisher->sent = publisher->waiting = 0;
        publisher->source.fd = dial(load.publish_port, 0, 0, true);
        if (publisher->source.fd < 0) {
            trouble("a publisher cannot connect: %s", strerror(errno));
            publisher->is_dead = true;
            continue;
        }
        fcntl(publisher->source.fd, F_SETFL, O_NONBLOCK);
        struct epoll_event want = {.events = EPOLLIN, .data.ptr = publisher};
        epoll_ctl(load.epoll, EPOLL_CTL_ADD, publisher->source.fd, &want);
    }
}

static void die(Publisher *publisher, const char *why)
{
    trouble("publisher lost: %s", why);
    publisher->is_dead = true;
    close(publisher->source.fd);
}

static void flush(Publisher *publisher)
{
    while (publisher->sent < publisher->out.len) {
        ssize_t put = send(publisher->source.fd, publisher->out.data + publisher->sent,
                           publisher->out.len - publisher->sent, MSG_NOSIGNAL);
        if (put < 0) {
            if (errno != EAGAIN) die(publisher, strerror(errno));
            break;
        }
        publisher->sent += (size_t)put;
    }
    if (publisher->is_dead) return;
    bool wants_out = publisher->sent < publisher->out.len;
    if (!wants_out) publisher->out.len = publisher->sent = 0;
    if (wants_out != publisher->wants_out) {
        publisher->wants_out = wants_out;
        struct epoll_event want = {.events = EPOLLIN | (wants_out ? EPOLLOUT : 0), .data.ptr = publisher};
        epoll_ctl(load.epoll, EPOLL_CTL_MOD, publisher->source.fd, &want);
    }
}

/* The item's template holds 1 for the mark, 2 for an id, 3 for the padding. */
static void add_item(Bytes *body, int channel, int lane, uint64_t at)
{
    static char padding[65536];
    if (!padding[0]) memset(padding, 'x', sizeof padding);
    uint32_t number = load.numbers[channel][lane]++;
    for (size_t i = 0, from = 0; i <= load.item.len; i++) {
        char c = i < load.item.len ? load.item.data[i] : 1;
        if (c > 3 || (c == 0 && i < load.item.len)) continue;
        bytes_add(body, load.item.data + from, i - from);
        from = i + 1;
        if (i == load.item.len) break;
        char made[64];
        if (c == 1) bytes_add(body, made, (size_t)snprintf(made, sizeof made, "~%03d.%010u.%019lu~", lane, number, at));
        if (c == 2) bytes_add(body, made, (size_t)snprintf(made, sizeof made, "%x.%x.%x.%x", (unsigned)getpid(), (unsigned)channel, (unsigned)lane, number));
        if (c == 3) bytes_add(body, padding, load.padding);
    }
}

static uint32_t listening(int channel)
{
    uint32_t count = 0;
    for (uint32_t i = (uint32_t)channel; i < load.subscriber_count; i += (uint32_t)load.channel_count)
        count += !load.subscribers[i].is_stalled;
    return count;
}

static void post(Publisher *publisher, int channel, uint32_t events, uint64_t at)
{
    static Bytes body;
    body.len = 0;
    bytes_add(&body, load.prefix.data, load.prefix.len);
    for (uint32_t i = 0; i < events; i++) {
        if (i) bytes_add(&body, load.separator.data, load.separator.len);
        add_item(&body, channel, (int)(publisher - publishers), at);
    }
    bytes_add(&body, load.suffix.data, load.suffix.len);
    char length[48];
    const Bytes *head = &load.channels[channel].publish;
    bytes_add(&publisher->out, head->data, head->len);
    bytes_add(&publisher->out, length, (size_t)snprintf(length, sizeof length, "Content-Length: %zu\r\n\r\n", body.len));
    bytes_add(&publisher->out, body.data, body.len);
    unsigned last = (publisher->first + publisher->waiting++) % MAX_PIPELINE;
    publisher->requests[last] = (Request){now_ns(), events, channel};
    sent_events += events;
    flush(publisher);
}

/* The length of the first whole response in `in`; 0 when it is not complete. */
static size_t whole_response(const Bytes *in)
{
    char *end = memmem(in->data, in->len, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end + 4 - in->data);
    char *length = strcasestr(in->data, "content-length:");
    if (length && length < end) return in->len >= head + strtoul(length + 15, NULL, 10) ? head + strtoul(length + 15, NULL, 10) : 0;
    char *chunked = strcasestr(in->data, "transfer-encoding: chunked");
    if (!chunked || chunked > end) return head;
    char *last = memmem(in->data + head - 2, in->len - head + 2, "\r\n0\r\n\r\n", 7);
    return last ? (size_t)(last + 7 - in->data) : 0;
}

static void answered(Publisher *publisher)
{
    Request *request = &publisher->requests[publisher->first];
    publisher->first = (publisher->first + 1) % MAX_PIPELINE;
    publisher->waiting--;
    if (publisher->in.data[9] != '2') {
        refused += request->events;
        trouble("POST: %.150s", publisher->in.data);
        return;
    }
    acked_events += request->events;
    expected += (uint64_t)request->events * load.channels[request->channel].subscribers;
    histogram_add(&acknowledged, now_ns() - request->sent_at);
}

void publisher_ready(Source *source, uint32_t events)
{
    Publisher *publisher = (Publisher *)source;
    static char data[64 << 10];
    if (publisher->is_dead) return;
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        ssize_t got = recv(source->fd, data, sizeof data, 0);
        if (got <= 0) {
            if (!got || errno != EAGAIN) die(publisher, got ? strerror(errno) : "closed by the server");
            return;
        }
        bytes_add(&publisher->in, data, (size_t)got);
        for (size_t size; publisher->waiting && (size = whole_response(&publisher->in));) {
            answered(publisher);
            memmove(publisher->in.data, publisher->in.data + size, publisher->in.len - size + 1);
            publisher->in.len -= size;
        }
    }
    if (publisher->out.len) flush(publisher);
}

static Publisher *free_publisher(void)
{
    static int turn;
    for (int i = 0; i < load.lanes; i++) {
        Publisher *publisher = &publishers[turn++ % load.lanes];
        if (!publisher->is_dead && publisher->waiting < (unsigned)load.pipeline) return publisher;
    }
    return NULL;
}

static bool all_answered(void)
{
    for (int i = 0; i < load.lanes; i++)
        if (publishers[i].waiting && !publishers[i].is_dead) return false;
    return true;
}

typedef struct {
    double rate;
    uint32_t batch, window, request;
    uint64_t began, ends, planned, limit, fan;
} Plan;

/* When the next event is due at a fixed rate: the events of a batch are due together. */
static uint64_t due(const Plan *plan)
{
    return plan->began + (uint64_t)((double)(plan->planned / plan->batch * plan->batch) / plan->rate * 1e9);
}

static bool may_send(const Plan *plan, uint64_t now)
{
    if (plan->planned >= plan->limit) return false;
    if (plan->rate > 0) return due(plan) <= now;
    uint64_t done = plan->fan ? load.delivered / plan->fan : acked_events;
    return sent_events - done + plan->request <= plan->window;
}

static void publish_for(Plan *plan)
{
    int channel = 0;
    for (uint64_t now = now_ns(); now < plan->ends && plan->planned < plan->limit; now = now_ns()) {
        Publisher *publisher;
        while (now < plan->ends && may_send(plan, now) && (publisher = free_publisher())) {
            post(publisher, channel, plan->request, plan->rate > 0 ? due(plan) : now_ns());
            plan->planned += plan->request;
            channel = (channel + 1) % load.channel_count;
            now = now_ns();
        }
        uint64_t wake = plan->ends;
        if (plan->rate > 0 && due(plan) > now && due(plan) < wake) wake = due(plan);
        step((int64_t)wake);
    }
}

/* run rate=|window= [batch=] seconds= [events=] [drain=] : publishes, then waits until everything was delivered */
void publish_run(const char *line)
{
    Plan plan = {
        .rate = number(line, "rate", 0), .batch = (uint32_t)number(line, "batch", 1), .window = (uint32_t)number(line, "window", 1), .limit = (uint64_t)number(line, "events", 1e18),
    };
    plan.request = plan.batch < load.max_batch ? plan.batch : load.max_batch;
    for (int i = 0; i < load.channel_count; i++) {
        load.channels[i].subscribers = listening(i);
        plan.fan += load.channels[i].subscribers;
    }
    plan.fan /= (uint64_t)load.channel_count;
    counters_reset();
    publish_open();
    sent_events = acked_events = refused = expected = 0;
    memset(&acknowledged, 0, sizeof acknowledged);
    double cpu = cpu_seconds();
    plan.began = now_ns();
    plan.ends = plan.began + (uint64_t)(number(line, "seconds", 1) * 1e9);
    publish_for(&plan);
    double window = (double)(now_ns() - plan.began) / 1e9;
    uint64_t in_window = load.delivered, offered = plan.rate > 0 ? (uint64_t)(plan.rate * number(line, "seconds", 1)) : sent_events;
    double busy = (cpu_seconds() - cpu) / window;
    uint64_t deadline = now_ns() + (uint64_t)(number(line, "drain", 5) * 1e9);
    while ((load.delivered < expected || !all_answered()) && now_ns() < deadline) step((int64_t)now_ns() + 50000000);
    bool drained = load.delivered == expected && all_answered();
    printf("{\"seconds\": %.5f, \"window\": %.5f, \"offered\": %lu, \"sent\": %lu, \"acked\": %lu, \"refused\": %lu, "
           "\"expected\": %lu, \"in_window\": %lu, \"drained\": %s, \"client\": %.3f, \"client_cpu\": %.4f",
           (double)(now_ns() - plan.began) / 1e9, window, offered, sent_events, acked_events, refused, expected, in_window,
           drained ? "true" : "false", busy, cpu_seconds() - cpu);
    histogram_print(&acknowledged, "ack_ms");
    counters_print();
}

/* get request=HEX n= : one request after another on one connection; latencies and the size of the last answer */
void request_many(const char *line)
{
    static char data[256 << 10];
    Bytes request = bytes_unhex(text(line, "request")), in = {0};
    Histogram *latency = calloc(1, sizeof *latency);
    int fd = dial(load.publish_port, 0, 0, true);
    size_t size = 0;
    unsigned failures = 0;
    for (int i = (int)number(line, "n", 1); i-- && fd >= 0;) {
        uint64_t began = now_ns();
        if (send(fd, request.data, request.len, MSG_NOSIGNAL) != (ssize_t)request.len) break;
        in.len = 0;
        while (!(size = in.len ? whole_response(&in) : 0)) {
            ssize_t got = recv(fd, data, sizeof data, 0);
            if (got <= 0) break;
            bytes_add(&in, data, (size_t)got);
        }
        if (!size || in.data[9] != '2') {
            failures++;
            trouble("GET: %.150s", in.len ? in.data : "no answer");
            break;
        }
        histogram_add(latency, now_ns() - began);
    }
    close(fd);
    printf("{\"failures\": %u, \"answer_bytes\": %zu", failures + (fd < 0), size);
    histogram_print(latency, "latency_ms");
    printf(", \"trouble\": \"%s\"}\n", load.trouble);
    load.trouble[0] = 0;
    free(latency);
    free(request.data);
    free(in.data);
}
