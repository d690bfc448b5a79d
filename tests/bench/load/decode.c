/* Incremental decoding of what subscribers receive: chunks, WebSocket frames, and the marks inside the events. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static uint64_t digits(const uint8_t *at, int count)
{
    uint64_t value = 0;
    while (count--) value = value * 10 + (uint64_t)(*at++ - '0');
    return value;
}

/* One mark: its number must be the next of its lane, and its time gives the latency. */
static bool take_mark(Subscriber *subscriber, const uint8_t *mark, uint64_t now)
{
    if (mark[4] != '.' || mark[15] != '.' || mark[MARK_BYTES - 1] != '~') {
        load.malformed++;
        return false;
    }
    uint64_t lane = digits(mark + 1, 3), seen = digits(mark + 5, 10), at = digits(mark + 16, 19);
    if (lane >= (uint64_t)load.lanes) {
        load.malformed++;
        return false;
    }
    uint32_t *wanted = &subscriber->wanted[lane];
    if (seen == *wanted || *wanted == UNKNOWN) {
        *wanted = (uint32_t)seen + 1;
    } else if (seen < *wanted) {
        load.duplicates++;
        return true;
    } else {
        load.gaps += seen - *wanted;
        *wanted = (uint32_t)seen + 1;
    }
    subscriber->received++;
    load.delivered++;
    histogram_add(&load.latency, now > at ? now - at : 0);
    return true;
}

/* Finds the marks in a span of payload; one that is cut by the span's end waits in `carry`. */
static void scan(Subscriber *subscriber, const uint8_t *data, size_t len, uint64_t now)
{
    const uint8_t *end = data + len;
    if (subscriber->carry_len) {
        size_t need = MARK_BYTES - subscriber->carry_len, take = need < len ? need : len;
        memcpy(subscriber->carry + subscriber->carry_len, data, take);
        subscriber->carry_len = (uint8_t)(subscriber->carry_len + take);
        data += take;
        if (subscriber->carry_len < MARK_BYTES) return;
        subscriber->carry_len = 0;
        take_mark(subscriber, subscriber->carry, now);
    }
    while (data < end) {
        const uint8_t *mark = memchr(data, '~', (size_t)(end - data));
        if (!mark) return;
        size_t left = (size_t)(end - mark);
        if (left < MARK_BYTES) {
            memcpy(subscriber->carry, mark, left);
            subscriber->carry_len = (uint8_t)left;
            return;
        }
        data = mark + (take_mark(subscriber, mark, now) ? MARK_BYTES : 1);
    }
}

static void payload(Subscriber *subscriber, const uint8_t *data, size_t len, uint64_t now)
{
    if (subscriber->phase == OPEN && subscriber->prelude.len < PRELUDE_BYTES)
        bytes_add(&subscriber->prelude, data, len < PRELUDE_BYTES ? len : PRELUDE_BYTES);
    scan(subscriber, data, len, now);
}

enum chunk_step { SIZE, REST_OF_LINE, DATA, DATA_END };

static bool chunks(Subscriber *s, const uint8_t *data, size_t len, uint64_t now)
{
    for (const uint8_t *end = data + len; data < end;) {
        if (s->step == DATA) {
            size_t take = s->left < (uint64_t)(end - data) ? (size_t)s->left : (size_t)(end - data);
            payload(s, data, take, now);
            data += take;
            s->left -= take;
            if (!s->left) s->step = DATA_END, s->header_len = 0;
            continue;
        }
        uint8_t c = *data++;
        if (s->step == SIZE) {
            uint8_t low = c | 32;
            if (c >= '0' && c <= '9') s->left = s->left * 16 + c - '0';
            else if (low >= 'a' && low <= 'f') s->left = s->left * 16 + low - 'a' + 10;
            else if (c == '\r' || c == ';') s->step = REST_OF_LINE;
            else return false;
        } else if (s->step == REST_OF_LINE) {
            if (c != '\n') continue;
            if (!s->left) return false; /* the last chunk: the server ended the stream */
            s->step = DATA;
        } else { /* DATA_END: CR LF */
            if (c != (s->header_len ? '\n' : '\r')) return false;
            if (s->header_len++) s->step = SIZE, s->left = 0;
        }
    }
    return true;
}

static void pong(Subscriber *subscriber)
{
    Bytes out = {0};
    frame_text(0xA, subscriber->control, subscriber->control_len, &out);
    if (send(subscriber->source.fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
        trouble("pong: %s", strerror(errno));
    free(out.data);
}

static bool frames(Subscriber *s, const uint8_t *data, size_t len, uint64_t now)
{
    for (const uint8_t *end = data + len; data < end;) {
        if (s->step == 0) {
            s->header[s->header_len++] = *data++;
            unsigned short_len = s->header_len > 1 ? s->header[1] & 127u : 0;
            unsigned size = short_len == 127 ? 10 : short_len == 126 ? 4 : 2;
            if (s->header_len < size) continue;
            if (s->header[1] & 128 || s->header[0] & 0x70) return false; /* a server masks nothing, and we asked for no extension */
            s->left = short_len;
            if (size > 2) s->left = 0;
            for (unsigned i = 2; i < size; i++) s->left = s->left << 8 | s->header[i];
            s->opcode = s->header[0] & 15;
            s->header_len = s->control_len = 0;
            if (s->opcode == 8) return false;
            s->step = 1;
        } else {
            size_t take = s->left < (uint64_t)(end - data) ? (size_t)s->left : (size_t)(end - data);
            if (s->opcode < 8) payload(s, data, take, now);
            for (size_t i = 0; s->opcode >= 8 && i < take && s->control_len < sizeof s->control; i++)
                s->control[s->control_len++] = data[i];
            data += take;
            s->left -= take;
        }
        if (s->step == 1 && !s->left) {
            s->step = 0;
            if (s->opcode == 9) pong(s);
        }
    }
    return true;
}

/* False when the framing is broken or the server ended the stream. */
bool decode(Subscriber *subscriber, const uint8_t *data, size_t len, uint64_t now)
{
    if (subscriber->body == BODY_CHUNKED) return chunks(subscriber, data, len, now);
    if (subscriber->body == BODY_FRAMES) return frames(subscriber, data, len, now);
    payload(subscriber, data, len, now);
    return true;
}

/* A client's frame; its mask is zero, which is legal and leaves the payload as it is. */
size_t frame_text(uint8_t opcode, const void *data, size_t len, Bytes *into)
{
    uint8_t head[8] = {(uint8_t)(0x80 | opcode), (uint8_t)(0x80 | (len < 126 ? len : 126)), (uint8_t)(len >> 8), (uint8_t)len};
    size_t size = len < 126 ? 2 : 4;
    memset(head + size, 0, 4);
    bytes_add(into, head, size + 4);
    bytes_add(into, data, len);
    return into->len;
}
