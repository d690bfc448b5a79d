/* The load client: what its files share. One thread, one epoll; commands on stdin, one JSON line each on stdout. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MAX_CHANNELS 1024
#define MAX_LANES 64
#define MARK_BYTES 36 /* ~LLL.SSSSSSSSSS.TTTTTTTTTTTTTTTTTTT~ : lane, number in the lane from 0, nanoseconds */
#define PRELUDE_BYTES 8192
#define UNKNOWN UINT32_MAX

typedef struct {
    char *data;
    size_t len, cap;
} Bytes;

void bytes_add(Bytes *bytes, const void *data, size_t len);
Bytes bytes_unhex(const char *hex);

/* Latencies in nanoseconds, in buckets about 3 % wide. */
typedef struct {
    uint64_t counts[64 * 32];
    uint64_t n, max, sum;
} Histogram;

void histogram_add(Histogram *histogram, uint64_t nanoseconds);
double histogram_ms(const Histogram *histogram, double quantile);
void histogram_print(const Histogram *histogram, const char *name);

typedef struct {
    Bytes publish, subscribe, hello[4];
    int hellos;
    uint32_t subscribers;
} Channel;

enum source_kind { STDIN, SUBSCRIBER, PUBLISHER };

typedef struct {
    enum source_kind kind;
    int fd;
} Source; /* the first member of whatever epoll points at */

enum body { BODY_RAW, BODY_CHUNKED, BODY_FRAMES };
enum phase { CONNECTING, HEAD, OPEN, READY, CLOSED };

typedef struct {
    Source source;
    enum phase phase;
    enum body body;
    bool is_socket, is_stalled;
    uint16_t channel;
    uint32_t received;    /* events since it was connected */
    uint32_t replay;      /* events to receive before it counts as ready */
    uint64_t left;        /* of the chunk or frame being read */
    uint8_t step, opcode; /* of the chunk or frame decoder */
    uint8_t header[14], header_len, control[125], control_len;
    uint8_t carry[MARK_BYTES], carry_len;
    Bytes prelude;   /* what came before it was ready */
    uint32_t *wanted; /* the next number of each lane */
} Subscriber;

typedef struct {
    const char *host;
    int port, publish_port;
    Channel channels[MAX_CHANNELS];
    int channel_count;
    Bytes prefix, item, separator, suffix;
    uint32_t max_batch, padding;
    int lanes, pipeline;
    uint32_t numbers[MAX_CHANNELS][MAX_LANES]; /* the next number of each lane of each channel */
    Subscriber *subscribers;
    uint32_t subscriber_count;
    int epoll;
    bool command_waiting;
    /* counted since `counters_reset` */
    uint64_t delivered, bytes, gaps, duplicates, malformed, lost_connections, broken_frames;
    uint64_t ready;
    Histogram latency;
    char trouble[200];
} Load;

extern Load load;

uint64_t now_ns(void);
double cpu_seconds(void);
void step(int64_t until_ns); /* serves whatever is ready; waits until `until_ns` at most */
void counters_reset(void);
void counters_print(void);
int dial(int port, int rcvbuf, uint32_t number, bool wait);
void trouble(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *text(const char *line, const char *key); /* the value of ` key=` in a command; "" without */
double number(const char *line, const char *key, double otherwise);

void connect_all(const char *line);
void close_all(const char *line);
void stall(const char *line);
void subscriber_ready(Subscriber *subscriber, uint32_t events);
void subscriber_free(Subscriber *subscriber);

void publish_open(void);
void publish_run(const char *line);
void publisher_ready(Source *source, uint32_t events);
void request_many(const char *line);

bool decode(Subscriber *subscriber, const uint8_t *data, size_t len, uint64_t now);
size_t frame_text(uint8_t opcode, const void *data, size_t len, Bytes *into);

#endif
