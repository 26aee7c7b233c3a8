/* The parameters of the units as the kernels take them (library.py mirrors these structures), and
 * what all kernels share.
 *
 * Scales are doubles M * 2^-N. Every product, sum and floor in the kernels is exact in double: the
 * values are integers times one power of two, with at most 53 significant bits; each kernel says
 * why. Arrays per channel are padded with zeros to whole tiles.
 */
#ifndef FQVIT_PARAMS_H
#define FQVIT_PARAMS_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "tile.h"

typedef struct { /* int8 (outputs, inputs) as panels of TILE_COLUMNS outputs */
    const int16_t *panels;
    const int32_t *bias;
    int64_t inputs, outputs;
} linear_t;

typedef struct {
    const double *scale; /* per channel */
    double zero, low, high;
    int64_t width; /* bits in which a code is stored: 8, 16 or 32 */
} requantize_t;

typedef struct {
    const double *x_scale; /* Mx * 2^a per channel */
    const double *scale;   /* 2^-(N + b) per channel */
    double x_zero, y_zero, y_scale, zero, low, high;
    int64_t x_width, y_width, width, channels;
} residual_t;

typedef struct {
    const double *factor; /* 2^a per channel */
    const double *gamma;  /* G * 2^-(g + 16) */
    const double *beta;   /* B * 2^-10 */
    double zero, zero_out;
    int64_t eps, width, channels;
} layernorm_t;

enum { OF_MAXIMUM, LIS4, UNIFORM8 };

typedef struct {
    const requantize_t *score, *context; /* one scale, repeated for a tile's columns */
    const int32_t *table;                /* of the distance: exponentials, or codes of the maximum */
    const int32_t *values;               /* what each code stands for */
    int64_t mode, zero_code, row_norm;   /* mode: of the enum below */
} attention_t;

static inline double clamp(double x, double low, double high)
{
    x = x > low ? x : low;
    return x < high ? x : high;
}

/* sat(rshift_round(acc * M, N) + zero) with scale = M * 2^-N. acc * M has at most 48 bits and N is
 * 1..47, so acc * scale and acc * scale + 1/2 are multiples of 2^-N below 2^(48-N): exact. */
static inline double requantized(double acc, double scale, double zero, double low, double high)
{
    return clamp(floor(acc * scale + 0.5) + zero, low, high);
}

static inline void *scratch(size_t bytes)
{
    return aligned_alloc(64, (bytes / 64 + 1) * 64);
}

static inline long round_up(long n, long step)
{
    return (n + step - 1) / step * step;
}

/* n codes of `width` bits from element `start` of `codes` on, as doubles. */
static inline void load_codes(const void *restrict codes, long width, long start, long n,
                              double *restrict x)
{
    const int8_t *restrict c8 = (const int8_t *)codes + start;
    const int16_t *restrict c16 = (const int16_t *)codes + start;
    if (width == 8) {
#pragma omp simd
        for (long i = 0; i < n; i++)
            x[i] = c8[i];
    } else {
#pragma omp simd
        for (long i = 0; i < n; i++)
            x[i] = c16[i];
    }
}

static inline void store_codes(void *restrict codes, long width, long start, long n,
                               const int32_t *restrict y)
{
    int8_t *restrict c8 = (int8_t *)codes + start;
    int16_t *restrict c16 = (int16_t *)codes + start;
    if (width == 8) {
#pragma omp simd
        for (long i = 0; i < n; i++)
            c8[i] = (int8_t)y[i];
    } else if (width == 16) {
#pragma omp simd
        for (long i = 0; i < n; i++)
            c16[i] = (int16_t)y[i];
    } else {
        memcpy((int32_t *)codes + start, y, n * sizeof *y);
    }
}
#endif
