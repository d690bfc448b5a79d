/* Clocks, byte buffers, histograms, and reading a command's arguments. */
#include "load.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

uint64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void bytes_add(Bytes *bytes, const void *data, size_t len)
{
    if (bytes->len + len + 1 > bytes->cap) {
        bytes->cap = (bytes->len + len + 1) * 2;
        bytes->data = realloc(bytes->data, bytes->cap);
        if (!bytes->data) abort();
    }
    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
    bytes->data[bytes->len] = 0;
}

static int digit(char c)
{
    return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

Bytes bytes_unhex(const char *hex)
{
    Bytes bytes = {0};
    bytes_add(&bytes, "", 0);
    for (; hex[0] > ' ' && hex[0] != ',' && hex[1] > ' '; hex += 2) {
        char byte = (char)(digit(hex[0]) << 4 | digit(hex[1]));
        bytes_add(&bytes, &byte, 1);
    }
    return bytes;
}

static unsigned bucket(uint64_t value)
{
    if (value < 64) return (unsigned)value;
    unsigned top = 63 - (unsigned)__builtin_clzll(value);
    return (top - 4) * 32 + (unsigned)(value >> (top - 5) & 31);
}

static double bucket_middle(unsigned index)
{
    if (index < 64) return index;
    unsigned shift = index / 32 - 1;
    return (double)((uint64_t)(32 + index % 32) << shift) + (double)((uint64_t)1 << shift) / 2;
}

void histogram_add(Histogram *histogram, uint64_t nanoseconds)
{
    histogram->counts[bucket(nanoseconds)]++;
    histogram->n++;
    histogram->sum += nanoseconds;
    if (nanoseconds > histogram->max) histogram->max = nanoseconds;
}

double histogram_ms(const Histogram *histogram, double quantile)
{
    uint64_t rank = (uint64_t)(quantile * (double)histogram->n), seen = 0;
    for (unsigned index = 0; index < 64 * 32; index++) {
        seen += histogram->counts[index];
        if (seen > rank) return bucket_middle(index) / 1e6;
    }
    return (double)histogram->max / 1e6;
}

void histogram_print(const Histogram *histogram, const char *name)
{
    if (!histogram->n) {
        printf(", \"%s\": null", name);
        return;
    }
    printf(", \"%s\": {\"n\": %lu, \"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, \"max\": %.4f}", name, histogram->n,
           histogram_ms(histogram, 0.50), histogram_ms(histogram, 0.90), histogram_ms(histogram, 0.99),
           (double)histogram->max / 1e6);
}

const char *text(const char *line, const char *key)
{
    size_t len = strlen(key);
    for (const char *at = strchr(line, ' '); at; at = strchr(at + 1, ' '))
        if (!strncmp(at + 1, key, len) && at[1 + len] == '=') return at + len + 2;
    return "";
}

double number(const char *line, const char *key, double otherwise)
{
    const char *value = text(line, key);
    return *value ? atof(value) : otherwise;
}

void trouble(const char *format, ...)
{
    if (load.trouble[0]) return; /* the first one tells most */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(load.trouble, sizeof load.trouble, format, arguments);
    va_end(arguments);
    for (char *c = load.trouble; *c; c++)
        if (*c < ' ' || *c == '"' || *c == '\\' || *c > 126) *c = ' ';
}
